"""Reward streams with nothing to learn: terms of the environment, and a metric for skills."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from annotated_types import MinLen
from torch import Tensor

from robolearn.errors import SpecError, nearest
from robolearn.rewards.base import Directed, entries_of
from robolearn.settings import Names, Settings
from robolearn.types import Spec


class Fixed:
    """The part of a reward stream that is empty if there is nothing to learn."""

    def update(self, batch: Mapping[str, Any]) -> dict[str, float]:
        """Learn nothing."""
        return {}

    def state_dict(self) -> dict[str, Tensor]:
        """Give nothing: there is nothing to remember."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take nothing over."""


class Terms(Fixed):
    """A weighted sum of the environment's own reward terms, such as minus all its violations."""

    def __init__(self, name: str, weights: Mapping[str, float]):
        """Name the stream, and the terms in it with their weights."""
        self.name, self.weights = name, dict(weights)

    def reward(self, batch: Mapping[str, Any]) -> Tensor:
        """Sum ``batch["reward_terms"][name]`` [...]; SpecError for a term that is not there."""
        terms = batch["reward_terms"]
        for name in self.weights:
            if name not in terms:
                raise SpecError(f"{self.name}: no reward term '{name}'{nearest(name, terms)}")
        return sum(weight * terms[name] for name, weight in self.weights.items())


@dataclass(frozen=True)
class MetricConfig(Settings):
    """The map of ``Metric``. Raises UserError for a value out of range."""

    entries: Names = ("cube_pos",)
    """Names of the entries of "state" that skills are about, P numbers in all."""
    weights: Annotated[tuple[float, ...], MinLen(1)] = (1.0, 1.0, 2.0)
    """Factor w of each number, per unit; a skill has as many entries."""

    @property
    def skills(self) -> int:
        """Count the entries of z, Z."""
        return len(self.weights)


class Metric(Directed, Fixed):
    """Skill discovery without learning: r = (phi(o') - phi(o)) . z with phi(o) = w o."""

    name = "metric"

    def __init__(self, interface: Spec, config: MetricConfig, device: str = "cpu"):
        """Find the entries; SpecError if they are not there, or not as many as weights."""
        self.index = entries_of(interface, config.entries).to(device)
        if len(self.index) != len(config.weights):
            found = f"{len(self.index)} numbers in {', '.join(config.entries)}"
            raise SpecError(f"weights: {len(config.weights)} for {found}")
        self.config, self.dimensions = config, len(config.weights)
        self.weights = torch.tensor(config.weights, device=device)

    def phi(self, pose: Tensor) -> Tensor:
        """Give phi(o) [..., Z] of o [..., P]."""
        return self.weights * pose
