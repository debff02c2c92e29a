"""What a deployment does when it is told to end: the arm first, then what is in progress."""

from __future__ import annotations

import contextlib
import signal
import warnings
from typing import Any, Self

from demos.devices.contracts import Button
from demos.session.session import Session
from robolearn import signals
from robolearn.errors import UserError
from robolearn.types import Environment


class Ending:
    """Inside ``with``, SIGTERM and a terminal that goes away stop the arm, and end the session.

    A robot's guard does the first, whether or not the policy comes back. The episode in progress is
    saved, and the session leaves. Told once more, the program is interrupted, as by Ctrl-C.
    """

    def __init__(self, session: Session, env: Environment) -> None:
        self.words = ""  # by what it was told to end; "" if it was not
        self._session, self._guard = session, getattr(env, "guard", None)
        self._closing = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._closing.enter_context(signals.handled(self._end))
        return self

    def __exit__(self, *error: object) -> None:
        self._closing.close()

    def _end(self, number: int, frame: Any) -> None:
        if self.words:
            raise KeyboardInterrupt
        self.words = f"told to end by {signal.Signals(number).name}"
        self._session.press(Button.QUIT)
        if self._guard is not None:
            try:
                self._guard.emergency_stop(self.words)
            except UserError as error:  # it cannot be reached: the person must hear of it
                warnings.warn(str(error), stacklevel=2)
