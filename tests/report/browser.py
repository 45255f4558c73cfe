"""A real browser for tests: headless Chromium, spoken to over its debugging pipe; no driver, no port."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
PATIENCE_SECONDS = 60  # a command on a busy machine
VIEW_HEIGHT_PX = 900
A4_INCHES = {"paperWidth": 8.27, "paperHeight": 11.69}
EXECUTABLE = next(filter(None, map(shutil.which, NAMES)), None)

# Keys by name: code, number, and the text that they type.
KEYS = {"Tab": ("Tab", 9, ""), "Enter": ("Enter", 13, "\r"), " ": ("Space", 32, " ")}

# Chromium reads commands from descriptor 3 and writes answers to descriptor 4.
_LAUNCH = """
import os, sys
read, write, *command = sys.argv[1:]
os.dup2(int(read), 3)
os.dup2(int(write), 4)
os.execvp(command[0], command)
"""
_OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-sync", "--disable-component-update", "--disable-dev-shm-usage", "--remote-debugging-pipe",
    "--hide-scrollbars",
)  # fmt: skip


class Browser:
    """One page of one browser with an empty profile; use as a context manager.

    Attributes:
        events: Every event that the page sent, e.g. console messages, errors and requests.
    """

    def __init__(self) -> None:
        if EXECUTABLE is None:
            raise RuntimeError(f"no browser: expected one of {', '.join(NAMES)} on the path")
        self.events: list[dict[str, Any]] = []
        self._count = 0
        self._buffer = b""
        self._home = tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True)
        command_read, self._write = os.pipe()
        self._read, answer_write = os.pipe()
        inherited = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (command_read, answer_write)]  # clear of 3 and 4
        launch = [sys.executable, "-c", _LAUNCH, *map(str, inherited), EXECUTABLE, *_OPTIONS]
        self._process = subprocess.Popen(
            [*launch, f"--user-data-dir={self._home.name}", "about:blank"],
            pass_fds=inherited,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": self._home.name},
        )
        for end in (command_read, answer_write, *inherited):
            os.close(end)
        self._session = ""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setFocusEmulationEnabled", enabled=True)  # else nothing has the focus without a window

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(timeout=10)
        os.close(self._write)
        os.close(self._read)
        self._home.cleanup()

    def call(self, method: str, **params: object) -> dict[str, Any]:
        """Send one command of the DevTools protocol and return its result."""
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._count:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def open(self, path: Path, width: int, *, dark: bool = False, scripts: bool = True) -> None:
        """Show a file at a width in CSS pixels, light or dark, with the page's own scripts on or off."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media="", features=[scheme])
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=VIEW_HEIGHT_PX,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        self.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.events.clear()
        self.call("Page.navigate", url=path.absolute().as_uri())
        self.wait_for("Page.loadEventFired")

    def wait_for(self, event: str, **params: object) -> None:
        """Return when the page has sent an event with these parameters since it was opened."""

        def matches(sent: dict[str, Any]) -> bool:
            return bool(sent["method"] == event and params.items() <= sent["params"].items())

        while not any(map(matches, self.events)):
            self.events.append(self._next())

    def evaluate(self, expression: str) -> Any:  # noqa: ANN401 - whatever JSON value the page answers
        """Value of a JavaScript expression in the page; the page's policy does not bind it; promises are awaited.

        Raises:
            RuntimeError: The expression threw; the message says what.
        """
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise RuntimeError(details.get("exception", {}).get("description", details["text"]))
        return answer["result"].get("value")  # nothing, where the expression is undefined

    def press(self, key: str) -> None:
        """Press and release a key of `KEYS`, as a person would: where the focus is, scripts on or off."""
        code, number, text = KEYS[key]
        named = {"key": key, "code": code, "windowsVirtualKeyCode": number}
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **named)
        self.call("Input.dispatchKeyEvent", type="keyUp", **named)

    def open_drawers(self) -> None:
        """Open every `<details>` of the page."""
        self.evaluate("document.querySelectorAll('details').forEach(drawer => { drawer.open = true })")

    @property
    def complaints(self) -> list[dict[str, Any]]:
        """What the console shows since the page was opened: messages, refusals, errors of scripts."""
        kinds = {"Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown"}
        return [event["params"] for event in self.events if event["method"] in kinds]

    @property
    def requests(self) -> list[str]:
        """Addresses that the page asked for since it was opened, its own first."""
        sent = [event["params"] for event in self.events if event["method"] == "Network.requestWillBeSent"]
        return [params["request"]["url"] for params in sent]

    def screenshot(self, path: Path, top_px: int, width_px: int, height_px: int) -> None:
        """Write a band of the page as PNG, whether it is in view or not."""
        band = {"x": 0, "y": top_px, "width": width_px, "height": height_px, "scale": 1}
        content = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=band)["data"]
        path.write_bytes(base64.b64decode(content))

    def pdf(self, path: Path) -> None:
        """Write the page as it prints, on A4 unless the page asks for other paper."""
        content = self.call("Page.printToPDF", preferCSSPageSize=True, printBackground=False, **A4_INCHES)["data"]
        path.write_bytes(base64.b64decode(content))

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], PATIENCE_SECONDS)
            chunk = os.read(self._read, 1 << 20) if ready else b""
            if not chunk:
                raise RuntimeError("the browser has gone or does not answer")
            self._buffer += chunk
        message, _, self._buffer = self._buffer.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer
