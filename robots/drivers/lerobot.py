"""Any robot of LeRobot, as one of ours, where that package is installed.

Tried against a stand-in of its interface only (``robots.emulators.stand_ins``): LeRobot needs other
versions of Python and PyTorch than this project has. Its joints are in degrees, or in shares of
their calibrated range from -100 to 100, grippers from 0 to 100; here they are in radians and in
shares of the opening. It must have been calibrated with LeRobot. LeRobot has no stop: here the arm
is sent where it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from pydantic import PositiveFloat

from robolearn.errors import UserError
from robolearn.names import load_own
from robolearn.settings import Settings
from robots.base import BusError, Camera, Clock, Driver, Joint, Kind, LostError, RobotError
from robots.clocks import RealClock
from robots.servos.bus import package

TURN = 4096  # steps
GRIPPER = "gripper"


@dataclass(frozen=True)
class LerobotConfig(Settings):
    """Which robot of LeRobot."""

    type: str = "so101_follower"
    """As LeRobot calls it, or ``module:function`` of one's own, which makes one of ``options``."""
    options: dict[str, Any] = field(default_factory=dict)
    """Of LeRobot's own configuration: ``{port: /dev/ttyACM0, id: my_arm}``."""
    units: Literal["degrees", "shares"] = "shares"
    """"degrees" where its option ``use_degrees`` is true."""
    velocity: PositiveFloat = 3.0
    """The largest of its joints, rad/s."""


class Lerobot(Driver):
    """A Robot; see the module."""

    name = "lerobot"

    def __init__(
        self,
        config: LerobotConfig,
        cameras: Mapping[str, Camera] | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Make LeRobot's robot, which is not connected yet; its cameras are its own affair."""
        super().__init__(cameras, clock or RealClock())
        self.config = config
        self._robot = _make(config)
        names = [name.removesuffix(".pos") for name in self._robot.action_features]
        self.joints = tuple(self._joint(name) for name in names)
        unit = [
            np.radians(1.0) if config.units == "degrees" else j.upper / 100 for j in self.joints
        ]
        grips = np.array([joint.kind is Kind.GRIPPER for joint in self.joints])
        self._unit = np.where(grips, 0.01, unit)  # [J], ours per theirs

    def _joint(self, name: str) -> Joint:
        velocity = self.config.velocity
        if name == GRIPPER:
            return Joint(name, Kind.GRIPPER, 0.0, 1.0, velocity, 10 * velocity, 500 * velocity)
        entry = self._robot.calibration.get(name)
        if entry is None:
            raise RobotError(
                f"{self.name}: {self.config.type} has no calibration of {name}; calibrate it with "
                "lerobot-calibrate, and give its id in options"
            )
        half = np.pi * (entry.range_max - entry.range_min) / TURN
        return Joint(name, Kind.REVOLUTE, -half, half, velocity, 10 * velocity, 500 * velocity)

    @property
    def is_calibrated(self) -> bool:
        """Whether the calibration is in the motors too."""
        return bool(self._robot.is_calibrated)

    def _open(self) -> None:
        try:
            self._robot.connect(calibrate=False)
        except (OSError, RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            what = f"{self.name}: {self.config.type} does not connect"
            raise RobotError(f"{what}: {reason}") from None

    def _close(self) -> None:
        if self._robot.is_connected:
            self._robot.disconnect()

    def _calibrate(self) -> None:
        self._robot.calibrate()

    def _enable(self) -> None:
        self._halt()
        self._torque("enable_torque")

    def _disable(self) -> None:
        self._torque("disable_torque")

    def _torque(self, what: str) -> None:
        """Call this of its bus, if it has one; robots without one cannot be let go."""
        change = getattr(getattr(self._robot, "bus", None), what, None)
        if change is not None:
            self._call(change)

    def _read(self) -> dict[str, np.ndarray]:
        values = self._call(self._robot.get_observation)
        return {"pos": np.array([values[f"{j.name}.pos"] for j in self.joints]) * self._unit}

    def _write(self, positions: np.ndarray) -> np.ndarray:
        theirs = positions / self._unit
        action = {f"{j.name}.pos": float(v) for j, v in zip(self.joints, theirs, strict=True)}
        sent = self._call(lambda: self._robot.send_action(action))
        return np.array([sent[f"{j.name}.pos"] for j in self.joints]) * self._unit

    def _halt(self) -> None:
        self._write(self._read()["pos"])

    def _call(self, call: Any) -> Any:
        """Call LeRobot; BusError where its bus failed, LostError where the port is gone."""
        try:
            return call()
        except ConnectionError as error:
            raise BusError(f"{self.name}: {str(error).splitlines()[0]}") from None
        except OSError as error:
            raise LostError(f"{self.name}: unplugged? ({error})") from None


def _make(config: LerobotConfig) -> Any:
    if ":" in config.type:
        return load_own(config.type, "lerobot.type")(**config.options)
    robots = package("lerobot.robots", "lerobot", "lerobot")
    package(f"lerobot.robots.{config.type}", "lerobot", "lerobot")  # which registers its settings
    try:
        settings = robots.RobotConfig.get_choice_class(config.type)(**config.options)
    except (KeyError, TypeError) as error:
        raise UserError(f"lerobot: {config.type}: {error}") from None
    return robots.make_robot_from_config(settings)


def lerobot(
    config: LerobotConfig,
    cameras: Mapping[str, Camera] | None = None,
    clock: Clock | None = None,
) -> Lerobot:
    """Make a robot of LeRobot, which is not connected yet."""
    return Lerobot(config, cameras, clock)
