"""The test card runs, is paused, resumed and reset; its guest outlives the application, and its killed worker is told."""

import glob
import os
import signal
import sys

from driver import Application, run, wait_for
from guests import Serial

RUNTIME = os.path.join(os.environ["XDG_RUNTIME_DIR"], "lodge")


def worker():
    """The process id of the only worker."""
    (path,) = glob.glob(os.path.join(RUNTIME, "*", "worker.pid"))
    with open(path) as file:
        return int(file.read())


def test(application):
    notifications = application.notifications
    window = application.window("Lodge")
    window.find("push button", "Try the Test Card").press()
    window.find("list item", "testcard, Running")
    # The guest's window opens by itself.
    wait_for("the guest's window", lambda: application.window_of("testcard"))
    window.find("push button", "Pause testcard").press()
    window.find("list item", "testcard, Paused")
    window.find("push button", "Run testcard").press()
    window.find("list item", "testcard, Running")
    wait_for("the graph has a figure", lambda: next(window.all("image", contains="CPU use of testcard"), None))
    application.screenshot("running")

    # The application is killed; the guest runs on, and the next start finds it.
    pid = worker()
    application.process.kill()
    application.process.wait()
    os.kill(pid, 0)
    application.start()
    window = application.window("Lodge")
    window.find("list item", "testcard, Running")

    # Closing the application leaves it running too.
    application.keys("ctrl+q")
    wait_for("the application ends", lambda: application.process.poll() is not None)
    os.kill(pid, 0)
    application.start()
    window = application.window("Lodge")
    window.find("list item", "testcard, Running")

    os.kill(pid, signal.SIGKILL)
    window.find("list item", contains="testcard, Crashed: ")
    application.screenshot("crashed")
    # Nobody looked at the guest, so it is told; a click opens its window.
    number = wait_for("a notification", lambda: notifications.titled("testcard: Crashed"))
    assert "killed" in notifications.shown[number][1], notifications.shown
    notifications.click(number)
    guest = wait_for("the guest's window", lambda: application.window_of("testcard"))
    application.keys("ctrl+shift+e")
    guest.wait_for_text("The Guest Is Off")
    application.screenshot("silent")
    application.keys("ctrl+shift+w")
    wait_for("it is closed", lambda: not application.window_of("testcard"))
    window.find("push button", "Run testcard").press()
    window.find("list item", "testcard, Running")
    assert worker() != pid

    # It turns itself off while nobody looks at it, which is told until it runs again. A guest that a person ends is not told of.
    serial = Serial()
    serial.wait_for("ready")
    serial.say("poweroff")
    window.find("list item", "testcard, Off")
    wait_for("it is told", lambda: notifications.titled("testcard: Off"))
    window.find("push button", "Run testcard").press()
    window.find("list item", "testcard, Running")
    wait_for("nothing is told any more", lambda: not notifications.shown)
    second = worker()

    item = window.find("list item", "testcard, Running")
    item.click()
    application.keys("ctrl+shift+f")
    dialog = application.dialog("Force “testcard” Off?")
    application.screenshot("force-off")
    dialog.find("push button", contains="Cancel").press()
    dialog.wait_gone()
    window.find("list item", "testcard, Running")
    item.click()
    application.keys("ctrl+shift+f")
    dialog = application.dialog("Force “testcard” Off?")
    dialog.find("push button", contains="Force Off").press()
    window.find("list item", "testcard, Off")
    wait_for("the worker is gone", lambda: not os.path.exists(f"/proc/{second}"))
    assert not notifications.shown, notifications.shown


if not os.access("/dev/kvm", os.R_OK | os.W_OK):
    print("/dev/kvm is not there or not allowed")
    sys.exit(77)
try:
    run(test)
finally:
    for left in glob.glob(os.path.join(RUNTIME, "*", "worker.pid")):
        with open(left) as file:
            os.kill(int(file.read()), signal.SIGKILL)
