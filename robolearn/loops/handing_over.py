"""Episodes that somebody else begins: RAT's combined collection, for those who learn on rollouts.

An episode of H steps is begun by another policy, which acts for h ~ U(0, H) steps; from there on
whoever steps the batch acts. So what is learnt on its rollouts are the states that the other one
reaches, and no action that the learner did not choose is among what it learns from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from robolearn.errors import UserError
from robolearn.types import Observation, Policy, VectorEnvironment


class HandedOver:
    """A VectorEnvironment whose episodes ``first`` begins; else it is ``envs``.

    The steps taken before an episode is handed over count towards its horizon; ``steps`` is how
    many these were. An episode that begins in a stored state is not begun by anybody else, and one
    that ends before it is handed over begins anew. What is drawn follows from ``seed`` and from the
    seeds of ``reset``.
    """

    def __init__(self, envs: VectorEnvironment, first: Policy, seed: int = 0) -> None:
        """Wrap ``envs``; UserError if they have no horizon, or for a policy with a memory."""
        if envs.horizon is None:
            raise UserError(f"{envs.interface.environment}: nobody hands over without a horizon")
        if not getattr(first, "memoryless", False):
            raise UserError("the policy that begins episodes is not memoryless")
        self.interface, self.num_envs, self.horizon = envs.interface, envs.num_envs, envs.horizon
        self.metadata = getattr(envs, "metadata", {})
        self.first, self._envs, self._seed = first, envs, seed
        self._rng = np.random.default_rng(seed)
        self._begun: list[np.ndarray] = []
        self.steps = 0

    def begun(self) -> np.ndarray:
        """Give the states [M, O] in which ``first`` has acted since this was asked last."""
        shape = (0, *self.interface.observations["state"].shape)
        begun, self._begun = self._begun, []
        return np.concatenate(begun) if begun else np.zeros(shape, np.float32)

    def reset(
        self, *, seed: Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin episodes in the rows of ``options["reset_mask"]`` [N] bool, else in all."""
        options = options or {}
        if seed is not None:
            known = [one for one in seed if one is not None]
            self._rng = np.random.default_rng([self._seed, *known])
        observations, info = self._envs.reset(seed=seed, options=options or None)
        if "state" in options:
            return observations, info
        return self._begin(observations, options.get("reset_mask", self._all())), info

    def step(
        self, actions: np.ndarray, active: np.ndarray | None = None, *, autoreset: bool = True
    ) -> tuple[Observation, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Apply actions float32 [N, A]; where an episode ends, the next one is begun too."""
        observations, reward, terminated, truncated, info = self._envs.step(
            actions, active=active, autoreset=autoreset
        )
        ended = terminated | truncated
        if autoreset and ended.any():
            observations = self._begin(observations, ended)
        return observations, reward, terminated, truncated, info

    def get_state(self) -> np.ndarray:
        """Give the states float64 [N, S]."""
        return self._envs.get_state()

    def close(self) -> None:
        """Free the simulators."""
        self._envs.close()

    def _begin(self, observations: Observation, rows: np.ndarray) -> Observation:
        """Let ``first`` act in those rows, bool [N], until each is handed over."""
        left = np.where(rows, self._rng.integers(0, self.horizon, self.num_envs), 0)
        while (left > 0).any():
            active = left > 0
            self._begun.append(observations["state"][active])
            actions = self.first.act(observations).clip(-1.0, 1.0)
            observations, _, terminated, truncated, _ = self._envs.step(
                actions, active=active, autoreset=False
            )
            left, self.steps = left - active, self.steps + int(active.sum())
            over = (terminated | truncated) & active
            if over.any():
                observations, _ = self._envs.reset(options={"reset_mask": over})
                left[over] = 0
        return observations

    def _all(self) -> np.ndarray:
        return np.ones(self.num_envs, bool)
