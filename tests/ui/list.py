"""Guests that were made elsewhere are listed, searched, renamed to a taken name in vain, and deleted."""

import os
import subprocess

from driver import run, wait_for


def lodgectl(*words):
    return subprocess.run([os.environ["LODGECTL"], *words], check=True, capture_output=True, text=True).stdout


def names(window):
    return [item.name.split(",")[0] for item in window.all("list item")]


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

    # Another program renames and deletes.
    lodgectl("rename", "post", "zebra")
    wait_for("the row moves", lambda: names(window) == ["web-2", "web-10", "zebra"])
    lodgectl("delete", "web-2")
    wait_for("the row is gone", lambda: names(window) == ["web-10", "zebra"])


run(test)
