"""Small matrix products and inverses, to the last bit those of numpy and of numba's numpy.

robosuite's controller runs on numpy and on numba's numpy, whose ``dot``, ``inv`` and ``pinv`` are
BLAS and LAPACK with a workspace query, allocations and checks around each call. The same routines
called directly round the same way in half to two thirds of the time, and compile in a fraction.
numpy and scipy each bring an OpenBLAS; that both choose the same kernels on a processor is what
equality to the last bit rests on (the tests of ``sim.engine.osc`` would tell).

BLAS rounds differently for a matrix and for the same matrix stored transposed. Every matrix here is
stored row by row; ``flipped`` says that numpy would have it column by column, and that therefore
its transpose is handed over.
"""

from __future__ import annotations

import ctypes
import math
from typing import NamedTuple

import llvmlite.binding
import numpy as np
from numba import njit, types
from numba.core.typing import signature

LAPACK_WORK = 1024  # doubles; more than any routine here can use for matrices of up to 8 rows
SINGULAR_BELOW = 1e-15  # of the largest singular value; numpy's default
_PREFIX = "robolearn_"  # the names under which compiled code finds scipy's routines
_ROUTINES = {
    "cython_lapack": {
        "dgetrf": 6, "dgetri": 7, "dgebd2": 10, "dbdsqr": 15, "dorm2r": 12, "dorml2": 12,
    },
    "cython_blas": {"dgemm": 13, "dgemv": 11},
}  # fmt: skip


def _routine(module: str, name: str) -> types.ExternalFunction:
    arguments = [types.intp] * _ROUTINES[module][name]
    return types.ExternalFunction(_PREFIX + name, signature(types.void, *arguments))


_dgebd2 = _routine("cython_lapack", "dgebd2")
_dbdsqr = _routine("cython_lapack", "dbdsqr")
_dorm2r = _routine("cython_lapack", "dorm2r")
_dorml2 = _routine("cython_lapack", "dorml2")
_dgetrf = _routine("cython_lapack", "dgetrf")
_dgetri = _routine("cython_lapack", "dgetri")
_dgemm = _routine("cython_blas", "dgemm")
_dgemv = _routine("cython_blas", "dgemv")


def load_lapack() -> None:
    """Make scipy's BLAS and LAPACK visible to compiled code; call it before any compiled step."""
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
    """Workspace of the routines below, for matrices of up to 8 x 8; one per thread.

    Compiled code frees a local array after its last mention, an address taken from it
    notwithstanding; arrays that are handed in live long enough.
    """

    work: np.ndarray  # [LAPACK_WORK]
    integers: np.ndarray  # [96] int32: sizes and status, then scratch
    letters: np.ndarray  # [5] "U", "T", "N", "L" and "R"
    numbers: np.ndarray  # [2] 1 and 0
    copy: np.ndarray  # [64]
    left: np.ndarray  # [64] U, column by column
    right: np.ndarray  # [64] V transposed, column by column
    singular: np.ndarray  # [8]


def lapack_workspace() -> Lapack:
    """Allocate the workspace."""
    return Lapack(
        work=np.zeros(LAPACK_WORK),
        integers=np.zeros(96, np.int32),
        letters=np.frombuffer(b"UTNLR", np.uint8).copy(),
        numbers=np.array([1.0, 0.0]),
        copy=np.zeros(64),
        left=np.zeros(64),
        right=np.zeros(64),
        singular=np.zeros(8),
    )


@njit(error_model="numpy")
def multiply(
    x: np.ndarray, x_flipped: bool, y: np.ndarray, y_flipped: bool, out: np.ndarray, lapack: Lapack
) -> None:
    """Write the matrix product X Y."""
    integers, letters = lapack.integers, lapack.letters.ctypes.data
    integers[0], integers[1] = out.shape[1], out.shape[0]
    integers[2] = x.shape[0] if x_flipped else x.shape[1]
    integers[3], integers[4] = y.shape[1], x.shape[1]
    size = integers.ctypes.data
    one = lapack.numbers.ctypes.data
    _dgemm(
        letters + (1 if y_flipped else 2), letters + (1 if x_flipped else 2), size, size + 4,
        size + 8, one, y.ctypes.data, size + 12, x.ctypes.data, size + 16, one + 8,
        out.ctypes.data, size,
    )  # fmt: skip


@njit(error_model="numpy")
def apply(
    matrix: np.ndarray, flipped: bool, vector: np.ndarray, out: np.ndarray, lapack: Lapack
) -> None:
    """Write the product of a matrix and a vector."""
    integers = lapack.integers
    integers[0], integers[1], integers[2] = matrix.shape[1], matrix.shape[0], 1
    size, letters = integers.ctypes.data, lapack.letters.ctypes.data
    one = lapack.numbers.ctypes.data
    _dgemv(
        letters + (2 if flipped else 1), size, size + 4, one, matrix.ctypes.data, size,
        vector.ctypes.data, size + 8, one + 8, out.ctypes.data, size + 8,
    )  # fmt: skip


@njit(error_model="numpy")
def invert(matrix: np.ndarray, inverse: np.ndarray, lapack: Lapack) -> bool:
    """Write the inverse of a symmetric matrix [n, n], flipped; say whether there is one."""
    integers = lapack.integers
    integers[0], integers[1] = len(matrix), LAPACK_WORK
    n = integers.ctypes.data
    lwork, status, pivots = n + 4, n + 8, n + 16
    for i in range(len(matrix)):
        for j in range(len(matrix)):
            inverse[i, j] = matrix[i, j]
    _dgetrf(n, n, inverse.ctypes.data, n, pivots, status)
    if integers[2] == 0:
        _dgetri(n, inverse.ctypes.data, n, pivots, lapack.work.ctypes.data, lwork, status)
    return integers[2] == 0


@njit(error_model="numpy")
def pseudo_invert(matrix: np.ndarray, inverse: np.ndarray, lapack: Lapack) -> bool:
    """Write the pseudo-inverse of a matrix [n, n], flipped; say whether LAPACK converged.

    It is V S^+ U^T of the singular value decomposition, values below 1e-15 of the largest left out.
    """
    size, integers = len(matrix), lapack.integers
    if not _decompose(matrix, lapack):
        return False
    s, v = lapack.singular, lapack.right
    integers[3] = 1  # the rank; robosuite's pinv takes a matrix of zeros to have one too
    for k in range(size):
        if s[k] > s[0] * SINGULAR_BELOW:
            integers[3] = k + 1
            scale = 1.0 / s[k]
            for i in range(size):
                v[k + i * size] *= scale
    n, t, one = integers.ctypes.data, lapack.letters.ctypes.data + 1, lapack.numbers.ctypes.data
    u = lapack.left.ctypes.data
    _dgemm(t, t, n, n, n + 12, one, v.ctypes.data, n, u, n, one + 8, inverse.ctypes.data, n)
    return True


@njit(error_model="numpy")
def _decompose(matrix: np.ndarray, lapack: Lapack) -> bool:
    """Write U, S and V^T of a matrix; say False if it is not finite or LAPACK did not converge.

    These are the calls that LAPACK's dgesdd ends up with for a small matrix, without a third of its
    time that goes into asking every routine for its best block size.
    """
    size, integers = len(matrix), lapack.integers
    integers[0], integers[1], integers[2], integers[3] = size, 0, 0, size - 1
    n = integers.ctypes.data
    zero, status, less = n + 4, n + 8, n + 12
    upper = lapack.letters.ctypes.data
    plain, left, right = upper + 2, upper + 3, upper + 4
    for i in range(size):
        for j in range(size):
            if not math.isfinite(matrix[i, j]):
                return False  # LAPACK would never come back
            lapack.copy[i + j * size] = matrix[i, j]
            lapack.left[i + j * size] = lapack.right[i + j * size] = 1.0 if i == j else 0.0
    a, s = lapack.copy.ctypes.data, lapack.singular.ctypes.data
    u, v, beside = lapack.left.ctypes.data, lapack.right.ctypes.data, lapack.work.ctypes.data
    tau_q, tau_p, work = beside + 64, beside + 128, beside + 192  # 8 doubles each, then the rest
    _dgebd2(n, n, a, n, s, beside, tau_q, tau_p, work, status)
    _dbdsqr(upper, n, n, n, zero, s, beside, v, n, u, n, u, n, work, status)
    if integers[2] != 0:
        return False
    row = 8 * size
    _dorm2r(left, plain, n, n, n, a, n, tau_q, u, n, work, status)
    _dorml2(right, plain, n, less, less, a + row, n, tau_p, v + row, n, work, status)
    return True
