"""How long the application's main loop is held up, at most: while every page of the windows of misbehaving workers is open
(tests/ui/misbehaving.py says which), and while a list of a thousand guests is scrolled. And how soon that list is painted."""

import os
import pathlib
import statistics
import subprocess
import sys
import time
import uuid

import application
import engines

SCRIPT = pathlib.Path(__file__).parent.parent / "ui" / "stalls.py"
LOOK = 2.0
DEFINITIONS = 1000
ROUNDS = 3
SCROLLS = 200


def waits(trace, since=0.0, until=float("inf")):
    """Of the waits that began between two moments: the longest, how many were of more than 50 ms, and the longest work that something
    waited for; in milliseconds. On a machine that has a lot else to do, waits are longer than the work."""
    lines = [tuple(map(float, line.split())) for line in trace.read_text().splitlines()]
    lines = [(length, work) for when, length, work in lines if since <= when < until]
    longest, most_work = (max(column, default=0) for column in ([line[0] for line in lines], [line[1] for line in lines]))
    return longest, sum(length > 50 for length, _ in lines), most_work


def text(wait):
    return f"{wait[0]:.0f} ms ({wait[1]} of more than 50 ms; {wait[2]:.0f} ms of work)"


def run(lodge):
    environment = dict(
        lodge.environment, LODGE=lodge.programs / "lodge", LODGECTL=lodge.programs / "lodgectl", LODGE_TEST_LOOK=str(LOOK),
        GDK_BACKEND="x11", GSK_RENDERER="cairo", GSETTINGS_BACKEND="memory", LC_ALL="C.UTF-8", PYTHONDONTWRITEBYTECODE="1")
    with application.screen(lodge.folder) as (display, _):
        done = subprocess.run(["dbus-run-session", "--", sys.executable, SCRIPT], env=dict(environment, DISPLAY=display),
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.exit(done.stdout)
    marks = [line.split(" ", 1) for line in done.stdout.splitlines() if line[:1].isdigit()]
    marks = [(float(when), what) for when, what in marks]
    trace = pathlib.Path(environment["HOME"], "stalls")
    segments = [(what, waits(trace, begin, end)) for (begin, what), (end, _) in zip(marks, marks[1:])]
    for what, wait in segments:
        print(f"   {what}: {text(wait)}", file=sys.stderr)

    def longest(wanted):
        wanted_ones = [wait for what, wait in segments if wanted(what)]
        return text((max(wait[0] for wait in wanted_ones), sum(wait[1] for wait in wanted_ones),
                     max(wait[2] for wait in wanted_ones)))

    rows = [(what, longest(wanted), "-", "50 ms") for what, wanted in (
        ("longest stall: all pages open", lambda what: what == "all are open"),
        ("longest stall: a window opens", lambda what: what.startswith("opening")),
        ("longest stall: a page is turned to", lambda what: what.split(" ")[0] in ("hangs", "slow", "floods", "babbles")),
        ("longest stall: workers die", lambda what: what.startswith("killing")),
    )]
    for kind in ("hangs", "slow", "floods", "babbles"):
        lodge.ctl("delete", kind, "--disks", check=False)
    return rows


def define_thousand(lodge):
    """Guests like the first one."""
    lodge.create("guest-0", 64)
    folder = pathlib.Path(lodge.environment["XDG_DATA_HOME"], "lodge", "guests")
    definition, first = (folder / "guest-0" / "guest.toml").read_text(), lodge.uuid("guest-0")
    for number in range(1, DEFINITIONS):
        other = folder / f"guest-{number}"
        other.mkdir()
        text = definition.replace(first, str(uuid.uuid4())).replace('"guest-0"', f'"guest-{number}"')
        (other / "guest.toml").write_text(text)


def run_thousand(lodge):
    define_thousand(lodge)
    times = [application.seconds_to_picture(lodge, [lodge.programs / "lodge"]) for _ in range(ROUNDS)]
    trace = lodge.folder / "stalls"
    environment = dict(lodge.environment, LODGE_TRACE_STALLS=str(trace))
    with application.screen(lodge.folder) as (display, picture), \
            application.application([lodge.programs / "lodge"], environment, display) as session:
        pid = engines.wait_for("the application", lambda: application.process_called("lodge", session.pid), 0.1)
        engines.wait_for("the list", lambda: len(set(application.rows_of(picture))) > 20, 0.1)
        time.sleep(5)
        begin, cpu = time.time(), engines.cpu_seconds(pid)
        xdotool = ["xdotool", "mousemove", "400", "400"]
        for button in ("5", "4"):
            subprocess.run([*xdotool, "click", "--repeat", str(SCROLLS), "--delay", "20", button],
                           env={"DISPLAY": display}, check=True)
        time.sleep(1)
        wait, used = waits(trace, begin), engines.cpu_seconds(pid) - cpu
        load = 100 * used / (time.time() - begin - 1)
    return [
        (f"{DEFINITIONS} definitions: start to the list", f"{statistics.median(times):.2f} s", "-", "-"),
        (f"{DEFINITIONS} definitions: longest wait while scrolling", f"{text(wait)}, {load:.0f} % CPU", "-", "50 ms"),
    ]
