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
from sim.base.physics import Physics, divergence
from sim.engine.loop import Stepper
from sim.engine.robosuite import NotCovered, load_memory, read_arms, read_grippers, store_memory
from sim.robosuite.batch.frame import Frame
from sim.robosuite.batch.model import lean_model
from sim.robosuite.batch.observation import BatchReader
from sim.robosuite.batch.tasks import task_of
from sim.robosuite.env import RobosuiteEnv
from sim.vector.env import Moves, VectorEnv
from sim.vector.kind import Kind


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
    if any(name.startswith("geom_") for name in template.physics._names):
        raise NotCovered("resets that change geoms")
    return (
        read_arms(robosuite, template._loop.engine == "fast"),
        read_grippers(robosuite),
        task_of(robosuite),
        BatchReader(robosuite, reader._keys, reader._references),
    )


class RobosuiteVectorEnv(VectorEnv):
    """N episodes of one robosuite task; takes over ``template``."""

    def __init__(self, template: RobosuiteEnv, n: int, threads: int) -> None:
        super().__init__(Kind.of(template), n, threads)
        self._template, self._robosuite = template, template._env
        arms, grippers, self._task, self._reader = _parts(template)
        lean, own = lean_model(self._robosuite), template.physics.changes_model
        models = [copy.copy(lean.model) if own else lean.model for _ in range(n)]
        self._slots = [Slot(template.physics, one, arms, grippers) for one in models]
        self._frame = Frame(lean, n, self._task.pairs)
        self._generators = [seeding.np_random()[0] for _ in range(n)]

    def close_extras(self, **kwargs: object) -> None:
        """Stop the threads and free the simulators."""
        super().close_extras(**kwargs)
        self._slots.clear()
        self._template.close()

    def _seed(self, i: int, seed: int | None) -> None:
        if seed is not None:
            self._generators[i] = seeding.np_random(seed)[0]

    def _reset(self, i: int) -> None:
        self._template.restart(int(self._generators[i].integers(2**32)))
        self._take_over(i)

    def _take_over(self, i: int) -> None:
        """Give slot i the state that the template is in."""
        slot = self._slots[i]
        slot.memory, slot.steps = self._template._memory.get(), self._robosuite.timestep
        slot.stepped = False
        load_memory(self._robosuite, slot.stepper.memory)
        mujoco.mj_resetData(slot.physics.model, slot.physics.data)
        slot.physics.set_state(self._template.physics.get_state())
        self._frame.read(i, slot.physics.model, slot.physics.data)

    def _move(self, actions: np.ndarray, rows: list[int]) -> Moves:
        actions = self._template._action(actions)
        errors: dict[int, str] = {}

        def step(i: int) -> None:
            slot = self._slots[i]
            slot.step(actions[i], self._template._loop.substeps)
            self._frame.read(i, slot.physics.model, slot.physics.data)
            failure = divergence(slot.warnings)
            if failure:
                errors[i] = failure

        self._in_parallel(step, rows)
        result = self._task(self._frame)
        steps = np.array([slot.steps for slot in self._slots])
        return Moves(
            observations=self._observe(),
            reward=np.array(result.reward, float),
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
        return np.concatenate([slot.physics.get_state(), slot.memory])

    def _set_state(self, i: int, state: np.ndarray) -> None:
        self._template.set_state(state)
        self._take_over(i)


class Slot:
    """One episode: its simulation and what robosuite's controllers remember of it."""

    def __init__(
        self, like: Physics, model: mujoco.MjModel, arms: np.ndarray, grippers: np.ndarray
    ) -> None:
        self.physics = like.like(model, mujoco.MjData(model))
        self.warnings = self.physics.data.warning.number  # counts, since the last reset
        self.stepper = Stepper(model, self.physics.data, arms, grippers)
        self.memory = np.zeros(0)  # robosuite's, as of the last reset or ``get_state``
        self.stepped = False
        self.steps = 0

    def step(self, action: np.ndarray, substeps: int) -> None:
        """Advance by one control period under robosuite's action [A], after ``Frame.read``."""
        self.stepper.step(action, substeps, begun=True)
        self.steps += 1
        self.stepped = True
