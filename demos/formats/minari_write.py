"""Episodes as a Minari dataset, HDF5."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from demos.data.index import Masks
from demos.formats import rest
from demos.formats.minari import MAIN, METADATA
from demos.formats.robomimic_write import compression
from demos.formats.terms import as_given, is_as_given
from robolearn.files import write_atomically
from robolearn.types import ArraySpec, Episode, Spec

VERSION = "0.5.3"  # of the layout: Minari reads that of the versions that it lists
ID = re.compile(r"(?:.+/)?[\w-]+-v\d+")
DEMO = "demo"
MIXED = "actions as another Minari dataset had them: not of all episodes; here all are in [-1, 1]"
GIVEN = "as_given"  # of a part: whether its actions are as another Minari dataset had them


class MinariWriter:
    """Writes a Minari dataset; see ``contract.Writer``."""

    suffix = ".hdf5"
    held = {
        "simulator states, reward terms, records, metadata": f"{MAIN}: episode_N/robolearn",
        "interface and options of the environment": f"{MAIN}: the attribute robolearn",
        "names and masks of demonstrations": "nowhere: episodes are numbered from 0",
    }

    def __init__(self, interface: Spec, env_options: Mapping[str, Any], name: str) -> None:
        """Call the dataset ``name``, with a version behind it if it has none."""
        self._interface, self._options = interface, dict(env_options)
        self._id = name if ID.fullmatch(name) else f"{re.sub(r'[^-_a-zA-Z0-9]', '-', name)}-v0"
        self._action: dict[str, Any] = {}

    def part(self, path: Path, episode: Episode) -> None:
        """Write an episode as a file of its own."""
        with h5py.File(path, "w") as file:
            group = file.create_group(DEMO)
            group.attrs["total_steps"] = len(episode)
            seed = episode.metadata.get("seed")
            if isinstance(seed, int) and not isinstance(seed, bool):
                group.attrs["seed"] = seed
            for key, array in _arrays(episode).items():
                group.create_dataset(key, data=array, **compression(array))
            rest.write(group, episode, "minari")
            file.attrs[GIVEN] = is_as_given(episode, "minari")

    def join(self, parts: list[Path], folder: Path, names: list[str], masks: Masks) -> list[str]:
        """Copy the episodes into one file, and describe it."""
        data = folder / "data"
        data.mkdir()
        steps, given = 0, []
        with h5py.File(data / MAIN, "w", track_order=True) as file:
            for number, part in enumerate(parts):
                with h5py.File(part, "r") as one:
                    one.copy(DEMO, file, name=f"episode_{number}")
                    file[f"episode_{number}"].attrs["id"] = number
                    steps += int(one[DEMO].attrs["total_steps"])
                    given.append(bool(one.attrs[GIVEN]))
            if any(given) and not all(given):  # one action space cannot say both
                for number in np.flatnonzero(given):
                    _give_ours(file[f"episode_{number}"])
                self.held = self.held | {MIXED: f"{MAIN}: episode_N/robolearn/records"}
            dtype = np.result_type(
                *(file[f"episode_{i}"]["actions"].dtype for i in range(len(parts)))
            )
            file.attrs[rest.GROUP] = rest.describe(self._interface, self._options)
        self._action = _action_space(self._interface, dtype, all(given))
        about = self._metadata(len(parts), steps, (data / MAIN).stat().st_size)
        write_atomically(data / METADATA, json.dumps(about, indent=2).encode())
        return ["data"]

    def _metadata(self, episodes: int, steps: int, size: int) -> dict[str, Any]:
        return {
            "dataset_id": self._id,
            "total_episodes": episodes,
            "total_steps": steps,
            "data_format": "hdf5",
            "observation_space": json.dumps(_space(_nested(self._interface.observations))),
            "action_space": json.dumps(self._action),
            "minari_version": VERSION,
            "dataset_size": round(size / 1e6, 1),
            "jpeg_encoding": False,
            "requirements": [],
            "description": f"Converted by robolearn; environment {self._interface.environment}.",
        }


def _give_ours(demo: h5py.Group) -> None:
    """Put our actions, in [-1, 1], in the place of those as they came, which are a record."""
    beside = demo[rest.GROUP]
    if rest.ACTIONS in beside:
        ours = beside[rest.ACTIONS][()]
        del demo["actions"], beside[rest.ACTIONS]
        demo.create_dataset("actions", data=ours)
        beside.attrs[rest.MARK] = rest.mark(ours)


def _arrays(episode: Episode) -> dict[str, np.ndarray]:
    steps = len(episode)
    last = np.arange(steps) == steps - 1
    found = {
        "actions": as_given(episode, "minari"),
        "rewards": episode.rewards.astype(np.float64),
        "terminations": last & episode.terminated,
        "truncations": last & episode.truncated,
        "infos/success": np.append(False, last & episode.success),
    }
    return found | {f"observations/{name}": a for name, a in episode.observations.items()}


def _nested(observations: Mapping[str, ArraySpec]) -> dict[str, Any]:
    """Put names with slashes into mappings, as HDF5 has groups."""
    found: dict[str, Any] = {}
    for name, spec in observations.items():
        *above, last = name.split("/")
        inner = found
        for part in above:
            inner = inner.setdefault(part, {})
        inner[last] = spec
    return found


def _space(part: Any) -> dict[str, Any]:
    """Describe a space as Minari writes it, a Dict of Boxes."""
    if isinstance(part, Mapping):
        subspaces = {name: _space(below) for name, below in part.items()}
        return {"type": "Dict", "subspaces": subspaces}
    return _box(part.dtype, part.shape, *_range(part.dtype))


def _range(dtype: str) -> tuple[Any, Any]:
    kind = np.dtype(dtype)
    if kind.kind == "b":
        return False, True
    if kind.kind in "iu":
        return np.iinfo(kind).min, np.iinfo(kind).max
    return -np.inf, np.inf


def _box(dtype: str, shape: tuple[int, ...], low: Any, high: Any) -> dict[str, Any]:
    bounds = (np.broadcast_to(np.asarray(b, dtype), shape).tolist() for b in (low, high))
    return {"type": "Box", "dtype": dtype, "shape": list(shape)} | dict(
        zip(("low", "high"), bounds, strict=True)
    )


def _action_space(interface: Spec, dtype: np.dtype, as_given: bool) -> dict[str, Any]:
    """Give the Box of the actions that are written: [-1, 1], or the limits they came with."""
    limits = interface.controller.get("action_limits", (-1.0, 1.0))
    low, high = limits if as_given else (-1.0, 1.0)
    return _box(str(dtype), interface.action.shape, low, high)
