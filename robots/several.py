"""Several arms as one robot: two arms, with names such as ``left_elbow_flex.pos``, as in LeRobot.

What is asked of all is asked of each in order. If one fails, those that were asked before are
brought back to where they were: an arm is not left active beside one that is not. Stopping and
disconnecting reach every arm, whatever the others do.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from robolearn.errors import UserError
from robolearn.settings import Settings
from robots.arm_model import ArmModel, Stand, desk_arms
from robots.base import (
    JOINTS,
    BusError,
    Camera,
    Clock,
    Features,
    LifeCycle,
    LostError,
    Robot,
    RobotError,
    Values,
    vector,
)
from robots.commanding import exchanged
from robots.twin import Twin, TwinConfig

# The state of all is the first of these that any of them is in.
WORST_FIRST = (LifeCycle.ERROR, LifeCycle.UNCONFIGURED, LifeCycle.INACTIVE, LifeCycle.ACTIVE)


class Several:
    """A Robot of robots."""

    def __init__(
        self, robots: Mapping[str, Robot], name: str = "", arm: ArmModel | None = None
    ) -> None:
        """``robots`` by what their names begin with: ``{"left": ..., "right": ...}``.

        ``arm`` is a model of all, where they stand (``arm_model.desk_arms``): with it they are kept
        off each other, and their hands in a box. Raises UserError for fewer than two robots.
        """
        if len(robots) < 2:
            raise UserError("several: name two robots or more")
        self.robots = dict(robots)
        self.arm = arm
        self.name = name or "+".join(robot.name for robot in robots.values())
        self.joints = tuple(
            dataclasses.replace(joint, name=f"{side}_{joint.name}")
            for side, robot in self.robots.items()
            for joint in robot.joints
        )

    @property
    def arms(self) -> dict[str, Robot]:
        """Each arm by its name, as ``left``, in the order of the joints."""
        return {
            f"{side}_{name}" if name else side: arm
            for side, robot in self.robots.items()
            for name, arm in getattr(robot, "arms", {"": robot}).items()
        }

    @property
    def life_cycle(self) -> LifeCycle:
        """The worst of theirs."""
        states = {robot.life_cycle for robot in self.robots.values()}
        return next(state for state in WORST_FIRST if state in states)

    @property
    def observation_features(self) -> Features:
        """All of theirs."""
        return self._gathered(lambda robot: robot.observation_features)

    @property
    def action_features(self) -> Features:
        """All of theirs."""
        return self._gathered(lambda robot: robot.action_features)

    @property
    def is_connected(self) -> bool:
        """Whether all are."""
        return all(robot.is_connected for robot in self.robots.values())

    @property
    def is_calibrated(self) -> bool:
        """Whether all are."""
        return all(robot.is_calibrated for robot in self.robots.values())

    @property
    def calibrates(self) -> bool:
        """Whether there is anything to calibrate of any."""
        return any(getattr(robot, "calibrates", True) for robot in self.robots.values())

    @property
    def measured_s(self) -> Mapping[str, float]:
        """The oldest of the joints' times, and each camera's."""
        times = {side: dict(robot.measured_s) for side, robot in self.robots.items()}
        joints = [of.pop(JOINTS) for of in times.values() if JOINTS in of]
        cameras = {f"{side}_{name}": at for side, of in times.items() for name, at in of.items()}
        return ({JOINTS: min(joints)} if len(joints) == len(times) else {}) | cameras

    def connect(self, calibrate: bool = True) -> None:
        """Connect all, or none."""
        self._all_or_none(lambda robot: robot.connect(calibrate), lambda robot: robot.disconnect())

    def calibrate(self) -> None:
        """Calibrate one after the other."""
        for robot in self.robots.values():
            robot.calibrate()

    def configure(self) -> None:
        """Configure all."""
        for robot in self.robots.values():
            robot.configure()

    def activate(self) -> None:
        """Activate all, or none."""
        self._all_or_none(lambda robot: robot.activate(), lambda robot: robot.stop())

    def get_observation(self) -> Values:
        """Measure all."""
        return self._gathered(lambda robot: robot.get_observation())

    def send_action(self, action: Mapping[str, float]) -> dict[str, float]:
        """Send to each its part; nothing is sent if a part is wrong.

        Raises LostError where noise keeps a part from one after another has taken its own: nobody
        who begins anew from what all had before would be right.
        """
        vector(self.joints, action, f"{self.name}: action")
        sent: dict[str, float] = {}
        for side, robot in self.robots.items():
            part = {name: action[f"{side}_{name}"] for name in robot.action_features}
            try:
                given = exchanged(functools.partial(robot.send_action, part))
            except BusError as error:
                if sent:
                    raise LostError(f"{side}: {error}; the others have had their part") from error
                raise
            sent |= {f"{side}_{name}": value for name, value in given.items()}
        return sent

    def stop(self) -> None:
        """Stop every one; what fails comes out when all have been told."""
        self._every(lambda robot: robot.stop())

    def deactivate(self) -> None:
        """Let every one go."""
        self._every(lambda robot: robot.deactivate())

    def disconnect(self) -> None:
        """Disconnect every one."""
        self._every(lambda robot: robot.disconnect())

    def _gathered(self, ask: Callable[[Robot], Mapping]) -> dict:
        return {
            f"{side}_{name}": value
            for side, robot in self.robots.items()
            for name, value in ask(robot).items()
        }

    def _all_or_none(self, do: Callable[[Robot], None], undo: Callable[[Robot], None]) -> None:
        with contextlib.ExitStack() as back:
            for robot in self.robots.values():
                do(robot)
                back.callback(undo, robot)
            back.pop_all()

    def _every(self, do: Callable[[Robot], None]) -> None:
        faults = []
        for side, robot in self.robots.items():
            try:
                do(robot)
            except Exception as error:  # the others are reached whatever it is
                faults.append((side, error))
        if faults:
            side, error = faults[0]
            kind = type(error) if isinstance(error, RobotError) else RobotError
            raise kind(f"{side}: {error}") from error


@dataclass(frozen=True)
class TwoTwinsConfig(Settings):
    """Two desk arms side by side."""

    left: TwinConfig = TwinConfig()
    """The one."""
    right: TwinConfig = TwinConfig(seed=1)
    """The other; they go through each other, but for the guard."""
    left_stand: Stand = Stand((0.0, 0.2, 0.0))
    """Where the one stands."""
    right_stand: Stand = Stand((0.0, -0.2, 0.0))
    """Where the other does."""


def two_twins(
    config: TwoTwinsConfig, cameras: Mapping[str, Camera] | None = None, clock: Clock | None = None
) -> Several:
    """Make two twins as one robot, with a model of both if they are desk arms."""
    if cameras:
        raise UserError(f"two_twins: camera '{min(cameras)}' cannot see what is simulated")
    pair = {"left": Twin(config.left, clock), "right": Twin(config.right, clock)}
    desk = config.left.world == config.right.world == "desk"
    stands = {"left": config.left_stand, "right": config.right_stand}
    return Several(pair, "two_twins", desk_arms(stands) if desk else None)
