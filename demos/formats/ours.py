"""Datasets of this project as a Source, and as what a conversion writes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from demos.data import index
from demos.data.dataset import ABOUT, FORMAT, Dataset
from demos.data.episode_file import encode, to_json
from demos.data.index import EPISODES, Masks
from demos.data.mp4 import Images, clips_of, require_even
from demos.data.robomimic_keys import robomimic_keys
from demos.formats.contract import Reading
from demos.formats.parts import link
from robolearn.errors import DataError
from robolearn.files import write_atomically
from robolearn.types import Episode, Spec


class OurSource:
    """A dataset of this project; see ``contract.Source``."""

    format = "robolearn"

    def __init__(self, path: Path, reading: Reading) -> None:
        """Open it; raises DataError where there is none, or nothing in it."""
        self.path, self._dataset = path, Dataset.open(path)
        self.interface, self.env_options = self._dataset.interface, self._dataset.env_options
        self.names, self.masks = tuple(self._dataset.names()), self._dataset.masks()
        self.notes = reading.unused()
        if not self.names:
            raise DataError(f"{path} holds no episodes")

    def load(self, name: str, images: bool = True) -> Episode:
        """Read an episode exactly as it was recorded."""
        return self._dataset.load(name)

    def close(self) -> None:
        """Do nothing: no file stays open."""


class OurWriter:
    """Writes a dataset of this project; it has a place for everything."""

    suffix = ".hdf5"

    def __init__(
        self, interface: Spec, env_options: Mapping[str, Any], images: Images = "frames"
    ) -> None:
        """Keep cameras as ``images`` says; DataError where that cannot be."""
        require_even(interface.observations, images, "frames")
        self._images = images
        self.held: dict[str, str] = {}
        self._interface, self._options = interface, dict(env_options)
        self._env_args = index.env_args(interface, env_options)
        self._keys = robomimic_keys(interface)

    def part(self, path: Path, episode: Episode) -> None:
        """Write the episode's file."""
        clips = clips_of(episode.observations, self._interface, self._images)
        write_atomically(path, encode(episode, self._env_args, self._keys, clips))

    def join(self, parts: list[Path], folder: Path, names: list[str], masks: Masks) -> list[str]:
        """Name the files as a dataset has them; ``dataset.json`` makes it one."""
        (folder / EPISODES).mkdir()
        for part, name in zip(parts, names, strict=True):
            link(part, folder / EPISODES / index.file_name(int(name[5:])))
        about = {
            "format": FORMAT,
            "interface": json.loads(self._interface.to_json()),
            "env_options": json.loads(to_json(self._options)),
        }
        write_atomically(folder / ABOUT, json.dumps(about, indent=2).encode())
        index.update_index(folder, self._env_args, masks)
        return [EPISODES, index.INDEX, ABOUT]
