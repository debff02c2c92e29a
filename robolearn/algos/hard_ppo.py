"""PPO whose policy is hard to attack: a term is added to its loss, a maximum over what it may see.

With B the perturbations of a budget, and d_t = 1 or gamma^t,

    smooth:        L + k E_t[ d_t  max_(delta in B) KL( pi(. | s_t) || pi(. | s_t + delta) ) ]
    worst value:   L + k E_t[ d_t  max_(delta in B) Q( s_t, pi(s_t + delta) ) ]

The first wants the same action for everything within reach, whatever the attacker is after: Zhang,
Chen, Xiao, Li, Liu, Boning, Hsieh, "Robust Deep Reinforcement Learning against Adversarial
Perturbations on State Observations" (NeurIPS 2020); with d_t = gamma^t it is time-discounted
(Yamabe et al., 2026). The second is RAT-WocaR (Bai et al., AAAI 2025): Q is what an intention
expects, so that even the most useful perturbation is of little use to it; here in units of its
spread in a rollout.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from robolearn.algos.ppo import PPO, Info, PPOConfig, Rows
from robolearn.errors import UserError
from robolearn.networks.functional import gaussian_kl
from robolearn.settings import Settings
from robolearn.state_attack import Budget, worst
from robolearn.types import Spec

Value = Callable[[Tensor, Tensor], Tensor]  # Q(s [B, O], a [B, A]) -> [B]


@dataclass(frozen=True)
class HardeningConfig(Settings):
    """The term that is added to PPO. Raises UserError for a value out of range."""

    term: Literal["smooth", "worst value"] = "smooth"
    """Which one; "worst value" needs a Q."""
    weight: NonNegativeFloat = 0.2
    """Weight k of the term."""
    size: PositiveFloat = 0.3
    """Largest perturbation of an entry, in units of its spread."""
    steps: PositiveInt = 3
    """Gradients in the search for the maximum."""
    discounted: bool = False
    """Whether d_t = gamma^t, t the steps since an episode began."""


@dataclass(frozen=True)
class HardPPOConfig(PPOConfig):
    """Network and objective of ``HardPPO``, and what makes it hard to attack."""

    harden: HardeningConfig = HardeningConfig()
    """The term that is added."""

    @classmethod
    def of(cls, config: PPOConfig, harden: HardeningConfig) -> HardPPOConfig:
        """Add it to a configuration of PPO."""
        return cls(**dataclasses.asdict(config), harden=harden)


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
        radius = torch.where(varies, self.config.harden.size * normaliser.std, 0.0).cpu()
        return Budget(self.interface.observations["state"], "linf", radius)

    def prepare(self, rollout: Mapping[str, Any]) -> tuple[Rows, Info]:
        """Give what the losses need, and d [T * N]."""
        rows, info = super().prepare(rollout)
        rows["hard"] = torch.ones_like(rows["advantage"])
        if self.config.harden.discounted:
            rows["hard"] = self.config.gamma ** rollout["steps"].flatten(0, 1)
        if self.config.harden.term == "worst value":
            rows["hard"] = rows["hard"] / self._q_spread(rows)
        return rows, info

    def _q_spread(self, rows: Rows) -> Tensor:
        """Give the spread of Q in a rollout: k then means the same whatever the unit of rewards."""
        if self.q is None:
            raise UserError("harden: 'worst value' needs a Q, what an intention expects")
        return self.q(rows["state"], rows["action"].clamp(-1, 1)).std().clamp(min=1e-6)

    def loss(self, rows: Rows) -> tuple[Tensor, Info]:
        """Give PPO's loss and the term, on rows [B, ...]."""
        loss, info = super().loss(rows)
        term = (rows["hard"] * self._term(rows["state"])).mean()
        return loss + self.config.harden.weight * term, info | {"hardness": term.detach()}

    def _term(self, state: Tensor) -> Tensor:
        """Give the maximum [B]; gradients go through the policy, not through the search."""
        if self.config.harden.term == "smooth":
            usual = self.distribution(state)
            fixed = usual.mean.detach(), usual.log_std.detach()

            def objective(seen: Tensor) -> Tensor:
                pi = self.distribution(seen)
                return gaussian_kl(*fixed, pi.mean, pi.log_std)
        else:

            def objective(seen: Tensor) -> Tensor:
                return self.q(state, self.distribution(seen).mode.clamp(-1, 1))

        seen = state + worst(objective, state, self.budget(), self.config.harden.steps, self.noise)
        if self.config.harden.term == "smooth":
            pi = self.distribution(seen)
            return gaussian_kl(usual.mean, usual.log_std, pi.mean, pi.log_std)
        return objective(seen)
