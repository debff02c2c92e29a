"""Entries of an action that no perturbation moves: there who is imitated does as the victim does.

An intention that opens a drawer with open fingers is of no use to an attack on a victim whose
fingers stay closed. Where an intention acts, and where it learns, those entries are the victim's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from robolearn.errors import UserError
from robolearn.types import Observation, Policy, VectorEnvironment

Movable = Callable[[], np.ndarray]  # which entries of an action can be moved now, bool [A]


class WithinReach:
    """A Policy that does in movable entries as one policy does, and in the others as the victim."""

    memoryless = True

    def __init__(self, policy: Policy, victim: Policy, movable: Movable) -> None:
        """Take memoryless policies; UserError for others."""
        _require_memoryless(policy, victim)
        self.policy, self.victim, self.movable = policy, victim, movable
        self.interface, self.eats = policy.interface, getattr(policy, "eats", None)

    def reset(self, n: int) -> None:
        """Begin n episodes."""
        self.policy.reset(n)
        self.victim.reset(n)

    def act(self, observation: Observation, explore: bool = False) -> np.ndarray:
        """Give what can be brought about, float32 [N, A]."""
        actions = self.policy.act(observation, explore)
        return np.where(self.movable(), actions, self.victim.act(observation))


class ReachableEnv:
    """A VectorEnvironment in which actions count in movable entries; the others are the victim's.

    Who learns there what its actions are worth finds that those entries do not matter.
    """

    def __init__(self, envs: VectorEnvironment, victim: Policy, movable: Movable) -> None:
        """Wrap ``envs``; UserError for a victim with a memory."""
        _require_memoryless(victim)
        self.interface, self.num_envs, self.horizon = envs.interface, envs.num_envs, envs.horizon
        self.metadata = getattr(envs, "metadata", {})
        self.victim, self.movable, self._envs = victim, movable, envs
        self._seen: Observation = {}

    def reset(
        self, *, seed: Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin episodes in the rows of ``options["reset_mask"]`` [N] bool, else in all."""
        self._seen, info = self._envs.reset(seed=seed, options=options)
        return self._seen, info

    def step(
        self, actions: np.ndarray, active: np.ndarray | None = None, *, autoreset: bool = True
    ) -> tuple[Observation, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Apply what can be brought about of actions float32 [N, A]."""
        movable = self.movable()
        if not movable.all():
            victims = self.victim.act(self._seen).clip(-1.0, 1.0)
            actions = np.where(movable, actions, victims)
        self._seen, *rest = self._envs.step(actions, active=active, autoreset=autoreset)
        return self._seen, *rest

    def get_state(self) -> np.ndarray:
        """Give the states float64 [N, S]."""
        return self._envs.get_state()

    def close(self) -> None:
        """Free the simulators."""
        self._envs.close()


def _require_memoryless(*policies: Policy) -> None:
    for policy in policies:
        if not getattr(policy, "memoryless", False):
            raise UserError("a policy with a memory is not brought within reach")
