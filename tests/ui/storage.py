"""Pools and the disks in them are made, grown, copied, checked and deleted; a deleted guest is brought back."""

import json
import os

from driver import run, wait_for
from guests import lodgectl

HOME = os.environ["HOME"]


def volumes(pool):
    return {volume["name"]: volume for volume in json.loads(lodgectl("volume", "list", pool, "--json"))}


def press(dialog, button):
    """Presses a button of a dialog, which closes it: what is clicked before it has gone is lost."""
    dialog.find("push button", contains=button).press()
    dialog.wait_gone()


def choose(window, thing, entry):
    """Chooses an entry of the menu of a pool or a disk."""
    window.find("push button", f"Menu of {thing}").click()
    window.find("menu item", contains=entry).press()


def test(application):
    lodgectl("create", "web", "--disk", "size=1GiB")
    application.keys("ctrl+k")
    window = application.window("Host")
    window.find("list item", contains="disk of web")

    window.find("push button", "Add Pool…").press()
    dialog = application.dialog("Add a Pool")
    dialog.find("text", "Name").enter("two words")
    dialog.wait_for_text("A name cannot contain slashes or spaces.")
    dialog.find("text", "Name").enter("fast")
    dialog.find("text", "Folder").enter(f"{HOME}/images")
    press(dialog, "Add")

    window.find("push button", "New disk in fast").press()
    dialog = application.dialog("New Disk in “fast”")
    dialog.find("text", "Name").enter("data")
    dialog.find("spin button", "Size").set_value(2)
    press(dialog, "Create")
    window.find("list item", contains="data.qcow2")
    assert volumes("fast")["data.qcow2"]["capacity"] == 2 << 30
    application.screenshot("made")

    choose(window, "data.qcow2", "Grow")
    dialog = application.dialog("Grow “data.qcow2”")
    dialog.wait_for_text("It has 2\xa0GiB.")
    size = dialog.find("spin button", "New Size")
    assert size.value == 3, size.value
    size.set_value(1)
    dialog.wait_for_text("A disk can only grow here.")
    size.set_value(3)
    press(dialog, "Grow")
    wait_for("the disk is larger", lambda: volumes("fast")["data.qcow2"]["capacity"] == 3 << 30)
    window.find("list item", contains="3\xa0GiB")

    choose(window, "data.qcow2", "Check")
    dialog = application.dialog("“data.qcow2” Was Checked")
    dialog.wait_for_text("Nothing is wrong.")
    press(dialog, "Close")

    choose(window, "data.qcow2", "Copy or Convert")
    dialog = application.dialog("Copy “data.qcow2”")
    application.screenshot("copy")
    dialog.find("text", "Name").enter("copy")
    press(dialog, "Copy")
    window.find("list item", contains="copy.qcow2")
    assert "copy.qcow2" in volumes("default")

    # What a guest uses is not deleted, and what nobody uses only after a question.
    choose(window, "web.qcow2", "Delete")
    dialog = application.dialog("“web.qcow2” Could Not Be Deleted")
    dialog.wait_for_text("it is a disk of")
    press(dialog, "Close")
    choose(window, "copy.qcow2", "Delete")
    press(application.dialog("Delete “copy.qcow2”?"), "Delete")
    wait_for("the copy is gone", lambda: list(volumes("default")) == ["web.qcow2"])

    choose(window, "fast", "Remove Pool")
    press(application.dialog("Remove the Pool “fast”?"), "Remove")
    wait_for("the pool is gone", lambda: not window.has_text("fast"))
    wait_for("its images are left", lambda: os.listdir(f"{HOME}/images") == ["data.qcow2"])

    window.find("page tab", "Networks").click()
    window.find("list item", contains="Through the host (NAT)")
    application.screenshot("networks")

    lodgectl("delete", "web", "--disks")
    window.find("page tab", "Deleted Guests").click()
    window.find("list item", contains="with 1 disk")
    application.screenshot("trash")
    window.find("push button", "Bring back web").press()
    application.window("Lodge").find("list item", "web, Off")
    wait_for("its disk is back", lambda: list(volumes("default")) == ["web.qcow2"])
    window.wait_for_text("No Deleted Guests")


run(test)
