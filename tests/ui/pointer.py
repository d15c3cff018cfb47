"""What a person does with the pointer's other buttons reaches a Linux guest, whose driver for the balloon is known of."""

import subprocess

from driver import run, wait_for
from guests import Details, Serial, start_linux

# Tells every event of the tablet: a time of 16 bytes, then type, code and value (linux/input.h).
SHELL = (
    "tablet=$(grep -l 'Lodge virtio tablet' /sys/class/input/event*/device/name | cut -d/ -f5); exec 4</dev/input/$tablet; "
    "(while :; do echo \"event $(dd bs=24 count=1 <&4 2>/dev/null | hexdump -v -e '24/1 \"%02x\"')\"; done) & echo rea''dy"
)
# Buttons as X numbers them, and what comes of a click.
CLICKS = [
    (5, ["02000800ffffffff"]),
    (6, ["02000600ffffffff"]),
    (7, ["0200060001000000"]),
    (8, ["0100130101000000", "0100130100000000"]),
    (9, ["0100140101000000", "0100140100000000"]),
]


def test(application):
    start_linux()
    serial = Serial()
    serial.wait_for("# ")
    serial.say(SHELL)
    serial.wait_for("ready")
    application.window("Lodge").find("list item", "linux, Running").click()
    application.keys("Return")
    window = wait_for("the guest's window", lambda: application.window_of("linux"))
    window.find("image", "Screen of the guest").click()
    # The click itself: from now on the guest has the pointer.
    serial.wait_for("0100100100000000")
    for button, events in CLICKS:
        before = serial.mark()
        subprocess.run(["xdotool", "click", str(button)], check=True)
        for event in events:
            serial.wait_for(event, before)

    application.keys("ctrl+shift+o")
    page = Details(window)
    page.find("list item", contains="Memory, ").click()
    page.wait_for_text("512\xa0MiB of 512\xa0MiB")
    assert not page.has_text("has no driver for it yet")
    page.find("spin button", "The Guest Keeps").set_value(400)
    page.find("push button", "Set").press()
    page.wait_for_text("400\xa0MiB of 512\xa0MiB")
    application.screenshot("balloon")


run(test)
