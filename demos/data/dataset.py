"""A dataset on disk: a folder of episodes that loses nothing when the process is killed.

::

    dataset.json                     what goes in and out (Spec), options of the environment
    episodes/episode_000000.hdf5     one file per episode (demos/data/episode_file.py)
    index.hdf5                       all of them as one dataset for robomimic; rebuilt when stale
    cache/                           arrays for training, rebuilt when missing

An episode is written under a temporary name, flushed and renamed, also when its metadata are
amended; then the index is replaced (in a large dataset, every 20th part or so). The episode files
alone say everything: whatever is killed in between, opening the dataset brings the index up to
date.
"""

import dataclasses
import json
import os
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from demos.data import index, transitions
from demos.data.episode_file import encode, read_episode, read_header, read_stored, to_json
from demos.data.index import EPISODES, Entry, Masks
from demos.data.locks import locked, uninterrupted
from demos.data.mp4 import Clip, Images, clips_of, require_even
from demos.data.robomimic_keys import robomimic_keys
from robolearn.errors import DataError, SpecError, nearest
from robolearn.files import TEMPORARY, cannot_write, write_atomically
from robolearn.types import ArraySpec, Episode, Spec

ABOUT = "dataset.json"
FORMAT = "robolearn-dataset-1"
INDEX_LAG = 1.05  # the index may lack one episode in 20: rewriting it takes time in proportion


class Dataset:
    """Episodes on disk, with their interface; get one from ``create``, ``open`` or ``ensure``.

    Episodes are called "demo_0", "demo_1", ...; a mask is a named set of them: "success",
    "failure", "operator_NAME", what was decided about them ("kept", "rejected"), and
    whatever robomimic's tools wrote into the index. ``images`` says how cameras are kept in
    episodes that are appended from now on.
    """

    def __init__(
        self,
        path: Path,
        interface: Spec,
        env_options: dict[str, Any],
        images: Images = "frames",
    ) -> None:
        require_even(interface.observations, images, "frames")
        self.path = path
        self.interface = interface
        self.env_options = env_options
        self.images = images
        self._entries: list[Entry] = []
        self._other_masks: Masks = {}
        self._indexed = 0  # episodes when the index was written or read

    @classmethod
    def create(
        cls,
        path: str | Path,
        interface: Spec,
        env_options: Mapping[str, Any] | None = None,
        images: Images = "frames",
    ) -> "Dataset":
        """Begin an empty dataset in a new or empty folder.

        Raises DataError if it is not empty, or cameras cannot be kept as ``images`` says.
        """
        path = Path(path)
        require_even(interface.observations, images, "frames")
        about = {"format": FORMAT, "interface": json.loads(interface.to_json())}
        about["env_options"] = json.loads(to_json(dict(env_options or {})))
        try:
            if path.exists() and any(_finished(path)):
                raise DataError(f"{path} is not empty: open it, or choose a new folder")
            (path / EPISODES).mkdir(parents=True, exist_ok=True)
            for left in filter(_is_abandoned, path.glob(f".{ABOUT}.*{TEMPORARY}")):
                left.unlink(missing_ok=True)
        except OSError as error:
            raise cannot_write(path, error) from error
        write_atomically(path / ABOUT, json.dumps(about, indent=2).encode())
        return cls.open(path, images)

    @classmethod
    def open(cls, path: str | Path, images: Images = "frames") -> "Dataset":
        """Open a dataset; a stale index is rebuilt, a file that cannot be read is warned about.

        Raises DataError if there is no dataset.
        """
        dataset = cls(Path(path), *read_about(Path(path)), images)
        dataset._refresh()
        faulty = [f"{entry.file} ({entry.fault})" for entry in dataset._entries if entry.fault]
        if faulty:
            hint = "move them away, or bring back copies that are whole"
            warnings.warn(f"{path}: left out {', '.join(faulty)}; {hint}", stacklevel=2)
        return dataset

    @classmethod
    def ensure(
        cls,
        path: str | Path,
        interface: Spec,
        env_options: Mapping[str, Any] | None = None,
        images: Images = "frames",
    ) -> "Dataset":
        """Open the dataset, to add to it, if there is one, else create it.

        What a writer that was killed has left unfinished is removed. Raises SpecError or DataError
        if what is there comes from another environment, robot or controller, or from other options.
        """
        if not (Path(path) / ABOUT).exists():
            return cls.create(path, interface, env_options, images)
        dataset = cls.open(path, images)
        dataset.require_environment(interface)
        dataset._remove_unfinished()
        theirs, ours = dataset.env_options, json.loads(to_json(dict(env_options or {})))
        if theirs != ours:
            changed = sorted(k for k in theirs | ours if theirs.get(k) != ours.get(k))
            raise DataError(f"{path} was recorded with other options ({', '.join(changed)})")
        return dataset

    def append(self, episode: Episode) -> str:
        """Write one episode and return its name; when this returns, a power failure keeps it.

        It may hold NaN (a faulty recording can be looked at), but must fit the interface. Several
        processes may append at once; Ctrl-C waits until the file is whole. Raises DataError if it
        does not fit, or the disk is full.
        """
        require_fit(self.interface, episode, f"{self.path}: the episode to append")
        return self._write(episode, clips_of(episode.observations, self.interface, self.images))

    def take_over(self, other: "Dataset", name: str) -> str:
        """Append an episode of a dataset with the same interface, its cameras as they lie there."""
        return self._write(*read_stored(other._file(name)))

    def _write(self, episode: Episode, clips: Mapping[str, Clip]) -> str:
        content = encode(episode, self._env_args(), self._keys(), clips)
        with locked(self.path / ABOUT), uninterrupted():
            path = self._free_file()
            write_atomically(path, content)
            entry = index.read_entry(path)
            self._entries.append(entry)
            if len(self._entries) > INDEX_LAG * self._indexed:
                self._update_index()
        return entry.name

    def amend(self, name: str, **changes: Any) -> None:
        """Change an episode's metadata: its file is replaced, as a whole or not at all.

        Raises DataError if there is no such episode, it is damaged, or the disk is full.
        """
        path = self._file(name)
        with locked(self.path / ABOUT), uninterrupted():
            episode, clips = read_stored(path)
            amended = dataclasses.replace(episode, metadata=episode.metadata | changes)
            write_atomically(path, encode(amended, self._env_args(), self._keys(), clips))
            self._entries = [
                index.read_entry(path) if entry.file == path.name else entry
                for entry in self._entries
            ]
            self._update_index()

    def flush(self) -> None:
        """Bring the index up to date, for robomimic; raises DataError if the disk is full."""
        with locked(self.path / ABOUT), uninterrupted():
            self._update_index()

    def __len__(self) -> int:
        """Count the readable episodes."""
        return len(self.names())

    def names(
        self, mask: str | None = None, success: bool | None = None, operator: str | None = None
    ) -> list[str]:
        """Name the episodes that pass every filter given, in the order they were recorded.

        Raises DataError for a mask or an operator that no episode has.
        """
        chosen = [entry for entry in self._entries if not entry.fault]
        if operator is not None:
            self._one_of("operator", operator, {entry.operator: entry for entry in chosen})
            chosen = [entry for entry in chosen if entry.operator == operator]
        if success is not None:
            chosen = [entry for entry in chosen if entry.success == success]
        if mask is not None:
            masked = set(self._one_of("mask", mask, self.masks()))
            chosen = [entry for entry in chosen if entry.name in masked]
        return [entry.name for entry in chosen]

    def masks(self) -> Masks:
        """Give every mask with the names of its episodes."""
        return self._other_masks | index.own_masks(self._entries)

    def metadata(self, name: str) -> dict[str, Any]:
        """Read an episode's metadata only."""
        return read_header(self._file(name))[2]

    def load(self, name: str) -> Episode:
        """Read an episode exactly as it was appended.

        Raises DataError if its file is damaged or does not fit the interface.
        """
        file = self._file(name)
        episode = read_episode(file)
        require_fit(self.interface, episode, str(file))
        return episode

    def episodes(
        self, mask: str | None = None, success: bool | None = None, operator: str | None = None
    ) -> list[Episode]:
        """Load the episodes that pass the filters (see ``names``) into memory."""
        return [self.load(name) for name in self.names(mask, success, operator)]

    def transitions(
        self,
        mask: str | None = None,
        success: bool | None = None,
        operator: str | None = None,
        next_observations: bool = False,
        observations: Collection[str] | None = None,
    ) -> dict[str, Any]:
        """Give the filtered episodes' M transitions as memory-mapped arrays; read-only.

        ``observations`` name -> [M, ...], of these names if some are given; ``actions`` [M, A],
        ``rewards`` [M], ``terminated`` [M], ``episode`` [M] (N of demo_N, to split by episode),
        ``step`` [M]; ``next_observations`` if asked for. Raises DataError when there is nothing, or
        something is not finite.
        """
        names = self.names(mask, success, operator)
        if not names:
            filters = {"mask": mask, "success": success, "operator": operator}
            given = ", ".join(f"{k}={v}" for k, v in filters.items() if v is not None)
            raise DataError(f"{self.path} has no episodes" + (f" with {given}" if given else ""))
        entries = [entry for entry in self._entries if entry.name in set(names)]
        interface = self.interface
        if observations is not None:
            chosen = {name: interface.observations[name] for name in observations}
            interface = dataclasses.replace(interface, observations=chosen)
        return transitions.load(self.path, interface, entries, self.load, next_observations)

    def require(self, spec: Spec, needed_by: str = "the policy") -> None:
        """Raise SpecError, naming every difference, unless the data fit ``spec``."""
        plain = Spec.from_json(spec.to_json())  # as on disk: lists where there were tuples
        plain.require(self.interface, needed_by, f"dataset {self.path}")

    def require_environment(self, interface: Spec) -> None:
        """Raise SpecError unless an environment with this interface may add to the data."""
        self.require(interface, "the environment")
        theirs, ours = self.interface.environment, interface.environment
        if theirs != ours:
            raise SpecError(f"dataset {self.path} holds {theirs}, not {ours}: use another folder")

    def _env_args(self) -> dict[str, Any]:
        return index.env_args(self.interface, self.env_options)

    def _keys(self) -> dict[str, Any]:
        return robomimic_keys(self.interface)

    def _file(self, name: str) -> Path:
        files = {entry.name: entry.file for entry in self._entries}
        return self.path / EPISODES / self._one_of("episode", name, files)

    def _one_of(self, what: str, name: str, known: Mapping[str, Any]) -> Any:
        if name not in known:
            raise DataError(f"{self.path} has no {what} '{name}'{nearest(name, known)}")
        return known[name]

    def _free_file(self) -> Path:
        """Give the file of the next episode; numbers are not used twice. Needs the lock."""
        number = max((entry.number for entry in self._entries), default=-1) + 1
        while (path := self.path / EPISODES / index.file_name(number)).exists():
            number += 1  # another process recorded it
        return path

    def _refresh(self) -> None:
        """Read the index, and repair it if it does not say what the folder says."""
        found = index.read_index(self.path)
        self._entries, self._other_masks = found or ([], {})
        self._indexed = len(self._entries)
        there = index.scan(self.path, self._entries)
        if found is None or there != self._entries:
            try:
                self.flush()
            except DataError:  # a folder that cannot be written can still be read
                self._entries = there

    def _remove_unfinished(self) -> None:
        """Remove temporary files: while the lock is held, nobody else is writing."""
        with locked(self.path / ABOUT):
            for folder in (self.path, self.path / EPISODES):
                for path in folder.glob(f".*{TEMPORARY}"):
                    try:
                        path.unlink(missing_ok=True)
                    except OSError as error:
                        raise cannot_write(path, error) from error

    def _update_index(self) -> None:
        """Bring index and entries up to what is in the folder; the lock must be held."""
        self._entries, self._other_masks = index.update_index(self.path, self._env_args())
        self._indexed = len(self._entries)


def read_about(path: Path) -> tuple[Spec, dict[str, Any]]:
    """Read a dataset's interface and the options of its environment; raises DataError."""
    if not (path / ABOUT).is_file() or not (path / EPISODES).is_dir():
        siblings = [p.name for p in path.parent.glob("*") if (p / ABOUT).exists()]
        hint = nearest(path.name, siblings) if siblings else ""
        raise DataError(f"{path} is not a dataset: it has no {ABOUT} and {EPISODES}/{hint}")
    try:
        about = json.loads((path / ABOUT).read_text())
        if about["format"] != FORMAT:
            raise DataError(f"{path / ABOUT}: format {about['format']} instead of {FORMAT}")
        return Spec.from_json(json.dumps(about["interface"])), dict(about["env_options"])
    except (ValueError, KeyError, TypeError, SpecError) as error:
        raise DataError(f"{path / ABOUT} is damaged: {error}") from error


def require_fit(interface: Spec, episode: Episode, where: str) -> None:
    """Raise SpecError unless the episode's arrays have the interface's names, shapes, dtypes."""
    seen = dataclasses.replace(
        interface,
        observations={name: _row(array) for name, array in episode.observations.items()},
        action=_row(episode.actions),
    )
    interface.require(seen, "the dataset", where)


def _row(array: np.ndarray) -> ArraySpec:
    return ArraySpec(array.shape[1:], str(array.dtype))


def _is_abandoned(temporary: Path) -> bool:
    """Say whether the process that was writing this file is gone."""
    try:
        os.kill(int(temporary.name.split(".")[-2]), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, ValueError):  # somebody else's
        return False
    return False


def _finished(folder: Path) -> list[Path]:
    """List what is in ``folder``, but for what a killed ``create`` leaves behind."""
    return [
        path
        for path in folder.iterdir()
        if path.suffix != TEMPORARY and not (path.name == EPISODES and not any(path.iterdir()))
    ]
