"""What a device is: a policy with life and buttons; and what it is made of, a source of signals.

A ``Source`` says what a person's hand does and knows nothing of robots. ``steering.Steered`` makes
a ``Device`` of it, which knows what the entries of an action mean. Devices that are no person's
hand (a replay, a scripted operator, a policy with a person beside it) are Devices themselves.

Times are seconds of ``time.monotonic()``. No call waits for hardware but ``open`` and ``close``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np

from robolearn.types import Observation, Policy

Triple = tuple[float, float, float]
Help = tuple[tuple[str, str], ...]  # (("w s", "forward, back"), ...)
STILL: Triple = (0.0, 0.0, 0.0)


class Button(StrEnum):
    """What a person can press, beside motion."""

    START = "start"  # begin, go on, or do as proposed
    END = "end"  # of the demonstration
    KEEP = "keep"
    DISCARD = "discard"
    RETRY = "retry"  # discard, and begin again in the same start state
    UNDO = "undo"  # take back the last that was kept
    PAUSE = "pause"
    SKIP = "skip"
    QUIT = "quit"
    GRIP = "grip"  # close if it is open, open if it is closed
    OPEN = "open"
    CLOSE = "close"
    FASTER = "faster"
    SLOWER = "slower"


OF_STEERING = (Button.GRIP, Button.OPEN, Button.CLOSE, Button.FASTER, Button.SLOWER)


@dataclass(frozen=True)
class Signal:
    """What a person's hand says at a moment."""

    move: Triple = STILL  # [-1, 1] each: forward, left, up, in the chosen frame
    turn: Triple = STILL  # [-1, 1] each: about forward, left, up
    engaged: bool = False  # a clutch is held or a key is down
    given_s: float = 0.0  # when this was last known to be so
    buttons: tuple[Button, ...] = ()  # pressed since the last poll
    lost: str = ""  # why there is no connection; "" while there is


class Source(Protocol):
    """Where signals come from."""

    name: str
    help: Help

    def open(self) -> None:
        """Take hold of the hardware; UserError that says why it cannot, and what would work."""

    def close(self) -> None:
        """Let go of it; calling it again does nothing."""

    def poll(self, now_s: float) -> Signal:
        """Give what the hand says now; never waits."""


@dataclass(frozen=True)
class Command:
    """What a device asks for at one control step."""

    action: np.ndarray  # [A] float32
    engaged: bool  # whether anybody asks for motion
    given_s: float  # when the input was given that it follows from
    buttons: tuple[Button, ...] = ()
    lost: str = ""  # why there is no connection; "" while there is
    intervention: bool = False  # a person, in place of the policy
    ended: bool = False  # it has nothing more to give


@dataclass(frozen=True)
class Heard:
    """What a device hears while no demonstration runs."""

    buttons: tuple[Button, ...] = ()
    lost: str = ""


@dataclass(frozen=True)
class Setting:
    """How a device steers now, for people to see."""

    frame: str = ""
    speed: float = 0.0  # share of the action's range


class Device(Policy, Protocol):
    """Whoever acts in a session; as a Policy it acts in one environment at a time."""

    name: str
    help: Help
    start_state: np.ndarray | None
    """State [S] in which the next episode must begin; None for any."""
    setting: Setting

    def open(self) -> None:
        """Take hold of the hardware; UserError that says why it cannot, and what would work."""

    def close(self) -> None:
        """Let go of it; calling it again does nothing."""

    def command(self, observation: Observation, now_s: float) -> Command:
        """Give what is asked for now, for an observation without batch axis; never waits."""

    def listen(self, now_s: float) -> Heard:
        """Give the buttons pressed while no demonstration runs; never waits."""


def as_policy(device: Device, observation: Observation, now_s: float) -> np.ndarray:
    """Ask a device as a policy is asked: one row in, actions [1, A] out."""
    (rows,) = {len(array) for array in observation.values()}
    if rows != 1:
        raise ValueError(f"{device.name} acts in one environment, not in {rows}")
    row = {name: array[0] for name, array in observation.items()}
    return device.command(row, now_s).action[None]
