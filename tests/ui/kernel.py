"""A guest that boots a Linux kernel directly is made with the wizard."""

import os

from driver import run, wait_for


def test(application):
    home = os.environ["HOME"]
    kernel = os.path.join(home, "vmlinuz")
    with open(kernel, "wb") as file:
        # The marks by which a bzImage is known.
        head = bytearray(4096)
        head[510:512] = b"\x55\xaa"
        head[0x202:0x206] = b"HdrS"
        file.write(head)
    empty = os.path.join(home, "initrd.img")
    open(empty, "w").close()
    ramdisk = os.path.join(home, "initrd.gz")
    with open(ramdisk, "wb") as file:
        file.write(b"\x1f\x8b" + bytes(100))

    application.keys("ctrl+n")
    wizard = application.window("New Guest")
    wizard.find("check box", "Boot a Linux kernel").click()
    application.screenshot("method")
    application.keys("alt+Right")
    wizard.wait_for_text("Step 2 of 5")

    field = wizard.find("text", "Linux kernel")
    field.enter("/usr/lib/grub-rescue/grub-rescue-cdrom.iso")
    wait_for("an ISO image is no kernel", lambda: "not a kernel" in field.description)
    field.enter(kernel)
    wait_for("the kernel is known", lambda: "Linux kernel" in field.description)
    initrd = wizard.find("text", "Initial RAM disk (optional)")
    initrd.enter(empty)
    wait_for("an empty file is no RAM disk", lambda: "empty" in initrd.description)
    application.screenshot("wrong")
    initrd.enter(ramdisk)
    wait_for("the RAM disk is known", lambda: "Initial RAM disk" in initrd.description)
    wizard.find("text", "Command line").enter("console=ttyS0 quiet")
    application.screenshot("media")
    application.keys("alt+Right")
    wizard.wait_for_text("Step 3 of 5")
    application.keys("alt+Right")
    wizard.wait_for_text("Step 4 of 5")
    wizard.find("check box", "No disk").click()
    application.keys("alt+Right")
    wizard.wait_for_text("Step 5 of 5")
    wizard.find("check box", "Start Now").turn_over()
    application.screenshot("summary")
    wizard.find("push button", "Create").press()
    application.wait_closed("New Guest")
    application.window("Lodge").find("list item", "vmlinuz, Off")

    path = os.path.join(os.environ["XDG_DATA_HOME"], "lodge", "guests", "vmlinuz", "guest.toml")
    with open(path) as file:
        definition = file.read()
    for line in ["[kernel]", f'path = "{kernel}"', f'initrd = "{ramdisk}"', 'cmdline = "console=ttyS0 quiet"']:
        assert line in definition, definition


run(test)
