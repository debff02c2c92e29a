"""Read robosuite's controller objects into the tables of the compiled control step.

Every number comes from robosuite's own objects. The one thing that cannot be read from an object
is how a gripper formats its action: that is code, and GRIPPER_RULES says the same per class.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from sim.engine.tables import (
    ARM,
    CONSTANT,
    COPY,
    FIXED,
    GRIPPER,
    JOINT_POSITION,
    JOINT_TORQUE,
    JOINT_VELOCITY,
    MAX_JOINTS,
    OSC,
    SIGN,
    VALUE,
    VARIABLE,
    VARIABLE_KP,
    Memory,
)

KINDS = {
    "OperationalSpaceController": OSC,
    "JointPositionController": JOINT_POSITION,
    "JointVelocityController": JOINT_VELOCITY,
    "JointTorqueController": JOINT_TORQUE,
}
IMPEDANCES = {"fixed": FIXED, "variable": VARIABLE, "variable_kp": VARIABLE_KP}


class NotCovered(Exception):
    """The compiled loop does not do what this environment's controllers do; says what."""


@dataclass(frozen=True)
class GripperRule:
    """What a gripper class does with its action: per actuator a rule, a source and a direction."""

    rule: int
    source: tuple[int, ...]  # entry of the gripper's action, per actuator
    direction: tuple[float, ...] = ()  # times the gripper's speed, per actuator that integrates
    kept: int = 0  # entries of robosuite's ``current_action``, fewer where actuators move alike
    constants: tuple[float, ...] = ()  # of further actuators that do not move


_HAND = (0, 0, 1, 1, 2, 2, 3, 3, 4, 4)  # the joints of a finger copy one entry
GRIPPER_RULES = {
    "PandaGripper": GripperRule(SIGN, (0, 0), (-1, 1), 2),
    "RethinkGripper": GripperRule(SIGN, (0, 0), (1, -1), 2),
    "Robotiq85Gripper": GripperRule(SIGN, (0, 0), (1, 1), 2),
    "Robotiq140Gripper": GripperRule(SIGN, (0, 0), (1, -1), 2),
    "RobotiqThreeFingerGripper": GripperRule(VALUE, (0, 0, 0), (1, 1, 1), 1, constants=(-1,)),
    "RobotiqThreeFingerDexterousGripper": GripperRule(SIGN, (0, 1, 2, 3), (1, 1, 1, 1), 4),
    "JacoThreeFingerGripper": GripperRule(SIGN, (0, 0, 0), (-1, -1, -1), 1),
    "JacoThreeFingerDexterousGripper": GripperRule(SIGN, (0, 1, 2), (-1, -1, -1), 3),
    "BDGripper": GripperRule(SIGN, (0,), (1,), 1),
    "InspireLeftHand": GripperRule(COPY, (*_HAND, 4, 5)),
    "InspireRightHand": GripperRule(COPY, (*_HAND, 4, 5)),
    "FourierLeftHand": GripperRule(COPY, (*_HAND, 5)),
    "FourierRightHand": GripperRule(COPY, (*_HAND, 5)),
    "WipingGripper": GripperRule(COPY, ()),
    "NullGripper": GripperRule(COPY, ()),
}


def read_arms(env: Any, fast: bool = False) -> np.ndarray:
    """Make the table of all arms, ARM [P]; NotCovered if a controller is not covered.

    ``fast`` asks for torques that are right to rounding only.
    """
    _require_covered(env)
    entries = [_arm_entry(env, robot, arm, start) for robot, arm, start in _arms(env)]
    table = np.zeros(len(entries), ARM)
    for row, entry in zip(table, entries, strict=True):
        for name, value in entry.items():
            if np.ndim(value):
                row[name][: len(value)] = value
            else:
                row[name] = value
    table["fast"] = fast
    return table


def read_grippers(env: Any) -> np.ndarray:
    """Make the table of all gripper actuators, GRIPPER [G]."""
    entries = [entry for part in _grippers(env) for entry in _gripper_entries(env, *part)]
    table = np.zeros(len(entries), GRIPPER)
    for row, entry in zip(table, entries, strict=True):
        for name, value in entry.items():
            row[name] = value
    return table


def load_memory(env: Any, memory: Memory) -> None:
    """Copy what robosuite's controllers and grippers remember into ``memory``."""
    for row, (robot, arm, _) in zip(memory.arms, _arms(env), strict=True):
        controller = robot.part_controllers[arm]
        size = len(controller.qpos_index)
        row["initial_joint"][:size] = controller.initial_joint
        if KINDS[type(controller).__name__] == JOINT_VELOCITY:
            row["last_error"][:size] = controller.last_err
            row["summed_error"][:size] = controller.summed_err
            row["changes"][:, :size] = controller.derr_buf.buf
            row["newest"], row["filled"] = controller.derr_buf.ptr, controller.derr_buf._size
            row["saturated"] = controller.saturated
    for gripper, openings in _openings(env, memory):
        openings[:] = gripper.current_action


def store_memory(env: Any, memory: Memory, goals: np.ndarray) -> None:
    """Copy memory and goals back: all that robosuite remembers is as after its own control step."""
    for row, goal, (robot, arm, _) in zip(memory.arms, goals, _arms(env), strict=True):
        controller = robot.part_controllers[arm]
        size = len(controller.qpos_index)
        controller.new_update = True
        if KINDS[type(controller).__name__] == OSC:
            controller.goal_pos = goal["position"].copy()
            controller.goal_ori = goal["rotation"].copy()
            controller.update_origin(goal["base_pos"].copy(), goal["base_rotation"].copy())
        elif KINDS[type(controller).__name__] == JOINT_VELOCITY:
            controller.last_err = row["last_error"][:size].copy()
            controller.summed_err = row["summed_error"][:size].copy()
            controller.derr_buf.buf = row["changes"][:, :size].copy()
            controller.derr_buf.ptr = int(row["newest"])
            controller.derr_buf._size = int(row["filled"])
            controller.saturated = bool(row["saturated"])
    for gripper, openings in _openings(env, memory):
        kept = GRIPPER_RULES[type(gripper).__name__].kept
        gripper.current_action = openings[:kept].copy()


# ------------------------------------------------------------------------------------ what there is


def _arms(env: Any) -> Iterator[tuple[Any, str, int]]:
    """Yield (robot, arm, first action entry) of every arm."""
    for robot, first in _robots(env):
        for arm in robot.arms:
            yield robot, arm, first + robot._action_split_indexes[arm][0]


def _grippers(env: Any) -> Iterator[tuple[Any, str, int]]:
    """Yield (robot, arm, first action entry) of every gripper that has a controller."""
    for robot, first in _robots(env):
        for arm in robot.arms:
            part = robot.get_gripper_name(arm)
            if part in robot.part_controllers:
                yield robot, arm, first + robot._action_split_indexes[part][0]


def _robots(env: Any) -> Iterator[tuple[Any, int]]:
    first = 0
    for robot in env.robots:
        yield robot, first
        first += robot.action_dim


def _openings(env: Any, memory: Memory) -> Iterator[tuple[Any, np.ndarray]]:
    """Yield (gripper, its part of the openings) of every gripper that integrates its action."""
    start = 0
    for robot, arm, _ in _grippers(env):
        gripper = robot.gripper[arm]
        rule = GRIPPER_RULES[type(gripper).__name__]
        if rule.kept:
            yield gripper, memory.openings[start : start + len(rule.source)]
        start += len(rule.source) + len(rule.constants)


def _require_covered(env: Any) -> None:
    if not env.lite_physics:
        raise NotCovered("lite_physics=False")
    if type(env).__name__ == "Wipe":
        raise NotCovered("Wipe, whose reward reads buffers that only robosuite's loop fills")
    for robot in env.robots:
        composite = robot.composite_controller
        if type(composite).__name__ != "CompositeController":
            raise NotCovered(f"composite controller {composite.name}")
        for part, controller in composite.part_controllers.items():
            if part in robot.arms:
                _require_covered_arm(controller)
            elif part in composite.grippers:
                _require_covered_gripper(composite.grippers[part], controller)
            else:
                raise NotCovered(f"the controller of a {part}")


def _require_covered_arm(controller: Any) -> None:
    name = type(controller).__name__
    if name not in KINDS:
        raise NotCovered(f"arm controller {name}")
    if len(controller.qpos_index) > MAX_JOINTS:
        raise NotCovered(f"an arm of {len(controller.qpos_index)} joints")
    for slot in ("interpolator", "interpolator_pos", "interpolator_ori"):
        if getattr(controller, slot, None) is not None:
            raise NotCovered("interpolated goals")
    if KINDS[name] == OSC:
        limits = (controller.position_limits, controller.orientation_limits)
        if any(limit is not None and np.any(limit) for limit in limits):
            raise NotCovered("limits on the hand's goal pose")
        if getattr(controller, "_goal_update_mode", "achieved") != "achieved":
            raise NotCovered("goals relative to earlier goals")


def _require_covered_gripper(gripper: Any, controller: Any) -> None:
    if type(gripper).__name__ not in GRIPPER_RULES:
        raise NotCovered(f"gripper {type(gripper).__name__}")
    if type(controller).__name__ != "SimpleGripController" or controller.interpolator is not None:
        raise NotCovered(f"gripper controller {type(controller).__name__}")


# ----------------------------------------------------------------------------------------- an arm


def _arm_entry(env: Any, robot: Any, arm: str, start: int) -> dict[str, Any]:
    controller = robot.part_controllers[arm]
    kind = KINDS[type(controller).__name__]
    sim = env.sim
    actuators = np.array(robot._ref_actuators_indexes_dict[arm], np.int64)
    base = sim.model.site_name2id(f"{controller.naming_prefix}{controller.part_name}_center")
    base_body = sim.model.site_bodyid[base]
    size = len(controller.input_max)
    return {
        "kind": kind,
        "joints": len(controller.qpos_index),
        "qpos": np.array(controller.qpos_index, np.int64),
        "dof": np.array(controller.qvel_index, np.int64),
        "actuator": actuators,
        "site": sim.model.site_name2id(controller.ref_name),
        "base_site": base,
        "base_moves": bool(sim.model._model.body_weldid[base_body] != 0),
        "command": start,
        "command_size": size,
        "impedance": IMPEDANCES[getattr(controller, "impedance_mode", "fixed")],
        "delta": getattr(controller, "input_type", "delta") == "delta",
        "base_frame": getattr(controller, "input_ref_frame", "world") == "base",
        "orientation": getattr(controller, "use_ori", False) is True,
        "uncouple": bool(getattr(controller, "uncoupling", True)),
        **_scaling(controller),
        **_goal_limits(controller, kind, size),
        **_gains(controller, kind),
        "torque_low": controller.actuator_min,
        "torque_high": controller.actuator_max,
        "ctrl_low": sim.model.actuator_ctrlrange[actuators, 0],
        "ctrl_high": sim.model.actuator_ctrlrange[actuators, 1],
    }


def _scaling(controller: Any) -> dict[str, np.ndarray]:
    """From [input_min, input_max] to [output_min, output_max], as robosuite's scale_action."""
    low, high = controller.input_min, controller.input_max
    output_low, output_high = controller.output_min, controller.output_max
    return {
        "input_low": low,
        "input_high": high,
        "input_middle": (high + low) / 2.0,
        "output_scale": abs(output_high - output_low) / abs(high - low),
        "output_middle": (output_high + output_low) / 2.0,
    }


def _goal_limits(controller: Any, kind: int, size: int) -> dict[str, np.ndarray]:
    limits = None
    if kind == JOINT_POSITION and controller.input_type == "delta":
        limits = controller.position_limits
    elif kind == JOINT_VELOCITY:
        limits = controller.velocity_limits
    elif kind == JOINT_TORQUE:
        limits = controller.torque_limits
    low, high = (-np.inf, np.inf) if limits is None else limits
    return {"goal_low": np.broadcast_to(low, size), "goal_high": np.broadcast_to(high, size)}


def _gains(controller: Any, kind: int) -> dict[str, np.ndarray]:
    names = ("kp", "ki", "kd", "kp_low", "kp_high", "damping_low", "damping_high")
    sources = ("kp", "ki", "kd", "kp_min", "kp_max", "damping_ratio_min", "damping_ratio_max")
    zeros = np.zeros(6 if kind == OSC else len(controller.qpos_index))
    return {
        name: np.array(getattr(controller, source, zeros), np.float64)
        for name, source in zip(names, sources, strict=True)
    }


# --------------------------------------------------------------------------------------- a gripper


def _gripper_entries(env: Any, robot: Any, arm: str, start: int) -> Iterator[dict[str, Any]]:
    gripper = robot.gripper[arm]
    controller = robot.part_controllers[robot.get_gripper_name(arm)]
    rule = GRIPPER_RULES[type(gripper).__name__]
    actuators = controller.actuator_index
    if len(actuators) != len(rule.source) + len(rule.constants):
        raise NotCovered(f"{type(gripper).__name__} with {len(actuators)} actuators")
    per_entry = _scaling(controller) | {
        "weight": 0.5 * (controller.actuator_max - controller.actuator_min),
        "bias": 0.5 * (controller.actuator_max + controller.actuator_min),
        "ctrl_low": env.sim.model.actuator_ctrlrange[actuators, 0],
        "ctrl_high": env.sim.model.actuator_ctrlrange[actuators, 1],
    }
    for i, actuator in enumerate(actuators):
        common = {
            "actuator": actuator,
            "source": start,
            "scaled": controller.use_action_scaling,
            **{name: values[i] for name, values in per_entry.items()},
        }
        if i >= len(rule.source):
            constant = rule.constants[i - len(rule.source)]
            yield common | {"rule": CONSTANT, "gain": constant}
            continue
        gain = gripper.speed * rule.direction[i] if rule.kept else 1.0
        yield common | {"rule": rule.rule, "source": start + rule.source[i], "gain": gain}
