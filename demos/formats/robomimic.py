"""robomimic's HDF5, and robosuite's raw ``demo.hdf5``, which holds states and actions only.

::

    /data               attributes: env_args (JSON; raw files: env, env_info), total
    /data/demo_0        attributes: num_samples, model_file, ep_meta
        actions [T, A], obs/KEY and next_obs/KEY [T, ...], states [T, D], rewards [T], dones [T]
    /mask/NAME          names of demonstrations

Whether an episode succeeded is said by the masks "success" and "failure", else by a reward of 1 or
more at some step; a mask "success" alone says it of all. Of a raw file the observations are
computed: each state is put into the task, with the model that the demonstration was recorded with.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from demos.data.arrays import operator_of
from demos.data.episode_file import ROBOMIMIC_ATTRIBUTES
from demos.formats import hdf5, rest
from demos.formats.contract import Reading, Told
from demos.formats.faults import one_line
from demos.formats.hdf5 import array, arrays, attribute, described, opened
from demos.formats.recorded import options_of
from demos.formats.terms import OTHER_STATE, STATE, About, first_whole, settle
from robolearn.errors import DataError
from robolearn.names import load
from robolearn.types import Episode

DEMO = re.compile(r"demo_(\d{1,9})")
STATES = "mujoco_state"  # the record: time, qpos, qvel before each action
ROBOSUITE = 1  # robomimic's EnvType
REWARD_OF_SUCCESS = 1.0
TAKEN = ("actions", "rewards", "dones", "states", "obs", "next_obs", "num_samples", rest.GROUP)
OWN = "the file has observations; recompute=true computes others from its states"
EXPECTED = "a robomimic file, or robosuite's demo.hdf5"


class RobomimicSource:
    """A robomimic or raw robosuite file; see ``contract.Source``."""

    format = "robomimic"

    def __init__(self, path: Path, reading: Reading) -> None:
        """Open it; raises DataError for what is no such file, empty or damaged."""
        self.path, self._reading = path, reading
        self._file = opened(path, EXPECTED)
        self._observer: Any = None
        try:
            with one_line(path):
                self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        self._data = hdf5.group(self._file, "data", str(self.path))
        numbered = [m for m in map(DEMO.fullmatch, self._data) if m]
        self.names = tuple(m[0] for m in sorted(numbered, key=lambda m: (int(m[1]), m[0])))
        hdf5.require_numbers_once({m[0]: int(m[1]) for m in numbered}, str(self.path))
        if not self.names:
            raise DataError(f"{self.path} holds no demonstrations (data/demo_0, ...)")
        self.masks = hdf5.masks(self._file, self.names)
        self._ours = rest.about(self._file, str(self.path))
        if self._ours is not None:
            self.interface, self.env_options = self._ours
            self.notes: tuple[str, ...] = self._reading.unused()
            return
        name, arguments = _environment(self._data)
        self.env_options = options_of(arguments)
        if self._reading.recompute or not self._any_has("obs"):
            self._observer = self._make_observer(name, arguments)
        about = About(str(self.path), f"robosuite/{name}" if name else "", order="xyzw")
        about = _about(about, arguments)
        if self._observer is not None:
            about = self._observer.describe(about)
        told = first_whole(self.names, lambda name: self._told(name, True), str(self.path))
        self._terms = settle(told, about, self._reading)
        self.interface, self.notes = self._terms.interface, self._terms.notes
        if self._observer is not None:
            self.notes += (self._observer.note,)
            self.env_options = self._observer.options
        else:
            self.notes += self._reading.undrawn(OWN)

    def load(self, name: str, images: bool = True) -> Episode:
        """Read one demonstration; DataError says what is wrong with it."""
        where = f"{self.path}: {name}"
        with one_line(where):
            told = self._told(name, images)
            if self._ours is not None:
                return rest.whole(self._data[name], told, self.interface, where, images)
            return self._terms.episode(told, where, images)

    def close(self) -> None:
        """Close the file, and the simulator if there is one."""
        self._file.close()
        if self._observer is not None:
            self._observer.close()

    def _told(self, name: str, images: bool) -> Told:
        where = f"{self.path}: {name}"
        demo = hdf5.group(self._data, name, str(self.path), linked=True)
        if "actions" not in demo:
            raise DataError(f"{where} has no actions")
        actions = array(demo, "actions", where)
        if not len(actions):
            raise DataError(f"{where} has no actions")
        rewards = array(demo, "rewards", where) if "rewards" in demo else None
        dones = array(demo, "dones", where) if "dones" in demo else None
        states = array(demo, "states", where) if "states" in demo else None
        metadata = _metadata(demo)
        if operator := operator_of(name, self.masks):
            metadata["operator"] = operator
        if self._observer is not None and self._ours is None:
            computed = self._observer.observe(demo, states, where)
            own = _observations(demo, where, images) if "obs" in demo else {}
            own = {OTHER_STATE if key == STATE else key: a for key, a in own.items()}
            observations = own | computed  # one's own observations stay beside them
        else:
            observations = _observations(demo, where, images)
        others = [k for k in hdf5.tree(demo) if k.partition("/")[0] not in TAKEN]
        records = {key.replace("/", "_"): array(demo, key, where) for key in others}
        if len(records) < len(others):
            raise DataError(f"{where}: two arrays have the same name once '/' is '_'")
        records = {k: a for k, a in records.items() if a.ndim and len(a) == len(actions)}
        if states is not None and self._ours is None:
            if len(states) != len(actions):
                raise DataError(f"{where}: {len(states)} states for {len(actions)} actions")
            records[STATES] = states
        return Told(
            observations,
            actions,
            rewards,
            None if dones is None or not dones.size else bool(dones.ravel()[-1]),
            success=self._success(name, rewards) if self._ours is None else None,
            metadata=metadata,
            records=records,
        )

    def _success(self, name: str, rewards: np.ndarray | None) -> bool | None:
        for mask, outcome in (("success", True), ("failure", False)):
            if name in self.masks.get(mask, ()):
                return outcome
        if "success" in self.masks and "failure" not in self.masks:
            return False  # who lists those that succeeded lists them all
        return None if rewards is None else bool((rewards >= REWARD_OF_SUCCESS).any())

    def _any_has(self, key: str) -> bool:
        return any(f"{name}/{key}" in self._data for name in self.names)

    def _make_observer(self, name: str, arguments: Mapping[str, Any]) -> Any:
        """Make the task in which the states are looked at; DataError if nobody knows which."""
        if not self._any_has("states"):
            raise DataError(f"{self.path}: {self.names[0]} has neither observations nor states")
        if not name:
            raise DataError(
                f"{self.path} has no observations (obs), and does not say which robosuite task its "
                "states are of"
            )
        make: Callable[..., Any] = load("demos.formats.recorded:Recorded")
        cameras = self._reading.cameras or ()
        return make(name, arguments, cameras, self._reading.image_size, str(self.path))


def _environment(data: h5py.Group) -> tuple[str, dict[str, Any]]:
    """Give the task's name and the arguments that it was made with, as far as the file says."""
    arguments = described(data, "env_args")
    if arguments:
        inside = arguments.get("env_kwargs")
        known = arguments.get("type", ROBOSUITE) == ROBOSUITE
        name = str(arguments.get("env_name", "")) if known else ""
        return name, inside if isinstance(inside, dict) else {}
    name = attribute(data, "env")
    found = described(data, "env_info")
    return str(name or found.get("env_name", "")), found


def _about(about: About, arguments: Mapping[str, Any]) -> About:
    """Add what the environment's arguments say of rate and robot."""
    rate, robots = arguments.get("control_freq", 0), arguments.get("robots", "")
    period = 1.0 / rate if isinstance(rate, int | float) and rate > 0 else 0.0
    robots = [robots] if isinstance(robots, str) else robots
    robot = "+".join(map(str, robots)) if isinstance(robots, list) else ""
    return About(about.where, about.environment, period, robot, order=about.order)


def _metadata(demo: h5py.Group) -> dict[str, Any]:
    found = {name: attribute(demo, name) for name in ROBOMIMIC_ATTRIBUTES}
    return {name: value for name, value in found.items() if isinstance(value, str)}


def _observations(demo: h5py.Group, where: str, images: bool) -> dict[str, np.ndarray]:
    """Give the observations [T + 1, ...] if their last row is known, else [T, ...]."""
    found = arrays(hdf5.group(demo, "obs", where), where, images)
    after = demo.get("next_obs")
    if not isinstance(after, h5py.Group):
        return found
    hdf5.require_same_file(after, demo, where)
    there = set(hdf5.tree(after))
    for name, before in found.items():
        if name in there:
            last = hdf5.dataset(after, name, where)
            if last.shape != before.shape or not len(before):
                raise DataError(
                    f"{where}: next_obs/{name} has shape {last.shape} instead of {before.shape}"
                )
            found[name] = np.concatenate([before, last[-1:].astype(before.dtype)])
    return found
