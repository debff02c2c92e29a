"""The loop in which an adversary learns: states are collected, then learnt from, by turns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from pydantic import PositiveInt
from torch import Tensor

from robolearn.attack import AnyBudget
from robolearn.loops.rollout import rollout
from robolearn.settings import Settings
from robolearn.types import Environment, Policy, Step

SOME = 200  # states by which it is found what can be moved


@dataclass(frozen=True)
class CollectionConfig(Settings):
    """How RAT collects and learns: by turns, as often as there are rounds."""

    rounds: PositiveInt = 16
    """How often."""
    episodes: PositiveInt = 3
    """Episodes in a round."""
    updates: PositiveInt = 400
    """Gradient steps in a round."""
    batch: PositiveInt = 96
    """States in a step."""


@dataclass(frozen=True)
class Collected:
    """Where ``attacking`` stands after some rounds."""

    rounds: int
    observations: dict[str, np.ndarray]  # M of all of them
    moments: np.ndarray | None = None  # [M, C], in which a contextual victim saw them


class Adversary(Protocol):
    """A ``RAT``."""

    victim: Policy
    budget: AnyBudget

    def at(self, moments: Tensor) -> Adversary:
        """Give the same adversary, with its contextual victim at moments [B, C]."""

    def fit_normaliser(self, observations: Mapping[str, Tensor]) -> None:
        """Take the scale of the inputs from M observations."""

    def find_movable(self, observations: Mapping[str, Tensor]) -> np.ndarray:
        """Leave out the entries of the action that cannot be moved in B observations."""

    def update(self, batch: Mapping[str, Any]) -> dict[str, float]:
        """Improve by one step on true observations."""


def attacking(
    adversary: Adversary,
    env: Environment,
    collector: Policy,
    config: CollectionConfig,
    horizon: int,
    rng: np.random.Generator,
    on_round: Callable[[Collected, dict[str, float]], None] | None = None,
    begun: Collected | None = None,
) -> dict[str, Tensor]:
    """Let ``collector`` act in ``env``, an adversary learn from all that it sees; give M of that.

    ``on_round(collected, scalars)`` is called after each round. An adversary and a generator that
    are as they were then go on from there, with ``begun=collected``, as if never interrupted.
    """
    names = adversary.budget.told
    table = {name: [] if begun is None else [begun.observations[name]] for name in names}
    memory = _Memory(adversary.victim, None if begun is None else begun.moments)
    total = config.rounds * config.updates
    for round_ in range(begun.rounds if begun else 0, config.rounds):
        for _ in range(config.episodes):
            seed = int(rng.integers(2**31))
            memory.begin()
            episode = rollout(env, collector, horizon=horizon, seed=seed, on_step=memory.on_step)
            memory.end()
            for name in names:
                table[name].append(episode.observations[name][:-1])
        table = {name: [np.concatenate(parts)] for name, parts in table.items()}
        seen = {name: torch.from_numpy(whole) for name, (whole,) in table.items()}
        count, moments = len(seen[names[0]]), memory.moments()
        if not round_:
            adversary.fit_normaliser(seen)
            rows = torch.from_numpy(rng.integers(count, size=SOME))
            there = adversary if moments is None else adversary.at(moments[rows])
            there.find_movable({name: whole[rows] for name, whole in seen.items()})
        for step in range(config.updates):
            rows = torch.from_numpy(rng.integers(count, size=config.batch))
            observations = {name: whole[rows] for name, whole in seen.items()}
            progress = (round_ * config.updates + step) / total
            batch = {"observations": observations, "progress": progress}
            info = adversary.update(
                batch if moments is None else batch | {"moments": moments[rows]}
            )
        if on_round is not None:
            held = None if moments is None else moments.numpy()
            on_round(Collected(round_ + 1, {n: whole for n, (whole,) in table.items()}, held), info)
    return {name: torch.from_numpy(whole) for name, (whole,) in table.items()}


class _Memory:
    """What a contextual victim remembers before each of its actions; of another one nothing."""

    def __init__(self, victim: Policy, begun: np.ndarray | None) -> None:
        self._victim = victim if getattr(victim, "contextual", False) else None
        self._held = [] if begun is None else [torch.from_numpy(begun)]
        self._episode: list[Tensor] = []

    def begin(self) -> None:
        """Begin an episode."""
        if self._victim is not None:
            self._victim.reset(1)
            self._episode = [self._victim.moment()]

    def on_step(self, step: Step) -> None:
        """Remember what it knows after a step."""
        if self._victim is not None:
            self._episode.append(self._victim.moment())

    def end(self) -> None:
        """End the episode: what is known after the last step precedes no action."""
        self._held += self._episode[:-1]

    def moments(self) -> Tensor | None:
        """Give all of them, [M, C]."""
        if self._victim is None:
            return None
        self._held = [torch.cat(self._held)]
        return self._held[0]
