"""Training loops as functions: they know the protocols below, never a method's name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from pydantic import PositiveInt
from torch import Tensor

from robolearn.errors import DataError, SpecError
from robolearn.settings import Settings, ShareBelowOne
from robolearn.types import Learner, Spec

Data = Mapping[str, Any]
Batch = dict[str, Any]
Candidate = TypeVar("Candidate")


class OfflineLearner(Learner, Protocol):
    """A Learner of K members that can be fitted to a fixed data set."""

    interface: Spec
    device: torch.device
    best_loss: Tensor  # [K]

    def fit_normaliser(self, observations: Mapping[str, Tensor]) -> None:
        """Take the scale of the inputs from observations name -> [B, ...], without images."""

    def validate(self, batch: Batch) -> Tensor:
        """Give every member's loss [K] on data that it is not trained on."""

    def keep_best(self, losses: Tensor) -> None:
        """Remember the members that are at their best, by validation losses [K]."""

    def restore_best(self) -> None:
        """Go back to the best that was remembered."""


@dataclass(frozen=True)
class OfflineConfig(Settings):
    """Length and batches of ``offline``. Raises UserError for a value out of range."""

    epochs: PositiveInt = 50
    """Passes over the training data."""
    batch_size: PositiveInt = 128
    """Transitions in a member's batch."""
    validation_share: ShareBelowOne = 0.1
    """Share of the episodes (at least one) that picks the best weights; 0 keeps the last ones."""
    most_updates: PositiveInt | None = None
    """Updates after which no further epoch begins: much data takes fewer epochs. None: no bound."""

    def epochs_of(self, transitions: int) -> int:
        """Count the epochs of a training on so many transitions."""
        if self.most_updates is None:
            return self.epochs
        updates = transitions // min(self.batch_size, transitions)
        return min(self.epochs, -(-self.most_updates // updates))


@dataclass(frozen=True)
class Fit:
    """What came of a training: mean over the members, one entry for each epoch."""

    loss: tuple[float, ...]
    validation_loss: tuple[float, ...]  # empty without validation episodes

    @property
    def best_epoch(self) -> int:
        """Count the epochs up to the lowest validation loss (all, if nothing was held out)."""
        if not self.validation_loss:
            return len(self.loss)
        return int(np.argmin(self.validation_loss)) + 1

    @property
    def best_validation_loss(self) -> float:
        """Give the lowest validation loss; infinite if nothing was held out."""
        return min(self.validation_loss, default=float("inf"))


def offline(
    learner: OfflineLearner,
    data: Data,
    config: OfflineConfig,
    seed: int,
    *,
    first_epoch: int = 0,
    on_epoch: Callable[[int, dict[str, float]], None] | None = None,
) -> Fit:
    """Fit a learner to demonstrations and leave it at its best validation loss.

    ``data`` is what ``Dataset.transitions`` gives: "observations" (name -> [M, ...]), "actions"
    [M, A], the "episode" [M] that each transition is from, and optionally a "weight" [M] >= 0
    (transitions of weight 0 are left out); other entries are not looked at. The split is by
    episode. Split and batch orders follow from ``seed``, the epoch and the member alone, so a
    restored learner continues with ``first_epoch`` exactly as if never interrupted.
    ``on_epoch(epoch, scalars)`` is called after each epoch. Raises SpecError for data that does not
    fit the learner, DataError for data that is empty, not finite, or of too few episodes.

    A learner that has a ``chunk`` of H steps is given "actions" [B, H, A], which follow one another
    in ``data``, and "within" [B, H]: 0 for those that are of another episode, or left out.
    """
    transitions, episode = _transitions(data, learner)
    held_out = validation_episodes(episode, config.validation_share, seed)
    validating = torch.as_tensor(np.isin(episode, held_out), device=learner.device)
    training, validation = ~validating, _rows(transitions, validating)
    if first_epoch == 0:
        vectors = {k: a for k, a in transitions["observations"].items() if a.is_floating_point()}
        learner.fit_normaliser(_rows(vectors, training))
    rows = training.nonzero()[:, 0]
    losses, validation_losses = [], []
    for epoch in range(first_epoch, config.epochs_of(len(rows))):
        info = _train_epoch(learner, transitions, rows, config.batch_size, (seed, epoch))
        losses.append(info["loss"])
        if len(held_out):
            member_losses = learner.validate(validation)
            learner.keep_best(member_losses)
            validation_losses.append(
                info.setdefault("validation_loss", member_losses.mean().item())
            )
        if on_epoch is not None:
            on_epoch(epoch, info)
    if len(held_out):
        learner.restore_best()
    return Fit(tuple(losses), tuple(validation_losses))


def validation_episodes(episode: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Draw a share of the episodes in ``episode`` [M], at least one unless the share is 0."""
    names = np.unique(episode)
    if share == 0:
        return names[:0]
    if len(names) < 2:
        raise DataError(
            f"{len(names)} episodes are too few to hold one out for validation:"
            " give at least 2, or validation_share=0"
        )
    count = min(max(1, round(share * len(names))), len(names) - 1)
    return np.random.default_rng(seed).choice(names, count, replace=False)


def _train_epoch(
    learner: OfflineLearner,
    transitions: Batch,
    training: Tensor,
    batch_size: int,
    key: tuple[int, int],
) -> dict[str, float]:
    """Show each member the rows [M] for ``training`` once, in its own order.

    Gives the means of the scalars.
    """
    size, members = len(training), len(learner.best_loss)
    batch_size = min(batch_size, size)
    orders = training[torch.as_tensor(_orders(size, members, key), device=learner.device)]  # [K, M]
    infos = []
    for start in range(0, size - batch_size + 1, batch_size):  # an odd rest waits for other epochs
        infos.append(learner.update(_rows(transitions, orders[:, start : start + batch_size])))
    return {name: float(np.mean([info[name] for info in infos])) for name in infos[0]}


def _orders(size: int, members: int, key: tuple[int, int]) -> np.ndarray:
    generators = (np.random.default_rng([*key, k]) for k in range(members))
    return np.stack([generator.permutation(size) for generator in generators])


def _rows(batch: Batch, rows: Tensor) -> Batch:
    """Take rows of every array of a nested batch."""
    return {k: _rows(v, rows) if isinstance(v, dict) else v[rows] for k, v in batch.items()}


def _transitions(data: Data, learner: OfflineLearner) -> tuple[Batch, np.ndarray]:
    """Check the data; give them on the device, weights brought to a mean of 1, and the episodes."""
    interface = learner.interface
    if len(data["actions"]) == 0:
        raise DataError("there are no transitions to train on")
    missing = sorted(set(interface.observations) - set(data["observations"]))
    if missing:
        raise SpecError(f"the data has no observation {', '.join(missing)}")
    weight = np.asarray(data.get("weight", np.ones(len(data["actions"]))), np.float64)
    used = np.flatnonzero(weight > 0)
    if len(used) == 0:
        raise DataError("every transition has weight 0: there is nothing to train on")
    observations = {
        name: _used(name, np.asarray(data["observations"][name]), used, spec.shape)
        for name, spec in interface.observations.items()
    }
    actions = _used("actions", np.asarray(data["actions"]), used, interface.action.shape)
    arrays: Batch = {
        "observations": observations,
        "actions": actions,
        "weight": (weight[used] / weight[used].mean()).astype(np.float32),
    }
    episode = np.asarray(data["episode"])[used]
    if chunk := getattr(learner, "chunk", 0):
        arrays["actions"], arrays["within"] = _in_chunks(actions, used, episode, chunk)
    return _on_device(arrays, learner.device), episode


def _in_chunks(
    actions: np.ndarray, row: np.ndarray, episode: np.ndarray, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Give the actions from each transition on [M, H, A], and which of them [M, H] follow it."""
    ahead = np.arange(steps)
    place = np.arange(len(actions))[:, None] + ahead
    there = np.minimum(place, len(actions) - 1)
    follows = (place == there) & (episode[there] == episode[:, None])
    follows &= row[there] == row[:, None] + ahead  # none between them is left out
    return actions[there], follows.astype(np.float32)


def _used(name: str, array: np.ndarray, used: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Take the used rows once their shape and values are found sound: float32, images as bytes."""
    if array.shape[1:] != shape:
        raise SpecError(f"{name} has shape {array.shape[1:]} in the data, not {shape}")
    rows = array if len(used) == len(array) else array[used]
    if rows.dtype == np.uint8:
        return np.require(rows, requirements="W")  # what lies on the disk comes into memory
    finite = np.isfinite(rows.reshape(len(rows), -1)).all(axis=1)
    if not finite.all():
        raise DataError(f"{name} is not finite in transition {used[finite.argmin()]}")
    return rows.astype(np.float32)


def _on_device(batch: Batch, device: torch.device) -> Batch:
    return {
        name: _on_device(value, device)
        if isinstance(value, dict)
        else torch.as_tensor(value, device=device)
        for name, value in batch.items()
    }


def search(
    make_learner: Callable[[Candidate], OfflineLearner],
    candidates: Sequence[Candidate],
    data: Data,
    config: OfflineConfig,
    seed: int,
) -> tuple[Candidate, OfflineConfig, list[Fit]]:
    """Choose a network and its number of epochs by validation error on the same held-out episodes.

    Each candidate is trained for ``config.epochs``; the one whose validation loss gets lowest wins,
    and the epochs that it took are the epochs to train for. Returns that candidate, ``config``
    with those epochs, and the Fit of every candidate.
    """
    fits = [offline(make_learner(c), data, config, seed) for c in candidates]
    best = min(range(len(fits)), key=lambda i: fits[i].best_validation_loss)
    return candidates[best], replace(config, epochs=fits[best].best_epoch), fits
