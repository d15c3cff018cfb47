"""On a host with a bridge: a guest is put into it with the wizard, its vCPUs are arranged, and its details show the card."""

import glob
import os
import signal
import subprocess
import sys

from driver import run, wait_for


def test(application):
    window = application.window("Lodge")
    window.find("push button", "New Guest…").press()
    wizard = application.window("New Guest")
    wizard.find("check box", "Test card").click()
    wizard.find("push button", "Next").press()
    wizard.wait_for_text("Step 2 of 3")
    wizard.find("spin button", "vCPUs").set_value(2)
    wizard.wait_for_text("1 socket × 2 cores × 1 thread")
    # Sockets, cores and threads have to make up the vCPUs.
    wizard.find("list item", "Arrangement of the vCPUs").click()
    sockets = wizard.find("spin button", "Sockets")
    sockets.set_value(2)
    wizard.wait_for_text("2 × 2 × 1 make 4 vCPUs, but the guest has 2.")
    application.screenshot("arrangement")
    application.keys("alt+Right")
    wizard.find("spin button", "Cores of a Socket").set_value(1)
    wizard.wait_for_text("2 sockets × 1 core × 1 thread")
    wizard.wait_for_text("Step 2 of 3")

    network = wizard.find("combo box", "Network")
    network.click()
    application.screenshot("choices")
    # Behind address translation and isolated networks.
    application.keys("Down", "Down", "Down", "Return")
    wait_for("the bridge is chosen", lambda: network.has_text("Bridge br0"))
    application.screenshot("chosen")
    wizard.find("push button", "Next").press()
    wizard.wait_for_text("Step 3 of 3")
    card = wizard.find("list", "Summary").find("list item", "Network")
    assert card.description == "Bridge br0", card.description
    wizard.find("push button", "Create").press()
    application.wait_closed("New Guest")

    window.find("list item", "testcard, Running")
    guest = wait_for("the guest's window", lambda: application.window_of("testcard"))
    assert glob.glob("/sys/class/net/br0/brif/lodge*"), "the guest is not in the bridge"
    application.keys("ctrl+shift+o")
    guest.find("list item", contains="Bridge br0")
    guest.wait_for_text("a second received")
    application.screenshot("overview")
    path = os.path.join(os.environ["XDG_DATA_HOME"], "lodge/guests/testcard/guest.toml")
    with open(path) as file:
        definition = file.read()
    assert "sockets = 2" in definition and 'bridge = "br0"' in definition, definition
    guest.find("list item", contains="Bridge br0").click()
    guest.find("text", "Address (MAC)")
    application.screenshot("card")
    application.keys("ctrl+shift+w")
    wait_for("the guest's window is closed", lambda: application.window_of("testcard") is None)
    window.find("list item", "testcard, Running").click()
    application.keys("ctrl+e")
    host = application.window("Host")
    bridge = host.find("list item", contains="Bridge br0")
    assert "testcard" in bridge.name, bridge.name
    application.screenshot("bridge")
    application.keys("Escape")
    application.wait_closed("Host")
    subprocess.run([os.environ["LODGECTL"], "destroy", "testcard"], check=True)
    window.find("list item", "testcard, Off")
    wait_for("the interface is gone", lambda: not glob.glob("/sys/class/net/lodge*"))


if not os.access("/dev/kvm", os.R_OK | os.W_OK):
    print("/dev/kvm is not there or not allowed")
    sys.exit(77)
try:
    run(test)
finally:
    for left in glob.glob(os.path.join(os.environ["XDG_RUNTIME_DIR"], "lodge", "*", "worker.pid")):
        with open(left) as file:
            os.kill(int(file.read()), signal.SIGKILL)
