"""A second start ends at once and shows the first one's window, or its wizard if a new guest is wanted."""

import os
import subprocess

from driver import TIMEOUT, run


def test(application):
    window = application.window("Lodge")
    window.wait_for_text("No Guests Yet")
    second = subprocess.run([os.environ["LODGE"]], timeout=TIMEOUT, check=False)
    assert second.returncode == 0
    assert application.process.poll() is None
    third = subprocess.run([os.environ["LODGE"], "--new-guest"], timeout=TIMEOUT, check=False)
    assert third.returncode == 0
    application.window("New Guest").wait_for_text("Step 1 of 5")
    assert sum(1 for child in application.root.children() if child.name == "Lodge") == 1


run(test)
