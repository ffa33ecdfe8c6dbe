"""A browser, driven through chromedriver's HTTP interface (https://www.w3.org/TR/webdriver2/): standard library only."""

import base64
import json
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

# The first four are what a container needs; the others keep the browser from the network.
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
]


class Browser:
    """A chromium of its own, with a profile that is thrown away."""

    def __init__(self, chromium, chromedriver):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.profile = tempfile.TemporaryDirectory(prefix="b158-browser-", ignore_cleanup_errors=True)
        self.driver = subprocess.Popen(
            [chromedriver, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.base = f"http://127.0.0.1:{port}"
        self.session = None
        options = {"binary": chromium, "args": [*FLAGS, f"--user-data-dir={self.profile.name}"]}
        capabilities = {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        try:
            self._await_driver()
            answer = self._call("POST", "/session", {"capabilities": {"alwaysMatch": capabilities}})
            self.session = answer["sessionId"]
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self.session:
            self._call("DELETE", f"/session/{self.session}")
            self.session = None
        self.driver.terminate()
        self.driver.wait()
        self.profile.cleanup()

    def _await_driver(self):
        for _ in range(300):
            try:
                if self._call("GET", "/status")["ready"]:
                    return
            except OSError:
                time.sleep(0.1)
        raise TimeoutError("chromedriver does not answer")

    def _call(self, method, path, body=None):
        data = None if body is None and method != "POST" else json.dumps(body or {}).encode()
        request = urllib.request.Request(
            self.base + path, data, {"Content-Type": "application/json"}, method=method
        )
        # No proxy between two programs of one machine.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=120) as response:
                return json.load(response)["value"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(json.load(error)["value"]["message"]) from None

    def _of_session(self, method, path, body=None):
        return self._call(method, f"/session/{self.session}{path}", body)

    def open(self, url):
        self._of_session("POST", "/url", {"url": url})

    def run(self, script, *arguments):
        """What `script`, the body of a function, returns."""
        return self._of_session("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def devtools(self, command, **parameters):
        return self._of_session("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def show(self, width, height, scheme):
        """A window of that size, in `dark` or `light`."""
        self.devtools(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )
        self.devtools(
            "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}]
        )

    def press(self, key):
        """A key, as the keyboard sends it."""
        code = {"Enter": 13, "Tab": 9, " ": 32}[key]
        names = {"key": key, "code": {" ": "Space"}.get(key, key), "windowsVirtualKeyCode": code}
        text = {"Enter": "\r", " ": " "}.get(key)
        self.devtools("Input.dispatchKeyEvent", type="keyDown", **names, **({"text": text} if text else {}))
        self.devtools("Input.dispatchKeyEvent", type="keyUp", **names)

    def log(self):
        """Messages of the console since the last call."""
        return self._of_session("POST", "/se/log", {"type": "browser"})

    def screenshot(self, path):
        shot = self.devtools("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        with open(path, "wb") as file:
            file.write(base64.b64decode(shot["data"]))
