# SPDX-License-Identifier: MIT
"""A headless Chromium, spoken to over a pipe: it loads a page, evaluates expressions in it and takes its picture."""
import base64
import json
import os
import select
import subprocess
import time


class Browser:
    """One tab. What the page complains of on its console is in `complaints`."""

    def __init__(self, program, directory):
        ours_in, theirs_out = os.pipe()
        theirs_in, ours_out = os.pipe()
        argv = [program, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--no-first-run",
                "--disable-dev-shm-usage", "--hide-scrollbars", "--user-data-dir=" + str(directory), "about:blank"]

        # Chromium reads from descriptor 3 and writes to 4.
        self.process = subprocess.Popen(["bash", "-c", 'exec "$0" "$@" 3<&%d 4>&%d' % (theirs_in, theirs_out), *argv],
                                        pass_fds=(theirs_in, theirs_out), stdin=subprocess.DEVNULL, start_new_session=True,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(theirs_in)
        os.close(theirs_out)
        self.reader, self.writer, self.rest = ours_in, ours_out, b""
        self.number, self.complaints, self.session = 0, [], None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(domain + ".enable")

    def close(self):
        os.close(self.writer)
        os.close(self.reader)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def message(self, end):
        while b"\0" not in self.rest:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.reader], [], [], left)[0]:
                raise AssertionError("the browser does not answer")
            data = os.read(self.reader, 1 << 20)
            if not data:
                raise AssertionError("the browser has ended")
            self.rest += data
        text, self.rest = self.rest.split(b"\0", 1)
        return json.loads(text)

    def note(self, event):
        params = event.get("params", {})
        if event.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.complaints.append(params["entry"]["text"])
        if event.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(params["exceptionDetails"]))

    def call(self, method, **params):
        self.number += 1
        order = {"id": self.number, "method": method, "params": params}
        if self.session:
            order["sessionId"] = self.session
        os.write(self.writer, json.dumps(order).encode() + b"\0")
        end = time.monotonic() + 60
        while True:
            answer = self.message(end)
            if answer.get("id") == self.number:
                assert "error" not in answer, "%s: %s" % (method, answer["error"])
                return answer["result"]
            self.note(answer)

    def dress(self, width, height, scheme="light"):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 700)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def open(self, url):
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def eval(self, expression):
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait(self, expression, seconds=20):
        """The value of the expression once it is true."""
        end = time.monotonic() + seconds
        while True:
            value = self.eval(expression)
            if value:
                return value
            assert time.monotonic() < end, "never true: %s; the page says:\n%s" % (expression, self.text()[:3000])
            time.sleep(0.05)

    def text(self, selector="body"):
        return self.eval("document.querySelector(%s).innerText" % json.dumps(selector))

    def picture(self, path=None):
        """A PNG of the whole page."""
        data = base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"])
        if path:
            with open(path, "wb") as f:
                f.write(data)
        return data
