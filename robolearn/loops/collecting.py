"""What happens in a batch of environments while a policy acts, step by step.

Its first episodes are cut so that environments do not stay in step ("staggered resets":
``OnlineConfig.spread``, ``Cuts``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from pydantic import PositiveInt

from robolearn.errors import DataError, UserError
from robolearn.settings import Settings
from robolearn.types import Observation, Spec, VectorEnvironment

Rollout = dict[str, Any]
Ended = tuple[float, int, bool]  # return, length, success of an episode


@dataclass(frozen=True)
class WorkersConfig(Settings):
    """Processes of a Ray cluster that have the environments.

    Raises UserError for a value out of range.
    """

    count: PositiveInt = 2
    """How many; the environments are dealt out to them."""
    cpus: PositiveInt = 1
    """Cores of each."""
    address: str | None = None
    """The cluster's, HOST:6379; None: one is made on this machine."""


class UnderWay(Protocol):
    """How far episodes have got, as JSON-able values."""

    returns: list[float]  # [N]
    lengths: list[int]  # [N]


class Sampling(Protocol):
    """A policy whose actions are learnt from as they were drawn."""

    def sample(self, observation: Observation) -> np.ndarray:
        """Draw actions float32 [N, A], which may lie beyond [-1, 1]."""


class Cuts:
    """Steps until each environment's first episode is cut: given up as if its time were over.

    For the same end, massively parallel PPO begins with episodes that are already partly over
    (rsl_rl's ``init_at_random_ep_len``); this needs no access to an environment's clock.
    """

    def __init__(self, left: np.ndarray):
        self.left = left  # [N] int, 0: never

    def count(self, ended: np.ndarray) -> np.ndarray:
        """Count a step, after which some episodes ended, bool [N]; say which are cut now, bool [N].

        An episode that ended by itself is not cut, nor is the one after it.
        """
        due = (self.left == 1) & ~ended
        self.left = np.where(ended, 0, np.maximum(self.left - 1, 0))
        return due


def spread_cuts(n: int, horizon: int | None) -> Cuts:
    """Spread the ends of n first episodes evenly over (0, ``horizon``]; None: no cuts."""
    if horizon is None:
        return Cuts(np.zeros(n, int))
    return Cuts(-(-np.arange(1, n + 1) * horizon // n))


class Tally:
    """Returns and lengths of the episodes under way, and what became of those that ended since it
    was read.
    """

    def __init__(self, returns: np.ndarray, lengths: np.ndarray):
        self.returns, self.lengths = returns, lengths  # [N], [N]
        self._ended: list[Ended] = []
        self._failed = 0

    def begin(self, progress: UnderWay | None) -> None:
        """Begin episodes, or go on with those that are under way."""
        n = len(self.returns)
        self.returns = np.array(progress.returns) if progress else np.zeros(n)
        self.lengths = np.array(progress.lengths) if progress else np.zeros(n, int)

    def add(
        self, rewards: np.ndarray, ended: np.ndarray, success: np.ndarray, failed: int = 0
    ) -> None:
        """Count a step with rewards [N], after which some episodes ended, bool [N], as successes or
        not, bool [N], and so many because their simulation diverged.
        """
        self._failed += failed
        self.returns, self.lengths = self.returns + rewards, self.lengths + 1
        self._ended += zip(self.returns[ended], self.lengths[ended], success[ended], strict=True)
        self.returns, self.lengths = self.returns * ~ended, self.lengths * ~ended

    def forget(self, cut: np.ndarray) -> None:
        """Leave out episodes that were cut, bool [N]."""
        self.returns, self.lengths = self.returns * ~cut, self.lengths * ~cut

    def read(self) -> dict[str, float]:
        """Give ``return``, ``length`` and ``success`` (in the last step), means over the ended
        episodes; nothing if none ended. ``diverged`` counts those that ended by that, if any.
        """
        ended, failed = self.drain()
        if not ended:
            return {}
        means = np.mean(np.array(ended, float), axis=0)
        found = dict(zip(("return", "length", "success"), means.tolist(), strict=True))
        return found | ({"diverged": failed} if failed else {})

    def drain(self) -> tuple[list[Ended], int]:
        """Give the episodes that ended, and how many by diverging; they are forgotten then."""
        found = self._ended, self._failed
        self._ended, self._failed = [], 0
        return found

    def take(self, ended: Sequence[Ended], failed: int) -> None:
        """Count what another one gave by ``drain``."""
        self._ended += ended
        self._failed += failed


def collect(
    env: VectorEnvironment,
    learner: Sampling,
    observation: Observation,
    horizon: int,
    tally: Tally,
    first_step: int = 0,
    cuts: Cuts | None = None,
    keep_states: bool = False,
) -> tuple[Rollout, Observation]:
    """Act for T = ``horizon`` steps; give what happened, arrays [T, N, ...], and where it stopped.

    Keys: "observations" and "next_observations" (name -> array), "actions" as they were drawn,
    "rewards", "reward_terms" (name -> array), "terminated", "ended", and "steps", of the episode
    before this one. Environments get the actions clipped to [-1, 1]. An episode that is cut has
    ended without having terminated, as if truncated, and does not count in the tally.
    ``keep_states`` adds "states" of the environments, those before each step.
    """
    steps, cuts = [], cuts or spread_cuts(env.num_envs, None)
    for t in range(horizon):
        actions = learner.sample(observation)
        step, following = take_step(env, observation, actions, tally, first_step + t, keep_states)
        cut = cuts.count(step["ended"])
        if cut.any():
            following = _cut(env, cut)
            tally.forget(cut)
        steps.append(step | {"ended": step["ended"] | cut})
        observation = following
    return _stack(steps), observation


def take_step(
    env: VectorEnvironment,
    observation: Observation,
    actions: np.ndarray,
    tally: Tally,
    t: int,
    keep_states: bool = False,
) -> tuple[Rollout, Observation]:
    """Step, at the environments' step ``t``; give what happened, arrays [N, ...], and what is seen.

    Keys are those of ``collect``. Raises DataError for an observation or reward that is not finite.
    """
    steps = tally.lengths
    states = {"states": env.get_state()} if keep_states else {}
    following, rewards, terminated, truncated, info = env.step(actions.clip(-1.0, 1.0))
    following = {name: array.copy() for name, array in following.items()}
    ended = terminated | truncated
    reached = _reached(following, ended, info)
    _require_finite({"reward": rewards, **reached}, env.interface, t)
    failed = sum(reason is not None for reason in info.get("error", ()))
    tally.add(rewards, ended, info["success"], failed)
    step = {
        "observations": observation,
        "next_observations": reached,
        "actions": actions,
        "rewards": rewards.astype(np.float32),
        "reward_terms": _terms(info),
        "terminated": terminated,
        "ended": ended,
        "steps": steps,
        **states,
    }
    return step, following


def _cut(env: VectorEnvironment, rows: np.ndarray) -> Observation:
    """Begin other episodes in some rows, bool [N]; give the observations of all."""
    observation, _ = env.reset(options={"reset_mask": rows})
    return {name: array.copy() for name, array in observation.items()}


def _reached(following: Observation, ended: np.ndarray, info: Mapping[str, Any]) -> Observation:
    """Give the observations that the actions led to: the last of an episode, not the next first."""
    if not ended.any():
        return following
    reached = {name: array.copy() for name, array in following.items()}
    for i in np.flatnonzero(ended):
        for name, array in reached.items():
            array[i] = info["final_obs"][i][name]
    return reached


def _terms(info: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Give the reward terms as float32 [N]; names with "_" in front are masks."""
    terms = info.get("reward_terms", {})
    return {k: v.astype(np.float32) for k, v in terms.items() if not k.startswith("_")}


def _require_finite(arrays: Mapping[str, np.ndarray], interface: Spec, step: int) -> None:
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            rows = ~np.isfinite(array.reshape(len(array), -1)).all(axis=1)  # [N]
            raise DataError(
                f"{interface.environment}: {name} is not finite in environment "
                f"{int(rows.argmax())} at its step {step}"
            )


def require_same_step(env: VectorEnvironment, what: str) -> None:
    """Raise UserError for a gymnasium batch with another autoreset than ``what`` can do with.

    The step after the end of an episode, which resets it, would be taken for a transition.
    """
    mode = getattr(env, "metadata", {}).get("autoreset_mode")
    if mode is not None and mode.name != "SAME_STEP":
        raise UserError(
            f"{env.interface.environment}: {what} needs a batch with "
            f"autoreset_mode='same_step', not '{mode.name.lower()}'"
        )


def begin(
    env: VectorEnvironment, seed: int | Sequence[int], done: int, states: list[list[float]] | None
) -> Observation:
    """Begin, or go on in ``states``; what is drawn from here on follows from seed and ``done``.

    ``seed`` may also be those of the environments, from ``seeds_after``.
    """
    seeds = seeds_after(seed, done, env.num_envs) if isinstance(seed, int) else list(seed)
    options = None if states is None else {"state": np.array(states)}
    return env.reset(seed=seeds, options=options)[0]


def seeds_after(seed: int, done: int, environments: int) -> list[int]:
    """Give the seed of each environment after so much was done."""
    return np.random.SeedSequence([seed, done]).generate_state(environments).tolist()


def _stack(steps: list[dict[str, Any]]) -> Rollout:
    return {
        key: _stack([step[key] for step in steps])
        if isinstance(value, dict)
        else np.stack([step[key] for step in steps])
        for key, value in steps[0].items()
    }


def on_device(rollout: Rollout, device: torch.device) -> Rollout:
    """Give the arrays of nested mappings as tensors."""
    return {
        key: on_device(value, device)
        if isinstance(value, dict)
        else torch.as_tensor(value, device=device)
        for key, value in rollout.items()
    }
