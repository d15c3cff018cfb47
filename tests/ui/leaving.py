"""What would be lost when a window is closed or the application ends is asked about: changes to a guest that were not applied, and
what takes long. While a text is entered, its keys are the text's."""

import glob
import json
import os
import signal

from gi.repository import Gio, GLib

from driver import run, wait_for
from guests import Details, lodgectl, state

CHANGES = "Apply the Changes to “{}”?"
WORK = "Quit While Work Is Going On?"


def open_details(application, name):
    """Opens the guest's window at its details."""
    application.window("Lodge").find("list item", contains=f"{name}, ")
    # As a click on a notification does: the list may be covered.
    key = json.loads(lodgectl("info", name, "--json"))["uuid"]
    target = GLib.Variant("(sava{sv})", ("open-guest", [GLib.Variant("s", key)], {}))
    bus = Gio.bus_get_sync(Gio.BusType.SESSION)
    bus.call_sync("org.lodgevm.Lodge", "/org/lodgevm/Lodge", "org.gtk.Actions", "Activate", target, None, 0, -1, None)
    window = wait_for("the guest's window", lambda: application.window_of(name))
    application.keys("ctrl+shift+o")
    return window, Details(window)


def describe(application, page, text):
    """Types a description as a person does."""
    page.find("text", "Description").click()
    application.type(text)
    wait_for(f"{text!r} is entered", lambda: page.find("text", "Description").entered.endswith(text))
    wait_for("it can be applied", lambda: page.bar.find("push button", "Apply").sensitive)


def texts(application, page):
    """What Ctrl+Shift+U and Ctrl+Shift+Z are while a text has the keyboard, and beside it."""
    entered = lambda: page.find("text", "Description").entered
    describe(application, page, "caf")
    application.keys("ctrl+shift+u")
    application.keys("e", "9", "Return")
    wait_for("a character is entered by its number", lambda: entered() == "café")
    application.keys("ctrl+z")
    wait_for("it is taken back", lambda: entered() != "café")
    application.keys("ctrl+shift+z")
    wait_for("it is done again", lambda: entered() == "café")
    page.find("list item", contains="Overview").click()
    application.keys("ctrl+shift+u")
    wait_for("what was changed is forgotten", lambda: entered() == "")


def closing(application):
    """The window asks before it closes, and each answer does what it says."""
    window, page = open_details(application, "web")
    texts(application, page)

    describe(application, page, "kept")
    application.keys("ctrl+shift+w")
    dialog = application.dialog(CHANGES.format("web"))
    application.screenshot("changes")
    dialog.find("push button", contains="Cancel").press()
    dialog.wait_gone()
    assert page.find("text", "Description").entered == "kept"
    application.keys("ctrl+shift+w")
    application.dialog(CHANGES.format("web")).find("push button", contains="Discard").press()
    wait_for("the window is closed", lambda: not application.window_of("web"))
    assert "kept" not in lodgectl("info", "web")

    window, page = open_details(application, "web")
    describe(application, page, "applied")
    application.keys("ctrl+shift+w")
    application.dialog(CHANGES.format("web"))
    application.keys("Return")
    wait_for("the window is closed", lambda: not application.window_of("web"))
    assert "applied" in lodgectl("info", "web")

    # What cannot be applied is not offered to be.
    window, page = open_details(application, "web")
    page.find("text", "Name").enter("a/b")
    wait_for("a slash is complained of", lambda: "slash" in page.find("text", "Name").description)
    application.keys("ctrl+shift+w")
    dialog = application.dialog(CHANGES.format("web"))
    assert not dialog.find("push button", contains="Apply").sensitive
    application.keys("Escape")
    dialog.wait_gone()

    # A guest that is deleted elsewhere takes its window along, and the question.
    application.keys("ctrl+shift+w")
    application.dialog(CHANGES.format("web"))
    lodgectl("delete", "web")
    wait_for("the window is closed", lambda: not application.window_of("web"))
    wait_for("its question too", lambda: not application.root.has_text(CHANGES.format("web")))

    window, page = open_details(application, "brief")
    application.keys("ctrl+shift+b")
    window.find("menu item", "Disk…").press()
    application.dialog("Add a Disk")
    lodgectl("delete", "brief")
    wait_for("the window is closed", lambda: not application.window_of("brief"))
    wait_for("its dialog too", lambda: not application.root.has_text("Add a Disk"))


def quitting(application):
    """The application asks for each window, and ends when none keeps it."""
    for name in ("mail", "news"):
        window, page = open_details(application, name)
        describe(application, page, f"about {name}")
    application.keys("ctrl+q")
    shown = lambda: next((name for name in ("mail", "news") if application.root.has_text(CHANGES.format(name))), None)
    first = wait_for("the first question", shown)
    application.dialog(CHANGES.format(first)).find("push button", contains="Apply").press()
    (second,) = {"mail", "news"} - {first}
    dialog = application.dialog(CHANGES.format(second))
    assert f"about {first}" in lodgectl("info", first)
    dialog.find("push button", contains="Cancel").press()
    dialog.wait_gone()
    assert application.process.poll() is None

    application.keys("ctrl+q")
    application.dialog(CHANGES.format(second)).find("push button", contains="Discard").press()
    wait_for("the application ends", lambda: application.process.poll() is not None)
    assert application.process.returncode == 0
    assert f"about {second}" not in lodgectl("info", second)


def working(application):
    """What takes long is named before it ends with the application."""
    lodgectl("create", "card", "--testcard", "--start")
    application.start()
    window = application.window("Lodge")
    window.find("list item", "card, Running").click()
    (path,) = glob.glob(os.path.join(os.environ["XDG_RUNTIME_DIR"], "lodge", "*", "worker.pid"))
    with open(path, encoding="ascii") as file:
        worker = int(file.read())
    # It does not get on with anything.
    os.kill(worker, signal.SIGSTOP)
    try:
        application.keys("ctrl+s")
        window.wait_for_text("Saving the state of “card”…")
        for keys in ("ctrl+q", "ctrl+w"):
            application.keys(keys)
            dialog = application.dialog(WORK)
            assert dialog.has_text("Saving the state of “card”…")
            application.screenshot("work")
            dialog.find("push button", contains="Keep Running").press()
            dialog.wait_gone()
            assert application.process.poll() is None
        application.keys("ctrl+q")
        application.dialog(WORK).find("push button", contains="Quit").press()
        wait_for("the application ends", lambda: application.process.poll() is not None)
    finally:
        os.kill(worker, signal.SIGCONT)
    wait_for("the guest is there", lambda: state("card"))


def ended(application):
    """A guest that ends while something is asked that needs it to run."""
    for keys, heading, accept, complaint in [
        ("ctrl+shift+q", "Show “brisk” on the Network?", "Show", "“brisk” Cannot Be Shown on the Network"),
        ("ctrl+shift+k", "Take a Snapshot of “brisk”", "Take", "No Snapshot of “brisk” Could Be Taken"),
    ]:
        lodgectl("start", "brisk")
        window, _ = open_details(application, "brisk")
        window.wait_for_text("Running")
        application.keys(keys)
        dialog = application.dialog(heading)
        lodgectl("destroy", "brisk")
        window.wait_for_text("Off")
        dialog.find("push button", contains=accept).press()
        complaint = application.dialog(complaint)
        assert complaint.has_text("The guest has ended meanwhile.")
        application.keys("Escape")
        complaint.wait_gone()
    assert json.loads(lodgectl("snapshot", "list", "brisk", "--json")) == []
    application.keys("ctrl+shift+w")
    wait_for("the window is closed", lambda: not application.window_of("brisk"))


def test(application):
    for name in ("web", "brief", "mail", "news"):
        lodgectl("create", name, "--memory", "64MiB")
    if os.access("/dev/kvm", os.R_OK | os.W_OK):
        lodgectl("create", "brisk", "--testcard")
        ended(application)
        lodgectl("delete", "brisk", "--disks")
    closing(application)
    quitting(application)
    if os.access("/dev/kvm", os.R_OK | os.W_OK):
        working(application)


run(test)
