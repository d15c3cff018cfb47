"""Every control of a guest's window has a name that says what it is for: each page, each kind of hardware, each dialog, of a guest
that runs, is off, or has failed. With `LODGE_TEST_SCREENSHOTS` each is on a picture."""

import glob
import json
import os
import signal
import subprocess

from driver import TIMEOUT, Atspi, run, wait_for
from guests import Details, Serial, lodgectl
from media import rescue_image
from nameless import Tour

PAGES = [("e", "Serial Port"), ("n", "Snapshots"), ("x", "Performance"), ("o", "Details"), ("g", "Console")]
HARDWARE = ["Overview", "Processors", "Memory", "Boot, ", "Disk disk0, ", "Disk disk1, ", "CD-ROM Drive cdrom0, ", "Network Card 1, ", "Display",
            "Serial Ports", "Other Devices", "Definition, As text"]


def pages(application, tour, window, suffix):
    for key, name in PAGES:
        application.keys(f"ctrl+shift+{key}")
        wait_for(f"{name} is shown", lambda: window.find(name=name).has(Atspi.StateType.PRESSED))
        application.screenshot(f"{name.replace(' ', '-').lower()}-{suffix}")
    tour.see(window, f"window-{suffix}")


def running(application, tour, window):
    application.keys("ctrl+shift+m")
    window.find("menu item", "Keyboard Shortcuts")
    application.screenshot("menu")
    application.close_menu(window)
    application.keys("ctrl+shift+q")
    dialog = application.dialog("Show “card” on the Network?")
    tour.see(dialog, "show-on-network")
    dialog.find("push button", contains="Show").press()
    dialog = application.dialog("“card” Is Shown on the Network")
    tour.see(dialog, "shown-on-network")
    dialog.find("push button", contains="Stop Showing").press()
    dialog.wait_gone()
    application.keys("ctrl+shift+f")
    tour.close(application.dialog("Force “card” Off?"), "force-off")
    application.keys("ctrl+shift+i")
    wait_for("the file chooser", lambda: application.has_window("Insert Disc"))
    application.screenshot("insert-disc")
    application.keys("Escape")
    application.wait_closed("Insert Disc")
    application.keys("ctrl+shift+e", "ctrl+shift+F3")
    window.find(("entry", "text"), "Find in the port’s output")
    application.screenshot("find")
    application.keys("Escape")


def snapshots(application, tour, window):
    application.keys("ctrl+shift+k")
    dialog = application.dialog("Take a Snapshot of “card”")
    tour.see(dialog, "take")
    dialog.find("text", "Name").enter("first")
    dialog.find("push button", contains="Take").press()
    row = window.find("list item", contains="first, Today")
    application.screenshot("snapshots")
    row.click()
    tour.close(application.dialog("Snapshot “first”"), "snapshot")
    window.find("push button", "Revert to first").press()
    tour.close(application.dialog("Revert to “first”?"), "revert")
    window.find("push button", "Menu of first").click()
    window.find("menu item", contains="Delete").press()
    tour.close(application.dialog("Delete the Snapshot “first”?"), "delete-snapshot")


def details(application, tour, window):
    application.keys("ctrl+shift+o")
    window = Details(window)
    hardware = window.find("list", "Hardware")
    for entry in HARDWARE:
        # Down from the first one on.
        wait_for(f"{entry} is selected", lambda: hardware.find("list item", contains=entry).has(Atspi.StateType.SELECTED))
        tour.see(window, "details-" + entry.split(",")[0].replace(" ", "-").lower())
        application.keys("Down")
    window.find("list item", contains="Overview").click()
    application.keys("ctrl+shift+b")
    disk = window.find("menu item", "Disk…")
    application.screenshot("add-hardware")
    disk.press()
    tour.close(application.dialog("Add a Disk"), "add-disk")
    window.find("list item", contains="Disk disk0, ").click()
    window.find("push button", "Grow…").press()
    tour.close(application.dialog("Grow “disk0”"), "grow")
    application.keys("ctrl+shift+l")
    tour.close(application.dialog("Remove “Disk disk0”?"), "remove-hardware")
    window.find("list item", contains="Network Card 1, ").click()
    window.find("push button", "Forward a Port…").press()
    tour.close(application.dialog("New Forwarded Port"), "forward")
    window.find("list item", contains="Boot, ").click()
    window.find("check box", "Boot a Linux Kernel Directly").press()
    window.find("text", "Linux kernel")
    tour.see(window, "details-kernel")


def listening(application, tour, main):
    """What the definition says of viewers is told, and can be changed."""
    editor = "printf '[display.listen]\\naddress = \"127.0.0.1\"\\npassword = \"geheim\"\\ntls = true\\n' >>"
    environment = {**os.environ, "EDITOR": editor}
    subprocess.run([os.environ["LODGECTL"], "edit", "card"], check=True, timeout=TIMEOUT, stdout=subprocess.DEVNULL, env=environment)
    lodgectl("start", "card")
    main.find("list item", "card, Running").click()
    application.keys("ctrl+o")
    window = wait_for("the guest's window", lambda: application.window_of("card"))
    window.wait_for_text("Running")
    application.keys("ctrl+shift+q")
    dialog = application.dialog("“card” Is Shown on the Network")
    dialog.wait_for_text("Its settings let VNC viewers in")
    address = json.loads(lodgectl("vnc", "card", "--json"))["address"]
    for fact in (f"Address: {address}", "Password: geheim", "SHA-256 fingerprint of the certificate: "):
        dialog.wait_for_text(fact)
    tour.see(dialog, "listening")
    dialog.find("push button", contains="hange…").press()
    Details(window).wait_for_text("Viewers on the Network")


def test(application):
    tour = Tour(application)
    lodgectl("create", "card", "--testcard", "--cdrom", rescue_image(), "--disk", "size=1GiB", "--network", "nat", "--start")
    Serial().wait_for("ready")
    main = application.window("Lodge")
    main.find("list item", "card, Running").click()
    application.keys("ctrl+o")
    window = wait_for("the guest's window", lambda: application.window_of("card"))
    window.wait_for_text("Running")
    pages(application, tour, window, "running")
    running(application, tour, window)
    snapshots(application, tour, window)
    (path,) = glob.glob(os.path.join(os.environ["XDG_RUNTIME_DIR"], "lodge", "*", "worker.pid"))
    with open(path, encoding="ascii") as file:
        os.kill(int(file.read()), signal.SIGKILL)
    window.wait_for_text("Crashed")
    pages(application, tour, window, "crashed")
    details(application, tour, window)
    application.keys("ctrl+shift+w")
    question = application.dialog("Apply the Changes to “card”?")
    tour.see(question, "unapplied")
    question.find("push button", contains="Discard").press()
    wait_for("the window is closed", lambda: not application.window_of("card"))
    tour.see(main, "list-crashed")
    listening(application, tour, main)
    tour.end()


run(test)
