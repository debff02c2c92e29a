"""An arm of serial servos, whoever made them: what ``so101`` and ``dynamixel`` have in common.

A position is given only when two answers agree on it (``robots.servos.bus``). Whether a goal came
through is read back every time, and a lost one is sent again. When it is to stop, every servo gets
its present position as goal and is asked whether it has it; one that cannot be told so is named.
Second servos of a joint are told, asked and looked at as the first (``robots.drivers.shadows``).
"""

from __future__ import annotations

import contextlib
import select
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from robolearn.errors import nearest
from robots import calibration as files
from robots.base import (
    BusError,
    Camera,
    Clock,
    Driver,
    Joint,
    Kind,
    LifeCycle,
    LostError,
    RobotError,
)
from robots.calibration import Calibration, ServoCalibration
from robots.clocks import SimulatedClock
from robots.drivers.arm_kind import (
    EMULATED,
    ArmKind,
    ArmServo,
    ServoArmConfig,
    nominal,
    only_port,
    wave,
)
from robots.drivers.shadows import Shadows, require_entries
from robots.emulators.direct import Direct
from robots.emulators.line import Line
from robots.servos.bus import DirectPort, Reading, ServoBus

NEAR_STEPS = 60  # beyond its calibrated range, an arm that is let go may lie so far: 5 degrees
HOLDING_TRIES = 4
MOST_LEAP = 2048  # steps between two readings of a joint that a hand moves
MOST_RANGE = 3900  # steps; a joint with more went over its encoder's seam,
NEARLY_A_TURN = 6.0  # unless its model turns so far, rad


class ServoArm(Driver):
    """A Robot of serial servos; see the module."""

    measures = ("pos", "vel")

    def __init__(
        self,
        kind: ArmKind,
        config: ServoArmConfig,
        cameras: Mapping[str, Camera] | None = None,
        clock: Clock | None = None,
        ask: Callable[[str], object] = input,
        pressed: Callable[[], bool] | None = None,
    ) -> None:
        """Prepare; nothing is opened.

        ``ask`` shows a person a line and waits for Enter; ``pressed`` says whether it was pressed.
        """
        super().__init__(cameras, clock or time.monotonic)
        self.kind, self.config = kind, config
        self._ask, self._pressed = ask, pressed or enter_pressed
        self.name = config.name or kind.name
        self.ids = [servo.id for servo in kind.servos]  # in the order of the joints
        self._shadows = Shadows(kind, self.name)
        self._all = [*self.ids, *self._shadows.ids]
        self.resent = 0  # goals that had not come through
        self.line: Line | None = None  # the emulated one, if it is,
        self.station: Any = None  # and its servos
        self._file = Path(config.calibration) if config.calibration else files.path_of(self.name)
        self._bus: ServoBus | None = None
        self._servos = self._stored()
        self._translate: Calibration | None = None
        self.joints = self._make_joints()
        self._goals: dict[int, int] = {}
        self._turns: dict[int, int] = dict.fromkeys(self.ids, 0)
        self._failures = 0

    @property
    def bus(self) -> ServoBus:
        """Its bus; RobotError if it is not connected."""
        if self._bus is None:
            raise RobotError(f"{self.name}: not connected; connect() it first")
        return self._bus

    @property
    def is_calibrated(self) -> bool:
        """See ``Robot``."""
        return self._servos is not None

    def _stored(self) -> dict[str, ServoCalibration] | None:
        """Give what its file says; None without one. An emulated arm without a file has nominal."""
        if self._file.exists():
            return files.read(self._file)
        return nominal(self.kind) if self.config.port == EMULATED else None

    def _make_joints(self) -> tuple[Joint, ...]:
        """Give the joints with their calibrated ranges, or nominal ones until they are known."""
        servos = self._servos or nominal(self.kind)
        joints = tuple(self._joint(servo, servos) for servo in self.kind.servos)
        require_entries(self._shadows, servos, str(self._file))
        servos = {n: entry for n, entry in servos.items() if n not in self._shadows.entries}
        if self.kind.turns_in_servo:
            servos = {name: replace(entry, drive_mode=0) for name, entry in servos.items()}
        translate = Calibration(joints, servos, 4096, str(self._file))
        self._translate = translate if self._servos else None
        return joints

    def _joint(self, servo: ArmServo, servos: Mapping[str, ServoCalibration]) -> Joint:
        entry = servos.get(servo.joint)
        if entry is None:
            meant = nearest(servo.joint, servos)
            raise RobotError(f"{self._file}: no entry for joint '{servo.joint}'{meant}")
        span = entry.range_max - entry.range_min
        if servo.gripper:
            speed = servo.speed / span
            return Joint(servo.joint, Kind.GRIPPER, 0.0, 1.0, speed, 10 * speed, 500 * speed)
        half, speed = np.pi * span / 4096, 2 * np.pi * servo.speed / 4096
        return Joint(servo.joint, Kind.REVOLUTE, -half, half, speed, 10 * speed, 500 * speed)

    def _open(self) -> None:
        self._bus = self.kind.make_bus(self._port(), self.config, self.clock)
        self._bus.open()
        self._failures = 0
        found = self._bus.models(self._all)
        for servo in self.kind.servos:
            for identity in filter(None, (servo.id, servo.shadow)):
                if found.get(identity) != servo.model:
                    words = self._who_is_missing(identity, servo.model, found)
                    raise RobotError(f"{self.name}: {words}")

    def _port(self) -> str | DirectPort:
        """Give the port; an emulated one in simulated time needs no terminal."""
        if self.config.port != EMULATED:
            return only_port() if self.config.port == "auto" else self.config.port
        entries = self._servos or nominal(self.kind)
        self.station = station = self.kind.emulate(entries, self.clock)
        if self.config.waved:
            wave(station.servos, entries)
        if isinstance(self.clock, SimulatedClock):
            return Direct(station, self.clock, self.config.faults)
        self.line = Line(station, self.config.faults)
        return self.line.path

    def _who_is_missing(self, identity: int, model: int, found: Mapping[int, int]) -> str:
        where = f"on {self.bus.port} at {self.bus.baud_rate} baud"
        if not found:
            return f"no servo answers {where}; is its power on, and is it the right port?"
        servo = self._called([identity])
        if identity in found:
            return f"{servo} is model {found[identity]} instead of {model}; is this another arm?"
        return (
            f"{servo} does not answer {where}; look at the cable between it and its neighbour, and "
            "whether it has this number"
        )

    def _close(self) -> None:
        if self._bus is not None:
            self._bus.close()
        if self.line is not None:
            self.line.close()
        self._bus = self.line = self.station = None

    def _configure(self) -> None:
        """Write what is not so already: what is stored with power off, and what is not."""
        for servo in self.kind.servos:
            wanted = {**self.kind.settings, **servo.settings}
            if self._servos is not None:
                entry = self._servos[servo.joint]
                wanted["homing_offset"] = entry.homing_offset
                if self.kind.turns_in_servo:
                    wanted["drive_mode"] = entry.drive_mode
                if self.kind.limits_in_servo:
                    wanted["min_position_limit"] = entry.range_min
                    wanted["max_position_limit"] = entry.range_max
            self.bus.ensure(servo.id, wanted)
        self._shadows.configure(self.bus, self._servos)
        self._turns = dict.fromkeys(self.ids, 0)
        if self.kind.folds and self._translate is not None:
            middle = (self._translate.lowest + self._translate.highest) / 2
            here = self._positions()
            turns = np.rint((here - middle) / 4096).astype(int)
            self._turns = dict(zip(self.ids, map(int, turns), strict=True))

    def _enable(self) -> None:
        translate = self._translation()
        here = self._positions()
        outside = (here < translate.lowest - NEAR_STEPS) | (here > translate.highest + NEAR_STEPS)
        for i in np.flatnonzero(outside):
            raise RobotError(
                f"{self.name}: {self.joints[i].name} is at {here[i]} steps, outside its calibrated "
                f"{translate.lowest[i]} to {translate.highest[i]}; move it inside by hand"
            )
        self.bus.ready(self._all)
        self._hold(self._fold(dict(zip(self.ids, map(int, here), strict=True))))
        self.bus.enable(self._all)

    def _disable(self) -> None:
        self.bus.disable(self._all)

    def _read(self) -> dict[str, np.ndarray]:
        readings = self._readings()
        translate, zero = self._translation(), self._translation().from_raw(np.zeros(len(self.ids)))
        velocity = np.array([readings[identity].velocity for identity in self.ids])
        return {
            "pos": translate.from_raw(self._unfold(readings)),
            "vel": translate.from_raw(velocity) - zero,
        }

    def _write(self, positions: np.ndarray) -> np.ndarray:
        translate = self._translation()
        raw = translate.to_raw(positions)
        self._goals = dict(zip(self.ids, map(int, raw), strict=True))
        self.bus.aim(self._fold(self._goals))
        return translate.from_raw(raw)

    def _halt(self) -> None:
        """Hold where it is; a servo without torque is at rest already, and is left alone."""
        found = self.bus.confirmed(self._all)
        here = {i: reading.position for i, reading in found.items() if reading.torque}
        self._goals = {}
        self._hold(here | {i: g for i, g in self._shadows.mirrored(here).items() if i in here})
        silent = [i for i in self._all if i not in found]
        if silent:
            with contextlib.suppress(BusError):
                self.bus.disable(silent)
                return
            raise LostError(f"{self.name}: {self._called(silent)} cannot be told to stop")

    def _hold(self, goals: Mapping[int, int]) -> None:
        """Set goals, as servos count them, and see that every one has its own; LostError that names
        one that has not.
        """
        left = dict(goals)
        for _ in range(HOLDING_TRIES):
            if not left:
                return
            self.bus.aim(left)
            for identity, reading in self.bus.read(list(left), whole=True).items():
                if reading.goal == left[identity]:
                    del left[identity]
        for identity in list(left):
            with contextlib.suppress(BusError):
                if not self.bus.rests(identity):
                    self.bus.set(identity, "goal_position", left[identity])
                del left[identity]
        if left:
            raise LostError(f"{self.name}: {self._called(left)} does not take a position to hold")

    def _positions(self) -> np.ndarray:
        """Give present positions [J] in steps."""
        return self._unfold(self._readings())

    def _readings(self) -> dict[int, Reading]:
        """Give what every servo says, healthy and driven to its goal; else raise."""
        found = self.bus.confirmed(self._all)
        silent = [identity for identity in self._all if identity not in found]
        if silent:
            self._failures += 1
            what = f"{self.name}: nothing to rely on from {self._called(silent)}"
            if self._failures >= self.config.lost_after:
                raise LostError(f"{what}, {self._failures} times running")
            raise BusError(what)
        self._failures = 0
        for identity, reading in found.items():
            if reading.alarms and self.life_cycle is not LifeCycle.ERROR:  # else that is known
                raise LostError(f"{self.name}: {self._called([identity])}: {reading.alarms[0]}")
        self._shadows.require_together(found)
        wanted = self._fold(self._goals)
        astray = {
            i: goal for i, goal in wanted.items() if found[i].goal != goal or not found[i].torque
        }
        if astray:
            self._send_again(astray)
        return found

    def _send_again(self, astray: dict[int, int]) -> None:
        """Repeat goals that are not in the servos; LostError if one does not take any."""
        for identity in astray:
            reason = self.bus.reason(identity)
            if reason:
                raise LostError(f"{self.name}: {self._called([identity])} {reason}")
        self.resent += 1
        self._hold(astray)

    def _translation(self) -> Calibration:
        if self._translate is None:
            raise RobotError(f"{self.name}: not calibrated; call calibrate() first")
        return self._translate

    def _unfold(self, readings: Mapping[int, Reading]) -> np.ndarray:
        return np.array([readings[i].position - 4096 * self._turns[i] for i in self.ids])

    def _fold(self, goals: Mapping[int, int]) -> dict[int, int]:
        """Give goals as servos count them, for second servos too."""
        folded = {i: goal + 4096 * self._turns[i] for i, goal in goals.items()}
        return self._shadows.mirrored(folded)

    def _called(self, ids: Sequence[int] | Mapping[int, int]) -> str:
        names = self.kind.called
        return ", ".join(f"servo {identity} ({names[identity]})" for identity in ids)

    def _calibrate(self) -> None:
        """Ask for the middle, then for the ends of every joint; write servos and file."""
        self.bus.disable(self._all)
        self._goals, self._turns = {}, dict.fromkeys(self.ids, 0)
        if self.kind.turns_in_servo:
            for servo in self.kind.servos:
                self.bus.ensure(servo.id, {"drive_mode": servo.drive_mode})
        self._ask(f"{self.name}: move every joint to the middle of its range, then press Enter ")
        offsets = [self._centre(identity) for identity in self.ids]
        self._shadows.calibrate(self.bus)
        lowest = highest = self._positions()
        print(f"{self.name}: move every joint from end to end; press Enter when done", flush=True)
        before = lowest
        for here in self._until_enter():
            self._require_no_seam(before, here)
            before = here
            lowest, highest = np.minimum(lowest, here), np.maximum(highest, here)
        self._ask(f"{self.name}: close the gripper, then press Enter ")
        turned = np.abs(self._positions() - highest) < np.abs(self._positions() - lowest)  # [J]
        ends = zip(self.kind.servos, offsets, lowest, highest, turned, strict=True)
        self._servos = {servo.joint: self._found(servo, *rest) for servo, *rest in ends}
        self._servos |= self._shadows.found(self.bus, self._servos)
        files.write(self._file, self._servos)
        self.joints = self._make_joints()
        self._configure()

    def _require_no_seam(self, before: np.ndarray, here: np.ndarray) -> None:
        """Raise RobotError for a joint that went over the place where its encoder begins anew."""
        leapt = np.abs(here - before) > (np.inf if self.kind.folds else MOST_LEAP)
        if leapt.any():
            i = int(leapt.argmax())
            raise RobotError(
                f"{self.name}: {self.joints[i].name} went from {before[i]} to {here[i]} steps at "
                "once, over its encoder's seam; calibrate again, from nearer to its middle"
            )

    def _found(
        self, servo: ArmServo, offset: int, low: int, high: int, turned: bool
    ) -> ServoCalibration:
        """Give what was found out about one servo."""
        if high - low < NEAR_STEPS:
            raise RobotError(f"{self.name}: {servo.joint} was not moved; calibrate again")
        far = high - low > MOST_RANGE and servo.upper - servo.lower < NEARLY_A_TURN
        if far and not self.kind.folds:
            raise RobotError(
                f"{self.name}: {servo.joint} went through {high - low} of 4096 steps, more than it "
                "can turn: it went over its encoder's seam; calibrate again"
            )
        if not (servo.gripper and turned):
            return ServoCalibration(servo.id, servo.drive_mode, offset, int(low), int(high))
        if not self.kind.turns_in_servo:
            return ServoCalibration(servo.id, 1, offset, int(low), int(high))
        return ServoCalibration(servo.id, 1, 4096 - offset, 4096 - int(high), 4096 - int(low))

    def _centre(self, identity: int) -> int:
        """Have a servo read 2048 where it is; give its offset."""
        offset = self.bus.get(identity, "homing_offset")
        reading = self.bus.confirmed([identity]).get(identity)
        if reading is None:
            raise BusError(f"{self.name}: nothing to rely on from {self._called([identity])}")
        wanted = self.bus.centring_offset(offset, reading.position)
        self.bus.ensure(identity, {"homing_offset": wanted})
        return wanted

    def _until_enter(self) -> Iterator[np.ndarray]:
        """Give positions until a person presses Enter."""
        while True:
            with contextlib.suppress(BusError):
                yield self._positions()
            if self._pressed():
                return


def enter_pressed() -> bool:
    """Say whether a line was typed at the terminal since the last call; never waits."""
    if not select.select([sys.stdin], [], [], 0)[0]:
        return False
    sys.stdin.readline()
    return True
