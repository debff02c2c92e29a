"""One control step of robosuite's arms and grippers as a single compiled function.

Products of matrices and sums follow robosuite's order, so that torques agree to the last bit (see
``sim.engine.osc``).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numba import njit

from sim.engine.compiling import announce, source_digest
from sim.engine.lapack import Lapack, apply, multiply
from sim.engine.mujoco import Simulation, mj_step1, mj_step2
from sim.engine.osc import (
    NULLSPACE_KD,
    NULLSPACE_KP,
    absolute_rotation,
    arm_mass,
    delta_rotation,
    hand_motion,
    in_base_frame,
    joint_torque,
    orientation_error,
)
from sim.engine.osc_fast import fast_joint_torque
from sim.engine.tables import (
    CONSTANT,
    COPY,
    FIXED,
    JOINT_POSITION,
    JOINT_VELOCITY,
    OSC,
    SIGN,
    VARIABLE,
)


@functools.cache
def control_step() -> Callable[..., None]:
    """Give the compiled control step, from numba's cache on disk where it is up to date."""
    return _compile_control_step(source_digest(Path(__file__).parent))


def _compile_control_step(digest: str) -> Callable[..., None]:
    @njit(nogil=True, cache=True, error_model="numpy")
    def step(
        sim: Simulation,
        arms: np.ndarray,
        grippers: np.ndarray,
        memories: np.ndarray,
        openings: np.ndarray,
        goals: np.ndarray,
        controls: np.ndarray,
        lapack: Lapack,
        action: np.ndarray,
        substeps: int,
        begun: bool,
    ) -> None:
        digest  # noqa: B018 (part of the cache's key)
        for substep in range(substeps):
            if substep > 0 or not begun:
                mj_step1(sim.model, sim.data)
            if substep == 0:
                for p in range(len(arms)):
                    _set_goal(sim, arms[p], action[arms[p].command :], goals[p], lapack)
                _move_grippers(grippers, openings, action, controls)
            for g in range(len(grippers)):
                sim.ctrl[grippers[g].actuator] = controls[g]
            for p in range(len(arms)):
                if arms[p].kind == OSC and (substep == 0 or arms[p].base_moves):
                    _set_world_goal(sim, arms[p], goals[p], lapack)
                _run_arm(sim, arms[p], memories[p], goals[p], lapack)
            mj_step2(sim.model, sim.data)

    announce(step, "robosuite's control step")
    return step


@njit(error_model="numpy")
def _clip(value: float, low: float, high: float) -> float:
    """Clip as numpy does: NaN stays NaN."""
    if value < low:
        return low
    return high if value > high else value


# ------------------------------------------------------------------------------------------- goals


@njit(error_model="numpy")
def _set_goal(
    sim: Simulation, arm: np.record, command: np.ndarray, goal: np.record, lapack: Lapack
) -> None:
    start = _set_gains(arm, command, goal)
    for i in range(arm.command_size):
        value = command[start + i]
        if arm.delta:
            value = _clip(value, arm.input_low[i], arm.input_high[i])
            value = (value - arm.input_middle[i]) * arm.output_scale[i] + arm.output_middle[i]
        goal.joint[i] = value
    if arm.kind == OSC:
        _set_hand_goal(sim, arm, command, goal, lapack)
        return
    for i in range(arm.joints):
        if arm.kind == JOINT_POSITION and arm.delta:
            goal.joint[i] += sim.qpos[arm.qpos[i]]
        goal.joint[i] = _clip(goal.joint[i], arm.goal_low[i], arm.goal_high[i])


@njit(error_model="numpy")
def _set_gains(arm: np.record, command: np.ndarray, goal: np.record) -> int:
    """Set this step's gains, from the command where it has some; say how many entries they take."""
    size = 6 if arm.kind == OSC else arm.joints
    first = size if arm.impedance == VARIABLE else 0
    for i in range(size):
        goal.kp[i], goal.kd[i] = arm.kp[i], arm.kd[i]
        if arm.impedance != FIXED:
            goal.kp[i] = _clip(command[first + i], arm.kp_low[i], arm.kp_high[i])
            goal.kd[i] = 2.0 * np.sqrt(goal.kp[i])
        if arm.impedance == VARIABLE:
            goal.kd[i] *= _clip(command[i], arm.damping_low[i], arm.damping_high[i])
    return 0 if arm.impedance == FIXED else first + size


@njit(error_model="numpy")
def _set_hand_goal(
    sim: Simulation, arm: np.record, command: np.ndarray, goal: np.record, lapack: Lapack
) -> None:
    """Set the hand's goal pose, in the base's or the world's frame."""
    position, rotation = _site_pose(sim, arm.site)
    if arm.base_frame:
        base_pos, base_rotation = _site_pose(sim, arm.base_site)
        position, rotation = in_base_frame(position, rotation, base_pos, base_rotation, lapack)
    turn = np.zeros(3)
    for i in range(3):
        # robosuite takes an absolute position from the first entries, even where gains come first.
        goal.position[i] = position[i] + goal.joint[i] if arm.delta else command[i]
        if arm.orientation:
            turn[i] = goal.joint[3 + i] if arm.delta else command[3 + i]
    if arm.orientation and not arm.delta:
        turned = absolute_rotation(turn)
    else:
        turned = np.empty((3, 3))
        multiply(delta_rotation(turn), False, rotation, False, turned, lapack)
    for i in range(3):
        for j in range(3):
            goal.rotation[i, j] = turned[i, j]


@njit(error_model="numpy")
def _set_world_goal(sim: Simulation, arm: np.record, goal: np.record, lapack: Lapack) -> None:
    """Set the hand's goal pose in the world; it moves within a control step if the base does."""
    base_pos, base_rotation = _site_pose(sim, arm.base_site)
    position, rotation = np.empty(3), np.empty((3, 3))
    for i in range(3):
        goal.base_pos[i], position[i] = base_pos[i], goal.position[i]
        for j in range(3):
            goal.base_rotation[i, j], rotation[i, j] = base_rotation[i, j], goal.rotation[i, j]
    if arm.base_frame:
        outside, turned = np.empty(3), np.empty((3, 3))
        apply(base_rotation, False, position, outside, lapack)
        multiply(base_rotation, False, rotation, False, turned, lapack)
        for i in range(3):
            position[i] = base_pos[i] + outside[i]
        rotation = turned
    for i in range(3):
        goal.world_position[i] = position[i]
        for j in range(3):
            goal.world_rotation[i, j] = rotation[i, j]


@njit(error_model="numpy")
def _site_pose(sim: Simulation, site: int) -> tuple[np.ndarray, np.ndarray]:
    position, rotation = np.empty(3), np.empty((3, 3))
    for i in range(3):
        position[i] = sim.site_pos[site, i]
        for j in range(3):
            rotation[i, j] = sim.site_rotation[site, 3 * i + j]
    return position, rotation


@njit(error_model="numpy")
def _move_grippers(
    grippers: np.ndarray, openings: np.ndarray, action: np.ndarray, controls: np.ndarray
) -> None:
    """Format the action as the gripper does and scale it to the actuators' controls [G]."""
    for g in range(len(grippers)):
        gripper = grippers[g]
        value = gripper.gain
        if gripper.rule == COPY:
            value = action[gripper.source]
        elif gripper.rule != CONSTANT:
            amount = action[gripper.source]
            change = gripper.gain * (np.sign(amount) if gripper.rule == SIGN else amount)
            value = _clip(openings[g] + change, -1.0, 1.0)
            openings[g] = value
        if gripper.scaled:
            value = _clip(value, gripper.input_low, gripper.input_high)
            value = (value - gripper.input_middle) * gripper.output_scale + gripper.output_middle
            value = gripper.bias + gripper.weight * value
        controls[g] = _clip(value, gripper.ctrl_low, gripper.ctrl_high)


# ----------------------------------------------------------------------------------------- torques


@njit(error_model="numpy")
def _run_arm(
    sim: Simulation, arm: np.record, memory: np.record, goal: np.record, lapack: Lapack
) -> None:
    dofs = arm.dof[: arm.joints]
    bias = np.empty(arm.joints)
    for i in range(arm.joints):
        bias[i] = sim.bias[dofs[i]]
    if arm.kind == OSC:
        torque = _run_osc(sim, arm, dofs, bias, memory, goal, lapack)
    elif arm.kind == JOINT_POSITION:
        torque = _run_joint_position(sim, arm, dofs, bias, goal, lapack)
    elif arm.kind == JOINT_VELOCITY:
        torque = _run_joint_velocity(sim, arm, dofs, bias, memory, goal)
    else:
        torque = np.empty(arm.joints)
        for i in range(arm.joints):
            torque[i] = goal.joint[i] + bias[i]
    for i in range(arm.joints):
        sim.ctrl[arm.actuator[i]] = _clip(torque[i], arm.ctrl_low[i], arm.ctrl_high[i])


@njit(error_model="numpy")
def _run_osc(
    sim: Simulation,
    arm: np.record,
    dofs: np.ndarray,
    bias: np.ndarray,
    memory: np.record,
    goal: np.record,
    lapack: Lapack,
) -> np.ndarray:
    position, rotation = _site_pose(sim, arm.site)
    base_site = arm.base_site if arm.base_moves else -1
    jacobian, linear, angular = hand_motion(sim, arm.site, base_site, dofs, lapack)
    turn = orientation_error(goal.world_rotation, rotation)
    wish = np.empty(6)
    for i in range(3):
        wish[i] = (goal.world_position[i] - position[i]) * goal.kp[i] + -linear[i] * goal.kd[i]
        wish[3 + i] = turn[i] * goal.kp[3 + i] + -angular[i] * goal.kd[3 + i]
    pull = np.empty(len(dofs))
    for i in range(len(dofs)):
        stretch = memory.initial_joint[i] - sim.qpos[arm.qpos[i]]
        pull[i] = NULLSPACE_KP * stretch - NULLSPACE_KD * sim.qvel[dofs[i]]
    mass, uncouple = arm_mass(sim, dofs), arm.uncouple != 0
    if arm.fast:
        torque = np.empty(len(dofs))
        if fast_joint_torque(mass, jacobian, wish, pull, bias, uncouple, torque):
            return torque
    return joint_torque(mass, jacobian, wish, pull, bias, uncouple, lapack)


@njit(error_model="numpy")
def _run_joint_position(
    sim: Simulation,
    arm: np.record,
    dofs: np.ndarray,
    bias: np.ndarray,
    goal: np.record,
    lapack: Lapack,
) -> np.ndarray:
    acceleration = np.empty(len(dofs))
    for i in range(len(dofs)):
        error = goal.joint[i] - sim.qpos[arm.qpos[i]]
        acceleration[i] = error * goal.kp[i] + -sim.qvel[dofs[i]] * goal.kd[i]
    torque = np.empty(len(dofs))
    apply(arm_mass(sim, dofs), True, acceleration, torque, lapack)
    for i in range(len(dofs)):
        torque[i] += bias[i]
    return torque


@njit(error_model="numpy")
def _run_joint_velocity(
    sim: Simulation,
    arm: np.record,
    dofs: np.ndarray,
    bias: np.ndarray,
    memory: np.record,
    goal: np.record,
) -> np.ndarray:
    """Run a PID controller on joint velocities; the integral rests while any torque saturates."""
    memory.newest = (memory.newest + 1) % 5
    memory.filled = min(memory.filled + 1, 5)
    limited, excess = np.empty(len(dofs)), 0.0
    for i in range(len(dofs)):
        error = goal.joint[i] - sim.qvel[dofs[i]]
        memory.changes[int(memory.newest), i] = error - memory.last_error[i]
        memory.last_error[i] = error
        if memory.saturated == 0.0:
            memory.summed_error[i] += error
        change = 0.0
        for k in range(int(memory.filled)):
            change += memory.changes[k, i]
        torque = arm.kp[i] * error + arm.ki[i] * memory.summed_error[i]
        torque = torque + arm.kd[i] * (change / memory.filled) + bias[i]
        limited[i] = _clip(torque, arm.torque_low[i], arm.torque_high[i])
        excess += abs(limited[i] - torque)
    memory.saturated = 0.0 if excess == 0.0 else 1.0
    return limited
