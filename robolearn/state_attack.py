"""Attacks on the state that a policy sees: a ``Budget`` says how far delta may go.

In each entry's own unit, scale_j,

    max_j |delta_j / scale_j| <= size            (linf)
    ( sum_j (delta_j / scale_j)^2 )^(1/2) <= size    (l2)

over the entries that may be touched; the others stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from pydantic import PositiveFloat
from torch import Tensor

from robolearn.errors import DataError, SpecError, UserError
from robolearn.settings import Names, Settings
from robolearn.types import ArraySpec, Observation, Spec

NEVER_VARIES = 1e-6  # a spread of this share of an entry's size is float32's rounding
Chooser = Callable[[Any, torch.Generator], Tensor]  # an ``attack.Perturbation``


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

    @classmethod
    def unit(cls, spec: ArraySpec) -> Budget:
        """Give the one that reaches 1 in every entry of a state of that spec."""
        return cls(spec, "linf", torch.ones(spec.shape))

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

    def require_sight(self, sees: Spec | None, who: str) -> None:
        """Raise SpecError, which begins with who, unless this state is what it sees."""
        if sees is not None:
            _require_state(sees.observations.get("state"), self.spec, who)

    @property
    def shown(self) -> dict[str, ArraySpec]:
        """Name what of the observations is perturbed."""
        return {"state": self.spec}

    told = ("state",)  # all that an attacker must know

    @property
    def view(self) -> ArraySpec:
        """Describe what a network looks at: the state."""
        return self.spec

    def true(self, observation: Mapping[str, Tensor]) -> Tensor:
        """Give the state."""
        return observation["state"]

    def blank(self) -> Tensor:
        """Give a state of zeros [1, O]."""
        return torch.zeros(1, *self.spec.shape)

    def nothing(self, true: Tensor) -> Tensor:
        """Give the delta [B, O] that leaves states as they are."""
        return torch.zeros_like(true)

    def seen(self, true: Tensor, delta: Tensor) -> Tensor:
        """Give s + delta [B, O]."""
        return true + delta

    def look(self, true: Tensor) -> Tensor:
        """Give the state."""
        return true

    @property
    def shares(self) -> ArraySpec:
        """Describe the shares [K]: one of each entry that may be touched."""
        touched, names = np.flatnonzero(self.touched.numpy()), self.spec.names
        return ArraySpec((len(touched),), names=tuple(names[i] for i in touched) if names else ())

    def of_shares(self, shares: Tensor) -> Tensor:
        """Give the delta [B, O] of the budget near to shares [B, K] of it."""
        whole = shares.new_zeros(len(shares), len(self.radius))
        whole[:, self.touched] = shares
        return self.project(self._radius(shares) * whole)

    def perturb(
        self, observation: Observation, perturbation: Chooser, generator: torch.Generator
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


def require_finite(delta: Tensor) -> None:
    """Raise UserError for a perturbation that is not finite."""
    if not torch.isfinite(delta).all():
        raise UserError("attack: the perturbation is not finite")


class RandomPerturbation:
    """The weakest attack: any perturbation of the budget, drawn anew at every step."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget

    def __call__(self, true: Tensor, generator: torch.Generator) -> Tensor:
        """Draw delta [B, O] for s [B, O]."""
        return self.budget.draw(len(true), generator).to(true)


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


def _require_state(found: ArraySpec | None, spec: ArraySpec, who: str) -> None:
    if found is None:
        raise SpecError(f"{who} no 'state'")
    if found.shape != spec.shape:
        raise SpecError(f"{who} a state {found.shape} instead of {spec.shape}")
    if found.names and spec.names and found.names != spec.names:
        pairs = enumerate(zip(found.names, spec.names, strict=True))
        i, (one, other) = next((i, pair) for i, pair in pairs if pair[0] != pair[1])
        raise SpecError(f"{who} a state whose entry {i} is '{one}' instead of '{other}'")
