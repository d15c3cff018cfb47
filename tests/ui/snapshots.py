"""The snapshots page: taken of a running guest and of one that is off, described, gone back to and deleted."""

import json

from driver import run, wait_for
from guests import lodgectl, state


def snapshots():
    return {snapshot["name"]: snapshot for snapshot in json.loads(lodgectl("snapshot", "list", "card", "--json"))}


def press(dialog, button):
    dialog.find("push button", contains=button).press()


def test(application):
    lodgectl("create", "card", "--testcard", "--start")
    application.window("Lodge").find("list item", "card, Running").click()
    application.keys("ctrl+o")
    window = wait_for("the guest's window", lambda: application.window_of("card"))
    window.wait_for_text("Running")
    application.keys("ctrl+shift+n")
    window.wait_for_text("No Snapshots")
    application.screenshot("none")

    # With the memory of the running guest, from the page's button.
    application.keys("ctrl+shift+k")
    dialog = application.dialog("Take a Snapshot of “card”")
    application.screenshot("take")
    dialog.find("text", "Name").enter("running")
    dialog.find("text", "Description").enter("with all that is in memory")
    press(dialog, "Take")
    window.find("list item", contains="running, Today")
    wait_for("it runs again", lambda: snapshots()["running"]["state"] and state("card") == "running")
    application.screenshot("one")

    # What others do is seen, and what is wrong with a name is said.
    lodgectl("destroy", "card")
    lodgectl("snapshot", "create", "card", "off")
    window.find("list item", contains="off, Today")
    application.keys("ctrl+shift+k")
    dialog = application.dialog("Take a Snapshot of “card”")
    assert dialog.find("text", "Name").entered == "snapshot-1"
    dialog.find("text", "Name").enter("off")
    dialog.wait_for_text("Another snapshot has this name.")
    dialog.find("text", "Name").enter("last")
    press(dialog, "Take")
    window.find("list item", contains="last, Today")
    application.screenshot("three")

    # Back to where it ran.
    window.find("push button", "Revert to running").press()
    dialog = application.dialog("Revert to “running”?")
    application.screenshot("revert")
    wait_for("it is to go on", lambda: dialog.find("check box", contains="Go on").checked)
    press(dialog, "Revert")
    window.find("list item", "Now: Running")
    wait_for("it is the current one", lambda: snapshots()["running"]["current"])
    application.screenshot("reverted")

    # Another name, and away with it.
    row = window.find("list item", contains="off, Today")
    row.click()
    dialog = application.dialog("Snapshot “off”")
    application.screenshot("edit")
    dialog.find("text", "Name").enter("switched off")
    press(dialog, "Save")
    window.find("list item", contains="switched off, Today")
    lodgectl("destroy", "card")
    window.find("list item", "Now: Off")
    window.find("push button", "Menu of switched off").click()
    window.find("menu item", contains="Delete").press()
    dialog = application.dialog("Delete the Snapshot “switched off”?")
    dialog.wait_for_text("is merged into")
    application.screenshot("delete")
    press(dialog, "Delete")
    wait_for("the snapshot is gone", lambda: sorted(snapshots()) == ["last", "running"])
    wait_for("its row is gone", lambda: not window.has_text("switched off, Today"))
    application.screenshot("deleted")


run(test)
