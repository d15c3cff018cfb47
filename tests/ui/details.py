"""What a guest consists of is edited in its window: shown, judged at its field, applied or forgotten, and never in spite of another."""

import json
import os
import subprocess

from driver import run, wait_for
from guests import lodgectl


def definition():
    """The text of the only guest's definition."""
    (folder,) = os.scandir(os.path.join(os.environ["XDG_DATA_HOME"], "lodge", "guests"))
    with open(os.path.join(folder.path, "guest.toml"), encoding="utf-8") as file:
        return file.read()


def edit(name, old, new):
    """Changes the definition as a person does in a shell."""
    command = [os.environ["LODGECTL"], "edit", name]
    editor = f"sed -i 's/{old}/{new}/'"
    subprocess.run(command, check=True, env={**os.environ, "EDITOR": editor, "VISUAL": editor}, capture_output=True)


def choose(window, entry):
    """Opens a page."""
    window.find("list item", contains=entry).click()


def processors_and_memory(application, window):
    choose(window, "Processors")
    vcpus = window.find("spin button", "vCPUs")
    vcpus.set_value(1000)
    wait_for("too many vCPUs are complained of", lambda: "at most" in vcpus.description)
    application.keys("ctrl+shift+a")
    vcpus.set_value(2)
    wait_for("two vCPUs are fine", lambda: "at most" not in vcpus.description)
    choose(window, "Memory")
    window.find("spin button", "Memory").set_value(768)
    window.find("push button", "Apply").press()
    wait_for("both are stored", lambda: "vcpus = 2" in definition() and 'memory = "768 MiB"' in definition())
    application.screenshot("memory")

    # Somebody else changes something else, then the same.
    window.find("spin button", "Memory").set_value(512)
    edit("web", "vcpus = 2", "vcpus = 1 # enough")
    window.find("list item", "Processors, 1 virtual CPU")
    window.find("push button", "Apply").press()
    wait_for("both changes are there", lambda: 'memory = "512 MiB"' in definition() and "# enough" in definition())
    window.find("spin button", "Memory").set_value(600)
    edit("web", "512 MiB", "640 MiB")
    window.wait_for_text("Somebody else has changed the same.")
    application.screenshot("conflict")
    application.keys("ctrl+shift+a")
    window.find("push button", "Reload").press()
    wait_for("theirs is shown", lambda: window.find("spin button", "Memory").value == 640)
    assert 'memory = "640 MiB"' in definition()


def name_and_text(application, window):
    choose(window, "Overview")
    name = window.find("text", "Name")
    name.enter("a/b")
    wait_for("a slash is complained of", lambda: "slash" in name.description)
    name.enter("mail")
    window.find("text", "Description").enter("For letters")
    application.keys("ctrl+shift+a")
    wait_for("the guest has another name", lambda: "mail" in lodgectl("list", "--all"))
    window = wait_for("the window has it too", lambda: application.window_of("mail"))
    assert 'description = "For letters"' in definition()

    choose(window, "Definition, As text")
    text = window.find("text", "Text of the definition")
    whole = text.entered
    assert "# enough" in whole
    text.enter(whole.replace("vcpus = 1", "vcpus = 0"))
    wait_for("the line is named", lambda: "vcpus" in text.description)
    application.screenshot("text")
    application.keys("ctrl+shift+u")
    wait_for("the text is as before", lambda: window.find("text", "Text of the definition").entered == whole)
    window.find("text", "Text of the definition").enter(whole.replace("vcpus = 1", "vcpus = 2"))
    wait_for("it can be applied", lambda: window.find("push button", "Apply").sensitive)
    application.keys("ctrl+shift+a")
    wait_for("the text is stored", lambda: "vcpus = 2 # enough" in definition())


def test(application):
    lodgectl("create", "web", "--memory", "1GiB")
    application.window("Lodge").find("list item", "web, Off").click()
    application.keys("ctrl+o")
    window = wait_for("the guest's window", lambda: application.window_of("web"))
    application.keys("ctrl+shift+o")
    processors_and_memory(application, window)
    name_and_text(application, window)


run(test)
