"""Where the hand is, and which joint positions bring it to a target: compiled.

Inverse kinematics is damped least squares (Nakamura and Hanafusa 1986; Wampler 1986),

    dq = J^T (J J^T + lambda^2 I)^-1 (e - J n) + n,    n = (0, 0, -k q_3, 0, 0, 0, 0),

with the six errors e of the hand's position and rotation. The pull n acts where the hand does not
feel it: with its third joint at zero the arm stays in a vertical plane, so that every place of a
hand that points down has one posture and the elbow does not wander.
"""

from __future__ import annotations

from typing import NamedTuple

import mujoco
import numpy as np
from numba import njit

from sim.tabletop.model import ARM_JOINTS, HAND_SITE

ITERATIONS = 3
LAMBDA = 0.01  # the smaller the more exact, the larger the calmer where the arm is stretched
ELBOW_PULL = 0.3  # k
ELBOW = 2  # index of the third joint

Vector = tuple[float, float, float]
Axes = tuple[Vector, Vector, Vector]


class Arm(NamedTuple):
    """A chain of hinges about their own z axes, from the world to the hand."""

    base_pos: np.ndarray  # [3]
    base_rot: np.ndarray  # [3, 3]
    offsets: np.ndarray  # [7, 3] of each joint in the frame before it
    turns: np.ndarray  # [7, 3, 3]
    hand_offset: np.ndarray  # [3] in the last joint's frame
    hand_turn: np.ndarray  # [3, 3]
    low: np.ndarray  # [7] joint limits, rad
    high: np.ndarray  # [7]


class Pose(NamedTuple):
    """Scratch space that ``forward`` fills."""

    points: np.ndarray  # [7, 3] of the joints
    axes: np.ndarray  # [7, 3]
    pos: np.ndarray  # [3] of the hand
    rot: np.ndarray  # [3, 3] of the hand: x closes the fingers, z points out of the palm


def arm_of(model: mujoco.MjModel) -> Arm:
    """Read the chain from a model."""
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    links = [model.body(f"link{i + 1}") for i in range(ARM_JOINTS)]
    base, last, hand = data.body("link0"), data.body(f"link{ARM_JOINTS}"), data.site(HAND_SITE)
    last_rot = last.xmat.reshape(3, 3)
    limits = model.jnt_range[:ARM_JOINTS]
    return Arm(
        base_pos=base.xpos.copy(),
        base_rot=base.xmat.reshape(3, 3).copy(),
        offsets=np.array([link.pos for link in links]),
        turns=np.array([_matrix(link.quat) for link in links]),
        hand_offset=last_rot.T @ (hand.xpos - last.xpos),
        hand_turn=np.ascontiguousarray(last_rot.T @ hand.xmat.reshape(3, 3)),
        low=limits[:, 0].copy(),
        high=limits[:, 1].copy(),
    )


def _matrix(quat: np.ndarray) -> np.ndarray:
    matrix = np.zeros(9)
    mujoco.mju_quat2Mat(matrix, quat)
    return matrix.reshape(3, 3)


# ------------------------------------------------------------------------------------ compiled code
# Entry by entry: with whole arrays and slices, all of it takes numba nearly three times as long.


@njit(cache=True, error_model="numpy")
def empty_pose() -> Pose:
    """Allocate what ``forward`` fills."""
    return Pose(np.empty((ARM_JOINTS, 3)), np.empty((ARM_JOINTS, 3)), np.empty(3), np.empty((3, 3)))


@njit(cache=True, error_model="numpy")
def forward(arm: Arm, q: np.ndarray, pose: Pose) -> None:
    """Write where joints and hand are at joint positions ``q`` [7]."""
    pos, rot, turned = pose.pos, pose.rot, np.empty((3, 3))
    _copy(arm.base_pos, arm.base_rot, pos, rot)
    for j in range(ARM_JOINTS):
        _follow(pos, rot, arm.offsets[j], arm.turns[j], turned)
        cos, sin = np.cos(q[j]), np.sin(q[j])
        for r in range(3):
            pose.points[j, r], pose.axes[j, r] = pos[r], turned[r, 2]
            rot[r, 0] = cos * turned[r, 0] + sin * turned[r, 1]
            rot[r, 1] = cos * turned[r, 1] - sin * turned[r, 0]
            rot[r, 2] = turned[r, 2]
    _follow(pos, rot, arm.hand_offset, arm.hand_turn, turned)
    _copy(pos, turned, pos, rot)


@njit(cache=True, error_model="numpy")
def yaw_of(rot: np.ndarray) -> float:
    """Give the yaw of a hand that points down: 0 where the fingers close along the world's y."""
    return np.arctan2(rot[1, 1], rot[0, 1])


@njit(cache=True, error_model="numpy")
def inverse(arm: Arm, q: np.ndarray, target: np.ndarray, yaw: float, pose: Pose) -> None:
    """Move joint positions ``q`` [7] so that the hand comes to ``target`` [3], pointing down."""
    cos, sin = np.cos(yaw), np.sin(yaw)
    wanted = ((-sin, cos, 0.0), (cos, sin, 0.0), (0.0, 0.0, -1.0))
    error, jacobian, square = np.empty(6), np.empty((6, ARM_JOINTS)), np.empty((6, 6))
    for _ in range(ITERATIONS):
        forward(arm, q, pose)
        _error(pose, target, wanted, error)
        _jacobian(pose, jacobian)
        _damped_step(q, jacobian, square, error)
    for j in range(ARM_JOINTS):
        q[j] = min(max(q[j], arm.low[j]), arm.high[j])


@njit(error_model="numpy")
def _copy(
    from_pos: np.ndarray, from_rot: np.ndarray, to_pos: np.ndarray, to_rot: np.ndarray
) -> None:
    """Copy a frame."""
    for r in range(3):
        to_pos[r] = from_pos[r]
        for c in range(3):
            to_rot[r, c] = from_rot[r, c]


@njit(error_model="numpy")
def _follow(
    pos: np.ndarray, rot: np.ndarray, offset: np.ndarray, turn: np.ndarray, turned: np.ndarray
) -> None:
    """Go to the next frame: moves ``pos``, writes its rotation to ``turned``."""
    for r in range(3):
        pos[r] += rot[r, 0] * offset[0] + rot[r, 1] * offset[1] + rot[r, 2] * offset[2]
        for c in range(3):
            turned[r, c] = rot[r, 0] * turn[0, c] + rot[r, 1] * turn[1, c] + rot[r, 2] * turn[2, c]


@njit(error_model="numpy")
def _cross(a: np.ndarray, b: Vector) -> Vector:
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


@njit(error_model="numpy")
def _error(pose: Pose, target: np.ndarray, wanted: Axes, error: np.ndarray) -> None:
    """Write the way to the target [3] and the small rotation to it, (sum of r x r*) / 2 [3]."""
    for k in range(3):
        error[k], error[3 + k] = target[k] - pose.pos[k], 0.0
    for axis in range(3):
        x, y, z = _cross(pose.rot[:, axis], wanted[axis])
        error[3] += 0.5 * x
        error[4] += 0.5 * y
        error[5] += 0.5 * z


@njit(error_model="numpy")
def _jacobian(pose: Pose, jacobian: np.ndarray) -> None:
    for j in range(ARM_JOINTS):
        pos, point, axis = pose.pos, pose.points[j], pose.axes[j]
        lever = (pos[0] - point[0], pos[1] - point[1], pos[2] - point[2])
        jacobian[0, j], jacobian[1, j], jacobian[2, j] = _cross(axis, lever)
        for k in range(3):
            jacobian[3 + k, j] = axis[k]


@njit(error_model="numpy")
def _damped_step(
    q: np.ndarray, jacobian: np.ndarray, square: np.ndarray, error: np.ndarray
) -> None:
    """Add dq to ``q``; uses up ``error`` and ``square``."""
    pull = -ELBOW_PULL * q[ELBOW]
    for r in range(6):
        error[r] -= jacobian[r, ELBOW] * pull
        for c in range(r + 1):
            square[r, c] = LAMBDA * LAMBDA if r == c else 0.0
            for j in range(ARM_JOINTS):
                square[r, c] += jacobian[r, j] * jacobian[c, j]
    _solve(square, error)
    q[ELBOW] += pull
    for j in range(ARM_JOINTS):
        for r in range(6):
            q[j] += jacobian[r, j] * error[r]


@njit(error_model="numpy")
def _solve(matrix: np.ndarray, x: np.ndarray) -> None:
    """Solve ``matrix x' = x`` in place by Cholesky's factors; only the lower half is looked at."""
    n = len(x)
    for r in range(n):
        for c in range(r + 1):
            rest = matrix[r, c]
            for k in range(c):
                rest -= matrix[r, k] * matrix[c, k]
            matrix[r, c] = np.sqrt(rest) if r == c else rest / matrix[c, c]
        for k in range(r):
            x[r] -= matrix[r, k] * x[k]
        x[r] /= matrix[r, r]
    for r in range(n - 1, -1, -1):
        for k in range(r + 1, n):
            x[r] -= matrix[k, r] * x[k]
        x[r] /= matrix[r, r]
