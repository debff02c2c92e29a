"""``robolearn LAUNCH`` of a launch file with a sweep: all of its runs, each in a folder of its own.

What is done is read off the folders, so that the same command goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import fcntl
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from robolearn import signals
from robolearn.comparing.compare import CompareConfig, Compared, compare
from robolearn.comparing.conditions import CONFIG
from robolearn.comparing.scores import read_summary, score_of
from robolearn.errors import UserError
from robolearn.files import cannot_write, make_folder
from robolearn.names import load
from robolearn.running import strict_yaml
from robolearn.running.launch import require_same
from robolearn.running.processes import Died, first_done
from robolearn.running.run import RUNS, SWEEP, provenance, replace_text
from robolearn.sweeps import grid
from robolearn.sweeps.attempt import USERS, has_ended, last_words, launch_file

ENGINES = {"local": "robolearn.sweeps.local:LocalEngine", "ray": "demos.cluster.engine:RayEngine"}
LOCK = ".lock"


class Engine(Protocol):
    """Where attempts are made: a context manager that leaves nothing running behind.

    Made of a ``SweepConfig`` and a sweep's folder, into which what a run leaves comes, at every
    checkpoint at the latest.
    """

    where: str  # in a few words

    def __enter__(self) -> Engine: ...

    def __exit__(self, *error: object) -> None: ...

    def submit(self, name: str) -> Future[int]:
        """Have ``attempt`` made of a run; the exit code comes out, or ``Died``."""


@dataclass(frozen=True)
class Swept:
    """What came of a sweep: its folder, how many runs failed, the report of the others."""

    folder: Path
    members: tuple[grid.Member, ...]
    failed: int
    compared: Compared | None


def run_sweep(path: Path, overrides: Sequence[str]) -> Swept:
    """Run all that has not ended yet, and compare the runs.

    Raises UserError before the first run begins if one of them is wrong, or if the folder holds
    others; KeyboardInterrupt, which says how far it is, once everything has stopped.
    """
    sweep = grid.read(path, overrides)
    folder = Path(sweep.out or RUNS / sweep.name / f"sweep-{sweep.fingerprint()}")
    if (folder / CONFIG).exists():
        raise UserError(f"'out={folder}': holds a run of its own; choose another folder")
    make_folder(folder)
    with _alone(folder), signals.as_interrupts():
        _prepare(sweep, folder, path)
        names = [member.name for member in sweep.members]
        waiting = [name for name in names if not has_ended(folder, name)]
        teller = _Teller(folder, len(names), len(names) - len(waiting), sweep.config.score)
        try:
            if not waiting:
                teller.begin("nothing is left to do")
            else:
                with load(ENGINES[sweep.config.engine])(sweep.config, folder) as engine:
                    teller.begin(engine.where)
                    _run(engine, waiting, sweep.config.retries, teller)
        except KeyboardInterrupt:
            ended = sum(has_ended(folder, name) for name in names)
            raise KeyboardInterrupt(
                f"{folder}: {ended} of {len(names)} runs have ended", "the same command goes on"
            ) from None
        compared = _compared(folder, names, sweep.config.score)
        return Swept(folder, sweep.members, teller.failures, compared)


def _compared(folder: Path, names: Sequence[str], score: str | None) -> Compared | None:
    """Compare the runs that have ended, if they have something to compare."""
    if not any(has_ended(folder, name) for name in names):
        return None
    try:
        return compare([folder], CompareConfig(score=score))
    except UserError as error:
        print(f"robolearn: not compared: {error}", file=sys.stderr)
        return None


def _run(engine: Engine, names: Sequence[str], retries: int, teller: _Teller) -> None:
    """Have all runs made, and made again what died or failed."""
    tries = Counter(names)
    running = {engine.submit(name): name for name in names}
    while running:
        for job in first_done(running):
            name = running.pop(job)
            why, is_final = _outcome(job)
            if has_ended(teller.folder, name):
                teller.ended(name)
            elif is_final or tries[name] > retries:
                teller.failed(name, why)
            else:
                teller.again(name, f"{why}; retry {tries[name]} of {retries}")
                tries[name] += 1
                running[engine.submit(name)] = name


def _outcome(job: Future[int]) -> tuple[str, bool]:
    """Say why an attempt failed, if it did, and whether another would be in vain."""
    try:
        code = job.result()
    except (Died, OSError) as error:
        return str(error), False
    return f"exit code {code}", code == USERS


def _prepare(sweep: grid.Sweep, folder: Path, path: Path) -> None:
    """Write the launch file of every run; UserError if one that has begun there is another one."""
    for member in sweep.members:
        begun = folder / member.name / "config.yaml"
        if begun.exists():
            require_same(member.launch, begun, str(folder / member.name))
    for member in sweep.members:
        file = launch_file(folder, member.name)
        make_folder(file.parent)
        replace_text(file, strict_yaml.dump(member.launch.settings() | {"out": None}))
    asked = {"launch": str(path), "sweep": sweep.settings()}
    replace_text(folder / SWEEP, strict_yaml.dump(asked | {"provenance": provenance()}))


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep a second one out, which would run the same; the lock goes with the process."""
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(open(folder / LOCK, "ab"))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{folder}: this sweep is being run already") from None
        except OSError as error:
            raise cannot_write(folder / LOCK, error) from error
        yield


class _Teller:
    """Tells people what happens, a line each."""

    def __init__(self, folder: Path, runs: int, done: int, score: str | None) -> None:
        self.folder, self.failures = folder, 0
        self._runs, self._done, self._score = runs, done, score
        self._begun, self._done_before = time.monotonic(), done

    def begin(self, where: str) -> None:
        """Say what is about to begin."""
        every = "all" if self._done == self._runs else self._done
        done = f", {every} of them done before" if self._done else ""
        self._say(f"robolearn: {self.folder}: {self._runs} runs{done}; {where}")

    def ended(self, name: str) -> None:
        """Say that a run has ended, with its score and how long the rest may take."""
        score = score_of(read_summary(self.folder / name), self._score)
        self._count(f"{name}: {score or 'done'}{self._left(self._done + 1)}")

    def failed(self, name: str, why: str) -> None:
        """Say that a run has failed, with the last line that it printed."""
        self.failures += 1
        self._count(f"{name}: failed ({why}): {last_words(self.folder, name)}")

    def again(self, name: str, why: str) -> None:
        """Say that a run goes on."""
        self._say(f"{name}: {why}")

    def _count(self, text: str) -> None:
        self._done += 1
        self._say(f"[{self._done:{len(str(self._runs))}}/{self._runs}] {text}")

    def _left(self, done: int) -> str:
        each = (time.monotonic() - self._begun) / (done - self._done_before)
        left = each * (self._runs - done)
        return f"; {_duration(left)} left" if left else ""

    def _say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
