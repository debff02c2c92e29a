"""What nobody may take, and how to ask a driver for it without moving its arm."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from robolearn.errors import DataError, SpecError, UserError
from robots.base import Driver, Robot, RobotError, Values


class Fault(Exception):
    """A driver does not keep the contract; the text says how."""


def bad_actions(here: Values) -> list[tuple[str, Values, type[UserError]]]:
    """Name actions that nobody may take, and what each must raise."""
    first = next(iter(here))
    return [
        ("an empty action", {}, SpecError),
        ("an extra joint", {**here, "tail.pos": 0.0}, SpecError),
        ("an action of nan", {**here, first: math.nan}, DataError),
        ("an action of inf", {**here, first: math.inf}, DataError),
    ]


def refuses(call: Callable[[], Any], error: type[Exception], what: str) -> None:
    """Raise Fault unless the call raises that error."""
    try:
        call()
    except error:
        return
    except Exception as other:
        raise Fault(f"{what} raises {type(other).__name__}, not {error.__name__}") from other
    raise Fault(f"{what} is not refused with {error.__name__}")


def refuses_each(send: Callable[[Values], Any], here: Values) -> None:
    """Raise Fault unless each of the bad actions is refused as it must be."""
    for what, action, error in bad_actions(here):
        refuses(lambda action=action: send(action), error, what)


@contextlib.contextmanager
def held_back(robot: Robot, here: Values) -> Iterator[list[np.ndarray] | None]:
    """Keep what a Driver sends from its device, so that no arm moves by what it should refuse.

    Gives what was held back; None for a robot that is no Driver, and for one that does not send
    through ``_write``: an action that changes nothing, ``here``, shows that.
    """
    if not isinstance(robot, Driver):
        yield None
        return
    held: list[np.ndarray] = []

    def hold(positions: np.ndarray) -> np.ndarray:
        held.append(positions)
        return positions

    robot._write = hold
    try:
        again(lambda: robot.send_action(here))
        yield held or None
    finally:
        del robot._write


def again(call: Callable[[], Any]) -> Any:
    """Call, and once more if noise on the bus was in the way."""
    try:
        return call()
    except RobotError:
        return call()
