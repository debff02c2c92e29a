"""``verb: ppo``: improve a policy by proximal policy optimisation, and evaluate it."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pydantic

from robolearn.algos.hard_ppo import HardeningConfig, HardPPO, HardPPOConfig
from robolearn.algos.ppo import PPO, PPOConfig
from robolearn.errors import UserError
from robolearn.loops import checkpoint
from robolearn.loops.collecting import WorkersConfig
from robolearn.loops.on_policy import (
    Collecting,
    OnlineConfig,
    OnPolicyLearner,
    Progress,
    online,
)
from robolearn.running.config import EnvConfig
from robolearn.running.run import Run, kept_until, make_batch
from robolearn.types import RewardStream, Spec, VectorEnvironment
from robolearn.verbs.evaluate import EvaluationConfig, measure
from robolearn.verbs.preferences import UNASKED, Preferences, PreferencesConfig, Unasked, opened
from robolearn.verbs.restoring import restored, value_of
from robolearn.verbs.workers import ROLLOUTS, dealt, require_dealt


@dataclass(frozen=True)
class ImproveConfig:
    """Where a policy is improved, how, and how it is evaluated."""

    env: EnvConfig
    """The environment."""
    environments: pydantic.PositiveInt = 16
    """How many of them step together."""
    workers: WorkersConfig | None = None
    """Who has them in training; None: this process."""
    ppo: PPOConfig = PPOConfig()
    """Network and objective."""
    harden: HardeningConfig | None = None
    """The term that makes the policy hard to attack; None: none."""
    intention: str | None = None
    """A run of sac that has learnt what an attacker wants, for the term "worst value"."""
    training: OnlineConfig = OnlineConfig()
    """Length, and how often the policy is improved."""
    preferences: PreferencesConfig | None = None
    """Who says what is better, in place of the environment's reward; None: that counts."""
    evaluation: EvaluationConfig | None = EvaluationConfig(episodes=10, horizon=1000)
    """How many episodes, how long, and where they end; None for no evaluation."""

    def __post_init__(self) -> None:
        asked, worst = self.preferences, self.harden and self.harden.term == "worst value"
        require_dealt(self.environments, self.workers, asks=asked is not None)
        if bool(worst) != (self.intention is not None):
            wrong = "'worst value' needs one" if worst else "only harden.term: worst value has one"
            raise UserError(f"intention: {wrong}")
        if asked is not None and asked.explore:
            raise UserError("preferences.explore: only on a replay, with verb: sac")
        if asked is not None and asked.reward.length > self.training.horizon:
            raise UserError(
                f"training.horizon: segments of {asked.reward.length} steps do not fit into "
                f"rollouts of {self.training.horizon}"
            )


def improve(config: ImproveConfig, run: Run) -> dict[str, Any]:
    """Train, with checkpoints on the way, evaluate, draw ``report.png``, keep ``checkpoint/``.

    Summary: ``steps``, and under ``evaluation`` what ``robolearn.verbs.evaluate.measure`` gives;
    with preferences ``labels`` and ``answers``.
    """
    with (
        contextlib.closing(make_batch(config.env, config.environments)) as env,
        opened(config.preferences, env, config.env, run) as preferences,
    ):
        learner = _learner(config, env.interface, run.seed, preferences.streams)
        make = functools.partial(make_batch, config.env)
        with dealt(ROLLOUTS, config.workers, make, env, learner, config.training, run) as workers:
            train(learner, env, config.training, run, preferences=preferences, workers=workers)
        updates = config.training.updates(env.num_envs)
        steps = updates * config.training.horizon * env.num_envs
        summary = {"steps": steps, **preferences.summary()}
        if config.evaluation is not None:
            summary["evaluation"] = measure(learner, env, config.env, config.evaluation, run)
    preferences.draw(run, f"PPO on {config.env.name}, seed {run.seed}")
    checkpoint.save(run.path("checkpoint"), learner)
    return summary


def _learner(
    config: ImproveConfig, interface: Spec, seed: int, streams: Mapping[str, RewardStream] | None
) -> PPO:
    if config.harden is None:
        return PPO(interface, config.ppo, seed, streams=streams)
    hard, q = HardPPOConfig.of(config.ppo, config.harden), None
    if config.intention is not None:
        q = value_of(restored(config.intention, "intention", interface))
        if q is None:
            raise UserError(f"intention: the policy in {config.intention} has no Q, unlike sac's")
    return HardPPO(interface, hard, seed, streams=streams, q=q)


def train(
    learner: OnPolicyLearner,
    env: VectorEnvironment,
    config: OnlineConfig,
    run: Run,
    hold: int = 1,
    preferences: Preferences | Unasked = UNASKED,
    folder: str = "checkpoint",
    workers: Collecting | None = None,
) -> OnPolicyLearner:
    """Train a fresh learner, or from where a stopped run left one that was made as it was; give it.

    Every update is logged under the number of control steps taken by then, of which a step of
    ``env`` takes ``hold``; where there are ``workers``, they act in its place. Checkpoints go into
    that folder of the run. A KeyboardInterrupt that comes out says from where to go on.
    """
    path, progress = run.path(folder), None
    if checkpoint.exists(path):  # a resumed run
        counters = checkpoint.go_on(path, learner)
        progress = checkpoint.checked(Progress, counters, path)
        preferences.go_on(counters)
    steps = config.horizon * env.num_envs * hold  # in an update
    total, done = config.updates(env.num_envs), progress.updates if progress else 0
    first = min(config.checkpoint_updates, total)
    run.go_on(done * steps)
    with run.counter(total * steps, "training", "steps", done * steps) as counter:
        begun = time.monotonic()

        def on_update(updates: int, info: dict[str, float]) -> None:
            nonlocal begun
            counter.update(steps)
            now = time.monotonic()
            run.log(
                updates * steps,
                **info,
                **preferences.read(),
                steps_per_s=round(steps / (now - begun), 1),
            )
            begun = now

        def on_checkpoint(progress: Progress) -> None:
            nonlocal done
            checkpoint.save(path, learner, dataclasses.asdict(progress) | preferences.counters())
            done = progress.updates

        try:
            online(
                learner, env if workers is None else workers, config, run.seed,
                progress=progress, keep_states=preferences.keep_states,
                on_rollout=preferences.on_rollout(env, config.horizon * hold, total * steps),
                on_update=on_update, on_checkpoint=on_checkpoint,
            )  # fmt: skip
        except KeyboardInterrupt:
            raise KeyboardInterrupt(kept_until(done * steps, first * steps)) from None
    return learner
