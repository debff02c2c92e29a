"""``verb: evaluate``: how often a policy from a checkpoint succeeds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydantic

from robolearn import checkpoint
from robolearn.config import EnvConfig
from robolearn.evaluate import evaluate
from robolearn.registry import load
from robolearn.run import Run
from robolearn.types import Environment, Episode, Policy


@dataclass(frozen=True)
class EvaluationConfig:
    """How many episodes, and how long."""

    episodes: pydantic.PositiveInt = 50
    """Each has its own seed, which follows from the run's."""
    horizon: pydantic.PositiveInt = 400
    """Longest episode, in control steps."""
    recorded: pydantic.NonNegativeInt = 3
    """How many of the first episodes the viewer shows, if there is one."""


@dataclass(frozen=True)
class EvaluateConfig:
    """Which policy is evaluated where."""

    checkpoint: str
    """A run that left a checkpoint, or the checkpoint's own folder."""
    env: EnvConfig
    """The environment; it must fit what the policy was trained on."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """How many episodes, and how long."""


def evaluate_policy(config: EvaluateConfig, run: Run) -> dict[str, Any]:
    """Load the policy and evaluate it; see ``measure`` for the summary."""
    env = run.make_env(config.env)
    folder = Path(config.checkpoint)
    inside = folder / "checkpoint"
    policy = checkpoint.load_policy(inside if inside.is_dir() else folder, env.interface)
    return measure(policy, env, config.evaluation, run)


def measure(policy: Policy, env: Environment, config: EvaluationConfig, run: Run) -> dict[str, Any]:
    """Run the episodes, and write ``evaluation/`` with the seed and start state of each.

    Summary: ``success``, its 95% Wilson ``interval``, ``episodes``.
    """
    shown = 0
    seeds = np.random.SeedSequence(run.seed).generate_state(config.episodes).tolist()
    with run.counter(config.episodes, "evaluation") as counter:

        def on_episode(episode: Episode) -> None:
            nonlocal shown
            counter.update()
            run.log(counter.n, success=float(episode.success), length=len(episode))
            if run.viewer is not None and shown < config.recorded:
                load("robolearn.viz:replay_episode")(run.viewer, env, episode)
                shown += 1

        evaluation = evaluate(env, policy, seeds, config.horizon, on_episode=on_episode)
    evaluation.save(run.path("evaluation"))
    return evaluation.summary()
