"""robosuite's observables as one named state vector that describes the current state."""

import math
from collections.abc import Iterable
from typing import Any

import mujoco
import numpy as np

from robolearn.errors import UserError, nearest
from robolearn.types import ArraySpec
from sim.base.poses import orientation_from, position_from

AXES = ("x", "y", "z")
QUATERNION = ("w", "x", "y", "z")
WXYZ, XYZW = [3, 0, 1, 2], [1, 2, 3, 0]  # from and to the order of robosuite's sensors
# Yaw about which an object is expected; others: 0. The handle of a nut points to the arm.
HOME_YAW_RAD = {"SquareNut": math.pi, "RoundNut": math.pi}
HAND = ("robot0_eef_pos", "robot0_eef_quat")
ACTIVE_OBJECT = "object"  # stands for the object that a reset chose, in tasks that choose one


class StateReader:
    """Computes ``"state"`` float32 [O] from robosuite's own sensors.

    The sensors are called directly, on a simulator that is up to date. robosuite's observables are
    sampled at some physics step of the control period, and a sensor that takes another's value
    from a cache may find that of a control step earlier, or zeros after a reset. Poses of objects
    in the hand's frame, which the sensors round to single precision, are computed here.

    Quaternions are turned to wxyz. Of q and -q the one is taken that lies on the side of a
    reference: the value of the same quantity when the robot is in its initial pose, its last wrist
    joints in the middle of their ranges, and all free bodies lie as ``HOME_YAW_RAD`` says. A hand
    whose wrist turns less than 180 degrees either way therefore never changes sign, nor an object
    that keeps within 180 degrees of that.

    ``keys`` are names of observables, or of a modality ("object-state"), which stands for all its
    active observables. Raises UserError for an unknown key.
    """

    def __init__(self, env: Any, keys: Iterable[str], where: str) -> None:
        self._env = env
        self._keys = _expand(env, keys, where)
        self._in_hand = _poses_in_hand(env._observables)
        self._plans: dict[str, list[str]] = {}  # active object -> the sensors to call, in order
        self._references: dict[str, np.ndarray] = {}
        values = self._sense_at_home()
        self._references = {k: v for k, v in values.items() if _is_quaternion(k, v)}
        self.spec = self._spec(values)

    def read(self) -> np.ndarray:
        """Compute the state float32 [O]."""
        return np.concatenate([np.ravel(value) for value in self._sense().values()], dtype="f4")

    def _sense(self) -> dict[str, np.ndarray]:
        active = _active_object(self._env)
        names = [k.replace(ACTIVE_OBJECT, active) if active else k for k in self._keys]
        if active not in self._plans:
            self._plans[active] = _plan(self._env._observables, self._sensed(names))
        values: dict[str, Any] = {}
        for name in self._plans[active]:
            values[name] = np.asarray(self._env._observables[name]._sensor(values))
        for name in names:
            if name in self._in_hand:
                values[name] = _in_hand(name, self._in_hand[name], values)
        return {
            key: self._canonical(key, values[name])
            for key, name in zip(self._keys, names, strict=True)
        }

    def _sensed(self, names: list[str]) -> set[str]:
        """List the sensors that these names need, with those for poses in the hand's frame."""
        bodies = {self._in_hand[name] for name in names if name in self._in_hand}
        poses = {f"{body}_{part}" for body in bodies for part in ("pos", "quat")}
        return {*names} - {*self._in_hand} | poses | ({*HAND} if bodies else set())

    def _canonical(self, key: str, value: np.ndarray) -> np.ndarray:
        if not _is_quaternion(key, value):
            return value
        wxyz = value[WXYZ]
        reference = self._references.get(key)
        return -wxyz if reference is not None and np.vecdot(wxyz, reference) < 0 else wxyz

    def _sense_at_home(self) -> dict[str, np.ndarray]:
        model, data = self._env.sim.model._model, self._env.sim.data._data
        before = data.qpos.copy()
        for robot in self._env.robots:
            data.qpos[robot._ref_joint_pos_indexes] = robot.init_qpos
            for arm in robot.arms:
                wrist = robot._ref_joints_indexes_dict[arm][-1]
                data.qpos[model.jnt_qposadr[wrist]] = model.jnt_range[wrist].mean()
        for joint in np.flatnonzero(model.jnt_type == mujoco.mjtJoint.mjJNT_FREE):
            address = model.jnt_qposadr[joint]
            data.qpos[address + 3 : address + 7] = _home_orientation(model.joint(joint).name)
        mujoco.mj_forward(model, data)
        values = self._sense()
        data.qpos[:] = before
        mujoco.mj_forward(model, data)
        return values

    def _spec(self, values: dict[str, np.ndarray]) -> ArraySpec:
        names: list[str] = []
        units: list[str] = []
        for key, value in values.items():
            names += _entry_names(key, np.size(value), key in self._references)
            units += [_unit(key)] * np.size(value)
        return ArraySpec((len(names),), "float32", tuple(names), tuple(units))


def default_keys(env: Any) -> list[str]:
    """List what a task's state consists of if nobody says otherwise.

    Per arm the position and orientation of the end effector and the gripper's joints, then all
    that robosuite reports about objects.
    """
    keys = []
    for robot in env.robots:
        for arm in robot.arms:
            prefix = robot.robot_model.naming_prefix
            prefix += f"{arm}_" if len(robot.arms) > 1 else ""
            keys += [prefix + part for part in ("eef_pos", "eef_quat", "gripper_qpos")]
    observables = env._observables
    keys = [k for k in keys if k in observables and np.size(observables[k]._sensor({}))]
    return [*keys, "object-state"]


class _Trace(dict):
    """A sensors' cache that records which entries are read and written."""

    def __init__(self) -> None:
        super().__init__()
        self.read: set[str] = set()
        self.written: set[str] = set()

    def __contains__(self, key: object) -> bool:
        self.read.add(str(key))
        return super().__contains__(key)

    def __setitem__(self, key: str, value: Any) -> None:
        self.written.add(key)
        super().__setitem__(key, value)


def _plan(observables: dict[str, Any], wanted: Iterable[str]) -> list[str]:
    """List the sensors that the wanted ones need, in an order in which each finds its inputs.

    robosuite defines "a_to_b" before or after the poses of a and b; here those come last.
    """
    order = sorted(observables, key=lambda name: "_to_" in name)
    cache, traces = _Trace(), []
    for name in order:
        cache.read, cache.written = set(), {name}
        cache[name] = np.asarray(observables[name]._sensor(cache))
        traces.append((name, cache.read, cache.written))
    needed, plan = set(wanted), []
    for name, read, written in reversed(traces):
        if written & needed:
            needed |= read
            plan.append(name)
    return plan[::-1]


def _poses_in_hand(observables: dict[str, Any]) -> dict[str, str]:
    """List the sensors that give an object's pose in the hand's frame, and which object's."""
    if "world_pose_in_gripper" not in observables:
        return {}  # other tasks call a difference in the world's frame by the same name
    split = {name: name.partition("_to_") for name in observables}
    return {name: parts[0] for name, parts in split.items() if parts[2] in HAND}


def _in_hand(name: str, body: str, sensed: dict[str, Any]) -> np.ndarray:
    """Compute a pose in the hand's frame from the poses of both, as the sensor of that name would.

    Quaternions are xyzw here, as all that sensors give.
    """
    origin, hand = sensed[HAND[0]][None], sensed[HAND[1]][None, WXYZ]
    if name.endswith("_pos"):
        return position_from(origin, hand, sensed[f"{body}_pos"][None])[0]
    return orientation_from(hand, sensed[f"{body}_quat"][None, WXYZ])[0, XYZW]


def _active_object(env: Any) -> str:
    return env.obj_to_use if getattr(env, "chooses_object", False) else ""


def _expand(env: Any, keys: Iterable[str], where: str) -> list[str]:
    """Replace modalities by their observables and the chosen object by its stand-in."""
    active = _active_object(env)
    names = {
        (name.replace(active, ACTIVE_OBJECT) if active else name): name for name in env._observables
    }
    modalities: dict[str, list[str]] = {}
    for alias, name in names.items():
        observable = env._observables[name]
        if observable.is_enabled() and observable.is_active():
            modalities.setdefault(f"{observable.modality}-state", []).append(alias)
    expanded = []
    for key in keys:
        if key not in modalities and key not in names:
            raise UserError(
                f"{where}: unknown state entry '{key}'{nearest(key, [*names, *modalities])}"
            )
        expanded += modalities.get(key, [key])
    return expanded


def _is_quaternion(key: str, value: np.ndarray) -> bool:
    return "quat" in key and np.shape(value) == (4,)


def _home_orientation(joint: str) -> tuple[float, float, float, float]:
    """Give the reference orientation (wxyz) of the free body whose joint has this name."""
    yaw = next((a for name, a in HOME_YAW_RAD.items() if joint.startswith(name)), 0.0)
    return math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)


def _entry_names(key: str, size: int, is_quaternion: bool) -> list[str]:
    if size == 1:
        return [key]
    vector = AXES if size == 3 else range(size)
    return [f"{key}_{suffix}" for suffix in (QUATERNION if is_quaternion else vector)]


def _unit(key: str) -> str:
    if key.endswith(("joint_pos", "hinge_qpos", "handle_qpos")):
        return "rad"
    if key.endswith("joint_vel"):
        return "rad/s"
    if key.endswith(("_pos", "_xpos", "gripper_qpos", "centroid", "radius")) or "_to_" in key:
        return "" if "quat" in key else "m"
    return ""
