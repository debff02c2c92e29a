"""Calibration files: what a servo's raw steps mean, in LeRobot's layout, so that either reads both.

A file is JSON (YAML is read too), one entry per joint::

    {"elbow": {"id": 3, "drive_mode": 0, "homing_offset": 12, "range_min": 900, "range_max": 3100}}

``range_min`` and ``range_max`` are the raw positions between which the joint may go, after the
servo has taken ``homing_offset`` away. The middle of a joint's range is 0 rad; a gripper is closed
at ``range_min``. ``drive_mode`` 1 turns the direction round, and for a gripper it swaps the ends.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from robolearn.errors import UserError, nearest
from robolearn.files import make_folder, write_atomically
from robots.base import Joint, Kind, RobotError

FOLDER = Path("calibration")  # in the current folder


@dataclass(frozen=True)
class ServoCalibration:
    """One servo's raw positions; see the module."""

    id: int
    drive_mode: int
    homing_offset: int
    range_min: int
    range_max: int


class Calibration:
    """Turns raw steps [J] into our units and back, for joints in their order."""

    def __init__(
        self,
        joints: Sequence[Joint],
        servos: Mapping[str, ServoCalibration],
        steps_per_turn: int,
        where: str,
    ) -> None:
        """Raise UserError that begins with ``where`` for joints that do not fit the entries."""
        _require_joints([joint.name for joint in joints], servos, where)
        self.servos = {joint.name: servos[joint.name] for joint in joints}
        entries = list(self.servos.values())
        self.ids = [entry.id for entry in entries]
        self.lowest = np.array([entry.range_min for entry in entries])  # [J] raw
        self.highest = np.array([entry.range_max for entry in entries])
        gripper = np.array([joint.kind is Kind.GRIPPER for joint in joints])
        turned = np.array([entry.drive_mode == 1 for entry in entries])
        span = self.highest - self.lowest
        self._zero = np.where(
            gripper, np.where(turned, self.highest, self.lowest), (self.lowest + self.highest) / 2
        )
        steps = np.where(gripper, span, steps_per_turn / (2 * np.pi))  # per unit of ours
        self._gain = np.where(turned, -1.0, 1.0) / steps

    def from_raw(self, raw: np.ndarray) -> np.ndarray:
        """Give positions [J] in our units."""
        return (np.asarray(raw) - self._zero) * self._gain

    def to_raw(self, positions: np.ndarray) -> np.ndarray:
        """Give raw positions int64 [J], rounded, and within the calibrated range."""
        raw = np.rint(np.asarray(positions) / self._gain + self._zero).astype(np.int64)
        return np.clip(raw, self.lowest, self.highest)


def path_of(name: str) -> Path:
    """Give the file in which a robot's calibration is kept unless another is named."""
    return FOLDER / f"{name}.json"


def read(path: Path) -> dict[str, ServoCalibration]:
    """Read a calibration file; UserError that names the file, the joint and what would be right."""
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RobotError(f"{path}: no calibration file; make one with calibrate()") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except (UnicodeDecodeError, yaml.YAMLError):
        raise UserError(f"{path}: not a calibration file: neither JSON nor YAML") from None
    if not isinstance(found, dict) or not found:
        raise UserError(f"{path}: must be a mapping of joints to their calibration")
    servos = {str(name): _entry(name, value, path) for name, value in found.items()}
    ids = [servo.id for servo in servos.values()]
    for name, servo in servos.items():
        if ids.count(servo.id) > 1:
            raise UserError(f"{path}: {name}: id {servo.id} belongs to another joint too")
    return servos


def write(path: Path, servos: Mapping[str, ServoCalibration]) -> None:
    """Write a calibration file as a whole."""
    content = {name: dataclasses.asdict(servo) for name, servo in servos.items()}
    make_folder(path.parent)
    write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())


def _entry(name: Any, value: Any, path: Path) -> ServoCalibration:
    keys = [field.name for field in dataclasses.fields(ServoCalibration)]
    if not isinstance(value, dict):
        raise UserError(f"{path}: {name}: must be a mapping of {', '.join(keys)}")
    for key in value:
        if key not in keys:
            raise UserError(f"{path}: {name}: unknown key '{key}'{nearest(str(key), keys)}")
    for key in keys:
        number = value.get(key)
        if isinstance(number, bool) or not isinstance(number, int):
            raise UserError(f"{path}: {name}.{key} must be a whole number, not {number!r}")
    entry = ServoCalibration(**value)
    if entry.drive_mode not in (0, 1):
        raise UserError(f"{path}: {name}.drive_mode must be 0 or 1, not {entry.drive_mode}")
    if entry.range_min >= entry.range_max:
        ends = f"{entry.range_min} and {entry.range_max}"
        raise UserError(f"{path}: {name}: range_min must be below range_max, not {ends}")
    return entry


def _require_joints(joints: Sequence[str], servos: Mapping[str, Any], where: str) -> None:
    for name in joints:
        if name not in servos:
            raise UserError(f"{where}: no entry for joint '{name}'{nearest(name, servos)}")
    for name in servos:
        if name not in joints:
            raise UserError(f"{where}: there is no joint '{name}'{nearest(name, joints)}")
