"""Episodes as one robomimic HDF5 file.

``obs`` and ``next_obs`` hold every observation, and of "state" the columns that robomimic's stock
configurations ask for (``demos/data/robomimic_keys.py``). ``dones`` is 1 where the task ended. A
slash in a name becomes an underscore: robomimic splits keys at slashes. Beside the states of a
robosuite task stands the model that they are of, ``model_file``, in which robomimic draws them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from demos.data import index
from demos.data.episode_file import ROBOMIMIC_ATTRIBUTES, STATE, to_json
from demos.data.index import Masks
from demos.data.robomimic_keys import robomimic_keys
from demos.formats import rest
from demos.formats.faults import first_line
from demos.formats.robomimic import STATES
from demos.formats.terms import as_given
from robolearn.errors import DataError, UserError
from robolearn.names import load
from robolearn.types import Episode, Spec

WHOLE, DEMO = "whole.hdf5", "demo"
ROBOSUITE, MODEL, MODELS = "robosuite", "model_file", "sim.robosuite.model_file:Models"


class RobomimicWriter:
    """Writes a robomimic file; see ``contract.Writer``."""

    suffix = ".hdf5"

    def __init__(self, interface: Spec, env_options: Mapping[str, Any]) -> None:
        self.held = {
            "full simulator states, reward terms, records, metadata": "data/demo_N/robolearn",
            "interface and options of the environment": "the attribute robolearn",
        }
        self._where, self._options = interface.environment, dict(env_options)
        self._models: Any = None  # made where they are needed; False where they cannot be
        self._about = rest.describe(interface, env_options)
        self._env_args = to_json(index.env_args(interface, env_options))
        self._keys = robomimic_keys(interface)
        if len({rest.plain(name) for name in interface.observations}) < len(interface.observations):
            raise DataError("two observations have the same name once '/' is '_'")

    def part(self, path: Path, episode: Episode) -> None:
        """Write a demonstration as a file of its own."""
        with h5py.File(path, "w") as file:
            demo = file.create_group(DEMO)
            demo.attrs["num_samples"] = len(episode)
            for attribute in ROBOMIMIC_ATTRIBUTES:
                if isinstance(episode.metadata.get(attribute), str):
                    demo.attrs[attribute] = episode.metadata[attribute]
            if episode.states is not None and MODEL not in demo.attrs:
                self._add_model(demo, episode.states[0])
            for key, array in _arrays(episode, self._keys).items():
                demo.create_dataset(key, data=array, **compression(array))
            rest.write(demo, episode, "robomimic")

    def join(self, parts: list[Path], folder: Path, names: list[str], masks: Masks) -> list[str]:
        """Copy the demonstrations into one file, with masks."""
        total = 0
        if self._models:
            self._models.close()
        with h5py.File(folder / WHOLE, "w") as file:
            data = file.create_group("data")
            for part, name in zip(parts, names, strict=True):
                with h5py.File(part, "r") as one:
                    one.copy(DEMO, data, name=name)
                    total += int(one[DEMO].attrs["num_samples"])
            data.attrs["total"] = total
            data.attrs["env_args"] = self._env_args
            file.attrs[rest.GROUP] = self._about
            for mask, keys in masks.items():
                file[f"mask/{mask}"] = np.array(keys, dtype="S")
        return [WHOLE]

    def _add_model(self, demo: h5py.Group, state: np.ndarray) -> None:
        """Put the model of a robosuite task's state [S] beside a demonstration."""
        kind, _, task = self._where.partition("/")
        if kind != ROBOSUITE or self._models is False:
            return
        try:
            self._models = self._models or load(MODELS)(task, self._options)
            demo.attrs[MODEL] = self._models.of(state)
        except (UserError, ValueError) as error:
            self._models = False
            self.held |= {"robosuite's models of the states": f"nowhere: {first_line(error)}"}


def _arrays(episode: Episode, keys: Mapping[str, list[int]]) -> dict[str, np.ndarray]:
    """Give every array of a demonstration, by its path."""
    steps = len(episode)
    found = {
        "actions": as_given(episode, "robomimic").astype(np.float64),
        "rewards": episode.rewards.astype(np.float64),
        "dones": ((np.arange(steps) == steps - 1) & episode.terminated).astype(np.int64),
    }
    for name, array in episode.observations.items():
        key = rest.plain(name)
        found[f"obs/{key}"], found[f"next_obs/{key}"] = array[:-1], array[1:]
    for key, columns in keys.items():
        shown = episode.observations[STATE][:, columns]
        found[f"obs/{key}"], found[f"next_obs/{key}"] = shown[:-1], shown[1:]
    if STATES in episode.records:
        found["states"] = episode.records[STATES]
    elif episode.states is not None:
        found["states"] = episode.states[:-1, : episode.metadata.get("mujoco_state_size")]
    return found


def compression(array: np.ndarray) -> dict[str, Any]:
    """Compress images frame by frame, so that one can be read alone."""
    if array.dtype.kind in "iu" and array.ndim >= 3:
        return {"chunks": (1, *array.shape[1:]), "compression": "gzip", "compression_opts": 1}
    return {}
