"""What acts on an arm while nobody calls: a thread that takes its guard's steps."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from robots.latch import StopError
from robots.stopping import CUT

if TYPE_CHECKING:
    from robots.guard import Guard

log = logging.getLogger(__name__)
PATIENCE_S = 1.0  # how long a call to a driver may take before somebody is told
OVERDUE = 0.5  # periods by which a command is late before the watchdog gives one in its place


def take_turn(guard: Guard) -> None:
    """Wait for a guard's turn; say so if the call that has it does not come back."""
    while not guard.turn.acquire(timeout=PATIENCE_S):
        log.critical("%s: a call to its driver does not come back: %s", guard.name, CUT)


class Watchdog(threading.Thread):
    """Calls ``guard.watch`` in every period, once a command is overdue, from ``start`` to ``end``.

    It is no daemon: a program that ends without a word is waited for until its arm is stopped. A
    second thread asks for the guard's turn now and then, only to say so where a call hangs.
    """

    def __init__(self, guard: Guard) -> None:
        super().__init__(name=f"watchdog of {guard.name}")
        self._guard = guard
        self._ended = threading.Event()

    def end(self) -> None:
        """Have it end, from any thread; it is not waited for."""
        self._ended.set()

    def run(self) -> None:
        """See ``Thread``."""
        guard = self._guard
        name = f"witness of {guard.name}"
        threading.Thread(target=self._witness, name=name, daemon=True).start()
        while not self._ended.wait(self._until_overdue_s()):
            take_turn(guard)
            try:
                if not self._ended.is_set():
                    self._look()
            finally:
                guard.turn.release()

    def _witness(self) -> None:
        while not self._ended.wait(PATIENCE_S):
            take_turn(self._guard)
            self._guard.turn.release()

    def _until_overdue_s(self) -> float:
        """Say how long to wait, so that no command is missing: at most for a period."""
        guard = self._guard
        overdue_s = guard.due_s + OVERDUE * guard.period_s - guard.clock()
        return overdue_s if 0 < overdue_s < guard.period_s else guard.period_s

    def _look(self) -> None:
        guard = self._guard
        try:
            guard.watch()
        except StopError as error:
            log.log(logging.INFO if guard.silent else logging.WARNING, "%s", error)
        except Exception as error:  # a bug of the driver's: the next look stops the arm
            log.exception("%s: its guard failed", guard.name)
            guard.emergency_stop(f"{type(error).__name__}: {error}")
