"""One environment of a batch: its row of what the batch gives, and as an Environment of its own."""

from __future__ import annotations

from typing import Any

import numpy as np

from robolearn.types import Observation, VectorEnvironment


def row_of(observations: Observation, i: int) -> Observation:
    """Copy the observation of environment i."""
    return {name: array[i].copy() for name, array in observations.items()}


def info_of_row(info: dict[str, Any], i: int) -> dict[str, Any]:
    """Give what the single environment's info would say; names with "_" in front are masks."""
    terms = {k: float(v[i]) for k, v in info["reward_terms"].items() if not k.startswith("_")}
    found = {"success": bool(info["success"][i]), "reward_terms": terms}
    if "attack" in info:
        found["attack"] = {name: array[i].copy() for name, array in info["attack"].items()}
    error = info["error"][i] if "error" in info else None
    return found if error is None else found | {"error": error}


class RowEnvironment:
    """Environment i of a batch as an Environment, while the others stand still.

    For whoever runs one episode at a time and has a batch, which may be several times as fast as a
    single environment. Nobody else may use the batch at the same time. It stays open after
    ``close``: it belongs to whoever made it.
    """

    def __init__(self, envs: VectorEnvironment, i: int = 0) -> None:
        self.interface, self.horizon = envs.interface, envs.horizon
        self.mujoco_state_size = getattr(envs, "mujoco_state_size", None)
        self._envs, self._i, self._begun = envs, i, False
        self._only = np.arange(envs.num_envs) == i

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode, in ``options["state"]`` [S] if it is given."""
        n = self._envs.num_envs
        if not self._begun:
            self._envs.reset()  # before that a row has no state, and none may be left alone
            self._begun = True
        chosen = dict(options or {}) | {"reset_mask": self._only}
        if "state" in chosen:
            chosen["state"] = np.tile(chosen["state"], (n, 1))
        observations, _ = self._envs.reset(seed=[seed] * n, options=chosen)
        return row_of(observations, self._i), {}

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Apply an action float32 [A] for one control period."""
        actions = np.zeros((self._envs.num_envs, *self.interface.action.shape), np.float32)
        actions[self._i] = action
        observations, rewards, terminated, truncated, info = self._envs.step(
            actions, active=self._only, autoreset=False
        )
        return (
            row_of(observations, self._i), float(rewards[self._i]), bool(terminated[self._i]),
            bool(truncated[self._i]), info_of_row(info, self._i),
        )  # fmt: skip

    def get_state(self) -> np.ndarray:
        """Give the state float64 [S]."""
        return self._envs.get_state()[self._i].copy()

    def set_state(self, state: np.ndarray) -> Observation:
        """Restore what ``get_state`` gave; return the observation there."""
        return self.reset(options={"state": state})[0]

    def close(self) -> None:
        """Leave the batch as it is."""
