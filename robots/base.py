"""What a robot is: LeRobot's method names, a life-cycle, and units that are decided once.

Units
- A revolute joint is in radians, a prismatic one in metres, as the robot's model counts them;
  velocities per second, efforts in N m or N.
- A gripper is the share of its opening: 0 closed, 1 open, whichever way its motor turns. How wide
  that is, ``Joint.stroke_m`` says.
- Times are seconds of the clock that the robot was given, by default ``time.monotonic``.

Names are LeRobot's: ``"shoulder_pan.pos"`` is a joint's position, ``.vel`` and ``.effort`` what
some robots measure beside it; a camera is its own name, uint8 [H, W, 3], RGB. An action is
positions to go to. A driver only translates: limits, rate and watchdog are ``robots.safety``'s.

Life-cycle, as in ros2_control::

    UNCONFIGURED --connect--> INACTIVE --activate--> ACTIVE --stop, deactivate--> INACTIVE
    any but UNCONFIGURED --device lost--> ERROR;   any --disconnect--> UNCONFIGURED
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

import numpy as np

from robolearn.errors import DataError, SpecError, UserError

Features = dict[str, type | tuple[int, int, int]]  # "elbow.pos": float, "wrist": (480, 640, 3)
Values = dict[str, Any]  # name -> float, or image uint8 [H, W, 3]
Clock = Callable[[], float]
JOINTS = "joints"  # the key of ``measured_s`` for everything but cameras
TRIES = 3  # of what noise may disturb
QUANTITIES = ("pos", "vel", "effort")


class RobotError(UserError):
    """A robot cannot do what it is asked: wrong order of calls, no calibration, no package."""


class BusError(RobotError):
    """One exchange with the device failed (nothing came, a wrong checksum); it may be repeated."""


class LostError(RobotError):
    """The device does not answer any more: unplugged, without power, or its servo dropped out."""


class LifeCycle(StrEnum):
    """What a robot may be asked for."""

    UNCONFIGURED = "unconfigured"  # nothing is open; features are known
    INACTIVE = "inactive"  # it is read; actions are refused
    ACTIVE = "active"  # it goes where actions say
    ERROR = "error"  # the device was lost: disconnect, then connect


class Kind(StrEnum):
    """What a joint's value means."""

    REVOLUTE = "revolute"  # rad
    PRISMATIC = "prismatic"  # m
    GRIPPER = "gripper"  # share of the opening


UNITS = {Kind.REVOLUTE: "rad", Kind.PRISMATIC: "m", Kind.GRIPPER: "1"}


@dataclass(frozen=True)
class Joint:
    """One joint, and what its maker or its model allows: the safety filter allows less.

    Raises SpecError for an empty range or a limit that is not above zero.
    """

    name: str
    kind: Kind
    lower: float
    upper: float
    velocity: float  # per second
    acceleration: float  # per second squared
    jerk: float  # per second cubed
    stroke_m: float | None = None  # of a gripper: how far it opens

    def __post_init__(self) -> None:
        if not (np.isfinite([self.lower, self.upper]).all() and self.lower < self.upper):
            raise SpecError(f"joint {self.name}: its range is {self.lower} to {self.upper}")
        for what in ("velocity", "acceleration", "jerk"):
            value = getattr(self, what)
            if not (np.isfinite(value) and value > 0):
                raise SpecError(f"joint {self.name}: {what}={value} must be a number above 0")

    @property
    def unit(self) -> str:
        """Its position's unit."""
        return UNITS[self.kind]


class Camera(Protocol):
    """A camera as a part of a robot: what it saw last, and when."""

    shape: tuple[int, int, int]  # H, W, 3

    def open(self) -> None:
        """Take hold of it and wait for its first image; RobotError that says what is wrong."""

    def latest(self) -> tuple[np.ndarray, float]:
        """Give the newest image uint8 [H, W, 3] and the time at which it came; never waits."""

    def close(self) -> None:
        """Let go of it; calling it again does nothing."""


@runtime_checkable
class Robot(Protocol):
    """One arm, two, or anything else with joints; see the module for units and life-cycle."""

    name: str
    joints: tuple[Joint, ...]  # in the order of every vector [J]
    life_cycle: LifeCycle

    @property
    def observation_features(self) -> Features:
        """What ``get_observation`` gives; known before connecting."""

    @property
    def action_features(self) -> Features:
        """What ``send_action`` takes; known before connecting."""

    @property
    def is_connected(self) -> bool:
        """Whether the device is open and answers, as far as is known."""

    @property
    def is_calibrated(self) -> bool:
        """Whether positions mean what the units say."""

    @property
    def measured_s(self) -> Mapping[str, float]:
        """When what the last observation holds was measured: "joints", and each camera."""

    def connect(self, calibrate: bool = True) -> None:
        """Open the device and configure it; nothing moves.

        With ``calibrate``, one that is not calibrated asks the person at the terminal. Raises
        RobotError in one line that says what is missing and how to find or install it.
        """

    def calibrate(self) -> None:
        """Find out, with a person's help, what raw positions mean, and store it in a file."""

    def configure(self) -> None:
        """Write what the device needs once: operating modes, gains, limits of its own."""

    def activate(self) -> None:
        """Hold the present position, and take actions from now on.

        Raises RobotError unless it is connected and calibrated.
        """

    def get_observation(self) -> Values:
        """Measure; joints are from this very call, images as new as their cameras'.

        In ERROR too, as long as it answers. Raises BusError where nothing trustworthy came back,
        and LostError where the device is gone.
        Nothing old or damaged is ever given for new.
        """

    def send_action(self, action: Mapping[str, float]) -> dict[str, float]:
        """Go to positions; give those that were really sent, after rounding and the device's range.

        Raises SpecError for missing or extra names and DataError for what is not finite, before
        anything moves.
        """

    def stop(self) -> None:
        """Come to rest at once and stay there holding, whatever else was commanded.

        From ACTIVE it becomes INACTIVE. LostError where the device cannot be told.
        """

    def deactivate(self) -> None:
        """Let go: motors carry no torque, and an arm without brakes sinks; also in ERROR."""

    def disconnect(self) -> None:
        """Stop, and close the device, from any state; it may be gone. Twice does nothing."""


class Driver:
    """A Robot whose order of calls is checked here; subclasses speak to one kind of device.

    They say ``name`` and ``joints`` before connecting, and define the methods with an underscore.
    ``measures`` names what ``_read`` gives. ``lets_go`` says whether disconnecting takes the torque
    away. A driver makes of its own library's errors BusError, where the same call may succeed the
    next time, or LostError, which makes it ERROR.
    """

    name: str
    joints: tuple[Joint, ...]
    measures: tuple[str, ...] = ("pos",)
    lets_go = True

    def __init__(
        self, cameras: Mapping[str, Camera] | None = None, clock: Clock = time.monotonic
    ) -> None:
        self.cameras = dict(cameras or {})
        self.clock = clock
        self.life_cycle = LifeCycle.UNCONFIGURED
        self._measured_s: dict[str, float] = {}

    @property
    def observation_features(self) -> Features:
        """See ``Robot``."""
        joints = {f"{j.name}.{what}": float for what in self.measures for j in self.joints}
        return joints | {name: camera.shape for name, camera in self.cameras.items()}

    @property
    def action_features(self) -> Features:
        """See ``Robot``."""
        return {f"{joint.name}.pos": float for joint in self.joints}

    @property
    def is_connected(self) -> bool:
        """See ``Robot``."""
        return self.life_cycle in (LifeCycle.INACTIVE, LifeCycle.ACTIVE)

    @property
    def is_calibrated(self) -> bool:
        """See ``Robot``; a device that needs no calibration is calibrated."""
        return True

    @property
    def calibrates(self) -> bool:
        """Whether there is anything to calibrate."""
        return type(self)._calibrate is not Driver._calibrate

    @property
    def measured_s(self) -> Mapping[str, float]:
        """See ``Robot``."""
        return self._measured_s

    def connect(self, calibrate: bool = True) -> None:
        """See ``Robot``. What was opened is closed again if anything goes wrong."""
        self._require("connect", LifeCycle.UNCONFIGURED)
        try:
            self._open()
            for camera in self.cameras.values():
                camera.open()
            self.life_cycle = LifeCycle.INACTIVE
            if calibrate and not self.is_calibrated:
                self.calibrate()
            self.configure()
        except BaseException:
            self._shut()
            raise

    def calibrate(self) -> None:
        """See ``Robot``."""
        self._require("calibrate", LifeCycle.INACTIVE)
        with self._noticing_loss():
            self._calibrate()

    def configure(self) -> None:
        """See ``Robot``."""
        self._require("configure", LifeCycle.INACTIVE)
        with self._noticing_loss():
            self._configure()

    def activate(self) -> None:
        """See ``Robot``."""
        self._require("activate", LifeCycle.INACTIVE)
        if not self.is_calibrated:
            raise RobotError(f"{self.name}: not calibrated; call calibrate() before activate()")
        with self._noticing_loss():
            self._enable()
        self.life_cycle = LifeCycle.ACTIVE

    def get_observation(self) -> Values:
        """See ``Robot``."""
        self._require(
            "get_observation", LifeCycle.INACTIVE, LifeCycle.ACTIVE, LifeCycle.ERROR
        )  # lost, it is looked at as long as it answers
        with self._noticing_loss():
            before_s = self.clock()
            measured = self._read()
        values = named(self.joints, {what: measured[what] for what in self.measures})
        times = {JOINTS: before_s}  # the oldest that the values can be
        for name, camera in self.cameras.items():
            values[name], times[name] = camera.latest()
        self._measured_s = times
        return values

    def send_action(self, action: Mapping[str, float]) -> dict[str, float]:
        """See ``Robot``."""
        self._require("send_action", LifeCycle.ACTIVE)
        positions = vector(self.joints, action, f"{self.name}: action")
        with self._noticing_loss():
            sent = self._write(positions)
        return named(self.joints, {"pos": sent})

    def stop(self) -> None:
        """See ``Robot``."""
        self._require("stop", LifeCycle.INACTIVE, LifeCycle.ACTIVE, LifeCycle.ERROR)
        with self._noticing_loss():
            self._halt()
        if self.life_cycle is LifeCycle.ACTIVE:
            self.life_cycle = LifeCycle.INACTIVE

    def deactivate(self) -> None:
        """See ``Robot``."""
        self._require("deactivate", LifeCycle.INACTIVE, LifeCycle.ACTIVE, LifeCycle.ERROR)
        with self._noticing_loss():
            self._disable()
        if self.life_cycle is LifeCycle.ACTIVE:
            self.life_cycle = LifeCycle.INACTIVE

    def disconnect(self) -> None:
        """See ``Robot``."""
        if self.life_cycle is LifeCycle.UNCONFIGURED:
            return
        with contextlib.ExitStack() as stack:  # in turn from the last, each whatever the others do
            stack.callback(self._shut)
            if self.lets_go:
                stack.callback(self._attempt, self._disable)
            stack.callback(self._attempt, self._halt)

    def _attempt(self, call: Callable[[], None]) -> None:
        """Call, again after noise; a device that does not answer is closed all the same."""
        for _ in range(TRIES):
            try:
                return call()
            except LostError:
                return None
            except BusError:
                continue

    def _shut(self) -> None:
        """Close everything, whatever fails."""
        self.life_cycle = LifeCycle.UNCONFIGURED
        with contextlib.ExitStack() as stack:
            stack.callback(self._close)
            for camera in self.cameras.values():
                stack.callback(camera.close)

    def _require(self, what: str, *states: LifeCycle) -> None:
        if self.life_cycle in states:
            return
        needed = {
            LifeCycle.UNCONFIGURED: "connect() it first",
            LifeCycle.INACTIVE: "activate() it first",
            LifeCycle.ACTIVE: "stop() it first",
            LifeCycle.ERROR: "disconnect() it, look at its cable and power, and connect() again",
        }
        hint = needed[self.life_cycle]
        if what == "connect" and self.life_cycle is not LifeCycle.ERROR:
            hint = "disconnect() it first"
        raise RobotError(f"{self.name}: {what}() while it is {self.life_cycle}; {hint}")

    @contextlib.contextmanager
    def _noticing_loss(self) -> Iterator[None]:
        try:
            yield
        except LostError:
            self.life_cycle = LifeCycle.ERROR
            raise

    def _open(self) -> None:
        """Take hold of the device, and see that every joint answers; RobotError if not."""
        raise NotImplementedError

    def _close(self) -> None:
        """Let go of the device, however far ``_open`` came; never raises."""
        raise NotImplementedError

    def _configure(self) -> None:
        """Write modes, gains and the device's own limits; nothing moves."""

    def _calibrate(self) -> None:
        """Ask a person to move the arm, and store what was found."""

    def _enable(self) -> None:
        """Make the present position the target, then give torque: nothing moves."""
        raise NotImplementedError

    def _disable(self) -> None:
        """Take the torque away."""
        raise NotImplementedError

    def _read(self) -> Mapping[str, np.ndarray]:
        """Measure what ``measures`` names, each float64 [J] in our units."""
        raise NotImplementedError

    def _write(self, positions: np.ndarray) -> np.ndarray:
        """Send positions [J] in our units; give what was sent [J]."""
        raise NotImplementedError

    def _halt(self) -> None:
        """Make the arm come to rest and hold; the targets of earlier actions are void."""
        raise NotImplementedError


def named(joints: Sequence[Joint], vectors: Mapping[str, np.ndarray]) -> Values:
    """Give vectors [J] of quantities as ``{"elbow.pos": 0.3, ...}``."""
    return {
        f"{joint.name}.{what}": float(value)
        for what, values in vectors.items()
        for joint, value in zip(joints, values, strict=True)
    }


def vector(joints: Sequence[Joint], values: Mapping[str, Any], where: str) -> np.ndarray:
    """Give the positions [J] of an action; the other way of ``named``.

    Raises SpecError that begins with ``where`` for missing and extra names and for what is no
    number, DataError for one that is not finite.
    """
    names = [f"{joint.name}.pos" for joint in joints]
    require_names(values, names, where)
    try:
        found = np.array([float(values[name]) for name in names])
    except (TypeError, ValueError):
        raise SpecError(f"{where}: must be one number for each joint") from None
    for name, value in zip(names, found, strict=True):
        if not np.isfinite(value):
            raise DataError(f"{where}: {name} is {value}, not a finite number")
    return found


def quantity(joints: Sequence[Joint], values: Mapping[str, Any], what: str = "pos") -> np.ndarray:
    """Give one quantity [J] of an observation."""
    return np.array([values[f"{joint.name}.{what}"] for joint in joints], np.float64)


def require_names(values: Mapping[str, Any], names: Sequence[str], where: str) -> None:
    """Raise SpecError that names the missing and the extra ones unless they are the same."""
    missing = [name for name in names if name not in values]
    extra = sorted(set(values) - set(names))
    faults = [f"missing {', '.join(missing)}"] * bool(missing)
    faults += [f"extra {', '.join(extra)}"] * bool(extra)
    if faults:
        raise SpecError(f"{where}: {'; '.join(faults)}")
