"""The test card, from the empty page to its end: it is on the screen, keys and the pointer reach it, the keyboard is let go, the
pages work, and it is paused, run on and forced off from its window."""

import re
import socket
import subprocess

from driver import Atspi, run, wait_for
from guests import Serial, copy, display, state

MAGENTA = (255, 0, 255)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def offered(port):
    """The ways in that a viewer is offered, None when there is nobody to ask."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=60) as viewer:
            stream = viewer.makefile("rwb")
            assert stream.read(12) == b"RFB 003.008\n"
            stream.write(b"RFB 003.008\n")
            stream.flush()
            return list(stream.read(stream.read(1)[0]))
    except OSError:
        return None


def test(application):
    window = application.window("Lodge")
    window.wait_for_text("No Guests Yet")
    # A text for the clipboard, with a character that no key of a US keyboard types.
    application.keys("ctrl+f")
    window.find(("entry", "text"), "Search guests").enter("hIé")
    application.keys("ctrl+a", "ctrl+c", "Escape")
    window.find("push button", "Try the Test Card").press()
    serial = Serial()
    serial.wait_for("ready")

    # The bars are in the window.
    guest = wait_for("the guest's window", lambda: next((c for c in application.root.children() if c.name.startswith("testcard")), None))
    wait_for("the colour bars on the display", lambda: display().longest_run(lambda pixel: pixel == MAGENTA) > 40)
    application.screenshot("bars")

    # Keys and movements reach the guest.
    application.keys("a")
    serial.wait_for("key 1e down")
    serial.wait_for("key 1e up")
    console = guest.find("image", "Screen of the guest")
    console.click()
    before = serial.mark()
    application.keys("Right")
    serial.wait_for("key", before)

    # Left Control and left Alt let the keyboard go; a click takes it again.
    wait_for("the title says how to let go", lambda: application.has_window("testcard — Left Ctrl+Alt lets the keyboard go"))
    before = serial.mark()
    application.keys("Control_L+Alt_L")
    wait_for("the keyboard is let go", lambda: application.has_window("testcard"))
    for key in ("1d up", "38 up"):
        serial.wait_for(f"key {key}", before)
    before = serial.mark()
    application.keys("b")
    serial.say("ping")
    serial.wait_for("pong", before)
    assert b"key" not in serial.heard[before:], serial.heard[before:]
    console.click()
    application.keys("b")
    serial.wait_for("key 30 down", before)

    # The clipboard is typed, after a word about what cannot be.
    before = serial.mark()
    application.keys("ctrl+shift+Insert")
    question = application.dialog("Type 2 Characters into “testcard”?")
    question.wait_for_text("é. They are left out")
    application.screenshot("type")
    question.find("push button", contains="Type").press()
    for key in ("23 down", "23 up", "2a down", "17 down", "17 up"):
        serial.wait_for(f"key {key}", before)
    console.click()
    application.keys("c")
    serial.wait_for("key 2e down", before)

    # It is typed on the layout of the desktop: keys that are held together, dead keys, and none that is lacking.
    subprocess.run(["setxkbmap", "de"], check=True)
    copied = copy("zß€^é")
    # The layout that is in use is known from a key.
    application.keys("c")
    serial.wait_for("key 2e up", before)
    before = serial.mark()
    application.keys("ctrl+shift+Insert")
    serial.wait_for("key 0d up", before)
    serial.wait_for("key 12 up", serial.heard.rindex(b"key 0d up"))
    pressed = re.findall(rb"key (\w+) down", serial.heard[before:])
    assert pressed[-8:] == [b"15", b"0c", b"e038", b"12", b"29", b"39", b"0d", b"12"], pressed
    subprocess.run(["setxkbmap", "us"], check=True)
    copied.kill()
    copied.wait()

    # Keys that the desktop may keep for itself are in the menu.
    before = serial.mark()
    application.keys("ctrl+shift+m")
    guest.find(("menu item", "menu"), "Send Other Keys").press()
    keys = guest.find("menu item", "Ctrl+Alt+F2")
    application.screenshot("keys")
    keys.press()
    for key in ("1d down", "38 down", "3c down", "3c up"):
        serial.wait_for(f"key {key}", before)
    # Nothing of it comes later.
    serial.wait_for("key 38 up\r\nkey 1d up", before)

    # A modifier that the desktop holds down while no key is down is the next key's: so it is for people who press one key after the
    # other, and for a key that went down before the guest had the keyboard.
    wait_for("the keyboard is let go", lambda: application.has_window("testcard"))
    subprocess.run(["xdotool", "keydown", "Shift_L"], check=True)
    console.click()
    wait_for("the guest has the keyboard", lambda: not application.has_window("testcard"))
    before = serial.mark()
    subprocess.run(["xdotool", "key", "d"], check=True)
    subprocess.run(["xdotool", "keyup", "Shift_L"], check=True)
    serial.wait_for("key 2a up", before)
    keys = re.findall(rb"key (\w+ \w+)", serial.heard[before:])
    assert keys == [b"2a down", b"20 down", b"20 up", b"2a up"], keys

    # It can be only looked at. The shortcut's own keys are let go in the guest.
    before = serial.mark()
    application.keys("ctrl+shift+F4")
    guest.wait_for_text("View only: keys and the pointer do not reach the guest")
    serial.wait_for("key 1d up\r\nkey 2a up", before)
    application.screenshot("view")
    before = serial.mark()
    console.click()
    application.keys("e")
    serial.say("ping")
    serial.wait_for("pong", before)
    assert not re.search(rb"key|pointer|button", serial.heard[before:]), serial.heard[before:]
    application.keys("ctrl+shift+F4")
    console.click()
    application.keys("e")
    serial.wait_for("key 12 down", before)

    # The screen is shown on the network: with a password and TLS (VeNCrypt, 19), until that is stopped.
    port = free_port()
    application.keys("ctrl+shift+q")
    dialog = application.dialog("Show “testcard” on the Network?")
    dialog.find("text", "Port").enter("99999")
    dialog.wait_for_text("Write a number from 0 to 65535. 0 chooses a free port.")
    dialog.find("text", "Port").enter(str(port))
    dialog.find("text", "Password").enter("much too long")
    dialog.wait_for_text("Write one to eight letters or digits.")
    dialog.find("text", "Password").enter("secret")
    application.screenshot("show")
    dialog.find("push button", contains="Show").press()
    told = application.dialog("“testcard” Is Shown on the Network")
    told.find("label", f"Address: 127.0.0.1:{port}")
    told.find("label", "Password: secret")
    fingerprint = told.find("label", contains="SHA-256 fingerprint of the certificate: ")
    assert re.search("(:[0-9A-F]{2}){31}$", fingerprint.name), fingerprint.name
    application.screenshot("shown")
    told.find("push button", contains="Close").press()
    told.wait_gone()
    wait_for("viewers are offered TLS and nothing else", lambda: offered(port) == [19])
    guest.find("push button", "Show on the Network…").press()
    told = application.dialog("“testcard” Is Shown on the Network")
    told.find("push button", contains="Stop Showing").press()
    told.wait_gone()
    wait_for("nobody is let in any more", lambda: offered(port) is None)

    # The serial page shows what was said before it was opened, and takes a line.
    application.keys("ctrl+shift+e")
    before = serial.mark()
    application.type("ping\n")
    serial.wait_for("pong", before)
    application.screenshot("serial")
    # What was said is found, whatever its case, and copied.
    application.keys("ctrl+shift+F3")
    find = guest.find(("entry", "text"), "Find in the port’s output")

    def paste():
        """What was found is pasted over what was looked for; else what was on the clipboard before."""
        find.enter("PON")
        application.keys("Return", "ctrl+shift+c", "ctrl+a", "ctrl+v")
        wait_for("something is pasted", lambda: find.entered != "PON")
        return find.entered == "pon"

    # The window has a connection of its own: it may hear later what we have heard.
    wait_for("it is pasted as the guest said it", paste)
    application.screenshot("found")
    application.keys("Escape")
    # The other port, and back.
    for port in ("Virtio terminal", "Serial port"):
        button = guest.find("push button", port)
        button.press()
        wait_for(f"the {port} is shown", lambda: button.has(Atspi.StateType.PRESSED))
    application.keys("ctrl+shift+o")
    guest.find("list item", "State")
    application.screenshot("overview")
    application.keys("ctrl+shift+g")

    # Paused and run on.
    application.keys("ctrl+shift+p")
    wait_for("the guest is paused", lambda: state("testcard") == "paused")
    wait_for("the window says so", lambda: guest.has_text("Paused"))
    application.keys("ctrl+shift+r")
    wait_for("the guest runs on", lambda: state("testcard") == "running")

    # Forced off, after a question.
    application.keys("ctrl+shift+f")
    application.dialog("Force “testcard” Off?").find("push button", contains="Force Off").press()
    wait_for("the guest is off", lambda: state("testcard") == "off")
    guest.find("push button", "Run")
    application.screenshot("off")


run(test)
