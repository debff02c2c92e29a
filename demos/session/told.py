"""What a session with a robot does when it is told to end: the arm first, then what is going on."""

from __future__ import annotations

import contextlib
import signal
import warnings
from collections.abc import Callable
from typing import Any, Self

from robolearn import signals
from robolearn.errors import UserError

KINDS = (signal.SIGINT, *signals.ENDING)


class ToldToEnd:
    """Inside ``with``, Ctrl-C, SIGTERM and a lost terminal stop the arm, and end the session.

    A robot's guard does the first, whether or not whoever acts comes back. The episode in progress
    is saved, with the reason, and the session leaves. Told once more, the program is interrupted.
    """

    def __init__(self, stop: Callable[[str], None]) -> None:
        """``stop`` stops the arm, and says why: from a signal's handler."""
        self.words = ""  # by what it was told to end; "" if it was not
        self._stop = stop
        self._closing = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._closing.enter_context(signals.handled(self._end, KINDS))
        return self

    def __exit__(self, *error: object) -> None:
        self._closing.close()

    def _end(self, number: int, frame: Any) -> None:
        if self.words:
            raise KeyboardInterrupt
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        self.words = f"told to end by {name}"
        try:
            self._stop(self.words)
        except UserError as error:  # it cannot be reached: the person must hear of it
            warnings.warn(str(error), stacklevel=2)
