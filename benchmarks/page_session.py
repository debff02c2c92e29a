"""A whole elicitation session on Lift in a real browser: practice, learn, a rejection, one kept.

As a program it takes the screenshots of ``docs/`` (``python benchmarks/page_session.py docs``);
``tests/demos/page/test_in_browser.py`` looks at what is on disk afterwards.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from browser import Browser
from PIL import Image
from typist import STEERING, Typing, Typist

import sim
from demos.data.dataset import Dataset
from demos.devices.keys import KeyMap
from demos.devices.steering import Steered, Steering
from demos.page.config import PageConfig
from demos.page.feed import Feed
from demos.page.server import Page
from demos.page.source import PageSource
from demos.session.clock import SimulatedClock
from demos.session.contracts import State
from demos.session.judging import ScorerConfig, make_scorer
from demos.session.pictures import Pictured
from demos.session.session import Outcome, Session
from demos.session.teaching import SessionConfig

LIFT, OPTIONS = "robosuite/Lift", {"robot": "Panda", "horizon": 1300}
BASE = 5
WAITS = 30  # steps
TRIES = 4
LAPTOP, PHONE = (1280, 800), (390, 844)
SETTLE_MS = 300  # before a screenshot
WATCH_MS = 2000  # until there is something to compare
Look = Callable[[str, Browser], None]


def make_base(folder: Path) -> None:
    """Store demonstrations of somebody who lifts the cube by keys, without a browser."""
    env = sim.make(LIFT, **OPTIONS)
    with contextlib.closing(env):
        dataset = Dataset.create(folder, env.interface, OPTIONS)
        config = SessionConfig(operator="base", goal=BASE, horizon=250, ask=False)
        Session(env, Typing(env.interface), dataset, config, clock=SimulatedClock()).run()
        dataset.flush()


class Seat:
    """A person at a browser, who sees the state of the simulation and presses keys."""

    def __init__(self, session: Session, browser: Browser, names: Sequence[str]) -> None:
        self.browser, self._names = browser, names
        self._box = session.views.subscribe(1)

    def state(self, *wanted: str) -> None:
        """Wait until the page says that the session is in one of these states."""
        self.browser.until(f"{list(wanted)}.includes(document.body.dataset.state)")

    def demonstrate(self, waits: int = 0, halfway: Callable[[], None] | None = None) -> None:
        """Lift the cube by keys; when the page has paused, go on."""
        typist, held, seen = Typist(self._names, waits), frozenset(), 0
        self.state("waiting")
        self.browser.press("enter")
        self.state("running", "paused")
        while (frame := self._box.take(5.0)) is not None:
            if frame.status.state is State.PAUSED:
                wanted, grips = frozenset(), False
                self.browser.press("enter")
            elif frame.status.state is State.RUNNING:
                wanted, grips = typist.keys(frame.observation["state"])
            else:
                break
            for key in held - wanted:
                self.browser.up(key)
            for key in wanted - held:
                self.browser.down(key)
            if grips:
                self.browser.press("space")
            held, seen = frozenset(wanted), frame.status.steps
            if halfway is not None and seen > 20:
                halfway()
                halfway = None
        for key in held:
            self.browser.up(key)


def take_part(seat: Seat, look: Look) -> None:
    """Practise, watch, be rejected and see why, be accepted, leave."""
    browser = seat.browser
    seat.state("waiting")
    look("practice", browser)
    while browser.ask("document.body.dataset.phase") == "practice":
        seat.demonstrate()
        seat.state("waiting", "showing")
    look("learn", browser)
    if browser.ask("document.body.dataset.state") == "showing":
        browser.press("tab")  # elsewhere it goes to the next button
    seat.state("waiting")
    seat.demonstrate(WAITS, lambda: look("teach", browser))
    seat.state("deciding")
    browser.until("document.body.dataset.decision === 'rejected'")
    look("rejected", browser)
    browser.press("enter")
    seat.state("showing")
    look("why", browser)
    browser.press("g")
    for _ in range(TRIES):
        seat.demonstrate()
        seat.state("deciding")
        if browser.ask("document.body.dataset.decision") == "kept":
            break
        browser.press("n")
    browser.click("#actions [data-press=start]")
    browser.until("document.getElementById('kept').textContent === '1'")
    look("kept", browser)
    browser.click("#leave")
    browser.click("#leave")
    browser.until("document.body.dataset.link === 'over'")


def elicit(
    folder: Path,
    cameras: Sequence[str],
    look: Look,
    dark: bool = True,
    make: Callable[[], Pictured] | None = None,
) -> Outcome:
    """Have a session in ``folder``, whose demonstrations are in ``folder / "ann"``.

    ``make`` gives what draws, if it is another than usual.
    """
    make_base(folder / "base")
    env, check = sim.make(LIFT, **OPTIONS), sim.make(LIFT, **OPTIONS)
    names = env.interface.observations["state"].names
    dataset = Dataset.create(folder / "ann", env.interface, OPTIONS)
    source = PageSource(KeyMap.of({}), env.interface.period_s)
    session = Session(
        env,
        Steered(source, Steering(STEERING, env.interface)),
        dataset,
        SessionConfig(
            operator="ann", task="lift the cube", practice=1, learn=1, goal=5, horizon=600
        ),
        scorer=make_scorer(ScorerConfig(str(folder / "base")), env.interface),
        load_base=Dataset.open(folder / "base").load,
        check_env=check,
    )

    def as_usual() -> Pictured:
        return Pictured(LIFT, OPTIONS, tuple(cameras), (320, 320), jpeg=True)

    feed = Feed(session.views, cameras, make or as_usual)
    page = Page(PageConfig(port=0), lambda: session.status, feed, source)

    def work() -> None:
        with page:
            session.run()

    thread = threading.Thread(target=work)
    with Browser(folder / "browser", dark) as browser:
        browser.size(*LAPTOP)
        seat = Seat(session, browser, names)
        thread.start()
        try:
            page.ready.wait()
            browser.open(page.address)
            browser.until("document.body?.dataset.link === 'steers'")
            if cameras:
                browser.until("!!document.querySelector('figure.live')")
            take_part(seat, look)
        finally:
            session.press("quit")
            thread.join()
            dataset.flush()
            env.close()
            check.close()
    return session.outcome


def shots(folder: Path) -> Look:
    """Give what takes screenshots into a folder, as a laptop and as a phone have the page."""

    def look(name: str, browser: Browser) -> None:
        if name == "why":
            browser.until("!!document.querySelector('.pair .beside.live')")
            wait(browser, WATCH_MS)
        for kind, size in (("laptop", LAPTOP), ("phone", PHONE)):
            browser.size(*size, phone=kind == "phone")
            wait(browser, SETTLE_MS)
            path = folder / f"page_{name}_{kind}.png"
            browser.picture(path)
            smaller(path)
        browser.size(*LAPTOP)

    return look


def wait(browser: Browser, time_ms: int) -> None:
    """Wait by the browser's clock."""
    browser.ask(f"new Promise((done) => setTimeout(done, {time_ms}))")


def smaller(path: Path) -> None:
    """Write a PNG again, with fewer shades."""
    picture = Image.open(path).convert("RGB").point(lambda shade: round(shade / 8) * 8)
    picture.save(path, optimize=True)


def main() -> None:
    """Take the screenshots."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--light", action="store_true")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        look = shots(arguments.folder)
        cameras = ("agentview", "robot0_eye_in_hand")
        print(elicit(Path(folder), cameras, look, dark=not arguments.light))


if __name__ == "__main__":
    main()
