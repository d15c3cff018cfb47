"""Graphs of a running guest and of the host: values, ranges, a moment that is pointed to, the held page, the exported file, and
what is still known after the application was started again."""

import csv
import glob
import os
import re
import subprocess
import time

from driver import SCALE, Failure, run, wait_for
from guests import export, lodgectl
from nameless import nameless

NAME = "a-guest-whose-name-is-so-long-that-it-does-not-fit-anywhere"


def value(window, name):
    """What a legend says of a line, once it says something."""
    entry = re.compile(rf"(?:^|, ){re.escape(name)}: (\d[^,]*)")

    def look():
        return next((found for widget in window.all("label") if (found := entry.search(widget.name))), None)

    return wait_for(f"a value of {name!r}", look)[1]


def last_second(rows):
    return int(rows[-1]["unix_time"])


def point_to(widget):
    """Moves the pointer to the right part of a graph, where there is something."""
    extents = widget.accessible.get_component_iface().get_extents(1)
    x, y = (extents.x + extents.width - 8) * SCALE, (extents.y + extents.height // 2) * SCALE
    subprocess.run(["xdotool", "mousemove", str(x), str(y)], check=True)


def open_guest(application):
    application.window("Lodge").find("list item", f"{NAME}, Running").click()
    application.keys("ctrl+o")
    window = wait_for("the guest's window", lambda: application.window_of(NAME))
    application.keys("ctrl+shift+x")
    window.find("image", "Graph: CPU")
    return window


def test(application):
    lodgectl("create", NAME, "--testcard", "--vcpus", "2", "--start")
    (row,) = csv.DictReader(lodgectl("stats", NAME, "--csv").splitlines())
    assert row["guest"] == NAME and float(row["cpu_percent"]) >= 0 and int(row["memory_bytes"]) > 0, row

    window = open_guest(application)
    assert value(window, "Guest").endswith("%")
    assert value(window, "CPU 1").endswith("%")
    assert value(window, "Of the host").endswith("MiB")
    for line in ("Read", "Writes", "To the guest’s process"):
        assert value(window, line).endswith("/s"), line
    application.screenshot("minutes")

    # A moment that is pointed to is told, in all graphs.
    moment = re.compile(r"\d\d:\d\d:\d\d")
    point_to(window.find("image", "Graph: CPU"))
    told = lambda: [label for label in window.all("label") if moment.fullmatch(label.name)]
    wait_for("the moment in all graphs", lambda: len(told()) >= 5)
    application.screenshot("pointed")
    # Away from the graphs: in a longer range there would be nothing at this place.
    subprocess.run(["xdotool", "mousemove", "0", "0"], check=True)
    wait_for("the moment is over", lambda: not any(moment.fullmatch(label.name) for label in window.all("label")))

    # Held still, time goes on but the figures do not.
    window.find("push button", "Hold the Graphs Still").press()
    held = export(application, window)
    assert float(held[-1]["vcpu1_percent"]) >= 0 and int(held[-1]["memory_bytes"]) > 0, held[-1]
    wait_for("some seconds", lambda: time.time() > last_second(held) + 3)
    assert last_second(export(application, window)) == last_second(held)
    window.find("push button", "Hold the Graphs Still").press()
    wait_for("the figures go on", lambda: last_second(export(application, window)) > last_second(held))

    # Every range has its graphs.
    for words in ("The last minute", "The last hour", "The last 6 hours", "The last day"):
        window.find("push button", words).press()
        value(window, "Guest")
    application.screenshot("day")
    faults = nameless(window)
    application.keys("ctrl+shift+w")
    application.wait_closed(NAME)

    application.keys("ctrl+u")
    host = application.window("Host")
    host.find("image", "Graph: Memory Saved by KSM")
    assert value(host, "Host").endswith("%")
    host.find("list item", contains="Memory of Running Guests")
    host.find("list item", contains=NAME)
    application.screenshot("host")
    faults += nameless(host)
    application.keys("Escape")
    application.wait_closed("Host")

    # What was measured is still known when the application is started again.
    application.keys("ctrl+q")
    wait_for("the application ends", lambda: application.process.poll() is not None)
    ended = time.time()
    assert glob.glob(os.path.join(os.environ["XDG_STATE_HOME"], "lodge/history/*-*.json"))
    application.start()
    window = open_guest(application)
    window.find("push button", "The last hour").press()
    first = int(export(application, window)[0]["unix_time"])
    assert first <= ended, (first, ended)
    lodgectl("destroy", NAME)
    if faults:
        raise Failure("these have no name:\n" + "\n".join(faults))


run(test)
