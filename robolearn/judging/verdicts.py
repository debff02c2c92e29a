"""What the judge of harm says, by which lines, and how amounts become harm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
from annotated_types import Gt

from robolearn.algos.commands import AFTER, BEFORE, CommandConfig, whole
from robolearn.algos.contrary import ContraryConfig
from robolearn.algos.progress import ProgressConfig
from robolearn.algos.waiting import WaitingConfig
from robolearn.judging.reasons import Reason
from robolearn.settings import ProperShare, Settings, Share

Multiple = Annotated[float, Gt(1)]


@dataclass(frozen=True)
class HarmJudgeConfig(Settings):
    """Where the lines are. Raises UserError for a value that makes no sense."""

    false_rejection_rate: ProperShare = 0.05
    """Share alpha of the base operator's own demonstrations that each of the four measures may
    reject. If more are beyond a line than could be by chance (with probability 0.05), it is moved
    away; that of contrary commands lies where their spread puts it."""
    progress_line: ProperShare = 0.1
    """Progress lost, S, up to which no demonstration is rejected."""
    waiting_line: ProperShare = 0.006
    """Waits before switches, W, up to which no demonstration is rejected: a share of the base's
    median length. It is no less than one step."""
    contrary_tolerance: Multiple = 1.35
    """Multiple of the base's own contrary commands, X, up to which nobody is rejected. One
    demonstration alone is rejected further off, as X differs from one to the next."""
    together: Share = 0.5
    """How much of the verdict on a demonstration lies with the person's others, if they are judged
    together. (Of contrary commands, which are few in each, all of it does.)"""
    command_tolerance: Multiple = 20.0
    """Multiple of the base's own squared mismatch of commands, in the worst window, up to which no
    demonstration is rejected."""
    switch_tolerance: Multiple = 13.5
    """The same for entries that only switch, as a gripper's: their commands are exact."""
    progress: ProgressConfig = ProgressConfig()
    """How lost progress is measured."""
    waiting: WaitingConfig = WaitingConfig()
    """How waits are measured."""
    contrary: ContraryConfig = ContraryConfig()
    """How contrary commands are measured."""
    commands: CommandConfig = CommandConfig()
    """How the mismatch of commands is measured."""


@dataclass(frozen=True)
class HarmVerdict:
    """What the judge says of a demonstration of T steps."""

    accepted: bool
    harm: float  # above 1 is beyond a line; logarithmic, 0 is what is typical of the base
    p_value: float  # small: hardly any base demonstration is as strange
    progress_lost: float  # S, a share of the base's
    waited: float  # W, a share of the base's length
    contrary: float  # X, a share of the base's length
    command_mismatch: float  # C, as a multiple of what is tolerated of the worst entry
    reasons: tuple[Reason, ...]  # what is beyond its line, where, and how much: worst first
    lost: np.ndarray = field(repr=False)  # d [T], share of the base policy's progress lost here
    waiting: np.ndarray = field(repr=False)  # [T], how much a step is a wait for a switch, 0 to 1
    opposing: np.ndarray = field(repr=False)  # x [T], how contrary its command is, 0 to 1
    residuals: np.ndarray = field(repr=False)  # r [T, A], actions less those that go with motion
    departure: np.ndarray = field(repr=False)  # [T, A], actions less the base's in such states
    clipped: int = 0  # steps whose actions were beyond their limits

    @property
    def worst_window(self) -> tuple[int, int]:
        """First step, and one past the last, of what the first reason is about; all, if none is."""
        first = next(iter(self.reasons), None)
        return (first.start, first.end) if first else (0, len(self.lost))

    @property
    def mismatch(self) -> np.ndarray:
        """Give the largest |r| [T] of each step's action; 0 at the ends, which count nowhere."""
        inner = np.abs(whole(self.residuals)).max(axis=1)
        return np.pad(inner, (BEFORE, AFTER))


@dataclass(frozen=True)
class HarmScale:
    """Harm by what is lost, waited, or contrary: logarithmic, 0 is typical of the base, 1 the line.

    Of several that are averaged, the line is nearer, by the root of their number, as far as it is
    not ``least_line``.
    """

    least: float  # is added: nothing has a logarithm, too
    typical: float
    line: float
    least_line: float | None = None

    def __call__(self, amount: np.ndarray | float, count: int = 1) -> np.ndarray:
        """Give the harm of amounts, each the mean of ``count``."""
        to_line = np.log((self.line + self.least) / (self.typical + self.least))
        if self.least_line is not None:
            nearest = np.log((self.least_line + self.least) / (self.typical + self.least))
            to_line = max(nearest, to_line / np.sqrt(count))
        return np.log((amount + self.least) / (self.typical + self.least)) / to_line

    def together(self, amounts: Sequence[float], share: float) -> np.ndarray:
        """Give the harm of a person's, so much of each verdict lying with their median."""
        logs = np.log(np.asarray(amounts) + self.least)
        mixed = (1.0 - share) * logs + share * np.median(logs)
        return self(np.exp(mixed) - self.least, len(logs))
