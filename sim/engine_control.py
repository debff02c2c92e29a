"""One control step of robosuite's arms and grippers as a single compiled function.

``Arms`` and ``Grippers`` are tables of constants, ``Memory`` is what outlives a control step. P
arms, J joints of the longest arm, D = max(6, J) entries of the longest command, G gripper
actuators. Entries beyond an arm's own joints or commands are never read.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from sim.engine_mujoco import Simulation, mj_step1, mj_step2
from sim.osc import (
    Workspace,
    absolute_rotation,
    delta_rotation,
    in_base_frame,
    in_world_frame,
    osc_torque,
    read_hand,
    read_mass,
)

OSC, JOINT_POSITION, JOINT_VELOCITY, JOINT_TORQUE = range(4)  # Arms.kind
FIXED, VARIABLE, VARIABLE_KP = range(3)  # Arms.impedance
COPY, SIGN, VALUE, CONSTANT = range(4)  # Grippers.rule


class Arms(NamedTuple):
    """Constants of every arm's controller, read from robosuite's own objects."""

    kind: np.ndarray  # [P] OSC, JOINT_POSITION, JOINT_VELOCITY or JOINT_TORQUE
    joints: np.ndarray  # [P] number of joints
    qpos: np.ndarray  # [P, J] indices
    dof: np.ndarray  # [P, J] indices
    actuator: np.ndarray  # [P, J] indices
    site: np.ndarray  # [P] the hand's
    base_site: np.ndarray  # [P] the arm's base
    base_moves: np.ndarray  # [P] bool
    command: np.ndarray  # [P] where the arm's command starts in the action
    command_size: np.ndarray  # [P] entries of it that are no gains
    impedance: np.ndarray  # [P] FIXED, VARIABLE (damping, kp, command) or VARIABLE_KP (kp, command)
    delta: np.ndarray  # [P] bool: a goal relative to the current position
    base_frame: np.ndarray  # [P] bool: goals in the frame of the arm's base, else the world's
    orientation: np.ndarray  # [P] bool: the command has a rotation
    uncouple: np.ndarray  # [P] bool: position and orientation apart
    input_low: np.ndarray  # [P, D]
    input_high: np.ndarray  # [P, D]
    input_middle: np.ndarray  # [P, D]
    output_scale: np.ndarray  # [P, D]
    output_middle: np.ndarray  # [P, D]
    goal_low: np.ndarray  # [P, D] limits of the scaled goal
    goal_high: np.ndarray  # [P, D]
    kp: np.ndarray  # [P, D]
    ki: np.ndarray  # [P, D]
    kd: np.ndarray  # [P, D]
    kp_low: np.ndarray  # [P, D]
    kp_high: np.ndarray  # [P, D]
    damping_low: np.ndarray  # [P, D]
    damping_high: np.ndarray  # [P, D]
    torque_low: np.ndarray  # [P, J] limits inside the controller (N m)
    torque_high: np.ndarray  # [P, J]
    ctrl_low: np.ndarray  # [P, J] limits of the actuators
    ctrl_high: np.ndarray  # [P, J]


class Grippers(NamedTuple):
    """How every gripper actuator follows the action, one entry per actuator."""

    actuator: np.ndarray  # [G] index
    source: np.ndarray  # [G] index into the action
    rule: np.ndarray  # [G] COPY, SIGN or VALUE (integrate either), CONSTANT
    gain: np.ndarray  # [G] amount per control step and sign, or the constant
    input_low: np.ndarray  # [G]
    input_high: np.ndarray  # [G]
    input_middle: np.ndarray  # [G]
    output_scale: np.ndarray  # [G]
    output_middle: np.ndarray  # [G]
    weight: np.ndarray  # [G] from [-1, 1] to the actuator's range
    bias: np.ndarray  # [G]
    scaled: np.ndarray  # [G] bool: whether the seven above apply
    ctrl_low: np.ndarray  # [G]
    ctrl_high: np.ndarray  # [G]


class Memory(NamedTuple):
    """What outlives a control step; all arrays are views of one vector (see ``memory_views``)."""

    initial_joint: np.ndarray  # [P, J] where the null space pulls to (rad)
    opening: np.ndarray  # [G] the grippers' integrated command
    last_error: np.ndarray  # [P, J] of JOINT_VELOCITY
    summed_error: np.ndarray  # [P, J]
    changes: np.ndarray  # [P, 5, J] ring buffer of error differences
    ring: np.ndarray  # [P, 3] newest entry, entries filled, saturated (0 or 1)


class Goals(NamedTuple):
    """Goals and gains of the current control step."""

    position: np.ndarray  # [P, 3] of the hand
    rotation: np.ndarray  # [P, 3, 3]
    joint: np.ndarray  # [P, D] joint positions, velocities or torques; else the scaled command
    kp: np.ndarray  # [P, D]
    kd: np.ndarray  # [P, D]
    torque: np.ndarray  # [J]


def memory_views(vector: np.ndarray, arms: Arms, actuators: int) -> Memory:
    """Lay the memory out over a vector of ``memory_size`` entries."""
    shapes = _memory_shapes(arms, actuators)
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    parts = np.split(vector, ends[:-1])
    return Memory(*(part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)))


def memory_size(arms: Arms, actuators: int) -> int:
    """Count the entries of the memory; only JOINT_VELOCITY needs its four last parts."""
    return sum(int(np.prod(shape)) for shape in _memory_shapes(arms, actuators))


def _memory_shapes(arms: Arms, actuators: int) -> list[tuple[int, ...]]:
    count, joints = arms.qpos.shape
    errors = count if JOINT_VELOCITY in arms.kind else 0
    error = (errors, joints)
    return [(count, joints), (actuators,), error, error, (errors, 5, joints), (errors, 3)]


def new_goals(arms: Arms) -> Goals:
    """Allocate Goals."""
    count, entries = arms.kp.shape
    shapes = [(count, 3), (count, 3, 3), (count, entries), (count, entries), (count, entries)]
    return Goals(*(np.zeros(shape) for shape in [*shapes, arms.qpos.shape[1:]]))


@njit(nogil=True, cache=True)
def control_step(
    sim: Simulation,
    arms: Arms,
    grippers: Grippers,
    memory: Memory,
    goals: Goals,
    work: Workspace,
    action: np.ndarray,
    substeps: int,
) -> None:
    """Advance the simulation by one control period: so many physics steps under one action [A]."""
    for step in range(substeps):
        mj_step1(sim.model, sim.data)
        if step == 0:
            for arm in range(len(arms.kind)):
                _set_goal(sim, arms, arm, action, goals)
            _move_grippers(sim, grippers, memory, action)
        for arm in range(len(arms.kind)):
            _run_arm(sim, arms, arm, memory, goals, work)
        mj_step2(sim.model, sim.data)


@njit(nogil=True, cache=True)
def _clip(value: float, low: float, high: float) -> float:
    """Clip as numpy does: NaN stays NaN."""
    if value < low:
        return low
    return high if value > high else value


# ------------------------------------------------------------------------------------------- goals


@njit(nogil=True, cache=True)
def _set_goal(sim: Simulation, arms: Arms, arm: int, action: np.ndarray, goals: Goals) -> None:
    start = arms.command[arm] + _set_gains(arms, arm, action[arms.command[arm] :], goals)
    for i in range(arms.command_size[arm]):
        value = action[start + i]
        if arms.delta[arm]:
            value = _clip(value, arms.input_low[arm, i], arms.input_high[arm, i])
            value = (value - arms.input_middle[arm, i]) * arms.output_scale[arm, i]
            value += arms.output_middle[arm, i]
        goals.joint[arm, i] = value
    if arms.kind[arm] == OSC:
        _set_hand_goal(sim, arms, arm, action, goals)
        return
    for i in range(arms.joints[arm]):
        if arms.kind[arm] == JOINT_POSITION and arms.delta[arm]:
            goals.joint[arm, i] += sim.qpos[arms.qpos[arm, i]]
        low, high = arms.goal_low[arm, i], arms.goal_high[arm, i]
        goals.joint[arm, i] = _clip(goals.joint[arm, i], low, high)


@njit(nogil=True, cache=True)
def _set_gains(arms: Arms, arm: int, command: np.ndarray, goals: Goals) -> int:
    """Set this step's gains, from the command where it has some; say how many entries it has."""
    size = 6 if arms.kind[arm] == OSC else arms.joints[arm]
    impedance = arms.impedance[arm]
    first = size if impedance == VARIABLE else 0
    for i in range(size):
        goals.kp[arm, i], goals.kd[arm, i] = arms.kp[arm, i], arms.kd[arm, i]
        if impedance != FIXED:
            kp = _clip(command[first + i], arms.kp_low[arm, i], arms.kp_high[arm, i])
            goals.kp[arm, i], goals.kd[arm, i] = kp, 2.0 * np.sqrt(kp)
        if impedance == VARIABLE:
            damping = _clip(command[i], arms.damping_low[arm, i], arms.damping_high[arm, i])
            goals.kd[arm, i] *= damping
    return 0 if impedance == FIXED else first + size


@njit(nogil=True, cache=True)
def _set_hand_goal(
    sim: Simulation, arms: Arms, arm: int, action: np.ndarray, goals: Goals
) -> None:
    """Set the hand's goal pose, in the base's or the world's frame."""
    site, base = arms.site[arm], arms.base_site[arm]
    command = goals.joint[arm]
    position, rotation = sim.site_pos[site].copy(), sim.site_rotation[site].copy().reshape(3, 3)
    if arms.base_frame[arm]:
        base_rotation = sim.site_rotation[base].reshape(3, 3)
        position, rotation = in_base_frame(position, rotation, sim.site_pos[base], base_rotation)
    if arms.delta[arm]:
        for i in range(3):
            goals.position[arm, i] = position[i] + command[i]
    else:  # robosuite takes the first three entries, also where gains come first
        goals.position[arm] = action[arms.command[arm] : arms.command[arm] + 3]
    if arms.orientation[arm] and not arms.delta[arm]:
        start = arms.command[arm] + 3
        absolute_rotation(action[start : start + 3], goals.rotation[arm])
        return
    turn = np.empty((3, 3))
    delta_rotation(command[3:6] if arms.orientation[arm] else np.zeros(3), turn)
    for i in range(3):
        for j in range(3):
            total = 0.0
            for k in range(3):
                total += turn[i, k] * rotation[k, j]
            goals.rotation[arm, i, j] = total


@njit(nogil=True, cache=True)
def _move_grippers(
    sim: Simulation, grippers: Grippers, memory: Memory, action: np.ndarray
) -> None:
    """Format the action as the gripper does, scale it to the actuators and write their controls."""
    for g in range(len(grippers.actuator)):
        rule, value = grippers.rule[g], grippers.gain[g]
        if rule != CONSTANT:
            value = action[grippers.source[g]]
        if rule == SIGN or rule == VALUE:
            change = grippers.gain[g] * (np.sign(value) if rule == SIGN else value)
            value = memory.opening[g] = _clip(memory.opening[g] + change, -1.0, 1.0)
        if grippers.scaled[g]:
            value = _clip(value, grippers.input_low[g], grippers.input_high[g])
            value = (value - grippers.input_middle[g]) * grippers.output_scale[g]
            value = grippers.bias[g] + grippers.weight[g] * (value + grippers.output_middle[g])
        value = _clip(value, grippers.ctrl_low[g], grippers.ctrl_high[g])
        sim.ctrl[grippers.actuator[g]] = value


# ----------------------------------------------------------------------------------------- torques


@njit(nogil=True, cache=True)
def _run_arm(
    sim: Simulation, arms: Arms, arm: int, memory: Memory, goals: Goals, work: Workspace
) -> None:
    joints = arms.joints[arm]
    torque = goals.torque
    if arms.kind[arm] == OSC:
        _run_osc(sim, arms, arm, memory, goals, work)
    elif arms.kind[arm] == JOINT_POSITION:
        _run_joint_position(sim, arms, arm, goals, work)
    elif arms.kind[arm] == JOINT_VELOCITY:
        _run_joint_velocity(sim, arms, arm, memory, goals)
    else:
        for i in range(joints):
            torque[i] = goals.joint[arm, i] + sim.bias[arms.dof[arm, i]]
    for i in range(joints):
        limited = _clip(torque[i], arms.ctrl_low[arm, i], arms.ctrl_high[arm, i])
        sim.ctrl[arms.actuator[arm, i]] = limited


@njit(nogil=True, cache=True)
def _run_osc(
    sim: Simulation, arms: Arms, arm: int, memory: Memory, goals: Goals, work: Workspace
) -> None:
    joints = arms.joints[arm]
    dofs, base = arms.dof[arm, :joints], arms.base_site[arm]
    position, rotation = goals.position[arm], goals.rotation[arm]
    if arms.base_frame[arm]:
        base_rotation = sim.site_rotation[base].reshape(3, 3)
        position, rotation = in_world_frame(position, rotation, sim.site_pos[base], base_rotation)
    read_mass(sim, dofs, work)
    read_hand(sim, arms.site[arm], base if arms.base_moves[arm] else -1, dofs, work)
    osc_torque(
        sim, arms.site[arm], arms.qpos[arm, :joints], dofs, position, rotation, goals.kp[arm],
        goals.kd[arm], arms.uncouple[arm], memory.initial_joint[arm], work, goals.torque,
    )  # fmt: skip


@njit(nogil=True, cache=True)
def _run_joint_position(
    sim: Simulation, arms: Arms, arm: int, goals: Goals, work: Workspace
) -> None:
    joints = arms.joints[arm]
    dofs = arms.dof[arm, :joints]
    read_mass(sim, dofs, work)
    for j in range(joints):
        error = goals.joint[arm, j] - sim.qpos[arms.qpos[arm, j]]
        work.pull[j] = error * goals.kp[arm, j] - sim.qvel[dofs[j]] * goals.kd[arm, j]
    for i in range(joints):
        total = 0.0
        for j in range(joints):
            total += work.mass[i, j] * work.pull[j]
        goals.torque[i] = total + sim.bias[dofs[i]]


@njit(nogil=True, cache=True)
def _run_joint_velocity(
    sim: Simulation, arms: Arms, arm: int, memory: Memory, goals: Goals
) -> None:
    """Run a PID controller on joint velocities; the integral rests while any torque saturates."""
    ring = memory.ring[arm]
    ring[0] = (ring[0] + 1) % 5
    ring[1] = min(ring[1] + 1, 5)
    was_saturated, excess = ring[2] != 0, 0.0
    for i in range(arms.joints[arm]):
        error = goals.joint[arm, i] - sim.qvel[arms.dof[arm, i]]
        memory.changes[arm, int(ring[0]), i] = error - memory.last_error[arm, i]
        memory.last_error[arm, i] = error
        if not was_saturated:
            memory.summed_error[arm, i] += error
        change = 0.0
        for k in range(int(ring[1])):
            change += memory.changes[arm, k, i]
        torque = arms.kp[arm, i] * error + arms.ki[arm, i] * memory.summed_error[arm, i]
        torque += arms.kd[arm, i] * (change / ring[1]) + sim.bias[arms.dof[arm, i]]
        goals.torque[i] = _clip(torque, arms.torque_low[arm, i], arms.torque_high[arm, i])
        excess += abs(goals.torque[i] - torque)
    ring[2] = 0.0 if excess == 0.0 else 1.0
