"""What scripts with running guests share: the guest's sockets, its screen, and its end."""

import atexit
import csv
import glob
import itertools
import json
import os
import signal
import socket
import subprocess
import sys

import gi

gi.require_version("GdkPixbuf", "2.0")
from gi.repository import GdkPixbuf, Gio, GLib  # noqa: E402

from driver import TIMEOUT, Failure, Widget, wait_for  # noqa: E402


@atexit.register
def end_guests():
    """Guests outlive the application: those of a script that failed must not outlive the test."""
    for path in glob.glob(os.path.join(os.environ["XDG_RUNTIME_DIR"], "lodge", "*", "worker.pid")):
        try:
            with open(path, encoding="ascii") as file:
                os.kill(int(file.read()), signal.SIGTERM)
        except (OSError, ValueError):
            # It has ended meanwhile.
            pass


def lodgectl(*arguments):
    """What `lodgectl` answers."""
    done = subprocess.run([os.environ["LODGECTL"], *arguments], check=False, timeout=TIMEOUT, capture_output=True, text=True)
    if done.returncode != 0:
        raise Failure(f"lodgectl {' '.join(arguments)}: {done.stderr}")
    return done.stdout


def start_linux():
    """Starts a guest `linux`, whose shell is at its serial port; ends the script where the kernel is missing."""
    cache = os.environ.get("LODGE_TEST_CACHE") or os.path.join(os.environ.get("XDG_CACHE_HOME", ""), "lodge-test")
    folder = os.path.join(cache, "guest-kernel")
    if not os.path.exists(os.path.join(folder, "vmlinux")):
        print(f"{folder} is missing")
        sys.exit(77)
    root = os.path.join(os.environ["HOME"], "root.ext4")
    subprocess.run(["cp", "--sparse=always", os.path.join(folder, "root.ext4"), root], check=True)
    kernel = ["--kernel", os.path.join(folder, "vmlinux"), "--cmdline", "console=ttyS0 quiet root=/dev/vda rw init=/init"]
    lodgectl("create", "linux", "--memory", "512MiB", "--network", "none", "--disk", root, *kernel, "--start")


def state(name):
    """The guest's state in a word."""
    listed = json.loads(lodgectl("list", "--all", "--json"))
    return next((guest["state"] for guest in listed if guest["name"] == name), None)


def open_window(uuid):
    """Opens the guest's window as a click on a notification does: the list may be covered."""
    target = GLib.Variant("(sava{sv})", ("open-guest", [GLib.Variant("s", uuid)], {}))
    bus = Gio.bus_get_sync(Gio.BusType.SESSION)
    bus.call_sync("org.lodgevm.Lodge", "/org/lodgevm/Lodge", "org.gtk.Actions", "Activate", target, None, 0, -1, None)


def copy(text):
    """Puts a text on the desktop's clipboard, until another program takes it."""
    xclip = subprocess.Popen(["xclip", "-selection", "clipboard", "-quiet"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    xclip.stdin.write(text.encode())
    xclip.stdin.close()
    return xclip


# Every exported file is another one.
NUMBERS = itertools.count()


def export(application, window):
    """The rows of the file that a page of graphs exports."""
    path = os.path.join(os.environ["HOME"], f"figures-{next(NUMBERS)}.csv")
    window.find("push button", "Export Figures…").press()
    wait_for("the file chooser", lambda: application.has_window("Export Figures"))
    # The proposed name is selected: a path replaces it.
    application.keys("ctrl+a")
    application.type(path)
    application.keys("Return")
    wait_for("the file is written", lambda: os.path.exists(path) and os.path.getsize(path))
    application.wait_closed("Export Figures")
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


class Details(Widget):
    """The page of what the guest of a window consists of; what is looked for in it is found sooner."""

    def __init__(self, window):
        page = window.find("list", "Hardware")
        while next(page.all("push button", "Close this notice"), None) is None:
            page = Widget(page.accessible.get_parent())
        super().__init__(page.accessible)
        # Where toasts appear, and below that the bar that says what can be done with the changes.
        self.toasts, self.bar = wait_for("the bar below the details", self._around)

    def apply(self, application):
        """Applies what was changed. While that is being judged once more, keys are lost."""
        apply, revert = (self.bar.find("push button", name) for name in ("Apply", "Revert"))
        wait_for("it can be applied", lambda: apply.sensitive)

        def is_applied():
            if apply.sensitive:
                application.keys("ctrl+shift+a")
            return not revert.sensitive

        wait_for("it is applied", is_applied)

    def _around(self):
        inside = self
        while inside.role not in ("frame", "window"):
            outside = Widget(inside.accessible.get_parent())
            for other in outside.children():
                if other.accessible != inside.accessible and next(other.all("push button", "Apply"), None):
                    return inside, other
            inside = outside
        return None


class Serial:
    """The serial port of the only running guest."""

    def __init__(self):
        path = wait_for("a running guest", self._path)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(0.05)
        self.socket.connect(path)
        self.heard = b""

    @staticmethod
    def _path():
        paths = glob.glob(os.path.join(os.environ["XDG_RUNTIME_DIR"], "lodge", "*", "serial.sock"))
        return paths[0] if paths else None

    def wait_for(self, text, after=0):
        """Waits until the guest has said `text` behind the first `after` bytes."""

        def look():
            try:
                self.heard += self.socket.recv(4096)
            except TimeoutError:
                pass
            return text.encode() in self.heard[after:]

        wait_for(f"the guest says {text!r}", look)

    def mark(self):
        """How much was said so far."""
        try:
            while True:
                self.heard += self.socket.recv(4096)
        except TimeoutError:
            return len(self.heard)

    def say(self, line):
        self.socket.sendall(line.encode() + b"\n")


class Picture:
    """The pixels of a PNG file."""

    def __init__(self, path):
        pixbuf = GdkPixbuf.Pixbuf.new_from_file(path)
        self.width, self.height = pixbuf.get_width(), pixbuf.get_height()
        self.channels, self.stride = pixbuf.get_n_channels(), pixbuf.get_rowstride()
        self.bytes = pixbuf.get_pixels()

    def row(self, y):
        start = y * self.stride
        line = self.bytes[start : start + self.width * self.channels]
        return [tuple(line[at : at + 3]) for at in range(0, len(line), self.channels)]

    def longest_run(self, wanted):
        """The longest stretch of a row whose pixels satisfy `wanted`."""
        longest = 0
        for y in range(self.height):
            length = 0
            for pixel in self.row(y):
                length = length + 1 if wanted(pixel) else 0
                longest = max(longest, length)
        return longest


def guest_screen(name):
    """The guest's screen as its worker sees it."""
    path = os.path.join(os.environ["HOME"], f"{name}.png")
    lodgectl("screenshot", name, path)
    return Picture(path)


def display():
    """What is on the display."""
    path = os.path.join(os.environ["HOME"], "display.png")
    subprocess.run(["import", "-window", "root", path], check=True)
    return Picture(path)
