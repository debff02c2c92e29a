"""What a session that is killed leaves behind: SIGKILL at random moments, from one seed.

Prints one JSON line for each thing that a session was at when it was killed, and one for all:

    python benchmarks/kills.py [--kills 200] [--seed 0]

A scripted operator practises and demonstrates Lift in a process of its own, decides, thinks better
of it, takes back; every demonstration is run again and written to a real disk. Moments are drawn
so that each state is hit, within its usual length. Sessions go on where a killed one was: five are
killed in each folder, and one more is let live. ``page``: a page is served and the clock is the
real one; otherwise a session goes as fast as it computes.

``said`` demonstrations are those that the killed session had shown as finished, ``found`` those of
them that are there, readable and decided about as shown; ``unsaid`` are whole on disk, but were
not shown yet. ``lost`` counts, after each kill, all that was ever said in the folder and is not
there. ``left_behind`` is what ``doctor`` finds at once (what the next session clears away),
``doctor`` what it finds after the folder was opened again.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import random
import shutil
import signal
import statistics
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import sim
from demos.data.dataset import Dataset
from demos.data.doctor import HEALTHY, OK, STALE, TEMPORARY_FILE, doctor
from demos.devices.contracts import Button, Device, Heard
from demos.devices.others import Scripted
from demos.operators import make_operator
from demos.page.config import PageConfig
from demos.page.feed import Feed
from demos.page.server import Page
from demos.session.clock import RealClock, SimulatedClock
from demos.session.contracts import Decision, Phase, State
from demos.session.session import Session
from demos.session.teaching import SessionConfig
from robolearn.errors import DataError
from robolearn.types import Environment, Spec

LIFT, OPTIONS = "robosuite/Lift", {"robot": "Panda", "horizon": 1300}
SESSIONS = 5  # that are killed in a folder
PATIENCE_S = 600  # that a session may take
ATTEMPTS = 4  # of a session that is let live
AIMS = {  # what a session is to be at when it is killed, and how often of 100
    "startup": 4, "opening": 10, "practice": 10, "waiting": 5, "running": 15, "saving": 12,
    "writing": 20, "deciding": 4, "amending": 16, "ending": 4,
}  # fmt: skip
CHOICES = {  # what the operator does about a demonstration, and how often
    Button.START: 3, Button.KEEP: 1, Button.DISCARD: 3, Button.RETRY: 2,
}  # fmt: skip
UNDOES = 0.4  # share of waits in which the last one kept is taken back
DECIDED = {Button.KEEP: Decision.KEPT, Button.DISCARD: Decision.DISCARDED,
           Button.RETRY: Decision.DISCARDED}  # fmt: skip
SEATED = ("waiting", "deciding")  # what is saved after these is a decision that changes
Tell = Callable[[str], None]


@dataclass(frozen=True)
class World:
    """Where sessions are had, and who acts there."""

    interface: Spec
    make: Callable[[], Environment]
    device: Callable[[Spec, np.random.Generator], Device]
    options: dict[str, Any] = field(default_factory=dict)
    horizon: int = 250
    settle_steps: int = 5


def main() -> None:
    """Kill sessions on Lift, a quarter of them with a page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    env = sim.make(LIFT, **OPTIONS)  # what it compiles is there for all that follow
    env.close()
    world = World(env.interface, lambda: sim.make(LIFT, **OPTIONS), _operator, OPTIONS)
    with_page = arguments.kills // 4
    with tempfile.TemporaryDirectory() as folder:
        kills = []
        for page, count in ((False, arguments.kills - with_page), (True, with_page)):
            rng = random.Random(f"{arguments.seed} {page}")
            made = kill_all(world, Path(folder) / f"page {page}", count, rng, page)
            kills += [kill | {"page": page} for kill in made]
            for row in rows(kills, page):
                print(json.dumps(row), flush=True)
    print(json.dumps({"page": None, "killed_while": "all"} | summed(kills)), flush=True)


def rows(kills: Sequence[dict[str, Any]], page: bool | None) -> list[dict[str, Any]]:
    """Put kills together by what they interrupted."""
    return [
        {"page": page, "killed_while": what} | summed(chosen)
        for what in (*AIMS, "ended")
        if (chosen := [k for k in kills if (k.get("page"), k["killed_while"]) == (page, what)])
    ]


def summed(kills: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Add up what was found after some kills."""
    left = Counter(status for kill in kills for status in kill["left_behind"])
    counts = {n: sum(k[n] for k in kills) for n in ("said", "found", "unsaid", "lost")}
    findings = [finding for kill in kills for finding in kill["doctor"]]
    return {"kills": len(kills)} | counts | {"left_behind": dict(left), "doctor": findings}


def _operator(interface: Spec, rng: np.random.Generator) -> Device:
    return Scripted(lambda: make_operator(LIFT, "base", interface, rng))


# a session, in a process of its own


class Recorded(Dataset):
    """A dataset that says when it begins to write."""

    tell: Tell
    begun = False  # to write the demonstration that has ended

    def append(self, episode: Any) -> str:
        """Write an episode, as ever."""
        self.begun = True
        self.tell("writing")
        return super().append(episode)

    def amend(self, name: str, **changes: Any) -> None:
        """Change an episode, as ever."""
        self.tell("amending")
        super().amend(name, **changes)


class Doubting:
    """A device whose operator decides at random, and which tells what it sees of the session.

    ``session`` and ``dataset`` are to be set. What has been shown as finished is told with its
    decision, and so is a decision that is about to be changed.
    """

    def __init__(self, device: Device, tell: Tell, rng: random.Random) -> None:
        self._device, self._tell, self._rng = device, tell, rng
        self.session: Session | None = None
        self.dataset: Recorded | None = None
        self.name, self.help, self.setting = device.name, device.help, device.setting
        self.start_state = None
        self._was, self._told, self._kept = "", 0, []
        self._undone, self._asked = False, ""

    def open(self) -> None:
        """Nothing needs to be had."""

    def close(self) -> None:
        """Nothing needs to be let go of."""

    def reset(self, n: int) -> None:
        """Begin a demonstration."""
        self._device.reset(n)
        self._undone = False

    def command(self, observation: Any, now_s: float) -> Any:
        """Act as the device does."""
        self._look()
        return self._device.command(observation, now_s)

    def listen(self, now_s: float) -> Heard:
        """Begin, decide, or take back."""
        status = self._look()
        if status.state is State.DECIDING:
            return Heard((self._decide(Decision(status.decision)),))
        if status.state is not State.WAITING:
            return Heard()
        if status.attempts >= ATTEMPTS:
            return Heard((Button.QUIT,))
        if self._kept and not self._undone and self._rng.random() < UNDOES:
            self._undone = True
            self._ask(self._kept.pop(), Decision.UNDONE)
            return Heard((Button.UNDO,))
        return Heard((Button.START,))

    act = None  # it is asked for commands

    def _look(self) -> Any:
        """Tell what is new: what the session is at, and which demonstrations are finished."""
        status, names = self.session.status, self.session.outcome.names
        for name in names[self._told :]:
            self._tell(f"finished {name} {status.decision}")
            if status.decision == "kept":
                self._kept.append(name)
        self._told = len(names)
        if self._asked and status.state is not State.SAVING:
            self._tell(f"finished {self._asked}")
            self._asked = ""
        practises = status.phase is Phase.PRACTICE and status.state is State.RUNNING
        state = "practice" if practises else str(status.state)
        was, self._was = self._was, state
        if state == was or (state == "saving" and (self.dataset.begun or was in SEATED)):
            return status
        self.dataset.begun = False
        self._tell(state)
        return status

    def _decide(self, proposed: Decision) -> Button:
        (button,) = self._rng.choices([*CHOICES], [*CHOICES.values()])
        wanted = DECIDED.get(button, proposed)
        if wanted is not proposed:
            name = self.session.outcome.names[-1]
            self._ask(name, wanted)
            if proposed is Decision.KEPT:
                self._kept.pop()
            elif wanted is Decision.KEPT:
                self._kept.append(name)
        return button

    def _ask(self, name: str, decision: Decision) -> None:
        self._asked = f"{name} {decision}"
        self._tell(f"asked {self._asked}")


def have_session(world: World, folder: Path, seed: int, page: bool, tell: Tell) -> None:
    """Have a session in a folder, from the environment to the end of the process."""
    tell("startup")
    env, check = world.make(), world.make()
    tell("opening")
    dataset = Recorded.ensure(folder, env.interface, world.options)
    dataset.tell = tell
    device = Doubting(
        world.device(env.interface, np.random.default_rng(seed)), tell, random.Random(seed)
    )
    config = SessionConfig(
        practice=1, goal=10**6, horizon=world.horizon, settle_steps=world.settle_steps
    )
    clock = RealClock() if page else SimulatedClock()
    session = Session(env, device, dataset, config, seed=seed, clock=clock, check_env=check)
    device.session, device.dataset = session, dataset
    with contextlib.ExitStack() as closing:
        if page:
            feed = Feed(session.views, (), lambda: None)
            closing.enter_context(Page(PageConfig(port=0), lambda: session.status, feed))
        session.run()
    tell("ending")
    dataset.flush()
    tell("ended")


# the kills


@dataclass
class Known:
    """What is known of the demonstrations in a folder."""

    said: dict[str, set[str]] = field(default_factory=dict)  # name -> decisions that may be there
    unsaid: set[str] = field(default_factory=set)  # there, but never shown as finished


def kill_all(
    world: World, folder: Path, count: int, rng: random.Random, page: bool = False
) -> list[dict[str, Any]]:
    """Kill so many sessions, at moments drawn from ``rng``; give what was found after each."""
    folder.mkdir(parents=True, exist_ok=True)
    lengths_s = _lengths(_run(world, folder / "whole", 0, page, None))
    made: list[dict[str, Any]] = []
    while len(made) < count:
        path, known = folder / str(len(made)), Known()
        for _ in range(min(SESSIONS, count - len(made))):
            lines = _run(world, path, rng.randrange(2**31), page, _aim(rng, lengths_s))
            made.append(_look_at(world, path, [line for line, _ in lines], known))
        _run(world, path, rng.randrange(2**31), page, None)
    return made


def _aim(rng: random.Random, lengths_s: dict[str, float]) -> tuple[str, int, float]:
    """Draw a moment: what a session is to be at, for the how manieth time, and how long after."""
    (what,) = rng.choices([*AIMS], [*AIMS.values()])
    again = what in ("waiting", "running", "saving", "writing", "deciding", "amending")
    return what, rng.randint(1, 2) if again else 1, rng.uniform(0, 1.2 * lengths_s.get(what, 0.01))


def _lengths(lines: list[tuple[str, float]]) -> dict[str, float]:
    """Measure how long a session is usually at each thing, in seconds."""
    found: dict[str, list[float]] = {}
    states = [(line, at_s) for line, at_s in lines if " " not in line]
    for (state, from_s), (_, to_s) in itertools.pairwise(states):
        found.setdefault(state, []).append(to_s - from_s)
    return {state: statistics.median(lengths) for state, lengths in found.items()}


def _run(
    world: World, folder: Path, seed: int, page: bool, aim: tuple[str, int, float] | None
) -> list[tuple[str, float]]:
    """Have a session in another process, which is killed; give what it told, and when.

    Without an ``aim`` it is let live. RuntimeError if it fails by itself.
    """
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(PATIENCE_S)
        os.close(ours)
        _child(world, folder, seed, page, theirs)
    os.close(theirs)
    lines, seen = [], Counter()
    with os.fdopen(ours) as told:
        for line in told:
            lines.append((line.strip(), time.monotonic()))
            seen[line.strip()] += 1
            if aim is not None and (line.strip(), seen[line.strip()]) == aim[:2]:
                time.sleep(aim[2])
                os.kill(pid, signal.SIGKILL)
                lines += [(rest.strip(), time.monotonic()) for rest in told]
                break
    _, status = os.waitpid(pid, 0)
    ended = os.waitstatus_to_exitcode(status)
    if ended not in (0, -signal.SIGKILL):
        raise RuntimeError(f"{folder}: the session failed: {[line for line, _ in lines][-3:]}")
    return lines


def _child(world: World, folder: Path, seed: int, page: bool, pipe: int) -> None:
    code = 1
    try:
        have_session(world, folder, seed, page, lambda line: os.write(pipe, f"{line}\n".encode()))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)  # nothing of the parent's is closed or said twice


def _look_at(world: World, path: Path, lines: list[str], known: Known) -> dict[str, Any]:
    """Say what is there after a kill, and remember it."""
    ours: dict[str, set[str]] = {}
    for what, name, decision in (line.split() for line in lines if " " in line):
        here = ours if name in ours or name not in known.said else known.said
        # of a change that was only asked for, the old or the new decision may be there
        here[name] = {decision} if what == "finished" else here[name] | {decision}
    known.said |= ours
    left, findings, there = _examined(world, path)
    good = {name for name, may_be in known.said.items() if there.get(name, "") in may_be}
    known.said |= {name: {there[name]} for name in good}
    unsaid = there.keys() - known.said.keys() - known.unsaid
    known.unsaid |= unsaid
    gone = known.unsaid - there.keys()
    return {
        "killed_while": [line for line in lines if " " not in line][-1],
        "said": len(ours),
        "found": len(good & ours.keys()),
        "unsaid": len(unsaid),
        "lost": len(known.said) - len(good) + len(gone),
        "left_behind": left,
        "doctor": findings,
    }


def _examined(world: World, path: Path) -> tuple[list[str], list[str], dict[str, str]]:
    """Give what doctor finds at once, what in a copy that was opened, and decisions by name."""
    try:
        findings = doctor(path).findings if path.exists() else []
    except DataError:  # it was killed before there was a dataset
        findings = []
    left = [f.status for f in findings if f.status not in HEALTHY]
    wrong = [f"{f.file}: {f.status}" for f in findings
             if f.status not in (OK, *HEALTHY, TEMPORARY_FILE, STALE)]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        if path.exists():
            shutil.copytree(path, copy)
        dataset = Dataset.ensure(copy, world.interface, world.options)
        report = doctor(copy)  # which reads every episode
        there = {name: dataset.metadata(name)["decision"] for name in dataset.names()}
    wrong += [f"{f.file}: {f.status}" for f in report.findings if f.status not in HEALTHY]
    return left, wrong + report.gaps, there


if __name__ == "__main__":
    main()
