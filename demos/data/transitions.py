"""Episodes as flat arrays for training: built once on disk, then memory-mapped.

``cache/KEY/NAME.npy`` inside the dataset; the key is a digest of which files, in which state, went
in, so a cache is never stale. It is written under a temporary name and renamed, one episode in
memory at a time, so images need no more memory than one episode. Safe to delete at any time.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from demos.data.index import Entry
from robolearn.files import cannot_write, sync, temporary_name
from robolearn.types import Episode, Spec

CACHE = "cache"
LAYOUT = 1  # part of the key: raise it when the columns change


def load(
    dataset: Path,
    interface: Spec,
    entries: Sequence[Entry],
    read: Callable[[str], Episode],
    next_observations: bool,
) -> dict[str, Any]:
    """Give the transitions of ``entries`` as read-only memory maps; see Dataset.transitions.

    ``read`` loads an episode by its name. Raises DataError if an episode is not finite, or the
    cache cannot be written.
    """
    folder = dataset / CACHE / _key(entries, next_observations)
    if not folder.exists():
        _build(folder, entries, read, next_observations)
    names = {"observations": interface.observations}
    if next_observations:
        names["next_observations"] = interface.observations
    arrays: dict[str, Any] = {
        group: {name: _map(folder, f"{group}/{name}") for name in keys}
        for group, keys in names.items()
    }
    single = ("actions", "rewards", "terminated", "episode", "step")
    return arrays | {name: _map(folder, name) for name in single}


def _map(folder: Path, name: str) -> np.ndarray:
    return np.load(folder / f"{name}.npy", mmap_mode="r")


def _key(entries: Sequence[Entry], next_observations: bool) -> str:
    files = [dataclasses.astuple(entry) for entry in entries]
    text = json.dumps([LAYOUT, next_observations, files])
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def _columns(episode: Episode, number: int, next_observations: bool) -> dict[str, np.ndarray]:
    """Lay one episode out as rows: name -> [T, ...]."""
    steps = np.arange(len(episode))
    columns = {f"observations/{name}": a[:-1] for name, a in episode.observations.items()}
    if next_observations:
        columns |= {f"next_observations/{name}": a[1:] for name, a in episode.observations.items()}
    return columns | {
        "actions": episode.actions,
        "rewards": episode.rewards.astype(np.float32),
        "terminated": (steps == len(episode) - 1) & episode.terminated,
        "episode": np.full(len(episode), number, np.int64),
        "step": steps,
    }


def _build(
    folder: Path,
    entries: Sequence[Entry],
    read: Callable[[str], Episode],
    next_observations: bool,
) -> None:
    """Write all columns below a temporary folder, then give it its name."""
    rows = sum(entry.length for entry in entries)
    temporary = temporary_name(folder)
    try:
        with contextlib.ExitStack() as stack:
            files: dict[str, BinaryIO] = {}
            for entry in entries:
                episode = read(entry.name)
                episode.require_finite(f"{folder.parent.parent}/episodes/{entry.file}")
                for name, column in _columns(episode, entry.number, next_observations).items():
                    if name not in files:
                        path = temporary / f"{name}.npy"
                        files[name] = stack.enter_context(_npy_file(path, rows, column))
                    files[name].write(np.ascontiguousarray(column).data)
        _publish(temporary, folder)
    except OSError as error:
        raise cannot_write(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def _npy_file(path: Path, rows: int, like: np.ndarray) -> Iterator[BinaryIO]:
    """Open a .npy file for ``rows`` rows like those of ``like``; on the disk when it closes.

    Plain writes: a full disk is then an error, where a write to a memory map kills the process.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    header = np.lib.format.header_data_from_array_1_0(np.ascontiguousarray(like))
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header | {"shape": (rows, *like.shape[1:])})
        yield file
        file.flush()
        os.fsync(file.fileno())


def _publish(temporary: Path, folder: Path) -> None:
    try:
        temporary.rename(folder)
    except OSError:
        if not folder.exists():  # else another process was faster, with the same content
            raise
    sync(folder.parent)
