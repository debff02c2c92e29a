"""The compiled control loop: robosuite's dynamics at close to the physics' own speed.

robosuite runs a Python controller at each of the 25 physics steps of a control step, which takes
over 70% of its time. ``ControlLoop`` runs the same control step as one compiled function without
the interpreter lock, on the environment's own MjModel and MjData. From the same state it gives the
same positions and velocities to the last bit.
"""

from __future__ import annotations

import warnings
from typing import Any

import mujoco
import numpy as np

from sim.engine.control import control_step
from sim.engine.lapack import lapack_workspace, load_lapack
from sim.engine.mujoco import load_libmujoco, simulation
from sim.engine.robosuite import (
    NotCovered,
    load_memory,
    read_arms,
    read_grippers,
    store_memory,
)
from sim.engine.tables import GOAL, Memory


class Stepper:
    """Steps one MjModel and MjData pair under given controllers; many may step in parallel.

    ``memory`` is what the controllers remember (null-space posture, gripper opening, velocity
    errors): with the MuJoCo state it determines the future. ``goals`` are those of the last step.
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
        self.goals = np.zeros(len(arms), GOAL)
        self._owners = (model, data)  # the addresses below are theirs
        self._control_step = control_step()
        self._arguments = (
            simulation(model, data),
            arms,
            grippers,
            self.memory.arms,
            self.memory.openings,
            self.goals,
            np.zeros(len(grippers)),  # the gripper actuators' controls
            lapack_workspace(),
        )

    def step(self, action: np.ndarray, substeps: int, begun: bool = False) -> None:
        """Advance by ``substeps`` physics steps under the action float64 [A], without the lock.

        ``begun`` says that ``mj_step1`` has been called since the state last changed.
        """
        self._control_step(*self._arguments, action, substeps, begun)


ENGINES = ("compiled", "fast", "robosuite")


class ControlLoop:
    """Steps a robosuite environment's simulator, compiled where its controllers are covered.

    Covered are OSC_POSE, OSC_POSITION, JOINT_POSITION, JOINT_VELOCITY and JOINT_TORQUE on one or
    more arms that stand still, with every gripper of robosuite's. Anything else is stepped by
    robosuite's own loop, with a warning; ``fallback`` says why, and is None where the loop is
    compiled.

    ``engine`` is one of ENGINES: "compiled" gives the states of robosuite's loop to the last
    bit, "fast" to rounding (see ``osc_fast``; only OSC differs), "robosuite" is that loop.

    robosuite's controllers and grippers stay the owners of what outlives a control step: it is
    taken from them before each and given back after it, so that whoever saves, restores or resets
    robosuite needs to know nothing of this loop.
    """

    def __init__(self, env: Any, engine: str = "compiled") -> None:
        self._env = env
        self.engine = engine
        self.substeps = int(env.control_timestep / env.model_timestep)
        self.fallback: str | None = "engine='robosuite'" if engine == "robosuite" else None
        if self.fallback is None:
            self._compile()

    def _compile(self) -> None:
        sim = self._env.sim
        try:
            arms, grippers = read_arms(self._env, self.engine == "fast"), read_grippers(self._env)
        except NotCovered as reason:
            self.fallback = str(reason)
            task = type(self._env).__name__
            warnings.warn(f"{task}: robosuite's slow control loop, for {reason}", stacklevel=3)
            return
        self._stepper = Stepper(sim.model._model, sim.data._data, arms, grippers)

    def step(self, action: np.ndarray) -> None:
        """Advance by one control period under robosuite's action [A].

        robosuite's observables, its step counter and its buffers of recent values stay as they are.
        """
        if self.fallback is not None:
            self._step_robosuite(action)
            return
        load_memory(self._env, self._stepper.memory)
        self._stepper.step(np.ascontiguousarray(action, np.float64), self.substeps)
        store_memory(self._env, self._stepper.memory, self._stepper.goals)

    def _step_robosuite(self, action: np.ndarray) -> None:
        for i in range(self.substeps):
            self._env.sim.step1()
            self._env._pre_action(action, policy_step=i == 0)
            self._env.sim.step2()
