"""Others' datasets as they lie, to train on: what a Dataset of ours gives, from any Source.

All of it is held in memory, images only when they are asked for, where the size allows; what is
larger is converted first.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from demos.data.arrays import Demonstrations
from demos.data.dataset import Dataset
from demos.data.index import Masks
from demos.formats import guess
from demos.formats.contract import Reading, Source
from demos.formats.terms import AS_GIVEN, LIMITS
from robolearn.errors import DataError, nearest
from robolearn.running.counter import Counter
from robolearn.types import Episode

MOST_BYTES = 2 << 30
STATE = "state"


def open_dataset(path: str | Path) -> Dataset | Foreign:
    """Open a dataset of ours, or others' as it lies; DataError for what is none."""
    if guess.format_of(Path(path)) == guess.OURS:
        return Dataset.open(path)
    return Foreign(path)


class Foreign:
    """Others' dataset, read whole but for its images; the names are those of ``Dataset``."""

    def __init__(
        self, path: str | Path, reading: Reading | None = None, as_given: bool = False
    ) -> None:
        """Read it, its actions as they came if ``as_given``, else in [-1, 1].

        Raises DataError for what is damaged, or too large to be held in memory.
        """
        self._reading = reading
        source = guess.open_source(path, reading)
        try:
            self.path, self.env_options = source.path, source.env_options
            self.interface = source.interface
            self._episodes = _all(source, as_given)
            self._masks = source.masks
            self.notes, self.format = source.notes, source.format
        finally:
            source.close()

    def names(
        self, mask: str | None = None, success: bool | None = None, operator: str | None = None
    ) -> list[str]:
        """Name the episodes that pass every filter given, in order; see ``Dataset.names``."""
        chosen = dict(self._episodes)
        if operator is not None:
            known = {operator_of(episode) for episode in chosen.values()} - {""}
            self._require("operator", operator, known)
            chosen = {n: e for n, e in chosen.items() if operator_of(e) == operator}
        if success is not None:
            chosen = {n: e for n, e in chosen.items() if e.success == success}
        if mask is not None:
            self._require("mask", mask, self._masks)
            chosen = {n: e for n, e in chosen.items() if n in self._masks[mask]}
        return list(chosen)

    def masks(self) -> Masks:
        """Give every mask with the names of its episodes."""
        return dict(self._masks)

    def load(self, name: str) -> Episode:
        """Give an episode, without images; DataError if there is none of that name."""
        self._require("episode", name, self._episodes)
        return self._episodes[name]

    def transitions(
        self,
        mask: str | None = None,
        success: bool | None = None,
        operator: str | None = None,
        observations: Collection[str] | None = None,
    ) -> dict[str, Any]:
        """Give the filtered episodes' M transitions; see ``Dataset.transitions``.

        Images are read now, those of ``observations`` only; DataError where they are too large.
        """
        names = self.names(mask, success, operator)
        if not names:
            raise DataError(f"{self.path} has no such episodes")
        some = [self._episodes[name] for name in names]
        lengths = [len(episode) for episode in some]
        ends = [_last(len(e)) & e.terminated for e in some]
        wanted = self.interface.observations if observations is None else observations
        held = some[0].observations
        vectors = {n: np.concatenate([e.observations[n][:-1] for e in some]) for n in held}
        return {
            "observations": {name: vectors[name] for name in wanted if name in held}
            | self._images(names, [name for name in wanted if name not in held]),
            "actions": np.concatenate([e.actions for e in some]),
            "rewards": np.concatenate([e.rewards for e in some]),
            "terminated": np.concatenate(ends),
            "episode": np.repeat([int(name[5:]) for name in names], lengths),
            "step": np.concatenate([np.arange(n) for n in lengths]),
        }

    def _images(self, names: Sequence[str], cameras: Sequence[str]) -> dict[str, np.ndarray]:
        """Read the images [M, H, W, C] of some episodes, one episode at a time."""
        if not cameras:
            return {}
        rows = sum(len(self._episodes[name]) for name in names)
        kinds = {camera: self.interface.observations[camera] for camera in cameras}
        size = sum(rows * math.prod(k.shape) * np.dtype(k.dtype).itemsize for k in kinds.values())
        if size > MOST_BYTES:
            raise _too_large(self.path, "; obs=[state] leaves images out")
        found = {c: np.empty((rows, *kind.shape), kind.dtype) for c, kind in kinds.items()}
        source, at = guess.open_source(self.path, self._reading), 0
        try:
            with Counter(len(names), "reading images", "episodes") as bar:
                for name in names:
                    episode = source.load(name)
                    for camera, array in found.items():
                        array[at : at + len(episode)] = episode.observations[camera][:-1]
                    at += len(episode)
                    bar.update()
        finally:
            source.close()
        return found

    def _require(self, what: str, name: str, known: Any) -> None:
        if name not in known:
            raise DataError(f"{self.path} has no {what} '{name}'{nearest(name, known)}")


def demonstrations(
    path: Path, reading: Reading, success: bool | None, as_given: bool = False
) -> Demonstrations:
    """Read others' demonstrations as plain arrays, to be judged; DataError if there are none."""
    dataset = Foreign(path, reading, as_given)
    if STATE not in dataset.interface.observations:
        raise DataError(f"{path} has no vectors: images alone cannot be compared")
    names = dataset.names(success=success)
    if not names:
        raise DataError(f"{path} holds no{_outcome(success)} demonstrations")
    state = dataset.interface.observations[STATE]
    some = [dataset.load(name) for name in names]
    interface = dataclasses.replace(dataset.interface, observations={STATE: state})
    if as_given:
        controller = {k: v for k, v in interface.controller.items() if k != LIMITS}
        interface = dataclasses.replace(interface, controller=controller)
    return Demonstrations(
        path,
        interface,
        tuple(names),
        tuple(operator_of(episode) for episode in some),
        dataset.masks(),
        tuple(episode.observations[STATE][:-1] for episode in some),
        tuple(episode.actions for episode in some),
    )


def operator_of(episode: Episode) -> str:
    """Say who demonstrated, "" if nobody knows."""
    return str(episode.metadata.get("operator", ""))


def _outcome(success: bool | None) -> str:
    return "" if success is None else " successful" if success else " failed"


def _last(steps: int) -> np.ndarray:
    return np.arange(steps) == steps - 1


def _all(source: Source, as_given: bool) -> dict[str, Episode]:
    """Read all episodes without images; DataError where they take more memory than they may."""
    found, size = {}, 0
    with Counter(len(source.names), "reading", "episodes") as bar:
        for name in source.names:
            episode = source.load(name, images=False)
            actions = episode.records.get(AS_GIVEN, episode.actions)
            actions = actions if as_given else episode.actions
            episode = dataclasses.replace(episode, actions=actions, records={}, states=None)
            size += sum(a.nbytes for a in (*episode.observations.values(), episode.actions))
            if size > MOST_BYTES:
                raise _too_large(source.path)
            found[name] = episode
            bar.update()
    return found


def _too_large(path: Path, instead: str = "") -> DataError:
    return DataError(
        f"{path} is too large to be used as it lies: robolearn convert {path} DATASET{instead}"
    )
