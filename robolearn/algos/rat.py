"""RAT, targeted behaviour attacks: Bai, Liu, Du, Wen, Yang (AAAI 2025).

A victim pi_v sees s~ = s + alpha(s), alpha an adversary that stays within a budget. It is made to
do what the intention pi_theta would do in the true state. With a weighting h_omega(s) in (0, 2),

    inner:  min_alpha  J(alpha)     = E_s[ h_omega(s) D(s; alpha) ]
                       D(s; alpha)  = KL( pi_v(. | s + alpha(s)) || pi_theta(. | s) )
    outer:  min_omega  J_o(alpha')  = E_s E_(a ~ pi_v(. | s + alpha'(s)))[ mu log pi - Q(s, a) ]
                       alpha'       = alpha - eta grad_alpha J(alpha)

    grad_omega J_o = mean_s f(s) grad h_omega(s),
    f(s) = -eta (grad_alpha' J_o)^T grad_alpha D(s; alpha)

f(s) is one number per state: for all of them at once, the derivative of <grad_alpha J, direction>
by h, for the direction grad_alpha' J_o. The KL is exact, with both policies' spread. What is left
open is done as follows: the adversary moves by Adam, in steps that get smaller if it is told how
far the training is, while alpha' of the outer problem is a plain step of gradient descent, whose
derivative the formula is; entries of the action that no perturbation moves are left out of D
(``find_movable``); without a Q, h is 1; inputs are cut off at ten spreads of the first states,
which are few. Where images are perturbed, s is all that is seen; alpha and h look at coarse images,
and at the state.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor, nn
from torch.func import functional_call

from robolearn.algos.pgd import PGDConfig, divergence, movable_entries
from robolearn.attack import (
    AnyBudget,
    Attacked,
    Sight,
    Victim,
    distribution_of,
    require_seeing,
    require_victim,
    require_without_context,
)
from robolearn.networks.functional import Gaussian
from robolearn.networks.nets import (
    Normaliser,
    load_optimiser_tensors,
    load_weights,
    optimiser_tensors,
    relu_mlp,
)
from robolearn.settings import Settings, Share, Widths
from robolearn.types import Observation

Info = dict[str, float]
Weights = dict[str, Tensor]
FURTHEST = 10.0  # spreads, of what the first states have: they are few, and may hardly differ
Value = Callable[[Sight, Tensor], Tensor]  # Q(s, a [B, A]) -> [B]


@dataclass(frozen=True)
class RATConfig(Settings):
    """Networks and objectives of ``RAT``. Raises UserError for a value out of range."""

    widths: Widths = (256, 256)
    """Hidden units of each layer, of adversary and weighting; where images are perturbed, the last
    one says how many images the adversary mixes."""
    adversary_rate: PositiveFloat = 3e-4
    """Step size of the adversary's Adam."""
    weight_rate: PositiveFloat = 3e-4
    """Step size of the weighting's Adam."""
    inner_rate: PositiveFloat = 3e-4
    """Step of gradient descent that the outer problem looks ahead, eta."""
    mu: NonNegativeFloat = 0.1
    """Weight of a nat of the attacked victim's entropy against a unit of Q."""
    least_movable: Share = 0.25
    """Share of an entry's squared distance from the intention that a perturbation must close, else
    the entry is left out. Meta-World: .95 and more of what can be moved, .01 to .12 of the rest."""


class Looking(nn.Module):
    """A network that looks at what a budget lets it look at, in units of the spread there."""

    def __init__(
        self, budget: AnyBudget, outputs: int, config: RATConfig, generator: torch.Generator
    ):
        super().__init__()
        self.budget, (inputs,) = budget, budget.view.shape
        self.normaliser = Normaliser(inputs)
        self.layers = relu_mlp(inputs, outputs, config.widths, generator)

    def forward(self, true: Sight) -> Tensor:
        """Give numbers [B, J] for what is true."""
        return self.layers(self.normaliser(self.budget.look(true)).clamp(-FURTHEST, FURTHEST))


class Adversary(Looking):
    """alpha(s), within the budget; nearly zero at first."""

    def __init__(self, budget: AnyBudget, config: RATConfig, generator: torch.Generator):
        super().__init__(budget, len(budget.radius), config, generator)

    def forward(self, true: Sight) -> Tensor:
        """Give delta [B, P] for what is true."""
        return self.budget.squash(super().forward(true))


class Weighting(Looking):
    """h_omega(s) in (0, 2); nearly 1 at first."""

    def __init__(self, budget: AnyBudget, config: RATConfig, generator: torch.Generator):
        super().__init__(budget, 1, config, generator)

    def forward(self, true: Sight) -> Tensor:
        """Give h [B] for what is true."""
        return 2 * torch.sigmoid(super().forward(true).squeeze(-1))


class RAT:
    """An adversary that learns: a Perturbation, a Policy (the attacked victim's), and a Learner.

    A batch is a mapping of tensors: "observations", itself a mapping of true ones [B, ...], of all
    names in ``budget.told``; "moments" [B, C], in which a victim that is ``contextual`` sees them.
    "progress", if it is there, is the share of the training that is over, with which the steps get
    smaller.
    """

    name = "rat"
    eats = "transitions"
    memoryless = True

    def __init__(
        self,
        victim: Victim,
        intention: Victim,
        budget: AnyBudget,
        config: RATConfig,
        seed: int = 0,
        q: Value | None = None,
    ):
        """Draw the initial weights; UserError if no gradients go through the victim, SpecError
        if it or the intention sees something else.

        ``q`` values actions as the intention does; without it there is no outer problem.
        """
        require_victim(victim, budget)
        require_seeing(intention, budget, "intention")
        if not callable(getattr(victim, "at", None)):
            require_without_context(victim, "victim", "RAT learns from single states: try pgd")
        require_without_context(intention, "intention", "an intention answers to single moments")
        self.victim, self.intention, self.budget = victim, intention, budget
        self.config, self.q = config, q
        seeds = np.random.SeedSequence(seed).generate_state(3).tolist()
        first, second, self.noise = (torch.Generator().manual_seed(s) for s in seeds)
        self.adversary = Adversary(budget, config, first)
        self.weighting = Weighting(budget, config, second)
        self.network = nn.ModuleDict({"adversary": self.adversary, "weighting": self.weighting})
        with torch.no_grad():
            actions = distribution_of(victim, budget.blank()).mean.shape[-1]
        self.network.register_buffer("movable", torch.ones(actions, dtype=torch.bool))
        self._alpha, self._omega = map(_parameters, (self.adversary, self.weighting))
        self.optimisers = {
            "adversary": torch.optim.Adam(self._alpha.values(), lr=config.adversary_rate),
            "weighting": torch.optim.Adam(self._omega.values(), lr=config.weight_rate),
        }

    # acting

    def reset(self, n: int) -> None:
        """Begin n episodes."""
        self.victim.reset(n)

    def act(self, observation: Observation, explore: bool = False) -> np.ndarray:
        """Give what the attacked victim does, float32 [N, A]."""
        return Attacked(self.victim, self, self.budget).act(observation, explore)

    @torch.no_grad()
    def __call__(self, true: Sight, generator: torch.Generator | None = None) -> Tensor:
        """Give delta [B, P] for what is true; there is nothing random in it."""
        return self.adversary(true)

    # learning

    def fit_normaliser(self, observations: Mapping[str, Tensor]) -> None:
        """Take the scale of the inputs from M observations; call it once, before training."""
        look = self.budget.look(self.budget.true(observations))
        for module in (self.adversary, self.weighting):
            module.normaliser.fit(look)

    def find_movable(
        self, observations: Mapping[str, Tensor], config: PGDConfig | None = None
    ) -> np.ndarray:
        """Leave action entries out that cannot be moved in B observations; give the others [A]."""
        found = movable_entries(
            self.victim, self.intention, self.budget.true(observations), self.budget,
            config or PGDConfig(), self.config.least_movable,
        )  # fmt: skip
        self.network.movable.copy_(found)
        return found.cpu().numpy()

    def at(self, moments: Tensor) -> RAT:
        """Give the same adversary with the victim at moments [B, C], to learn from their states."""
        there = copy.copy(self)
        there.victim = self.victim.at(moments)
        return there

    def update(self, batch: Mapping[str, Any]) -> Info:
        """Improve adversary and weighting by one step each; return what was seen on the way."""
        if "moments" in batch:
            return self.at(batch["moments"])._update(batch)
        return self._update(batch)

    def _update(self, batch: Mapping[str, Any]) -> Info:
        true = self.budget.true(batch["observations"])
        self._set_rates(1 - batch.get("progress", 0.0))
        with torch.no_grad():
            aim = distribution_of(self.intention, true)
        loss, info = self.inner_loss(true, aim)
        outer = None if self.q is None else self.outer_loss(true, aim)
        self._descend("adversary", loss, self._alpha)
        if outer is not None:
            self._descend("weighting", outer, self._omega)
        return info

    def divergence(self, alpha: Weights, true: Sight, aim: Gaussian) -> Tensor:
        """Give D(s; alpha) [B]."""
        return divergence(self.victim, self.seen(alpha, true), aim, self.network.movable)

    def seen(self, alpha: Weights, true: Sight) -> Sight:
        """Give s + alpha(s)."""
        return self.budget.seen(true, functional_call(self.adversary, alpha, (true,)))

    def inner_loss(self, true: Sight, aim: Gaussian) -> tuple[Tensor, Info]:
        """Give J(alpha), the weighted divergence."""
        apart = self.divergence(self._alpha, true, aim)
        h = torch.ones_like(apart) if self.q is None else self.weighting(true).detach()
        info = {"divergence": apart.mean().item(), "weight_spread": h.std(correction=0).item()}
        return (h * apart).mean(), info

    def outer_loss(self, true: Sight, aim: Gaussian) -> Tensor:
        """Give what has the gradient of J_o by omega: mean_s f(s) h_omega(s)."""
        h = self.weighting(true)
        return (self.influence(h.detach(), true, aim) * h).mean()

    def influence(self, h: Tensor, true: Sight, aim: Gaussian) -> Tensor:
        """Give f(s) [B]: how J_o after an inner step with weights h [B] grows with each h(s)."""
        alpha = {name: p.detach().requires_grad_() for name, p in self._alpha.items()}
        eta, weights = self.config.inner_rate, (h / len(h)).detach().requires_grad_()
        apart, parameters = self.divergence(alpha, true, aim), list(alpha.values())
        inner = torch.autograd.grad(apart, parameters, weights, create_graph=True)  # grad_alpha J
        ahead = {
            name: (p - eta * slope).detach().requires_grad_()
            for (name, p), slope in zip(alpha.items(), inner, strict=True)
        }  # alpha'
        noise = torch.randn(len(h), len(self.network.movable), generator=self.noise)
        objective = self.objective(ahead, true, noise)
        direction = torch.autograd.grad(objective, list(ahead.values()))
        (along,) = torch.autograd.grad(inner, weights, direction)
        return -eta * along

    def objective(self, alpha: Weights, true: Sight, noise: Tensor) -> Tensor:
        """Give J_o(alpha), of the actions that the noise [B, A] stands for."""
        pi = distribution_of(self.victim, self.seen(alpha, true))
        action, log_pi = pi.at(noise.to(pi.mean))
        return (self.config.mu * log_pi - self.q(true, action.clamp(-1, 1))).mean()

    def _set_rates(self, share: float) -> None:
        """Take so large a share of the step sizes."""
        rates = {"adversary": self.config.adversary_rate, "weighting": self.config.weight_rate}
        for name, optimiser in self.optimisers.items():
            optimiser.param_groups[0]["lr"] = share * rates[name]

    def _descend(self, name: str, loss: Tensor, parameters: Weights) -> None:
        """Take one step; gradients of nothing but the parameters are computed."""
        self.optimisers[name].zero_grad()
        loss.backward(inputs=list(parameters.values()))
        self.optimisers[name].step()

    # persistence

    def state_dict(self) -> dict[str, Tensor]:
        """Give weights, normalisers and the movable entries as tensors."""
        return self.network.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what ``state_dict`` gave; DataError if it is of other networks."""
        load_weights(self.network, state)

    def training_state(self) -> dict[str, Tensor]:
        """Give what continuing needs beside ``state_dict``: both Adams, and the noise."""
        state = {"noise": self.noise.get_state()}
        for name, optimiser in self.optimisers.items():
            state |= {f"{name}/{k}": v for k, v in optimiser_tensors(optimiser).items()}
        return state

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what ``training_state`` gave; updates then go on as if never interrupted."""
        self.noise.set_state(state["noise"].cpu())
        for name, optimiser in self.optimisers.items():
            start = f"{name}/"
            own = {k.removeprefix(start): v for k, v in state.items() if k.startswith(start)}
            load_optimiser_tensors(optimiser, own)


def _parameters(module: nn.Module) -> Weights:
    return dict(module.named_parameters())
