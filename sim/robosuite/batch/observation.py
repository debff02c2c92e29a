"""robosuite's observations of a whole batch, computed from its arrays.

The same names, order, units and quaternion signs as ``sim.robosuite.observation.StateReader``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sim.base.poses import orientation_from, position_from
from sim.engine.robosuite import NotCovered
from sim.robosuite.batch.frame import Frame

Quantity = Callable[[Frame], np.ndarray]  # -> [N, k]


class BatchReader:
    """Computes ``"state"`` float32 [N, O] for the keys and signs of a StateReader."""

    def __init__(self, env: Any, keys: list[str], references: dict[str, np.ndarray]) -> None:
        known = quantities(env)
        missing = [key for key in keys if key not in known]
        if missing:
            raise NotCovered(f"the observation {missing[0]}")
        self._columns = [(known[key], references.get(key)) for key in keys]

    def __call__(self, frame: Frame) -> np.ndarray:
        """Compute the state of every environment, float32 [N, O]."""
        columns = [_signed(quantity(frame), sign) for quantity, sign in self._columns]
        return np.concatenate(columns, axis=1, dtype=np.float32)


def _signed(value: np.ndarray, reference: np.ndarray | None) -> np.ndarray:
    """Turn quaternions [N, 4] to the side of a reference [4]; leave anything else alone."""
    if reference is None:
        return value
    return np.where((np.vecdot(value, reference) < 0)[:, None], -value, value)


def quantities(env: Any) -> dict[str, Quantity]:
    """List what can be computed of a robosuite environment, by the names of its observables."""
    known: dict[str, Quantity] = {}
    for robot in env.robots:
        for arm in robot.arms:
            prefix = robot.robot_model.naming_prefix + (f"{arm}_" if len(robot.arms) > 1 else "")
            hand = env.sim.model.body_name2id(robot.robot_model.eef_name[arm])
            known[f"{prefix}eef_pos"] = _site(robot.eef_site_id[arm])
            known[f"{prefix}eef_quat"] = _quaternion(hand)
            fingers = robot._ref_gripper_joint_pos_indexes[arm]
            known[f"{prefix}gripper_qpos"] = _joints(fingers or [])
    tasks = {"Lift": _lift, "Stack": _stack, "Door": _door, "TwoArmLift": _two_arm_lift}
    if hasattr(env, "obj_body_id"):
        known |= _sorting(env, known)
    else:
        known |= tasks.get(type(env).__name__, lambda *_: {})(env, known)
    return known


def _lift(env: Any, known: dict[str, Quantity]) -> dict[str, Quantity]:
    cube = _body(env.cube_body_id)
    return {
        "cube_pos": cube,
        "cube_quat": _quaternion(env.cube_body_id),
        "gripper_to_cube_pos": _difference(cube, known.get("robot0_eef_pos", cube)),
    }


def _stack(env: Any, known: dict[str, Quantity]) -> dict[str, Quantity]:
    a, b = _body(env.cubeA_body_id), _body(env.cubeB_body_id)
    hand = known.get("robot0_eef_pos", a)
    return {
        "cubeA_pos": a,
        "cubeA_quat": _quaternion(env.cubeA_body_id),
        "cubeB_pos": b,
        "cubeB_quat": _quaternion(env.cubeB_body_id),
        "cubeA_to_cubeB": _difference(b, a),
        "gripper_to_cubeA": _difference(a, hand),
        "gripper_to_cubeB": _difference(b, hand),
    }


def _door(env: Any, known: dict[str, Quantity]) -> dict[str, Quantity]:
    door, handle = _body(env.object_body_ids["door"]), _site(env.door_handle_site_id)
    hand = known.get("robot0_eef_pos", door)
    found = {
        "door_pos": door,
        "handle_pos": handle,
        "hinge_qpos": _joints([env.hinge_qpos_addr]),
        "door_to_eef_pos": _difference(door, hand),
        "handle_to_eef_pos": _difference(handle, hand),
    }
    return found | ({"handle_qpos": _joints([env.handle_qpos_addr])} if env.use_latch else {})


def _two_arm_lift(env: Any, known: dict[str, Quantity]) -> dict[str, Quantity]:
    handles = _site(env.handle0_site_id), _site(env.handle1_site_id)
    found = {"pot_pos": _body(env.pot_body_id), "pot_quat": _quaternion(env.pot_body_id)}
    hands = [quantity for name, quantity in known.items() if name.endswith("eef_pos")]
    for i, (handle, hand) in enumerate(zip(handles, hands, strict=True)):
        found[f"handle{i}_xpos"] = handle
        found[f"gripper{i}_to_handle{i}"] = _difference(handle, hand)
    return found


def _sorting(env: Any, known: dict[str, Quantity]) -> dict[str, Quantity]:
    """Nut assembly and pick-and-place: objects in the world's and in the hand's frame."""
    found = {}
    hand = "robot0_eef_pos", "robot0_eef_quat"
    for name, body in env.obj_body_id.items():
        found[f"{name}_pos"], found[f"{name}_quat"] = _body(body), _quaternion(body)
        if all(key in known for key in hand):
            position, quaternion = (known[key] for key in hand)
            found[f"{name}_to_robot0_eef_pos"] = _relative_position(body, position, quaternion)
            found[f"{name}_to_robot0_eef_quat"] = _relative_quaternion(body, quaternion)
    return found


def _body(body: int) -> Quantity:
    return lambda frame: frame.body_pos[:, body]


def _quaternion(body: int) -> Quantity:
    return lambda frame: frame.body_quat[:, body]


def _site(site: int) -> Quantity:
    return lambda frame: frame.site_pos[:, site]


def _joints(addresses: list[int]) -> Quantity:
    return lambda frame: frame.qpos[:, addresses]


def _difference(one: Quantity, other: Quantity) -> Quantity:
    return lambda frame: one(frame) - other(frame)


def _relative_position(body: int, origin: Quantity, orientation: Quantity) -> Quantity:
    return lambda frame: position_from(origin(frame), orientation(frame), frame.body_pos[:, body])


def _relative_quaternion(body: int, orientation: Quantity) -> Quantity:
    return lambda frame: orientation_from(orientation(frame), frame.body_quat[:, body])
