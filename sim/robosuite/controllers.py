"""robosuite's controllers: which one to load, and what the entries of an action mean."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from robolearn.errors import UserError, nearest
from robolearn.types import ArraySpec
from sim.base.options import choose, require_mapping

POSE = ("x", "y", "z", "rx", "ry", "rz")
POSE_UNITS = ("m", "m", "m", "rad", "rad", "rad")
# controller -> (prefix of an entry's name, unit)
JOINT_ENTRIES = {
    "JOINT_POSITION": ("dq", "rad"),
    "JOINT_VELOCITY": ("dq_dt", "rad/s"),
    "JOINT_TORQUE": ("torque", "N m"),
}
# Absolute poses are given to robosuite in metres and radians: [-1, 1] is stretched to this range.
ABSOLUTE_POSE = (2.0, 2.0, 2.0, np.pi, np.pi, np.pi)
# settings that are one of several words
CHOICES = {
    "impedance_mode": ("fixed", "variable", "variable_kp"),
    "input_type": ("delta", "absolute"),
    "input_ref_frame": ("base", "world"),
}
IK_SENSITIVITY = 0.3  # robosuite's factor on the position part of an IK_POSE action


@dataclass(frozen=True)
class ActionMap:
    """The action of an environment, [-1, 1]^A, and robosuite's, ``offset + gain * action``."""

    spec: ArraySpec
    gain: np.ndarray  # [A]
    offset: np.ndarray  # [A]

    def __call__(self, action: np.ndarray) -> np.ndarray:
        """Turn an action [A] in [-1, 1] into robosuite's [A]."""
        return self.offset + self.gain * action


def controller_config(controller: str | Mapping[str, Any], robot: str, where: str) -> dict:
    """Make robosuite's composite controller settings for a robot.

    ``controller`` is the name of a part controller for its arms (the rest of the robot keeps its
    default), settings that differ from that controller's default, ``{"type": "OSC_POSE", "kp":
    300}``, or a whole composite configuration with ``body_parts``. Raises UserError for an unknown
    name or setting.
    """
    from robosuite.controllers import load_composite_controller_config
    from robosuite.models.robots.robot_model import REGISTERED_ROBOTS

    if not isinstance(controller, str):
        require_mapping(where, controller=controller)
    if not isinstance(controller, str) and "body_parts" in controller:
        return dict(controller)
    part = _part_settings(controller, where)
    config = load_composite_controller_config(robot=robot)
    if config["type"].startswith("WHOLE_BODY"):
        config["type"] = "BASIC"  # a whole-body solver would command the arms itself
    for arm in REGISTERED_ROBOTS[robot].arms:
        gripper = config["body_parts"].get(arm, {}).get("gripper", {"type": "GRIP"})
        config["body_parts"][arm] = {**part, "gripper": dict(gripper)}
    return config


def _part_settings(controller: str | Mapping[str, Any], where: str) -> dict[str, Any]:
    from robosuite.controllers import ALL_PART_CONTROLLERS, load_part_controller_config

    changes = {"type": controller} if isinstance(controller, str) else dict(controller)
    name = choose(changes.setdefault("type", "OSC_POSE"), ALL_PART_CONTROLLERS, where, "controller")
    settings = load_part_controller_config(default_controller=name)
    settings.setdefault("interpolation", None)  # IK_POSE's defaults lack it, and robosuite reads it
    for key in changes:
        if key not in settings:
            raise UserError(f"{where}: unknown setting '{key}' of {name}{nearest(key, settings)}")
        _check_setting(key, changes[key], settings[key], where)
    return {**settings, **{k: list(v) if isinstance(v, tuple) else v for k, v in changes.items()}}


def _check_setting(key: str, value: Any, default: Any, where: str) -> None:
    """Raise UserError for an unknown choice, and for anything but numbers where they belong."""
    if key in CHOICES:
        choose(value, CHOICES[key], where, key)
    elif isinstance(default, int | float | list) and not _is_numbers(value):
        raise UserError(f"{where}: {key}={value!r} must be a number or a list of numbers")


def _is_numbers(value: Any) -> bool:
    values = value if isinstance(value, list | tuple | np.ndarray) else [value]
    return all(isinstance(one, Real) for one in values)


def describe(config: Mapping[str, Any], env: Any, control_hz: int) -> dict[str, Any]:
    """Give the JSON-able settings that define what an action does."""
    grippers = [type(g).__name__ for robot in env.robots for g in robot.gripper.values()]
    return {"control_hz": control_hz, "grippers": grippers, **config}


def action_map(env: Any) -> ActionMap:
    """Describe robosuite's action: names, units and scale per entry, and its numerical range."""
    entries = [entry for robot in env.robots for entry in _robot_entries(robot, len(env.robots))]
    names, units, scale, stretch = zip(*entries, strict=True)
    low, high = (np.asarray(bound, float) * stretch for bound in env.action_spec)
    spec = ArraySpec((len(names),), "float32", names, units, scale)
    return ActionMap(spec, gain=(high - low) / 2, offset=(high + low) / 2)


Entry = tuple[str, str, float, float]  # name, unit, scale, stretch of robosuite's range


def _robot_entries(robot: Any, robots: int) -> Iterator[Entry]:
    prefix = robot.robot_model.naming_prefix if robots > 1 else ""
    splits = robot.composite_controller._action_split_indexes
    count = 0
    for part, (start, end) in splits.items():
        controller = robot.part_controllers[part]
        part_prefix = prefix + (f"{part.split('_')[0]}_" if len(robot.arms) > 1 else "")
        if part.endswith("gripper"):
            entries = _numbered("gripper", end - start, "", 1.0)
        elif part in robot.arms:
            entries = _arm_entries(controller, end - start)
        else:
            part_prefix, entries = prefix, _numbered(part, end - start, "", 1.0)
        yield from ((part_prefix + name, *rest) for name, *rest in entries)
        count += end - start
    yield from (
        (prefix + n, *rest) for n, *rest in _numbered("mode", robot.action_dim - count, "", 1.0)
    )


def _numbered(name: str, count: int, unit: str, scale: float | np.ndarray) -> list[Entry]:
    scales = np.broadcast_to(scale, count)
    names = [name] if count == 1 else [f"{name}_{i}" for i in range(count)]
    return [(n, unit, float(s), 1.0) for n, s in zip(names, scales, strict=True)]


def _arm_entries(controller: Any, count: int) -> list[Entry]:
    """Name an arm's entries; gains of a variable impedance come first, as robosuite wants them."""
    name = controller.name
    if name in JOINT_ENTRIES:
        prefix, unit = JOINT_ENTRIES[name]
        motion = _numbered(prefix, len(controller.input_max), unit, controller.output_max)
    elif name == "IK_POSE":
        motion = _pose_entries("d", (IK_SENSITIVITY,) * 3 + (1.0,) * 3, (1.0,) * 6)
    elif controller.input_type == "absolute":
        motion = _pose_entries("", ABSOLUTE_POSE, ABSOLUTE_POSE)
    else:
        motion = _pose_entries("d", controller.output_max, (1.0,) * 6)
    gains = count - len(motion)
    return [*_numbered("gain", gains, "", 1.0), *motion]


def _pose_entries(prefix: str, scale: Any, stretch: tuple[float, ...]) -> list[Entry]:
    columns = zip(POSE, POSE_UNITS, scale, stretch, strict=False)  # 3 entries without orientation
    return [(prefix + name, unit, float(s), float(t)) for name, unit, s, t in columns]
