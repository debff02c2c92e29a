"""Projected gradient descent on what a victim sees, towards what an intention policy would do.

For every state, or what is seen in images, by itself, from delta = 0,

    delta <- P( delta - step * argmax_(d in budget) <d, grad_delta D(s + delta)> )
    D(s~) = KL( pi_v(. | s~) || pi_theta(. | s) )

where P projects on the budget; the best delta on the way is kept. Images are seen in whole grey
levels, of which the gradient is as if they were not rounded. Madry, Makelov, Schmidt, Tsipras,
Vladu, "Towards Deep Learning Models Resistant to Adversarial Attacks" (ICLR 2018), targeted as in
Bai et al. (AAAI 2025). It looks one step ahead and learns nothing: a baseline for ``rat.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from robolearn.attack import (
    AnyBudget,
    Sight,
    Victim,
    distribution_of,
    require_seeing,
    require_victim,
    require_without_context,
)
from robolearn.networks.functional import Gaussian
from robolearn.settings import Settings


@dataclass(frozen=True)
class PGDConfig(Settings):
    """Descent of ``PGD``. Raises UserError for a value out of range."""

    steps: PositiveInt = 20
    """Gradients per state."""
    step: PositiveFloat = 0.1
    """Length of a step, as a share of the budget."""


class PGD:
    """The perturbation that brings the victim closest to the intention, state by state."""

    def __init__(
        self, victim: Victim, intention: Victim, budget: AnyBudget, config: PGDConfig | None = None
    ) -> None:
        """Take a victim that gradients go through, UserError if not; the intention needs none."""
        require_victim(victim, budget)
        require_seeing(intention, budget, "intention")
        require_without_context(intention, "intention", "an intention answers to single states")
        self.victim, self.intention, self.budget = victim, intention, budget
        self.config = config or PGDConfig()

    @property
    def memoryless(self) -> bool:
        """Say whether the victim is."""
        return getattr(self.victim, "memoryless", False)

    def reset(self, n: int) -> None:
        """Begin n episodes, before the victim may have."""
        self.victim.reset(n)

    def __call__(self, true: Sight, generator: torch.Generator | None = None) -> Tensor:
        """Give delta [B, P] for what is true; there is nothing random in it."""
        return self._descend(true, self.budget.nothing(true), self.budget)

    def between(self, true: Sight, delta: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Give the delta [B, P] that is found from another one on, between low and high [B, P]."""
        bounds = Between(self.budget, low, high)
        return self._descend(true, bounds.project(delta), bounds)

    def _descend(self, true: Sight, delta: Tensor, budget: Descending) -> Tensor:
        with torch.no_grad():
            aim = distribution_of(self.intention, true)

        def loss(delta: Tensor) -> Tensor:
            """Give D [B]."""
            return divergence(self.victim, self.budget.seen(true, delta), aim)

        return descend(loss, delta, budget, self.config)


class Descending(Protocol):
    """What ``descend`` asks of a budget."""

    def project(self, delta: Tensor) -> Tensor:
        """Give a delta of the budget near to delta [B, P]."""

    def steepest(self, gradient: Tensor) -> Tensor:
        """Give the delta of the budget with the largest inner product with a gradient [B, P]."""


@dataclass(frozen=True)
class Between:
    """What of a budget lies between low and high [B, P]; of its own where nothing does."""

    budget: AnyBudget
    low: Tensor
    high: Tensor

    def project(self, delta: Tensor) -> Tensor:
        """Give a delta of it near to delta [B, P]."""
        return self.budget.project(torch.clamp(delta, self.low, self.high))

    def steepest(self, gradient: Tensor) -> Tensor:
        """Give the budget's steepest delta, no longer in any entry than half the way across."""
        half = (self.high - self.low) / 2
        return torch.clamp(self.budget.steepest(gradient), -half, half)


def divergence(victim: Victim, seen: Sight, aim: Gaussian, movable: Tensor | None = None) -> Tensor:
    """Give D = KL( pi_v(. | s~) || aim ) [...] of what is seen, in nats.

    The sum goes over the entries of the action that are ``movable`` bool [A], if it is given.
    """
    entries = distribution_of(victim, seen).kl(aim)
    return (entries if movable is None else entries * movable).sum(dim=-1)


def descend(
    loss: Callable[[Tensor], Tensor], delta: Tensor, budget: Descending, config: PGDConfig
) -> Tensor:
    """Give the delta [B, P] of the budget with the least loss(delta) [B] on the way from one."""
    best = delta
    least = torch.full(delta.shape[:1], torch.inf, device=delta.device)
    for t in range(config.steps + 1):
        delta = delta.detach().requires_grad_()
        with torch.enable_grad():
            value = loss(delta)
            gradient = None
            if t < config.steps:
                (gradient,) = torch.autograd.grad(value.sum(), delta)
        better = value.detach() < least
        best = torch.where(better[:, None], delta.detach(), best)
        least = torch.where(better, value.detach(), least)
        if gradient is not None:
            delta = budget.project(delta.detach() - config.step * budget.steepest(gradient))
    return best


def movable_entries(
    victim: Victim,
    intention: Victim,
    true: Sight,
    budget: AnyBudget,
    config: PGDConfig,
    least_share: float,
) -> Tensor:
    """Find the entries of the action that an attack can move towards the intention, bool [A].

    Each is attacked by itself, in B states. It is left out if less than ``least_share`` of
    its squared distance from the intention's mean can be closed: saturated, it only costs what
    could be done with the others. An entry without a distance is kept.
    """
    nothing = budget.nothing(true)
    with torch.no_grad():
        aim = distribution_of(intention, true).mean

    def distance(delta: Tensor, j: int) -> Tensor:
        mean = distribution_of(victim, budget.seen(true, delta)).mean
        return (mean[..., j] - aim[..., j]).square()

    kept = []
    for j in range(aim.shape[-1]):
        delta = descend(lambda delta, j=j: distance(delta, j), nothing, budget, config)
        with torch.no_grad():
            before, after = distance(nothing, j).sum(), distance(delta, j).sum()
        kept.append(bool(before - after >= least_share * before))
    return torch.tensor(kept, device=nothing.device)
