"""Time that can be waited on: the machine's, or a simulated one that jumps ahead."""

from __future__ import annotations

import time


class RealClock:
    """The monotonic clock of the machine; calling it gives the time in seconds."""

    real = True

    def __call__(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        if seconds > 0:
            time.sleep(seconds)


class SimulatedClock:
    """Goes on only when somebody waits."""

    real = False

    def __init__(self) -> None:
        self._now_s = 0.0

    def __call__(self) -> float:
        return self._now_s

    def sleep(self, seconds: float) -> None:
        """Jump ahead."""
        self._now_s += max(seconds, 0.0)
