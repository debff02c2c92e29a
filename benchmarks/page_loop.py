"""How well the control loop keeps its rate while a page is served, and how long a key takes.

Prints one JSON line per client, as ``control_loop.py`` does:

    python benchmarks/page_loop.py [--seconds 60] [--size 256]

``page, chromium``: two cameras go to the page in headless Chromium on this machine, and keys are
pressed in it. ``page, plain client``: another process takes the pictures and sends what a page
sends. ``key_to_action_*_ms``: from the moment at which the key is pressed, in the client, to the
first command that follows it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import random
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
from browser import Browser, chromium
from control_loop import CAMERAS, PRESS_S, say

import sim
from demos.devices.contracts import Button, Command
from demos.devices.keys import KeyMap
from demos.devices.steering import Steered, Steering, SteeringConfig
from demos.page.config import PageConfig
from demos.page.feed import Feed
from demos.page.server import Page
from demos.page.source import PageSource
from demos.session.pictures import Pictured
from demos.session.session import Session
from demos.session.teaching import SessionConfig

TASK = "robosuite/Lift"
SAY_S = 0.016  # between two messages, as the page has it
Press = Callable[[str, Callable[[], bool], list[float]], None]  # address, whether it is over, times


def main() -> None:
    """Measure both clients."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="of each client")
    parser.add_argument("--size", type=int, default=256, help="of pictures, pixels")
    arguments = parser.parse_args()
    steps = round(arguments.seconds * 20)
    clients = {"page, chromium": in_chromium} if chromium() else {}
    for client, press in (clients | {"page, plain client": in_a_process}).items():
        say(client, measure(press, steps, arguments.size))


class Timed(Steered):
    """A device that notes when it began to be engaged, each time."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.began_s: list[float] = []
        self._was = False

    def command(self, observation: Any, now_s: float) -> Command:
        """Give what is asked for, as ever."""
        command = super().command(observation, now_s)
        if command.engaged and not self._was:
            self.began_s.append(time.monotonic())
        self._was = command.engaged
        return command


def measure(press: Press, steps: int, size: int) -> dict[str, float]:
    """Run one demonstration of so many steps in real time, with one client at the page."""
    options = {"horizon": steps + 10}
    env = sim.make(TASK, **options)
    source = PageSource(KeyMap.of({}), env.interface.period_s)
    device = Timed(source, Steering(SteeringConfig(speed=0.02), env.interface))
    config = SessionConfig(horizon=steps, settle_steps=steps, goal=1, ask=False)
    made = Session(env, device, None, config)

    def make() -> Pictured:
        return Pictured(TASK, options, CAMERAS, (size, size), jpeg=True)

    pressed_s: list[float] = []
    page = Page(PageConfig(port=0), lambda: made.status, Feed(made.views, CAMERAS, make), source)

    def client() -> None:
        press(page.address, lambda: made.status.attempts > 0, pressed_s)
        made.press(Button.QUIT)

    with page:
        presses = threading.Thread(target=client)
        presses.start()
        made.run()
        presses.join()
    env.close()
    timing = made.last.metadata["timing"]
    delays_ms = 1e3 * np.array(delays(pressed_s, device.began_s))
    return {name: timing[name] for name in timing if name.startswith(("missed_s", "jitter"))} | {
        "key_to_action_p50_ms": float(np.median(delays_ms)),
        "key_to_action_p99_ms": float(np.percentile(delays_ms, 99)),
        "presses": len(delays_ms),
        "pictures_per_s": page.feed.newest.number / (steps * env.interface.period_s),
    }


def delays(pressed_s: list[float], began_s: list[float]) -> list[float]:
    """Give the time from each press to the next beginning of motion, if there is one before the
    next press."""
    found = []
    for press_s, next_s in zip(pressed_s, [*pressed_s[1:], np.inf], strict=False):
        after = [at_s for at_s in began_s if press_s <= at_s < next_s]
        found += after[:1] and [after[0] - press_s]
    return found


def in_chromium(address: str, is_over: Callable[[], bool], pressed_s: list[float]) -> None:
    """Press a key in Chromium at random moments."""
    moments = random.Random(0)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        with Browser(Path(folder)) as browser:
            browser.size(1280, 800)
            browser.open(address)
            browser.until("document.body?.dataset.link === 'steers'")
            browser.until("!!document.querySelector('figure.live')")
            browser.press("enter")
            browser.until("document.body.dataset.state === 'running'")
            while not is_over():
                pressed_s.append(time.monotonic())
                browser.down("w")
                time.sleep(moments.uniform(*PRESS_S))
                browser.up("w")
                time.sleep(moments.uniform(*PRESS_S))
                if browser.ask("document.body.dataset.state") == "paused":
                    browser.press("enter")


def in_a_process(address: str, is_over: Callable[[], bool], pressed_s: list[float]) -> None:
    """Have a process of its own speak as a page does."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    client = context.Process(target=_speak, args=(address, theirs), daemon=True)
    client.start()
    while not is_over():
        time.sleep(0.05)
    ours.send("over")
    pressed_s.extend(ours.recv())
    client.join()


def _speak(address: str, pipe: Any) -> None:
    pipe.send(asyncio.run(_client(address, pipe.poll)))


async def _client(address: str, is_over: Callable[[], bool]) -> list[float]:
    """Take words and pictures, and press at random moments; give when."""
    headers, moments = {"Origin": address.rsplit("/", 2)[0]}, random.Random(0)
    known = {"beat": 0, "state": ""}
    pressed_s: list[float] = []
    async with aiohttp.ClientSession(headers=headers) as session:
        page = await session.ws_connect(address + "control")
        pictures = await session.ws_connect(address + "pictures", max_msg_size=0)
        first = asyncio.Event()
        tasks = [
            asyncio.ensure_future(_listen(page, known)),
            asyncio.ensure_future(_take(pictures, first)),
        ]
        await first.wait()
        number, down, until_s = 0, False, 0.0
        while not is_over():
            now_s, running = time.monotonic(), known["state"] == "running"
            if now_s >= until_s and running:
                down, until_s = not down, now_s + moments.uniform(*PRESS_S)
                pressed_s += [now_s] if down else []
            number += 1
            begins = not running and number % 20 == 0
            said = {
                "n": number, "t": 1000 * now_s, "beat": known["beat"], "turn": [0, 0, 0],
                "move": [int(down), 0, 0], "engaged": down, "buttons": ["start"] * begins,
            }  # fmt: skip
            if known["beat"]:
                await page.send_str(json.dumps(said))
            await asyncio.sleep(SAY_S)
        for task in tasks:
            task.cancel()
    return pressed_s


async def _listen(page: Any, known: dict[str, Any]) -> None:
    async for message in page:
        word = json.loads(message.data)
        if "hello" not in word:
            known |= {"beat": word["beat"], "state": word["status"].get("state", known["state"])}


async def _take(pictures: Any, first: asyncio.Event) -> None:
    with contextlib.suppress(ConnectionError):
        async for _ in pictures:
            first.set()
            await pictures.send_str("taken")


if __name__ == "__main__":
    main()
