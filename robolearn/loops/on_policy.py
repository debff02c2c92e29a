"""The loop of on-policy learning, as functions that know the protocols, never a method's name.

Its first episodes are cut so that environments do not stay in step ("staggered resets":
``OnlineConfig.spread``, ``Cuts``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from pydantic import PositiveInt

from robolearn.errors import DataError, UserError
from robolearn.settings import Settings
from robolearn.types import Learner, Observation, Spec, VectorEnvironment

Rollout = dict[str, Any]


class OnPolicyLearner(Learner, Protocol):
    """A Learner that eats rollouts of its own making."""

    device: torch.device

    def sample(self, observation: Observation) -> np.ndarray:
        """Draw actions float32 [N, A], which may lie beyond [-1, 1]."""


@dataclass(frozen=True)
class OnlineConfig(Settings):
    """Length of ``online`` and of its parts. Raises UserError for a value out of range."""

    steps: PositiveInt = 1_000_000
    """Control steps to learn from, of all environments together."""
    horizon: PositiveInt = 128
    """Control steps of each environment between two updates."""
    checkpoint_updates: PositiveInt = 20
    """Updates between two points from which a stopped training can go on."""
    spread: bool = True
    """Whether the first episodes are cut, each after another share of its length, so that from then
    on the episodes end at different times. Else environments whose episodes last equally long stay
    in step, and a rollout shorter than those shows all of them at the same age. Rollouts of whole
    episodes show every age anyhow: there nothing is cut."""

    def updates(self, environments: int) -> int:
        """Count the updates that ``steps`` are enough for, at least one."""
        return max(1, self.steps // (self.horizon * environments))


@dataclass(frozen=True)
class Progress:
    """Where a training stands after some updates, as JSON-able values."""

    updates: int
    states: list[list[float]]  # [N, S], of the environments
    returns: list[float]  # [N], of the episodes under way
    lengths: list[int]  # [N]
    cuts: list[int] | None = None  # [N], steps until an episode is cut, 0: never; None: all 0


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
        self._ended: list[tuple[float, int, bool]] = []
        self._failed = 0

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
        if not self._ended:
            return {}
        means = np.mean(np.array(self._ended, float), axis=0)
        found = dict(zip(("return", "length", "success"), means.tolist(), strict=True))
        if self._failed:
            found["diverged"] = self._failed
        self._ended, self._failed = [], 0
        return found


def online(
    learner: OnPolicyLearner,
    env: VectorEnvironment,
    config: OnlineConfig,
    seed: int,
    *,
    progress: Progress | None = None,
    keep_states: bool = False,
    on_rollout: Callable[[int, Rollout], None] | None = None,
    on_update: Callable[[int, dict[str, float]], None] | None = None,
    on_checkpoint: Callable[[Progress], None] | None = None,
) -> None:
    """Let a learner act and improve by turns; "progress" in a rollout is the share that is over.

    ``on_rollout(updates, rollout)`` gets every rollout before it is learnt from; with
    ``keep_states`` it has "states" [T, N, S], those of the environments before each step.
    ``on_update(updates, scalars)`` is called after each update, ``on_checkpoint(progress)`` after
    every ``checkpoint_updates`` of them and after the last. There the environments are given new
    seeds, which follow from ``seed`` and the number of updates, so that a learner restored with its
    ``progress`` goes on exactly as if never interrupted. Raises DataError for an observation or
    reward that is not finite, UserError for environments whose state cannot be read or that do not
    begin anew within the step that ends an episode.
    """
    require_same_step(env, "learning on rollouts")
    total = config.updates(env.num_envs)
    tally, cuts = _tally(env, progress), _cuts(env, config, progress)
    observation = _begin(env, seed, progress)
    env.get_state()  # an environment that cannot give its state says so now, not after 20 updates
    for update in range(progress.updates if progress else 0, total):
        first_step = update * config.horizon
        rollout, observation = collect(
            env, learner, observation, config.horizon, tally, first_step, cuts, keep_states
        )
        if on_rollout is not None:
            on_rollout(update, rollout)
        info = learner.update(on_device(rollout, learner.device) | {"progress": update / total})
        if on_update is not None:
            on_update(update + 1, tally.read() | info)
        if (update + 1) % config.checkpoint_updates == 0 or update + 1 == total:
            progress = Progress(
                update + 1, env.get_state().tolist(), tally.returns.tolist(),
                tally.lengths.tolist(), cuts.left.tolist(),
            )  # fmt: skip
            observation = _begin(env, seed, progress)
            if on_checkpoint is not None:
                on_checkpoint(progress)


def collect(
    env: VectorEnvironment,
    learner: OnPolicyLearner,
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
    env: VectorEnvironment, seed: int, done: int, states: list[list[float]] | None
) -> Observation:
    """Begin, or go on in ``states``; what is drawn from here on follows from seed and ``done``."""
    seeds = np.random.SeedSequence([seed, done]).generate_state(env.num_envs).tolist()
    options = None if states is None else {"state": np.array(states)}
    return env.reset(seed=seeds, options=options)[0]


def _begin(env: VectorEnvironment, seed: int, progress: Progress | None) -> Observation:
    if progress is None:
        return begin(env, seed, 0, None)
    return begin(env, seed, progress.updates, progress.states)


def _cuts(env: VectorEnvironment, config: OnlineConfig, progress: Progress | None) -> Cuts:
    """Give the cuts that are left where progress says, else those that a training begins with."""
    if progress is not None and progress.cuts is not None:
        return Cuts(np.array(progress.cuts))
    whole = env.horizon is not None and config.horizon % env.horizon == 0  # episodes in a rollout
    spread = config.spread and not whole and progress is None
    return spread_cuts(env.num_envs, env.horizon if spread else None)


def _tally(env: VectorEnvironment, progress: Progress | None) -> Tally:
    if progress is None:
        return Tally(np.zeros(env.num_envs), np.zeros(env.num_envs, int))
    return Tally(np.array(progress.returns), np.array(progress.lengths))


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
