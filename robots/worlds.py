"""What a twin lives in: a MuJoCo model with an arm in it, and servos that move the arm.

A world knows nothing of time or faults; it is told targets and steps. ``DeskWorld`` is an arm on a
table, ``SimWorld`` the Panda in one of robosuite's tasks, with the task's own start states,
observation and success.
"""

from __future__ import annotations

from typing import Any, Protocol

import mujoco
import numpy as np

from robolearn.names import load
from robots.arm_model import ArmModel, desk_arm, panda
from robots.base import Values

SERVO_RAD_S = 60.0  # natural frequency of the servos on torque motors, critically damped
FIRST_SEED = 0


class World(Protocol):
    """An arm among things, simulated."""

    arm: ArmModel
    data: mujoco.MjData

    def reset(self, seed: int) -> None:
        """Put everything where the seed says."""

    def sense(self) -> Values:
        """Give what is known of the world beside the arm, by name; arrays."""

    def names(self) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
        """Give names and units of the entries of what ``sense`` gives."""

    def success(self) -> bool:
        """Say whether the task is done; without a task, no."""

    def close(self) -> None:
        """Free what it holds."""


class DeskWorld:
    """The desk arm, alone; it begins in its home pose."""

    def __init__(self) -> None:
        self.arm = desk_arm()
        self.data = mujoco.MjData(self.arm.model)
        self.reset(FIRST_SEED)

    def reset(self, seed: int) -> None:
        """Put the arm in its home pose, whatever the seed."""
        mujoco.mj_resetData(self.arm.model, self.data)
        self.arm.put(self.data, self.arm.home)
        mujoco.mj_forward(self.arm.model, self.data)

    def sense(self) -> Values:
        """There is nothing."""
        return {}

    def names(self) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
        """There is nothing."""
        return {}

    def success(self) -> bool:
        """There is no task."""
        return False

    def close(self) -> None:
        """It holds nothing."""


class SimWorld:
    """The Panda in a task of robosuite's; ``"state"`` is what the simulator's policies see."""

    def __init__(self, name: str, **options: Any) -> None:
        """UserError for an unknown environment, RobotError for one without a Panda."""
        self._env = load("sim.registry:make")(name, **options)
        self._env.reset(seed=FIRST_SEED)
        self.arm, self.data = panda(self._env.model), self._env.data
        self._spec = self._env.interface.observations["state"]

    def reset(self, seed: int) -> None:
        """Begin the episode of a seed, as the simulator does."""
        self._env.reset(seed=seed)

    def sense(self) -> Values:
        """Give the simulator's own state vector, of now."""
        return {"state": self._env.set_state(self._env.get_state())["state"]}

    def names(self) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
        """Give those of the simulator's state vector."""
        return {"state": (self._spec.names, self._spec.units)}

    def success(self) -> bool:
        """Ask the simulator."""
        return bool(self._env.success())

    def close(self) -> None:
        """Close the simulator."""
        self._env.close()


class Servos:
    """Drives the arm's joints to targets, with whatever actuators the model has.

    Position actuators get the target; torque motors get that of a computed-torque servo, gravity
    included, within what they can do.
    """

    def __init__(self, world: World) -> None:
        self._arm, self._data = world.arm, world.data
        model = world.arm.model
        of_joint = {int(model.actuator_trnid[u, 0]): u for u in range(model.nu)}
        self._actuators = np.array([of_joint[int(joint)] for joint in world.arm.joint_ids])
        affine = model.actuator_biastype[self._actuators] == mujoco.mjtBias.mjBIAS_AFFINE
        self._positioned, self._torqued = np.flatnonzero(affine), np.flatnonzero(~affine)
        limited = model.actuator_ctrllimited[self._actuators].astype(bool)
        limits = model.actuator_ctrlrange[self._actuators]
        self._low, self._high = np.where(limited[:, None], limits, (-np.inf, np.inf)).T
        self._mass = np.empty((model.nv, model.nv))

    def step(self, targets: np.ndarray) -> None:
        """Take one step of the physics towards the model's joint targets [P]."""
        arm, data = self._arm, self._data
        control = targets.astype(np.float64)
        if len(self._torqued):
            mujoco.mj_step1(arm.model, data)
            control[self._torqued] = self._torques(targets)[self._torqued]
        data.ctrl[self._actuators] = np.minimum(np.maximum(control, self._low), self._high)
        if len(self._torqued):
            mujoco.mj_step2(arm.model, data)
        else:
            mujoco.mj_step(arm.model, data)

    def _torques(self, targets: np.ndarray) -> np.ndarray:
        arm, data = self._arm, self._data
        mujoco.mj_fullM(arm.model, self._mass, data.qM)
        error = targets - data.qpos[arm.qpos_at]
        wanted = SERVO_RAD_S**2 * error - 2 * SERVO_RAD_S * data.qvel[arm.dof_at]
        at = arm.dof_at
        return self._mass[np.ix_(at, at)] @ wanted + data.qfrc_bias[at]
