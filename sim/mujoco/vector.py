"""Tasks on one MuJoCo model in batches: N simulations, and the task as arrays."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
from gymnasium.utils import seeding

from robolearn.types import Observation
from sim.base.physics import DIVERGED
from sim.base.physics_env import PhysicsEnv
from sim.engine.batch import BatchPhysics
from sim.mujoco.arrays import TaskArrays
from sim.vector.env import Moves, VectorEnv
from sim.vector.kind import Kind


class MujocoVectorEnv(VectorEnv):
    """N episodes like those of ``template``, which must have no cameras and is taken over.

    The template begins every episode, ``task`` says what is seen of it and what it is worth.
    ``fatal`` are the kinds of MuJoCo's warnings that end an episode. The environments share a model
    unless resets write into it (a fixed body that is moved; a mocap body does not need it): then
    each has a copy. ``physics`` holds the simulations.
    """

    def __init__(
        self,
        template: PhysicsEnv,
        task: TaskArrays,
        n: int,
        threads: int,
        fatal: Sequence[int] = DIVERGED,
    ) -> None:
        super().__init__(Kind.of(template), n, threads)
        self._template, self._task, self._fatal = template, task, fatal
        model, own = template.model, template.physics.changes_model
        models = [copy.copy(model) if own else model for _ in range(n)]
        self.physics = BatchPhysics(models, template.substeps, task.layout, task.forward)
        self._states = [
            template.physics.like(one, data)
            for one, data in zip(models, self.physics.data, strict=True)
        ]
        self._steps = np.zeros(n, int)
        self._generators = [seeding.np_random()[0] for _ in range(n)]

    def close_extras(self, **kwargs: object) -> None:
        """Stop the threads."""
        super().close_extras(**kwargs)
        self._template.close()

    def _seed(self, i: int, seed: int | None) -> None:
        if seed is not None:
            self._generators[i] = seeding.np_random(seed)[0]

    def _reset(self, i: int) -> None:
        self._template.restart(int(self._generators[i].integers(2**32)))
        self._begin(i, self._template.physics.get_state(), 0)

    def _move(self, actions: np.ndarray, rows: list[int]) -> Moves:
        self.physics.ctrl[:] = self._template.action_range(actions)
        moved = np.array(rows, np.int64)
        self.physics.step(moved, self._pool, self._threads)
        self._steps[moved] += 1
        if self._task.calls_python:
            for i in rows:
                self._guarded(self._call, i)
        outcome = self._task.evaluate(self.physics.readings)
        return Moves(
            observations={"state": outcome.observation},
            reward=outcome.reward,
            terminated=outcome.failure,
            truncated=self._steps >= self._template.horizon,
            success=outcome.success,
            terms=self._task.named(outcome.terms),
            errors=self.physics.failures(rows, self._fatal),
        )

    def _observe(self) -> Observation:
        return {"state": self._task.evaluate(self.physics.readings).observation}

    def _get_state(self, i: int) -> np.ndarray:
        return np.append(self._states[i].get_state(), self._steps[i])

    def _set_state(self, i: int, state: np.ndarray) -> None:
        self._begin(i, state[:-1], int(state[-1]))

    def _begin(self, i: int, state: np.ndarray, steps: int) -> None:
        """Put environment i into a state [S - 1] that is so many steps into its episode."""
        self._states[i].set_state(state)
        self._steps[i] = steps
        self.physics.read(i)
        self._call(i)

    def _call(self, i: int) -> None:
        """Call the task's own functions for environment i."""
        self._task.call(self.physics.models[i], self.physics.data[i], self.physics.readings[i])
