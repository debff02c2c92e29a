"""Policies that are hard to attack: what is added to an objective, max over what they may be shown.

With B the perturbations of a budget, and D a divergence of what a policy does,

    smooth:        L + k E_t[ d_t  max_(delta in B) D( pi(. | s_t), pi(. | s_t + delta) ) ]
    worst value:   L + k E_t[ d_t  max_(delta in B) Q( s_t, pi(s_t + delta) ) ]

The first wants the same action for everything within reach, whatever the attacker is after: Zhang,
Chen, Xiao, Li, Liu, Boning, Hsieh, "Robust Deep Reinforcement Learning against Adversarial
Perturbations on State Observations" (NeurIPS 2020); with d_t = gamma^t it is time-discounted
(Yamabe et al., 2026), else d_t = 1. The second is RAT-WocaR (Bai et al., AAAI 2025): Q is what an
intention expects, so that even the most useful perturbation is of little use to it. The maximum is
looked for by steps along the gradient, from a random delta: at 0 there is no gradient.

``HardPPO`` adds them to PPO's loss, D the KL; ``HardCloning`` adds smoothness to that of cloning, D
the squared difference of the actions, and may have a Lipschitz constant: with every layer's
spectral norm held at most at c^(1 / layers), | f(s) - f(s') | <= c | s - s' | in units of the
inputs' spread, whatever the budget.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from robolearn.algos.bc import BCConfig, BehaviorCloning
from robolearn.algos.ppo import PPO, Info, PPOConfig, Rows
from robolearn.attack import Budget
from robolearn.errors import UserError
from robolearn.networks.functional import gaussian_kl
from robolearn.networks.nets import EnsembleLipschitz
from robolearn.types import Spec

Value = Callable[[Tensor, Tensor], Tensor]  # Q(s [B, O], a [B, A]) -> [B]
UNSCALED = 1.0  # standard deviation of what never varied, to a ``Normaliser``


def worst(
    objective: Callable[[Tensor], Tensor],
    state: Tensor,
    budget: Budget,
    steps: int,
    generator: torch.Generator,
) -> Tensor:
    """Look for the delta [..., O] of the budget with the largest objective(s + delta) [...]."""
    rows = state.numel() // state.shape[-1]
    delta = budget.draw(rows, generator).to(state).reshape(state.shape)
    for _ in range(steps):
        delta.requires_grad_()
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(objective(state + delta).sum(), delta)
        delta = budget.project(delta.detach() + 2.0 / steps * budget.steepest(gradient))
    return delta


@dataclass(frozen=True)
class HardPPOConfig(PPOConfig):
    """What ``HardPPO`` adds to PPO. Raises UserError for a value out of range."""

    harden: Literal["smooth", "worst value"] = "smooth"
    """Which term is added; "worst value" needs a Q."""
    hard_weight: NonNegativeFloat = 0.2
    """Weight k of the term."""
    hard_size: PositiveFloat = 0.3
    """Largest perturbation of an entry, in units of its spread."""
    hard_steps: PositiveInt = 3
    """Gradients in the search for the maximum."""
    discounted: bool = False
    """Whether d_t = gamma^t, t the steps since an episode began."""


class HardPPO(PPO):
    """PPO whose policy is hard to attack; ``q`` is what an intention expects, for "worst value"."""

    name = "hard_ppo"

    def __init__(
        self,
        interface: Spec,
        config: HardPPOConfig,
        seed: int = 0,
        device: str = "cpu",
        critics: int = 1,
        streams: Mapping[str, Any] | None = None,
        q: Value | None = None,
    ):
        """Draw the initial weights, as ``PPO`` does."""
        super().__init__(interface, config, seed, device, critics, streams)
        self.q = q

    def budget(self) -> Budget:
        """Give what the policy may be shown now; what has never varied is shown as it is."""
        normaliser = self.network.normaliser
        varies = normaliser.variance.sqrt() > normaliser.smallest_std
        radius = torch.where(varies, self.config.hard_size * normaliser.std, 0.0).cpu()
        return Budget(self.interface.observations["state"], "linf", radius)

    def prepare(self, rollout: Mapping[str, Any]) -> tuple[Rows, Info]:
        """Give what the losses need, and d [T * N]."""
        rows, info = super().prepare(rollout)
        rows["hard"] = torch.ones_like(rows["advantage"])
        if self.config.discounted:
            rows["hard"] = self.config.gamma ** rollout["steps"].flatten(0, 1)
        return rows, info

    def loss(self, rows: Rows) -> tuple[Tensor, Info]:
        """Give PPO's loss and the term, on rows [B, ...]."""
        if self.config.harden == "worst value" and self.q is None:
            raise UserError("harden: 'worst value' needs a Q, what an intention expects")
        loss, info = super().loss(rows)
        term = (rows["hard"] * self._term(rows["state"])).mean()
        return loss + self.config.hard_weight * term, info | {"hardness": term.detach()}

    def _term(self, state: Tensor) -> Tensor:
        """Give the maximum [B]; gradients go through the policy, not through the search."""
        if self.config.harden == "smooth":
            usual = self.distribution(state)
            fixed = usual.mean.detach(), usual.log_std.detach()

            def objective(seen: Tensor) -> Tensor:
                pi = self.distribution(seen)
                return gaussian_kl(*fixed, pi.mean, pi.log_std)
        else:

            def objective(seen: Tensor) -> Tensor:
                return self.q(state, self.distribution(seen).mode.clamp(-1, 1))

        seen = state + worst(objective, state, self.budget(), self.config.hard_steps, self.noise)
        if self.config.harden == "smooth":
            pi = self.distribution(seen)
            return gaussian_kl(usual.mean, usual.log_std, pi.mean, pi.log_std)
        return objective(seen)


@dataclass(frozen=True)
class HardCloningConfig(BCConfig):
    """What ``HardCloning`` adds to cloning. Raises UserError for a value out of range."""

    smooth_weight: NonNegativeFloat = 0.0
    """Weight k of the smoothness."""
    smooth_size: PositiveFloat = 0.3
    """Largest perturbation of an entry, in units of its spread."""
    smooth_steps: PositiveInt = 3
    """Gradients in the search for the maximum."""
    lipschitz: PositiveFloat | None = None
    """Largest change of the action for a change of the normalised inputs by 1, c; None for any.
    There is no dropout and no layer norm then."""


class HardCloning(BehaviorCloning):
    """Cloning whose policy is hard to attack."""

    name = "hard_bc"

    def __init__(
        self, interface: Spec, config: HardCloningConfig, seed: int = 0, device: str = "cpu"
    ):
        """Draw the initial weights, as ``BehaviorCloning`` does."""
        super().__init__(interface, config, seed, device)

    def build(self, inputs: int, outputs: int, generators: Sequence[torch.Generator]) -> nn.Module:
        """Make K networks, Lipschitz if that is asked for."""
        config = self.config
        if config.lipschitz is None:
            return super().build(inputs, outputs, generators)
        return EnsembleLipschitz(inputs, outputs, config.widths, config.lipschitz, generators)

    def budget(self) -> Budget:
        """Give what the policy may be shown; what never varied in the data is shown as it is."""
        std = self.network["normaliser"].std
        radius = torch.where(std == UNSCALED, 0.0, self.config.smooth_size * std).cpu()
        return Budget(self.interface.observations["state"], "linf", radius)

    def bc_loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, float]]:
        """Sum the members' losses; each has a worst perturbation of its own."""
        loss, info = super().bc_loss(batch)
        if self.config.smooth_weight == 0.0:
            return loss, info
        term = self._term(batch["observations"]["state"])
        info["hardness"] = term.mean().item()
        return loss + self.config.smooth_weight * term.sum(), info

    def validate(self, batch: Mapping[str, Any]) -> Tensor:
        """Give every member's error and term [K] on [B, ...] data, dropout off."""
        error = super().validate(batch)
        if self.config.smooth_weight == 0.0:
            return error
        return (
            error + self.config.smooth_weight * self._term(batch["observations"]["state"]).detach()
        )

    def _term(self, state: Tensor) -> Tensor:
        """Give the mean of each member's maxima [K], on states [B, O] or [K, B, O]."""
        usual = self(state)
        fixed = usual.detach()
        state = state.expand(*fixed.shape[:2], -1)  # [K, B, O]
        delta = worst(
            lambda seen: (self(seen) - fixed).square().mean(dim=-1),
            state, self.budget(), self.config.smooth_steps, self.noise,
        )  # fmt: skip
        return (self(state + delta) - usual).square().mean(dim=(1, 2))
