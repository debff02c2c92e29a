"""Kinds of arms of serial servos: what is the same for every arm of a kind, and its settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pydantic import PositiveFloat, PositiveInt

from robolearn.settings import Settings
from robots.base import Clock, RobotError
from robots.calibration import ServoCalibration
from robots.emulators.faults import Faults
from robots.emulators.line import Station
from robots.servos.bus import DirectPort, ServoBus, ports

EMULATED = "emulated"
SHADOW = "_shadow"  # behind a joint's name: its second servo


@dataclass(frozen=True)
class ServoArmConfig(Settings):
    """Where an arm is, and what its positions mean."""

    port: str = "auto"
    """Its serial port, such as /dev/ttyACM0; "auto" takes the only one there is, "emulated" has
    servos that are not there."""
    name: str = ""
    """What this arm is called, for its calibration file; "" is called as its kind."""
    calibration: str = ""
    """The file of its calibration; "" is calibration/NAME.json."""
    waved: bool = False
    """Whether an emulated arm is moved to and fro while it has no torque, as by a person's hand."""
    faults: Faults = Faults()
    """What goes wrong on an emulated arm's line: ``{corrupted: 0.05, seed: 1}``."""
    timeout_s: PositiveFloat = 0.02
    """How long one answer may take."""
    patience_s: PositiveFloat = 0.1
    """How long it is asked again for positions to rely on."""
    lost_after: PositiveInt = 3
    """Failed observations in a row after which it counts as lost."""


@dataclass(frozen=True)
class ArmServo:
    """One servo of a kind of arm, and its joint: its nominal range is that of the arm's model."""

    joint: str
    id: int
    model: int  # the number that it must say
    lower: float  # rad; of a gripper: rad of the motor, closed
    upper: float
    speed: float  # steps/s, the fastest that it turns
    gripper: bool = False
    settings: Mapping[str, int] = field(default_factory=dict)  # registers, beside the bus's own
    drive_mode: int = 0  # 1: it counts the other way
    shadow: int | None = None  # the number of another servo that turns the same joint, see shadows


@dataclass(frozen=True)
class ArmKind:
    """One kind of arm: its servos, and how its bus is made and emulated."""

    name: str
    servos: tuple[ArmServo, ...]
    make_bus: Callable[[str | DirectPort, ServoArmConfig, Clock], ServoBus]
    emulate: Callable[[Mapping[str, ServoCalibration], Clock], Station]
    settings: Mapping[str, int]  # of every servo
    limits_in_servo: bool  # whether its servos keep to position limits of their own
    folds: bool = False  # whether they count turns, which are unknown after a loss of power
    turns_in_servo: bool = False  # whether a drive_mode of 1 is the servo's own doing

    @property
    def called(self) -> dict[int, str]:
        """What each servo is called, by number: as its joint."""
        names = {servo.id: servo.joint for servo in self.servos}
        pairs = {servo.shadow: servo.joint + SHADOW for servo in self.servos if servo.shadow}
        return names | pairs


def nominal(kind: ArmKind) -> dict[str, ServoCalibration]:
    """Give the calibration that an arm as in its drawings would have."""
    entries = {servo.joint: _nominal(servo, servo.id, servo.drive_mode) for servo in kind.servos}
    for servo in kind.servos:
        if servo.shadow is not None:
            entries[servo.joint + SHADOW] = _nominal(servo, servo.shadow, 1 - servo.drive_mode)
    return entries


def _nominal(servo: ArmServo, identity: int, drive_mode: int) -> ServoCalibration:
    half = round((servo.upper - servo.lower) * 4096 / (4 * np.pi))
    ends = max(2048 - half, 0), min(2048 + half, 4095)
    return ServoCalibration(identity, drive_mode, 4096 * drive_mode, *ends)


def wave(servos: Sequence[Any], entries: Mapping[str, ServoCalibration]) -> None:
    """Have emulated servos moved slowly, each through a fifth of its range at its own pace."""
    spans = {entry.id: entry.range_max - entry.range_min for entry in entries.values()}
    for servo in [servo for servo in servos if servo.motor.leads]:
        middle, way = servo.motor.position, spans[servo.identity] / 10
        pace = 2 * np.pi / (6.0 + servo.identity)
        servo.motor.hand = lambda now_s, m=middle, w=way, p=pace: m + w * np.sin(p * now_s)


def only_port() -> str:
    """Give the one serial port that looks like an adapter; RobotError that lists them otherwise."""
    found = {name: what for name, what in ports().items() if "ttyS" not in name}
    if len(found) == 1:
        return next(iter(found))
    if not found:
        raise RobotError("port: no USB serial port is there; plug the arm in, or port=emulated")
    listed = ", ".join(f"{name} ({what})" for name, what in found.items())
    raise RobotError(f"port: which one? There are {listed}")
