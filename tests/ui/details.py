"""What a guest consists of is edited in its window: shown, judged at its field, applied or forgotten, and never in spite of another."""

import json
import os
import socket
import subprocess

from driver import Atspi, Failure, Widget, run, wait_for
from guests import Details, lodgectl, state
from nameless import nameless

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


def top(widget):
    return widget.accessible.get_component_iface().get_extents(Atspi.CoordType.WINDOW).y


def height(widget):
    return widget.accessible.get_component_iface().get_extents(Atspi.CoordType.WINDOW).height


def width(widget):
    return widget.accessible.get_component_iface().get_extents(Atspi.CoordType.WINDOW).width


def switch(window, name):
    """Turns a switch over."""
    window.find("check box", name).turn_over()


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
    window.bar.find("push button", "Apply").press()
    wait_for("both are stored", lambda: "vcpus = 2" in definition() and 'memory = "768 MiB"' in definition())
    application.screenshot("memory")

    # Somebody else changes something else, then the same.
    window.find("spin button", "Memory").set_value(512)
    edit("web", "vcpus = 2", "vcpus = 1 # enough")
    window.find("list item", "Processors, 1 virtual CPU")
    window.bar.find("push button", "Apply").press()
    wait_for("both changes are there", lambda: 'memory = "512 MiB"' in definition() and "# enough" in definition())
    window.find("spin button", "Memory").set_value(600)
    edit("web", "512 MiB", "640 MiB")
    window.wait_for_text("Somebody else has changed the same.")
    application.screenshot("conflict")
    application.keys("ctrl+shift+a")
    window.find("push button", "Reload").press()
    wait_for("theirs is shown", lambda: window.find("spin button", "Memory").value == 640)
    assert 'memory = "640 MiB"' in definition()


def let_in(application, window, who, keys):
    """Chooses who may see the guest's screen."""
    window.find("combo box", "Viewers").click()
    window.find("label", who)
    application.keys(*keys, "Return")


def network_screen(application, window):
    choose(window, "Display")
    let_in(application, window, "On other computers too", ["Down", "Down"])
    password = window.find("text", "Password")
    wait_for("a password is suggested", lambda: len(password.entered) == 8)
    application.screenshot("viewers")
    password.enter("")
    wait_for("others need a password", lambda: "need a password" in password.description)
    password.enter("secret")
    wait_for("there is one", lambda: "need a password" not in password.description)
    window.find("spin button", "Port").set_value(5907)
    window.apply(application)
    stored = ["[display.listen]", 'address = "0.0.0.0"', "port = 5907", 'password = "secret"', "tls = true"]
    wait_for("it is stored", lambda: all(line in definition() for line in stored))
    let_in(application, window, "Nobody", ["Up", "Up"])
    window.apply(application)
    wait_for("nobody is let in any more", lambda: "display.listen" not in definition())


def name_and_text(application, window):
    choose(window, "Overview")
    name = window.find("text", "Name")
    name.enter("a/b")
    wait_for("a slash is complained of", lambda: "slash" in name.description)
    name.enter("mail")
    window.find("text", "Description").enter("For letters")
    switch(window, "Start at Login")
    window.apply(application)
    wait_for("the guest has another name", lambda: "mail" in lodgectl("list", "--all"))
    wait_for("the window has it too", lambda: application.window_of("mail"))
    wait_for("the description is stored", lambda: 'description = "For letters"' in definition())
    entry = os.path.join(os.environ["XDG_CONFIG_HOME"], "autostart", "lodge-guests.desktop")
    wait_for("it is started at login", lambda: os.path.exists(entry))
    application.window("Lodge").find("list item", "mail, Off, starts at login")

    choose(window, "Definition, As text")
    text = window.find("text", "Text of the definition")
    whole = text.entered
    assert "# enough" in whole
    text.enter(whole.replace("vcpus = 1", "vcpus = 0"))
    wait_for("the line is named", lambda: "vcpus" in text.description)
    application.screenshot("text")
    (uuid,) = [line for line in whole.splitlines() if line.startswith("uuid")]
    text.enter(whole.replace(uuid, 'uuid = "00000000-0000-4000-8000-000000000001"'))
    wait_for("another UUID is refused", lambda: "it stays" in text.description)
    assert not window.bar.find("push button", "Apply").sensitive
    choose(window, "Definition, As text")
    application.keys("ctrl+shift+u")
    wait_for("the text is as before", lambda: window.find("text", "Text of the definition").entered == whole)
    window.find("text", "Text of the definition").enter(whole.replace("vcpus = 1", "vcpus = 2"))
    window.apply(application)
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
    wait_for("its image is there", lambda: os.listdir(data) == ["mail.qcow2"])

    window.wait_for_text("1\xa0GiB, qcow2")
    grow(application, window, 2)
    if os.access("/dev/kvm", os.R_OK | os.W_OK):
        lodgectl("start", "mail")
        wait_for("the guest runs", lambda: state("mail") == "running")
        grow(application, window, 3)
        (disk,) = [block["inserted"] for block in json.loads(lodgectl("qmp", "mail", "query-block")) if not block["removable"]]
        assert disk["image"]["virtual-size"] == 3 << 30, disk
        lodgectl("destroy", "mail")
    raw = os.path.join(os.environ["TMPDIR"], "other.img")
    with open(raw, "wb") as file:
        file.truncate(2 << 20)
    another_image(application, window, raw, "2\xa0MiB, raw")
    another_image(application, window, os.path.join(data, "mail.qcow2"), "GiB, qcow2")
    serial = window.find("text", "Serial number")
    serial.enter("too long a serial number")
    wait_for("the serial number is complained of", lambda: "20" in serial.description)
    serial.enter("A-17")
    window.find("spin button", "Requests").set_value(500)
    switch(window, "Read-Only")
    application.screenshot("disk")
    window.apply(application)
    wait_for("all is stored", lambda: all(line in definition() for line in
             ['serial = "A-17"', "total_iops_sec = 500", "read_only = true", "# enough"]))

    application.keys("ctrl+shift+l")
    dialog = application.dialog("Remove “Disk disk0”?")
    application.screenshot("remove")
    dialog.find("check box", contains="image too").click()
    dialog.find("push button", contains="Remove").press()
    dialog.wait_gone()
    wait_for("the disk is gone", lambda: "[[disk]]" not in definition() and os.listdir(data) == [])


def grow(application, window, gib):
    """Makes the disk as large as is offered, which is the next whole size."""
    window.find("push button", "Grow…").press()
    dialog = application.dialog("Grow “disk0”")
    size = dialog.find("spin button", "New Size").value
    assert size == gib, size
    dialog.find("push button", contains="Grow").press()
    dialog.wait_gone()
    window.wait_for_text(f"{gib}\xa0GiB, qcow2")


def another_image(application, window, path, facts):
    """Has the disk in another image, whose format is found out."""
    window.find("push button", "Choose Another…").press()
    dialog = application.dialog("Another Image for “disk0”")
    dialog.find("text", "Disk image").enter(path)
    choose_it = dialog.find("push button", "_Choose Choose")
    wait_for("it was looked at", lambda: choose_it.sensitive)
    application.screenshot("another-image")
    choose_it.press()
    dialog.wait_gone()
    window.wait_for_text(facts)
    window.apply(application)
    name = f'format = "{facts[-5:].lstrip(", ")}"'
    wait_for("it is stored", lambda: f'path = "{path}"' in definition() and name in definition())


def balloon(application, window):
    """A guest that starts from nothing has no driver: that is said, and that nothing changes."""
    choose(window, "Memory")
    window.wait_for_text("has no driver for it yet")
    application.screenshot("balloon")
    window.find("push button", "Set").press()
    window.toasts.find("label", contains="nothing changes until it has one")


def drives(application, window):
    """With two drives, each has its own disc, while the guest runs."""
    for _ in range(2):
        count = definition().count("[[disk]]")
        application.keys("ctrl+shift+b")
        window.find("menu item", "CD-ROM Drive").press()
        wait_for("the drive is there", lambda: definition().count("[[disk]]") == count + 1)
    window.find("list item", "CD-ROM Drive cdrom1, Empty")
    lodgectl("start", "mail")
    window.wait_for_text("It is changed at once")
    window.find("push button", "Insert…").press()
    wait_for("the file chooser", lambda: application.has_window("Insert Disc"))
    application.type(ISO)
    application.keys("Return")
    # What is told appears where it covers the page, and not the bar.
    window.toasts.find("label", contains="was inserted")
    window.find("list item", "CD-ROM Drive cdrom1, grub-rescue-cdrom.iso")
    blocks = json.loads(lodgectl("qmp", "mail", "query-block"))
    inside = [(block.get("inserted") or {}).get("file") for block in blocks if block["removable"]]
    assert inside == [None, ISO], inside
    application.screenshot("drive")
    window.find("push button", "Eject").press()
    window.find("list item", "CD-ROM Drive cdrom1, Empty")


def unplug(window, is_out):
    """What was stored comes back from the library in a while, and has the page made anew: a press may be lost with the old one."""
    for attempt in range(5):
        cable = window.find("check box", "Cable Plugged In")
        wait_for("it is plugged in", lambda: cable.checked)
        cable.press()
        try:
            return wait_for("the cable is out", is_out, timeout=15)
        except Failure:
            if attempt == 4:
                raise


def card(application, window):
    """A port is forwarded and the cable unplugged while the guest runs; then the card is connected with something else."""
    choose(window, "Network Card 1")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        window.find("push button", "Forward a Port…").press()
        dialog = application.dialog("New Forwarded Port")
        port = dialog.find("spin button", "Port of the Host")
        port.set_value(taken.getsockname()[1])
        wait_for("a taken port is complained of", lambda: "cannot be had" in port.description)
        application.screenshot("forward")
    with socket.create_server(("127.0.0.1", 0)) as free:
        number = free.getsockname()[1]
    port.set_value(number)
    wait_for("a free port is taken", lambda: dialog.find("push button", contains="Forward").sensitive)
    dialog.find("push button", contains="Forward").press()
    dialog.wait_gone()
    window.bar.wait_for_text("This applies at once.")
    application.screenshot("card")
    window.apply(application)
    forwards = lambda: json.loads(lodgectl("network", "forward", "list", "mail", "--json"))
    wait_for("the port is forwarded", lambda: [forward["port"] for forward in forwards()] == [number])
    wait_for("it is stored", lambda: f"port = {number}" in definition())
    net = lambda: json.loads(lodgectl("qmp", "mail", "x-lodge-statistics"))["networks"][0]
    unplug(window, lambda: not net()["link"])

    mac = window.find("text", "Address (MAC)")
    usual = mac.entered
    mac.enter("01:02")
    wait_for("a wrong address is complained of", lambda: "no address of a card" in mac.description)
    mac.enter(usual)


def boot(application, window):
    choose(window, "Boot, ")
    window.find("push button", "Move CD-ROM Drive cdrom1 up").press()
    window.find("push button", "Move CD-ROM Drive cdrom0 up")
    switch(window, "Boot a Linux Kernel Directly")
    kernel = window.find("text", "Linux kernel")
    wait_for("a kernel is missed", lambda: "Choose a file" in kernel.description)
    window.bar.wait_for_text("Choose a Linux kernel, or switch its direct boot off.")
    wait_for("the bar is below the toasts", lambda: top(window.bar) >= top(window.toasts) + height(window.toasts) > 0)
    application.screenshot("boot")
    switch(window, "Boot a Linux Kernel Directly")
    choose(window, "Other Devices")
    switch(window, "vsock")
    cid = window.find("spin button", "Address (CID)")
    cid.set_value(1)
    wait_for("an impossible address is complained of", lambda: "no guest" in cid.description)
    cid.set_value(7)
    window.bar.wait_for_text("This applies at the guest’s next start.")
    application.screenshot("others")
    window.apply(application)
    wait_for("all is stored", lambda: "vsock = 7" in definition() and definition().count("\nboot = ") == 2)


def showing(application, window):
    """Viewers come to the running guest as soon as that is applied, and no longer."""
    shown = lambda: json.loads(lodgectl("vnc", "mail", "--json"))["address"]
    choose(window, "Display")
    let_in(application, window, "On this computer", ["Down"])
    window.find("spin button", "Port").set_value(0)
    window.bar.wait_for_text("This applies at once.")
    application.screenshot("showing")
    window.apply(application)
    wait_for("viewers come in", shown)
    let_in(application, window, "Nobody", ["Up"])
    window.apply(application)
    wait_for("nobody comes in any more", lambda: shown() is None)


def added(application, window):
    """What is added while the guest runs is there from its next start: nothing of it can be seen or done now, and that is said."""
    application.keys("ctrl+shift+b")
    window.find("menu item", "Network Card").press()
    choose(window, "Network Card 2")
    window.wait_for_text("The guest has it from its next start.")
    window.find("text", "Address (MAC)")
    assert next(window.all("check box", "Cable Plugged In"), None) is None
    window.find("spin button", "Packets Sent").set_value(9)
    window.bar.wait_for_text("This applies at the guest’s next start.")
    window.apply(application)
    wait_for("the limit is stored", lambda: "outbound_packets_sec = 9" in definition())
    application.screenshot("added")
    choose(window, "Overview")
    window.wait_for_text("At the Next Start")
    application.screenshot("waits")


def narrow(application, window):
    """Where the entries and a page do not fit side by side, a press turns to the page, and there is a way back."""
    (number,) = subprocess.run(["xdotool", "search", "--name", "^mail$"], check=True, capture_output=True, text=True).stdout.split()
    wide = width(window)
    has_focus = lambda widget: widget.has(Atspi.StateType.FOCUSED)
    are_entries_there = lambda: any(has_focus(entry) for entry in window.find("list", "Hardware").children())
    choose(window, "Processors")
    window.find("spin button", "vCPUs")
    wait_for("the entries have kept the keyboard", are_entries_there)
    subprocess.run(["xdotool", "windowsize", number, "360", "640"], check=True)
    wait_for("the window is narrow", lambda: width(window) < wide)
    back = window.find("push button", "Back")
    for press in (lambda: choose(window, "Processors"), lambda: application.keys("Down", "Return")):
        wait_for("the entries are there", are_entries_there)
        press()
        wait_for("the page is turned to", lambda: has_focus(back))
        application.screenshot("narrow")
        application.keys("space")
    memory = window.find("list", "Hardware").find("list item", contains="Memory, ")
    wait_for("the keyboard is where it was", lambda: has_focus(memory) and memory.has(Atspi.StateType.SELECTED))
    subprocess.run(["xdotool", "windowsize", number, str(wide), "720"], check=True)
    wait_for("the way back is of no use any more", lambda: next(window.all("push button", "Back"), None) is None)


def names(window):
    """Every control of the pages has a name."""
    faults = nameless(window.find("list", "Hardware"))
    for entry, control in [("Overview", "Name"), ("Boot, ", "Boot a Linux Kernel Directly"), ("Network Card 1", "Address (MAC)")]:
        choose(window, entry)
        page = window.find(name=control).accessible
        while page.get_role_name() != "scroll pane":
            page = page.get_parent()
        faults += nameless(Widget(page))
    if faults:
        raise Failure("these have no name:\n" + "\n".join(faults))


def test(application):
    lodgectl("create", "web", "--memory", "1GiB")
    application.window("Lodge").find("list item", "web, Off").click()
    application.keys("ctrl+o")
    window = wait_for("the guest's window", lambda: application.window_of("web"))
    application.keys("ctrl+shift+o")
    page = Details(window)
    processors_and_memory(application, page)
    network_screen(application, page)
    name_and_text(application, page)
    disks(application, page)
    if os.access("/dev/kvm", os.R_OK | os.W_OK):
        drives(application, page)
        balloon(application, page)
        card(application, page)
        boot(application, page)
        showing(application, page)
        added(application, page)
        lodgectl("destroy", "mail")
    narrow(application, page)
    names(page)


run(test)
