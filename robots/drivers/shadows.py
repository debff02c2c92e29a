"""Joints that two servos turn: the second one is the first one's shadow.

It sits on the other side of the joint and turns the other way. Its secondary number is the first
one's, so that it obeys what is said to that one, and its homing offset makes it read the same: then
one goal is right for both. It has a number of its own as well, by which it is asked, and told too.
Two that do not read the same would work against each other: then nothing gets torque.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from robots.base import BusError, LostError, RobotError
from robots.calibration import ServoCalibration
from robots.drivers.arm_kind import SHADOW, ArmKind
from robots.servos.bus import SLACK_SHARE, SLACK_SPEED, Reading, ServoBus

APART_STEPS = 60  # by which the two may differ: 5 degrees
TURN = 4096


class Shadows:
    """The second servos of an arm, by their numbers; an arm without any has an empty one."""

    def __init__(self, kind: ArmKind, name: str) -> None:
        """``name`` is the arm's, for what is said."""
        self._name, self._called = name, kind.called
        self._servos = {servo.shadow: servo for servo in kind.servos if servo.shadow is not None}
        self._settings = kind.settings
        self.ids = list(self._servos)
        self.entries = [servo.joint + SHADOW for servo in self._servos.values()]

    def mirrored(self, goals: Mapping[int, int]) -> dict[int, int]:
        """Give goals by servo, with those of the shadows beside."""
        return dict(goals) | {
            shadow: goals[servo.id] for shadow, servo in self._servos.items() if servo.id in goals
        }

    def configure(self, bus: ServoBus, entries: Mapping[str, ServoCalibration] | None) -> None:
        """Write into them what is not so already, and see that each reads as the first one does.

        Raises RobotError where one does not; without calibration nobody knows.
        """
        for shadow, servo in self._servos.items():
            wanted = {**self._settings, **servo.settings, "secondary_id": servo.id}
            if entries is not None:
                wanted["drive_mode"] = 1 - entries[servo.joint].drive_mode
                wanted["homing_offset"] = self._offset(bus, shadow, entries[servo.joint + SHADOW])
            bus.ensure(shadow, wanted)
            if entries is not None:
                self._align(bus, shadow)
                self.require_together(self._both(bus, shadow))

    def calibrate(self, bus: ServoBus) -> None:
        """Have each, without torque, read as the first one does where the joint is now."""
        for shadow, servo in self._servos.items():
            drive_mode = 1 - servo.drive_mode
            bus.ensure(shadow, {"drive_mode": drive_mode, "secondary_id": servo.id})
            offset, both = bus.get(shadow, "homing_offset"), self._both(bus, shadow)
            apart = both[shadow].position - both[servo.id].position
            bus.ensure(shadow, {"homing_offset": offset - apart})

    def found(
        self, bus: ServoBus, entries: Mapping[str, ServoCalibration]
    ) -> dict[str, ServoCalibration]:
        """Give their calibration, beside that of the joints."""
        return {
            servo.joint + SHADOW: replace(
                entries[servo.joint],
                id=shadow,
                drive_mode=1 - entries[servo.joint].drive_mode,
                homing_offset=bus.get(shadow, "homing_offset"),
            )
            for shadow, servo in self._servos.items()
        }

    def require_together(self, found: Mapping[int, Reading]) -> None:
        """Raise LostError where two servos of a joint do not read the same."""
        for shadow, servo in self._servos.items():
            if shadow not in found or servo.id not in found:
                continue
            one, two = found[servo.id], found[shadow]
            speed = max(abs(one.velocity), abs(two.velocity))
            passed_s = max(two.heard_s - one.asked_s, one.heard_s - two.asked_s)
            moved = (SLACK_SPEED + (1 + SLACK_SHARE) * speed) * passed_s
            if abs(two.position - one.position) > APART_STEPS + moved:
                raise LostError(
                    f"{self._name}: servo {servo.id} ({servo.joint}) is at {one.position} steps "
                    f"and servo {shadow} ({self._called[shadow]}), of the same joint, at "
                    f"{two.position}: they work against each other; look at both, then calibrate"
                )

    def _both(self, bus: ServoBus, shadow: int) -> dict[int, Reading]:
        pair = [self._servos[shadow].id, shadow]
        found = bus.confirmed(pair)
        for identity in pair:
            if identity not in found:
                which = f"servo {identity} ({self._called[identity]})"
                raise BusError(f"{self._name}: nothing to rely on from {which}")
        return found

    def _offset(self, bus: ServoBus, shadow: int, entry: ServoCalibration) -> int:
        """Give its offset; whole turns are as they were aligned the last time."""
        stored = bus.get(shadow, "homing_offset")
        same = (stored - entry.homing_offset) % TURN == 0
        return stored if same else entry.homing_offset

    def _align(self, bus: ServoBus, shadow: int) -> None:
        """Take whole turns, which servos forget with their power, out of what it reads."""
        both = self._both(bus, shadow)
        turns = round((both[shadow].position - both[self._servos[shadow].id].position) / TURN)
        if turns:
            offset = bus.get(shadow, "homing_offset") - TURN * turns
            bus.ensure(shadow, {"homing_offset": offset})


def require_entries(shadows: Shadows, entries: Mapping[str, ServoCalibration], where: str) -> None:
    """Raise RobotError for a calibration file that says nothing of a shadow."""
    for name in shadows.entries:
        if name not in entries:
            raise RobotError(f"{where}: no entry for '{name}', a joint's second servo; calibrate")
