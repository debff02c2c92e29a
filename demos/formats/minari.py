"""Minari's HDF5 datasets as episodes.

::

    data/metadata.json      observation_space, action_space, env_spec as JSON text, total_episodes
    data/main_data.hdf5     /episode_0: observations[/KEY] [T + 1], actions [T, A], rewards,
                            terminations, truncations [T], infos/KEY [T + 1]

Actions are brought to [-1, 1] by the bounds of the action space. An episode succeeded if
``infos/success`` or ``infos/is_success`` was ever true. Rows 1 to T of the infos are the records
``infos/KEY``, row 0 is among the metadata, ``infos_at_start``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from demos.formats import hdf5, rest, video
from demos.formats.contract import Reading, Told
from demos.formats.faults import one_line, read_json
from demos.formats.hdf5 import array, attribute, opened
from demos.formats.terms import About, first_whole, settle
from robolearn.errors import DataError
from robolearn.types import Episode

EPISODE = re.compile(r"episode_(\d{1,9})")
METADATA, MAIN = "metadata.json", "main_data.hdf5"
WHOLE = "observation"  # the key of observations that are one array
SUCCESS = ("success", "is_success")
LEAST_JPEG = 32  # pixels either way: Minari keeps smaller images as they are
LARGEST_AT_START = 4096  # entries of an info whose first row becomes metadata


class MinariSource:
    """A Minari dataset; see ``contract.Source``."""

    format = "minari"

    def __init__(self, path: Path, reading: Reading) -> None:
        """Open it; raises DataError for what is no such dataset, empty or damaged."""
        self.path = path
        folder = data_folder(path)
        about = read_json(folder / METADATA)
        kind = about.get("data_format", "hdf5")
        if kind != "hdf5":
            raise DataError(f"{path}: its data are {kind!r}; of Minari's formats hdf5 is read")
        self._file = opened(folder / MAIN, "Minari's main_data.hdf5")
        try:
            with one_line(path):
                self._open(about, reading)
        except BaseException:
            self.close()
            raise

    def _open(self, about: Mapping[str, Any], reading: Reading) -> None:
        found = sorted((int(m[1]), m[0]) for m in map(EPISODE.fullmatch, self._file) if m)
        hdf5.require_numbers_once({name: number for number, name in found}, str(self.path))
        self._groups = {f"demo_{number}": group for number, group in found}
        self.names, self.masks = tuple(self._groups), {}
        if not self.names:
            raise DataError(f"{self.path} holds no episodes")
        if about.get("total_episodes") != len(self.names):
            raise DataError(
                f"{self.path}: metadata.json counts {about.get('total_episodes')} episodes, "
                f"{MAIN} has {len(self.names)}"
            )
        self._left_out: set[str] = set()
        self._images = _jpeg_images(about)
        self._ours = rest.about(self._file, str(self.path))
        if self._ours is not None:
            (self.interface, self.env_options), self.notes = self._ours, reading.unused()
            return
        environment, self.env_options = _environment(about)
        told = first_whole(self.names, lambda name: self._told(name, True), str(self.path))
        limits = _bounds(about.get("action_space"), str(self.path))
        described = About(str(self.path), environment, limits=limits, who="its action_space")
        self._terms = settle(told, described, reading)
        self.interface = self._terms.interface
        self.notes = self._terms.notes + reading.undrawn()
        if self._left_out:
            self.notes += (f"left out: {', '.join(sorted(self._left_out))} (no numbers)",)

    def load(self, name: str, images: bool = True) -> Episode:
        """Read one episode; DataError says what is wrong with it."""
        where = f"{self.path}: {name}"
        with one_line(where):
            told = self._told(name, images)
            if self._ours is not None:
                group = self._file[self._groups[name]]
                return rest.whole(group, told, self.interface, where, images)
            return self._terms.episode(told, where, images)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _told(self, name: str, images: bool) -> Told:
        where = f"{self.path}: {name}"
        group = hdf5.group(self._file, self._groups[name], str(self.path))
        if not isinstance(group.get("actions"), h5py.Dataset):
            raise DataError(f"{where}: its actions are not one array of numbers")
        actions = array(group, "actions", where)
        if actions.dtype.kind != "f":
            raise DataError(f"{where}: its actions are {actions.dtype}, a choice and no motion")
        rows = {
            key: array(group, key, where)
            for key in ("rewards", "terminations", "truncations")
            if key in group
        }
        for key, values in rows.items():
            if values.shape != (len(actions),):
                raise DataError(
                    f"{where}: {key} has shape {values.shape} for {len(actions)} actions"
                )
        infos = self._numbers(group, "infos", where, True)
        success = [infos[key] for key in SUCCESS if key in infos]
        metadata = _metadata(group, infos, len(actions))
        ends = {
            key: bool(rows[key][-1]) if key in rows and len(actions) else None
            for key in ("terminations", "truncations")
        }
        observations = self._numbers(group, "observations", where, images)
        for key, seen in observations.items():
            if len(seen) != len(actions) + 1:
                rows = f"{len(seen)} rows of {key} for {len(actions)} actions"
                raise DataError(f"{where}: {rows}; Minari has one more than actions")
        return Told(
            observations,
            actions,
            rows.get("rewards"),
            ends["terminations"],
            ends["truncations"],
            bool(np.any(success[0])) if success else None,
            metadata=metadata,
            records={
                f"infos/{key}": values[1:]
                for key, values in infos.items()
                if values.ndim and len(values) == len(actions) + 1
            },
        )

    def _numbers(
        self, group: h5py.Group, name: str, where: str, images: bool
    ) -> dict[str, np.ndarray]:
        """Read the arrays of numbers below a name; others are noted as left out."""
        item = group.get(name)
        if item is not None:
            hdf5.require_same_file(item, group, where)
        if isinstance(item, h5py.Dataset):
            if name in self._images:
                return {WHOLE: _pictures(item, self._images[name], where)}
            return {WHOLE: array(group, name, where)}
        found = {}
        for key in hdf5.tree(item) if isinstance(item, h5py.Group) else ():
            if f"{name}/{key}" in self._images:
                if images:
                    found[key] = _pictures(item[key], self._images[f"{name}/{key}"], where)
            elif item[key].dtype.kind not in hdf5.NUMBERS:
                self._left_out.add(f"{name}/{key}")
            elif images or item[key].ndim < 4:
                found[key] = array(item, key, where)
        return found


def data_folder(path: Path) -> Path:
    """Give the folder with Minari's two files, ``path`` or ``path/data``."""
    below = path / "data"
    return below if any((below / name).exists() for name in (METADATA, MAIN)) else path


def _environment(about: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Give gymnasium's id of the environment, as ours are called, and its arguments."""
    spec = about.get("env_spec")
    try:
        said = json.loads(spec) if isinstance(spec, str) else spec
        return f"gym/{said['id']}", dict(said.get("kwargs") or {})
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return "", {}


def _bounds(space: Any, where: str) -> tuple[Any, Any] | None:
    """Give the bounds of a Box; None if it states none, DataError if it is no Box."""
    with one_line(f"{where}: action_space"):
        said = json.loads(space) if isinstance(space, str) else space
        if said is None:
            return None
        if said["type"] != "Box":
            raise DataError(f"{where}: its action_space is a {said['type']}; a Box is needed")
        return np.ravel(said["low"]).astype(float), np.ravel(said["high"]).astype(float)


def _jpeg_images(about: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """Give the observations that are kept as JPEG, Minari's default for images, and their sizes."""
    if not about.get("jpeg_encoding", False):
        return {}
    space = about.get("observation_space")
    found: dict[str, tuple[int, int]] = {}

    def visit(part: Any, name: str) -> None:
        shape = part.get("shape", [])
        if part["type"] == "Dict":
            for key, below in part["subspaces"].items():
                visit(below, f"{name}/{key}")
        elif part["type"] == "Box" and part["dtype"] == "uint8" and len(shape) == 3:
            if min(shape[:2]) >= LEAST_JPEG:
                found[name] = (int(shape[0]), int(shape[1]))

    visit(json.loads(space) if isinstance(space, str) else space, "observations")
    return found


def _pictures(dataset: h5py.Dataset, size: tuple[int, int], where: str) -> np.ndarray:
    """Read images that are kept as JPEG, [T + 1, H, W, 3]."""
    if dataset.size * size[0] * size[1] > hdf5.MOST_BYTES * 64:
        raise DataError(f"{where}: {dataset.name} is too large")
    each = ({"bytes": np.asarray(one, np.uint8).tobytes()} for one in dataset[()])
    return np.stack([video.image(one, size, f"{where}: {dataset.name}") for one in each])


def _metadata(group: h5py.Group, infos: Mapping[str, np.ndarray], steps: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    seed = attribute(group, "seed")
    if isinstance(seed, int):
        found["seed"] = seed
    firsts = {
        key: values[0].tolist()
        for key, values in infos.items()
        if values.ndim and len(values) == steps + 1 and values[0].size <= LARGEST_AT_START
    }
    return found | ({"infos_at_start": firsts} if firsts else {})
