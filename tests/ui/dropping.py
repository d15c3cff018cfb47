"""Files are dropped on the list as from a file manager: they begin a new guest, one at a time."""

import os
import subprocess
import sys
import time

from driver import Failure, run, wait_for

ISO = "/usr/lib/grub-rescue/grub-rescue-cdrom.iso"
IMAGE = os.path.join(os.environ["TMPDIR"], "disk.img")
# A window to drag the files from that are its arguments; beside Lodge's, as nobody arranges windows here.
SOURCE = """
import sys
import gi
gi.require_version("Gtk", "4.0")
gi.require_version("Gdk", "4.0")
from gi.repository import Gdk, Gio, Gtk

def fill(application):
    files = Gdk.FileList.new_from_list([Gio.File.new_for_path(path) for path in sys.argv[1:]])
    label = Gtk.Label(label="drag me", width_request=200, height_request=200)
    source = Gtk.DragSource(content=Gdk.ContentProvider.new_for_value(files), actions=Gdk.DragAction.COPY)
    label.add_controller(source)
    Gtk.ApplicationWindow(application=application, title="files", child=label).present()

application = Gtk.Application(flags=Gio.ApplicationFlags.NON_UNIQUE)
application.connect("activate", fill)
application.run([])
"""
# How often a drag is tried: a busy machine may miss its beginning.
ATTEMPTS = 5


def xdotool(*arguments):
    return subprocess.run(["xdotool", *map(str, arguments)], check=True, capture_output=True, text=True).stdout


def drop(paths, is_taken):
    """Drags files from another window to the main one, right of where the wizard covers it."""
    source = subprocess.Popen([sys.executable, "-c", SOURCE, *paths])
    try:
        number = xdotool("search", "--sync", "--onlyvisible", "--name", "^files$").split()[-1]
        xdotool("windowmove", "--sync", number, 1350, 700)
        for attempt in range(ATTEMPTS):
            xdotool("mousemove", 1450, 800, "mousedown", 1)
            # Slowly, as a hand does it: both sides talk about each step.
            for step in range(1, 12):
                xdotool("mousemove", 1450 - 66 * step, 800 - 45 * step)
                time.sleep(0.1)
            xdotool("mouseup", 1)
            try:
                return wait_for("the files are taken", is_taken, timeout=15)
            except Failure:
                if attempt == ATTEMPTS - 1:
                    raise
    finally:
        source.kill()
        source.wait()


def test(application):
    with open(IMAGE, "wb") as file:
        file.truncate(1 << 20)
    application.window("Lodge").find("push button", "New Guest…")

    def is_said():
        wizards = (window for window in application.root.children() if window.name == "New Guest")
        return any(wizard.has_text("Only the first file was taken") for wizard in wizards)

    drop([ISO, IMAGE], is_said)
    application.screenshot("several")
    wizard = application.window("New Guest")
    wizard.wait_for_text("Step 2 of 5")
    assert wizard.find("text", "ISO image").entered == ISO
    wizard.find("label", contains="ISO image, boots")

    # The wizard that is open takes the next one.
    drop([IMAGE], lambda: wizard.has_text("Step 2 of 4"))
    assert wizard.find("text", "Disk image").entered == IMAGE
    wizard.find("push button", "Next").press()
    wizard.wait_for_text("Step 3 of 4")
    application.screenshot("another")


run(test)
