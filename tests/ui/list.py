"""Guests that were made elsewhere are listed, searched, renamed to a taken name in vain, and deleted."""

import os
import re

from driver import Atspi, run, wait_for
from guests import lodgectl
from nameless import nameless


def names(window):
    return [item.name.split(",")[0] for item in window.all("list item")]


def rows(window):
    """Guests and headings, as a screen reader says them."""
    return [item.name if item.name.startswith("Group ") else item.name.split(",")[0] for item in window.all("list item")]


def in_groups(application, window):
    """The list is grouped, and a group collapsed, by keyboard; both are remembered. A heading stands for no guest."""
    shop, untagged = "Group shop, 2 guests", "Group Without Tags, 3 guests"
    application.keys("ctrl+g")
    wait_for("the guests are grouped", lambda: rows(window) == [shop, "web-2", "web-10", untagged, "post", "x-1", "x-2"])
    application.screenshot("grouped")
    faults = nameless(window)
    assert not faults, faults
    window.find("list item", "web-10, Off").click()
    application.keys("Left")
    heading = window.find("list item", shop)
    wait_for("the heading has the keyboard", lambda: heading.has(Atspi.StateType.FOCUSED))
    assert heading.has(Atspi.StateType.EXPANDED)
    application.keys("Left")
    wait_for("the group is collapsed", lambda: rows(window) == [shop, untagged, "post", "x-1", "x-2"])
    application.keys("Delete")
    application.screenshot("collapsed")
    wait_for("it is remembered", lambda: 'collapsed = ["shop"]' in settings() and "group_by_tag = true" in settings())
    search = window.find(("entry", "text"), "Search guests")
    application.keys("ctrl+f")
    search.enter("web-1")
    wait_for("it is found in its group", lambda: rows(window) == ["Group shop, 1 guest", "web-10"])
    application.keys("Escape")
    wait_for("the group is collapsed again", lambda: rows(window) == [shop, untagged, "post", "x-1", "x-2"])
    # Typing in the list searches, too.
    window.find("list item", "x-1, Off").click()
    application.type("post")
    wait_for("what was typed is found", lambda: rows(window)[1:] == ["post"])
    application.keys("Escape")
    wait_for("all are there again", lambda: rows(window) == [shop, untagged, "post", "x-1", "x-2"])
    window.find("list item", shop).click()
    application.keys("Right")
    wait_for("the group is expanded", lambda: len(rows(window)) == 7)

    # The heading's menu selects its guests, for all that can be done to several.
    window.find("list item", untagged).click()
    application.keys("shift+F10")
    window.find("menu item", "Collapse All Groups")
    application.screenshot("group-menu")
    window.find("menu item", "Select Its Guests").press()
    wait_for("they are selected", lambda: window.find("list item", "x-2, Off").has(Atspi.StateType.SELECTED))
    application.keys("Delete")
    dialog = application.dialog("Delete 3 Guests?")
    application.keys("Escape")
    dialog.wait_gone()
    window.find("push button", "Collapse shop").press()
    wait_for("it is collapsed by the pointer", lambda: rows(window) == [shop, untagged, "post", "x-1", "x-2"])
    application.keys("ctrl+g")
    wait_for("it is a plain list again", lambda: rows(window) == ["post", "web-2", "web-10", "x-1", "x-2"])


def all_columns(window):
    """Whatever is shown of them, all of each guest's row is in the window."""

    def edge(widget):
        extents = widget.accessible.get_component_iface().get_extents(Atspi.CoordType.WINDOW)
        return extents.x + extents.width

    usual = edge(window)
    *_, view = window.all("push button", "View")
    for column in ("Disk Transfers", "Network Transfers"):
        view.press()
        window.find(("menu item", "check menu item"), column).press()
    wait_for("the columns are remembered", lambda: '"disk", "network"' in " ".join(settings().split()))
    menus = list(window.all("push button", contains="Menu of "))
    wait_for("all of each row is in the window", lambda: menus and all(edge(menu) < usual - 10 for menu in menus))
    assert edge(window) == usual, (edge(window), usual)


def smallest(application):
    """In the smallest window the rows have the same room at both sides, and names are not cut off to nothing."""
    application.stop()
    path = os.path.join(os.environ["XDG_CONFIG_HOME"], "lodge", "window.toml")
    text = re.sub(r"(?m)^width = .*$", "width = 360", settings())
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    lodgectl("create", "card", "--testcard", "--start")
    application.start()
    window = application.window("Lodge")
    card = window.find("list item", "card, Running")
    name = card.find("label", "card")
    extents = lambda widget: widget.accessible.get_component_iface().get_extents(Atspi.CoordType.WINDOW)

    def is_even():
        (row, whole) = (extents(card), extents(window))
        return row.x > 12 and row.x + row.width == whole.width - row.x

    wait_for("the rows are in the middle", is_even)
    application.screenshot("smallest")
    assert extents(window).width < 640, extents(window).width
    assert extents(name).width > 40, extents(name).width
    lodgectl("destroy", "card")
    lodgectl("delete", "card")
    return window


def settings():
    """What is remembered of the list."""
    path = os.path.join(os.environ["XDG_CONFIG_HOME"], "lodge", "window.toml")
    with open(path, encoding="utf-8") as file:
        return file.read()


def test(application):
    window = application.window("Lodge")
    for name in ("web-10", "web-2", "mail"):
        lodgectl("create", name, "--memory", "64MiB")
    wait_for("the guests are listed in order", lambda: names(window) == ["mail", "web-2", "web-10"])
    application.screenshot("three")

    application.keys("ctrl+f")
    search = window.find(("entry", "text"), "Search guests")
    search.enter("WEB")
    wait_for("two are found", lambda: names(window) == ["web-2", "web-10"])
    application.keys("Escape")
    wait_for("all are shown again", lambda: len(names(window)) == 3)

    window.find("list item", "mail, Off").click()
    application.keys("F2")
    dialog = application.dialog("Rename “mail”")
    entry = dialog.find("text", "Name")
    entry.enter("web-2")
    dialog.wait_for_text("Another guest has this name.")
    application.screenshot("taken")
    entry.enter("post")
    dialog.find("push button", contains="Rename").press()
    dialog.wait_gone()
    wait_for("the guest has its new name", lambda: names(window) == ["post", "web-2", "web-10"])

    # Several are selected: one menu, one question. A tag finds them, also from the menu.
    lodgectl("tag", "web-2", "shop")
    lodgectl("tag", "web-10", "Shop", "db")
    window.find("push button", "View")
    *_, inner = window.all("push button", "View")
    inner.press()
    window.find("menu item", "Tag").press()
    window.find("menu item", "Shop").press()
    wait_for("those with the tag are found", lambda: names(window) == ["web-2", "web-10"])
    application.screenshot("tag")
    application.keys("Escape")
    wait_for("all are shown again", lambda: len(names(window)) == 3)
    for name in ("x-1", "x-2"):
        lodgectl("create", name, "--memory", "64MiB")
    window.find("list item", "x-1, Off").click()
    wait_for("x-2 is listed", lambda: "x-2" in names(window))
    application.keys("shift+Down", "Delete")
    dialog = application.dialog("Delete 2 Guests?")
    dialog.wait_for_text("“x-1”, “x-2”")
    application.screenshot("delete-two")
    dialog.find("push button", contains="Delete").press()
    dialog.wait_gone()
    wait_for("both are gone", lambda: names(window) == ["post", "web-2", "web-10"])
    window.find("push button", contains="Undo").press()
    wait_for("both are back", lambda: names(window) == ["post", "web-2", "web-10", "x-1", "x-2"])
    in_groups(application, window)
    for name in ("x-1", "x-2"):
        lodgectl("delete", name)

    all_columns(window)

    if os.access("/dev/kvm", os.R_OK | os.W_OK):
        window = smallest(application)

    # Another program renames and deletes.
    lodgectl("rename", "post", "zebra")
    wait_for("the row moves", lambda: names(window) == ["web-2", "web-10", "zebra"])
    lodgectl("delete", "web-2")
    wait_for("the row is gone", lambda: names(window) == ["web-10", "zebra"])


run(test)
