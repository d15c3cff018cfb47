"""Workers that hang, answer slowly, tell or flood without end or babble, and die, while every page of their windows and the host's
window are open: Lodge's windows stay live, and their memory bounded. `live.py` sees to that, as far as a machine that does a lot else
lets it be seen; the benchmark `stalls` measures how live they are."""

import json
import os
import subprocess
import sys
import time

from gi.repository import Atspi

from driver import run, wait_for
from guests import lodgectl, open_window

# By their names, the keys that turn to them.
PAGES = {"Performance": "ctrl+shift+x", "Details": "ctrl+shift+o", "Snapshots": "ctrl+shift+n", "Serial Port": "ctrl+shift+e",
         "Console": "ctrl+shift+g"}
# What misbehaves, and the page that is left open.
OPEN = {"hangs": "Details", "slow": "Performance", "tells": "Performance", "floods": "Console", "babbles": "Serial Port"}
UUIDS = {}
TRACE = os.path.join(os.environ["HOME"], "stalls")
# How long each page is looked at, in seconds: the benchmark looks longer.
LOOK = float(os.environ.get("LODGE_TEST_LOOK", "0.2"))
# A window that does not answer for so long is no longer live, even on a machine that does a lot else. In seconds.
LONGEST = 30.0
# What the application may grow by, in bytes.
GROWTH = 200 << 20


def start(kind):
    """A fake worker of a guest of that name."""
    lodgectl("create", kind, "--memory", "64MiB", "--testcard")
    uuid = UUIDS[kind] = json.loads(lodgectl("info", kind, "--json"))["uuid"]
    lock = os.path.join(os.environ["XDG_DATA_HOME"], "lodge", "guests", kind, "run.lock")
    folder = os.path.join(os.environ["XDG_RUNTIME_DIR"], "lodge", uuid)
    program = os.path.join(os.path.dirname(__file__), "fake_worker.py")
    worker = subprocess.Popen([sys.executable, program, kind, lock, folder], stdout=subprocess.PIPE)
    worker.stdout.readline()
    return worker


def memory(process):
    """What a process has in memory, in bytes."""
    with open(f"/proc/{process.pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def waits():
    """The main loop's waits so far, in seconds: (when, how long)."""
    with open(TRACE, encoding="ascii") as file:
        return [(float(when), float(length) / 1000) for when, length, _ in map(str.split, file.read().splitlines())]


def mark(what):
    """Says for the benchmark that something begins."""
    print(f"{time.time():.3f} {what}", flush=True)


def look_at_pages(application, kind):
    """Opens the guest's window, and turns its pages."""
    mark(f"opening {kind}")
    open_window(UUIDS[kind])
    window = wait_for(f"the window of {kind}", lambda: application.window_of(kind))
    time.sleep(LOOK)
    for page in [*PAGES, OPEN[kind]]:
        mark(f"{kind} {page}")
        application.keys(PAGES[page])
        time.sleep(LOOK)
        wait_for(f"{page} of {kind}", lambda: window.find(name=page).has(Atspi.StateType.PRESSED))


def is_off(window, kind):
    return any(next(window.all("list item", contains=f"{kind}, {state}"), None) for state in ("Off", "Crashed"))


def test(application, kinds, workers):
    window = application.window("Lodge")
    for kind in kinds:
        window.find("list item", contains=f"{kind}, ")
    before = memory(application.process)
    mark("opening the host's window")
    application.keys("ctrl+u")
    application.window("Host")
    time.sleep(LOOK)
    for kind in kinds:
        look_at_pages(application, kind)
    mark("all are open")
    window.find("list item", "hangs, Not responding")
    time.sleep(10 * LOOK)
    grown = memory(application.process) - before
    assert grown < GROWTH, f"the application has grown by {grown} bytes"

    for kind, worker in zip(kinds, workers):
        mark(f"killing {kind}")
        worker.kill()
    for kind in kinds:
        wait_for(f"{kind} is no longer running", lambda: is_off(window, kind))
    mark("ended")
    longest = max((length for _, length in waits()), default=0)
    print(f"the longest wait: {longest * 1000:.0f} ms; grown by {grown >> 20} MiB")
    assert longest < LONGEST, f"the window did not answer for {longest} s"


def run_beside(*kinds):
    """Runs the application beside workers of these kinds, of which one hangs."""
    os.environ["LODGE_TRACE_STALLS"] = TRACE
    workers = []
    try:
        workers += map(start, kinds)
        run(lambda application: test(application, kinds, workers))
    finally:
        for left in workers:
            left.kill()
            left.wait()
