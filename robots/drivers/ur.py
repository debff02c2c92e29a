"""Universal Robots' arms, through ``ur-rtde`` (``import rtde_control, rtde_receive``).

Written after the package's documentation and tried against a stand-in of its interface only
(``robots.emulators.stand_ins``), never on an arm. Positions are streamed with ``servoJ``; while
the arm is active the controller's own watchdog ends that when this program falls silent. A stop is
looked at: users have reported stops that do nothing while another program streams as well.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Le
from pydantic import PositiveFloat

from robolearn.settings import Settings
from robots.base import Camera, Clock, Driver, Joint, Kind, LostError, RobotError
from robots.clocks import RealClock
from robots.servos.bus import package

NAMES = ("shoulder_pan", "shoulder_lift", "elbow", "wrist_1", "wrist_2", "wrist_3")
SLOWEST_HZ = 2.0  # at which the controller's watchdog must hear something
DECELERATION = 4.0  # rad/s^2
STILL = 0.01  # rad/s
STOPPING_S, LOOK_S = 1.0, 0.01
OLD_S = 0.2  # without a new measurement


@dataclass(frozen=True)
class UrConfig(Settings):
    """Which arm, and where."""

    address: str = "192.168.56.101"
    """Of the controller, which must be in remote control."""
    velocity: PositiveFloat = 3.14
    """The arm's largest joint velocity, rad/s."""
    period_s: PositiveFloat = 0.02
    """Time between two commands."""
    lookahead_s: Annotated[float, Ge(0.03), Le(0.2)] = 0.1
    """By how much the controller smooths."""
    gain: Annotated[float, Ge(100), Le(2000)] = 300.0
    """How stiffly it follows."""


class Ur(Driver):
    """A Robot of six joints without gripper; see the module."""

    name, measures, lets_go = "ur", ("pos", "vel"), False

    def __init__(
        self,
        config: UrConfig,
        cameras: Mapping[str, Camera] | None = None,
        clock: Clock | None = None,
        rtde: Any = None,
    ) -> None:
        """Prepare; ``rtde`` has ``control`` and ``receive``, the package's classes or stand-ins."""
        super().__init__(cameras, clock or RealClock())
        self.config, self._rtde = config, rtde
        self.joints = tuple(
            Joint(name, Kind.REVOLUTE, -half, half, config.velocity, 10.0, 200.0)
            for name in NAMES
            for half in [np.pi if name == "elbow" else 2 * np.pi]
        )
        self._receive: Any = None
        self._control: Any = None
        self._newest = (0.0, 0.0)  # the controller's time, and ours when it came

    def _open(self) -> None:
        self._rtde = self._rtde or SimpleNamespace(
            receive=package("rtde_receive", "ur-rtde", "ur").RTDEReceiveInterface,
            control=package("rtde_control", "ur-rtde", "ur").RTDEControlInterface,
        )
        self._receive = self._connected(self._rtde.receive)
        self._newest = (-1.0, self.clock())

    def _connected(self, kind: Any) -> Any:
        try:
            return kind(self.config.address)
        except RuntimeError as error:
            raise RobotError(
                f"{self.name}: no controller at {self.config.address} ({error}); is it on, in "
                "remote control, and does this computer reach that address?"
            ) from None

    def _close(self) -> None:
        for part in (self._control, self._receive):
            if part is not None:
                with contextlib.suppress(RuntimeError):  # it is gone
                    part.disconnect()
        self._control = self._receive = None

    def _enable(self) -> None:
        """Start the controller's program, which holds the arm, and its watchdog."""
        self._require_healthy()
        self._control = self._connected(self._rtde.control)
        if not self._control.setWatchdog(SLOWEST_HZ):
            raise RobotError(f"{self.name}: the controller does not take a watchdog")

    def _disable(self) -> None:
        """End the controller's program; its brakes or its own holding take over."""
        if self._control is not None:
            with self._losing():
                self._control.stopScript()
                self._control.disconnect()
            self._control = None

    def _read(self) -> dict[str, np.ndarray]:
        with self._losing():
            self._require_healthy()
            if self._control is not None:
                self._control.kickWatchdog()
            return {"pos": np.array(self._receive.getActualQ()), "vel": self._velocities()}

    def _write(self, positions: np.ndarray) -> np.ndarray:
        low, high = (np.array([getattr(j, e) for j in self.joints]) for e in ("lower", "upper"))
        sent, config = np.clip(positions, low, high), self.config
        with self._losing():
            self._control.kickWatchdog()
        with self._losing():
            taken = self._control.servoJ(
                sent.tolist(), 0.0, 0.0, config.period_s, config.lookahead_s, config.gain
            )
        if not taken:
            self._require_healthy()
            raise LostError(f"{self.name}: the controller's program takes no positions any more")
        return sent

    def _halt(self) -> None:
        """Slow down, and see that it comes to rest; LostError if something else moves it."""
        if self._control is None:
            return
        with self._losing():
            self._control.servoStop(DECELERATION)
            ends_s = self.clock() + STOPPING_S
            while np.abs(self._velocities()).max() > STILL:
                if self.clock() > ends_s:
                    self._control.stopScript()
                    raise LostError(
                        f"{self.name}: it still moves after a stop; does another program drive it?"
                    )
                self._control.kickWatchdog()
                self.clock.sleep(LOOK_S)

    @contextlib.contextmanager
    def _losing(self) -> Iterator[None]:
        """Make of what the package raises a LostError."""
        try:
            yield
        except RuntimeError as error:
            raise LostError(f"{self.name}: the controller does not answer: {error}") from error

    def _velocities(self) -> np.ndarray:
        return np.array(self._receive.getActualQd())

    def _require_healthy(self) -> None:
        """Raise LostError for a safety stop, a lost connection, and measurements that are old."""
        receive = self._receive
        if not receive.isConnected():
            raise LostError(f"{self.name}: the connection to {self.config.address} is lost")
        if receive.isEmergencyStopped():
            raise LostError(f"{self.name}: its emergency stop is pressed")
        if receive.isProtectiveStopped():
            raise LostError(f"{self.name}: protective stop; release it at the pendant")
        told_s, now_s = receive.getTimestamp(), self.clock()
        if told_s != self._newest[0]:
            self._newest = (told_s, now_s)
        elif now_s - self._newest[1] > OLD_S:
            raise LostError(f"{self.name}: nothing new for {now_s - self._newest[1]:.2f} s")


def ur(
    config: UrConfig,
    cameras: Mapping[str, Camera] | None = None,
    clock: Clock | None = None,
) -> Ur:
    """Make an arm of Universal Robots, which is not connected yet."""
    return Ur(config, cameras, clock)
