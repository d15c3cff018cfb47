"""As on a fresh machine: the empty page, the wizard step by step with an ISO image, the guest in the list."""

import glob
import os

from driver import run
from media import rescue_image


def test(application):
    window = application.window("Lodge")
    window.wait_for_text("No Guests Yet")
    application.screenshot("empty")
    window.find("push button", "New Guest…").press()

    wizard = application.window("New Guest")
    wizard.wait_for_text("Step 1 of 5")
    next_button = wizard.find("push button", "Next")
    next_button.press()

    wizard.wait_for_text("Step 2 of 5")
    wizard.find("text", "ISO image").enter(rescue_image())
    wizard.find("label", contains="ISO image, boots")
    application.screenshot("media")
    next_button.press()

    wizard.wait_for_text("Step 3 of 5")
    wizard.find("label", contains="This host has")
    wizard.find("spin button", "Memory").set_value(256)
    application.screenshot("resources")
    next_button.press()

    wizard.wait_for_text("Step 4 of 5")
    wizard.find("label", contains="are free in")
    wizard.find("spin button", "Size").set_value(1)
    application.screenshot("storage")
    next_button.press()

    wizard.wait_for_text("Step 5 of 5")
    # Going back and forward keeps what was entered.
    for step in (4, 3, 2):
        wizard.find("push button", "Back").press()
        wizard.wait_for_text(f"Step {step} of 5")
    assert wizard.find("text", "ISO image").entered == rescue_image()
    for step in (3, 4, 5):
        next_button.press()
        wizard.wait_for_text(f"Step {step} of 5")
    memory = wizard.find("spin button", "Memory")
    assert memory.value == 256, memory.value
    wizard.find("text", "Name").enter("rescue")
    memory = wizard.find("list", "Summary").find("list item", "Memory")
    assert "256" in memory.description, memory.description
    start = wizard.find("check box", "Start Now")
    start.turn_over()
    application.screenshot("summary")
    wizard.find("push button", "Create").press()

    application.wait_closed("New Guest")
    window.find("list item", "rescue, Off")
    application.screenshot("list")
    data = os.path.join(os.environ["XDG_DATA_HOME"], "lodge")
    assert os.path.exists(os.path.join(data, "guests", "rescue", "guest.toml"))
    assert len(glob.glob(os.path.join(data, "disks", "rescue*"))) == 1


run(test)
