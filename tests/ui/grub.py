"""The whole way of a new user: New, an ISO image, the wizard's steps, Finish; the console shows GRUB's menu."""

import os
import sys

from driver import TIMEOUT, run, wait_for
from guests import display, guest_screen, lodgectl, state

ISO = "/usr/lib/grub-rescue/grub-rescue-cdrom.iso"
# GRUB's menu marks its chosen entry with a light bar across most of the screen.
GREY = (170, 170, 170)


def bar(picture):
    return picture.longest_run(lambda pixel: pixel == GREY)


def is_greyish(pixel):
    """As `GREY`, when the window has scaled it."""
    return min(pixel) > 120 and max(pixel) < 220


def test(application):
    window = application.window("Lodge")
    window.wait_for_text("No Guests Yet")
    application.keys("ctrl+n")
    wizard = application.window("New Guest")
    wizard.wait_for_text("Step 1 of 5")
    next_button = wizard.find("push button", "Next")
    next_button.press()
    wizard.wait_for_text("Step 2 of 5")
    wizard.find("text", "ISO image").enter(ISO)
    wizard.find("label", contains="ISO image, boots")
    for step in (3, 4, 5):
        next_button.press()
        wizard.wait_for_text(f"Step {step} of 5")
        if step == 3:
            wizard.find("spin button", "Memory").set_value(128)
        if step == 4:
            wizard.find("spin button", "Size").set_value(1)
    wizard.find("text", "Name").enter("rescue")
    wizard.find("push button", "Create").press()
    application.wait_closed("New Guest")

    wait_for("the guest runs", lambda: state("rescue") == "running")
    # The worker's picture first: GRUB takes half a minute where the host has no virtualization extensions.
    wait_for("GRUB's menu on the guest's screen", lambda: bar(guest_screen("rescue")) > 400, 4 * TIMEOUT)
    wait_for("GRUB's menu on the display", lambda: display().longest_run(is_greyish) > 400)
    application.screenshot("menu")
    lodgectl("destroy", "rescue")
    wait_for("the guest is off", lambda: state("rescue") == "off")


if not os.path.exists(ISO):
    print("skipped: the package grub-rescue-pc is missing")
    sys.exit(77)
run(test)
