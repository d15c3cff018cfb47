"""Drives a web browser (Chromium, without a window) that shows a guest's screen in noVNC.

    browser.py PROFILE

Each line of the standard input is a request, each line of the standard output its answer. The browser ends with the input.

    open URL        goes to a page                                          ok
    picture         what the viewer has drawn, as a PNG in base64           PNG, or "none" when there is nothing yet
    type TEXT       presses and releases a key for each letter              ok
    status          what the page says                                      the text

The browser is talked to by the Chrome DevTools Protocol over a pair of pipes:
https://chromedevtools.github.io/devtools-protocol/
"""

import json
import os
import select
import signal
import subprocess
import sys
import time

PATIENCE = 120  # seconds: longer than anything here takes on a busy host
OPTIONS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--no-proxy-server",
    "--disable-extensions", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-breakpad", "--disable-default-apps", "--mute-audio", "--password-store=basic",
    "--force-device-scale-factor=1", "--force-color-profile=srgb", "--window-size=1400,1100",
]
CANVAS = "document.querySelector('#screen canvas')"


class Browser:
    def __init__(self, profile):
        theirs_in, self.outgoing = os.pipe()
        self.incoming, theirs_out = os.pipe()
        # The browser reads from 3 and writes to 4; a shell puts them there.
        start = f"exec chromium --remote-debugging-pipe --user-data-dir=\"$0\" \"$@\" 3<&{theirs_in} 4>&{theirs_out}"
        self.process = subprocess.Popen(
            ["bash", "-c", start, profile, *OPTIONS, "about:blank"], pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        os.close(theirs_in)
        os.close(theirs_out)
        self.buffer, self.last_id, self.session = b"", 0, None

    def message(self):
        deadline = time.monotonic() + PATIENCE
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.incoming], [], [], max(0, deadline - time.monotonic()))
            piece = os.read(self.incoming, 1 << 20) if ready else b""
            if not piece:
                raise RuntimeError("the browser has ended or says nothing")
            self.buffer += piece
        message, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(message)

    def call(self, method, **parameters):
        self.last_id += 1
        request = {"id": self.last_id, "method": method, "params": parameters}
        if self.session:
            request["sessionId"] = self.session
        line = json.dumps(request).encode() + b"\0"
        while line:
            line = line[os.write(self.outgoing, line):]
        while True:
            answer = self.message()
            if answer.get("id") == self.last_id:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def attach(self):
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def evaluate(self, expression):
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def answer(self, request, argument):
        if request == "open":
            self.call("Page.navigate", url=argument)
        elif request == "picture":
            url = self.evaluate(f"{CANVAS} ? {CANVAS}.toDataURL('image/png') : ''")
            return url.partition(",")[2] or "none"
        elif request == "type":
            self.evaluate(f"{CANVAS}.focus()")
            for letter in argument:
                key = {"key": letter, "code": "Key" + letter.upper(), "windowsVirtualKeyCode": ord(letter.upper())}
                self.call("Input.dispatchKeyEvent", type="keyDown", text=letter, **key)
                self.call("Input.dispatchKeyEvent", type="keyUp", **key)
        elif request == "status":
            return json.dumps(self.evaluate("(document.getElementById('status') || {}).textContent || ''"))
        else:
            raise RuntimeError(f"no such request: {request}")
        return "ok"

    def end(self):
        try:
            self.session = None
            self.call("Browser.close")
            self.process.wait(timeout=20)
        except (OSError, RuntimeError, subprocess.TimeoutExpired):
            pass
        # What it has started may outlive it.
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    browser = Browser(sys.argv[1])
    try:
        browser.attach()
        for line in sys.stdin:
            request, _, argument = line.strip().partition(" ")
            print(browser.answer(request, argument), flush=True)
    finally:
        browser.end()


main()
