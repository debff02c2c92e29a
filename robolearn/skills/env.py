"""Environments whose state ends with a skill z, drawn at the beginning of every episode."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robolearn.loops.collecting import require_same_step
from robolearn.types import ArraySpec, Observation, Spec, VectorEnvironment

Draw = Callable[[int, torch.Generator], Tensor]  # (n, generator) -> z [n, Z]


class SkillEnv:
    """A VectorEnvironment, of which each episode shows its skill as entries ``skill_1`` to Z.

    They come last in "state", and in the states of the simulators too: a stored state [S + Z]
    begins an episode with its skill. Else the seed of an episode decides on the skill.
    """

    def __init__(self, env: VectorEnvironment, size: int, draw: Draw):
        """Wrap ``env``, which is closed with this; ``draw`` gives skills z of Z = ``size``.

        Raises UserError for a batch that does not begin anew within the step that ends an episode.
        """
        require_same_step(env, "drawing skills")
        self._env, self._draw, self._size = env, draw, size
        self.interface = with_skill(env.interface, size)
        self.num_envs, self.horizon = env.num_envs, env.horizon
        self.metadata = getattr(env, "metadata", {})  # of gymnasium's: what autoreset it has
        self._generators = [torch.Generator() for _ in range(env.num_envs)]
        self.skills = np.zeros((env.num_envs, size), np.float32)  # [N, Z]

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin episodes; see ``VectorEnvironment``. A skill is drawn where no state gives it."""
        if isinstance(seed, Integral):
            seed = range(int(seed), int(seed) + self.num_envs)
        options = dict(options or {})
        rows = np.flatnonzero(options.get("reset_mask", np.ones(self.num_envs, bool)))
        states = np.asarray(options["state"]) if "state" in options else None
        if states is not None:
            options["state"] = states[:, : -self._size]
        observation, info = self._env.reset(seed=seed, options=options or None)
        for i in rows if seed is not None else ():
            if seed[i] is not None:
                self._generators[i].manual_seed(int(seed[i]))
        if states is None:
            self._draw_skills(rows)
        else:
            self.skills[rows] = states[rows, -self._size :]
        return self._with_skills(observation), info

    def step(
        self, actions: np.ndarray, active: np.ndarray | None = None, *, autoreset: bool = True
    ) -> tuple[Observation, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Apply actions; see ``VectorEnvironment``. An episode that begins has another skill."""
        observation, reward, terminated, truncated, info = self._env.step(
            actions, active, autoreset=autoreset
        )
        ended = np.flatnonzero(terminated | truncated)
        if autoreset and len(ended):
            last = info["final_obs"].copy()
            for i in ended:
                last[i] = last[i] | {"state": np.append(last[i]["state"], self.skills[i])}
            info = info | {"final_obs": last}
            self._draw_skills(ended)
        return self._with_skills(observation), reward, terminated, truncated, info

    def get_state(self) -> np.ndarray:
        """Give the states float64 [N, S + Z]."""
        return np.concatenate([self._env.get_state(), self.skills], axis=1)

    def close(self) -> None:
        """Free the simulators."""
        self._env.close()

    def _draw_skills(self, rows: np.ndarray) -> None:
        for i in rows:
            self.skills[i] = self._draw(1, self._generators[i])[0].numpy()

    def _with_skills(self, observation: Observation) -> Observation:
        return observation | {"state": np.concatenate([observation["state"], self.skills], axis=1)}


def with_skill(interface: Spec, size: int) -> Spec:
    """Give the interface with ``size`` further entries of "state"."""
    state = interface.observations["state"]
    names = state.names + tuple(f"skill_{j + 1}" for j in range(size))
    units = state.units and state.units + ("",) * size
    longer = ArraySpec((state.shape[0] + size,), state.dtype, names, units)
    observations = interface.observations | {"state": longer}
    return dataclasses.replace(interface, observations=observations)


def without_skill(interface: Spec) -> Spec:
    """Give the interface without those entries, if it has some."""
    if not skill_size(interface):
        return interface
    state = interface.observations["state"]
    size = state.shape[0] - skill_size(interface)
    shorter = ArraySpec(
        (size,), state.dtype, state.names[:size], state.units[:size], state.scale[:size]
    )
    observations = interface.observations | {"state": shorter}
    return dataclasses.replace(interface, observations=observations)


def skill_size(interface: Spec) -> int:
    """Count the entries of a skill in "state", which come last; 0: it shows none."""
    names = interface.observations["state"].names if "state" in interface.observations else ()
    size = 0
    while size < len(names) and names[-1 - size].startswith("skill_"):
        size += 1
    return size
