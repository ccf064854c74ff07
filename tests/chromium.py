"""A browser without a window, told what to do by its DevTools protocol over two pipes."""

import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_SWITCHES = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--hide-scrollbars",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
)
# Name → code, number and text of a key.
_KEYS = {
    "Tab": ("Tab", 9, ""),
    "Escape": ("Escape", 27, ""),
    " ": ("Space", 32, " "),
    "Home": ("Home", 36, ""),
    "ArrowRight": ("ArrowRight", 39, ""),
    "ArrowDown": ("ArrowDown", 40, ""),
}
_PATIENCE = 240.0  # seconds; the machine may be busy


class Browser:
    """One process; open pages in it with :meth:`open`."""

    def __init__(self, into: int, out: int) -> None:
        self._into, self._out = into, out
        self._number, self._unread = 0, b""
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """The answer to a command; what is told meanwhile is kept in `events`."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if session is not None:
            message["sessionId"] = session
        os.write(self._into, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def wait_for(self, method: str, session: str) -> None:
        """Until a page tells this."""
        while not any(x["method"] == method and x["sessionId"] == session for x in self.events):
            self.events.append(self._next())

    def open(self, address: str, *, width: int = 1280, height: int = 900) -> "Page":
        """A page, loaded, in a window of so many pixels."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session)
        for domain in ("Page", "Network", "Runtime", "Log"):
            page.call(f"{domain}.enable")
        page.resize(width, height)
        page.call("Page.navigate", url=address)
        self.wait_for("Page.loadEventFired", session)
        return page

    def _next(self) -> dict[str, Any]:
        until = time.monotonic() + _PATIENCE
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self._out], [], [], until - time.monotonic())
            assert ready, "the browser says nothing"
            told = os.read(self._out, 1 << 16)
            assert told, "the browser has ended"
            self._unread += told
        message, _, self._unread = self._unread.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer


class Page:
    """A page that a browser shows."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser, self._session = browser, session

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """The answer to a command about this page."""
        return self._browser.call(method, self._session, **params)

    def told(self, method: str) -> list[dict[str, Any]]:
        """What this page told by this name."""
        ours = (x for x in self._browser.events if x.get("sessionId") == self._session)
        return [x["params"] for x in ours if x["method"] == method]

    def value(self, expression: str) -> Any:
        """Of an expression in its JavaScript."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def resize(self, width: int, height: int = 900) -> None:
        """Its window, in pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def point(self, x: float, y: float) -> None:
        """Move the mouse to a place in the window."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def press(self, key: str) -> None:
        """Press a key, and let go."""
        code, number, text = _KEYS[key]
        named = {"key": key, "code": code, "windowsVirtualKeyCode": number}
        down = {"type": "keyDown", "text": text} if text else {"type": "rawKeyDown"}
        self.call("Input.dispatchKeyEvent", **down, **named)
        self.call("Input.dispatchKeyEvent", type="keyUp", **named)

    def complaints(self) -> list[str]:
        """Whatever its console says, and errors of its scripts."""
        return [
            *(str(x["args"]) for x in self.told("Runtime.consoleAPICalled")),
            *(str(x["exceptionDetails"]) for x in self.told("Runtime.exceptionThrown")),
            *(x["entry"]["text"] for x in self.told("Log.entryAdded")),
        ]

    def addresses(self) -> set[str]:
        """Whatever it asked for."""
        return {x["request"]["url"] for x in self.told("Network.requestWillBeSent")}


@contextmanager
def running(profile: Path) -> Iterator[Browser]:
    """A browser with a new profile in a folder, ended afterwards."""
    theirs_in, ours_in = os.pipe()
    ours_out, theirs_out = os.pipe()
    redirected = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'
    process = subprocess.Popen(
        ["bash", "-c", redirected, "-", str(CHROMIUM), *_SWITCHES, f"--user-data-dir={profile}"],
        pass_fds=(theirs_in, theirs_out),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(theirs_in)
    os.close(theirs_out)
    browser = Browser(ours_in, ours_out)
    try:
        yield browser
        browser.call("Browser.close")
        process.wait(timeout=_PATIENCE)
    finally:
        process.kill()
        process.wait()
        os.close(ours_in)
        os.close(ours_out)
