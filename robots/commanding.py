"""What an arm is sent: one safe command a period, on a schedule, whoever asks and how often."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from robots import safety
from robots.base import TRIES, BusError, Robot, named, quantity
from robots.safety import Commanded, Limits, Safe
from robots.watch import GuardConfig

ROUNDING_S = 1e-9  # of sums of periods
EARLY = "it came before its period; nothing was sent yet"
JITTER = 0.05  # share of a period by which two commands may be closer, after one that was late
MISSING = 2  # periods after a command: the next one is missing, and the arm rests at the last


@dataclass(frozen=True)
class Record:
    """What became of one command."""

    time_s: float
    asked: np.ndarray | None  # [J]; None: nothing came
    sent: np.ndarray | None  # [J]; None: nothing was sent
    words: tuple[str, ...] = ()  # what was changed or refused, and why


class Commander:
    """Sends a robot its commands; ``state`` is the last one, None before ``begin`` and after."""

    def __init__(self, robot: Robot, limits: Limits, config: GuardConfig, period_s: float) -> None:
        self._robot, self._limits, self._config = robot, limits, config
        self._period_s = period_s
        self.state: Commanded | None = None
        self.record = Record(0.0, None, None)
        self.sent_s = self.due_s = 0.0  # when the last one was sent; before when no other is
        self._began_s = 0.0
        self._warm_up()

    def begin(self, positions: np.ndarray, now_s: float) -> None:
        """Begin where the arm is, [J]."""
        self.state = safety.begin(self._limits, positions)
        self._began_s = self.sent_s = self.due_s = now_s
        self.record = Record(now_s, None, None)

    def end(self) -> None:
        """Send nothing any more."""
        self.state = None

    def postpone(self, now_s: float, target: np.ndarray) -> None:
        """Take a target [J] that came before its period for the next one's."""
        self.record = Record(now_s, target, None, (EARLY,))

    def step(self, now_s: float, target: np.ndarray, seen: np.ndarray | None) -> None:
        """Send what is safe of a target [J], of an arm that was seen at [J]; LostError."""
        self._notice_rest(now_s)
        safe = safety.safe_command(self._slowed(now_s), self.state, target, seen)
        self._send(now_s, target, safe, tuple(map(str, safe.changes)))

    def rest(self, now_s: float, words: str) -> None:
        """Send the next step of the way to rest, or have the next period begin it; LostError."""
        if now_s < self.due_s:
            self.record = Record(now_s, None, self.record.sent, (words,))
            return
        self._notice_rest(now_s)
        safe = safety.stopping_command(self._limits, self.state)
        self._send(now_s, None, safe, (words,))

    def _notice_rest(self, now_s: float) -> None:
        """Begin at rest where a command is missing: the arm has come to rest at its last one."""
        if now_s - self.sent_s >= MISSING * (self._period_s - ROUNDING_S):
            self.state = safety.at_rest(self.state)

    def _slowed(self, now_s: float) -> Limits:
        """Give the limits of now: for the first seconds a share of the velocities."""
        since_s, config = now_s - self._began_s, self._config
        if since_s >= config.ramp_s:
            return self._limits
        share = config.ramp_from + (1 - config.ramp_from) * since_s / config.ramp_s
        return self._limits.slower(share)

    def _send(
        self, now_s: float, asked: np.ndarray | None, safe: Safe, words: tuple[str, ...]
    ) -> None:
        sent, period_s = safe.position, self._period_s
        self.due_s = max(self.due_s, now_s - JITTER * period_s) + period_s - ROUNDING_S
        if not self._config.dry_run:
            action = named(self._robot.joints, {"pos": safe.position})
            try:
                given = exchanged(lambda: self._robot.send_action(action))
                sent = quantity(self._robot.joints, given)
            except BusError as error:  # the arm has come to rest at the last one when it is over
                self.state = safety.at_rest(self.state)
                self.record = Record(now_s, asked, None, (f"not sent: {error}",))
                return
        self.state, self.sent_s = safe.after, now_s
        self.record = Record(now_s, asked, sent, words)

    def _warm_up(self) -> None:
        """Have everything compiled before an arm moves."""
        middle = self._limits.motion[:2].mean(axis=0)
        start = safety.begin(self._limits, middle)
        safety.safe_command(self._limits, start, middle + 1e-3)
        safety.stopping_command(self._limits, start)


def exchanged(call: Callable[[], Any]) -> Any:
    """Repeat what noise disturbed, a few times."""
    for left in reversed(range(TRIES)):
        try:
            return call()
        except BusError:
            if not left:
                raise
