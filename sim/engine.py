"""The compiled control loop: robosuite's dynamics at close to the physics' own speed.

robosuite runs a Python controller at each of the 25 physics steps of a control step, which takes
over 70% of its time. ``ControlLoop`` runs the same control step as one compiled function without
the interpreter lock, on the environment's own MjModel and MjData. From the same state it gives the
same positions and velocities to rounding (1e-12 after one control step).
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from sim.engine_control import (
    Arms,
    Grippers,
    control_step,
    memory_size,
    memory_views,
    new_goals,
)
from sim.engine_mujoco import load_libmujoco, simulation
from sim.engine_robosuite import (
    NotCovered,
    load_memory,
    read_arms,
    read_grippers,
    store_memory,
)
from sim.osc import workspace

log = logging.getLogger(__name__)


class Stepper:
    """Steps one MjModel and MjData pair under given controllers; many may step in parallel.

    ``memory`` float64 [M] is what the controllers remember (null-space posture, gripper opening,
    velocity errors); with the MuJoCo state it determines the future. Write into it, never replace
    it.
    """

    def __init__(self, model: Any, data: Any, arms: Arms, grippers: Grippers) -> None:
        load_libmujoco()
        actuators = len(grippers.actuator)
        self.memory = np.zeros(memory_size(arms, actuators))
        self.views = memory_views(self.memory, arms, actuators)
        self._arms, self._grippers = arms, grippers
        self._owners = (model, data)  # the addresses below are theirs
        self._sim = simulation(model, data)
        self._goals = new_goals(arms)
        self._work = workspace(model.nv, arms.qpos.shape[1])

    def step(self, action: np.ndarray, substeps: int) -> None:
        """Advance by ``substeps`` physics steps under the action float64 [A], without the lock."""
        control_step(
            self._sim, self._arms, self._grippers, self.views, self._goals, self._work,
            action, substeps,
        )  # fmt: skip


class ControlLoop:
    """Steps a robosuite environment's simulator, compiled where its controllers are covered.

    Covered are OSC_POSE, OSC_POSITION, JOINT_POSITION, JOINT_VELOCITY and JOINT_TORQUE on one or
    more fixed arms, with every robosuite gripper. Anything else is stepped by robosuite's own loop,
    which is logged once; ``fallback`` says why, and is None where the loop is compiled.

    robosuite makes new controllers at each reset: call ``load`` after it, and ``store`` before
    something else than this loop uses robosuite's controllers.
    """

    def __init__(self, env: Any) -> None:
        self._env = env
        self._substeps = int(env.control_timestep / env.model_timestep)
        self.fallback: str | None = None
        try:
            arms, grippers = read_arms(env), read_grippers(env)
        except NotCovered as reason:
            self.fallback = str(reason)
            log.warning("%s: robosuite's own control loop, for %s", type(env).__name__, reason)
            return
        self._stepper = Stepper(env.sim.model._model, env.sim.data._data, arms, grippers)
        self.load()

    def step(self, action: np.ndarray) -> None:
        """Advance by one control period under the action [A]; observables are not updated."""
        if self.fallback is None:
            self._stepper.step(np.ascontiguousarray(action, np.float64), self._substeps)
            return
        for i in range(self._substeps):
            self._env.sim.step1()
            self._env._pre_action(action, policy_step=i == 0)
            self._env.sim.step2()

    def load(self) -> None:
        """Take over what robosuite's controllers and grippers remember."""
        if self.fallback is None:
            load_memory(self._env, self._stepper.views)

    def store(self) -> None:
        """Give what the loop remembers back to robosuite's controllers and grippers."""
        if self.fallback is None:
            store_memory(self._env, self._stepper.views)

    def get_memory(self) -> np.ndarray:
        """Give what outlives a control step, float64 [M]; empty where the loop is robosuite's."""
        return np.zeros(0) if self.fallback else self._stepper.memory.copy()

    def set_memory(self, memory: np.ndarray) -> None:
        """Restore what ``get_memory`` gave."""
        if self.fallback is None:
            self._stepper.memory[:] = memory
