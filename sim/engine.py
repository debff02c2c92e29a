"""The compiled control loop: robosuite's dynamics at close to the physics' own speed.

robosuite runs a Python controller at each of the 25 physics steps of a control step, which takes
over 70% of its time. ``ControlLoop`` runs the same control step as one compiled function without
the interpreter lock, on the environment's own MjModel and MjData. From the same state it gives the
same positions and velocities to the last bit.
"""

from __future__ import annotations

import logging
from typing import Any

import mujoco
import numpy as np

from sim.engine_control import control_step
from sim.engine_lapack import lapack_workspace, load_lapack
from sim.engine_mujoco import load_libmujoco, simulation
from sim.engine_robosuite import (
    NotCovered,
    load_memory,
    read_arms,
    read_grippers,
    store_memory,
)
from sim.engine_tables import GOAL, Memory

log = logging.getLogger(__name__)


class Stepper:
    """Steps one MjModel and MjData pair under given controllers; many may step in parallel.

    ``memory`` is what the controllers remember (null-space posture, gripper opening, velocity
    errors): with the MuJoCo state it determines the future.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        data: mujoco.MjData,
        arms: np.ndarray,
        grippers: np.ndarray,
    ) -> None:
        load_libmujoco()
        load_lapack()
        self.memory = Memory(len(arms), len(grippers))
        self._owners = (model, data)  # the addresses below are theirs
        self._control_step = control_step()
        self._arguments = (
            simulation(model, data),
            arms,
            grippers,
            self.memory.arms,
            self.memory.openings,
            np.zeros(len(arms), GOAL),
            lapack_workspace(),
        )

    def step(self, action: np.ndarray, substeps: int) -> None:
        """Advance by ``substeps`` physics steps under the action float64 [A], without the lock."""
        self._control_step(*self._arguments, action, substeps)


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
            load_memory(self._env, self._stepper.memory)

    def store(self) -> None:
        """Give what the loop remembers back to robosuite's controllers and grippers."""
        if self.fallback is None:
            store_memory(self._env, self._stepper.memory)

    def get_memory(self) -> np.ndarray:
        """Give what outlives a control step, float64 [M]; empty where the loop is robosuite's."""
        return np.zeros(0) if self.fallback else self._stepper.memory.vector.copy()

    def set_memory(self, memory: np.ndarray) -> None:
        """Restore what ``get_memory`` gave."""
        if self.fallback is None:
            self._stepper.memory.vector[:] = memory
