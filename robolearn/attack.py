"""Attacks on what a policy sees: budgets, victims, and environments that show perturbed states.

An attacker adds delta to the "state" that a victim sees, s~ = s + delta, and never touches the true
state. A ``Budget`` says how far delta may go. In each entry's own unit, scale_j,

    max_j |delta_j / scale_j| <= size            (linf)
    ( sum_j (delta_j / scale_j)^2 )^(1/2) <= size    (l2)

over the entries that may be touched; the others stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from pydantic import PositiveFloat
from torch import Tensor

from robolearn.errors import DataError, SpecError, UserError
from robolearn.settings import Names, Settings
from robolearn.types import ArraySpec, Environment, Observation, Policy, Spec, VectorEnvironment

NEVER_VARIES = 1e-6  # a spread of this share of an entry's size is float32's rounding


@runtime_checkable
class Victim(Policy, Protocol):
    """A policy whose actions are drawn from a distribution that its state decides smoothly."""

    def distribution(self, state: Tensor) -> Any:
        """Give pi(. | s), a ``networks.functional.Gaussian``, of s [..., O], with gradients."""


class Perturbation(Protocol):
    """Whatever chooses delta; one in which nothing is random says so with ``memoryless = True``."""

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
            named = np.concatenate([spec.index(name) for name in config.entries])
            touched &= np.isin(np.arange(len(std)), named)
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
        self._generator = torch.Generator().manual_seed(seed)

    def reset(self, n: int) -> None:
        """Begin n episodes."""
        self.victim.reset(n)

    def act(self, observation: Observation, explore: bool = False) -> np.ndarray:
        """Give the victim's actions float32 [N, A] for the true observations."""
        seen = perturbed(observation, self.perturbation, self.budget, self._generator)
        return self.victim.act(seen, explore)


class Handover:
    """Policy of RAT's combined collection: one acts for h ~ U(0, H) steps, then another.

    ``horizon`` is H, ``rng`` draws h for every episode.
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
        if not early.any():
            return self.then.act(observation, explore)
        first, then = (p.act(observation, explore) for p in (self.first, self.then))
        return np.where(early[:, None], first, then)


def perturbed(
    observation: Observation, perturbation: Perturbation, budget: Budget, generator: torch.Generator
) -> Observation:
    """Give what a victim sees instead of observations name -> [N, ...]; others than "state" stay.

    Whatever the perturbation chooses is projected on the budget. UserError if it is not finite.
    """
    state = torch.as_tensor(observation["state"], dtype=torch.float32)
    with torch.no_grad():
        delta = budget.project(perturbation(state, generator))
        if not torch.isfinite(delta).all():
            raise UserError("attack: the perturbation is not finite")
    return observation | {"state": (state + delta).numpy()}


class PerturbedEnv:
    """An Environment that shows perturbed states; physics, rewards and success are the true ones.

    After a step, ``info["attack"]`` says what was true and what was seen when the action was chosen
    ("true", "seen" [O]), the "action" [A] and, of a ``victim`` that is memoryless, the action that
    it would have sent had it seen the truth, "unattacked" [A]. ``reset(seed=)`` also decides what
    is random in the perturbation. A state is the physics' alone.
    """

    def __init__(
        self,
        env: Environment,
        perturbation: Perturbation,
        budget: Budget,
        victim: Policy | None = None,
    ) -> None:
        """Wrap ``env``; SpecError if budget or victim do not fit it."""
        _require_fit(env.interface, budget, victim)
        self.interface, self.horizon = env.interface, getattr(env, "horizon", None)
        self.mujoco_state_size = getattr(env, "mujoco_state_size", None)
        self._env, self._victim = env, victim
        self._seeing = _Seeing(perturbation, budget)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode."""
        observation, info = self._env.reset(seed=seed, options=options)
        self._seeing.seed(seed)
        return self._seeing.see(observation), info

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Apply an action float32 [A] for one control period."""
        attack = self._seeing.account(action, self._victim)
        observation, *rest, info = self._env.step(action)
        return self._seeing.see(observation), *rest, info | {"attack": attack}

    def get_state(self) -> np.ndarray:
        """Give the true state float64 [S]."""
        return self._env.get_state()

    def set_state(self, state: np.ndarray) -> Observation:
        """Restore what ``get_state`` gave; return the perturbed observation there."""
        return self._seeing.see(self._env.set_state(state))

    def close(self) -> None:
        """Free the simulator."""
        self._env.close()


class PerturbedVectorEnv:
    """The same of a batch: a VectorEnvironment whose rows are each what ``PerturbedEnv`` gives.

    ``info["attack"]`` holds arrays [N, ...]; rows that did not move keep their latest, or zeros. In
    "final_obs" too stands what was seen.
    """

    def __init__(
        self,
        envs: VectorEnvironment,
        perturbation: Perturbation,
        budget: Budget,
        victim: Policy | None = None,
    ) -> None:
        """Wrap ``envs``; SpecError if budget or victim do not fit them."""
        _require_fit(envs.interface, budget, victim)
        self.interface, self.horizon = envs.interface, envs.horizon
        self.num_envs = envs.num_envs
        self.mujoco_state_size = getattr(envs, "mujoco_state_size", None)
        self._envs, self._victim = envs, victim
        self._rows = [_Seeing(perturbation, budget) for _ in range(envs.num_envs)]
        self._accounts: list[dict[str, np.ndarray]] = [{}] * envs.num_envs

    def reset(
        self, *, seed: Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin episodes in the rows of ``options["reset_mask"]`` [N] bool, else in all."""
        observations, info = self._envs.reset(seed=seed, options=options)
        begun = (options or {}).get("reset_mask", np.ones(self.num_envs, bool))
        for i in np.flatnonzero(begun):
            self._rows[i].seed(None if seed is None else seed[i])
        return self._see(observations, begun), info

    def step(
        self, actions: np.ndarray, active: np.ndarray | None = None, *, autoreset: bool = True
    ) -> tuple[Observation, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Apply actions float32 [N, A]; rows that are not ``active`` [N] bool stay as they are."""
        moved = np.ones(self.num_envs, bool) if active is None else np.asarray(active, bool)
        for i in np.flatnonzero(moved):
            self._accounts[i] = self._rows[i].account(actions[i], self._victim)
        observations, *rest, info = self._envs.step(actions, active=active, autoreset=autoreset)
        info = info | {"attack": self._account()}
        if "final_obs" in info:
            info["final_obs"] = self._final(info["final_obs"])
        return self._see(observations, moved), *rest, info

    def get_state(self) -> np.ndarray:
        """Give the true states float64 [N, S]."""
        return self._envs.get_state()

    def close(self) -> None:
        """Free the simulators."""
        self._envs.close()

    def _see(self, observations: Observation, rows: np.ndarray) -> Observation:
        """Perturb those rows [N] bool, one by one: an episode depends on none beside it."""
        for i in np.flatnonzero(rows):
            self._rows[i].see({name: array[i] for name, array in observations.items()})
        return observations | {"state": np.stack([row.seen for row in self._rows])}

    def _final(self, last: np.ndarray) -> np.ndarray:
        """Perturb the last observations of the rows that ended, an object array [N]."""
        seen = last.copy()
        for i, observation in enumerate(last):
            if observation is not None:
                seen[i] = self._rows[i].see(observation)
        return seen

    def _account(self) -> dict[str, np.ndarray]:
        known = next(account for account in self._accounts if account)
        blank = {name: np.zeros_like(array) for name, array in known.items()}
        rows = [account or blank for account in self._accounts]
        return {name: np.stack([row[name] for row in rows]) for name in known}


class _Seeing:
    """What one environment shows: the true state, the perturbed one, and the generator's memory."""

    def __init__(self, perturbation: Perturbation, budget: Budget) -> None:
        self._perturbation, self._budget = perturbation, budget
        self._generator = torch.Generator().manual_seed(0)
        self._true: Observation = {}
        self.true = self.seen = np.zeros(budget.spec.shape, np.float32)

    def seed(self, seed: int | None) -> None:
        """Begin the random numbers anew, if there is a seed."""
        if seed is not None:
            self._generator.manual_seed(seed)

    def see(self, observation: Observation) -> Observation:
        """Perturb an observation name -> [...]."""
        self._true = observation
        alone = {"state": observation["state"][None]}
        seen = perturbed(alone, self._perturbation, self._budget, self._generator)
        self.true, self.seen = observation["state"], seen["state"][0]
        return observation | {"state": self.seen}

    def account(self, action: np.ndarray, victim: Policy | None) -> dict[str, np.ndarray]:
        """Say what was true, seen, done, and what would have been done without an attack."""
        account = {"true": self.true.copy(), "seen": self.seen.copy(), "action": np.array(action)}
        if victim is not None and getattr(victim, "memoryless", False):
            alone = {name: array[None] for name, array in self._true.items()}
            account["unattacked"] = np.clip(victim.act(alone)[0], -1.0, 1.0)
        return account


def _require_fit(interface: Spec, budget: Budget, victim: Policy | None) -> None:
    budget.require(interface)
    if isinstance(getattr(victim, "interface", None), Spec):
        victim.interface.require(interface, "the victim", interface.environment)
