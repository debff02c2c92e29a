"""Decisions that last: a batch in which an action is held for several control steps.

Who explores step by step trembles on the spot; who holds an action gets somewhere with it. A policy
that learnt so may act in every control step afterwards, if it decides by the state alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from robolearn.errors import UserError
from robolearn.types import Observation, VectorEnvironment


class Held:
    """A VectorEnvironment of whose steps each is ``hold`` of ``envs``.

    Rewards and their terms are summed over them; a step is a success if one of them was. An episode
    that ends on the way ends there.
    """

    def __init__(self, envs: VectorEnvironment, hold: int) -> None:
        """Wrap ``envs``; UserError if their episodes do not last so many decisions exactly."""
        if envs.horizon is not None and envs.horizon % hold:
            where = envs.interface.environment
            raise UserError(f"{where}: hold: {hold} does not divide a horizon of {envs.horizon}")
        self.interface, self.num_envs, self.hold = envs.interface, envs.num_envs, hold
        self.horizon = None if envs.horizon is None else envs.horizon // hold
        self.metadata, self._envs = getattr(envs, "metadata", {}), envs

    def reset(
        self, *, seed: Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin episodes in the rows of ``options["reset_mask"]`` [N] bool, else in all."""
        return self._envs.reset(seed=seed, options=options)

    def step(
        self, actions: np.ndarray, active: np.ndarray | None = None, *, autoreset: bool = True
    ) -> tuple[Observation, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Apply actions float32 [N, A] for ``hold`` control periods."""
        n = self.num_envs
        moving = np.ones(n, bool) if active is None else np.array(active, bool)
        rewards, ended, success, terms = np.zeros(n), np.zeros((2, n), bool), np.zeros(n, bool), {}
        finals: dict[str, np.ndarray] = {}
        for _ in range(self.hold):
            observations, reward, *ends, info = self._envs.step(
                actions, active=moving, autoreset=autoreset
            )
            rewards = rewards + np.where(moving, reward, 0.0)
            success = success | (info["success"] & moving)
            for name, term in info.get("reward_terms", {}).items():
                if not name.startswith("_"):
                    terms[name] = terms.get(name, 0.0) + np.where(moving, term, 0.0)
            over = (ends[0] | ends[1]) & moving
            finals = _kept(finals, info, over)
            ended |= np.array(ends, bool)
            moving &= ~over
            if not moving.any():
                break
        info = info | {"success": success, "is_success": success, "reward_terms": terms} | finals
        return observations, rewards, ended[0], ended[1], info

    def get_state(self) -> np.ndarray:
        """Give the states float64 [N, S]."""
        return self._envs.get_state()

    def close(self) -> None:
        """Free the simulators."""
        self._envs.close()


def _kept(
    finals: dict[str, np.ndarray], info: dict[str, Any], over: np.ndarray
) -> dict[str, np.ndarray]:
    """Add what a step says of the rows that ended with it, bool [N]."""
    for name in ("final_obs", "error"):
        if name in info and over.any():
            kept = finals.get(name, np.full(len(over), None, object))
            kept[over] = info[name][over]
            finals[name] = kept
    return finals
