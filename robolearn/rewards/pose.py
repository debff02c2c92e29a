"""Poses and skills: what a reward for skill discovery sees, and where skills are drawn from."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robolearn.nets import RunningNormaliser
from robolearn.types import Spec


def entries_of(interface: Spec, names: Sequence[str]) -> Tensor:
    """Give the positions [P] in "state" of the entries called ``names``; SpecError if not there."""
    state = interface.observations["state"]
    return torch.as_tensor(np.concatenate([state.index(name) for name in names]))


def poses(batch: Mapping[str, Any], index: Tensor) -> tuple[Tensor, Tensor]:
    """Give the poses o and o' [..., P] of a batch of transitions."""
    return (
        batch["observations"]["state"][..., index],
        batch["next_observations"]["state"][..., index],
    )


def displacement(phi: Callable[[Tensor], Tensor], pose: Tensor, next_pose: Tensor) -> Tensor:
    """Give phi(o') - phi(o) [..., Z], in one call of phi."""
    here, there = phi(torch.stack([pose, next_pose]))
    return there - here


def along(change: Tensor, skill: Tensor) -> Tensor:
    """Give the inner product [...] of two arrays [..., Z]."""
    return (change * skill).sum(dim=-1)


def directions(n: int, size: int, generator: torch.Generator) -> Tensor:
    """Draw n skills [n, Z], uniform on the unit sphere: their mean is zero, no way is preferred."""
    return F.normalize(torch.randn(n, size, generator=generator, device=generator.device), dim=-1)


def one_hot(n: int, size: int, generator: torch.Generator) -> Tensor:
    """Draw n skills [n, Z] out of Z, each as likely as the others."""
    index = torch.randint(size, (n,), generator=generator, device=generator.device)
    return F.one_hot(index, size).float()


class Directed:
    """Skills that are directions z, and the reward for motion along them: what all phi share."""

    index: Tensor  # [P]
    dimensions: int  # Z

    def phi(self, pose: Tensor) -> Tensor:
        """Give phi(o) [..., Z] of o [..., P]."""
        raise NotImplementedError

    def sample_skills(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw directions z [n, Z]."""
        return directions(n, self.dimensions, generator)

    def reward(self, batch: Mapping[str, Any]) -> Tensor:
        """Give r = (phi(o') - phi(o)) . z [...] of observations [..., O] and "skills" [..., Z]."""
        return along(displacement(self.phi, *poses(batch, self.index)), batch["skills"])


class PoseScale(nn.Module):
    """Poses in units of their spread in all that was seen, or of a floor where that is larger.

    The spread is the mean distance from the mean, times the factor that makes it the standard
    deviation of a Gaussian: a few objects that fell off a table do not change it by much. With a
    floor of None poses stay in their own units. The centre is taken off in any case.
    """

    def __init__(self, size: int, smallest_spread: float | None):
        super().__init__()
        self.centre, self.distance = RunningNormaliser(size), RunningNormaliser(size)
        self.smallest_spread = smallest_spread

    def update(self, pose: Tensor) -> None:
        """Take poses [..., P] into account."""
        self.centre.update(pose)
        self.distance.update((pose - self.centre.mean).abs())

    @property
    def spread(self) -> Tensor:
        """Give the unit [P] of each entry."""
        if self.smallest_spread is None:
            return torch.ones_like(self.centre.mean)
        return (math.sqrt(math.pi / 2) * self.distance.mean).clamp(min=self.smallest_spread)

    def forward(self, pose: Tensor) -> Tensor:
        """Scale poses [..., P]."""
        return (pose - self.centre.mean) / self.spread
