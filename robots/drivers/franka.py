"""Franka's Panda and FR3 with the Franka Hand, through ``franky-control`` (``import franky``).

Never tried on an arm. Its tests have a stand-in of the package (``robots.emulators.stand_ins``);
the package itself was seen reading, moving and stopping the simulated arm of franky-sim. Between
two commands the arm is moved by the package's own trajectories. It cannot be let go from here:
without commands its controller holds it, and its brakes are Desk's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import PositiveFloat

from robolearn.settings import ProperShare, Settings
from robots.base import Camera, Clock, Driver, Joint, Kind, LostError, RobotError
from robots.clocks import RealClock
from robots.servos.bus import package

PANDA = (  # lower, upper [rad], velocity, acceleration, jerk, as Franka's documentation has them
    (-2.8973, 2.8973, 2.175, 15.0, 7500.0), (-1.7628, 1.7628, 2.175, 7.5, 3750.0),
    (-2.8973, 2.8973, 2.175, 10.0, 5000.0), (-3.0718, -0.0698, 2.175, 12.5, 6250.0),
    (-2.8973, 2.8973, 2.61, 15.0, 7500.0), (-0.0175, 3.7525, 2.61, 20.0, 10000.0),
    (-2.8973, 2.8973, 2.61, 20.0, 10000.0),
)  # fmt: skip
FR3 = (
    (-2.7437, 2.7437, 2.62, 10.0, 5000.0), (-1.7837, 1.7837, 2.62, 10.0, 5000.0),
    (-2.9007, 2.9007, 2.62, 10.0, 5000.0), (-3.0421, -0.1518, 2.62, 10.0, 5000.0),
    (-2.8065, 2.8065, 5.26, 10.0, 5000.0), (0.5445, 4.5169, 4.18, 10.0, 5000.0),
    (-3.0159, 3.0159, 5.26, 10.0, 5000.0),
)  # fmt: skip
ARMS = {"panda": PANDA, "fr3": FR3}
STROKE_M = 0.08
NEAR_M = 0.002  # fingers on their way are not sent elsewhere for less
STOPPING_S = 1.0


@dataclass(frozen=True)
class FrankaConfig(Settings):
    """Which arm, and where."""

    address: str = "172.16.0.2"
    """Of the arm's control (FCI), which must be active in Desk."""
    arm: Literal["panda", "fr3"] = "fr3"
    """Whose limits hold."""
    gripper: bool = True
    """Whether it has the Franka Hand, which must have been homed."""
    dynamics: ProperShare = 0.2
    """Share of the arm's largest velocities, accelerations and jerks that the package uses."""
    finger_m_s: PositiveFloat = 0.1
    """How fast the fingers go."""
    realtime: bool = True
    """Whether a real-time kernel is required, as Franka wants it."""


class Franka(Driver):
    """A Robot; see the module."""

    name, measures, lets_go = "franka", ("pos", "vel"), False

    def __init__(
        self,
        config: FrankaConfig,
        cameras: Mapping[str, Camera] | None = None,
        clock: Clock | None = None,
        franky: Any = None,
    ) -> None:
        """Prepare; ``franky`` is the package, or what stands in for it."""
        super().__init__(cameras, clock or RealClock())
        self.config, self._franky = config, franky
        limits = enumerate(ARMS[config.arm], 1)
        self.joints = tuple(Joint(f"joint{i}", Kind.REVOLUTE, *values) for i, values in limits)
        if config.gripper:
            speed = 2 * config.finger_m_s / STROKE_M
            self.joints += (Joint("gripper", Kind.GRIPPER, 0, 1, speed, 20, 400, STROKE_M),)
        self._arm: Any = None
        self._hand: Any = None
        self._width_m: float | None = None  # that was sent last
        self._asked_m = 0.0  # that was asked for last

    def _open(self) -> None:
        self._franky = self._franky or package("franky", "franky-control", "franka")
        franky, config = self._franky, self.config
        real_time = franky.RealtimeConfig
        wanted = real_time.Enforce if config.realtime else real_time.Ignore
        try:
            self._arm = franky.Robot(config.address, realtime_config=wanted)
            self._arm.relative_dynamics_factor = config.dynamics
            self._hand = franky.Gripper(config.address) if config.gripper else None
        except franky.Exception as error:
            raise RobotError(
                f"{self.name}: no arm at {config.address} ({error}); is FCI active in Desk, and "
                "does this computer reach that address?"
            ) from None

    def _close(self) -> None:
        self._arm = self._hand = self._width_m = None

    def _enable(self) -> None:
        with self._controlled():
            if self._arm.has_errors and not self._arm.recover_from_errors():
                raise RobotError(f"{self.name}: its errors do not clear; look at Desk")
        self._width_m = None

    def _disable(self) -> None:
        """Leave it to its own controller, which holds it."""

    def _read(self) -> dict[str, np.ndarray]:
        with self._controlled():
            self._arm.poll_motion()  # raises what has ended a motion: a reflex, a button
            state = self._arm.current_joint_state
            positions, velocities = np.array(state.position), np.array(state.velocity)
            if self._hand is not None:
                positions = np.append(positions, self._hand.width / STROKE_M)
                velocities = np.append(velocities, 0.0)  # the hand does not measure it
        return {"pos": positions, "vel": velocities}

    def _write(self, positions: np.ndarray) -> np.ndarray:
        low, high = (np.array([getattr(j, e) for j in self.joints]) for e in ("lower", "upper"))
        sent = np.clip(positions, low, high)
        franky = self._franky
        with self._controlled():
            target = franky.JointMotion(franky.JointState(sent[:7]))
            self._arm.move(target, asynchronous=True)
            if self._hand is not None:
                sent[7] = self._move_fingers(float(sent[7]))
        return sent

    def _move_fingers(self, share: float) -> float:
        """Send the hand there, if that is far from where it goes, or is asked for a second time.

        Each command interrupts the one before, so that it is not given for every little.
        """
        width_m = share * STROKE_M
        settled, self._asked_m = width_m == self._asked_m, width_m
        sent = np.inf if self._width_m is None else self._width_m
        if abs(width_m - sent) > (0 if settled else NEAR_M):
            self._hand.move_async(width_m, self.config.finger_m_s)
            self._width_m = width_m
        return self._width_m / STROKE_M

    def _halt(self) -> None:
        """Slow down to rest within the arm's limits; break the control off if that takes long."""
        with self._controlled():
            if self._arm.is_in_control:
                self._arm.move(self._franky.JointStopMotion(), asynchronous=True)
                if not self._arm.join_motion(STOPPING_S):
                    self._arm.stop()
                    with contextlib.suppress(self._franky.Exception):  # it says that it was stopped
                        self._arm.join_motion(STOPPING_S)
            if self._hand is not None and self._width_m is not None:
                self._hand.stop_async()
                self._width_m = None

    @contextlib.contextmanager
    def _controlled(self) -> Iterator[None]:
        """Turn what the package raises into LostError: the arm has stopped itself, or is gone."""
        try:
            yield
        except self._franky.Exception as error:
            raise LostError(f"{self.name}: stopped by its controller: {error}") from None


def franka(
    config: FrankaConfig,
    cameras: Mapping[str, Camera] | None = None,
    clock: Clock | None = None,
) -> Franka:
    """Make a Franka arm, which is not connected yet."""
    return Franka(config, cameras, clock)
