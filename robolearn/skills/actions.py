"""Skills as actions of a policy above them, which chooses one and holds it for some control steps.

``SkillActions`` is an environment for whatever learns to choose, PPO for instance; ``HeldSkills``
is what was learnt, as a policy for the environment below. In between stands nothing to be learnt.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from robolearn.skills.frozen import FrozenSkills
from robolearn.types import ArraySpec, Observation, Policy, Spec, VectorEnvironment

STILL = 0.5  # length of a choice below which the hand stays where it is


def carry_out(
    skills: FrozenSkills, choice: np.ndarray, observation: Observation, name: str
) -> np.ndarray:
    """Give the actions [N, A] of the skills nearest to choices [N, Z], or 0 where those are short.

    For skills never stop: without a choice to do nothing, no object would stay at its goal.
    """
    moves = skills.act(observation, skills.skill(choice), name)
    short = np.linalg.norm(choice, axis=1) < STILL
    return np.where(short[:, None], np.float32(0.0), moves)


class SkillActions:
    """A VectorEnvironment whose action is a skill z of one object, held for ``hold`` control steps.

    An action [Z] in [-1, 1] stands for the skill nearest to it; see ``carry_out``. Rewards and
    reward terms are sums over the control steps of a hold, which ends with its episode.
    """

    def __init__(self, env: VectorEnvironment, skills: FrozenSkills, name: str, hold: int):
        """Wrap ``env``, which is closed with this; ``name`` is the object's."""
        self._env, self._skills, self._name, self._hold = env, skills, name, hold
        self.interface = with_skill_actions(env.interface, skills.size, hold)
        self.num_envs = env.num_envs
        self.horizon = None if env.horizon is None else -(-env.horizon // hold)  # choices
        self._observation: Observation = {}

    def reset(
        self, *, seed: Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin episodes; see ``VectorEnvironment``."""
        self._observation, info = self._env.reset(seed=seed, options=options)
        return self._observation, info

    def step(
        self, actions: np.ndarray, active: np.ndarray | None = None, *, autoreset: bool = True
    ) -> tuple[Observation, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Hold skills; see ``VectorEnvironment``."""
        total = _Total(self.num_envs)
        going = np.ones(self.num_envs, bool) if active is None else np.array(active)
        for _ in range(self._hold):
            moves = carry_out(self._skills, actions, self._observation, self._name)
            step = self._env.step(moves, active=going, autoreset=False)
            self._observation = step[0]
            total.add(going, *step[1:])
            going &= ~total.ended
            if not going.any():
                break
        info = total.info
        if autoreset and total.ended.any():
            info = info | self._begin_next(total.ended)
        return self._observation, total.reward, total.terminated, total.truncated, info

    def get_state(self) -> np.ndarray:
        """Give the states float64 [N, S]."""
        return self._env.get_state()

    def close(self) -> None:
        """Free the simulators."""
        self._env.close()

    def _begin_next(self, ended: np.ndarray) -> dict[str, Any]:
        """Begin the next episodes; give the last observations of those that ended."""
        last = np.full(self.num_envs, None, object)
        for i in np.flatnonzero(ended):
            last[i] = {name: array[i].copy() for name, array in self._observation.items()}
        self._observation, _ = self._env.reset(options={"reset_mask": ended})
        return {"final_obs": last, "_final_obs": ended}


class _Total:
    """What N environments gave within a hold."""

    def __init__(self, n: int):
        self.reward = np.zeros(n)
        self.terminated, self.truncated = np.zeros(n, bool), np.zeros(n, bool)
        self.info: dict[str, Any] = {"success": np.zeros(n, bool), "reward_terms": {}}

    @property
    def ended(self) -> np.ndarray:
        return self.terminated | self.truncated

    def add(
        self,
        moved: np.ndarray,
        reward: np.ndarray,
        terminated: np.ndarray,
        truncated: np.ndarray,
        info: dict[str, Any],
    ) -> None:
        """Add a control step of the environments that ``moved``; success is that of the last."""
        self.reward += reward  # of the others it is 0
        self.terminated |= terminated
        self.truncated |= truncated
        terms = self.info["reward_terms"]
        for name, term in info["reward_terms"].items():
            terms[name] = terms.get(name, 0.0) + term if name[0] != "_" else term
        self.info["success"] = np.where(moved, info["success"], self.info["success"])
        if "error" in info:
            self.info["error"] = np.where(info["_error"], info["error"], self.info.get("error"))


def with_skill_actions(interface: Spec, size: int, hold: int) -> Spec:
    """Give the interface with a skill of ``size`` entries as the action, at a slower pace."""
    names = tuple(f"skill_{j + 1}" for j in range(size))
    action = ArraySpec((size,), "float32", names, ("",) * size, (1.0,) * size)
    return dataclasses.replace(interface, action=action, period_s=hold * interface.period_s)


class HeldSkills:
    """A policy that chooses skills and holds them, as a policy of the environment below."""

    def __init__(self, policy: Policy, skills: FrozenSkills, name: str, hold: int):
        self._policy, self._skills, self._name, self._hold = policy, skills, name, hold

    def reset(self, n: int) -> None:
        """Begin n episodes at once."""
        self._policy.reset(n)
        self._t = 0

    def act(self, observation: Observation, explore: bool = False) -> np.ndarray:
        """Choose actions float32 [N, A]."""
        if self._t % self._hold == 0:
            self._choice = self._policy.act(observation, explore)
        self._t += 1
        return carry_out(self._skills, self._choice, observation, self._name)
