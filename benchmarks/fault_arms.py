"""Arms with which something goes wrong, and that note what they are told and where they really are.

A simulated arm (``TwinArm``), emulated servos on their bus (``BusArm``), and a simulated arm whose
notes go into a file (``Logged``).
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from robots.base import Robot
from robots.clocks import RealClock, SimulatedClock
from robots.drivers.arm_kind import ServoArmConfig
from robots.drivers.dynamixel import ARMS, DynamixelConfig
from robots.drivers.servo_arm import ServoArm
from robots.drivers.so101 import SO101
from robots.emulators.direct import Direct
from robots.emulators.faults import Faults, Wire
from robots.servos.bus import DirectPort
from robots.twin import Fault, FaultKind, Twin, TwinConfig

OF_ONE_JOINT = (FaultKind.STALLED, FaultKind.MIRRORED, FaultKind.WRAPPED)
CAMERA_S = 1 / 30
SAMPLE_S = 0.005
AFTER_S = 0.5  # for which a logged arm goes on once it was let go of
ARM_LOG, SERVO_PID = "arm.f64", "servo.pid"
BEEN, SENT, STARTS = 0.0, 1.0, 2.0  # what a row of the log is: that, when, positions
Noted = list[tuple[float, np.ndarray]]  # when, and positions [J]


class Arm(Robot, Protocol):
    """A Robot that notes; times are those of its clock."""

    clock: Any
    sent: Noted  # what its driver was told
    starts: Noted  # what its driver first gave, each time that it had been activated
    been: Noted  # where it really was

    def begin(self, kind: str, rng: np.random.Generator) -> None:
        """Let a fault begin."""

    def settle(self) -> None:
        """Let the physics catch up with the clock."""


class Noting:
    """What both arms note alike; stands before their driver among the bases."""

    def _note_nothing(self) -> None:
        self.sent, self.starts, self.been, self._begins = [], [], [], False

    def _read(self) -> Mapping[str, np.ndarray]:
        found = super()._read()
        if self._begins:
            self.starts.append((self.clock(), found["pos"].copy()))
        self._begins = False
        return found

    def _enable(self) -> None:
        super()._enable()
        self._begins = True


class TwinArm(Noting, Twin):
    """A twin with a camera; ``old_times`` makes its measurements a second old."""

    name = "twin"

    def __init__(self, config: TwinConfig, clock: Any) -> None:
        self._note_nothing()
        self.old_times = False
        super().__init__(config, clock)
        self.cameras = {"front": Counting(self)}

    @property
    def measured_s(self) -> Mapping[str, float]:
        """Old ones, once that is the fault."""
        times = super().measured_s
        return {name: at_s - 1.0 for name, at_s in times.items()} if self.old_times else times

    def begin(self, kind: str, rng: np.random.Generator) -> None:
        """See ``Arm``."""
        if kind == "old times":
            self.old_times = True
            return
        joint = self.joints[int(rng.integers(5))].name if kind in OF_ONE_JOINT else ""
        since_s = self.clock() - self._made_s + float(rng.uniform(0, 0.05))
        self.faults.append(Fault(FaultKind(kind), since_s, joint))

    def settle(self) -> None:
        """See ``Arm``."""
        self.advance()

    def _write(self, positions: np.ndarray) -> np.ndarray:
        at_s = self.clock()  # in real time the physics takes some
        sent = super()._write(positions)
        self.sent.append((at_s, positions.copy()))
        return sent

    def _step(self) -> None:
        super()._step()
        self.been.append((self._now_s, self.arm.positions(self.world.data)))


class Counting:
    """A camera whose images count; a frozen one gives its last again, with that one's time."""

    shape = (2, 2, 3)

    def __init__(self, arm: TwinArm) -> None:
        self._arm, self._taken_s, self._count = arm, -np.inf, 0

    def open(self) -> None:
        """There is nothing to open."""

    def close(self) -> None:
        """There is nothing to close."""

    def latest(self) -> tuple[np.ndarray, float]:
        """See ``robots.base.Camera``."""
        now_s = self._arm.clock()
        if now_s - self._taken_s >= CAMERA_S and not self._arm.has(FaultKind.FROZEN):
            self._taken_s, self._count = now_s, self._count + 1
        return np.full(self.shape, self._count % 256, np.uint8), self._taken_s


class Sampling(SimulatedClock):
    """A clock that tells an arm now and then that time goes by."""

    def __init__(self) -> None:
        super().__init__()
        self.arm: BusArm | None = None
        self._sampled_s = -np.inf

    def sleep(self, seconds: float) -> None:
        """Jump ahead, not too far at a time."""
        ends_s = self() + max(seconds, 0.0)
        while self() < ends_s:
            super().sleep(min(ends_s - self(), SAMPLE_S))
            if self.arm is not None and self() - self._sampled_s >= SAMPLE_S:
                self._sampled_s = self()
                self.arm.settle()


class Plug(Direct):
    """A port whose plug can be pulled: then it fails as a USB adapter does."""

    pulled = False

    def read(self, size: int) -> bytes:
        """Read, if it is plugged in."""
        self._require_plug()
        return super().read(size)

    def write(self, data: Any) -> int:
        """Write, if it is plugged in."""
        self._require_plug()
        return super().write(data)

    def _require_plug(self) -> None:
        if self.pulled:
            raise OSError(5, "Input/output error")


class BusArm(Noting, ServoArm):
    """An arm of emulated servos, Feetech's or Dynamixel's."""

    def __init__(self, maker: str, seed: int, clock: Sampling) -> None:
        self._note_nothing()
        noise = Faults(corrupted=0.002, seed=seed)
        if maker == "feetech":
            super().__init__(SO101, ServoArmConfig(port="emulated", faults=noise), None, clock)
        else:
            config = DynamixelConfig(port="emulated", faults=noise)
            super().__init__(ARMS["koch"], config, None, clock)
        self._servos_there: list[Any] = []
        clock.arm = self

    def begin(self, kind: str, rng: np.random.Generator) -> None:
        """See ``Arm``."""
        servo = self._servos_there[int(rng.integers(len(self._servos_there)))]
        if kind == "bus unplugged":
            self.port.pulled = True
        elif kind == "servo drops out":
            servo.dropped = True
        elif kind == "servo blocked":
            servo.motor.blocked = True
        else:
            seed = int(rng.integers(2**31))
            self.port.wire = Wire(Faults(corrupted=0.3, lost=0.2, noise=0.1, late=0.1, seed=seed))

    def settle(self) -> None:
        """See ``Arm``."""
        if self._translate is None or not self._servos_there:
            return
        for servo in self._servos_there:
            servo.update()
        steps = [s.present - 4096 * self._turns[s.identity] for s in self._servos_there]
        self.been.append((self.clock(), self._translate.from_raw(np.array(steps))))

    def _port(self) -> str | DirectPort:
        super()._port()
        self.port = Plug(self.station, self.clock, self.config.faults)
        by_number = {servo.identity: servo for servo in self.station.servos}
        self._servos_there = [by_number[identity] for identity in self.ids]
        return self.port

    def _write(self, positions: np.ndarray) -> np.ndarray:
        sent = super()._write(positions)
        self.sent.append((self.clock(), positions.copy()))
        return sent


class Logged(TwinArm):
    """A twin that writes each command and each place, with its time, into a file."""

    def __init__(self, folder: str, seed: int, clock: Any) -> None:
        super().__init__(TwinConfig(seed=seed, failing=0.002), clock)
        self._folder, self._log = Path(folder), None

    def _open(self) -> None:
        self._log = open(self._folder / ARM_LOG, "ab", buffering=0)
        (self._folder / SERVO_PID).write_text(str(os.getpid()))
        super()._open()

    def _close(self) -> None:
        if self._log is not None:
            for _ in range(round(AFTER_S / 0.01)):  # it is let go of, and there
                time.sleep(0.01)
                self.advance()
            self._log.close()
            self._log = None
        super()._close()

    def _write(self, positions: np.ndarray) -> np.ndarray:
        sent = super()._write(positions)
        self._note(SENT, *self.sent[-1])
        return sent

    def _read(self) -> Mapping[str, np.ndarray]:
        begins, found = self._begins, super()._read()
        if begins:
            self._note(STARTS, *self.starts[-1])
        return found

    def _step(self) -> None:
        super()._step()
        self._note(BEEN, *self.been[-1])

    def _note(self, kind: float, at_s: float, positions: np.ndarray) -> None:
        if self._log is not None:
            self._log.write(np.array([kind, at_s, *positions]).tobytes())


def logged(folder: str, seed: int, clock: Any = None) -> Logged:
    """Make the arm, as a robot of one's own."""
    return Logged(folder, seed, clock or RealClock())
