"""A guest is made, found, renamed and deleted with the keyboard alone."""

import os

from driver import run, wait_for


def test(application):
    window = application.window("Lodge")
    window.wait_for_text("No Guests Yet")
    application.keys("ctrl+n")
    wizard = application.window("New Guest")
    wizard.wait_for_text("Step 1 of 5")
    # Arrows move among the choices; Enter takes one and goes on.
    application.keys("Down")
    application.keys("Down")
    application.keys("Down")
    application.keys("Return")
    wizard.wait_for_text("Step 2 of 3")
    application.keys("Return")
    wizard.wait_for_text("Step 3 of 3")
    application.keys("alt+Left")
    wizard.wait_for_text("Step 2 of 3")
    application.keys("alt+Right")
    wizard.wait_for_text("Step 3 of 3")
    # The name has the keyboard and is selected: typing replaces it.
    application.keys("ctrl+a")
    application.type("mycard")
    wizard.find("check box", "Start Now").turn_over()
    application.keys("Return")
    application.wait_closed("New Guest")
    window.find("list item", "mycard, Off")

    application.keys("ctrl+f")
    search = window.find(("entry", "text"), "Search guests")
    application.type("nothing like it")
    wait_for("no guest is found", lambda: next(window.all("list item", "mycard, Off"), None) is None)
    application.screenshot("not-found")
    application.keys("Escape")
    wait_for("the search is over", lambda: search.entered == "")
    item = window.find("list item", "mycard, Off")

    application.keys("Tab")
    item.click()
    application.keys("F2")
    dialog = application.dialog("Rename “mycard”")
    application.keys("ctrl+a")
    application.type("card")
    application.screenshot("rename")
    application.keys("Return")
    dialog.wait_gone()
    item = window.find("list item", "card, Off")

    item.click()
    application.keys("shift+F10")
    window.find("menu item", "Delete…")
    application.screenshot("menu")
    application.close_menu(window)
    item.click()
    application.keys("Delete")
    dialog = application.dialog("Delete “card”?")
    application.screenshot("delete")
    dialog.find("check box", contains="disk images").click()
    dialog.find("push button", contains="Delete").press()
    dialog.wait_gone()
    wait_for("the guest is gone", lambda: next(window.all("list item", "card, Off"), None) is None)
    data = os.path.join(os.environ["XDG_DATA_HOME"], "lodge")
    wait_for("its image is away", lambda: os.listdir(os.path.join(data, "disks")) == [])
    window.find("push button", contains="Undo").press()
    window.find("list item", "card, Off")
    wait_for("its image is back", lambda: os.listdir(os.path.join(data, "disks")) == ["mycard.raw"])
    application.keys("ctrl+q")
    wait_for("the application ends", lambda: application.process.poll() is not None)
    assert application.process.returncode == 0


run(test)
