"""What is entered wrongly is said at its field, and the wizard does not go on."""

import os

from driver import run, wait_for


def said(field):
    """What screen readers are told of the field."""
    return field.description


def refused(application, wizard, steps, here):
    """Tries to go on from step `here`. Going back afterwards leads to the step before only if that was refused."""
    application.keys("alt+Right", "alt+Left")
    wizard.wait_for_text(f"Step {here - 1} of {steps}")
    application.keys("alt+Right")
    wizard.wait_for_text(f"Step {here} of {steps}")


def test(application):
    application.keys("ctrl+n")
    wizard = application.window("New Guest")
    next_button = wizard.find("push button", "Next")
    next_button.press()
    wizard.wait_for_text("Step 2 of 5")

    home = os.environ["HOME"]
    empty = os.path.join(home, "empty.iso")
    open(empty, "w").close()
    truncated = os.path.join(home, "truncated.qcow2")
    with open(truncated, "wb") as file:
        file.write(b"QFI\xfb\x00\x00\x00\x03" + bytes(20))
    image = wizard.find("text", "ISO image")
    for entered, complaint in [
        ("", "Choose a file"),
        (os.path.join(home, "nothing.iso"), "no such file"),
        (home, "a folder"),
        (empty, "empty"),
        (truncated, "cut off"),
    ]:
        image.enter(entered)
        wait_for(f"{entered!r} is complained of: {said(image)!r}", lambda: complaint in said(image))
        refused(application, wizard, 5, 2)
    application.screenshot("media")

    # The test card needs no image.
    wizard.find("push button", "Back").press()
    wizard.wait_for_text("Step 1 of 5")
    wizard.find("check box", "Test card").click()
    wizard.wait_for_text("Step 1 of 3")
    next_button.press()
    wizard.wait_for_text("Step 2 of 3")

    memory = wizard.find("spin button", "Memory")
    vcpus = wizard.find("spin button", "vCPUs")
    for field, entered, complaint in [
        (memory, 0, "needs some memory"),
        (memory, 1 << 20, "Choose less"),
        (vcpus, 0, "needs a vCPU"),
        (vcpus, 1000, "at most"),
    ]:
        usual = field.value
        field.set_value(entered)
        wait_for(f"{entered} is complained of: {said(field)!r}", lambda: complaint in said(field))
        refused(application, wizard, 3, 2)
        application.screenshot("resources")
        field.set_value(usual)
        wait_for(f"{usual} is fine: {said(field)!r}", lambda: complaint not in said(field))
    next_button.press()
    wizard.wait_for_text("Step 3 of 3")

    name = wizard.find("text", "Name")
    for entered, complaint in [
        ("", "Give the guest a name"),
        ("a/b", "slash"),
        (".hidden", "dot"),
        ("x" * 300, "too long"),
    ]:
        name.enter(entered)
        wait_for(f"{entered!r} is complained of: {said(name)!r}", lambda: complaint in said(name))
        refused(application, wizard, 3, 3)
    application.screenshot("name")
    application.keys("Escape")
    application.wait_closed("New Guest")
    assert not os.path.exists(os.path.join(os.environ["XDG_DATA_HOME"], "lodge", "guests", "x" * 300))


run(test)
