"""robosuite's observables as one named state vector that describes the current state."""

from typing import Any

import mujoco
import numpy as np

from robolearn.errors import UserError, nearest
from robolearn.types import ArraySpec

AXES = ("x", "y", "z")
QUATERNION = ("w", "x", "y", "z")


class StateReader:
    """Computes ``"state"`` float32 [O] from robosuite's own sensors.

    The sensors are called directly, after the simulator has been brought up to date: robosuite's
    observables are sampled at some physics step of the control period and, where one sensor reads
    another's value from a cache, a control step earlier.

    Quaternions are turned to wxyz. Of q and -q the one is taken that lies on the side of a
    reference: the value of the same quantity when the robot is in its initial pose and all free
    bodies have the identity orientation. A hand therefore flips its sign only 180 degrees from its
    home orientation, an object 180 degrees from the identity.
    """

    def __init__(self, env: Any, keys: tuple[str, ...], where: str) -> None:
        self._env = env
        self._observables = env._observables
        self._keys = _expand(env, keys, where)
        self._references: dict[str, np.ndarray] = {}
        values = self._sense_at_home()
        self._references = {k: values[k] for k in self._keys if _is_quaternion(k, values[k])}
        self.spec = _spec(self._keys, values, self._references)

    def read(self) -> np.ndarray:
        """Compute the state float32 [O]."""
        values = self._sense()
        return np.concatenate([np.atleast_1d(values[key]) for key in self._keys]).astype(np.float32)

    def _sense(self) -> dict[str, np.ndarray]:
        cache: dict[str, Any] = {}
        for _ in range(2):  # the second time every sensor finds what it reads from the cache
            for name, observable in self._observables.items():
                if observable.is_enabled():
                    cache[name] = np.array(observable._sensor(cache))
        return {key: self._canonical(key, cache[key]) for key in self._keys}

    def _canonical(self, key: str, value: np.ndarray) -> np.ndarray:
        if not _is_quaternion(key, value):
            return value
        wxyz = value[[3, 0, 1, 2]]
        reference = self._references.get(key)
        return -wxyz if reference is not None and wxyz @ reference < 0 else wxyz

    def _sense_at_home(self) -> dict[str, np.ndarray]:
        sim = self._env.sim
        model, data = sim.model._model, sim.data._data
        before = data.qpos.copy()
        for robot in self._env.robots:
            data.qpos[robot._ref_joint_pos_indexes] = robot.init_qpos
        for joint in np.flatnonzero(model.jnt_type == mujoco.mjtJoint.mjJNT_FREE):
            address = model.jnt_qposadr[joint]
            data.qpos[address + 3 : address + 7] = (1, 0, 0, 0)
        mujoco.mj_forward(model, data)
        values = self._sense()
        data.qpos[:] = before
        mujoco.mj_forward(model, data)
        return values


def _expand(env: Any, keys: tuple[str, ...], where: str) -> list[str]:
    modalities: dict[str, list[str]] = {}
    for name, observable in env._observables.items():
        if observable.is_enabled() and observable.is_active():
            modalities.setdefault(f"{observable.modality}-state", []).append(name)
    expanded = []
    for key in keys:
        if key in modalities:
            expanded += modalities[key]
        elif key in env._observables:
            expanded.append(key)
        else:
            known = [*env._observables, *modalities]
            raise UserError(f"{where}: unknown state entry '{key}'{nearest(key, known)}")
    return expanded


def _is_quaternion(key: str, value: np.ndarray) -> bool:
    return "quat" in key and np.shape(value) == (4,)


def _spec(keys: list[str], values: dict, references: dict) -> ArraySpec:
    names: list[str] = []
    units: list[str] = []
    for key in keys:
        size = np.size(values[key])
        names += _entry_names(key, size, key in references)
        units += [_unit(key)] * size
    return ArraySpec((len(names),), "float32", tuple(names), tuple(units))


def _entry_names(key: str, size: int, is_quaternion: bool) -> list[str]:
    if size == 1:
        return [key]
    if is_quaternion:
        return [f"{key}_{axis}" for axis in QUATERNION]
    suffixes = AXES if size == 3 else range(size)
    return [f"{key}_{suffix}" for suffix in suffixes]


def _unit(key: str) -> str:
    if "joint_pos" in key and not key.endswith(("cos", "sin")):
        return "rad"
    if key.endswith(("joint_vel",)):
        return "rad/s"
    if key.endswith(("_pos", "gripper_qpos", "centroid", "radius")):
        return "m"
    return ""
