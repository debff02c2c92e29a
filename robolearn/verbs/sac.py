"""``verb: sac``: improve a policy by soft actor-critic on a replay memory, and evaluate it."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic

from robolearn.algos.sac import SAC, SACConfig
from robolearn.errors import UserError
from robolearn.loops import checkpoint
from robolearn.loops.off_policy import (
    Acting,
    ActorsConfig,
    Memory,
    OffPolicyConfig,
    OffPolicyLearner,
    OffPolicyProgress,
    off_policy,
)
from robolearn.running.config import EnvConfig
from robolearn.running.run import Run, kept_until, make_batch
from robolearn.types import VectorEnvironment
from robolearn.verbs.evaluate import EvaluationConfig, measure
from robolearn.verbs.preferences import Preferences, PreferencesConfig, Unasked, opened
from robolearn.verbs.workers import STEPS, dealt, require_dealt


@dataclass(frozen=True)
class ReplayedConfig:
    """Where a policy is improved, how, and how it is evaluated."""

    env: EnvConfig
    """The environment."""
    environments: pydantic.PositiveInt = 1
    """How many of them step together."""
    workers: ActorsConfig | None = None
    """Who has them in training; None: this process."""
    sac: SACConfig = SACConfig()
    """Networks and objectives."""
    training: OffPolicyConfig = OffPolicyConfig()
    """Length, replay, and how often the policy is improved."""
    preferences: PreferencesConfig | None = None
    """Who says what is better, in place of the environment's reward; None: that counts."""
    evaluation: EvaluationConfig | None = EvaluationConfig(episodes=10, horizon=1000)
    """How many episodes, how long, and where they end; None for no evaluation."""

    def __post_init__(self) -> None:
        require_dealt(self.environments, self.workers, asks=self.preferences is not None)
        if self.preferences is not None and self.sac.terms:
            raise UserError("sac.terms: rewards beside preferences; leave out one of them")


def improve(config: ReplayedConfig, run: Run) -> dict[str, Any]:
    """Train, with checkpoints on the way, evaluate, draw ``report.png``, keep ``checkpoint/``.

    Summary: ``steps``, ``replay_bytes``, and under ``evaluation`` what
    ``robolearn.verbs.evaluate.measure`` gives; with preferences ``labels`` and ``answers``.
    """
    with (
        contextlib.closing(make_batch(config.env, config.environments)) as env,
        opened(config.preferences, env, config.env, run) as preferences,
    ):
        learner = SAC(env.interface, config.sac, run.seed, streams=preferences.streams)
        replay = preferences.memory(env, config.training.capacity, run.seed)
        say(run, f"the replay of {config.training.capacity:,} takes {replay.nbytes / 1e6:,.0f} MB")
        make = functools.partial(make_batch, config.env)
        with dealt(STEPS, config.workers, make, env, learner, config.training, run) as workers:
            train(learner, env, config.training, run, replay, preferences, workers)
        steps = config.training.rounds(env.num_envs) * env.num_envs
        summary = {"steps": steps, "replay_bytes": replay.nbytes, **preferences.summary()}
        if config.evaluation is not None:
            summary["evaluation"] = measure(learner, env, config.env, config.evaluation, run)
    preferences.draw(run, f"SAC on {config.env.name}, seed {run.seed}")
    checkpoint.save(run.path("checkpoint"), learner)
    return summary


def train(
    learner: OffPolicyLearner,
    env: VectorEnvironment,
    config: OffPolicyConfig,
    run: Run,
    replay: Memory,
    preferences: Preferences | Unasked,
    workers: Acting | None = None,
    hold: int = 1,
    folder: str = "checkpoint",
) -> dict[str, float]:
    """Train a fresh learner, or from where a stopped run left one that was made as it was.

    Where there are ``workers``, they act in the place of ``env``, but for what fills a replay anew.
    Lines are logged under the number of control steps taken by then, of which a step of ``env``
    takes ``hold``; the last is given. Checkpoints go into that folder of the run. A
    KeyboardInterrupt that comes out says from where to go on.
    """
    path, taken, latest = run.path(folder), env.num_envs * hold, {}
    progress = _restored(learner, env, config, run, replay, preferences, path, taken)
    total, done = config.rounds(env.num_envs), progress.rounds if progress else 0
    first = min(-(-config.checkpoint_steps // env.num_envs), total)
    with run.counter(total * taken, "training", "steps", done * taken) as counter:
        begun = time.monotonic()

        def on_log(rounds: int, info: dict[str, float]) -> None:
            nonlocal begun, latest
            latest = info
            steps, now = rounds * taken - counter.n, time.monotonic()
            counter.update(steps)
            run.log(
                rounds * taken,
                **info,
                **preferences.read(),
                steps_per_s=round(steps / (now - begun), 1),
            )
            begun = now

        def on_checkpoint(progress: OffPolicyProgress) -> None:
            nonlocal done
            kept = replay.state_dict() if config.keep_replay else None
            counters = dataclasses.asdict(progress) | preferences.counters()
            checkpoint.save(path, learner, counters, kept)
            done = progress.rounds

        try:
            off_policy(
                learner, env if workers is None else workers, config, run.seed, replay,
                progress=progress, keep_states=preferences.keep_states,
                on_step=preferences.on_step(
                    learner, replay, config.random_steps * hold, total * taken
                ),
                on_log=on_log, on_checkpoint=on_checkpoint,
            )  # fmt: skip
        except KeyboardInterrupt:
            raise KeyboardInterrupt(kept_until(done * taken, first * taken)) from None
    return latest


def _restored(
    learner: OffPolicyLearner,
    env: VectorEnvironment,
    config: OffPolicyConfig,
    run: Run,
    replay: Memory,
    preferences: Preferences | Unasked,
    path: Path,
    taken: int,
) -> OffPolicyProgress | None:
    """Take over what a stopped run left, if it is one that goes on, and fill its replay.

    ``taken`` is how many control steps the batch takes at once.
    """
    progress = None
    if checkpoint.exists(path):
        counters = checkpoint.go_on(path, learner)
        progress = checkpoint.checked(OffPolicyProgress, counters, path)
        preferences.go_on(counters)
    run.go_on(progress.rounds * taken if progress else 0)
    if progress is not None and progress.rounds < config.rounds(env.num_envs):
        if config.keep_replay:
            replay.load_state_dict(checkpoint.load_replay(path))
        else:
            say(run, "the replay was not kept (training.keep_replay=true keeps it), it is empty")
    return progress


def say(run: Run, what: str) -> None:
    """Tell people about a run, beside its lines."""
    print(f"robolearn: {run.directory}: {what}", file=sys.stderr, flush=True)
