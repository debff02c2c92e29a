"""Starts with the hand at an object, from which grasping is learnt sooner than from afar."""

from __future__ import annotations

import mujoco
import numpy as np

from sim.tabletop.arm import Arm, empty_pose, forward, inverse
from sim.tabletop.model import ARM_JOINTS, Kind
from sim.tabletop.physics import ROBOT_JOINTS

ABOVE_M = 0.12  # up to which a hand begins above where it would grasp
ASIDE_M, TURNED_RAD = 0.012, 0.1  # and how far beside that; less than the fingers leave free
HELD_M = 0.2  # up to which an object in the hand begins above the table
BELOW_TOP_M = 0.025  # of the hand when it grasps
SOLVES = 12  # of the inverse kinematics, from home


def open_hand_at(
    data: mujoco.MjData, arm: Arm, pose: np.ndarray, kind: Kind, rng: np.random.Generator
) -> None:
    """Put the open hand around or above an object, whose ``pose`` [7] is a view of ``data.qpos``.

    The object stands upright on the table.
    """
    aside = np.append(rng.uniform(-ASIDE_M, ASIDE_M, 2), rng.uniform(0, ABOVE_M))
    _move_hand(
        data,
        arm,
        pose[:3] + _grasp(kind) + aside,
        _yaw(pose, kind) + rng.uniform(-1, 1) * TURNED_RAD,
    )


def closed_hand_with(
    data: mujoco.MjData, arm: Arm, pose: np.ndarray, kind: Kind, rng: np.random.Generator
) -> None:
    """Put an object into the closed hand, up to HELD_M above its place."""
    hand = _move_hand(
        data, arm, pose[:3] + _grasp(kind) + (0, 0, rng.uniform(0, HELD_M)), _yaw(pose, kind)
    )
    pose[:3] = hand - _grasp(kind)
    data.qpos[ARM_JOINTS:ROBOT_JOINTS] = kind.radius_m, -kind.radius_m
    data.ctrl[ARM_JOINTS:ROBOT_JOINTS] = 0.0


def _move_hand(data: mujoco.MjData, arm: Arm, target: np.ndarray, yaw: float) -> np.ndarray:
    """Put the hand at a place [3] and return where it really is."""
    q, pose = data.qpos[:ARM_JOINTS].copy(), empty_pose()
    for _ in range(SOLVES):
        inverse(arm, q, target, yaw, pose)
    data.qpos[:ARM_JOINTS] = data.ctrl[:ARM_JOINTS] = q
    forward(arm, q, pose)
    return pose.pos


def _grasp(kind: Kind) -> np.ndarray:
    """Give where the hand grasps, from the object's centre."""
    return np.array([0.0, 0.0, kind.half_height_m - BELOW_TOP_M])


def _yaw(pose: np.ndarray, kind: Kind) -> float:
    """Give the yaw nearest to 0 at which the fingers close on flat or free sides."""
    if kind.symmetry == 0:
        return 0.0
    turn = 2 * np.pi / (kind.symmetry * (1 + kind.symmetry % 2))  # the gripper's own half turn
    yaw = 2 * np.arctan2(pose[6], pose[3])
    return (yaw + turn / 2) % turn - turn / 2
