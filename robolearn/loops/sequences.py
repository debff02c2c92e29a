"""Learning from sequences of recorded episodes, which know what was still to be earned."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from pydantic import PositiveInt

from robolearn.errors import DataError, SpecError
from robolearn.loops.collecting import on_device
from robolearn.settings import Settings
from robolearn.types import Learner, Spec

Data = Mapping[str, Any]


@dataclass(frozen=True)
class SequencesConfig(Settings):
    """Length and batches of ``learning``. Raises UserError for a value out of range."""

    updates: PositiveInt = 5000
    """Gradient steps."""
    batch: PositiveInt = 64
    """Sequences in a step."""
    period: PositiveInt = 500
    """Updates between two lines of the log, each with a point from which a stopped run goes on."""


class SequenceLearner(Learner, Protocol):
    """A Learner that is told returns: see ``DecisionTransformer``."""

    interface: Spec
    device: torch.device

    def fit_scales(self, data: Mapping[str, np.ndarray]) -> None:
        """Take the scales of all steps: "state" [M, O], "rewards", "returns" [M]; "best" []."""


class Sequences:
    """Sequences of K = ``length`` steps of recorded episodes, with their returns-to-go.

    ``data`` is what ``Dataset.transitions`` gives: "observations" (name -> [M, ...]), "actions"
    [M, A], "rewards", and the "episode" and "step" [M] that each is from; an episode's transitions
    follow each other.
    """

    def __init__(self, data: Data, interface: Spec, length: int) -> None:
        """Raise SpecError for data that does not fit, DataError if it is empty or not finite."""
        self.length = length
        self.state = _checked("state", data["observations"].get("state"), interface)
        self.actions = _checked("actions", data["actions"], interface)
        self.rewards = np.array(data["rewards"], np.float32)
        if not np.isfinite(self.rewards).all():
            raise DataError(f"rewards are not finite in transition {_first_bad(self.rewards)}")
        self.steps = np.asarray(data["step"], np.int64)
        episode = np.asarray(data["episode"])
        edges = np.flatnonzero(episode[1:] != episode[:-1]) + 1
        self.starts = np.array([0, *edges])
        lengths = np.diff([*self.starts, len(episode)])
        self._ends = np.repeat(self.starts + lengths, lengths)  # of each row's episode
        self.returns = returns_to_go(self.rewards, self.starts)

    def scales(self) -> dict[str, np.ndarray]:
        """Give what ``SequenceLearner.fit_scales`` looks at."""
        best = self.returns[self.starts].max()
        return {"state": self.state, "rewards": self.rewards, "returns": self.returns, "best": best}

    def sample(self, count: int, rng: np.random.Generator) -> dict[str, Any]:
        """Draw sequences that begin anywhere, all equally often: a batch, arrays [B, K, ...].

        Behind the end of an episode "mask" is 0, and the last step stands again.
        """
        begin = rng.integers(len(self.state), size=count)
        rows, ends = begin[:, None] + np.arange(self.length), self._ends[begin][:, None]
        mask, rows = (rows < ends).astype(np.float32), np.minimum(rows, ends - 1)
        return {
            "observations": {"state": self.state[rows]},
            "actions": self.actions[rows],
            "rewards": self.rewards[rows],
            "returns": self.returns[rows],
            "steps": self.steps[rows],
            "mask": mask,
        }


def returns_to_go(rewards: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Give R_t = sum_(t' >= t) r_t' [M] of the episodes that begin at ``starts`` in rewards [M]."""
    episodes = np.split(np.asarray(rewards, np.float64), starts[1:])
    return np.concatenate([e[::-1].cumsum()[::-1] for e in episodes]).astype(np.float32)


def learning(
    learner: SequenceLearner,
    sequences: Sequences,
    config: SequencesConfig,
    seed: int,
    *,
    begun: int = 0,
    on_period: Callable[[int, dict[str, float]], None] | None = None,
) -> None:
    """Fit a learner to sequences.

    ``on_period(updates, scalars)`` is called after each period and at the end, with means over its
    updates. Batches follow from ``seed`` and the update alone, so a learner that is as it was then
    goes on with ``begun=updates`` as if never interrupted.
    """
    if not begun:
        learner.fit_scales(sequences.scales())
    infos = []
    for update in range(begun + 1, config.updates + 1):
        batch = sequences.sample(config.batch, np.random.default_rng([seed, update]))
        infos.append(learner.update(on_device(batch, learner.device)))
        if update % config.period == 0 or update == config.updates:
            if on_period is not None:
                on_period(update, {k: float(np.mean([i[k] for i in infos])) for k in infos[0]})
            infos.clear()


def _checked(name: str, array: Any, interface: Spec) -> np.ndarray:
    """Give rows float32 [M, ...], once their shape and values are found sound."""
    spec = interface.action if name == "actions" else interface.observations[name]
    if array is None:
        raise SpecError(f"the data has no observation {name}")
    rows = np.array(array, np.float32)  # from the disk into memory
    if rows.shape[1:] != spec.shape:
        raise SpecError(f"{name} has shape {rows.shape[1:]} in the data, not {spec.shape}")
    if not len(rows):
        raise DataError("there are no transitions to train on")
    if not np.isfinite(rows).all():
        raise DataError(f"{name} is not finite in transition {_first_bad(rows)}")
    return rows


def _first_bad(rows: np.ndarray) -> int:
    return int(np.isfinite(rows.reshape(len(rows), -1)).all(axis=1).argmin())
