"""Each preference is changed in the window, is stored, and has its effect."""

import os
import subprocess
import time

from driver import run, wait_for
from guests import Serial, copy, display, export, lodgectl, state
from media import rescue_image

CONFIG = os.path.join(os.environ["XDG_CONFIG_HOME"], "lodge")
DARK = 60


def stored(line, name="preferences.toml"):
    path = os.path.join(CONFIG, name)
    if not os.path.exists(path):
        return False
    with open(path, encoding="utf-8") as file:
        return line in file.read()


def choose(application, window, title, entry, downs):
    """Chooses an entry of a row, which is so many below the chosen one."""
    row = window.find("combo box", title)
    row.click()
    application.keys(*["Down"] * downs, "Return")
    wait_for(f"{entry} is chosen", lambda: row.has_text(entry))


def prefer(application, folder):
    application.keys("ctrl+comma")
    window = application.window("Preferences")
    window.find(name="Network")
    choose(application, window, "Style", "Dark", 2)
    wait_for("the style is stored", lambda: stored('style = "dark"', "window.toml"))
    choose(application, window, "Graphs Get New Figures", "Every 5 seconds", 2)
    choose(application, window, "Pool for Disks", "fast", 1)
    choose(application, window, "Network", "Isolated network private", 1)
    choose(application, window, "Keys That Let the Keyboard Go", "Right Ctrl", 2)
    choose(application, window, "Keyboard Layout of Typed Text", "US", 1)
    # From the last one to the first: each is in the keyboard's reach.
    for title in ("Keep the Computer Awake", "Tell of Guests That Turn Themselves Off", "Notifications",
                  "Before a Guest Is Reset", "Before a Guest Is Forced Off", "Shortcuts While the Guest Has the Keyboard",
                  "Resize Guest to Window", "Scale in Full Screen", "Scale to Window"):
        window.find("check box", title).press()
    for line in ("graph_seconds = 5", 'release_keys = "right-ctrl"', 'typed_text = "us"', 'new_guest_pool = "fast"', "keep_awake = true",
                 "notify_ends = false", "notify = false", "confirm_reset = true", "confirm_force_off = false",
                 "window_shortcuts = true", "resize_to_window = false", "scale_to_window = false", "scale_full_screen = false", "[new_guest_network]"):
        wait_for(f"{line!r} is stored", lambda: stored(line))
    application.screenshot("changed")
    application.keys("Escape")
    application.wait_closed("Preferences")


def new_guest(application, folder):
    """A new guest is offered the pool and the network."""
    application.keys("ctrl+n")
    wizard = application.window("New Guest")
    wizard.wait_for_text("Step 1 of 5")
    application.keys("alt+Right")
    wizard.wait_for_text("Step 2 of 5")
    wizard.find("text", "ISO image").enter(rescue_image())
    wizard.find("label", contains="ISO image, boots")
    application.keys("alt+Right")
    wizard.wait_for_text("Step 3 of 5")
    wait_for("the network", lambda: wizard.find("combo box", "Network").has_text("Isolated network private"))
    application.keys("alt+Right")
    wizard.wait_for_text("Step 4 of 5")
    wizard.find("label", contains=folder)
    application.keys("Escape")
    application.wait_closed("New Guest")


def figures_since(application, guest, moment, count):
    """The seconds of the figures since then, once there are so many."""
    wait_for("the next figure", lambda: time.time() > moment + 5 * count)
    seconds = [int(row["unix_time"]) for row in export(application, guest)]
    later = [second for second in seconds if second > moment]
    return later if len(later) >= count else None


def guest_window(application, window):
    lodgectl("create", "card", "--testcard", "--start")
    Serial().wait_for("ready")
    window.find("list item", "card, Running").click()
    application.keys("ctrl+o")
    guest = wait_for("the guest's window", lambda: application.window_of("card"))
    guest.wait_for_text("Running")
    application.keys("ctrl+shift+m")
    for entry in ("Scale to Window", "Resize Guest to Window"):
        assert not guest.find(("menu item", "check menu item"), entry).checked, entry
    application.close_menu(guest)
    guest.find("image", "Screen of the guest").click()
    wait_for("the title names the key", lambda: application.has_window("card — Right Ctrl lets the keyboard go"))
    # By its key code: xdotool presses the left one, too, when it is asked for the right one by name.
    application.keys("105")
    wait_for("the keyboard is let go", lambda: application.has_window("card"))

    # A text is typed as on a US keyboard, though the desktop has another one.
    subprocess.run(["setxkbmap", "de"], check=True)
    copied, serial = copy("z"), Serial()
    application.keys("ctrl+shift+Insert")
    serial.wait_for("key 2c down")
    subprocess.run(["setxkbmap", "us"], check=True)
    copied.kill()
    copied.wait()

    application.keys("ctrl+shift+x")
    guest.find("label", contains="Of the host: ")
    wait_for("the first figures", lambda: any("MiB" in label.name for label in guest.all("label", contains="Of the host: ")))

    # A figure that comes late does not change how many there are in the end.
    preferred = time.time()
    later = wait_for("five figures", lambda: figures_since(application, guest, preferred, 5))
    assert later[-1] - later[0] >= 4 * (len(later) - 1), later
    application.keys("ctrl+shift+t")
    dialog = application.dialog("Reset “card”?")
    application.keys("Escape")
    dialog.wait_gone()
    # Nothing is asked.
    application.keys("ctrl+shift+f")
    wait_for("the guest is off", lambda: state("card") == "off")
    # Which window gets keys after a dialog is for a window manager to say, and there is none.
    guest.find("push button", "Close").press()
    wait_for("its window is closed", lambda: not application.window_of("card"))


def test(application):
    window = application.window("Lodge")
    folder = os.path.join(os.environ["HOME"], "images")
    lodgectl("pool", "add", "fast", "--path", folder)
    window.wait_for_text("No Guests Yet")
    wait_for("the window is light", lambda: not is_dark())
    prefer(application, folder)
    wait_for("the window is dark", is_dark)
    new_guest(application, folder)
    guest_window(application, window)

    # All of it holds when the application is started again.
    application.keys("ctrl+q")
    wait_for("the application ends", lambda: application.process.poll() is not None)
    application.start()
    wait_for("the window is dark", is_dark)
    application.keys("ctrl+comma")
    preferences = application.window("Preferences")
    for title, entry in [("Style", "Dark"), ("Pool for Disks", "fast"), ("Network", "Isolated network private")]:
        wait_for(f"{title} is {entry}", lambda: preferences.find("combo box", title).has_text(entry))
    assert preferences.find("check box", "Before a Guest Is Reset").checked
    assert not preferences.find("check box", "Notifications").checked


def is_dark():
    """Whether the middle of the window is."""
    return max(display().row(560)[420]) < DARK


run(test, shortcuts_act=False)
