"""robosuite tasks in batches: one robosuite environment, N simulations.

The one environment resets episodes and knows the task; every episode then lives in MuJoCo data of
its own, which costs a megabyte, and is stepped, observed and rewarded without robosuite.
"""

from __future__ import annotations

import copy

import mujoco
import numpy as np
from gymnasium.utils import seeding

from robolearn.types import Observation
from sim.engine import Stepper
from sim.engine_robosuite import NotCovered, load_memory, read_arms, read_grippers, store_memory
from sim.physics import INTEGRATION
from sim.robosuite_env import RobosuiteEnv
from sim.vector import Moves, VectorEnv
from sim.vector_frame import Frame
from sim.vector_observation import BatchReader
from sim.vector_tasks import task_of

DIVERGED = (
    mujoco.mjtWarning.mjWARN_BADQPOS,
    mujoco.mjtWarning.mjWARN_BADQVEL,
    mujoco.mjtWarning.mjWARN_BADQACC,
    mujoco.mjtWarning.mjWARN_BADCTRL,
)


def why_not(template: RobosuiteEnv) -> str | None:
    """Say why an environment cannot be batched by this module; None if it can."""
    try:
        _parts(template)
    except NotCovered as reason:
        return str(reason)
    return None


def _parts(template: RobosuiteEnv) -> tuple:
    """Give arms, grippers, task and reader of an environment; raise NotCovered if one lacks."""
    robosuite, reader = template._env, template._reader
    if template._loop.fallback is not None:
        raise NotCovered(template._loop.fallback)
    if len(template.interface.observations) > 1:
        raise NotCovered("cameras")
    return (
        read_arms(robosuite, template._loop.engine == "fast"),
        read_grippers(robosuite),
        task_of(robosuite),
        BatchReader(robosuite, reader._keys, reader._references),
    )


class RobosuiteVectorEnv(VectorEnv):
    """N episodes of one robosuite task; takes over ``template``."""

    def __init__(self, template: RobosuiteEnv, n: int, threads: int) -> None:
        super().__init__(template.interface, template, n, threads)
        self._template, self._robosuite = template, template._env
        arms, grippers, self._task, self._reader = _parts(template)
        varying = template._physics._varying
        self._models = _models(template, n)
        self._slots = [
            Slot(self._models[i], template.model, varying, arms, grippers) for i in range(n)
        ]
        self._frame = Frame(template.model, n, self._task.pairs)
        self._generators = [seeding.np_random()[0] for _ in range(n)]

    @property
    def mujoco_state_size(self) -> int:
        """How many leading entries of a state are time, qpos and qvel."""
        return self._template.mujoco_state_size

    def close_extras(self, **kwargs: object) -> None:
        """Stop the threads and free the simulators."""
        super().close_extras(**kwargs)
        self._slots.clear()
        self._template.close()

    def _seed(self, i: int, seed: int | None) -> None:
        if seed is not None:
            self._generators[i] = seeding.np_random(seed)[0]

    def _reset(self, i: int) -> None:
        self._template._restart(int(self._generators[i].integers(2**32)))
        self._take_over(i)

    def _take_over(self, i: int) -> None:
        """Give slot i the state that the template is in."""
        slot = self._slots[i]
        slot.set_physics(self._template._physics.get_state())
        slot.memory, slot.steps = self._template._memory.get(), self._robosuite.timestep
        slot.stepped = False
        load_memory(self._robosuite, slot.stepper.memory)
        self._frame.read(i, slot.model, slot.data)

    def _move(self, actions: np.ndarray, rows: list[int]) -> Moves:
        actions = self._template._action(actions)
        errors: dict[int, str] = {}

        def step(i: int) -> None:
            self._slots[i].step(actions[i], self._template._loop.substeps)
            self._frame.read(i, self._slots[i].model, self._slots[i].data)
            failure = self._slots[i].failure()
            if failure:
                errors[i] = failure

        self._in_parallel(step, rows)
        result = self._task(self._frame)
        steps = np.array([slot.steps for slot in self._slots])
        return Moves(
            observations=self._observe(),
            reward=np.asarray(result.reward, float),
            terminated=np.zeros(self.num_envs, bool),
            truncated=steps >= self._robosuite.horizon,
            success=result.success,
            terms=result.terms,
            errors=errors,
        )

    def _observe(self) -> Observation:
        return {"state": self._reader(self._frame)}

    def _get_state(self, i: int) -> np.ndarray:
        slot = self._slots[i]
        if slot.stepped:  # robosuite's objects lay the memory out
            self._template._memory.set(slot.memory)
            store_memory(self._robosuite, slot.stepper.memory, slot.stepper.goals)
            self._robosuite.timestep = slot.steps
            slot.memory, slot.stepped = self._template._memory.get(), False
        return np.concatenate([slot.get_physics(), slot.memory])

    def _set_state(self, i: int, state: np.ndarray) -> None:
        self._template.set_state(state)
        self._take_over(i)


class Slot:
    """One episode: MuJoCo data, what the controllers remember, and the model entries of its reset.

    Several slots may share a model if one thread steps them: each writes its entries first.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        original: mujoco.MjModel,
        varying: list[tuple[np.ndarray, np.ndarray]],
        arms: np.ndarray,
        grippers: np.ndarray,
    ) -> None:
        self.model, self.data = model, mujoco.MjData(model)
        self.stepper = Stepper(model, self.data, arms, grippers)
        self.memory = np.zeros(0)  # robosuite's, as of the last reset or ``get_state``
        self.stepped = False
        self.steps = 0
        self._entries = [(_same_array(model, original, flat), index) for flat, index in varying]
        self._values = [flat[index] for flat, index in self._entries]
        self._size = mujoco.mj_stateSize(model, INTEGRATION)

    def step(self, action: np.ndarray, substeps: int) -> None:
        """Advance by one control period under robosuite's action [A], after ``Frame.read``."""
        self._write_entries()
        self.stepper.step(action, substeps, begun=True)
        self.steps += 1
        self.stepped = True

    def failure(self) -> str | None:
        """Say what MuJoCo found wrong with the simulation since its last reset."""
        counts = self.data.warning.number
        found = [kind.name for kind in DIVERGED if counts[kind]]
        return f"the simulation diverged ({', '.join(found)})" if found else None

    def get_physics(self) -> np.ndarray:
        """Give the physics' part of the state."""
        state = np.empty(self._size)
        mujoco.mj_getState(self.model, self.data, state, INTEGRATION)
        return np.concatenate([state, *self._values])

    def set_physics(self, state: np.ndarray) -> None:
        """Restore the physics' part of a state."""
        start = self._size
        for k, (_, index) in enumerate(self._entries):
            self._values[k] = state[start : start + len(index)].copy()
            start += len(index)
        self._write_entries()
        mujoco.mj_resetData(self.model, self.data)
        mujoco.mj_setState(self.model, self.data, state[: self._size], INTEGRATION)

    def _write_entries(self) -> None:
        for (flat, index), values in zip(self._entries, self._values, strict=True):
            flat[index] = values


def _models(template: RobosuiteEnv, n: int) -> list[mujoco.MjModel]:
    """Give every environment its model: the same one unless resets write into it."""
    if not template._physics._varying:
        return [template.model] * n
    return [copy.copy(template.model) for _ in range(n)]


def _same_array(model: mujoco.MjModel, original: mujoco.MjModel, flat: np.ndarray) -> np.ndarray:
    """Find, in a copy of a model, the array of which ``flat`` is a view in the original."""
    address = flat.ctypes.data
    for name in dir(original):
        array = getattr(original, name) if not name.startswith("_") else None
        if isinstance(array, np.ndarray) and array.size and array.ctypes.data == address:
            return getattr(model, name).reshape(-1)
    raise AssertionError("a view of no array of its model")
