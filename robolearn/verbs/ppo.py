"""``verb: ppo``: improve a policy by proximal policy optimisation, and evaluate it."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from dataclasses import dataclass
from typing import Any

import pydantic

from robolearn.algos.ppo import PPO, PPOConfig
from robolearn.loops import checkpoint
from robolearn.loops.on_policy import OnlineConfig, OnPolicyLearner, Progress, online
from robolearn.running.config import EnvConfig
from robolearn.running.run import Run, kept_until, make_batch
from robolearn.types import VectorEnvironment
from robolearn.verbs.evaluate import EvaluationConfig, measure
from robolearn.viz.curves import draw_curve, read_curve


@dataclass(frozen=True)
class ImproveConfig:
    """Where a policy is improved, how, and how it is evaluated."""

    env: EnvConfig
    """The environment."""
    environments: pydantic.PositiveInt = 16
    """How many of them step together."""
    ppo: PPOConfig = PPOConfig()
    """Network and objective."""
    training: OnlineConfig = OnlineConfig()
    """Length, and how often the policy is improved."""
    evaluation: EvaluationConfig | None = EvaluationConfig(episodes=10, horizon=1000)
    """How many episodes, how long, and where they end; None for no evaluation."""


def improve(config: ImproveConfig, run: Run) -> dict[str, Any]:
    """Train, with checkpoints on the way, evaluate, draw ``report.png``, keep ``checkpoint/``.

    Summary: ``steps``, and under ``evaluation`` what ``robolearn.verbs.evaluate.measure`` gives.
    """
    with contextlib.closing(make_batch(config.env, config.environments)) as env:
        learner = train(PPO(env.interface, config.ppo, run.seed), env, config.training, run)
        updates = config.training.updates(env.num_envs)
        summary = {"steps": updates * config.training.horizon * env.num_envs}
        if config.evaluation is not None:
            summary["evaluation"] = measure(learner, env, config.env, config.evaluation, run)
    steps, returns = read_curve(run.path("metrics.jsonl"), "return")
    if len(steps):  # else no episode ended
        title = f"PPO on {config.env.name}, seed {run.seed}"
        draw_curve(steps, returns, "return of an episode", title, run.path("report.png"))
    checkpoint.save(run.path("checkpoint"), learner)
    return summary


def train(
    learner: OnPolicyLearner,
    env: VectorEnvironment,
    config: OnlineConfig,
    run: Run,
    hold: int = 1,
) -> OnPolicyLearner:
    """Train a fresh learner, or go on with the one that a stopped run left; give it trained.

    Every update is logged under the number of control steps taken by then, of which a step of
    ``env`` takes ``hold``. A KeyboardInterrupt that comes out says from where to go on.
    """
    folder, progress = run.path("checkpoint"), None
    if checkpoint.exists(folder):  # a resumed run
        restored = checkpoint.load_learner(folder, env.interface, own=[type(learner)])
        learner = restored.learner
        progress = checkpoint.checked(Progress, restored.counters, folder)
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
            run.log(updates * steps, **info, steps_per_s=round(steps / (now - begun), 1))
            begun = now

        def on_checkpoint(progress: Progress) -> None:
            nonlocal done
            checkpoint.save(folder, learner, dataclasses.asdict(progress))
            done = progress.updates

        try:
            online(
                learner, env, config, run.seed,
                progress=progress, on_update=on_update, on_checkpoint=on_checkpoint,
            )  # fmt: skip
        except KeyboardInterrupt:
            raise KeyboardInterrupt(kept_until(done * steps, first * steps)) from None
    return learner
