"""What a guest consists of is edited in its window: shown, judged at its field, applied or forgotten, and never in spite of another."""

import json
import os
import subprocess

from driver import run, wait_for
from guests import lodgectl

ISO = "/usr/lib/grub-rescue/grub-rescue-cdrom.iso"


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


def disks(application, window):
    data = os.path.join(os.environ["XDG_DATA_HOME"], "lodge", "disks")
    application.keys("ctrl+shift+b")
    window.find("menu item", "Disk…").press()
    dialog = application.dialog("Add a Disk")
    application.screenshot("add-disk")
    dialog.find("spin button", "Size").set_value(0)
    wait_for("no room is complained of", lambda: "some room" in dialog.find("spin button", "Size").description)
    dialog.find("spin button", "Size").set_value(1)
    dialog.find("push button", contains="Add").press()
    dialog.wait_gone()
    window.find("list item", "Disk disk0, mail.qcow2")
    assert os.listdir(data) == ["mail.qcow2"]

    window.wait_for_text("1\xa0GiB, qcow2")
    window.find("push button", "Grow…").press()
    dialog = application.dialog("Grow “disk0”")
    dialog.find("spin button", "New Size").set_value(2)
    dialog.find("push button", contains="Grow").press()
    dialog.wait_gone()
    window.wait_for_text("2\xa0GiB, qcow2")
    serial = window.find("text", "Serial number")
    serial.enter("too long a serial number")
    wait_for("the serial number is complained of", lambda: "20" in serial.description)
    serial.enter("A-17")
    window.find("spin button", "Requests").set_value(500)
    window.find("check box", "Read-Only").press()
    wait_for("it can be applied", lambda: window.find("push button", "Apply").sensitive)
    application.screenshot("disk")
    application.keys("ctrl+shift+a")
    wait_for("all is stored", lambda: all(line in definition() for line in
             ['serial = "A-17"', "total_iops_sec = 500", "read_only = true", "# enough"]))

    application.keys("ctrl+shift+x")
    dialog = application.dialog("Remove “Disk disk0”?")
    application.screenshot("remove")
    dialog.find("check box", contains="image too").click()
    dialog.find("push button", contains="Remove").press()
    dialog.wait_gone()
    wait_for("the disk is gone", lambda: "[[disk]]" not in definition() and os.listdir(data) == [])


def drives(application, window):
    """With two drives, each has its own disc, while the guest runs."""
    for _ in range(2):
        count = definition().count("[[disk]]")
        application.keys("ctrl+shift+b")
        window.find("menu item", "CD-ROM Drive").press()
        wait_for("the drive is there", lambda: definition().count("[[disk]]") == count + 1)
    window.find("list item", "CD-ROM Drive cdrom1, Empty")
    lodgectl("start", "mail")
    wait_for("the guest runs", lambda: window.has_text("Running"))
    window.wait_for_text("It is changed at once")
    window.find("push button", "Insert…").press()
    wait_for("the file chooser", lambda: application.has_window("Insert Disc"))
    application.type(ISO)
    application.keys("Return")
    window.find("list item", "CD-ROM Drive cdrom1, grub-rescue-cdrom.iso")
    blocks = json.loads(lodgectl("qmp", "mail", "query-block"))
    inside = [(block.get("inserted") or {}).get("file") for block in blocks if block["removable"]]
    assert inside == [None, ISO], inside
    application.screenshot("drive")
    window.find("push button", "Eject").press()
    window.find("list item", "CD-ROM Drive cdrom1, Empty")


def test(application):
    lodgectl("create", "web", "--memory", "1GiB")
    application.window("Lodge").find("list item", "web, Off").click()
    application.keys("ctrl+o")
    window = wait_for("the guest's window", lambda: application.window_of("web"))
    application.keys("ctrl+shift+o")
    processors_and_memory(application, window)
    name_and_text(application, window)
    window = application.window_of("mail")
    disks(application, window)
    if os.access("/dev/kvm", os.R_OK | os.W_OK):
        drives(application, window)
        lodgectl("destroy", "mail")


run(test)
