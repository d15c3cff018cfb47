"""A second start ends at once and shows the first one's window."""

import os
import subprocess

from driver import TIMEOUT, run


def test(application):
    window = application.window("Lodge")
    window.wait_for_text("No Guests Yet")
    second = subprocess.run([os.environ["LODGE"]], timeout=TIMEOUT, check=False)
    assert second.returncode == 0
    assert application.process.poll() is None
    assert sum(1 for child in application.root.children() if child.name == "Lodge") == 1


run(test)
