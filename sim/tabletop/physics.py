"""N arms at N tables that step together: inverse kinematics, servos and physics, compiled.

An action is four moves of the hand's *target* (x, y, z, yaw) and one entry that closes the gripper
above GRIPPER_BAND and opens it below minus that; in between it stays as it is, so that a policy
which tries things at random does not drop what it holds at every other step.
The hand always points down: that is all that grasping and pushing on a table need, keeps the links
off the table, and leaves yaw as the one angle. The target outlives the control step in ``ctrl``, as
the joint positions that lead to it; moved targets are clipped to the workspace and to ``LEASH_M``
around the hand, so that a hand that is held up does not press harder and harder.

Within a control step the servos' targets go from the old to the new along a straight line, one
piece per physics step: a jump would hit objects at the speed of the stiff servo.

``qfrc_applied`` compensates gravity, centrifugal and Coriolis forces on the robot.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import Executor, wait
from pathlib import Path

import mujoco
import numpy as np
from numba import njit, types
from numba.core.typing import signature

from sim import engine
from sim.engine.batch import Batch, BatchPhysics, read, take
from sim.engine.compiling import source_digest
from sim.engine.mujoco import mj_step1, mj_step2
from sim.engine.segments import Layout, whole
from sim.tabletop.arm import Arm, Pose, arm_of, empty_pose, forward, inverse, yaw_of
from sim.tabletop.model import ARM_JOINTS, FINGER_TRAVEL_M, TIMESTEP_S

SUBSTEPS = 10
PERIOD_S = SUBSTEPS * TIMESTEP_S
MOVE_M, TURN_RAD = 0.05, 0.3  # what an action of 1 moves the target
WORKSPACE_LOW_M = np.array([-0.2, -0.25, 0.018])  # of the hand; its tips stay 5 mm off the table
WORKSPACE_HIGH_M = np.array([0.2, 0.25, 0.35])
YAW_LIMIT_RAD = np.pi / 2  # the gripper looks the same after half a turn
LEASH_M = 0.06  # bounds how hard a hand that is held up presses; limits its speed to 0.35 m/s
ROBOT_JOINTS = ARM_JOINTS + 2
GRIPPER_BAND = 0.25  # above it an action closes the gripper, below minus that it opens it

# What is read of MuJoCo's arrays, in this order; SENSORS are four of the table and the arm.
ARRAYS = ("qpos", "qvel", "qfrc_bias", "qfrc_applied", "sensordata")
BIAS, APPLIED, SENSORS = 2, 3, 4
# What is added: positions of the hand and of its target, yaw, the table's force and self-collision.
HAND, TARGET, YAW, FORCE, TOUCH, ADDED = 0, 3, 6, 7, 8, 9

_mju_copy = types.ExternalFunction(
    "mju_copy", signature(types.void, types.intp, types.intp, types.int32)
)


class TabletopPhysics(BatchPhysics):
    """N simulations of one model; the arrays are views that the next step overwrites.

    ``qpos`` [N, nq], ``qvel`` [N, nv]; ``hand_pos`` and ``target_pos`` [N, 3] in metres and
    ``hand_yaw`` [N] in radians. Of the last control step: ``force`` [N], the largest force on the
    table in newtons, and ``touch`` [N], above 0 where the hand touched the arm.
    """

    def __init__(self, model: mujoco.MjModel, n: int) -> None:
        data, layout = mujoco.MjData(model), Layout()
        qpos, qvel, *_ = [layout.add(whole(data, array)) for array in ARRAYS]
        added = layout.reserve(ADDED)
        super().__init__([model] * n, SUBSTEPS, layout)
        self.qpos, self.qvel = self.readings[:, qpos], self.readings[:, qvel]
        own = self.readings[:, added]
        self.hand_pos, self.target_pos = own[:, HAND:TARGET], own[:, TARGET:YAW]
        self.hand_yaw, self.force, self.touch = own[:, YAW], own[:, FORCE], own[:, TOUCH]
        self.arm, self._added = arm_of(model), added.start
        self._move, self._see = compiled()

    def move(self, actions: np.ndarray, rows: list[int], pool: Executor, threads: int) -> None:
        """Move the environments ``rows`` by one control period under actions float64 [N, 5].

        The calling thread works too; the pool gives the others.
        """
        self._next[0] = 0
        taken = np.array(rows, np.int64), self._next
        work = (self._batch, self.arm, self._added, actions, *taken)
        helpers = [pool.submit(self._move, *work) for _ in range(min(threads, len(rows)) - 1)]
        try:
            self._move(*work)
            for helper in helpers:
                helper.result()
        finally:
            wait(helpers)  # after Ctrl-C too: no thread works on behind our back

    def refresh(self, i: int) -> None:
        """Bring all that follows from a new state of environment i up to date."""
        self.look(i)
        self.ctrl[i] = self.data[i].ctrl
        self._see(self._batch, self.arm, self._added, i)
        self.force[i] = self.touch[i] = 0.0


# ------------------------------------------------------------------------------------ compiled code


@functools.cache
def compiled() -> tuple[Callable[..., None], Callable[..., None]]:
    """Give the compiled functions that move many environments and that see one."""
    return _compile(source_digest(Path(__file__).parent, Path(engine.__file__).parent))


def _compile(digest: str) -> tuple[Callable[..., None], Callable[..., None]]:
    @njit(nogil=True, cache=True, error_model="numpy")
    def move(
        batch: Batch,
        arm: Arm,
        added: int,
        actions: np.ndarray,
        rows: np.ndarray,
        counter: np.ndarray,
    ) -> None:
        digest  # noqa: B018 (part of the cache's key)
        pose, goal = empty_pose(), np.empty(batch.ctrl.shape[1])
        i = take(counter, rows)
        while i >= 0:
            own = batch.readings[i, added:]
            _set_goal(arm, actions[i], batch.ctrl[i], own, pose, goal)
            _drive(batch, i, own, goal)
            read(batch, i)
            _see(batch, arm, i, own, pose)
            i = take(counter, rows)

    @njit(nogil=True, cache=True, error_model="numpy")
    def see(batch: Batch, arm: Arm, added: int, i: int) -> None:
        digest  # noqa: B018 (part of the cache's key)
        _see(batch, arm, i, batch.readings[i, added:], empty_pose())

    return move, see


@njit(error_model="numpy")
def _set_goal(
    arm: Arm, action: np.ndarray, ctrl: np.ndarray, own: np.ndarray, pose: Pose, goal: np.ndarray
) -> None:
    """Write the controls [9] that lead to the moved target."""
    forward(arm, ctrl, pose)
    target, yaw = np.empty(3), yaw_of(pose.rot) + TURN_RAD * action[3]
    for k in range(3):
        hand = own[HAND + k]
        moved = min(max(pose.pos[k] + MOVE_M * action[k], hand - LEASH_M), hand + LEASH_M)
        target[k] = min(max(moved, WORKSPACE_LOW_M[k]), WORKSPACE_HIGH_M[k])
    yaw = min(max(yaw, -YAW_LIMIT_RAD), YAW_LIMIT_RAD)
    for j in range(len(goal)):
        goal[j] = ctrl[j]
    inverse(arm, goal, target, yaw, pose)
    if abs(action[4]) > GRIPPER_BAND:  # else it stays as it is
        opening = 0.0 if action[4] > 0 else FINGER_TRAVEL_M
        goal[ARM_JOINTS], goal[ARM_JOINTS + 1] = opening, -opening


@njit(error_model="numpy")
def _drive(batch: Batch, i: int, own: np.ndarray, goal: np.ndarray) -> None:
    """Run the physics steps of one control period on the way to ``goal`` [9]."""
    model, data, sources = batch.models[i], batch.data[i], batch.sources[i]
    ctrl, sensors = batch.ctrl[i], np.empty(batch.counts[SENSORS])
    piece = np.empty(len(ctrl))
    for j in range(len(ctrl)):
        piece[j] = (goal[j] - ctrl[j]) / batch.substeps
    own[FORCE] = own[TOUCH] = 0.0
    for substep in range(batch.substeps):
        for j in range(len(ctrl)):
            ctrl[j] = ctrl[j] + piece[j] if substep < batch.substeps - 1 else goal[j]
        _mju_copy(batch.controls[i], ctrl.ctypes.data, len(ctrl))
        _mju_copy(sources[APPLIED], sources[BIAS], ROBOT_JOINTS)
        mj_step2(model, data)
        _mju_copy(sensors.ctypes.data, sources[SENSORS], len(sensors))
        own[FORCE] = max(own[FORCE], np.sqrt(sensors[0] ** 2 + sensors[1] ** 2 + sensors[2] ** 2))
        for k in range(3, len(sensors)):
            own[TOUCH] = max(own[TOUCH], sensors[k])
        mj_step1(model, data)


@njit(error_model="numpy")
def _see(batch: Batch, arm: Arm, i: int, own: np.ndarray, pose: Pose) -> None:
    """Write where hand and target are."""
    forward(arm, batch.ctrl[i], pose)
    for k in range(3):
        own[TARGET + k] = pose.pos[k]
    forward(arm, batch.readings[i, batch.columns[0] :], pose)
    for k in range(3):
        own[HAND + k] = pose.pos[k]
    own[YAW] = yaw_of(pose.rot)
