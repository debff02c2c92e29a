"""Environments that show perturbed states or images: what is attacked, to whoever acts in it.

``AdversaryEnv`` turns one around: who acts there is the attacker, and the victim is part of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from robolearn.attack import AnyBudget, Perturbation, Sight
from robolearn.errors import UserError
from robolearn.types import ArraySpec, Environment, Observation, Policy, Spec, VectorEnvironment


class PerturbedEnv:
    """An Environment that shows perturbed states; physics, rewards and success are the true ones.

    With an ``ImagesBudget`` it shows perturbed images instead.

    After a step, ``info["attack"]`` says what was true and what was seen when the action was chosen
    ("true", "seen" [O]; of images "true/NAME", "seen/NAME" [H, W, C]), the "action" [A] and, of a
    ``victim`` that is memoryless, the action that it would have sent had it seen the truth,
    "unattacked" [A]. ``reset(seed=)`` also decides what is random in the perturbation. A state is
    the physics' alone.
    """

    def __init__(
        self,
        env: Environment,
        perturbation: Perturbation,
        budget: AnyBudget,
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
        self._seeing.begin(seed)
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
        budget: AnyBudget,
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
            self._rows[i].begin(None if seed is None else seed[i])
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
        names = self._rows[0].seen
        return observations | {n: np.stack([row.seen[n] for row in self._rows]) for n in names}

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

    def __init__(self, perturbation: Perturbation, budget: AnyBudget) -> None:
        self._perturbation, self._budget = perturbation, budget
        self._generator = torch.Generator().manual_seed(0)
        self._true: Observation = {}
        self.seen: Observation = {n: np.zeros(s.shape, s.dtype) for n, s in budget.shown.items()}

    def begin(self, seed: int | None) -> None:
        """Begin an episode, and the random numbers anew if there is a seed."""
        if seed is not None:
            self._generator.manual_seed(seed)
        if hasattr(self._perturbation, "reset"):
            self._perturbation.reset(1)

    def see(self, observation: Observation) -> Observation:
        """Perturb an observation name -> [...]."""
        self._true = observation
        alone = {name: array[None] for name, array in observation.items()}
        seen = self._budget.perturb(alone, self._perturbation, self._generator)
        self.seen = {name: seen[name][0] for name in self._budget.shown}
        return observation | self.seen

    def account(self, action: np.ndarray, victim: Policy | None) -> dict[str, np.ndarray]:
        """Say what was true, seen, done, and what would have been done without an attack."""
        account = {"action": np.array(action)}
        for name, seen in self.seen.items():
            of = "" if name == "state" else f"/{name}"
            account |= {f"true{of}": self._true[name].copy(), f"seen{of}": seen.copy()}
        if victim is not None and getattr(victim, "memoryless", False):
            alone = {name: array[None] for name, array in self._true.items()}
            account["unattacked"] = np.clip(victim.act(alone)[0], -1.0, 1.0)
        return account


class Actor(Protocol):
    """How what an adversary decides on becomes a perturbation."""

    victim: Policy
    budget: AnyBudget
    action: ArraySpec  # of the decision, K entries in [-1, 1]

    def __call__(self, true: Sight, action: Tensor) -> Tensor:
        """Give delta [B, P] for what is true and the decision [B, K]."""


class Directed:
    """The perturbation that a policy decides on, whose actions an ``Actor`` carries out."""

    def __init__(self, policy: Policy, actor: Actor) -> None:
        self.policy, self.actor = policy, actor
        self.memoryless = getattr(policy, "memoryless", False)

    def __call__(self, true: Sight, generator: torch.Generator | None = None) -> Tensor:
        """Give delta [B, P] for what is true; there is nothing random in it."""
        look = self.actor.budget.look(true)
        action = self.policy.act({"state": look.cpu().numpy()})
        return self.actor(true, torch.as_tensor(action).to(look))


class AdversaryEnv:
    """A batch of environments as an adversary sees it: a VectorEnvironment.

    It shows the true states; where images are perturbed, coarse ones of them are part of these. An
    action is what the adversary decides on, [N, K]; the victim sees what the actor makes of it, and
    what the victim then does is sent to ``envs``. Rewards and success are theirs.
    """

    def __init__(self, envs: VectorEnvironment, actor: Actor) -> None:
        """Wrap ``envs``; SpecError if they do not fit, UserError for a victim with a memory."""
        _require_fit(envs.interface, actor.budget, actor.victim)
        if not getattr(actor.victim, "memoryless", False):
            raise UserError("victim: it is not memoryless, so many episodes cannot be attacked")
        shown = {"state": actor.budget.view}
        self.interface = dataclasses.replace(
            envs.interface, observations=shown, action=actor.action
        )
        self.num_envs, self.horizon = envs.num_envs, envs.horizon
        self._envs, self._actor = envs, actor
        self._generator = torch.Generator()  # nothing is drawn from it

    def reset(
        self, *, seed: Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin episodes in the rows of ``options["reset_mask"]`` [N] bool, else in all."""
        observations, info = self._envs.reset(seed=seed, options=options)
        return self._keep(observations), info

    def step(
        self, actions: np.ndarray, active: np.ndarray | None = None, *, autoreset: bool = True
    ) -> tuple[Observation, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Show the victims what the decisions float32 [N, K] come to, and let them act."""
        decided = torch.as_tensor(actions, dtype=torch.float32)
        seen = self._actor.budget.perturb(
            self._true, lambda s, _: self._actor(s, decided), self._generator
        )
        sent = self._actor.victim.act(seen).clip(-1.0, 1.0)
        observations, *rest, info = self._envs.step(sent, active=active, autoreset=autoreset)
        if "final_obs" in info:
            info = info | {"final_obs": self._final(info["final_obs"])}
        return self._keep(observations), *rest, info

    def get_state(self) -> np.ndarray:
        """Give the true states float64 [N, S]."""
        return self._envs.get_state()

    def close(self) -> None:
        """Free the simulators."""
        self._envs.close()

    def _keep(self, observations: Observation) -> Observation:
        """Remember the true observations: a batch may write into what it gave before."""
        self._true = {name: array.copy() for name, array in observations.items()}
        return self._look(self._true)

    def _look(self, observations: Observation) -> Observation:
        """Give what the adversary looks at of observations [N, ...]."""
        budget = self._actor.budget
        true = budget.true({name: torch.as_tensor(one) for name, one in observations.items()})
        return {"state": budget.look(true).numpy().copy()}

    def _final(self, last: np.ndarray) -> np.ndarray:
        """Do the same with the last observations of the rows that ended, an object array [N]."""
        seen = last.copy()
        for i, one in enumerate(last):
            if one is not None:
                alone = self._look({name: np.asarray(array)[None] for name, array in one.items()})
                seen[i] = {"state": alone["state"][0]}
        return seen


def _require_fit(interface: Spec, budget: AnyBudget, victim: Policy | None) -> None:
    budget.require(interface)
    if isinstance(getattr(victim, "interface", None), Spec):
        victim.interface.require(interface, "the victim", interface.environment)
