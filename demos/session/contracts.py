"""What a session shows: frames and a status, which views read and nobody writes into."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np

from demos.devices.contracts import Help
from robolearn.types import Observation

Window = tuple[int, int]  # first step, one past the last


class Phase(StrEnum):
    """What a session is about."""

    PRACTICE = "practice"
    LEARN = "learn"
    TEACH = "teach"


class State(StrEnum):
    """What a session does."""

    WAITING = "waiting"
    RUNNING = "running"
    PAUSED = "paused"
    SAVING = "saving"
    DECIDING = "deciding"
    SHOWING = "showing"
    DONE = "done"


class Decision(StrEnum):
    """What becomes of a demonstration."""

    KEPT = "kept"
    REJECTED = "rejected"  # the judge's
    FAILED = "failed"
    DISCARDED = "discarded"  # the person's
    PRACTICE = "practice"
    UNDONE = "undone"  # it was kept


class Ending(StrEnum):
    """What ended a demonstration."""

    SUCCESS = "success"
    FAILURE = "failure"  # said by who watches
    TASK = "task"  # the environment, without success
    TIME = "time"
    STOPPED = "stopped"  # a robot that was stopped, whose reason is in the metadata
    PERSON = "person"  # who demonstrates
    DEVICE = "device"  # which has nothing more to give


@dataclass(frozen=True)
class Live:
    """What a judge says while a demonstration runs."""

    level: float  # 0 green to 1 red
    words: str = ""  # "faster", "dz +0.62"; "" if all is well
    values: Mapping[str, float] = field(default_factory=dict)  # the judge's own, by name
    limits: Mapping[str, float] = field(default_factory=dict)  # beyond which they are too much


@dataclass(frozen=True)
class Verdict:
    """What a judge says of a whole demonstration."""

    accepted: bool
    score: float  # the judge's own: above 1 is beyond its line
    reasons: tuple[str, ...] = ()
    windows: tuple[Window, ...] = ()  # the worst, worst first
    nearest: str = ""  # the base demonstration that is most like it


@dataclass(frozen=True)
class Status:
    """All that is to be said of a session at a moment, but pictures."""

    phase: Phase
    state: State
    operator: str = ""
    task: str = ""
    device: str = ""
    frame: str = ""
    speed: float = 0.0
    help: Help = ()
    attempt: int = 0  # of this session, counted from 1; 0 before the first
    steps: int = 0
    time_s: float = 0.0
    kept: int = 0
    goal: int = 0
    rejected: int = 0
    attempts: int = 0
    gripper: str = ""  # "open", "closed"; "" where nobody knows
    engaged: bool = False
    intervention: bool = False
    live: Live | None = None
    strip: tuple[float, ...] = ()
    verdict: Verdict | None = None
    decision: str = ""
    message: str = ""
    problem: str = ""
    missed: int = 0
    deadlines: int = 0  # of which so many were missed


def as_json(status: Status) -> dict[str, Any]:
    """Give a status as plain values."""
    return dataclasses.asdict(status)


class Sight(NamedTuple):
    """What is seen at a moment, and what of another demonstration beside it."""

    observation: Observation
    state: np.ndarray | None  # [S]
    beside: np.ndarray | None = None  # [S]


@dataclass(frozen=True)
class Frame:
    """What there is to see at one tick."""

    number: int
    time_s: float
    observation: Observation
    state: np.ndarray | None  # [S]
    action: np.ndarray | None  # [A], sent; None while nothing is
    status: Status
    beside: np.ndarray | None = None  # [S] of a base demonstration that is compared with it
