"""Every shortcut of the application is pressed and does what the shortcuts window says; Escape closes what it opens. At the end the
keys that were pressed are compared with the application's table of actions."""

import glob
import json
import os
import re
import socket

from driver import Atspi, run, wait_for
from guests import Details, Serial, lodgectl, state
from media import rescue_image

TABLE = os.path.join(os.path.dirname(__file__), "../../src/ui/actions/mod.rs")
# Without a window manager no window fills the screen: full_screen.py presses it.
NOT_HERE = {"ctrl+shift+Return"}


def accelerators():
    """What the table of actions has, as xdotool names it."""
    with open(TABLE, encoding="utf-8") as file:
        entries = re.findall(r"&\[((?:\"[^\"]+\"(?:, )?)+)\]", file.read())
    keys = {key for entry in entries for key in re.findall('"([^"]+)"', entry)}
    named = {"<Control>": "ctrl+", "<Shift>": "shift+", "<Alt>": "alt+"}
    return {re.sub("<[A-Za-z]+>", lambda match: named[match[0]], key) for key in keys}


class Events:
    """What the guest's worker tells of: QMP's events."""

    def __init__(self):
        (path,) = glob.glob(os.path.join(os.environ["XDG_RUNTIME_DIR"], "lodge", "*", "control.sock"))
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.socket.sendall(b'{"execute": "qmp_capabilities"}\n')
        self.socket.settimeout(0.05)
        self.heard = b""
        # Before it has answered it tells of nothing.
        self.wait_for("return")

    def wait_for(self, event):
        """The next event of this name."""

        def look():
            try:
                self.heard += self.socket.recv(65536)
            except TimeoutError:
                pass
            name = b'"%s"' % event.encode()
            before, found, self.heard = self.heard.rpartition(name) if name in self.heard else (b"", b"", self.heard)
            return found

        wait_for(f"the event {event}", look)


class Keys:
    """Presses shortcuts, and remembers which."""

    def __init__(self, application):
        self.application = application
        self.pressed = set()

    def __call__(self, keys):
        self.pressed.add(keys)
        self.application.keys(keys)

    def opens(self, keys, name):
        """A window of this name, which Escape closes."""
        self(keys)
        wait_for(f"the window {name!r}", lambda: self.application.has_window(name))
        self.application.keys("Escape")
        self.application.wait_closed(name)

    def asks(self, keys, heading):
        """A dialog with this heading, which Escape closes."""
        self(keys)
        dialog = self.application.dialog(heading)
        self.application.keys("Escape")
        dialog.wait_gone()

    def pops_up(self, keys, window, entry):
        """A menu with this entry, which Escape closes."""
        self(keys)
        item = window.find("menu item", entry)
        self.application.keys("Escape")
        wait_for("the menu is closed", lambda: not item.visible or next(window.all("menu item", entry), None) is None)
        # GTK gives it back when it next draws.
        wait_for("something else has the keyboard", lambda: any(widget.has(Atspi.StateType.FOCUSED) for widget in window.walk()))


def of_the_application(keys, window):
    keys.opens("ctrl+n", "New Guest")
    keys.opens("ctrl+h", "Host Check")
    keys.opens("ctrl+comma", "Preferences")
    keys.opens("F1", "Help")
    keys.opens("ctrl+question", "Keyboard Shortcuts")
    keys.opens("ctrl+slash", "Keyboard Shortcuts")
    for combination, page in [("u", "Usage"), ("k", "Storage"), ("e", "Networks"), ("BackSpace", "Deleted Guests")]:
        keys(f"ctrl+{combination}")
        host = keys.application.window("Host")
        wait_for(f"{page} is shown", lambda: host.find("page tab", page).has(Atspi.StateType.SELECTED))
        keys.application.keys("Escape")
        keys.application.wait_closed("Host")
    keys.pops_up("F10", window, "Preferences")


def of_the_list(keys, window):
    keys("ctrl+g")
    window.find("list item", contains="Group Without Tags")
    keys("ctrl+g")
    keys("ctrl+f")
    search = window.find(("entry", "text"), "Search guests")
    search.enter("plain")
    wait_for("one is found", lambda: len(list(window.all("list item"))) == 1)
    keys.application.keys("Escape")
    window.find("list item", "card, Running").click()
    keys("ctrl+a")
    keys.asks("Delete", "Delete “plain”?")
    window.find("list item", "plain, Off").click()
    keys.asks("F2", "Rename “plain”")
    keys.asks("ctrl+shift+n", "Clone “plain”")
    keys.pops_up("Menu", window, "Rename…")
    keys.pops_up("shift+F10", window, "Rename…")


def reboots(keys, combination, window, events):
    """The guest is asked to shut down, and started again when it has."""
    first = worker()
    keys(combination)
    events.wait_for("POWERDOWN")
    window.wait_for_text("Rebooting “card”…")
    serial = Serial()
    serial.say("poweroff")
    wait_for("another worker runs", lambda: worker() not in (None, first) and state("card") == "running")
    Serial().wait_for("ready")


def worker():
    """The process id of the guest's worker, while it runs."""
    for path in glob.glob(os.path.join(os.environ["XDG_RUNTIME_DIR"], "lodge", "*", "worker.pid")):
        with open(path, encoding="ascii") as file:
            return file.read() or None


def of_the_selected_guest(keys, window, events):
    window.find("list item", "card, Running").click()
    keys("ctrl+p")
    wait_for("it is paused", lambda: state("card") == "paused")
    window.find("list item", "card, Paused")
    keys("ctrl+r")
    window.find("list item", "card, Running")
    serial = Serial()
    before = serial.mark()
    keys("ctrl+shift+r")
    events.wait_for("RESET")
    serial.wait_for("ready", before)
    keys("ctrl+d")
    events.wait_for("POWERDOWN")
    keys.asks("ctrl+shift+f", "Force “card” Off?")
    keys("ctrl+s")
    window.find("list item", "card, Saved")
    keys("ctrl+r")
    window.find("list item", "card, Running")
    reboots(keys, "ctrl+b", window, Events())
    window.find("list item", "card, Running").click()
    keys("ctrl+o")
    return wait_for("the guest's window", lambda: keys.application.window_of("card"))


def of_the_window(keys, window):
    application = keys.application
    events = Events()
    window.wait_for_text("Running")
    keys("ctrl+shift+p")
    events.wait_for("STOP")
    wait_for("it can run on", lambda: window.find("push button", "Run").sensitive)
    keys("ctrl+shift+r")
    events.wait_for("RESUME")
    window.wait_for_text("Running")
    serial = Serial()
    before = serial.mark()
    keys("ctrl+shift+t")
    events.wait_for("RESET")
    serial.wait_for("ready", before)
    keys("ctrl+shift+d")
    events.wait_for("POWERDOWN")
    keys.asks("ctrl+shift+f", "Force “card” Off?")
    before = serial.mark()
    keys("ctrl+shift+Delete")
    serial.wait_for("key e053 down", before)
    keys.asks("ctrl+shift+q", "Show “card” on the Network?")
    keys.opens("ctrl+shift+s", "Save Screenshot")
    keys.opens("ctrl+shift+i", "Insert Disc")
    disc = lambda: [block.get("inserted") for block in json.loads(lodgectl("qmp", "card", "query-block")) if block["removable"]]
    keys("ctrl+shift+j")
    wait_for("the disc is out", lambda: disc() == [None])
    for combination, entry in [("ctrl+shift+z", "Scale to Window"), ("ctrl+shift+y", "Resize Guest to Window"),
                               ("ctrl+shift+F4", "View Only")]:
        before = is_on(keys, window, entry)
        keys(combination)
        assert is_on(keys, window, entry) != before, entry
        keys(combination)
    keys.asks("ctrl+shift+k", "Take a Snapshot of “card”")
    for key, page in [("g", "Console"), ("e", "Serial Port"), ("n", "Snapshots"), ("x", "Performance"), ("o", "Details")]:
        keys(f"ctrl+shift+{key}")
        wait_for(f"{page} is shown", lambda: window.find(name=page).has(Atspi.StateType.PRESSED))
    of_the_details(keys, Details(window))
    of_the_port(keys, window)
    reboots(keys, "ctrl+shift+F5", window, Events())
    window.wait_for_text("Running")
    keys("ctrl+shift+h")
    wait_for("it is saved", lambda: state("card") == "saved")


def is_on(keys, window, entry):
    """Whether an entry of the window's menu is switched on."""
    keys("ctrl+shift+m")
    item = window.find(("menu item", "check menu item"), entry)
    on = item.checked
    keys.application.keys("Escape")
    wait_for("the menu is closed", lambda: next(window.all(("menu item", "check menu item"), entry), None) is None)
    return on


def of_the_details(keys, page):
    keys.pops_up("ctrl+shift+b", page, "Disk…")
    page.find("list item", contains="Overview").click()
    description = page.find("text", "Description")
    description.enter("one")
    wait_for("it can be reverted", lambda: page.bar.find("push button", "Revert").sensitive)
    page.find("list item", contains="Overview").click()
    keys("ctrl+shift+u")
    wait_for("it is forgotten", lambda: page.find("text", "Description").entered == "")
    page.find("text", "Description").enter("two")
    wait_for("it can be applied", lambda: page.bar.find("push button", "Apply").sensitive)
    keys("ctrl+shift+a")
    wait_for("it is stored", lambda: "two" in lodgectl("info", "card"))
    page.find("list item", contains="CD-ROM Drive cdrom0").click()
    keys("ctrl+shift+l")
    dialog = keys.application.dialog("Remove “CD-ROM Drive cdrom0”?")
    keys.application.keys("Escape")
    dialog.wait_gone()


def of_the_port(keys, window):
    """What is found is copied, pasted into the port, and typed as keys."""
    serial = Serial()
    keys("ctrl+shift+e")
    keys("ctrl+shift+F3")
    find = window.find(("entry", "text"), "Find in the port’s output")
    find.enter("TESTCARD")
    keys.application.keys("Return")
    keys("ctrl+shift+c")
    keys.application.keys("Escape")
    before = serial.mark()
    keys("ctrl+shift+v")
    keys.application.keys("Return")
    serial.wait_for("no such command", before)
    before = serial.mark()
    keys("ctrl+shift+Insert")
    serial.wait_for("key 14 down", before)
    serial.wait_for("key 20 up", before)


def test(application):
    keys = Keys(application)
    window = application.window("Lodge")
    window.wait_for_text("No Guests Yet")
    lodgectl("create", "plain", "--memory", "64MiB")
    window.find("list item", "plain, Off")
    of_the_application(keys, window)
    keys("ctrl+t")
    Serial().wait_for("ready")
    wait_for("the test card's window", lambda: application.window_of("testcard"))
    keys("ctrl+shift+w")
    wait_for("it is closed", lambda: not application.window_of("testcard"))
    lodgectl("destroy", "testcard")
    lodgectl("delete", "testcard", "--disks")
    lodgectl("create", "card", "--testcard", "--cdrom", rescue_image(), "--start")
    window.find("list item", "card, Running")
    of_the_list(keys, window)
    guest = of_the_selected_guest(keys, window, Events())
    of_the_window(keys, guest)
    # The application goes on while a window is open, and ends without a question.
    keys("ctrl+shift+w")
    wait_for("the guest's window is closed", lambda: not application.window_of("card"))
    window.find("list item", "card, Saved").click()
    application.keys("ctrl+o")
    wait_for("the guest's window", lambda: application.window_of("card"))
    application.keys("ctrl+q")
    keys.pressed.add("ctrl+q")
    wait_for("the application ends", lambda: application.process.poll() is not None)
    assert application.process.returncode == 0
    application.start()
    application.window("Lodge").find("list item", "card, Saved")
    keys("ctrl+w")
    wait_for("the application ends with its last window", lambda: application.process.poll() is not None)

    missing = accelerators() - keys.pressed - NOT_HERE
    assert not missing, missing


run(test)
