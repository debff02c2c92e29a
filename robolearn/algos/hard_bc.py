"""Behaviour cloning whose policy is hard to attack: it is smooth, or has a Lipschitz constant.

With B the perturbations of a budget, smoothness is added to the squared error of ``bc.py``,

    L + k E_s[ max_(delta in B) mean_j ( f(s + delta)_j - f(s)_j )^2 ]

(Zhang et al., NeurIPS 2020; see ``hard_ppo.py``). With every layer's spectral norm held at most at
c^(1 / layers), as by Miyato et al. (ICLR 2018), | f(s) - f(s') | <= c | s - s' | in units of the
inputs' spread, whatever the budget.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from robolearn.algos.bc import BCConfig, BehaviorCloning
from robolearn.networks.nets import EnsembleLipschitz
from robolearn.settings import Settings
from robolearn.state_attack import Budget, worst
from robolearn.types import Spec

UNSCALED = 1.0  # standard deviation of what never varied, to a ``Normaliser``


@dataclass(frozen=True)
class HardeningConfig(Settings):
    """What is added to cloning. Raises UserError for a value out of range."""

    smoothness: NonNegativeFloat = 0.0
    """Weight k of the smoothness."""
    size: PositiveFloat = 0.3
    """Largest perturbation of an entry, in units of its spread."""
    steps: PositiveInt = 3
    """Gradients in the search for the maximum."""
    lipschitz: PositiveFloat | None = None
    """Largest change of the action for a change of the normalised inputs by 1, c; None for any.
    There is no dropout and no layer norm then."""


@dataclass(frozen=True)
class HardCloningConfig(BCConfig):
    """Network and optimiser of ``HardCloning``, and what makes it hard to attack."""

    harden: HardeningConfig = HardeningConfig()
    """What is added."""

    @classmethod
    def of(cls, config: BCConfig, harden: HardeningConfig) -> HardCloningConfig:
        """Add it to a configuration of cloning."""
        return cls(**dataclasses.asdict(config), harden=harden)


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
        most = self.config.harden.lipschitz
        if most is None:
            return super().build(inputs, outputs, generators)
        return EnsembleLipschitz(inputs, outputs, self.config.widths, most, generators)

    def budget(self) -> Budget:
        """Give what the policy may be shown; what never varied in the data is shown as it is."""
        std = self.network["normaliser"].std
        radius = torch.where(std == UNSCALED, 0.0, self.config.harden.size * std).cpu()
        return Budget(self.interface.observations["state"], "linf", radius)

    def bc_loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, float]]:
        """Sum the members' losses; each has a worst perturbation of its own."""
        loss, info = super().bc_loss(batch)
        if self.config.harden.smoothness == 0.0:
            return loss, info
        term = self._term(batch["observations"]["state"])
        info["hardness"] = term.mean().item()
        return loss + self.config.harden.smoothness * term.sum(), info

    def validate(self, batch: Mapping[str, Any]) -> Tensor:
        """Give every member's error and term [K] on [B, ...] data, dropout off."""
        error = super().validate(batch)
        if self.config.harden.smoothness == 0.0:
            return error
        term = self._term(batch["observations"]["state"]).detach()
        return error + self.config.harden.smoothness * term

    def _term(self, state: Tensor) -> Tensor:
        """Give the mean of each member's maxima [K], on states [B, O] or [K, B, O]."""
        usual = self(state)
        fixed = usual.detach()
        state = state.expand(*fixed.shape[:2], -1)  # [K, B, O]
        delta = worst(
            lambda seen: (self(seen) - fixed).square().mean(dim=-1),
            state, self.budget(), self.config.harden.steps, self.noise,
        )  # fmt: skip
        return (self(state + delta) - usual).square().mean(dim=(1, 2))
