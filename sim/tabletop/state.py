"""What is seen of N tabletops: ``"state"`` float32 [N, O], with a name for every entry.

All positions are from the centre of the table's top. In this order:

- ``hand_pos_x/y/z``, ``hand_yaw_cos/sin``; ``hand_target_x/y/z``: the servos' target seen from the
  hand, which says how hard it presses; ``gripper_opening``, 0 to 0.08 m
- ``joint_pos_1`` to ``7``, ``joint_vel_1`` to ``7``
- of each object, say "cube": ``cube_pos_x/y/z``; ``cube_xaxis_x/y/z`` and ``cube_zaxis_x/y/z``, its
  own axes (x turns with its yaw, z says whether it stands; unlike a quaternion these never jump);
  ``cube_vel_x/y/z``; ``cube_spin_x/y/z``, rad/s about the world's axes
- if there are goals: ``goal_cube_pos_x/y/z``, and for poses ``goal_cube_yaw_cos/sin``
- with the option ``offsets``, of each object ``hand_to_cube_x/y/z``, and ``cube_to_goal_x/y/z`` if
  there are goals

The offsets follow from the positions. But who clones a few dozen demonstrations cannot learn such
differences of large numbers to the centimetre that the fingers leave free.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from robolearn.types import ArraySpec
from sim.tabletop.model import ARM_JOINTS
from sim.tabletop.physics import ROBOT_JOINTS, TabletopPhysics

_POSE, _MOTION = 7, 6  # entries of an object in qpos and in qvel
_OBJECT = (("pos", "m"), ("xaxis", ""), ("zaxis", ""), ("vel", "m/s"), ("spin", "rad/s"))


class Objects(NamedTuple):
    """K objects in each of N simulations, all [N, K, 3] in the world's axes."""

    pos: np.ndarray
    xaxis: np.ndarray
    yaxis: np.ndarray
    zaxis: np.ndarray
    vel: np.ndarray
    spin: np.ndarray


def read_objects(physics: TabletopPhysics, count: int) -> Objects:
    """Read the objects' poses and velocities."""
    n = len(physics.qpos)
    poses = physics.qpos[:, ROBOT_JOINTS:].reshape(n, count, _POSE)
    motions = physics.qvel[:, ROBOT_JOINTS:].reshape(n, count, _MOTION)
    w, x, y, z = np.moveaxis(poses[..., 3:], -1, 0)  # [N, K] each
    xaxis = np.stack([1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)], -1)
    yaxis = np.stack([2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)], -1)
    zaxis = np.stack([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)], -1)
    own = motions[..., 3:, None]  # MuJoCo's, about the object's own axes
    spin = own[..., 0, :] * xaxis + own[..., 1, :] * yaxis + own[..., 2, :] * zaxis
    return Objects(poses[..., :3], xaxis, yaxis, zaxis, motions[..., :3], spin)


def observe(
    physics: TabletopPhysics, objects: Objects, goals: np.ndarray, goal: str | None, offsets: bool
) -> np.ndarray:
    """Give the entries float32 [N, O]; ``goals`` [N, K, 4] are x, y, z and yaw."""
    n, count = objects.pos.shape[:2]
    yaw = physics.hand_yaw
    fingers = physics.qpos[:, ARM_JOINTS:ROBOT_JOINTS]  # [N, 2], of opposite signs
    parts = [
        physics.hand_pos,
        np.stack([np.cos(yaw), np.sin(yaw)], 1),
        physics.target_pos - physics.hand_pos,
        fingers[:, :1] - fingers[:, 1:],
        physics.qpos[:, :ARM_JOINTS],
        physics.qvel[:, :ARM_JOINTS],
    ]
    seen = [getattr(objects, part) for part, _ in _OBJECT]
    parts.append(np.concatenate(seen, -1).reshape(n, -1))
    if goal is not None:
        angles = goals[..., 3:]
        wanted = [goals[..., :3], *([np.cos(angles), np.sin(angles)] if goal == "pose" else [])]
        parts.append(np.concatenate(wanted, -1).reshape(n, -1))
    if offsets:
        ways = [objects.pos - physics.hand_pos[:, None]]
        ways += [goals[..., :3] - objects.pos] if goal else []
        parts.append(np.concatenate(ways, -1).reshape(n, -1))
    return np.concatenate(parts, axis=1, dtype=np.float32)


def state_spec(names: list[str], goal: str | None, offsets: bool) -> ArraySpec:
    """Name the entries that ``observe`` gives for objects with these names."""
    entries = [*_axes("hand_pos", "m"), ("hand_yaw_cos", ""), ("hand_yaw_sin", "")]
    entries += [*_axes("hand_target", "m"), ("gripper_opening", "m")]
    for what, unit in (("joint_pos", "rad"), ("joint_vel", "rad/s")):
        entries += [(f"{what}_{j + 1}", unit) for j in range(ARM_JOINTS)]
    for name in names:
        for part, unit in _OBJECT:
            entries += _axes(f"{name}_{part}", unit)
    for name in names if goal else ():
        entries += _axes(f"goal_{name}_pos", "m")
        if goal == "pose":
            entries += [(f"goal_{name}_yaw_cos", ""), (f"goal_{name}_yaw_sin", "")]
    for name in names if offsets else ():
        entries += _axes(f"hand_to_{name}", "m")
        entries += _axes(f"{name}_to_goal", "m") if goal else []
    labels, units = zip(*entries, strict=True)
    return ArraySpec((len(labels),), "float32", labels, units)


def _axes(name: str, unit: str) -> list[tuple[str, str]]:
    return [(f"{name}_{axis}", unit) for axis in "xyz"]
