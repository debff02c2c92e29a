"""robosuite tasks in batches: one robosuite environment, N simulations.

The one environment resets episodes and knows the task; every episode then lives in MuJoCo data of
its own, which costs a megabyte, and is stepped, observed and rewarded without robosuite.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator

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
        # Nobody looks at the sensors; without them the physics is the same, and a little faster.
        template.model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_SENSOR
        self._models = _shared_models(template, threads)
        self._slots = [Slot(template.model, arms, grippers) for _ in range(n)]
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
        slot.memory, slot.steps = self._template._memory.get(), self._robosuite.timestep
        slot.stepped = False
        load_memory(self._robosuite, slot.stepper.memory)
        state = self._template._physics.get_state()
        size = mujoco.mj_stateSize(self._template.model, INTEGRATION)
        slot.entries = state[size:]
        with self._model_for(slot) as model:
            slot.set_physics(model, state[:size])
            self._frame.read(i, model, slot.data)

    @contextlib.contextmanager
    def _model_for(self, slot: Slot) -> Iterator[mujoco.MjModel]:
        """Lend a model that looks as the slot's last reset left it."""
        shared = self._models.pop()  # there is one for every thread
        try:
            shared.write(slot.entries)
            yield shared.model
        finally:
            self._models.append(shared)

    def _move(self, actions: np.ndarray, rows: list[int]) -> Moves:
        actions = self._template._action(actions)
        errors: dict[int, str] = {}

        def step(i: int) -> None:
            slot = self._slots[i]
            with self._model_for(slot) as model:
                slot.step(model, actions[i], self._template._loop.substeps)
                self._frame.read(i, model, slot.data)
            failure = slot.failure()
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
        return np.concatenate([slot.get_physics(self._template.model), slot.memory])

    def _set_state(self, i: int, state: np.ndarray) -> None:
        self._template.set_state(state)
        self._take_over(i)


class Slot:
    """One episode: MuJoCo data, what the controllers remember, and the model entries of its reset.

    ``model`` is any copy of the model with those entries written into it.
    """

    def __init__(self, model: mujoco.MjModel, arms: np.ndarray, grippers: np.ndarray) -> None:
        self.data = mujoco.MjData(model)
        self.stepper = Stepper(model, self.data, arms, grippers)
        self.memory = np.zeros(0)  # robosuite's, as of the last reset or ``get_state``
        self.entries = np.zeros(0)
        self.stepped = False
        self.steps = 0

    def step(self, model: mujoco.MjModel, action: np.ndarray, substeps: int) -> None:
        """Advance by one control period under robosuite's action [A], after ``Frame.read``."""
        self.stepper.step(action, substeps, begun=True, model=model)
        self.steps += 1
        self.stepped = True

    def failure(self) -> str | None:
        """Say what MuJoCo found wrong with the simulation since its last reset."""
        counts = self.data.warning.number
        found = [kind.name for kind in DIVERGED if counts[kind]]
        return f"the simulation diverged ({', '.join(found)})" if found else None

    def get_physics(self, model: mujoco.MjModel) -> np.ndarray:
        """Give the physics' part of the state."""
        state = np.empty(mujoco.mj_stateSize(model, INTEGRATION))
        mujoco.mj_getState(model, self.data, state, INTEGRATION)
        return np.concatenate([state, self.entries])

    def set_physics(self, model: mujoco.MjModel, state: np.ndarray) -> None:
        """Restore MuJoCo's part of a state."""
        mujoco.mj_resetData(model, self.data)
        mujoco.mj_setState(model, self.data, state, INTEGRATION)


class SharedModel:
    """A model that one simulation after the other uses, and its entries that resets change."""

    def __init__(self, model: mujoco.MjModel, template: RobosuiteEnv) -> None:
        self.model = model
        self._entries = [
            (_same_array(model, template.model, flat), index)
            for flat, index in template._physics._varying
        ]

    def write(self, entries: np.ndarray) -> None:
        """Write the values of all entries, one after the other."""
        start = 0
        for flat, index in self._entries:
            flat[index] = entries[start : start + len(index)]
            start += len(index)


def _shared_models(template: RobosuiteEnv, threads: int) -> list[SharedModel]:
    """Give every thread its model: the same one unless resets write into it."""
    if not template._physics._varying:
        return [SharedModel(template.model, template)] * threads
    return [SharedModel(copy.copy(template.model), template) for _ in range(threads)]


def _same_array(model: mujoco.MjModel, original: mujoco.MjModel, flat: np.ndarray) -> np.ndarray:
    """Find, in a copy of a model, the array of which ``flat`` is a view in the original."""
    address = flat.ctypes.data
    for name in dir(original):
        array = getattr(original, name) if not name.startswith("_") else None
        if isinstance(array, np.ndarray) and array.size and array.ctypes.data == address:
            return getattr(model, name).reshape(-1)
    raise AssertionError("a view of no array of its model")
