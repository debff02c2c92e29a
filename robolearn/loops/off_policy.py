"""The loop of off-policy learning: act, remember, learn from what is remembered.

It knows the protocols, never a method's name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from robolearn.errors import UserError
from robolearn.loops.collecting import Tally, begin, on_device, require_same_step, take_step
from robolearn.settings import Settings
from robolearn.types import Learner, Observation, VectorEnvironment


class Memory(Protocol):
    """What is remembered of steps: ``Replay`` is one, ``Moments`` another."""

    def __len__(self) -> int:
        """Count what it holds."""

    def add(self, step: Mapping[str, Any]) -> None:
        """Remember a step of all environments, arrays [N, ...]."""

    def sample(self, count: int, rng: np.random.Generator) -> dict[str, Any]:
        """Draw a batch [B, ...]."""

    def state_dict(self) -> dict[str, np.ndarray]:
        """Give all that is held, and how it goes on."""

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over what ``state_dict`` gave."""


class OffPolicyLearner(Learner, Protocol):
    """A Learner that eats batches of a replay, whoever made the transitions in it.

    One that remembers what it has seen of an episode has ``forget(ended)``, too: it is told in
    which rows, bool [N], the next action is the first of another. What it remembers of those under
    way is part of its ``training_state``.
    """

    device: torch.device

    def reward(self, batch: Mapping[str, Any]) -> torch.Tensor:
        """Give the reward [B] under which transitions are remembered.

        A batch has what a replay's has, and "reward_terms", a mapping of names to [B].
        """


@dataclass(frozen=True)
class OffPolicyConfig(Settings):
    """Length of ``off_policy`` and of its parts. Raises UserError for a value out of range."""

    steps: PositiveInt = 1_000_000
    """Control steps to learn from, of all environments together."""
    random_steps: NonNegativeInt = 5_000
    """The first of them, in which actions are random and nothing is learnt."""
    updates_per_step: PositiveFloat = 1.0
    """Updates for each further control step."""
    batch: PositiveInt = 256
    """Transitions in an update."""
    capacity: PositiveInt = 1_000_000
    """Transitions that are remembered; the oldest are forgotten."""
    log_steps: PositiveInt = 1_000
    """Control steps between two lines of the log."""
    checkpoint_steps: PositiveInt = 20_000
    """Control steps between two points from which a stopped training can go on."""
    keep_replay: bool = False
    """Whether checkpoints hold the replay, so that going on is exact; they get as large as it is.
    Else it begins anew: the policy fills it with ``random_steps`` transitions before it learns."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.capacity < self.random_steps:
            what = f"{self.capacity:,} is less than the {self.random_steps:,} random steps"
            raise UserError(f"capacity: {what}; nothing would ever be learnt")

    def rounds(self, environments: int) -> int:
        """Count the steps of the batch, at least one."""
        return max(1, self.steps // environments)


@dataclass(frozen=True)
class OffPolicyProgress:
    """Where a training stands after some steps of the batch, as JSON-able values."""

    rounds: int
    states: list[list[float]]  # [N, S], of the environments
    returns: list[float]  # [N], of the episodes under way
    lengths: list[int]  # [N]


def off_policy(
    learner: OffPolicyLearner,
    env: VectorEnvironment,
    config: OffPolicyConfig,
    seed: int,
    replay: Memory,
    *,
    progress: OffPolicyProgress | None = None,
    keep_states: bool = False,
    on_step: Callable[[int], None] | None = None,
    on_log: Callable[[int, dict[str, float]], None] | None = None,
    on_checkpoint: Callable[[OffPolicyProgress], None] | None = None,
) -> None:
    """Let a learner act, and learn from the ``replay``, which is filled here.

    ``on_step(rounds)`` is called when a step is remembered, before anything is learnt; with
    ``keep_states`` the step has "states", those of the environments before it, which a replay may
    keep. ``on_log(rounds, scalars)`` gets the means over the updates since it was called last, and
    what became of the episodes that ended; ``on_checkpoint(progress)`` is called every
    ``checkpoint_steps`` and at the end. There the environments and what draws from the replay are
    given new seeds, which follow from ``seed`` and the number of steps, so that a learner restored
    with its ``progress`` and replay goes on exactly as if never interrupted. Raises DataError for
    an observation or reward that is not finite, UserError for environments whose state cannot be
    read or that do not begin anew within the step that ends an episode.
    """
    require_same_step(env, "learning from a replay")
    n, total = env.num_envs, config.rounds(env.num_envs)
    tally, infos = _tally(n, progress), []
    observation, rng, done = _begin(env, seed, progress)
    env.get_state()  # an environment that cannot give its state says so now
    for rounds in range(done + 1, total + 1):
        observation = _remember(
            learner, env, observation, replay, tally, rng, config, rounds, keep_states
        )
        if on_step is not None:
            on_step(rounds)
        if len(replay) >= config.random_steps:
            infos += _learn(learner, replay, rng, config.batch, updates_in(rounds, n, config))
        if on_log is not None and (_due(rounds, n, config.log_steps) or rounds == total):
            on_log(rounds, tally.read() | _means(infos))
            infos.clear()
        if _due(rounds, n, config.checkpoint_steps) or rounds == total:
            progress = OffPolicyProgress(
                rounds, env.get_state().tolist(), tally.returns.tolist(), tally.lengths.tolist()
            )
            observation, rng, _ = _begin(env, seed, progress)
            if on_checkpoint is not None:
                on_checkpoint(progress)


def updates_in(rounds: int, environments: int, config: OffPolicyConfig) -> int:
    """Count the updates that belong to this step of the batch; fractions add up over the steps."""
    steps = rounds * environments
    ratio = config.updates_per_step
    return int(ratio * steps) - int(ratio * (steps - environments))


def _remember(
    learner: OffPolicyLearner,
    env: VectorEnvironment,
    observation: Observation,
    replay: Memory,
    tally: Tally,
    rng: np.random.Generator,
    config: OffPolicyConfig,
    rounds: int,
    keep_states: bool,
) -> Observation:
    """Take a step and remember it; give what is seen then."""
    if (rounds - 1) * env.num_envs < config.random_steps:
        shape = (env.num_envs, *env.interface.action.shape)
        actions = rng.uniform(-1.0, 1.0, shape).astype(np.float32)
    else:
        actions = learner.act(observation, explore=True)
    step, following = take_step(env, observation, actions, tally, rounds - 1, keep_states)
    if hasattr(learner, "forget"):
        learner.forget(step["ended"])
    rewards = learner.reward(on_device(step, learner.device))
    replay.add(step | {"task_rewards": step["rewards"], "rewards": rewards.cpu().numpy()})
    return following


def _learn(
    learner: OffPolicyLearner, replay: Memory, rng: np.random.Generator, batch: int, updates: int
) -> list[dict[str, float]]:
    return [
        learner.update(on_device(replay.sample(batch, rng), learner.device)) for _ in range(updates)
    ]


def _means(infos: list[dict[str, float]]) -> dict[str, float]:
    if not infos:
        return {}
    return {name: float(np.mean([info[name] for info in infos])) for name in infos[0]}


def _due(rounds: int, environments: int, every: int) -> bool:
    """Say whether this step of the batch is the one that completes so many control steps."""
    steps = rounds * environments
    return steps // every > (steps - environments) // every


def _begin(
    env: VectorEnvironment, seed: int, progress: OffPolicyProgress | None
) -> tuple[Observation, np.random.Generator, int]:
    """Begin, or go on where progress says; give what is seen, what draws, and the steps taken."""
    done, states = (progress.rounds, progress.states) if progress else (0, None)
    return begin(env, seed, done, states), np.random.default_rng([seed, done, 1]), done


def _tally(environments: int, progress: OffPolicyProgress | None) -> Tally:
    if progress is None:
        return Tally(np.zeros(environments), np.zeros(environments, int))
    return Tally(np.array(progress.returns), np.array(progress.lengths))
