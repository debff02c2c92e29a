"""Operational space control (Khatib 1987), compiled, equal to robosuite's to rounding.

    F   = kp * (x_goal - x) - kd * (v - v_base)               desired acceleration of the hand
    tau = J^T Lambda F + N^T M a + bias                       with a = kp_0 (q_0 - q) - kd_0 qd
    Lambda = (J M^-1 J^T)^-1,   N = I - M^-1 J^T Lambda J     (N^T M a = M a - J^T Lambda J a)

robosuite forms every matrix with pseudo-inverses; here two small Cholesky factorisations and the
identity on the right do the same work in about a microsecond. Where the hand is close to singular
that would show beyond the last digits, so there the pseudo-inverses are formed as robosuite does.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from sim.engine_mujoco import Simulation, mj_full_mass, mj_jac_site

NULLSPACE_KP = 10.0  # robosuite's fixed gain [1/s^2] towards the joints' initial position
NULLSPACE_KD = 2.0 * math.sqrt(NULLSPACE_KP)  # critically damped [1/s]
CONDITION_MAX = 1e4  # trace(A) trace(A^-1); above it the two ways differ beyond the last digits


class Workspace(NamedTuple):
    """Preallocated arrays for one arm's control step; V velocities of the model, J joints."""

    jac_pos: np.ndarray  # [3, V]
    jac_rot: np.ndarray  # [3, V]
    full_mass: np.ndarray  # [V, V]
    jacobian: np.ndarray  # [6, J]
    mass: np.ndarray  # [J, J]
    factor: np.ndarray  # [J, J] Cholesky factor of the mass matrix
    projected: np.ndarray  # [J, 6] factor^-1 J^T
    mobility: np.ndarray  # [6, 6] J M^-1 J^T, the inverse of Lambda
    lower: np.ndarray  # [6, 6] its Cholesky factor
    lower_inverse: np.ndarray  # [6, 6] the inverse of that
    velocity: np.ndarray  # [6] of the hand relative to the arm's base
    wrench: np.ndarray  # [6] desired acceleration, then force and torque on the hand
    pull: np.ndarray  # [J] a, the acceleration towards the initial joint position
    felt: np.ndarray  # [6] J a, then Lambda J a


def workspace(velocities: int, joints: int) -> Workspace:
    """Allocate a Workspace for a model of so many velocities and an arm of so many joints."""
    shapes = {
        "jac_pos": (3, velocities),
        "jac_rot": (3, velocities),
        "full_mass": (velocities, velocities),
        "jacobian": (6, joints),
        "mass": (joints, joints),
        "factor": (joints, joints),
        "projected": (joints, 6),
        "mobility": (6, 6),
        "lower": (6, 6),
        "lower_inverse": (6, 6),
        "velocity": (6,),
        "wrench": (6,),
        "pull": (joints,),
        "felt": (6,),
    }
    return Workspace(**{name: np.zeros(shape) for name, shape in shapes.items()})


# ------------------------------------------------------------------------------------------ goals


@njit(nogil=True, cache=True)
def delta_rotation(vector: np.ndarray, rotation: np.ndarray) -> None:
    """Write the rotation [3, 3] of an axis-angle vector [3] (rad), rounded as robosuite rounds it.

    robosuite makes the quaternion in double precision and the matrix in single: equality needs
    both, and the products of the quaternion must be float32.
    """
    angle = math.sqrt(vector[0] ** 2 + vector[1] ** 2 + vector[2] ** 2)
    q = np.zeros(4, np.float32)  # wxyz
    q[0] = np.float32(1.0)
    if angle > 0.0:
        q[0] = np.float32(math.cos(angle / 2.0))
        for i in range(3):
            q[i + 1] = np.float32(vector[i] / angle * math.sin(angle / 2.0))
    scale = math.sqrt(2.0 / np.dot(q, q))
    for i in range(4):
        q[i] = np.float32(q[i] * scale)
    square = np.outer(q, q)  # [4, 4] float32
    for i in range(3):
        j, k = (i + 1) % 3 + 1, (i + 2) % 3 + 1
        # The smaller index comes first in robosuite's sums of diagonal entries.
        rotation[i, i] = 1.0 - square[min(j, k), min(j, k)] - square[max(j, k), max(j, k)]
        rotation[j - 1, k - 1] = square[j, k] - square[i + 1, 0]
        rotation[k - 1, j - 1] = square[j, k] + square[i + 1, 0]


@njit(nogil=True, cache=True)
def absolute_rotation(vector: np.ndarray, rotation: np.ndarray) -> None:
    """Write the rotation [3, 3] of an axis-angle vector [3] (rad) in double precision."""
    angle = math.sqrt(vector[0] ** 2 + vector[1] ** 2 + vector[2] ** 2)
    if angle <= 1e-3:
        scale = 0.5 - angle**2 / 48.0 + angle**4 / 3840.0
    else:
        scale = math.sin(angle / 2.0) / angle
    x, y, z, w = scale * vector[0], scale * vector[1], scale * vector[2], math.cos(angle / 2.0)
    rotation[0, 0] = x * x - y * y - z * z + w * w
    rotation[1, 1] = -x * x + y * y - z * z + w * w
    rotation[2, 2] = -x * x - y * y + z * z + w * w
    rotation[1, 0] = 2.0 * (x * y + z * w)
    rotation[0, 1] = 2.0 * (x * y - z * w)
    rotation[2, 0] = 2.0 * (x * z - y * w)
    rotation[0, 2] = 2.0 * (x * z + y * w)
    rotation[2, 1] = 2.0 * (y * z + x * w)
    rotation[1, 2] = 2.0 * (y * z - x * w)


@njit(nogil=True, cache=True)
def in_base_frame(
    position: np.ndarray, rotation: np.ndarray, base_pos: np.ndarray, base_rotation: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Give a world pose ([3] m, [3, 3]) in the frame of the arm's base."""
    inside = np.empty(3)
    turned = np.empty((3, 3))
    for i in range(3):
        moved = back = 0.0
        for k in range(3):
            moved += base_rotation[k, i] * position[k]
            back += base_rotation[k, i] * base_pos[k]
        inside[i] = moved - back
        for j in range(3):
            total = 0.0
            for k in range(3):
                total += base_rotation[k, i] * rotation[k, j]
            turned[i, j] = total
    return inside, turned


@njit(nogil=True, cache=True)
def in_world_frame(
    position: np.ndarray, rotation: np.ndarray, base_pos: np.ndarray, base_rotation: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Give a pose ([3] m, [3, 3]) in the frame of the arm's base as a world pose."""
    outside = np.empty(3)
    turned = np.empty((3, 3))
    for i in range(3):
        moved = 0.0
        for k in range(3):
            moved += base_rotation[i, k] * position[k]
        outside[i] = base_pos[i] + moved
        for j in range(3):
            total = 0.0
            for k in range(3):
                total += base_rotation[i, k] * rotation[k, j]
            turned[i, j] = total
    return outside, turned


# ----------------------------------------------------------------------------------- linear algebra


@njit(nogil=True, cache=True)
def cholesky(matrix: np.ndarray, factor: np.ndarray, start: int, stop: int) -> bool:
    """Factor the block [start:stop] of a symmetric matrix; say False if it is not positive."""
    for i in range(start, stop):
        for j in range(start, i + 1):
            total = matrix[i, j]
            for k in range(start, j):
                total -= factor[i, k] * factor[j, k]
            if i != j:
                factor[i, j] = total / factor[j, j]
            elif total > 0.0:
                factor[i, i] = math.sqrt(total)
            else:
                return False
    return True


@njit(nogil=True, cache=True)
def condition(factor: np.ndarray, inverse: np.ndarray) -> float:
    """Give trace(A) trace(A^-1), which bounds the condition number of A = L L^T.

    ``inverse`` receives the inverse of the Cholesky factor L.
    """
    size = len(factor)
    trace = trace_inverse = 0.0
    for i in range(size):
        for j in range(i + 1):
            total = 1.0 if i == j else 0.0
            for k in range(j, i):
                total -= factor[i, k] * inverse[k, j]
            inverse[i, j] = total / factor[i, i]
            trace += factor[i, j] ** 2
            trace_inverse += inverse[i, j] ** 2
    return trace * trace_inverse


@njit(nogil=True, cache=True)
def cholesky_solve(factor: np.ndarray, vector: np.ndarray, start: int, stop: int) -> None:
    """Replace vector[start:stop] by the solution of (factor factor^T) x = vector."""
    for i in range(start, stop):
        for k in range(start, i):
            vector[i] -= factor[i, k] * vector[k]
        vector[i] /= factor[i, i]
    for i in range(stop - 1, start - 1, -1):
        for k in range(i + 1, stop):
            vector[i] -= factor[k, i] * vector[k]
        vector[i] /= factor[i, i]


# ---------------------------------------------------------------------------------------- the arm


@njit(nogil=True, cache=True)
def read_mass(sim: Simulation, dofs: np.ndarray, work: Workspace) -> None:
    """Read the arm's mass matrix [J, J] (kg m^2) at the current position."""
    mj_full_mass(sim.model, work.full_mass.ctypes.data, sim.inertia.ctypes.data)
    for i in range(len(dofs)):
        for j in range(len(dofs)):
            work.mass[i, j] = work.full_mass[dofs[i], dofs[j]]


@njit(nogil=True, cache=True)
def read_hand(
    sim: Simulation, site: int, base_site: int, dofs: np.ndarray, work: Workspace
) -> None:
    """Read the hand's Jacobian [6, J] and its velocity [6] relative to the arm's base.

    ``base_site`` is -1 for a base that cannot move.
    """
    _add_site_velocity(sim, site, 0.0, 1.0, work)
    for j in range(len(dofs)):
        for i in range(3):
            work.jacobian[i, j] = work.jac_pos[i, dofs[j]]
            work.jacobian[i + 3, j] = work.jac_rot[i, dofs[j]]
    if base_site >= 0:
        _add_site_velocity(sim, base_site, 1.0, -1.0, work)


@njit(nogil=True, cache=True)
def _add_site_velocity(
    sim: Simulation, site: int, keep: float, sign: float, work: Workspace
) -> None:
    mj_jac_site(
        sim.model, sim.data, work.jac_pos.ctypes.data, work.jac_rot.ctypes.data, np.int32(site)
    )
    for i in range(3):
        linear = angular = 0.0
        for v in range(len(sim.qvel)):
            linear += work.jac_pos[i, v] * sim.qvel[v]
            angular += work.jac_rot[i, v] * sim.qvel[v]
        work.velocity[i] = keep * work.velocity[i] + sign * linear
        work.velocity[i + 3] = keep * work.velocity[i + 3] + sign * angular


@njit(nogil=True, cache=True)
def orientation_error(desired: np.ndarray, current: np.ndarray, error: np.ndarray) -> None:
    """Write half the summed cross products of the columns [3], the sine of the angle for one axis.

    Source: robosuite, ``orientation_error``.
    """
    for i in range(3):
        a, b = (i + 1) % 3, (i + 2) % 3
        total = 0.0
        for k in range(3):
            total += current[a, k] * desired[b, k] - current[b, k] * desired[a, k]
        error[i] = 0.5 * total


@njit(nogil=True, cache=True)
def osc_torque(
    sim: Simulation,
    site: int,
    qpos: np.ndarray,
    dofs: np.ndarray,
    goal_pos: np.ndarray,
    goal_rotation: np.ndarray,
    kp: np.ndarray,
    kd: np.ndarray,
    uncouple: bool,
    initial_joint: np.ndarray,
    work: Workspace,
    torque: np.ndarray,
) -> None:
    """Write the joint torques [J] (N m) that pull the hand to a world pose.

    ``read_mass`` and ``read_hand`` come first; ``qpos``, ``dofs`` [J] are the arm's indices;
    ``kp`` [6] in 1/s^2, ``kd`` [6] in 1/s.
    """
    orientation_error(goal_rotation, sim.site_rotation[site].reshape(3, 3), work.wrench[3:])
    for i in range(3):
        work.wrench[i] = goal_pos[i] - sim.site_pos[site, i]
    for i in range(6):
        work.wrench[i] = work.wrench[i] * kp[i] - work.velocity[i] * kd[i]
    for j in range(len(dofs)):
        stretch = initial_joint[j] - sim.qpos[qpos[j]]
        work.pull[j] = NULLSPACE_KP * stretch - NULLSPACE_KD * sim.qvel[dofs[j]]
    if not _wrench_by_cholesky(len(dofs), uncouple, work, torque):
        _wrench_by_pseudo_inverse(len(dofs), uncouple, work, torque)
    for j in range(len(dofs)):
        torque[j] += sim.bias[dofs[j]]


@njit(nogil=True, cache=True)
def _wrench_by_cholesky(joints: int, uncouple: bool, work: Workspace, torque: np.ndarray) -> bool:
    """Write J^T Lambda F + N^T M a, or say False where the arm is too close to singular."""
    if not cholesky(work.mass, work.factor, 0, joints):
        return False
    _fill_mobility(joints, work)
    if not cholesky(work.mobility, work.lower, 0, 6):
        return False
    if condition(work.lower, work.lower_inverse) > CONDITION_MAX:
        return False
    for i in range(6):
        work.felt[i] = 0.0
        for j in range(joints):
            work.felt[i] += work.jacobian[i, j] * work.pull[j]
    cholesky_solve(work.lower, work.felt, 0, 6)
    if uncouple:  # the first three rows of the factor are those of the position's block already
        cholesky_solve(work.lower, work.wrench, 0, 3)
        cholesky(work.mobility, work.lower, 3, 6)
        cholesky_solve(work.lower, work.wrench, 3, 6)
    else:
        cholesky_solve(work.lower, work.wrench, 0, 6)
    for j in range(joints):
        torque[j] = 0.0
        for i in range(6):
            torque[j] += work.jacobian[i, j] * (work.wrench[i] - work.felt[i])
        for k in range(joints):
            torque[j] += work.mass[j, k] * work.pull[k]
    return True


@njit(nogil=True, cache=True)
def _fill_mobility(joints: int, work: Workspace) -> None:
    """Form J M^-1 J^T as Y^T Y with Y = L^-1 J^T, where M = L L^T."""
    for c in range(6):
        for i in range(joints):
            total = work.jacobian[c, i]
            for k in range(i):
                total -= work.factor[i, k] * work.projected[k, c]
            work.projected[i, c] = total / work.factor[i, i]
    for a in range(6):
        for b in range(a + 1):
            total = 0.0
            for j in range(joints):
                total += work.projected[j, a] * work.projected[j, b]
            work.mobility[a, b] = work.mobility[b, a] = total


@njit(nogil=True, cache=True)
def _wrench_by_pseudo_inverse(
    joints: int, uncouple: bool, work: Workspace, torque: np.ndarray
) -> None:
    """Write J^T Lambda F + N^T M a with pseudo-inverses, in the order in which robosuite works."""
    mass = work.mass[:joints, :joints].copy()
    jacobian = work.jacobian[:, :joints].copy()
    inverse = np.linalg.inv(mass)
    mobility = np.dot(np.dot(jacobian, inverse), jacobian.transpose())
    inertia = np.linalg.pinv(mobility)
    if uncouple:
        for start in (0, 3):
            block = jacobian[start : start + 3]
            inner = np.linalg.pinv(np.dot(np.dot(block, inverse), block.transpose()))
            work.wrench[start : start + 3] = np.dot(inner, work.wrench[start : start + 3])
    else:
        work.wrench[:] = np.dot(inertia, work.wrench)
    consistent = np.dot(np.dot(inverse, jacobian.transpose()), inertia)  # the J of M^-1 J^T Lambda
    nullspace = np.eye(joints) - np.dot(consistent, jacobian)
    pose = np.dot(mass, work.pull[:joints])
    torque[:joints] = np.dot(jacobian.transpose(), work.wrench)
    torque[:joints] += np.dot(nullspace.transpose(), pose)
