"""A real browser for tests and benchmarks: headless Chromium, told what to do over DevTools."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import aiohttp

PATIENCE_S = 60.0
START = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--mute-audio", "--no-first-run",
    "--hide-scrollbars", "--disable-extensions", "--disable-background-networking",
    "--disable-dev-shm-usage", "--remote-debugging-port=0",
)  # fmt: skip
SPECIAL = {"enter": ("Enter", 13), "tab": ("Tab", 9), "space": (" ", 32)}


def chromium() -> str | None:
    """Give the program, if it is installed."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


class Browser:
    """One tab; a context manager. Each call waits until the browser has done it."""

    def __init__(self, folder: Path, dark: bool = True) -> None:
        """Start it, with its files in a folder."""
        self._loop = asyncio.new_event_loop()
        self._numbers = itertools.count(1)
        self.process = subprocess.Popen(
            [chromium(), *START, f"--user-data-dir={folder}", "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._wait(self._connect(folder / "DevToolsActivePort"))
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._scheme = scheme
        self.tell("Emulation.setEmulatedMedia", features=[scheme])

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.send_signal(signal.SIGCONT)
        with contextlib.suppress(AssertionError, ConnectionError, TypeError, TimeoutError):
            self.tell("Browser.close")  # which may end before it has answered
        self._wait(self._session.close())
        self._loop.close()
        self.process.wait()

    def tell(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Have something done, by its name in the DevTools protocol."""
        return self._wait(self._tell(method, parameters))

    def size(self, width: int, height: int, phone: bool = False) -> None:
        """Be a window, or a phone, of this size."""
        self.tell(
            "Emulation.setDeviceMetricsOverride", width=width, height=height,
            deviceScaleFactor=1, mobile=phone,
        )  # fmt: skip
        self.tell("Emulation.setTouchEmulationEnabled", enabled=phone, maxTouchPoints=5)

    def open(self, address: str) -> None:
        """Go to a page."""
        self.tell("Page.navigate", url=address)

    def ask(self, script: str) -> Any:
        """Evaluate JavaScript in the page."""
        found = self.tell(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in found:
            raise AssertionError(found["exceptionDetails"])
        return found["result"].get("value")

    def until(self, script: str, patience_s: float = PATIENCE_S) -> Any:
        """Wait until JavaScript gives something that is true."""
        until_s = time.monotonic() + patience_s
        while not (found := self.ask(script)):
            if time.monotonic() > until_s:
                text = self.ask("document.body.innerText")
                raise AssertionError(f"never {script}; the page says: {text}")
            time.sleep(0.05)
        return found

    def down(self, key: str) -> None:
        """Press a key down."""
        self._key("keyDown", key)

    def up(self, key: str) -> None:
        """Let a key go."""
        self._key("keyUp", key)

    def press(self, key: str) -> None:
        """Press a key, and let it go."""
        self.down(key)
        self.up(key)

    def click(self, selector: str) -> None:
        """Click into the middle of an element, once it is to be seen."""
        middle = self.until(
            f"(() => {{ const found = document.querySelector({json.dumps(selector)});"
            "const box = found?.getBoundingClientRect();"
            "return box?.width ? [box.x + box.width / 2, box.y + box.height / 2] : null; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.tell(
                "Input.dispatchMouseEvent", type=kind, x=middle[0], y=middle[1],
                button="left", clickCount=1,
            )  # fmt: skip

    def touch(self, points: list[tuple[float, float]]) -> None:
        """Have fingers at these places; none lifts all of them."""
        self.tell(
            "Input.dispatchTouchEvent", type="touchStart" if points else "touchEnd",
            touchPoints=[{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)],
        )  # fmt: skip

    def picture(self, path: Path) -> None:
        """Take a screenshot."""
        path.write_bytes(base64.b64decode(self.tell("Page.captureScreenshot")["data"]))

    def _key(self, kind: str, key: str) -> None:
        name, code = SPECIAL.get(key, (key, ord(key.upper()[0])))
        text = {"text": name if len(name) == 1 else "\r"} if kind == "keyDown" else {}
        self.tell(
            "Input.dispatchKeyEvent", type=kind, key=name, code=f"Key{key.upper()}",
            windowsVirtualKeyCode=code, **text,
        )  # fmt: skip

    def _wait(self, work: Any) -> Any:
        return self._loop.run_until_complete(work)

    async def _connect(self, file: Path) -> None:
        until_s = time.monotonic() + PATIENCE_S
        while not file.exists() or "\n" not in file.read_text():
            if time.monotonic() > until_s or self.process.poll() is not None:
                raise AssertionError("Chromium does not start")
            await asyncio.sleep(0.05)
        port = file.read_text().split()[0]
        self._session = aiohttp.ClientSession()
        async with self._session.get(f"http://127.0.0.1:{port}/json/list") as found:
            tabs = [tab for tab in await found.json() if tab["type"] == "page"]
        address = tabs[0]["webSocketDebuggerUrl"]
        self._socket = await self._session.ws_connect(address, max_msg_size=0)

    async def _tell(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        while True:  # events come in between
            answer = await self._socket.receive_json(timeout=PATIENCE_S)
            if answer.get("id") == number:
                if "error" in answer:
                    raise AssertionError(f"{method}: {answer['error']}")
                return answer["result"]
