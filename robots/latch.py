"""The latch: why an arm is stopped, how often a stop was called for, and who has heard of it."""

from __future__ import annotations

import threading

from robots.base import RobotError


class StopError(RobotError):
    """The arm has been stopped, and takes no command until ``reset_stop``.

    ``stops`` is how often a stop had been called for when this was said; whoever is told knows of
    so many.
    """

    stops = 0


class Latch:
    """Closed by anybody, from any thread, and from a signal's handler; opened by who knows why."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a signal's handler may come in between
        self.stops = 0
        self.told = 0  # how many of them somebody has been told of
        self.reason = ""  # "" while it is open
        self.silent = False  # whether it is closed for silence, and for nothing else

    @property
    def is_closed(self) -> bool:
        """Whether the arm is stopped."""
        return bool(self.reason)

    def close(self, reason: str, silence: bool = False) -> None:
        """Close it; what it is closed for already stays a reason."""
        with self._lock:
            self.stops += 1
            self.silent = silence and (self.silent or not self.is_closed)
            if reason not in self.reason or not self.is_closed:
                self.reason += f"; {reason}" if self.reason else reason or "stopped"

    def add(self, words: str) -> None:
        """Say more of the reason."""
        with self._lock:
            self.reason += words

    def open(self, stops: int) -> bool:
        """Open it, unless it was closed more often than ``stops`` times; say whether it is open."""
        with self._lock:
            if stops >= self.stops:
                self.reason, self.silent = "", False
            return not self.is_closed

    def error(self, name: str) -> StopError:
        """Give the error that says why the robot ``name`` is stopped."""
        with self._lock:
            hint = "reset_stop() when that is put right"
            error = StopError(f"{name}: stopped: {self.reason}; {hint}")
            error.stops = self.stops
            return error
