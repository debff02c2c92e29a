"""Projected gradient descent on what a victim sees, towards what an intention policy would do.

For every state by itself, from delta = 0,

    delta <- P( delta - step * argmax_(d in budget) <d, grad_delta D(s + delta)> )
    D(s~) = KL( pi_v(. | s~) || pi_theta(. | s) )

where P projects on the budget; the best delta on the way is kept. Madry, Makelov, Schmidt, Tsipras,
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
    Budget,
    Victim,
    require_distribution,
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
        self, victim: Victim, intention: Victim, budget: Budget, config: PGDConfig | None = None
    ) -> None:
        """Take a victim that gradients go through, UserError if not; the intention needs none."""
        require_victim(victim, budget.spec)
        require_distribution(intention, budget.spec, "intention")
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

    def __call__(self, state: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Give delta [B, O] for s [B, O]; there is nothing random in it."""
        with torch.no_grad():
            aim = self.intention.distribution(state)
        return descend(lambda seen: divergence(self.victim, seen, aim), state, self.budget,
                       self.config)  # fmt: skip


def divergence(
    victim: Victim, seen: Tensor, aim: Gaussian, movable: Tensor | None = None
) -> Tensor:
    """Give D = KL( pi_v(. | s~) || aim ) [...] of s~ [..., O], in nats.

    The sum goes over the entries of the action that are ``movable`` bool [A], if it is given.
    """
    entries = victim.distribution(seen).kl(aim)
    return (entries if movable is None else entries * movable).sum(dim=-1)


class Reachable(Protocol):
    """What may be done to what is seen: a ``Budget``."""

    def project(self, delta: Tensor) -> Tensor:
        """Give a delta [B, O] of the budget near to delta."""

    def steepest(self, gradient: Tensor) -> Tensor:
        """Give the delta [B, O] of the budget with the largest inner product with a gradient."""


def descend(
    loss: Callable[[Tensor], Tensor], state: Tensor, budget: Reachable, config: PGDConfig
) -> Tensor:
    """Give the delta [B, O] of the budget with the least loss(s + delta) [B] on the way."""
    best, delta = torch.zeros_like(state), torch.zeros_like(state)
    least = torch.full(state.shape[:1], torch.inf, device=state.device)
    for t in range(config.steps + 1):
        delta = delta.detach().requires_grad_()
        with torch.enable_grad():
            value = loss(state + delta)
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
    state: Tensor,
    budget: Budget,
    config: PGDConfig,
    least_share: float,
) -> Tensor:
    """Find the entries of the action that an attack can move towards the intention, bool [A].

    Each is attacked by itself, in the states [B, O]. It is left out if less than ``least_share`` of
    its squared distance from the intention's mean can be closed: saturated, it only costs what
    could be done with the others. An entry without a distance is kept.
    """
    with torch.no_grad():
        aim = intention.distribution(state).mean

    def distance(seen: Tensor, j: int) -> Tensor:
        return (victim.distribution(seen).mean[..., j] - aim[..., j]).square()

    kept = []
    for j in range(aim.shape[-1]):
        delta = descend(lambda seen, j=j: distance(seen, j), state, budget, config)
        with torch.no_grad():
            before, after = distance(state, j).sum(), distance(state + delta, j).sum()
        kept.append(bool(before - after >= least_share * before))
    return torch.tensor(kept, device=state.device)
