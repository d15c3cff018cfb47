"""Text that is copied on the desktop is pasted in a guest and the other way round, while the guest has the keyboard.

The guest is Linux, where the shell plays the agent: it speaks the vdagent protocol (spice/vd_agent.h), byte by byte.
"""

import os
import re
import struct
import subprocess

from driver import TIMEOUT, run, wait_for
from guests import Details, Serial, copy, lodgectl, start_linux

# Finds the port and opens it; reads one message, whose size is in the last four bytes of its header.
SHELL = (
    "for port in /sys/class/virtio-ports/*; do [ $(cat $port/name) != com.redhat.spice.0 ] || agent=/dev/${port##*/}; done; "
    "exec 5<>$agent; take() { dd bs=1 count=$1 <&5 2>/dev/null | hexdump -v -e '1/1 \"%02x\"'; }; "
    "hear() { h=$(take 28); echo \"said $h$(take $((0x${h:54:2}${h:52:2}${h:50:2}${h:48:2}))) end$((1+1))\"; }"
)
CLIPBOARD, CAPABILITIES, GRAB, REQUEST = 4, 6, 7, 8


def message(kind, words, text=""):
    body = struct.pack(f"<{len(words)}I", *words) + text.encode()
    return struct.pack("<7I", 1, 20 + len(body), 1, kind, 0, 0, len(body)) + body


class Agent:
    """The guest's end."""

    def __init__(self):
        self.serial = Serial()
        self.serial.wait_for("# ")
        self.serial.say(SHELL)
        self.hear(message(CAPABILITIES, [1, 0x3_0060]))
        self.say(message(CAPABILITIES, [0, 0x60]))

    def say(self, said):
        self.serial.say("printf '" + "".join(f"\\x{byte:02x}" for byte in said) + "' >&5")

    def hear(self, expected):
        """Reads messages up to this one: a text may be offered more than once, until it is known what it is."""
        heard = None
        while heard != expected.hex():
            before = self.serial.mark()
            self.serial.say("hear")
            self.serial.wait_for("end2", before)
            heard = re.search(rb"said ([0-9a-f]*) end2", self.serial.heard[before:]).group(1).decode()


def definition():
    """The guest's definition, as text."""
    with open(os.path.join(os.environ["XDG_DATA_HOME"], "lodge", "guests", "linux", "guest.toml"), encoding="utf-8") as file:
        return file.read()


def test(application):
    start_linux()
    agent = Agent()
    window = application.window("Lodge")
    window.find("list item", "linux, Running").click()
    application.keys("Return")
    guest = wait_for("the guest's window", lambda: application.window_of("linux"))
    guest.find("image", "Screen of the guest").click()
    wait_for("the guest has the keyboard", lambda: guest.name.startswith("linux — "))

    # The desktop's text is promised to the guest, and given when the guest asks.
    owner = copy("vom Wirt 🦀")
    agent.hear(message(GRAB, [0, 1]))
    agent.say(message(REQUEST, [0, 1]))
    agent.hear(message(CLIPBOARD, [0, 1], "vom Wirt 🦀"))

    # The guest's takes its place, and comes when somebody pastes.
    agent.say(message(GRAB, [0, 1]))
    wait_for("the desktop's clipboard is the guest's", lambda: owner.poll() is not None)
    xclip = subprocess.Popen(["xclip", "-o", "-selection", "clipboard", "-target", "UTF8_STRING"], stdout=subprocess.PIPE)
    agent.hear(message(REQUEST, [0, 1]))
    agent.say(message(CLIPBOARD, [0, 1], "vom Gast 🐧"))
    assert xclip.communicate(timeout=TIMEOUT)[0].decode() == "vom Gast 🐧"

    # Once the keyboard is let go the guest gets nothing, and takes nothing.
    owner = copy("geheim")
    agent.hear(message(GRAB, [0, 1]))
    application.keys("Control_L+Alt_L")
    wait_for("the keyboard is let go", lambda: application.has_window("linux"))
    agent.say(message(REQUEST, [0, 1]))
    agent.hear(message(CLIPBOARD, [0, 1]))
    agent.say(message(GRAB, [0, 1]))
    agent.say(message(REQUEST, [0, 1]))
    agent.hear(message(CLIPBOARD, [0, 0]))
    assert owner.poll() is None, "a guest that nobody works with has taken the clipboard"
    owner.kill()
    owner.wait()

    # It is switched off in the window while the guest runs, and then the guest gets nothing, whoever has the keyboard.
    application.keys("ctrl+shift+o")
    details = Details(guest)
    details.find("list item", contains="Display").click()
    details.find("check box", "Shared Clipboard").press()
    details.bar.wait_for_text("This applies at once.")
    application.screenshot("details")
    details.apply(application)
    wait_for("it is stored", lambda: "clipboard = false" in definition())
    application.keys("ctrl+shift+g")
    guest.find("image", "Screen of the guest").click()
    wait_for("the guest has the keyboard", lambda: guest.name.startswith("linux — "))
    owner = copy("wieder geteilt")
    agent.say(message(REQUEST, [0, 1]))
    agent.hear(message(CLIPBOARD, [0, 0]))

    # In a shell it is switched on again, and what is on the desktop's clipboard is offered.
    environment = {**os.environ, "EDITOR": "sed -i 's/^clipboard = false/clipboard = true/'"}
    edit = [os.environ["LODGECTL"], "edit", "linux"]
    told = subprocess.run(edit, check=True, timeout=TIMEOUT, capture_output=True, text=True, env=environment).stdout
    assert told == 'Changed "linux"; it applies at once\n', told
    agent.hear(message(GRAB, [0, 1]))
    agent.say(message(REQUEST, [0, 1]))
    agent.hear(message(CLIPBOARD, [0, 1], "wieder geteilt"))
    owner.kill()
    owner.wait()
    lodgectl("destroy", "linux")


run(test)
