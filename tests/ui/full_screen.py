"""A guest's screen fills the display and comes back: with a window manager, which grants that."""

import atexit
import json
import subprocess

from driver import SCALE, Failure, run, wait_for
from guests import Serial, display, guest_screen, lodgectl, open_window

WIDTH, HEIGHT = 1600 * SCALE, 1000 * SCALE
# The upper part of the display, where the bar comes.
TOP = 30 * SCALE


def begin_window_manager():
    try:
        manager = subprocess.Popen(["openbox"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except FileNotFoundError:
        print("openbox is missing")
        raise SystemExit(77) from None
    atexit.register(manager.terminate)
    answers = lambda: subprocess.run(["xdotool", "get_num_desktops"], capture_output=True, check=False).returncode == 0
    wait_for("the window manager", answers)


class Screen:
    """How much of the display is the guest's screen, as large as it can be in the middle of it."""

    def __init__(self):
        self.guest, self.display = guest_screen("card"), display()
        self.scale = min(WIDTH / self.guest.width, HEIGHT / self.guest.height)
        self.left = (WIDTH - self.guest.width * self.scale) / 2

    def share(self, first, last, brightest=False):
        """The share of points in these rows of the display that are the guest's. The brightest are those that the bar darkens."""
        same = count = 0
        for y in range(first, last, 5):
            row, guest_row = self.display.row(y), self.guest.row(int(y / self.scale))
            for x in range(int(self.left) + 10, WIDTH - int(self.left) - 10, 13):
                wanted = guest_row[int((x - self.left) / self.scale)]
                if brightest and min(wanted) < 200:
                    continue
                count += 1
                same += all(abs(a - b) < 40 for a, b in zip(row[x], wanted))
        return same / count

    def fills(self):
        return self.share(TOP, HEIGHT) > 0.9


def wait_for_bar(shown):
    def look():
        screen = Screen()
        top = screen.share(0, TOP, brightest=True)
        return screen.fills() and (top < 0.2 if shown else top > 0.85)

    wait_for("the bar is there" if shown else "the guest's screen and nothing else", look)


def point_to(x, y):
    subprocess.run(["xdotool", "mousemove", str(x * SCALE), str(y * SCALE)], check=True)


def is_captured(application):
    return application.window_of("card").name.startswith("card — ")


def click(application):
    """Clicks into the guest's screen."""
    point_to(800, 500)
    subprocess.run(["xdotool", "click", "1"], check=True)
    wait_for("the guest has the keyboard", lambda: is_captured(application))


def let_go(application):
    application.keys("Control_L+Alt_L")
    wait_for("the keyboard is let go", lambda: not is_captured(application))


def x_window(name):
    """The number of the only X window of that name."""
    found = subprocess.run(["xdotool", "search", "--onlyvisible", "--name", f"^{name}"], capture_output=True, text=True, check=False)
    return found.stdout.split()[-1] if found.stdout else None


def focused():
    """The name of the X window that gets keys."""
    return subprocess.run(["xdotool", "getwindowfocus", "getwindowname"], capture_output=True, text=True, check=False).stdout.strip()


def size(number):
    shell = subprocess.run(["xdotool", "getwindowgeometry", "--shell", number], capture_output=True, text=True, check=False).stdout
    facts = dict(line.split("=") for line in shell.split())
    return int(facts.get("WIDTH", 0)), int(facts.get("HEIGHT", 0))


def comes_back(application):
    """The window has its size again when it is opened anew, also by the next application."""
    number = wait_for("the X window", lambda: x_window("card"))
    subprocess.run(["xdotool", "windowsize", "--sync", number, "1010", "650"], check=True)
    # What is remembered is what GTK made of it.
    wait_for("it has another size", lambda: size(number)[0] == 1010)
    click(application)
    let_go(application)
    application.keys("ctrl+shift+w")
    wait_for("the window is closed", lambda: not application.window_of("card"))
    wait_for("the list has the keyboard", lambda: focused() == "Lodge")
    application.keys("ctrl+q")
    wait_for("the application ends", lambda: application.process.poll() is not None)
    application.start()
    application.window("Lodge").find("list item", "card, Running")
    open_window(json.loads(lodgectl("info", "card", "--json"))["uuid"])
    number = wait_for("the X window again", lambda: x_window("card"))
    wait_for("it is as large as it was", lambda: size(number) == (1010, 650))


def test(application):
    begin_window_manager()
    lodgectl("create", "card", "--testcard", "--start")
    serial = Serial()
    serial.wait_for("ready")
    application.window("Lodge").find("list item", "card, Running").click()
    application.keys("ctrl+o")
    window = wait_for("the guest's window", lambda: application.window_of("card"))
    wait_for("the guest has the keyboard", lambda: is_captured(application))
    point_to(800, 600)
    if Screen().fills():
        raise Failure("it fills the display before it is asked to")

    # While the guest has the keyboard it gets every key: it is not reset, which it would tell of.
    before = serial.mark()
    application.keys("ctrl+shift+t")
    serial.wait_for("key 14 up", before)
    assert b"TESTCARD" not in serial.heard[before:], serial.heard[before:]
    let_go(application)

    # The bar, which greets, is gone after a moment. The picture fills the display, also where it does not fill its window.
    application.keys("ctrl+shift+z")
    application.keys("ctrl+shift+Return")
    wait_for_bar(shown=False)
    application.screenshot("full")

    # It comes to the pointer, and goes with it.
    point_to(800, 0)
    wait_for_bar(shown=True)
    point_to(800, 600)
    wait_for_bar(shown=False)

    # Its pointer, which began elsewhere and is moved like a mouse, reaches the edge with the person's.
    before = serial.mark()
    point_to(1279, 500)
    serial.wait_for("pointer 799 ", before)

    # The keyboard is the guest's from a click until the release keys are pressed, and again after a click.
    click(application)
    before = serial.mark()
    application.keys("ctrl+q", "F1", "a")
    serial.wait_for("key 1e up", before)
    assert b"key 10 down" in serial.heard[before:] and b"key 3b down" in serial.heard[before:], serial.heard[before:]
    let_go(application)
    before = serial.mark()
    application.keys("b")
    click(application)
    application.keys("c")
    serial.wait_for("key 2e up", before)
    assert b"key 30" not in serial.heard[before:], "the guest has got a key that was not for it"

    # Its menu is in the bar, which stays for it.
    let_go(application)
    application.keys("ctrl+shift+m")
    window.find("menu item", "Save Screenshot…")
    application.screenshot("menu")
    application.close_menu(window)
    wait_for_bar(shown=False)

    # Back by the bar's button, and by the keys.
    point_to(800, 0)
    wait_for_bar(shown=True)
    window.find("push button", "Leave Full Screen").click()
    wait_for("the window is as it was", lambda: not Screen().fills())
    click(application)
    let_go(application)
    application.keys("ctrl+shift+Return")
    wait_for("it fills the display", lambda: Screen().fills())
    application.keys("ctrl+shift+Return")
    wait_for("the window is as it was", lambda: not Screen().fills())
    window.find("push button", "Full Screen")
    application.screenshot("window")
    comes_back(application)
    lodgectl("destroy", "card")


run(test, shortcuts_act=False)
