"""Drives the real application as a person with a screen reader would: through AT-SPI and the keyboard.

The scripts of this folder are run by tests/ui_atspi.rs, each on a screen, a session bus and home folders of its own.
"""

import os
import signal
import subprocess
import sys
import time
import traceback

import gi

gi.require_version("Atspi", "2.0")
from gi.repository import Atspi, GLib  # noqa: E402

from notifications import Notifications  # noqa: E402

# Generous, since machines that test are busy; a condition that holds is seen at once.
TIMEOUT = float(os.environ.get("LODGE_TEST_TIMEOUT", "120"))
# Pixels of the screen for one of GTK's.
SCALE = int(os.environ.get("GDK_SCALE", "1"))


class Failure(Exception):
    """What a person would complain of."""


def wait_for(what, condition, timeout=TIMEOUT):
    """The first true value of `condition()`; fails with `what` when there is none in time (seconds)."""
    deadline = time.monotonic() + timeout
    while True:
        # Lets the events come in that tell Atspi of applications and windows.
        while GLib.MainContext.default().iteration(False):
            pass
        try:
            value = condition()
        except GLib.Error:
            # The widget went away while it was looked at.
            value = None
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failure(f"waited in vain: {what}")
        time.sleep(0.05)


class Widget:
    """One accessible object."""

    def __init__(self, accessible):
        self.accessible = accessible

    def __repr__(self):
        try:
            return f"{self.role} {self.name!r}"
        except GLib.Error:
            return "what is gone"

    @property
    def name(self):
        return self.accessible.get_name() or ""

    @property
    def description(self):
        return self.accessible.get_description() or ""

    @property
    def role(self):
        return self.accessible.get_role_name()

    def has(self, state):
        return self.accessible.get_state_set().contains(state)

    @property
    def visible(self):
        # GTK 4.8 sets "showing" for windows only.
        return self.has(Atspi.StateType.VISIBLE)

    @property
    def sensitive(self):
        return self.has(Atspi.StateType.SENSITIVE)

    @property
    def checked(self):
        return self.has(Atspi.StateType.CHECKED)

    def children(self):
        for index in range(self.accessible.get_child_count()):
            child = self.accessible.get_child_at_index(index)
            if child is not None:
                yield Widget(child)

    def walk(self, hidden=False):
        """This widget and all below it that are not hidden. Other pages of a stack count as not hidden."""
        yield self
        for child in self.children():
            if hidden or child.visible:
                yield from child.walk(hidden)

    def all(self, role=None, name=None, contains=None):
        """The widgets below of this role whose name is `name`, or contains `contains`."""
        for widget in self.walk():
            if role is not None and widget.role not in ([role] if isinstance(role, str) else role):
                continue
            if name is not None and widget.name != name:
                continue
            if contains is not None and contains not in widget.name:
                continue
            yield widget

    def find(self, role=None, name=None, contains=None):
        """The first such widget, as soon as there is one."""
        what = f"a {role or 'widget'} {name or contains or ''!r} in {self!r}"
        return wait_for(what, lambda: next(self.all(role, name, contains), None))

    def has_text(self, text):
        return next(self.all(contains=text), None) is not None

    def wait_for_text(self, text):
        wait_for(f"the text {text!r} in {self!r}", lambda: self.has_text(text))

    def press(self):
        """Presses a button, toggles a check box, activates a row."""
        wait_for(f"{self!r} can be pressed", lambda: self.sensitive)
        action = self.accessible.get_action_iface()
        if action is None or action.get_n_actions() == 0:
            raise Failure(f"{self!r} cannot be pressed")
        action.do_action(0)

    def turn_over(self):
        """Turns a switch over, which takes its time: it moves there first."""
        before = self.checked
        self.press()
        wait_for(f"{self!r} is turned over", lambda: self.checked != before)

    def click(self, button=1):
        """Clicks at the middle, with the pointer. Windows lie at the screen's corner: there is no window manager."""
        left, top, width, height = wait_for(f"{self!r} has its place", self._place)
        x, y = (left + width // 2) * SCALE, (top + height // 2) * SCALE
        subprocess.run(["xdotool", "mousemove", str(x), str(y), "click", str(button)], check=True)

    def _place(self):
        """Where it is in its window, once that is laid out: what is new has no size before, and what is beside it moves."""

        def extents():
            found = self.accessible.get_component_iface().get_extents(Atspi.CoordType.WINDOW)
            return found.x, found.y, found.width, found.height

        before = extents()
        time.sleep(0.05)
        return before if min(before[2:]) > 0 and extents() == before else None

    @property
    def entered(self):
        """The text that is entered."""
        text = self._holder().accessible.get_text_iface()
        # GTK 4.8 takes -1 for nothing and not for the end.
        return Atspi.Text.get_text(text, 0, text.get_character_count())

    def enter(self, text):
        """Replaces what is entered."""
        self._holder().accessible.get_editable_text_iface().set_text_contents(text)
        wait_for(f"{text!r} is in {self!r}", lambda: self.entered == text)

    def _holder(self):
        for widget in self.walk():
            if widget.accessible.get_editable_text_iface() is not None:
                return widget
        raise Failure(f"nothing can be entered into {self!r}")

    def wait_gone(self):
        """Waits until this window is closed."""

        def gone():
            try:
                return not any(child.accessible == self.accessible for child in Widget(self.accessible.get_parent()).children())
            except (GLib.Error, AttributeError):
                return True

        wait_for(f"{self!r} is closed", gone)

    @property
    def value(self):
        return self.accessible.get_value_iface().get_current_value()

    def set_value(self, value):
        iface = self.accessible.get_value_iface()
        iface.set_current_value(value)
        wait_for(f"{self!r} is {value}", lambda: self.value == value)


class Application:
    """The running application."""

    def __init__(self):
        self.process = None
        self.root = None
        # What it tells the desktop; without a service for it GIO would complain each time.
        self.notifications = Notifications()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, kind, error, trace):
        if error is not None:
            # First of all: what follows is long, and may be cut.
            traceback.print_exception(kind, error, trace, file=sys.stdout)
            self.screenshot("failure")
            if self.process.poll() is not None:
                print(f"the application ended with status {self.process.returncode}, and had said:")
                print("\n".join(self.said()[-20:]))
            elif self.root is not None:
                self.print_tree()
        self.stop()

    def start(self):
        program = os.environ["LODGE"]
        # GTK gives its accessibility tree to nobody before somebody has asked; the registry must be there first.
        Atspi.init()
        # In milliseconds. Usually it is less than a second, after which what was asked has failed.
        Atspi.set_timeout(int(TIMEOUT * 1000), int(TIMEOUT * 1000))
        self.process = subprocess.Popen([program], stderr=subprocess.PIPE, text=True)
        self.root = wait_for("the application", self.look)
        return self

    def look(self):
        if self.process.poll() is not None:
            raise Failure(f"the application ended with status {self.process.returncode}")
        desktop = Atspi.get_desktop(0)
        for index in range(desktop.get_child_count()):
            child = desktop.get_child_at_index(index)
            if child is not None and child.get_process_id() == self.process.pid and child.get_child_count() > 0:
                # Atspi's copy of a window that comes or goes is now and then torn; asking is slower and always true.
                child.set_cache_mask(Atspi.Cache.NONE)
                return Widget(child)
        return None

    def window(self, name, role=("frame", "window", "dialog")):
        return self.root.find(role, name)

    def dialog(self, heading):
        """The dialog with this heading. The newest windows, which are the last ones, are looked at first."""

        def shown():
            windows = reversed(list(self.root.children()))
            return next((window for window in windows if window.visible and window.has_text(heading)), None)

        return wait_for(f"the dialog {heading!r}", shown)

    def type(self, text):
        """Types a text."""
        subprocess.run(["xdotool", "type", "--clearmodifiers", "--delay", "20", text], check=True)

    def window_of(self, guest):
        """The window of a guest, if it is open: its title begins with the guest's name."""
        return next((child for child in self.root.children() if child.name.startswith(guest)), None)

    def has_window(self, name):
        return any(child.name == name for child in self.root.children())

    def wait_closed(self, name):
        wait_for(f"the window {name!r} is closed", lambda: not self.has_window(name))
        # As a screen reader does that has counted the windows before: GTK 4.8 gives it the last one, which must not be hidden.
        self.root.accessible.get_child_at_index(99)

    def keys(self, *keys):
        """Presses keys, as xdotool names them: `ctrl+n`, `Escape`."""
        subprocess.run(["xdotool", "key", "--clearmodifiers", *keys], check=True)

    def close_menu(self, window):
        """Closes the open menu of a window with Escape: what is pressed or clicked before it has gone may be lost."""
        self.keys("Escape")
        entries = ("menu item", "check menu item", "radio menu item")
        wait_for("the menu is closed", lambda: next(window.all(entries), None) is None)

    def screenshot(self, name):
        folder = os.environ.get("LODGE_TEST_SCREENSHOTS")
        if folder:
            path = os.path.join(folder, f"{os.path.basename(sys.argv[0])[:-3]}-{name}.png")
            subprocess.run(["import", "-window", "root", path], check=False)

    def print_tree(self):
        def show(widget, depth):
            states = [(Atspi.StateType.SELECTED, ", selected"), (Atspi.StateType.FOCUSED, ", has the keyboard")]
            state = "".join(told for state, told in states if widget.has(state))
            print("  " * depth + repr(widget) + (f" ({widget.description})" if widget.description else "") + state)
            for child in widget.children():
                if child.visible:
                    show(child, depth + 1)

        try:
            show(self.root, 0)
        except GLib.Error as error:
            print(f"the tree cannot be read: {error}")

    def said(self):
        """The lines that the application has written to its standard error since this was asked last."""
        os.set_blocking(self.process.stderr.fileno(), False)
        return (self.process.stderr.buffer.read() or b"").decode(errors="replace").splitlines()

    def complaints(self):
        """What the application and its libraries have complained of."""
        lines = [line for line in self.said() if "WARNING" in line or "CRITICAL" in line or "panicked" in line]
        # GTK 4.8's own: it miscounts when a widget that is being clicked goes away, and without a window manager the
        # keyboard's focus jumps. Its shortcuts window measures empty labels wrongly.
        known = ("Broken accounting of active state", "did not receive a focus-out event", "reported min width -3")
        return [line for line in lines if not any(text in line for text in known)]

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(TIMEOUT)


def prefer(line):
    """Writes a preference before the application starts for the first time."""
    folder = os.path.join(os.environ["XDG_CONFIG_HOME"], "lodge")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "preferences.toml"), "a", encoding="utf-8") as file:
        file.write(line + "\n")


def run(test, shortcuts_act=True):
    """Runs `test(application)`, says what went wrong and ends the script. Unless the guest is to get every key (`shortcuts_act`), the
    shortcuts of its window act whenever they are pressed, also when it takes the keyboard meanwhile."""
    try:
        if shortcuts_act:
            prefer("window_shortcuts = true")
        with Application() as application:
            test(application)
            complaints = application.complaints()
            if complaints:
                raise Failure("the application complained:\n" + "\n".join(complaints))
    except (Failure, AssertionError):
        # It was told when it left the application.
        sys.exit(1)
    print("ok")
