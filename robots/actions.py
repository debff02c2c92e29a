"""What an action in [-1, 1] means on a robot: positions of joints, one for each servo period.

- ``joints``: where each joint is to be, -1 its lower and 1 its upper end.
- ``joint_steps``: how far each joint is to go in a control period.
- ``pose``: the hand's motion and the gripper, as robosuite's OSC_POSE controller has it, for arms
  that are commanded by joint. The hand goes as that controller makes it go where nothing resists:
  x'' = kp (goal - x) - 2 sqrt(kp) x', and the joints follow by damped least squares.

A plan goes on from the last commands, not from what was measured: noise stays out of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import pydantic
from scipy.spatial.transform import Rotation

from robolearn.errors import UserError
from robolearn.settings import Settings
from robolearn.types import ArraySpec
from robots.arm_model import ArmModel
from robots.base import Joint, Kind

POSE = ("dx", "dy", "dz", "drx", "dry", "drz")
SUBSTEPS = 5  # of the hand's equation of motion in a servo period
DAMPING = 0.02  # of the least squares, in metres and radians
FEW_JOINTS = 0.03  # weight (m/rad) of the hand's orientation where joints are too few for both
CLOSER = 2.0  # share of the gripper's opening per second that a gripper entry of 1 closes


@dataclass(frozen=True)
class ActionConfig(Settings):
    """What an action is."""

    kind: Literal["joints", "joint_steps", "pose"] = "joint_steps"
    """See ``robots.actions``."""
    step_rad: pydantic.PositiveFloat = 0.05
    """Of ``joint_steps``: what 1 is, per control period; of a gripper, as a share of its range."""
    move_m: pydantic.PositiveFloat = 0.05
    """Of ``pose``: what 1 is in metres."""
    turn_rad: pydantic.PositiveFloat = 0.5
    """Of ``pose``: what 1 is in radians."""
    stiffness: pydantic.PositiveFloat = 150.0
    """Of ``pose``: kp, 1/s^2."""


class Actions(Protocol):
    """One meaning of actions."""

    spec: ArraySpec

    def begin(self, positions: np.ndarray) -> None:
        """Begin an episode where the commands are, [J]."""

    def plan(self, action: np.ndarray, commanded: np.ndarray, ticks: int) -> np.ndarray:
        """Give targets [ticks, J] for an action [A], after the last commands [J]."""


def make_actions(
    config: ActionConfig, joints: Sequence[Joint], arm: ArmModel | None, tick_s: float
) -> Actions:
    """Make what the configuration says; UserError for ``pose`` without a model of the arm."""
    if config.kind == "joints":
        return JointPositions(joints)
    if config.kind == "joint_steps":
        return JointSteps(joints, config.step_rad)
    if arm is None:
        raise UserError("actions: pose needs a model of the arm; use joints or joint_steps")
    if len(arm.hands) > 1:
        raise UserError("actions: pose moves one hand only; use joints or joint_steps")
    return HandMotion(config, arm, tick_s)


class JointPositions:
    """Absolute positions."""

    def __init__(self, joints: Sequence[Joint]) -> None:
        low, high = (np.array([getattr(j, end) for j in joints]) for end in ("lower", "upper"))
        self._middle, self._half = (low + high) / 2, (high - low) / 2
        self.spec = ArraySpec(
            (len(joints),),
            names=tuple(joint.name for joint in joints),
            units=tuple(joint.unit for joint in joints),
            scale=tuple(self._half.tolist()),
        )

    def begin(self, positions: np.ndarray) -> None:
        """Begin at the present target."""
        self._target = positions

    def plan(self, action: np.ndarray, commanded: np.ndarray, ticks: int) -> np.ndarray:
        """Go from the last target to the next in a straight line, evenly."""
        last, self._target = self._target, self._middle + self._half * action
        return _line(last, self._target, ticks)


class JointSteps:
    """Steps from the last target, which are then not lost when the filter slows the arm."""

    def __init__(self, joints: Sequence[Joint], step: float) -> None:
        self._low, self._high = (
            np.array([getattr(j, end) for j in joints]) for end in ("lower", "upper")
        )
        scale = [step * (j.upper - j.lower if j.kind is Kind.GRIPPER else 1.0) for j in joints]
        self._scale = np.array(scale)
        self.spec = ArraySpec(
            (len(joints),),
            names=tuple(
                "gripper" if joint.kind is Kind.GRIPPER else f"dq_{joint.name}" for joint in joints
            ),
            units=tuple(joint.unit for joint in joints),
            scale=tuple(scale),
        )

    def begin(self, positions: np.ndarray) -> None:
        """Begin at the present target."""
        self._target = positions

    def plan(self, action: np.ndarray, commanded: np.ndarray, ticks: int) -> np.ndarray:
        """Go one step further, evenly; not so far ahead that the arm would not come to it soon."""
        most = 2 * self._scale
        target = np.clip(self._target, commanded - most, commanded + most)
        self._target = np.clip(target + self._scale * action, self._low, self._high)
        return _line(target, self._target, ticks)


class HandMotion:
    """The hand's pose, as an ideal OSC_POSE controller moves it, and a gripper."""

    def __init__(self, config: ActionConfig, arm: ArmModel, tick_s: float) -> None:
        self._config, self._arm, self._tick_s = config, arm, tick_s
        self._grippers = [j for j, joint in enumerate(arm.joints) if joint.kind is Kind.GRIPPER]
        grips = ("gripper",) if self._grippers else ()
        few = len(arm.joints) - len(self._grippers) < 6  # such an arm cannot have every pose
        self._weight = np.array([1.0] * 3 + [FEW_JOINTS if few else 1.0] * 3)
        scale = (config.move_m,) * 3 + (config.turn_rad,) * 3 + (1.0,) * len(grips)
        self.spec = ArraySpec(
            (len(scale),),
            names=(*POSE, *grips),
            units=("m",) * 3 + ("rad",) * 3 + ("",) * len(grips),
            scale=scale,
        )

    def begin(self, positions: np.ndarray) -> None:
        """Begin at rest."""
        self._q = positions.copy()
        self._moving = np.zeros(6)  # the hand's velocity, m/s and rad/s

    def plan(self, action: np.ndarray, commanded: np.ndarray, ticks: int) -> np.ndarray:
        """Move the hand for a control period; the joints follow tick by tick."""
        arm_joints = [j for j in range(len(self._q)) if j not in self._grippers]
        if np.abs(self._q[arm_joints] - commanded[arm_joints]).max() > 0.1:  # it was held back
            self._q, self._moving = commanded.copy(), np.zeros(6)
        here, turned = self._arm.hand_pose(self._q)
        goal = here + self._config.move_m * action[:3]
        goal_turn = Rotation.from_rotvec(self._config.turn_rad * action[3:6])
        goal_turned = goal_turn * Rotation.from_matrix(turned)
        targets = np.empty((ticks, len(self._q)))
        for k in range(ticks):
            self._follow(goal, goal_turned)
            for j in self._grippers:
                closing = CLOSER * self._tick_s * np.sign(action[6])
                self._q[j] = np.clip(self._q[j] - closing, 0.0, 1.0)
            targets[k] = self._q
        return targets

    def _follow(self, goal: np.ndarray, goal_turned: Rotation) -> None:
        """Take the hand one tick towards its goal, and the joints with it."""
        here, turned = self._arm.hand_pose(self._q)
        rotation = Rotation.from_matrix(turned)
        error = np.concatenate([goal - here, (goal_turned * rotation.inv()).as_rotvec()])
        moved, step_s = np.zeros(6), self._tick_s / SUBSTEPS
        kp = self._config.stiffness
        for _ in range(SUBSTEPS):
            self._moving += step_s * (kp * (error - moved) - 2 * np.sqrt(kp) * self._moving)
            moved += step_s * self._moving
        jacobian = self._weight[:, None] * self._arm.jacobian(self._q)
        moved *= self._weight
        damped = jacobian @ jacobian.T + DAMPING**2 * np.eye(6)
        self._q = self._q + jacobian.T @ np.linalg.solve(damped, moved)
        low = [joint.lower for joint in self._arm.joints]
        high = [joint.upper for joint in self._arm.joints]
        self._q = np.clip(self._q, low, high)


def _line(start: np.ndarray, end: np.ndarray, ticks: int) -> np.ndarray:
    """Give the way from after ``start`` to ``end`` [ticks, J]."""
    shares = np.arange(1, ticks + 1)[:, None] / ticks
    return start + shares * (end - start)
