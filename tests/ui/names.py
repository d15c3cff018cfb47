"""Every control of every window, page, menu and dialog of a machine without running guests has a name that says what it is for,
which is what screen readers speak. With `LODGE_TEST_SCREENSHOTS` each is on a picture."""

import os

from driver import Atspi, run, wait_for
from guests import lodgectl
from media import rescue_image
from nameless import Tour

LONG = "a-guest-whose-name-is-so-long-that-it-does-not-fit-anywhere"


def wizard(application, tour):
    """Each page, on the way to each kind of guest."""
    application.keys("ctrl+n")
    window = application.window("New Guest")
    window.wait_for_text("Step 1 of 5")
    tour.see(window, "kinds")
    forward = window.find("push button", "Next")
    forward.press()
    window.wait_for_text("Step 2 of 5")
    window.find("text", "ISO image").enter(rescue_image())
    window.find("label", contains="ISO image, boots")
    tour.see(window, "media")
    forward.press()
    window.wait_for_text("Step 3 of 5")
    window.find("list item", "Arrangement of the vCPUs").click()
    window.find("spin button", "Sockets")
    tour.see(window, "resources")
    forward.press()
    window.wait_for_text("Step 4 of 5")
    tour.see(window, "new-storage")
    window.find("check box", "Choose a disk image").click()
    window.find("text", "Disk image")
    tour.see(window, "storage")
    window.find("check box", "No disk").click()
    forward.press()
    window.wait_for_text("Step 5 of 5")
    tour.see(window, "summary")
    for step in (4, 3, 2, 1):
        window.find("push button", "Back").press()
        window.wait_for_text(f"Step {step} of 5")
    window.find("check box", "Boot a Linux kernel").click()
    forward.press()
    window.find("text", "Linux kernel")
    tour.see(window, "kernel")
    application.keys("Escape")
    application.wait_closed("New Guest")


def dialogs_of_the_list(application, tour, window):
    window.find("list item", "web, Off").click()
    for key, heading, name in [
        ("F2", "Rename “web”", "rename"),
        ("ctrl+shift+n", "Clone “web”", "clone"),
        ("Delete", "Delete “web”?", "delete"),
    ]:
        application.keys(key)
        tour.close(application.dialog(heading), name)
    application.keys("ctrl+a", "Delete")
    tour.close(application.dialog("Delete 4 Guests?"), "delete-all")
    window.find("list item", "web, Off").click()
    for key, entry, name in [("shift+F10", "Delete…", "menu"), ("F10", "Preferences", "main-menu")]:
        application.keys(key)
        window.find("menu item", entry)
        tour.close(window, name, is_dialog=False)
    *_, view = window.all("push button", "View")
    view.press()
    window.find("menu item", "Tag")
    tour.close(window, "view-menu", is_dialog=False)
    application.keys("ctrl+g")
    window.find("list item", "Group shop, 1 guest")
    tour.see(window, "grouped")
    application.keys("ctrl+g", "ctrl+f")
    window.find(("entry", "text"), "Search guests").enter("nobody")
    window.wait_for_text("No Guest Found")
    tour.see(window, "not-found")
    application.keys("Escape")
    window.find("list item", "web, Off")


def choose(window, thing, entry):
    window.find("push button", f"Menu of {thing}").click()
    window.find("menu item", contains=entry).press()


def host(application, tour):
    application.keys("ctrl+h")
    check = application.window("Host Check")
    tour.see(check, "host-check")
    application.keys("Escape")
    application.wait_closed("Host Check")

    application.keys("ctrl+u")
    window = application.window("Host")
    window.find("image", "Graph: Memory Saved by KSM")
    application.screenshot("usage")
    application.keys("Escape")
    application.wait_closed("Host")
    application.keys("ctrl+k")
    window = application.window("Host")
    window.find("list item", contains="disk of web")
    application.screenshot("pools")
    window.find("push button", "Add Pool…").press()
    tour.close(application.dialog("Add a Pool"), "add-pool")
    window.find("push button", "New disk in default").press()
    tour.close(application.dialog("New Disk in “default”"), "new-disk")
    for entry, heading, name in [
        ("Grow", "Grow “free.qcow2”", "grow"),
        ("Copy or Convert", "Copy “free.qcow2”", "copy"),
        ("Check", "“free.qcow2” Was Checked", "checked"),
        ("Delete", "Delete “free.qcow2”?", "delete-disk"),
    ]:
        choose(window, "free.qcow2", entry)
        tour.close(application.dialog(heading), name)
    choose(window, "fast", "Remove Pool")
    tour.close(application.dialog("Remove the Pool “fast”?"), "remove-pool")
    window.find("push button", "Menu of fast").click()
    window.find("menu item", contains="Import Image")
    application.screenshot("pool-menu")
    application.close_menu(window)
    application.keys("Escape")
    application.wait_closed("Host")

    application.keys("ctrl+e")
    window = application.window("Host")
    window.find("list item", contains="Through the host (NAT)")
    application.screenshot("networks")
    application.keys("Escape")
    application.wait_closed("Host")
    application.keys("ctrl+BackSpace")
    window = application.window("Host")
    window.find("list item", contains="with 1 disk")
    # All pages of the window are looked at in one go.
    tour.see(window, "trash")
    choose(window, "gone", "Remove for Good")
    tour.close(application.dialog("Remove “gone” for Good?"), "remove-for-good")
    window.find("push button", "Remove All…").press()
    tour.close(application.dialog("Remove All Deleted Guests for Good?"), "remove-all")
    application.keys("Escape")
    application.wait_closed("Host")


def about_the_application(application, tour):
    application.keys("ctrl+comma")
    preferences = application.window("Preferences")
    preferences.find(name="Pool for Disks")
    preferences.find(name="Network")
    tour.see(preferences, "preferences")
    application.keys("Escape")
    application.wait_closed("Preferences")
    application.keys("F1")
    window = application.window("Help")
    topics = window.find("list", "Topics")
    # Down from the first one on.
    for number, topic in enumerate(list(topics.all("list item"))):
        wait_for(f"{topic} is selected", lambda: topic.has(Atspi.StateType.SELECTED))
        tour.see(window, f"help-{number}")
        application.keys("Down")
    assert number == 6
    application.keys("Escape")
    application.wait_closed("Help")
    application.keys("ctrl+question")
    tour.close(application.window("Keyboard Shortcuts"), "shortcuts")
    application.keys("F10")
    application.window("Lodge").find("menu item", "About Lodge").press()
    tour.close(application.dialog("The Lodge developers"), "about")


def test(application):
    tour = Tour(application)
    window = application.window("Lodge")
    window.wait_for_text("No Guests Yet")
    tour.see(window, "empty")
    wizard(application, tour)
    lodgectl("create", "web", "--memory", "64MiB", "--disk", "size=1GiB")
    lodgectl("tag", "web", "shop")
    lodgectl("create", "mail", "--memory", "64MiB")
    lodgectl("create", LONG, "--memory", "64MiB")
    lodgectl("create", "broken", "--memory", "64MiB")
    lodgectl("create", "gone", "--memory", "64MiB", "--disk", "size=1GiB")
    lodgectl("delete", "gone", "--disks")
    folder = os.path.join(os.environ["HOME"], "images")
    lodgectl("pool", "add", "fast", "--path", folder)
    lodgectl("volume", "create", "default", "free", "--size", "1GiB")
    data = os.path.join(os.environ["XDG_DATA_HOME"], "lodge", "guests", "broken", "guest.toml")
    with open(data, "a", encoding="utf-8") as file:
        file.write("colour = 7\n")
    window.find("list item", contains="broken, ")
    wait_for("a broken one", lambda: "colour" in window.find("list item", contains="broken, ").name)
    window.find("list item", contains="web, Off")
    tour.see(window, "list")
    dialogs_of_the_list(application, tour, window)
    host(application, tour)
    about_the_application(application, tour)
    tour.end()


run(test)
