"""Operational space control (Khatib 1987), compiled, to the last bit robosuite's.

    F      = kp * (x_goal - x) - kd * (v - v_base)          desired acceleration of the hand
    tau    = J^T Lambda F + N^T M (kp_0 (q_0 - q) - kd_0 qd) + bias
    Lambda = (J M^-1 J^T)^-1,   N = I - M^-1 J^T Lambda J

Contacts magnify a rounding difference by orders of magnitude within one control step, and a second
later two simulations that began alike no longer are. Every product here is therefore formed in the
order, the memory layout and the precision in which robosuite forms it; the comments say where that
is not what one would write otherwise.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from sim.engine.lapack import Lapack, apply, invert, multiply, pseudo_invert
from sim.engine.mujoco import Simulation, mass_matrix, site_jacobian

NULLSPACE_KP = 10.0  # robosuite's fixed gain towards the initial joint position (1/s^2)
NULLSPACE_KD = math.sqrt(NULLSPACE_KP) * 2.0  # critically damped (1/s)


# ------------------------------------------------------------------------------------------- goals


@njit(error_model="numpy")
def delta_rotation(vector: np.ndarray) -> np.ndarray:
    """Give the rotation [3, 3] of an axis-angle vector [3] (rad).

    robosuite makes the quaternion in double precision and the matrix in single.
    """
    angle = math.sqrt(np.dot(vector, vector))  # as ``np.linalg.norm``
    q = np.zeros(4, np.float32)  # wxyz
    q[0] = 1.0
    if angle > 0.0:
        q[0] = math.cos(angle / 2.0)
        for i in range(3):
            q[i + 1] = vector[i] / angle * math.sin(angle / 2.0)
    scale = math.sqrt(2.0 / np.dot(q, q))
    for i in range(4):
        q[i] = q[i] * scale
    rotation = np.empty((3, 3))
    for i in range(3):
        j, k = (i + 1) % 3 + 1, (i + 2) % 3 + 1
        first, second = q[min(j, k)], q[max(j, k)]  # the smaller index is subtracted first
        rotation[i, i] = 1.0 - first * first - second * second
        rotation[j - 1, k - 1] = q[j] * q[k] - q[i + 1] * q[0]
        rotation[k - 1, j - 1] = q[j] * q[k] + q[i + 1] * q[0]
    return rotation


@njit(error_model="numpy")
def _norm(vector: np.ndarray) -> float:
    return math.sqrt(vector[0] ** 2 + vector[1] ** 2 + vector[2] ** 2)


@njit(error_model="numpy")
def absolute_rotation(vector: np.ndarray) -> np.ndarray:
    """Give the rotation [3, 3] of an axis-angle vector [3] (rad), as scipy does."""
    angle = _norm(vector)
    if angle <= 1e-3:
        scale = 0.5 - angle**2 / 48.0 + angle**4 / 3840.0
    else:
        scale = math.sin(angle / 2.0) / angle
    x, y, z, w = scale * vector[0], scale * vector[1], scale * vector[2], math.cos(angle / 2.0)
    xx, yy, zz, ww = x * x, y * y, z * z, w * w
    rotation = np.empty((3, 3))
    rotation[0, 0], rotation[1, 1] = xx - yy - zz + ww, -xx + yy - zz + ww
    rotation[2, 2] = -xx - yy + zz + ww
    rotation[1, 0], rotation[0, 1] = 2.0 * (x * y + z * w), 2.0 * (x * y - z * w)
    rotation[2, 0], rotation[0, 2] = 2.0 * (x * z - y * w), 2.0 * (x * z + y * w)
    rotation[2, 1], rotation[1, 2] = 2.0 * (y * z + x * w), 2.0 * (y * z - x * w)
    return rotation


@njit(error_model="numpy")
def in_base_frame(
    position: np.ndarray,
    rotation: np.ndarray,
    base_pos: np.ndarray,
    base_rotation: np.ndarray,
    lapack: Lapack,
) -> tuple[np.ndarray, np.ndarray]:
    """Give a world pose ([3] m, [3, 3]) in the frame of the arm's base.

    robosuite moves the position as a pose without rotation, and the rotation with its position,
    both as products of homogeneous matrices; the inverse rotation it writes out row by row first.
    """
    back, moved = np.ascontiguousarray(base_rotation.T), np.empty(3)
    apply(back, False, base_pos, moved, lapack)
    inverse, point, pose = np.zeros((4, 4)), np.zeros((4, 4)), np.zeros((4, 4))
    for i in range(3):
        inverse[i, 3] = -moved[i]
        point[i, i], point[i, 3], pose[i, 3] = 1.0, position[i], position[i]
        for j in range(3):
            inverse[i, j], pose[i, j] = back[i, j], rotation[i, j]
    inverse[3, 3] = point[3, 3] = pose[3, 3] = 1.0
    point_inside, pose_inside = np.empty((4, 4)), np.empty((4, 4))
    multiply(inverse, False, point, False, point_inside, lapack)
    multiply(inverse, False, pose, False, pose_inside, lapack)
    inside, turned = np.empty(3), np.empty((3, 3))
    for i in range(3):
        inside[i] = point_inside[i, 3]
        for j in range(3):
            turned[i, j] = pose_inside[i, j]
    return inside, turned


# ----------------------------------------------------------------------------------------- torques


@njit(error_model="numpy")
def arm_mass(sim: Simulation, dofs: np.ndarray) -> np.ndarray:
    """Give the arm's mass matrix [J, J] (kg m^2); it is exactly symmetric."""
    full = np.empty((len(sim.qvel), len(sim.qvel)))
    mass_matrix(sim, full)
    mass = np.empty((len(dofs), len(dofs)))
    for i in range(len(dofs)):
        for j in range(len(dofs)):
            mass[i, j] = full[dofs[i], dofs[j]]
    return mass


@njit(error_model="numpy")
def hand_motion(
    sim: Simulation, site: int, base_site: int, dofs: np.ndarray, lapack: Lapack
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give the hand's Jacobian [6, J] and its velocities [3] (m/s), [3] (rad/s) against the base.

    ``base_site`` is -1 for a base that cannot move.
    """
    jac_pos, jac_rot = np.empty((3, len(sim.qvel))), np.empty((3, len(sim.qvel)))
    site_jacobian(sim, site, jac_pos, jac_rot)
    jacobian = np.empty((6, len(dofs)))
    for i in range(3):
        for j in range(len(dofs)):
            jacobian[i, j] = jac_pos[i, dofs[j]]
            jacobian[i + 3, j] = jac_rot[i, dofs[j]]
    linear, angular = np.empty(3), np.empty(3)
    apply(jac_pos, False, sim.qvel, linear, lapack)
    apply(jac_rot, False, sim.qvel, angular, lapack)
    if base_site >= 0:
        site_jacobian(sim, base_site, jac_pos, jac_rot)
        base_linear, base_angular = np.empty(3), np.empty(3)
        apply(jac_pos, False, sim.qvel, base_linear, lapack)
        apply(jac_rot, False, sim.qvel, base_angular, lapack)
        for i in range(3):
            linear[i] -= base_linear[i]
            angular[i] -= base_angular[i]
    return jacobian, linear, angular


@njit(error_model="numpy")
def orientation_error(desired: np.ndarray, current: np.ndarray) -> np.ndarray:
    """Give half the summed cross products of the columns [3]; the sine of a turn about one axis."""
    error = np.empty(3)
    for i in range(3):
        a, b = (i + 1) % 3, (i + 2) % 3
        total = 0.0
        for k in range(3):
            total += current[a, k] * desired[b, k] - current[b, k] * desired[a, k]
        error[i] = 0.5 * total
    return error


@njit(error_model="numpy")
def joint_torque(
    mass: np.ndarray,
    jacobian: np.ndarray,
    wish: np.ndarray,
    pull: np.ndarray,
    bias: np.ndarray,
    uncouple: bool,
    lapack: Lapack,
) -> np.ndarray:
    """Give the joint torques [J] (N m) of operational space control; NaN where LAPACK gives up.

    ``mass`` [J, J], ``jacobian`` [6, J]; ``wish`` [6] is the hand's desired linear and angular
    acceleration, ``pull`` [J] the joints' towards their initial position; ``bias`` [J] is added.
    ``uncouple`` ignores how position and orientation act on each other.
    """
    size = len(mass)
    inverse, inertia = np.empty((size, size)), np.empty((6, 6))
    valid = invert(mass, inverse, lapack) and task_inertia(jacobian, inverse, inertia, lapack)
    wrench, torque, rest = np.empty(6), np.empty(size), np.empty(size)
    if uncouple:
        for start in (0, 3):
            block, part = np.empty((3, 3)), np.empty(3)
            valid &= task_inertia(jacobian[start : start + 3], inverse, block, lapack)
            apply(block, True, wish[start : start + 3], part, lapack)
            for i in range(3):
                wrench[start + i] = part[i]
    else:
        apply(inertia, True, wish, wrench, lapack)
    apply(jacobian, True, wrench, torque, lapack)
    nullspace_torque(mass, jacobian, inverse, inertia, pull, rest, lapack)
    for j in range(size):
        torque[j] = torque[j] + bias[j] + rest[j] if valid else math.nan
    return torque


@njit(error_model="numpy")
def task_inertia(
    jacobian: np.ndarray, inverse: np.ndarray, inertia: np.ndarray, lapack: Lapack
) -> bool:
    """Write Lambda = (J M^-1 J^T)^-1, flipped; ``inverse`` is M^-1, flipped."""
    rows, columns = jacobian.shape
    half, mobility = np.empty((rows, columns)), np.empty((rows, rows))
    multiply(jacobian, False, inverse, True, half, lapack)
    multiply(half, False, jacobian, True, mobility, lapack)
    return pseudo_invert(mobility, inertia, lapack)


@njit(error_model="numpy")
def nullspace_torque(
    mass: np.ndarray,
    jacobian: np.ndarray,
    inverse: np.ndarray,
    inertia: np.ndarray,
    pull: np.ndarray,
    torque: np.ndarray,
    lapack: Lapack,
) -> None:
    """Write N^T M pull [J], which does not move the hand; M^-1 and Lambda are flipped."""
    size = len(mass)
    half, weighted = np.empty((size, 6)), np.empty((size, 6))
    multiply(inverse, True, jacobian, True, half, lapack)
    multiply(half, False, inertia, True, weighted, lapack)  # M^-1 J^T Lambda
    nullspace, wanted = np.empty((size, size)), np.empty(size)
    multiply(weighted, False, jacobian, False, nullspace, lapack)
    for i in range(size):
        for j in range(size):
            nullspace[i, j] = (1.0 if i == j else 0.0) - nullspace[i, j]
    apply(mass, True, pull, wanted, lapack)
    apply(nullspace, True, wanted, torque, lapack)
