"""Attacks on what a policy sees: victims, perturbations, and what a budget says to both.

An attacker shows a victim something a little different, and never touches what is true: the
"state", s~ = s + delta, within a ``state_attack.Budget``, or camera images, within an
``image_attack.ImagesBudget``. Methods that know ``AnyBudget`` need not know which of them it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from robolearn.errors import UserError
from robolearn.types import ArraySpec, Observation, Policy, Spec

# What is true, and what is seen: a state s [B, O] or, of images, observations name -> [B, ...].
Sight = Tensor | Mapping[str, Tensor]


@runtime_checkable
class Victim(Policy, Protocol):
    """A policy whose actions are drawn from a distribution that its state decides smoothly.

    One whose distribution is that of a state in the episode that it is in, and another one in
    another episode, says so with ``contextual = True``. To be attacked by who learns from states of
    many episodes, it has a ``moment()``, what it remembers of its n episodes as numbers [n, C], and
    ``at(moments)``, which gives a Victim of as many states as there are moments [B, C].
    """

    def distribution(self, state: Tensor) -> Any:
        """Give pi(. | s), a ``networks.functional.Gaussian``, of s [..., O], with gradients."""


class Perturbation(Protocol):
    """Whatever chooses delta; one in which nothing is random says so with ``memoryless = True``.

    One that follows an episode has a ``reset(n)``, as a Policy.
    """

    def __call__(self, true: Sight, generator: torch.Generator) -> Tensor:
        """Give delta [B, P] for what is true; what is random in it comes from the generator."""


class AnyBudget(Protocol):
    """What of the observations is perturbed, and how far: a ``Budget``, or an ``ImagesBudget``.

    A perturbation delta [B, P] has a number for each entry of the state, or of the images.
    """

    radius: Tensor  # [P]: how far each entry may go if it goes alone; 0: it may not be touched
    touched: Tensor  # bool [P]
    shown: dict[str, ArraySpec]  # what of the observations is perturbed
    told: tuple[str, ...]  # names of the observations that an attacker must know
    view: ArraySpec  # of what a network looks at, [F]
    shares: ArraySpec  # of as few numbers as say where to go, [K], each a share of the budget

    def true(self, observation: Mapping[str, Tensor]) -> Sight:
        """Give what is true, of all that is told."""

    def blank(self) -> Sight:
        """Give one of zeros."""

    def nothing(self, true: Sight) -> Tensor:
        """Give the delta [B, P] that leaves it as it is."""

    def seen(self, true: Sight, delta: Tensor) -> Sight:
        """Give what is seen instead, for a delta of the budget; gradients pass."""

    def look(self, true: Sight) -> Tensor:
        """Give what a network looks at, [B, F]."""

    def project(self, delta: Tensor) -> Tensor:
        """Give a delta of the budget near to delta."""

    def squash(self, x: Tensor) -> Tensor:
        """Map any x [B, P] smoothly into the budget."""

    def steepest(self, gradient: Tensor) -> Tensor:
        """Give the delta of the budget with the largest inner product with a gradient [B, P]."""

    def of_shares(self, shares: Tensor) -> Tensor:
        """Give the delta of the budget that shares [B, K] stand for."""

    def perturb(
        self, observation: Observation, perturbation: Perturbation, generator: torch.Generator
    ) -> Observation:
        """Give what a victim sees instead of observations name -> [N, ...]."""

    def require(self, interface: Spec) -> None:
        """Raise SpecError unless an environment shows what this is for."""

    def require_sight(self, sees: Spec | None, who: str) -> None:
        """Raise SpecError that begins with who unless all that it sees is told; None: a state."""


def distribution_of(policy: Any, seen: Sight) -> Any:
    """Give pi(. | o), a ``networks.functional.Gaussian``, of states or of observations.

    Of observations, a policy whose interface has more than a "state" is asked for that of all of
    it, else for that of the state.
    """
    if isinstance(seen, Tensor):
        return policy.distribution(seen)
    interface = getattr(policy, "interface", None)
    only_state = not isinstance(interface, Spec) or set(interface.observations) == {"state"}
    return policy.distribution(seen["state"] if only_state else seen)


def has_distribution(policy: Any) -> bool:
    """Say whether a policy, and one that it stands around, has a distribution."""
    within = getattr(policy, "within", None)
    own = callable(getattr(policy, "distribution", None))
    return own and (within is None or has_distribution(within))


def require_seeing(policy: Any, budget: AnyBudget, role: str) -> None:
    """Raise UserError unless a policy has a distribution, SpecError if it sees something else.

    ``role`` is what it is here: "victim", "intention".
    """
    name, sees = f"{role} '{_name(policy)}'", getattr(policy, "interface", None)
    if not has_distribution(policy):
        raise UserError(f"{name}: has no distribution(); an attack needs a Gaussian policy")
    budget.require_sight(sees if isinstance(sees, Spec) else None, f"{name} sees")


def require_victim(policy: Any, budget: AnyBudget) -> None:
    """Do the same for a victim; UserError too unless gradients reach what is perturbed."""
    require_seeing(policy, budget, "victim")
    true = budget.blank()
    delta, slope = budget.nothing(true).requires_grad_(), None
    with torch.enable_grad():
        mean = distribution_of(policy, budget.seen(true, delta)).mean
    if mean.requires_grad:
        (slope,) = torch.autograd.grad(mean.sum(), delta, allow_unused=True)
    if slope is None:
        raise UserError(
            f"victim '{_name(policy)}': no gradient of its distribution reaches "
            f"{', '.join(budget.shown)}; distribution() must stay in torch"
        )


def require_without_context(policy: Any, role: str, why: str) -> None:
    """Raise UserError, with the reason, for a policy that is ``contextual``."""
    if getattr(policy, "contextual", False):
        raise UserError(f"{role} '{_name(policy)}': what it does depends on its episode; {why}")


def _name(policy: Any) -> str:
    return getattr(policy, "name", type(policy).__name__)


class Attacked:
    """The victim that sees what is perturbed, pi_v(. | s + delta(s)), as a Policy of what is true.

    ``seed`` decides what is random in the perturbation.
    """

    def __init__(
        self, victim: Policy, perturbation: Perturbation, budget: AnyBudget, seed: int = 0
    ) -> None:
        self.victim, self.perturbation, self.budget = victim, perturbation, budget
        self.memoryless = all(getattr(o, "memoryless", False) for o in (victim, perturbation))
        self.contextual = getattr(victim, "contextual", False)
        self._generator = torch.Generator().manual_seed(seed)

    def reset(self, n: int) -> None:
        """Begin n episodes."""
        self.victim.reset(n)

    def act(self, observation: Observation, explore: bool = False) -> np.ndarray:
        """Give the victim's actions float32 [N, A] for the true observations."""
        seen = self.budget.perturb(observation, self.perturbation, self._generator)
        return self.victim.act(seen, explore)


class Handover:
    """Policy of RAT's combined collection: one acts for h ~ U(0, H) steps, then another.

    ``horizon`` is H, ``rng`` draws h for every episode. A first one that is ``contextual`` looks on
    to the end, and remembers what it would have done.
    """

    def __init__(self, first: Policy, then: Policy, horizon: int, rng: np.random.Generator) -> None:
        self.first, self.then, self.horizon, self.rng = first, then, horizon, rng

    def reset(self, n: int) -> None:
        """Begin n episodes, each with an h of its own."""
        self.first.reset(n)
        self.then.reset(n)
        self.h = self.rng.integers(0, self.horizon, n, endpoint=True)
        self._steps = 0

    def act(self, observation: Observation, explore: bool = False) -> np.ndarray:
        """Choose actions float32 [N, A]."""
        early = self._steps < self.h
        self._steps += 1
        if early.all():
            return self.first.act(observation, explore)
        if not early.any() and not getattr(self.first, "contextual", False):
            return self.then.act(observation, explore)
        first, then = (p.act(observation, explore) for p in (self.first, self.then))
        return np.where(early[:, None], first, then)
