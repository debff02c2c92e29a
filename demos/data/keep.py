"""Keep a part of somebody's demonstrations, without touching what they come from.

What is written is said by the path's ending: ``.json`` a list of names; ``.hdf5`` a file that is
one dataset to robomimic, of links to the demonstrations (it stays small, and needs them); a folder
a dataset of ours, with copies of the episodes.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np

from demos.data.arrays import Demonstrations
from demos.data.dataset import ABOUT, Dataset
from demos.data.episode_file import DEMO
from demos.data.index import EPISODES, INDEX, file_name
from robolearn.errors import DataError
from robolearn.files import make_folder, write_atomically
from robolearn.types import Episode

LIST, ROBOMIMIC = ".json", ".hdf5"
MASK = "kept"  # no operator to demos/data/arrays.py
Repaired = tuple[np.ndarray, np.ndarray]  # some steps of an episode [K], the actions there [K, A]


def require_free(path: str | Path, source: Path) -> None:
    """Raise DataError unless ``path`` can keep a part of the demonstrations of ``source``."""
    path = Path(path)
    if path.exists():
        raise DataError(f"{path} is there already: choose another name")
    if source.is_dir() and not (source / ABOUT).exists() and path.suffix != LIST:
        raise DataError(
            f"{path}: of {source} a list can be kept: choose a name that ends in {LIST}"
        )
    if path.suffix not in (LIST, ROBOMIMIC) and (path.suffix or not source.is_dir()):
        raise DataError(
            f"{path}: choose a name that ends in {ROBOMIMIC} (links, for robomimic) or {LIST} "
            f"(a list of names){', or a folder without an ending' * source.is_dir()}"
        )
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not (above.is_dir() and os.access(above, os.W_OK | os.X_OK)):
        raise DataError(f"{path}: nothing can be written in {above}: choose another folder")
    if source.is_dir() and source.resolve() in path.resolve().parents:
        raise DataError(f"{path} lies in {source}, which stays as it is: choose another folder")


def keep(
    source: Demonstrations,
    names: Sequence[str],
    path: str | Path,
    repaired: Mapping[str, Repaired] | None = None,
) -> Path:
    """Write the demonstrations with these ``names``, at least one; gives the path.

    In a folder, those that are ``repaired`` have other steps and actions than they came with.
    Raises DataError for a path that ``require_free`` rules out, or that cannot be written.
    """
    path = Path(path)
    require_free(path, source.path)
    if path.suffix == LIST:
        make_folder(path.parent)
        content = {"demonstrations": str(source.path), MASK: list(names)}
        write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())
    elif path.suffix == ROBOMIMIC:
        make_folder(path.parent)
        write_atomically(path, _links(source, names, path.parent.resolve()))
    else:
        _copy(source.path, names, path, repaired or {})
    return path


def _links(source: Demonstrations, names: Sequence[str], folder: Path) -> bytes:
    """Give the content of a file in ``folder`` that links to demonstrations elsewhere."""
    ours = source.path.is_dir()
    whole = source.path / INDEX if ours else source.path
    rows = dict(zip(source.names, source.actions, strict=True))
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file, h5py.File(whole, "r") as original:
        data = file.create_group("data")
        data.attrs.update(original["data"].attrs)
        data.attrs["total"] = sum(len(rows[name]) for name in names)
        for name in names:
            at = source.path / EPISODES / file_name(int(name[5:])) if ours else source.path
            link = os.path.relpath(at.resolve(), folder)
            data[name] = h5py.ExternalLink(link, DEMO if ours else f"/data/{name}")
        for mask, members in {**source.masks, MASK: names}.items():
            if here := [name for name in members if name in names]:
                file[f"mask/{mask}"] = np.array(here, dtype="S")
    return buffer.getvalue()


def _copy(source: Path, names: Sequence[str], path: Path, repaired: Mapping[str, Repaired]) -> None:
    dataset = Dataset.open(source)
    copy = Dataset.create(path, dataset.interface, dataset.env_options)
    for name in names:
        if name not in repaired:
            copy.take_over(dataset, name)
            continue
        episode = shortened(dataset.load(name), *repaired[name])
        episode.metadata["repaired"] |= {"of": str(source), "name": name}
        copy.append(episode)
    copy.flush()


def shortened(episode: Episode, rows: np.ndarray, actions: np.ndarray) -> Episode:
    """Give some steps of an episode, [K] in order, with other actions [K, A].

    Its states no longer follow from its actions: metadata say which ``steps`` they are, under
    "repaired", and nothing of a replay.
    """
    seen = np.append(rows, rows[-1] + 1)  # and what the last of them led to
    metadata = {key: value for key, value in episode.metadata.items() if key != "replay"}
    return dataclasses.replace(
        episode,
        observations={name: array[seen] for name, array in episode.observations.items()},
        actions=actions.astype(np.float32),
        rewards=episode.rewards[rows],
        states=None if episode.states is None else episode.states[seen],
        reward_terms={name: array[rows] for name, array in episode.reward_terms.items()},
        records={name: array[rows] for name, array in episode.records.items()},
        metadata=metadata | {"repaired": {"steps": rows.tolist()}},
    )
