"""What stands in for makers' packages whose arms cannot be emulated byte by byte here.

They have the names and the behaviour that the packages' documentation says, as far as our drivers
call them, and joints that move at limited speed. That a driver works with them says nothing about
an arm; that it does not work says a lot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from robots.base import Clock

FRANKA_HOME = (0.0, -0.785, 0.0, -2.356, 0.0, 1.571, 0.785)
UR_HOME = (0.0, -1.57, 1.57, -1.57, -1.57, 0.0)


class Joints:
    """Joints that go to their goals at one speed."""

    def __init__(self, home: Sequence[float], speed: float, clock: Clock) -> None:
        self._at, self.goal = np.array(home, float), np.array(home, float)
        self._speed, self._clock, self._seen_s = speed, clock, clock()
        self.velocity = np.zeros(len(home))

    def now(self) -> np.ndarray:
        """Give where they are now."""
        passed_s = self._clock() - self._seen_s
        if passed_s > 0:
            most = self._speed * passed_s
            way = np.clip(self.goal - self._at, -most, most)
            self._at, self.velocity = self._at + way, way / passed_s
            self._seen_s += passed_s
        return self._at.copy()

    def stay(self) -> None:
        """Stop them where they are."""
        self.goal = self.now()
        self.velocity[:] = 0.0


class Franky:
    """The package ``franky``; ``fault`` is raised by the arm's next call, as a reflex is."""

    class Exception(RuntimeError):
        """Base of what the package raises."""

    RealtimeConfig = SimpleNamespace(Enforce="enforce", Ignore="ignore")

    def __init__(self, clock: Clock) -> None:
        self.arm = Joints(FRANKA_HOME, 2.0, clock)
        self.fingers = Joints([0.04], 0.1, clock)  # m, between them
        self.fault, self.there = "", True
        self.slow = False  # it takes long to come to rest

    def JointState(self, position: Any) -> np.ndarray:
        """Give a target."""
        return np.array(position, float)

    def JointMotion(self, target: np.ndarray) -> np.ndarray:
        """Give the motion there."""
        return target

    def JointStopMotion(self) -> None:
        """Give the motion that slows down to rest."""

    def Robot(self, address: str, realtime_config: Any) -> FrankyRobot:
        """Connect to the arm."""
        if not self.there:
            raise self.Exception("libfranka: Connection timed out")
        return FrankyRobot(self)

    def Gripper(self, address: str) -> FrankyGripper:
        """Connect to the hand."""
        return FrankyGripper(self)


class FrankyRobot:
    """``franky.Robot``."""

    def __init__(self, package: Franky) -> None:
        self._package = package
        self.relative_dynamics_factor = 1.0
        self.is_in_control = self._preempted = False

    @property
    def has_errors(self) -> bool:
        """Whether something has stopped it."""
        return bool(self._package.fault)

    def recover_from_errors(self) -> bool:
        """Clear its errors."""
        self._package.fault = ""
        return True

    def poll_motion(self) -> bool:
        """Raise what has ended the motion; say whether it moves."""
        if self._preempted:
            self.join_motion(0.0)
        if self._package.fault:
            self._package.arm.stay()
            raise self._package.Exception(self._package.fault)
        return self.is_in_control

    @property
    def current_joint_state(self) -> SimpleNamespace:
        """Give positions and velocities."""
        arm = self._package.arm
        return SimpleNamespace(position=arm.now(), velocity=arm.velocity.copy())

    def move(self, motion: np.ndarray | None, asynchronous: bool = False) -> None:
        """Begin a motion, which replaces the one before."""
        self.poll_motion()
        self.is_in_control = True
        if motion is None:
            self._package.arm.stay()
        else:
            self._package.arm.now()
            self._package.arm.goal = motion

    def join_motion(self, timeout: float) -> bool:
        """Wait for the end of the motion, and raise what has ended it; False if it takes longer."""
        if self._preempted:
            self._preempted = False
            raise self._package.Exception("libfranka: Move command preempted!")
        self.is_in_control = self._package.slow
        return not self._package.slow

    def stop(self) -> None:
        """Break off whatever it does, which the next call about that motion raises."""
        self._package.arm.stay()
        self.is_in_control, self._preempted = False, True


class FrankyGripper:
    """``franky.Gripper``."""

    def __init__(self, package: Franky) -> None:
        self._fingers = package.fingers

    @property
    def width(self) -> float:
        """How far it is open, m."""
        return float(self._fingers.now()[0])

    def move_async(self, width: float, speed: float) -> None:
        """Go there."""
        self._fingers.now()
        self._fingers.goal = np.array([width])

    def stop_async(self) -> None:
        """Stop the fingers."""
        self._fingers.stay()


@dataclass
class UrController:
    """A controller of Universal Robots: ``control`` and ``receive`` are the package's classes."""

    clock: Clock
    connected: bool = True
    emergency: bool = False
    protective: bool = False
    frozen_s: float | None = None  # its clock stands still: nothing new is measured
    another: bool = False  # another program streams, so that a stop does nothing
    watchdog_s: float | None = None

    def __post_init__(self) -> None:
        self.arm = Joints(UR_HOME, 3.0, self.clock)
        self.kicked_s = 0.0

    def control(self, address: str) -> UrControl:
        """``RTDEControlInterface``."""
        self._require()
        return UrControl(self)

    def receive(self, address: str) -> UrReceive:
        """``RTDEReceiveInterface``."""
        self._require()
        return UrReceive(self)

    def _require(self) -> None:
        if not self.connected:
            raise RuntimeError("Timeout connecting to UR dashboard server.")

    @property
    def awake(self) -> bool:
        """Whether its watchdog has been kicked in time."""
        return self.watchdog_s is None or self.clock() - self.kicked_s <= self.watchdog_s


class UrControl:
    """``rtde_control.RTDEControlInterface``."""

    def __init__(self, controller: UrController) -> None:
        self._it, self._running = controller, True

    def setWatchdog(self, min_frequency: float) -> bool:
        """Stop when nothing is heard for so long."""
        self._it.watchdog_s, self._it.kicked_s = 1 / min_frequency, self._it.clock()
        return True

    def kickWatchdog(self) -> bool:
        """Say that the program still runs."""
        if not self._it.awake:
            self._running = False
            self._it.arm.stay()
        self._it.kicked_s = self._it.clock()
        return self._running

    def servoJ(self, q: list[float], *rest: float) -> bool:
        """Go there."""
        if not self._running or self._it.protective or self._it.emergency:
            return False
        self._it.arm.now()
        self._it.arm.goal = np.array(q)
        return True

    def servoStop(self, a: float = 10.0) -> bool:
        """Slow down to rest."""
        if not self._it.another:
            self._it.arm.stay()
        return True

    def stopScript(self) -> None:
        """End the program, and with it all motion that is its own."""
        self._running, self._it.watchdog_s = False, None
        self.servoStop()

    def disconnect(self) -> None:
        """Let go."""


class UrReceive:
    """``rtde_receive.RTDEReceiveInterface``."""

    def __init__(self, controller: UrController) -> None:
        self._it = controller

    def isConnected(self) -> bool:
        """Whether the controller is heard."""
        return self._it.connected

    def isEmergencyStopped(self) -> bool:
        """Whether the button is pressed."""
        return self._it.emergency

    def isProtectiveStopped(self) -> bool:
        """Whether it has stopped itself."""
        return self._it.protective

    def getTimestamp(self) -> float:
        """Give the controller's time."""
        return self._it.clock() if self._it.frozen_s is None else self._it.frozen_s

    def getActualQ(self) -> list[float]:
        """Give positions."""
        return self._it.arm.now().tolist()

    def getActualQd(self) -> list[float]:
        """Give velocities."""
        self._it.arm.now()
        return self._it.arm.velocity.tolist()

    def disconnect(self) -> None:
        """Let go."""


class LerobotArm:
    """A robot of LeRobot with two joints and a gripper, in shares of their ranges."""

    names = ("shoulder", "elbow", "gripper")

    def __init__(self, clock: Clock) -> None:
        self.arm = Joints([0.0, 10.0, 50.0], 100.0, clock)
        self.calibration = {
            name: SimpleNamespace(range_min=1024, range_max=3072) for name in self.names
        }
        self.action_features = {f"{name}.pos": float for name in self.names}
        self.is_connected, self.is_calibrated = False, True
        self.torque, self.fault = True, None
        self.bus = SimpleNamespace(
            enable_torque=lambda: setattr(self, "torque", True),
            disable_torque=lambda: setattr(self, "torque", False),
        )

    def connect(self, calibrate: bool = True) -> None:
        """Open it."""
        if self.fault is not None:
            raise self.fault
        self.is_connected = True

    def calibrate(self) -> None:
        """Ask nobody: it is calibrated."""

    def disconnect(self) -> None:
        """Close it."""
        self.is_connected = False

    def get_observation(self) -> dict[str, float]:
        """Measure."""
        if self.fault is not None:
            raise self.fault
        return dict(zip(self.action_features, self.arm.now().tolist(), strict=True))

    def send_action(self, action: dict[str, float]) -> dict[str, float]:
        """Go there; positions within the calibrated range."""
        self.arm.now()
        goal = np.clip([action[name] for name in self.action_features], [-100, -100, 0], 100)
        self.arm.goal = goal
        return dict(zip(self.action_features, goal.tolist(), strict=True))
