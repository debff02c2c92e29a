"""Time at a fixed rate: deadlines on a grid, and how well they were kept."""

from __future__ import annotations

import math
import time
from collections import deque
from typing import Any, Protocol

import numpy as np

MOST = 100_000  # ticks that are remembered: nobody waits for ever


class Clock(Protocol):
    """What time it is, and how to wait."""

    real: bool

    def now(self) -> float:
        """Give the time, seconds; only differences mean something."""

    def sleep_until(self, at_s: float) -> None:
        """Wait until a time; not at all if it is past."""


class RealClock:
    """The monotonic clock of the machine."""

    real = True

    def now(self) -> float:
        """Give ``time.monotonic()``."""
        return time.monotonic()

    def sleep_until(self, at_s: float) -> None:
        """Sleep until then."""
        left_s = at_s - time.monotonic()
        if left_s > 0:
            time.sleep(left_s)


class SimulatedClock:
    """A clock that jumps to what is waited for: a session as fast as it computes."""

    real = False

    def __init__(self) -> None:
        self._now_s = 0.0

    def now(self) -> float:
        """Give the time of the last jump."""
        return self._now_s

    def sleep_until(self, at_s: float) -> None:
        """Jump."""
        self._now_s = max(self._now_s, at_s)


class Ticker:
    """Ticks at a fixed rate, on a grid of deadlines; none is made up for.

    A tick begins at its deadline. One that comes so late that further deadlines have passed takes
    the latest of them; each that was passed over, and each that began late by that, is a miss: one
    of ``deadlines``, which count those that were passed over too.
    """

    def __init__(self, period_s: float, clock: Clock) -> None:
        self.period_s, self._clock = period_s, clock
        self.restart()

    def restart(self) -> None:
        """Begin a new grid now, and forget what was measured."""
        self._deadline_s = self._clock.now()
        self._began_s: deque[float] = deque(maxlen=MOST)
        self._late_s: deque[float] = deque(maxlen=MOST)
        self.ticks = 0
        self.deadlines = 0
        self.missed = 0

    def wait(self) -> float:
        """Wait for the next deadline and give the time at which the tick really begins."""
        self._deadline_s += self.period_s
        self.deadlines += 1
        late_s = self._clock.now() - self._deadline_s
        if late_s > 0:
            passed = math.floor(late_s / self.period_s)
            self.missed += 1 + passed
            self.deadlines += passed
            self._deadline_s += passed * self.period_s
        else:
            self._clock.sleep_until(self._deadline_s)
        now_s = self._clock.now()
        self._began_s.append(now_s)
        self._late_s.append(now_s - self._deadline_s)
        self.ticks += 1
        return now_s

    def measured(self) -> dict[str, Any]:
        """Say how well the rate was kept: periods in s, lateness of ticks (jitter) in ms."""
        late_ms = 1e3 * np.array(self._late_s or [0.0])
        middle, high, most = (float(v) for v in np.percentile(late_ms, [50, 99, 100]))
        periods = np.diff(self._began_s) if self.ticks > 1 else np.array([self.period_s])
        return {
            "period_s": self.period_s,
            "measured_period_s": float(periods.mean()),
            "ticks": self.ticks,
            "deadlines": self.deadlines,
            "missed": self.missed,
            "missed_share": self.missed / max(self.deadlines, 1),
            "jitter_p50_ms": middle,
            "jitter_p99_ms": high,
            "jitter_max_ms": most,
        }
