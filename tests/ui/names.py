"""Every control of every window has a name that says what it is for, which is what screen readers speak."""

import os

from driver import Failure, run, wait_for
from nameless import nameless


def test(application):
    window = application.window("Lodge")
    window.wait_for_text("No Guests Yet")

    application.keys("ctrl+n")
    wizard = application.window("New Guest")
    wizard.wait_for_text("Step 1 of 5")
    wizard.find("check box", "Test card").click()
    wizard.wait_for_text("Step 1 of 3")
    wizard.find("push button", "Next").press()
    wizard.wait_for_text("Step 2 of 3")
    wizard.find("push button", "Next").press()
    wizard.wait_for_text("Step 3 of 3")
    wizard_faults = nameless(wizard)
    wizard.find("check box", "Start Now").press()
    wizard.find("push button", "Create").press()
    application.wait_closed("New Guest")
    window.find("list item", "testcard, Off")

    application.keys("ctrl+h")
    host = application.window("Host Check")
    host_faults = nameless(host)
    application.screenshot("host")
    application.keys("Escape")
    application.wait_closed("Host Check")

    application.keys("ctrl+k")
    storage = application.window("Host")
    storage.find("push button", "New disk in default")
    storage_faults = nameless(storage)
    storage.find("push button", "New disk in default").press()
    storage_faults += nameless(application.dialog("New Disk in “default”"))
    application.keys("Escape", "Escape")
    application.wait_closed("Host")

    application.keys("ctrl+comma")
    preferences = application.window("Preferences")
    preferences.find(name="Pool for Disks")
    preferences.find(name="Network")
    preferences_faults = nameless(preferences)
    application.screenshot("preferences")
    preferences.find("check box", "Before a Guest Is Reset").press()
    path = os.path.join(os.environ["XDG_CONFIG_HOME"], "lodge", "preferences.toml")
    wait_for("it is written down", lambda: os.path.exists(path) and "confirm_reset = true" in open(path).read())
    application.keys("Escape")
    application.wait_closed("Preferences")

    application.keys("ctrl+question")
    wait_for("the shortcuts window", lambda: window_count(application) == 2)
    application.screenshot("shortcuts")
    application.keys("Escape")
    wait_for("the shortcuts window is closed", lambda: window_count(application) == 1)

    faults = wizard_faults + host_faults + storage_faults + preferences_faults + nameless(window)
    if faults:
        raise Failure("these have no name:\n" + "\n".join(faults))


def window_count(application):
    return sum(1 for _ in application.root.children())


run(test)
