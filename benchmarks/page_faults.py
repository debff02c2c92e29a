"""What the robot does when the page's connection fails, on real sockets and at the real rate.

Prints one JSON line for each fault and client:

    python benchmarks/page_faults.py [--times 50] [--seed 0]

A session on Lift at 20 Hz steers by the page. A client in a process of its own says what a page
says, through a TCP proxy, and each message moves by its own number, so that each action tells
which message it follows. At random moments, from one seed: ``cut``, the connection is reset;
``frozen``, the client says and hears nothing for a while; ``delayed``, everything takes 2 s more,
on the way there or both ways; ``held up``, everything waits for a while and then comes at once;
``closed``, the page is closed. Meanwhile START is pressed; afterwards the client
connects again, looks whether the session says that it is paused, and asks it to go on. In Chromium
the tab is closed or the browser killed (``closed``), and the page's script hangs (``frozen``).

``still_*_ms`` is from the last input that moved, as the session has recorded it (``input_s``), to
the action that does not, or to the pause, in which none is sent; ``since_said_*_ms`` is the same
from the moment at which the client said it. ``late_*_ms`` is by how much the control loop itself
was late there, and ``still_but_late_worst_ms`` the worst without that. ``old`` counts actions that
were chosen, at their tick, by a message of more than 0.1 s before; ``unasked`` those that moved
between the pause and going on; ``paused_before`` rounds whose fault came to a session that was
paused already, as it is on a machine that has no time for it: they are not in the other numbers.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import random
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import numpy as np
from browser import Browser, chromium

import sim
from demos.devices.contracts import Button, Command
from demos.devices.keys import KeyMap
from demos.devices.steering import Steered, Steering, SteeringConfig
from demos.page.config import PageConfig
from demos.page.feed import Feed
from demos.page.server import Page
from demos.page.source import HOLD_S, PageSource
from demos.session.session import Session
from demos.session.teaching import SessionConfig
from robolearn.types import Environment

TASK, OPTIONS = "robosuite/Lift", {"horizon": 10**6}
FAULTS = ("cut", "frozen", "delayed", "held up", "closed")
IN_CHROMIUM = ("closed", "frozen")
SAY_S, IDLE_S = 0.016, 0.1  # between two messages, as the page has it
LOST_S, AGAIN_S = 1.0, 0.25  # without a word, as the page has it; before it connects again
MOVE_S = (0.3, 1.0)  # range of how long there is motion before a fault
FAULT_S = (0.8, 2.0)  # and of how long a fault lasts
DELAY_S = 2.0
NUMBER = 1e-6  # by which a message moves for each of its number
PATIENCE_S = 30.0
Log = dict[str, Any]


def main() -> None:
    """Measure every fault."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=50, help="of each fault")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    env = sim.make(TASK, **OPTIONS)
    in_chromium = arguments.times // 10 if chromium() else 0
    for fault in FAULTS:
        browsed = in_chromium if fault in IN_CHROMIUM else 0
        for name, client, times in (
            ("plain", in_a_process, arguments.times - browsed),
            ("chromium", browse, browsed),
        ):
            if times:
                found = measure(env, fault, times, arguments.seed, client)
                print(json.dumps({"client": name, "fault": fault} | found), flush=True)
    env.close()


# the session


@dataclass(frozen=True)
class Asked:
    """What the device asked for at one tick."""

    tick_s: float
    at_s: float
    number: int  # of the message that it follows
    command: Command

    @property
    def pauses(self) -> bool:
        """Whether the session takes no step at this, but pauses."""
        return bool(self.command.lost) or Button.PAUSE in self.command.buttons


class Noting(Steered):
    """A device that notes each command."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.log: list[Asked] = []

    def command(self, observation: Any, now_s: float) -> Command:
        """Give what is asked for, as ever."""
        command = super().command(observation, now_s)
        number = round(float(command.action[0]) / NUMBER) if command.engaged else 0
        self.log.append(Asked(now_s, time.monotonic(), number, command))
        return command


def measure(
    env: Environment, fault: str, times: int, seed: int, client: Callable[..., Log]
) -> dict[str, Any]:
    """Run one demonstration in real time while a client has the same fault again and again."""
    source = PageSource(KeyMap.of({}), env.interface.period_s)
    device = Noting(source, Steering(SteeringConfig(speed=1.0), env.interface))
    config = SessionConfig(horizon=10**6, settle_steps=10**6, goal=1, ask=False)
    session = Session(env, device, None, config)
    said: Log = {}

    def work() -> None:
        try:
            said.update(client(page.address, fault, times, seed))
        finally:
            session.press(Button.QUIT)

    feed = Feed(session.views, (), lambda: None)
    with Page(PageConfig(port=0), lambda: session.status, feed, source) as page:
        thread = threading.Thread(target=work)
        thread.start()
        session.run()
        thread.join()
    episode = session.last
    row = judged(device.log, episode.records, said, env.interface.period_s)
    timing = episode.metadata["timing"]
    return row | {"jitter_p99_ms": round(timing["jitter_p99_ms"], 2)}


def judged(
    log: Sequence[Asked], records: dict[str, np.ndarray], said: Log, period_s: float
) -> dict[str, Any]:
    """Put together what happened at each fault."""
    steps = recorded(log, records)
    each = [_at_a_fault(log, fault, steps, said["sent"], period_s) for fault in said["faults"]]
    found = [one for one in each if one is not None]  # the others found it paused already
    still_ms, late_ms = (1e3 * np.array([f[name] for f in found]) for name in ("still_s", "late_s"))
    sent = said["sent"]
    ages_s = [a.tick_s - sent[a.number] for a in log if a.number in sent]
    since_said_ms = [1e3 * f["since_said_s"] for f in found if f["since_said_s"] is not None]
    return {
        "times": len(found),
        **spread("still", still_ms),
        "over_100": int((still_ms > 1e3 * HOLD_S).sum()),
        **spread("since_said", since_said_ms),
        **spread("late", late_ms),
        "still_but_late_worst_ms": round(float((still_ms - late_ms).max()), 2),
        "old": sum(age_s > HOLD_S for age_s in ages_s),
        "unasked": sum(f["unasked"] for f in found),
        "paused": sum(f["paused"] for f in found),
        "paused_before": len(each) - len(found),
        "said": sorted({fault["problem"] for fault in said["faults"]}),
        "went_on": sum(fault["went_on"] for fault in said["faults"]),
    }


def recorded(log: Sequence[Asked], records: dict[str, np.ndarray]) -> dict[int, float]:
    """Find the session's record of each command that was sent: its place in the log -> when."""
    first = next(k for k, asked in enumerate(log) if asked.command.engaged)
    places = [k for k in range(first, len(log)) if not log[k].pauses]
    places = places[: len(records["sent_s"])]
    assert [log[k].command.engaged for k in places] == records["engaged"].tolist()
    given_s = np.array([log[k].command.given_s for k in places])
    began_s = given_s[0] - records["input_s"][0]
    assert np.allclose(given_s, records["input_s"] + began_s, atol=1e-6)
    return dict(zip(places, (records["sent_s"] + began_s).tolist(), strict=True))


def spread(name: str, values: Sequence[float]) -> dict[str, float]:
    """Give the middle, the 99th percentile and the worst, if there are any."""
    if not len(values):
        return {}
    middle, high, worst = (round(float(v), 2) for v in np.percentile(values, [50, 99, 100]))
    return {f"{name}_p50_ms": middle, f"{name}_p99_ms": high, f"{name}_worst_ms": worst}


def _at_a_fault(
    log: Sequence[Asked], fault: Log, steps: dict[int, float], sent: dict[int, float],
    period_s: float,
) -> dict[str, Any] | None:  # fmt: skip
    """Say how soon after a fault nothing moved, and whether it stayed so until it was asked to."""
    after = [k for k, a in enumerate(log) if fault["at_s"] < a.tick_s < fault["asked_s"]]
    if not after:
        return None
    pause = next((k for k in after if log[k].pauses), after[-1])
    last = max(k for k in range(pause) if log[k].command.engaged)
    mover, still_s = log[last], steps.get(last + 1, log[last + 1].at_s)
    said_s = sent.get(mover.number)
    return {
        "still_s": still_s - mover.command.given_s,
        "since_said_s": None if said_s is None else still_s - said_s,
        "late_s": max(0.0, still_s - mover.tick_s - period_s),
        "unasked": sum(log[k].command.engaged for k in after if k > pause),
        "paused": log[pause].pauses,
    }


# the client


class Proxy:
    """Stands between a client and the page; delays, holds up, or cuts what goes through.

    A context manager. ``delay_s`` are for what goes to the page and what comes from it.
    """

    def __init__(self, port: int) -> None:
        self._port, self.port = port, 0
        self.delay_s = [0.0, 0.0]
        self.flows = asyncio.Event()
        self.flows.set()
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task] = set()

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._through, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error: object) -> None:
        self.cut()
        self._server.close()
        for task in self._tasks:
            task.cancel()

    def cut(self) -> None:
        """Reset all connections, on both sides."""
        for writer in self._writers:
            if writer.transport.is_closing():
                continue
            writer.transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
            writer.transport.abort()
        self._writers.clear()

    async def _through(self, ours: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        try:
            theirs, on = await asyncio.open_connection("127.0.0.1", self._port)
        except ConnectionError:  # the session is over
            back.close()
            return
        self._writers += [back, on]
        for way, (reader, writer) in enumerate(((ours, on), (theirs, back))):
            task = asyncio.ensure_future(self._pass_on(way, reader, writer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass_on(
        self, way: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Write what is read when it is due; bytes stay in order, as TCP has it."""
        due: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        task = asyncio.ensure_future(self._write(due, writer))
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                due.put_nowait((time.monotonic() + self.delay_s[way], data))
        due.put_nowait((time.monotonic() + self.delay_s[way], b""))
        await task

    async def _write(self, due: asyncio.Queue, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                at_s, data = await due.get()
                await asyncio.sleep(max(0.0, at_s - time.monotonic()))
                await self.flows.wait()
                if not data:
                    break
                writer.write(data)
                await writer.drain()
        writer.close()


class Hand:
    """Says what a page says, at its rate, and hears what it is told; connects again by itself.

    Once a connection is lost nothing is held any more, as on the page.
    """

    def __init__(self, port: int) -> None:
        self._port, self._token = port, ""
        self.holds, self.frozen, self.away = False, False, False
        self.word: Log = {}
        self.status: Log = {}
        self.sent: dict[int, float] = {}
        self._buttons: list[str] = []
        self._count = 0
        self._heard_s = 0.0

    async def live(self, session: aiohttp.ClientSession, token: str) -> None:
        """Connect, and again after each loss, for ever."""
        host = f"http://127.0.0.1:{self._port}"
        while True:
            with contextlib.suppress(aiohttp.ClientError, ConnectionError, TimeoutError):
                address = f"{host}/{token}/control?client=hand"
                async with session.ws_connect(address, headers={"Origin": host}) as page:
                    await self._speak(page)
            self.holds, self.word, self._buttons = False, {}, []
            await asyncio.sleep(AGAIN_S)
            while self.away:
                await asyncio.sleep(SAY_S)

    def press(self, button: str) -> None:
        """Press a button, if there is a connection."""
        if self.word:
            self._buttons.append(button)

    async def until(self, *states: str, patience_s: float = PATIENCE_S) -> None:
        """Wait until the page is told, over a connection that steers, of one of these states."""
        until_s = time.monotonic() + patience_s
        while self.word.get("role") != "steers" or self.status.get("state") not in states:
            if time.monotonic() > until_s:
                raise RuntimeError(f"never {states}: {self.word} {self.status}")
            await asyncio.sleep(SAY_S)

    async def _speak(self, page: Any) -> None:
        self._heard_s, self.status = time.monotonic(), {}
        listening = asyncio.ensure_future(self._listen(page))
        number, spoken_s = 0, 0.0
        try:
            while not page.closed and not listening.done():
                now_s = time.monotonic()
                if not self.frozen:
                    if now_s - self._heard_s > LOST_S:
                        break
                    waits_s = 0.0 if self.holds or self._buttons else IDLE_S
                    if self.word and now_s - spoken_s >= waits_s:
                        number, spoken_s = number + 1, now_s
                        await page.send_str(self._message(number, now_s))
                    if self.away:
                        break
                await asyncio.sleep(SAY_S)
        finally:
            listening.cancel()

    def _message(self, number: int, now_s: float) -> str:
        move = [0.0, 0.0, 0.0]
        if self.holds:
            self._count += 1
            self.sent[self._count] = now_s
            move[0] = self._count * NUMBER
        said = {"n": number, "t": 1000 * now_s, "beat": self.word["beat"], "move": move,
                "turn": [0, 0, 0], "engaged": self.holds, "buttons": self._buttons}  # fmt: skip
        self._buttons = []
        return json.dumps(said)

    async def _listen(self, page: Any) -> None:
        while True:
            while self.frozen:
                await asyncio.sleep(SAY_S)
            message = await page.receive()
            if message.type is not aiohttp.WSMsgType.TEXT:
                return
            word = json.loads(message.data)
            if "hello" not in word:
                self.status |= word.pop("status")
                self.word, self._heard_s = word, time.monotonic()


def in_a_process(address: str, fault: str, times: int, seed: int) -> Log:
    """Have a client in a process of its own."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    client = context.Process(target=_tell, args=(theirs, address, fault, times, seed), daemon=True)
    client.start()
    theirs.close()
    said = ours.recv()
    client.join()
    return said


def _tell(pipe: Any, *what: Any) -> None:
    pipe.send(speak(*what))


def speak(address: str, fault: str, times: int, seed: int) -> Log:
    """Have the same fault again and again; give when, and when each message was sent."""
    return asyncio.run(_speak(address, fault, times, random.Random(f"{fault} {seed}")))


async def _speak(address: str, fault: str, times: int, rng: random.Random) -> Log:
    there = urlsplit(address)
    faults = []
    async with Proxy(there.port) as proxy, aiohttp.ClientSession() as session:
        hand = Hand(proxy.port)
        living = asyncio.ensure_future(hand.live(session, there.path.strip("/")))
        await hand.until("waiting")
        hand.press("start")
        await hand.until("running")
        while len(faults) < times:
            hand.holds = True
            await asyncio.sleep(rng.uniform(*MOVE_S))
            if hand.status.get("state") == "running":
                faults.append(await _have(fault, hand, proxy, rng))
            else:  # on a machine that has no time for it
                await _go_on(hand)
        living.cancel()
    return {"faults": faults, "sent": hand.sent}


async def _have(fault: str, hand: Hand, proxy: Proxy, rng: random.Random) -> Log:
    """Have a fault, see that it is paused, and ask to go on."""
    at_s, lasts_s = time.monotonic(), rng.uniform(*FAULT_S)
    _begin(fault, hand, proxy, rng)
    await asyncio.sleep(lasts_s / 2)
    if fault != "frozen":
        hand.press("start")  # which nobody is to hear, or only much later
    await asyncio.sleep(lasts_s / 2)
    _end(fault, hand, proxy)
    await asyncio.sleep(rng.uniform(0.2, 0.4))  # still holding what it held, if it is connected
    if fault == "delayed":
        await asyncio.sleep(DELAY_S)
    return {"at_s": at_s} | await _go_on(hand)


async def _go_on(hand: Hand) -> Log:
    """Ask to go on after a pause; give when, and what was said of the pause."""
    hand.holds = False
    with contextlib.suppress(RuntimeError):  # then it has not paused, and the row says so
        await hand.until("paused", patience_s=5.0)
    await asyncio.sleep(0.3)
    problem, asked_s = hand.status.get("problem", ""), time.monotonic()
    went_on = hand.status.get("state") == "paused"  # and not by itself
    while hand.status.get("state") != "running":  # what comes late is not heard
        hand.press("start")
        with contextlib.suppress(RuntimeError):
            await hand.until("running", patience_s=1.0)
    return {"asked_s": asked_s, "problem": problem, "went_on": went_on}


def _begin(fault: str, hand: Hand, proxy: Proxy, rng: random.Random) -> None:
    if fault == "cut":
        hand.away = True
        proxy.cut()
    elif fault == "frozen":
        hand.frozen = True
    elif fault == "delayed":
        proxy.delay_s = [DELAY_S, rng.choice([0.0, DELAY_S])]
    elif fault == "held up":
        proxy.flows.clear()
    elif fault == "closed":
        hand.away = True


def _end(fault: str, hand: Hand, proxy: Proxy) -> None:
    hand.away = hand.frozen = False
    proxy.delay_s = [0.0, 0.0]
    proxy.flows.set()


def browse(address: str, fault: str, times: int, seed: int) -> Log:
    """Have a fault in Chromium: a script that hangs, a tab that is closed, a browser that ends."""
    rng, faults = random.Random(f"{fault} {seed}"), []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        browser = _opened(Path(folder) / "0", address)
        while len(faults) < times:
            _ask_on(browser)
            browser.down("w")
            time.sleep(rng.uniform(*MOVE_S))
            if browser.ask("document.body.dataset.state") != "running":
                browser.up("w")
                continue
            at_s, i = time.monotonic(), len(faults)
            if fault == "frozen":
                _hang(browser, rng.uniform(*FAULT_S))
            else:
                browser = _closed(browser, i % 2 == 0, Path(folder) / f"{i + 1}", address)
            browser.until("document.body.dataset.state === 'paused'")
            time.sleep(0.5)  # with the key still down, if the browser is the same
            text = browser.ask("document.querySelector('#veil p').textContent")
            paused = browser.ask("document.body.dataset.state === 'paused'")
            if fault == "frozen":
                browser.up("w")
            asked_s = time.monotonic()
            _ask_on(browser)
            faults.append({"at_s": at_s, "asked_s": asked_s, "problem": text, "went_on": paused})
        browser.__exit__()
    return {"faults": faults, "sent": {}}


def _opened(folder: Path, address: str) -> Browser:
    browser = Browser(folder)
    browser.size(1280, 800)
    browser.open(address)
    browser.until("document.body?.dataset.link === 'steers'")
    return browser


def _ask_on(browser: Browser) -> None:
    """Press START until it goes on: what comes late is not heard."""
    until_s = time.monotonic() + PATIENCE_S
    while browser.ask("document.body.dataset.state") != "running":
        if time.monotonic() > until_s:
            raise RuntimeError(browser.ask("document.body.innerText"))
        browser.press("enter")
        with contextlib.suppress(AssertionError):
            browser.until("document.body.dataset.state === 'running'", 1.0)


def _hang(browser: Browser, seconds: float) -> None:
    browser.ask(
        f"setTimeout(() => {{ const until = performance.now() + {1000 * seconds};"
        "while (performance.now() < until); }, 0)"
    )
    time.sleep(0.1)
    browser.press("enter")  # which is answered afterwards


def _closed(browser: Browser, kindly: bool, folder: Path, address: str) -> Browser:
    """Close the tab, or kill the browser; open the page in another one."""
    if kindly:
        with contextlib.suppress(AssertionError, ConnectionError, TypeError, TimeoutError):
            browser.tell("Page.close")
        time.sleep(1.0)
    browser.process.kill()
    browser.__exit__()
    return _opened(folder, address)


if __name__ == "__main__":
    main()
