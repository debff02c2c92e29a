"""What a page sends: small messages, numbered and stamped; and whether one comes in time.

``{"n": 7, "t": 1234.5, "beat": 3, "move": [1, 0, 0], "turn": [0, 0, 0], "engaged": true,
"buttons": []}``: its number, the browser's time in ms, the number of the last beat of the server
that it has heard, and what is held and was pressed.
"""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from demos.devices.contracts import Button, Triple

LONGEST = 512  # characters; a page sends fewer than 200
MOST_BUTTONS = 8
LARGEST = 2**53  # whole numbers of JavaScript are exact up to here
FIELDS = {"n", "t", "beat", "move", "turn", "engaged", "buttons"}
LATE_S = 0.1  # later than the quickest message by which a message is too old
UNHEARD_S = 0.5  # since a beat that the page has heard; it is sent ten times a second
BEATS = 64  # that are remembered
DRIFT = 5e-4  # by which two clocks may go apart, in seconds a second


@dataclass(frozen=True)
class Message:
    """What a page says at a moment."""

    number: int
    time_s: float  # the browser's clock
    beat: int
    move: Triple
    turn: Triple
    engaged: bool
    buttons: tuple[Button, ...]


def parse(text: str) -> Message:
    """Read a message; ValueError says what is wrong with it."""
    if len(text) > LONGEST:
        raise ValueError("too long")
    try:
        found = json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(found, dict) or set(found) != FIELDS:
        raise ValueError(f"needs exactly {', '.join(sorted(FIELDS))}")
    if not isinstance(found["engaged"], bool):
        raise ValueError("engaged must be true or false")
    return Message(
        number=_whole("n", found["n"]),
        time_s=_number("t", found["t"], LARGEST) / 1000,
        beat=_whole("beat", found["beat"]),
        move=_triple("move", found["move"]),
        turn=_triple("turn", found["turn"]),
        engaged=found["engaged"],
        buttons=_buttons(found["buttons"]),
    )


class Link:
    """What is known of one connection: the last number, the quickest message, the beats sent.

    How late a message is, is said in two ways. Beside the quickest message so far it is as late as
    the difference of both clocks is larger; the quickest is let go of only as slowly as clocks go
    apart. And it is no older than the beat that its sender had heard. The second is coarse and
    needs no clock of the other side: a connection that is slow from its beginning does not pass for
    a quick one, and a clock that stood still for a while, as in a laptop that sleeps, does not make
    all that follows late.
    """

    def __init__(self) -> None:
        self._number, self._quickest_s, self._heard_s = -1, math.inf, 0.0
        self._beats: OrderedDict[int, float] = OrderedDict()
        self._beat = 0

    def beat(self, now_s: float) -> int:
        """Give the number of a new beat, which is sent now."""
        self._beat += 1
        self._beats[self._beat] = now_s
        if len(self._beats) > BEATS:
            self._beats.popitem(last=False)
        return self._beat

    def given_s(self, message: Message, now_s: float) -> float | None:
        """Say when, by our clock, a message was given; None if it is too old, or out of order."""
        if message.number <= self._number:
            return None
        self._number = message.number
        delay_s = now_s - message.time_s  # with the clocks' difference
        oldest_s = now_s - self._beats.get(message.beat, -math.inf)
        allowed_s = self._quickest_s + DRIFT * (now_s - self._heard_s)
        if delay_s - oldest_s > allowed_s:  # one of the clocks has jumped: begin anew
            allowed_s = delay_s
        self._quickest_s, self._heard_s = min(delay_s, allowed_s), now_s
        late_s = delay_s - self._quickest_s
        if late_s > LATE_S or oldest_s > UNHEARD_S:
            return None
        return now_s - late_s


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a number")


def _number(name: str, value: Any, limit: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= limit:
        raise ValueError(f"{name} must be a number in [-{limit}, {limit}]")
    return float(value)


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST:
        raise ValueError(f"{name} must be a whole number")
    return value


def _triple(name: str, value: Any) -> Triple:
    if not isinstance(value, list) or len(value) != 3:
        raise ValueError(f"{name} must be three numbers")
    x, y, z = (_number(name, item, 1.0) for item in value)
    return x, y, z


def _buttons(value: Any) -> tuple[Button, ...]:
    if not isinstance(value, list) or len(value) > MOST_BUTTONS:
        raise ValueError(f"buttons must be a list of {MOST_BUTTONS} at most")
    if not all(isinstance(item, str) for item in value):
        raise ValueError("buttons must be names")
    return tuple(map(Button, value))  # ValueError for one that there is not
