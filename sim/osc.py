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

from sim.engine_lapack import Lapack, invert, pseudo_invert
from sim.engine_mujoco import Simulation, mass_matrix, site_jacobian

NULLSPACE_KP = 10.0  # robosuite's fixed gain towards the initial joint position (1/s^2)
NULLSPACE_KD = math.sqrt(NULLSPACE_KP) * 2.0  # critically damped (1/s)


# ------------------------------------------------------------------------------------------- goals


@njit(error_model="numpy")
def delta_rotation(vector: np.ndarray) -> np.ndarray:
    """Give the rotation [3, 3] of an axis-angle vector [3] (rad).

    robosuite makes the quaternion in double precision and the matrix in single.
    """
    angle = np.linalg.norm(vector)
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
def absolute_rotation(vector: np.ndarray) -> np.ndarray:
    """Give the rotation [3, 3] of an axis-angle vector [3] (rad), as scipy does."""
    angle = math.sqrt(vector[0] ** 2 + vector[1] ** 2 + vector[2] ** 2)
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
    position: np.ndarray, rotation: np.ndarray, base_pos: np.ndarray, base_rotation: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Give a world pose ([3] m, [3, 3]) in the frame of the arm's base.

    robosuite moves the point with a translation (no rotation) and the rotation with the pose, both
    as products of homogeneous matrices.
    """
    inverse = np.zeros((4, 4))
    inverse[:3, :3] = base_rotation.T
    inverse[:3, 3] = -np.dot(base_rotation.T, base_pos)
    inverse[3, 3] = 1.0
    point, pose = np.eye(4), np.zeros((4, 4))
    point[:3, 3] = position
    pose[:3, :3], pose[:3, 3], pose[3, 3] = rotation, position, 1.0
    return np.dot(inverse, point)[:3, 3].copy(), np.dot(inverse, pose)[:3, :3].copy()


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
    sim: Simulation, site: int, base_site: int, dofs: np.ndarray
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
    linear, angular = np.dot(jac_pos, sim.qvel), np.dot(jac_rot, sim.qvel)
    if base_site >= 0:
        site_jacobian(sim, base_site, jac_pos, jac_rot)
        linear -= np.dot(jac_pos, sim.qvel)
        angular -= np.dot(jac_rot, sim.qvel)
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
    force: np.ndarray,
    moment: np.ndarray,
    pull: np.ndarray,
    bias: np.ndarray,
    uncouple: bool,
    lapack: Lapack,
) -> np.ndarray:
    """Give the joint torques [J] (N m) of operational space control; NaN where LAPACK gives up.

    ``mass`` [J, J], ``jacobian`` [6, J]; ``force`` and ``moment`` [3] are the hand's desired linear
    and angular accelerations, ``pull`` [J] the joints' towards their initial position; ``bias`` [J]
    is added. ``uncouple`` ignores how position and orientation act on each other.
    """
    inverse = np.empty_like(mass)
    if not invert(mass, inverse, lapack):
        return np.full(len(mass), np.nan)
    lam = np.empty((6, 6))
    if not pseudo_invert(_mobility(jacobian, inverse), lam, lapack):
        return np.full(len(mass), np.nan)
    wrench = np.empty(6)
    if uncouple:
        wrench[:3] = _uncoupled(jacobian[:3], inverse, force, lapack)
        wrench[3:] = _uncoupled(jacobian[3:], inverse, moment, lapack)
    else:
        wrench[:3], wrench[3:] = force, moment
        wrench = np.dot(lam.T, wrench)
    weighted = np.dot(np.dot(inverse.T, jacobian.T), lam.T)  # [J, 6] M^-1 J^T Lambda
    nullspace = np.eye(len(mass)) - np.dot(weighted, jacobian)  # [J, J]
    rest = np.dot(nullspace.T, np.dot(mass.T, pull))
    return np.dot(jacobian.T, wrench) + bias + rest


@njit(error_model="numpy")
def _mobility(jacobian: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    """Give J M^-1 J^T; ``inverse`` is M^-1 transposed, as ``invert`` writes it."""
    return np.dot(np.dot(jacobian, inverse.T), jacobian.T)


@njit(error_model="numpy")
def _uncoupled(
    jacobian: np.ndarray, inverse: np.ndarray, acceleration: np.ndarray, lapack: Lapack
) -> np.ndarray:
    """Give the force [3] that causes an acceleration [3] by itself."""
    inertia = np.empty((3, 3))
    if not pseudo_invert(_mobility(jacobian, inverse), inertia, lapack):
        return np.full(3, np.nan)
    return np.dot(inertia.T, acceleration)
