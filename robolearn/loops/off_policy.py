"""The loop of off-policy learning: act, remember, learn from what is remembered.

It knows the protocols, never a method's name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from robolearn.errors import UserError
from robolearn.loops.collecting import (
    Ended,
    Rollout,
    Tally,
    WorkersConfig,
    begin,
    on_device,
    require_same_step,
    take_step,
)
from robolearn.settings import Settings
from robolearn.types import Learner, Policy, VectorEnvironment


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


@dataclass(frozen=True)
class ActorsConfig(WorkersConfig):
    """Processes of a Ray cluster that have the environments."""

    rounds: PositiveInt = 10
    """Steps of each environment by the same weights; they are twice as old at most."""


class Acting(Protocol):
    """Environments that a policy acts in, of this process or of others."""

    num_envs: int

    def begin(self, seed: int, progress: OffPolicyProgress | None) -> None:
        """Begin, or go on where progress says, with seeds that follow from both."""

    def step(self, learner: OffPolicyLearner, rounds: int, rng: np.random.Generator) -> Rollout:
        """Take a step, the batch's number ``rounds``; give what happened, see ``take_step``."""

    def progress(self, rounds: int) -> OffPolicyProgress:
        """Say where all stands, after so many steps of the batch."""

    def read(self) -> dict[str, float]:
        """Say what became of the episodes that ended since it was asked; see ``Tally.read``."""


class Actor:
    """Environments of this process, and the episodes under way in them; see ``Acting``.

    Raises UserError for environments whose state cannot be read or that do not begin anew within
    the step that ends an episode. ``keep_states`` adds "states" to steps. ``whole`` counts the
    environments where these are a part of them.
    """

    def __init__(
        self,
        env: VectorEnvironment,
        config: OffPolicyConfig,
        keep_states: bool = False,
        whole: int | None = None,
    ) -> None:
        require_same_step(env, "learning from a replay")
        self.env, self.config, self.num_envs = env, config, env.num_envs
        self._whole, self._keep_states = whole or env.num_envs, keep_states
        self._tally = Tally(np.zeros(self.num_envs), np.zeros(self.num_envs, int))

    def begin(self, seed: int | Sequence[int], progress: OffPolicyProgress | None) -> None:
        """See ``Acting``; ``seed`` may be one for each environment."""
        self._tally.begin(progress)
        done, states = (progress.rounds, progress.states) if progress else (0, None)
        self._observation = begin(self.env, seed, done, states)
        self.env.get_state()  # one that cannot give it says so now

    def step(self, learner: Policy, rounds: int, rng: np.random.Generator) -> Rollout:
        """See ``Acting``; the first ones, of ``random_steps``, are drawn from ``rng``."""
        if (rounds - 1) * self._whole < self.config.random_steps:
            shape = (self.num_envs, *self.env.interface.action.shape)
            actions = rng.uniform(-1.0, 1.0, shape).astype(np.float32)
        else:
            actions = learner.act(self._observation, explore=True)
        step, self._observation = take_step(
            self.env, self._observation, actions, self._tally, rounds - 1, self._keep_states
        )
        return step

    def progress(self, rounds: int) -> OffPolicyProgress:
        """See ``Acting``."""
        tally, states = self._tally, self.env.get_state().tolist()
        return OffPolicyProgress(rounds, states, tally.returns.tolist(), tally.lengths.tolist())

    def read(self) -> dict[str, float]:
        """See ``Acting``."""
        return self._tally.read()

    def drain(self) -> tuple[list[Ended], int]:
        """See ``Tally.drain``."""
        return self._tally.drain()


def off_policy(
    learner: OffPolicyLearner,
    env: VectorEnvironment | Acting,
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
    an observation or reward that is not finite, UserError for environments that ``Actor`` does not
    take.
    """
    acting = Actor(env, config, keep_states) if hasattr(env, "reset") else env
    n, total, infos = acting.num_envs, config.rounds(acting.num_envs), []
    acting.begin(seed, progress)
    done = progress.rounds if progress else 0
    rng = np.random.default_rng([seed, done, 1])
    enough = min(config.random_steps, config.capacity // n * n)  # a replay holds whole steps
    for rounds in range(done + 1, total + 1):
        _remember(learner, acting.step(learner, rounds, rng), replay)
        if on_step is not None:
            on_step(rounds)
        if len(replay) >= enough:
            infos += _learn(learner, replay, rng, config.batch, updates_in(rounds, n, config))
        if on_log is not None and (_due(rounds, n, config.log_steps) or rounds == total):
            on_log(rounds, acting.read() | _means(infos))
            infos.clear()
        if is_kept(rounds, n, config):
            progress = acting.progress(rounds)
            acting.begin(seed, progress)
            rng = np.random.default_rng([seed, rounds, 1])
            if on_checkpoint is not None:
                on_checkpoint(progress)


def is_kept(rounds: int, environments: int, config: OffPolicyConfig) -> bool:
    """Say whether a training can go on after this step of the batch."""
    is_last = rounds == config.rounds(environments)
    return is_last or _due(rounds, environments, config.checkpoint_steps)


def updates_in(rounds: int, environments: int, config: OffPolicyConfig) -> int:
    """Count the updates that belong to this step of the batch; fractions add up over the steps."""
    steps = rounds * environments
    ratio = config.updates_per_step
    return int(ratio * steps) - int(ratio * (steps - environments))


def _remember(learner: OffPolicyLearner, step: Rollout, replay: Memory) -> None:
    if hasattr(learner, "forget"):
        learner.forget(step["ended"])
    rewards = learner.reward(on_device(step, learner.device))
    replay.add(step | {"task_rewards": step["rewards"], "rewards": rewards.cpu().numpy()})


def _learn(
    learner: OffPolicyLearner, replay: Memory, rng: np.random.Generator, batch: int, updates: int
) -> list[dict[str, float]]:
    return [
        learner.update(on_device(replay.sample(batch, rng), learner.device)) for _ in range(updates)
    ]


def _means(infos: list[dict[str, float]]) -> dict[str, float]:
    """Give the mean of each number, over the updates that gave it."""
    names = dict.fromkeys(name for info in infos for name in info)
    return {name: float(np.mean([i[name] for i in infos if name in i])) for name in names}


def _due(rounds: int, environments: int, every: int) -> bool:
    """Say whether this step of the batch is the one that completes so many control steps."""
    steps = rounds * environments
    return steps // every > (steps - environments) // every
