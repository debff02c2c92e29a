"""N simulations of one kind that step together: compiled, on threads, without the lock.

For each environment in turn a thread writes its controls, runs the physics steps of one control
period, brings what follows from the new state up to date, and copies the entries that somebody
asked for into a row of ``readings`` [N, Q]. Which entries is said by a ``Layout``; to compiled code
everything is a table of addresses, so that one compiled function serves every model and task.

**Looking costs nothing** where ``mj_step`` is ``mj_step1`` followed by ``mj_step2`` (all
integrators but RK4): poses, velocities, contacts and the sensors of position and velocity come from
``mj_step1``, which is the first half of the next step. Accelerations, forces and the sensors of
these (accelerometer, force, torque, touch ...) need ``mj_forward`` (``forward=True``): about one
more physics step per control period. The warm start, which is state, stays as it was.

**A control step of another kind** (a controller at each physics step, inverse kinematics first) is
a function like ``step_batch`` in a file of its own, built from ``take``, ``advance``, ``look`` and
``read``. numba does not see when a function in another file changes: make the digest of this room
part of the new function's cache key, as ``control.control_step`` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Executor, wait
from typing import Any, NamedTuple

import mujoco
import numpy as np
from numba import njit, types
from numba.core.typing import signature
from numba.extending import intrinsic

from sim.base.physics import DIVERGED, divergence, log_warnings
from sim.engine.mujoco import load_libmujoco, mj_step1, mj_step2
from sim.engine.segments import Layout

_ADDRESS = types.intp
_OF_MODEL_AND_DATA = signature(types.void, _ADDRESS, _ADDRESS)
mj_step = types.ExternalFunction("mj_step", _OF_MODEL_AND_DATA)
_mj_forward = types.ExternalFunction("mj_forward", _OF_MODEL_AND_DATA)
_mj_check_pos = types.ExternalFunction("mj_checkPos", _OF_MODEL_AND_DATA)
_mj_check_vel = types.ExternalFunction("mj_checkVel", _OF_MODEL_AND_DATA)
_mj_get_state = types.ExternalFunction(
    "mj_getState", signature(types.void, _ADDRESS, _ADDRESS, _ADDRESS, types.int32)
)
_memcpy = types.ExternalFunction("memcpy", signature(_ADDRESS, _ADDRESS, _ADDRESS, types.intp))

_TIME_BIT = int(mujoco.mjtState.mjSTATE_TIME)
_DOUBLE = 8  # bytes
_WARNINGS = int(mujoco.mjtWarning.mjNWARNING)


class Batch(NamedTuple):
    """What compiled code knows of N simulations."""

    models: np.ndarray  # [N] addresses, as are the next four
    data: np.ndarray  # [N]
    controls: np.ndarray  # [N]
    warm_starts: np.ndarray  # [N]
    warnings: np.ndarray  # [N]
    sources: np.ndarray  # [N, S] addresses of the segments
    columns: np.ndarray  # [S] where they begin in ``readings``
    counts: np.ndarray  # [S] their entries
    readings: np.ndarray  # [N, Q]
    warned: np.ndarray  # [N, warnings, 2] int32: last detail and count of every kind
    ctrl: np.ndarray  # [N, nu] what the next step applies
    velocities: int  # nv
    substeps: int  # physics steps of a control period
    split: bool  # mj_step is mj_step1, mj_step2
    forward: bool  # accelerations and forces are read too


class BatchPhysics:
    """N pairs of MjModel and MjData with the same sizes; environments may share a model.

    ``readings`` [N, Q] has the columns of ``layout``; ``ctrl`` [N, nu] is applied by the next step.
    Whoever changes the state or the model of environment i calls ``look(i)`` before that, or just
    ``read(i)`` after ``Physics.set_state``.
    """

    def __init__(
        self,
        models: Sequence[mujoco.MjModel],
        substeps: int,
        layout: Layout,
        forward: bool = False,
    ) -> None:
        load_libmujoco()
        log_warnings()
        self.models, self.data = list(models), [mujoco.MjData(model) for model in models]
        n, model = len(self.models), self.models[0]
        self.readings = np.zeros((n, layout.width))
        self.ctrl = np.zeros((n, model.nu))
        self._batch = Batch(
            models=_table([model._address for model in self.models]),
            data=_table([data._address for data in self.data]),
            controls=_table([data.ctrl.ctypes.data for data in self.data]),
            warm_starts=_table([data.qacc_warmstart.ctypes.data for data in self.data]),
            warnings=_table([data.warning.lastinfo.ctypes.data for data in self.data]),
            sources=_sources(self.data, layout),
            columns=_table([columns.start for columns in layout.segments.values()]),
            counts=_table([segment.count for segment in layout.segments]),
            readings=self.readings,
            warned=np.zeros((n, _WARNINGS, 2), np.int32),
            ctrl=self.ctrl,
            velocities=model.nv,
            substeps=substeps,
            split=model.opt.integrator != mujoco.mjtIntegrator.mjINT_RK4,
            forward=forward,
        )
        self._next = np.zeros(1, np.int64)
        for i in range(n):
            self.look(i)

    def step(self, rows: np.ndarray, pool: Executor, threads: int) -> None:
        """Move the environments ``rows`` int64 [R] by one control period under ``ctrl``.

        The calling thread works too, and waits for no helper from the pool that has not begun.
        """
        self._next[0] = 0
        work = (self._batch, rows, self._next)
        helpers = [pool.submit(step_batch, *work) for _ in range(min(threads, len(rows)) - 1)]
        try:
            step_batch(*work)
        finally:
            begun = [helper for helper in helpers if not helper.cancel()]
            if begun:
                wait(begun)  # after Ctrl-C too: no thread works on behind our back
        for helper in begun:
            helper.result()

    def look(self, i: int) -> None:
        """Bring what follows from the state of environment i up to date, and its readings."""
        self.data[i].warning.number[:] = 0
        look_at(self._batch, i)

    def read(self, i: int) -> None:
        """Bring the readings of environment i up to date."""
        read_at(self._batch, i)

    def failures(self, rows: Iterable[int], fatal: Sequence[int] = DIVERGED) -> dict[int, str]:
        """Say which of these environments diverged in the last step or before, and how.

        ``fatal`` are the kinds of MuJoCo's warnings that count.
        """
        counts = self._batch.warned[:, :, 1]
        if not counts.any():
            return {}
        return {i: reason for i in rows if (reason := divergence(counts[i], fatal))}


def _table(entries: list[int]) -> np.ndarray:
    return np.array(entries, np.int64)


def _sources(data: list[mujoco.MjData], layout: Layout) -> np.ndarray:
    """Give the addresses [N, S] of the segments in every MjData."""
    for segment in layout.segments:
        if getattr(data[0], segment.array).dtype != np.float64:
            raise TypeError(f"{segment.array} is not of float64")
    found = [[segment.view(one).ctypes.data for segment in layout.segments] for one in data]
    return _table(found).reshape(len(data), len(layout.segments))


# ------------------------------------------------------------------------------------ compiled code


@intrinsic
def _fetch_and_add_one(typing_context: Any, counter: Any) -> Any:
    """Add 1 to the only entry of an int64 array, atomically; give what it was before."""

    def build(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        array = context.make_array(sig.args[0])(context, builder, arguments[0])
        one = context.get_constant(types.int64, 1)
        return builder.atomic_rmw("add", array.data, one, "monotonic")

    return types.int64(counter), build


@njit(error_model="numpy")
def take(counter: np.ndarray, rows: np.ndarray) -> int:
    """Give the next environment that no thread has taken yet, -1 if there is none."""
    k = _fetch_and_add_one(counter)
    return rows[k] if k < len(rows) else -1


@njit(error_model="numpy")
def advance(batch: Batch, i: int) -> None:
    """Run the physics steps of one control period, after ``look``."""
    model, data = batch.models[i], batch.data[i]
    for substep in range(batch.substeps):
        if not batch.split:
            mj_step(model, data)
            continue
        if substep > 0:  # the first was done when the state was looked at
            mj_step1(model, data)
        mj_step2(model, data)


@njit(error_model="numpy")
def look(batch: Batch, i: int) -> None:
    """Bring what follows from the state up to date; the state stays as it is unless diverged."""
    model, data = batch.models[i], batch.data[i]
    if not batch.forward:
        mj_step1(model, data)
        return
    _mj_check_pos(model, data)
    _mj_check_vel(model, data)
    kept = np.empty(batch.velocities)
    size = _DOUBLE * batch.velocities
    _memcpy(kept.ctypes.data, batch.warm_starts[i], size)
    _mj_forward(model, data)
    _memcpy(batch.warm_starts[i], kept.ctypes.data, size)


@njit(error_model="numpy")
def read(batch: Batch, i: int) -> None:
    """Copy the segments, the time and MuJoCo's warnings of environment i."""
    row = batch.readings[i]
    _mj_get_state(batch.models[i], batch.data[i], row.ctypes.data, _TIME_BIT)
    for s in range(len(batch.columns)):
        target = row[batch.columns[s] :].ctypes.data
        _memcpy(target, batch.sources[i, s], _DOUBLE * batch.counts[s])
    _memcpy(batch.warned[i].ctypes.data, batch.warnings[i], _DOUBLE * _WARNINGS)


@njit(nogil=True, cache=True, error_model="numpy")
def read_at(batch: Batch, i: int) -> None:
    """Read environment i."""
    read(batch, i)


@njit(nogil=True, cache=True, error_model="numpy")
def look_at(batch: Batch, i: int) -> None:
    """Look at environment i and read it."""
    look(batch, i)
    read(batch, i)


@njit(nogil=True, cache=True, error_model="numpy")
def step_batch(batch: Batch, rows: np.ndarray, counter: np.ndarray) -> None:
    """Move one environment after the other until all of ``rows`` are taken; for each thread."""
    size = _DOUBLE * batch.ctrl.shape[1]
    i = take(counter, rows)
    while i >= 0:
        _memcpy(batch.controls[i], batch.ctrl[i].ctypes.data, size)
        advance(batch, i)
        look(batch, i)
        read(batch, i)
        i = take(counter, rows)
