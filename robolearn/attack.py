"""Attacks on what a policy sees: budgets, victims, and environments that show perturbed states.

An attacker adds delta to the "state" that a victim sees, s~ = s + delta, and never touches the true
state. A ``Budget`` says how far delta may go. In each entry's own unit, scale_j,

    max_j |delta_j / scale_j| <= size            (linf)
    ( sum_j (delta_j / scale_j)^2 )^(1/2) <= size    (l2)

over the entries that may be touched; the others stay as they are.
Of camera images, ``image_attack`` says the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from pydantic import PositiveFloat
from torch import Tensor

from robolearn.errors import DataError, SpecError, UserError
from robolearn.settings import Names, Settings
from robolearn.types import ArraySpec, Observation, Policy, Spec

NEVER_VARIES = 1e-6  # a spread of this share of an entry's size is float32's rounding


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

    def __call__(self, state: Tensor, generator: torch.Generator) -> Tensor:
        """Give delta [B, O] for s [B, O]; what is random in it comes from the generator."""


def require_distribution(policy: Any, spec: ArraySpec, role: str) -> None:
    """Raise UserError unless a policy has a distribution, SpecError unless it sees that "state".

    ``role`` is what it is here: "victim", "intention".
    """
    name = f"{role} '{_name(policy)}'"
    if not callable(getattr(policy, "distribution", None)):
        raise UserError(f"{name}: has no distribution(state); an attack needs a Gaussian policy")
    if isinstance(getattr(policy, "interface", None), Spec):
        _require_state(policy.interface.observations.get("state"), spec, f"{name} sees")


def distribution_of(policy: Any, observation: Mapping[str, Tensor]) -> Any:
    """Give pi(. | o), a ``networks.functional.Gaussian``, of observations name -> [B, ...].

    A policy whose interface has more than a "state" is asked for that of all of it, else for that
    of the state.
    """
    interface = getattr(policy, "interface", None)
    only_state = not isinstance(interface, Spec) or set(interface.observations) == {"state"}
    return policy.distribution(observation["state"] if only_state else observation)


def require_victim(policy: Any, spec: ArraySpec) -> None:
    """Do the same for a victim; UserError too unless gradients reach the state."""
    require_distribution(policy, spec, "victim")
    state = torch.zeros(1, *spec.shape, requires_grad=True)
    with torch.enable_grad():
        mean = policy.distribution(state).mean
    slope = None
    if mean.requires_grad:
        (slope,) = torch.autograd.grad(mean.sum(), state, allow_unused=True)
    if slope is None:
        raise UserError(
            f"victim '{_name(policy)}': no gradient of its distribution reaches the state; "
            "distribution(state) must stay in torch"
        )


def require_without_context(policy: Any, role: str, why: str) -> None:
    """Raise UserError, with the reason, for a policy that is ``contextual``."""
    if getattr(policy, "contextual", False):
        raise UserError(f"{role} '{_name(policy)}': what it does depends on its episode; {why}")


def _name(policy: Any) -> str:
    return getattr(policy, "name", type(policy).__name__)


def _require_state(found: ArraySpec | None, spec: ArraySpec, who: str) -> None:
    if found is None:
        raise SpecError(f"{who} no 'state'")
    if found.shape != spec.shape:
        raise SpecError(f"{who} a state {found.shape} instead of {spec.shape}")
    if found.names and spec.names and found.names != spec.names:
        pairs = enumerate(zip(found.names, spec.names, strict=True))
        i, (one, other) = next((i, pair) for i, pair in pairs if pair[0] != pair[1])
        raise SpecError(f"{who} a state whose entry {i} is '{one}' instead of '{other}'")


@dataclass(frozen=True)
class BudgetConfig(Settings):
    """How far an observation may be perturbed. Raises UserError for a value out of range."""

    size: PositiveFloat = 0.3
    """Largest norm of a perturbation, in the unit."""
    norm: Literal["linf", "l2"] = "linf"
    """Of which norm: the largest entry, or the root of the sum of squares."""
    unit: Literal["std", "raw"] = "std"
    """Measure every entry in its standard deviation over the data, or as it stands."""
    entries: Names | None = None
    """Names of the entries of "state" that may be touched, or what they begin with; None: all."""
    constant: bool = False
    """Let entries be touched that never vary in the data; no sensor has them. Raw units only."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.constant and self.unit == "std":
            raise UserError("constant: what never varies has no standard deviation: use unit: raw")


@dataclass(frozen=True, eq=False)
class Budget:
    """The set of perturbations delta [O] that an attacker may choose from; see ``Budget.of``."""

    spec: ArraySpec  # of the "state" that it is for
    norm: str  # "linf" | "l2"
    radius: Tensor  # [O]: how far each entry may go if it goes alone; 0: it may not be touched

    @classmethod
    def of(
        cls,
        config: BudgetConfig,
        spec: ArraySpec,
        observations: np.ndarray,
        mask: np.ndarray | None = None,
    ) -> Budget:
        """Measure the units on observations [M, O] of a "state" of that spec.

        ``mask`` bool [O] leaves out more entries than the configuration does. DataError for
        observations that do not fit or are not finite, SpecError for names and masks that do not
        fit, UserError if nothing is left that may be touched.
        """
        std, varies = _spread(spec, observations)
        touched = varies | config.constant
        if config.entries is not None:
            touched &= _named(spec, config.entries)
        if mask is not None:
            if np.shape(mask) != spec.shape:
                raise SpecError(f"budget: a mask of shape {np.shape(mask)} for {spec.shape}")
            touched &= np.asarray(mask, bool)
        if not touched.any():
            raise UserError("budget: no entry is left that varies in the data and may be touched")
        scale = std if config.unit == "std" else np.ones_like(std)
        radius = np.where(touched, config.size * scale, 0.0)
        return cls(spec, config.norm, torch.as_tensor(radius, dtype=torch.float32))

    def __post_init__(self) -> None:
        if self.norm not in ("linf", "l2"):
            raise UserError(f"budget: norm '{self.norm}' should be 'linf' or 'l2'")
        if self.radius.shape != self.spec.shape:
            shapes = f"{tuple(self.radius.shape)} for a state of shape {self.spec.shape}"
            raise SpecError(f"budget: a radius of shape {shapes}")
        bad = ~(torch.isfinite(self.radius) & (self.radius >= 0))
        if bad.any() or not self.radius.any():
            worst = self.radius[bad][0].item() if bad.any() else 0.0
            raise UserError(f"budget: a radius should be greater than 0, not {worst}")

    @property
    def touched(self) -> Tensor:
        """Say which entries may be touched, bool [O]."""
        return self.radius > 0

    def require(self, interface: Spec) -> None:
        """Raise SpecError unless the "state" of an environment is the one that this is for."""
        found = interface.observations.get("state")
        _require_state(found, self.spec, f"budget: {interface.environment} shows")

    @property
    def shown(self) -> dict[str, ArraySpec]:
        """Name what of the observations is perturbed."""
        return {"state": self.spec}

    def perturb(
        self, observation: Observation, perturbation: Perturbation, generator: torch.Generator
    ) -> Observation:
        """Give what a victim sees instead of observations name -> [N, ...].

        Whatever the perturbation chooses is projected on the budget. UserError if it is not finite.
        """
        state = torch.as_tensor(observation["state"], dtype=torch.float32)
        with torch.no_grad():
            delta = self.project(perturbation(state, generator))
        require_finite(delta)
        return observation | {"state": (state + delta).numpy()}

    def measure(self, delta: Tensor) -> Tensor:
        """Give the norm [...] of delta [..., O] as a share of the budget, infinite outside it.

        Outside are what touches other entries, and what is not finite.
        """
        radius = self._radius(delta)
        shares = torch.where(radius > 0, delta / radius.clamp(min=1e-30), 0.0)
        foreign = ((radius == 0) & (delta != 0)) | ~torch.isfinite(delta)
        share = shares.abs().amax(dim=-1) if self.norm == "linf" else shares.norm(dim=-1)
        return torch.where(foreign.any(dim=-1), torch.inf, share)

    def project(self, delta: Tensor) -> Tensor:
        """Give the delta of the budget that is nearest to delta [..., O], in the budget's unit."""
        radius = self._radius(delta)
        if self.norm == "linf":
            return torch.clamp(delta, -radius, radius)
        share = torch.where(radius > 0, delta / radius.clamp(min=1e-30), 0.0)
        return radius * torch.where(_length(share) > 1, _direction(share), share)

    def squash(self, x: Tensor) -> Tensor:
        """Map any x [..., O] smoothly into the budget, one to one on the entries touched.

        = radius tanh(x) for linf; = radius x / (1 + |x|^2)^(1/2) for l2.
        """
        radius = self._radius(x)
        if self.norm == "linf":
            return radius * torch.tanh(x)
        x = torch.where(radius > 0, x, 0.0)
        unit = _largest(x).clamp(min=1.0)  # squares of what is far out would be infinite
        x = x / unit
        return radius * x / (unit**-2 + x.square().sum(dim=-1, keepdim=True)).sqrt()

    def steepest(self, gradient: Tensor) -> Tensor:
        """Give the delta of the budget with the largest inner product with a gradient [..., O]."""
        radius = self._radius(gradient)
        if self.norm == "linf":
            return radius * gradient.sign()
        return radius * _direction(radius * gradient)

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw n perturbations [n, O], uniform in the budget."""
        size = len(self.radius)
        if self.norm == "linf":
            return self.radius * (2 * torch.rand(n, size, generator=generator) - 1)
        x = torch.randn(n, size, generator=generator) * self.touched
        length = torch.rand(n, 1, generator=generator) ** (1 / int(self.touched.sum()))
        return self.radius * x * length / x.norm(dim=-1, keepdim=True)

    def _radius(self, like: Tensor) -> Tensor:
        return self.radius.to(like)


def worst(
    objective: Callable[[Tensor], Tensor],
    state: Tensor,
    budget: Budget,
    steps: int,
    generator: torch.Generator,
) -> Tensor:
    """Look for the delta [..., O] of the budget with the largest objective(s + delta) [...].

    By steps along the gradient, from a random delta: where all is as usual there may be none.
    """
    rows = state.numel() // state.shape[-1]
    delta = budget.draw(rows, generator).to(state).reshape(state.shape)
    for _ in range(steps):
        delta.requires_grad_()
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(objective(state + delta).sum(), delta)
        delta = budget.project(delta.detach() + 2.0 / steps * budget.steepest(gradient))
    return delta


def require_finite(delta: Tensor) -> None:
    """Raise UserError for a perturbation that is not finite."""
    if not torch.isfinite(delta).all():
        raise UserError("attack: the perturbation is not finite")


def _largest(x: Tensor) -> Tensor:
    return x.detach().abs().amax(dim=-1, keepdim=True)


def _length(x: Tensor) -> Tensor:
    """Give the norm [..., 1] of x [..., O]; nothing that float32 can say is too large or small."""
    unit = _largest(x).clamp(min=1e-37)
    return unit * (x / unit).norm(dim=-1, keepdim=True)


def _direction(x: Tensor) -> Tensor:
    """Give x [..., O] with the length 1; 0 stays 0."""
    x = x / _largest(x).clamp(min=1e-37)
    return x / x.norm(dim=-1, keepdim=True).clamp(min=1e-37)


def _spread(spec: ArraySpec, observations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give the standard deviation of every entry [O], and whether it varies at all, bool [O]."""
    rows = np.asarray(observations, np.float64)
    if rows.ndim != 2 or rows.shape[1:] != spec.shape or len(rows) < 2:
        right = f"[M, {', '.join(map(str, spec.shape))}], M >= 2"
        raise DataError(f"budget: observations of shape {rows.shape} instead of {right}")
    if not np.isfinite(rows).all():
        raise DataError("budget: the observations are not finite")
    std = rows.std(axis=0)
    return std, std > NEVER_VARIES * np.maximum(1.0, np.abs(rows).max(axis=0))


def _named(spec: ArraySpec, names: Sequence[str]) -> np.ndarray:
    """Say which entries have one of these names, or begin with one, bool [O]."""
    try:
        named = np.concatenate([spec.index(name) for name in names])
    except SpecError as error:
        raise SpecError(f"budget.entries: {error}") from None
    return np.isin(np.arange(spec.shape[0]), named)


class RandomPerturbation:
    """The weakest attack: any perturbation of the budget, drawn anew at every step."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget

    def __call__(self, state: Tensor, generator: torch.Generator) -> Tensor:
        """Draw delta [B, O] for s [B, O]."""
        return self.budget.draw(len(state), generator).to(state)


class Attacked:
    """The victim that sees perturbed states, pi_v(. | s + delta(s)), as a Policy of the true ones.

    ``seed`` decides what is random in the perturbation.
    """

    def __init__(
        self, victim: Policy, perturbation: Perturbation, budget: Budget, seed: int = 0
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
