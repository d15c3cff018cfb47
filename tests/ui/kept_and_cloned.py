"""A running guest's state is kept and goes on later, or is discarded; and the guest is cloned."""

import json

from driver import run, wait_for
from guests import lodgectl, state


def disk(name):
    return json.loads(lodgectl("info", name, "--json"))["disk"][0]["path"]


def test(application):
    lodgectl("create", "card", "--testcard", "--start")
    window = application.window("Lodge")
    window.find("list item", "card, Running").click()

    application.keys("ctrl+s")
    window.find("list item", "card, Saved")
    wait_for("it is saved", lambda: state("card") == "saved")
    application.screenshot("saved")
    application.keys("ctrl+r")
    window.find("list item", "card, Running")

    application.keys("ctrl+s")
    window.find("list item", "card, Saved").click(button=3)
    window.find("menu item", contains="Restore")
    application.screenshot("menu")
    window.find("menu item", contains="Discard Saved State").press()
    dialog = application.dialog("Discard the Saved State of “card”?")
    dialog.find("push button", contains="Discard").press()
    dialog.wait_gone()
    window.find("list item", "card, Off")

    application.keys("ctrl+shift+n")
    dialog = application.dialog("Clone “card”")
    application.screenshot("clone")
    dialog.find("text", "Name").enter("card")
    dialog.wait_for_text("Another guest has this name.")
    dialog.find("text", "Name").enter("copy")
    wait_for("disks are to be copied", lambda: dialog.find("check box", "Copy Disks").checked)
    dialog.find("push button", contains="Clone").press()
    dialog.wait_gone()
    window.find("list item", "copy, Off")
    assert disk("copy") != disk("card")
    application.screenshot("cloned")

    # Without copies both go on from what there is now.
    original = disk("card")
    application.keys("ctrl+shift+n")
    dialog = application.dialog("Clone “card”")
    dialog.find("text", "Name").enter("linked")
    wait_for("disks are to be copied", lambda: dialog.find("check box", "Copy Disks").checked)
    dialog.find("check box", "Copy Disks").click()
    dialog.find("push button", contains="Clone").press()
    window.find("list item", "linked, Off")
    # Nothing of all this was worth telling, unless the machine has let a worker answer late.
    told = [title for title in application.notifications.told if title != "card: Not responding"]
    assert not told, told
    info = json.loads(lodgectl("info", "linked", "--json"))
    assert any(layer["path"] == original for layer in info["disk"][0]["backing"])


run(test)
