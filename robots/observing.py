"""What a robot's observations are made of, and what they are called."""

from __future__ import annotations

from collections.abc import Mapping

import gymnasium
import mujoco
import numpy as np

from robolearn.errors import UserError, nearest
from robolearn.types import ArraySpec, Spec
from robots.arm_model import ArmModel
from robots.base import Robot


def state_parts(
    asked: tuple[str, ...] | None, robot: Robot, arm: ArmModel | None
) -> tuple[str, ...]:
    """Say what "state" consists of: quantities, the hand, or an array that the robot gives."""
    if asked is None:
        if np.ndarray in robot.observation_features.values():
            return ("state",)
        return ("pos", "hand") if _has_one_hand(arm) else ("pos",)
    first = robot.joints[0].name
    known = [q for q in ("pos", "vel", "effort") if f"{first}.{q}" in robot.observation_features]
    known += ["hand"] if _has_one_hand(arm) else []
    for part in asked:
        if part not in known:
            raise UserError(f"state: {robot.name} has no '{part}'{nearest(part, known)}")
    return asked


def _has_one_hand(arm: ArmModel | None) -> bool:
    return arm is not None and len(arm.hands) == 1


def described(part: str, robot: Robot) -> tuple[list[str], list[str]]:
    """Give the names and units of a part of the state."""
    if part == "hand":
        names = [f"hand_pos_{axis}" for axis in "xyz"] + [f"hand_quat_{axis}" for axis in "wxyz"]
        return names, ["m"] * 3 + ["1"] * 4
    if part in ("pos", "vel", "effort"):
        units = {"pos": "", "vel": "/s", "effort": " effort"}
        return (
            [f"{joint.name}_{part}" for joint in robot.joints],
            [joint.unit + units[part] for joint in robot.joints],
        )
    names, units = robot.world.names()[part]
    return list(names), list(units)


def image_specs(robot: Robot) -> dict[str, ArraySpec]:
    """Give what its cameras' images are."""
    return {
        name: ArraySpec(feature, "uint8")
        for name, feature in robot.observation_features.items()
        if isinstance(feature, tuple)
    }


def spaces(interface: Spec) -> tuple[gymnasium.spaces.Dict, gymnasium.spaces.Box]:
    """Give gymnasium's spaces of observations and actions."""
    boxes = {
        name: gymnasium.spaces.Box(0, 255, spec.shape, np.uint8)
        if spec.dtype == "uint8"
        else gymnasium.spaces.Box(-np.inf, np.inf, spec.shape, np.float32)
        for name, spec in interface.observations.items()
    }
    action = gymnasium.spaces.Box(-1, 1, interface.action.shape, np.float32)
    return gymnasium.spaces.Dict(boxes), action


def reset_pose(
    asked: Mapping[str, float] | None, robot: Robot, arm: ArmModel | None
) -> np.ndarray | None:
    """Give the positions [J] in which an episode begins; None: as the arm is."""
    if asked is None:
        return None if arm is None else arm.home
    known = [joint.name for joint in robot.joints]
    for name in asked:
        if name not in known:
            raise UserError(f"reset_pose: no joint '{name}'{nearest(name, known)}")
    for name in known:
        if name not in asked:
            raise UserError(f"reset_pose: joint '{name}' is missing")
    return np.array([asked[name] for name in known], np.float64)


def wxyz(rotation: np.ndarray) -> np.ndarray:
    """Give a quaternion of a rotation [3, 3]; of its two signs one."""
    quaternion = np.empty(4)
    mujoco.mju_mat2Quat(quaternion, rotation.reshape(-1))
    return quaternion
