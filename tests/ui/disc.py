"""The disc in a guest's drive is ejected and another one inserted from the guest's window."""

import json
import os

from driver import run, wait_for
from guests import lodgectl

ISO = "/usr/lib/grub-rescue/grub-rescue-cdrom.iso"


def drive():
    """The drive as the worker sees it."""
    return next(block for block in json.loads(lodgectl("qmp", "card", "query-block")) if block["removable"])


def disc():
    return (drive().get("inserted") or {}).get("file")


def test(application):
    other = os.path.join(os.environ["HOME"], "other.iso")
    os.symlink(ISO, other)
    lodgectl("create", "card", "--testcard", "--cdrom", ISO, "--start")
    application.window("Lodge").find("list item", "card, Running").click()
    application.keys("ctrl+o")
    window = wait_for("the guest's window", lambda: application.window_of("card"))
    assert disc() == ISO
    window.wait_for_text("Running")

    application.keys("ctrl+shift+j")
    wait_for("the disc is out", lambda: disc() is None and drive()["tray_open"])
    application.screenshot("ejected")

    application.keys("ctrl+shift+i")
    chooser = wait_for("the file chooser", lambda: application.has_window("Insert Disc"))
    assert chooser
    application.screenshot("chooser")
    # A slash lets a path be typed.
    application.type(other)
    application.keys("Return")
    wait_for("the disc is in the drive", lambda: disc() == other)
    wait_for("the definition names the disc", lambda: other in lodgectl("info", "card"))
    application.screenshot("inserted")

    application.keys("ctrl+shift+m")
    window.find(contains="Eject Disc")
    application.screenshot("menu")
    lodgectl("destroy", "card")


run(test)
