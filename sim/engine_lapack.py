"""Inverses and pseudo-inverses of small matrices, to the last bit those of numba's numpy.

robosuite's controller is compiled by numba, whose ``np.linalg.inv`` and ``pinv`` are scipy's LAPACK
with a workspace query, allocations and checks around each call. The same LAPACK routines called
directly take two thirds of the time and round the same way.
"""

from __future__ import annotations

import ctypes
from typing import NamedTuple

import llvmlite.binding
import numpy as np
from numba import njit, types
from numba.core.typing import signature

LAPACK_WORK = 1024  # doubles; what dgesdd and dgetri could use at most for matrices up to 8 x 8
SINGULAR_BELOW = 1e-15  # of the largest singular value; numpy's default
_PREFIX = "robolearn_"  # the names under which compiled code finds scipy's routines
_ROUTINES = {"cython_lapack": ("dgesdd", "dgetrf", "dgetri"), "cython_blas": ("dgemm",)}


def _routine(name: str, arguments: int) -> types.ExternalFunction:
    return types.ExternalFunction(
        _PREFIX + name, signature(types.void, *([types.intp] * arguments))
    )


_dgesdd = _routine("dgesdd", 14)
_dgetrf = _routine("dgetrf", 6)
_dgetri = _routine("dgetri", 7)
_dgemm = _routine("dgemm", 13)


def load_lapack() -> None:
    """Make scipy's LAPACK visible to compiled code; call it before any compiled step."""
    import scipy.linalg.cython_blas
    import scipy.linalg.cython_lapack

    pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
    pointer_of.restype, pointer_of.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    name_of = ctypes.pythonapi.PyCapsule_GetName
    name_of.restype, name_of.argtypes = ctypes.c_char_p, [ctypes.py_object]
    for module, names in _ROUTINES.items():
        capsules = getattr(scipy.linalg, module).__pyx_capi__
        for name in names:
            address = pointer_of(capsules[name], name_of(capsules[name]))
            llvmlite.binding.add_symbol(_PREFIX + name, address)


class Lapack(NamedTuple):
    """Workspace of the routines below, for matrices of up to 8 x 8.

    Compiled code frees a local array after its last mention, an address taken from it
    notwithstanding; arrays that are handed in live long enough.
    """

    work: np.ndarray  # [LAPACK_WORK]
    integers: np.ndarray  # [72] int32: size, workspace size, status, rank, then scratch
    letters: np.ndarray  # [2] "S" and "T"
    numbers: np.ndarray  # [2] 1 and 0
    copy: np.ndarray  # [64]
    left: np.ndarray  # [64] U in Fortran order
    right: np.ndarray  # [64] V transposed in Fortran order
    singular: np.ndarray  # [8]


def lapack_workspace() -> Lapack:
    """Allocate the workspace."""
    return Lapack(
        work=np.zeros(LAPACK_WORK),
        integers=np.zeros(72, np.int32),
        letters=np.frombuffer(b"ST", np.uint8).copy(),
        numbers=np.array([1.0, 0.0]),
        copy=np.zeros(64),
        left=np.zeros(64),
        right=np.zeros(64),
        singular=np.zeros(8),
    )


@njit(error_model="numpy")
def invert(matrix: np.ndarray, inverse: np.ndarray, lapack: Lapack) -> bool:
    """Write the inverse of a symmetric matrix [n, n], transposed; say whether there is one."""
    integers = lapack.integers
    integers[0], integers[1] = len(matrix), LAPACK_WORK
    n, lwork, status = (
        integers.ctypes.data,
        integers[1:].ctypes.data,
        integers[2:].ctypes.data,
    )
    pivots = integers[4:].ctypes.data
    inverse[:] = matrix
    _dgetrf(n, n, inverse.ctypes.data, n, pivots, status)
    if integers[2] == 0:
        _dgetri(n, inverse.ctypes.data, n, pivots, lapack.work.ctypes.data, lwork, status)
    return integers[2] == 0


@njit(error_model="numpy")
def pseudo_invert(matrix: np.ndarray, inverse: np.ndarray, lapack: Lapack) -> bool:
    """Write the pseudo-inverse of a matrix [n, n], transposed; say whether LAPACK converged.

    V S^+ U^T of its singular value decomposition, values below 1e-15 of the largest left out.
    """
    size = len(matrix)
    integers, s, v = lapack.integers, lapack.singular, lapack.right
    integers[0], integers[1] = size, LAPACK_WORK
    n, lwork, status = (
        integers.ctypes.data,
        integers[1:].ctypes.data,
        integers[2:].ctypes.data,
    )
    a, u = lapack.copy.ctypes.data, lapack.left.ctypes.data
    for i in range(size):
        for j in range(size):
            lapack.copy[i + j * size] = matrix[i, j]
    _dgesdd(
        lapack.letters.ctypes.data, n, n, a, n, s.ctypes.data, u, n, v.ctypes.data, n,
        lapack.work.ctypes.data, lwork, integers[4:].ctypes.data, status,
    )  # fmt: skip
    if integers[2] != 0:
        return False
    rank = 1
    for k in range(size):
        if s[k] > s[0] * SINGULAR_BELOW:
            rank = k + 1
    integers[3] = rank
    for k in range(rank):
        scale = 1.0 / s[k]
        for i in range(size):
            v[k + i * size] *= scale
    t, one, zero = (
        lapack.letters[1:].ctypes.data,
        lapack.numbers.ctypes.data,
        lapack.numbers[1:].ctypes.data,
    )
    _dgemm(
        t, t, n, n, integers[3:].ctypes.data, one, v.ctypes.data, n, u, n, zero,
        inverse.ctypes.data, n,
    )  # fmt: skip
    return True
