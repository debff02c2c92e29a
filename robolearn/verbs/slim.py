"""``verb: slim``: learn skills with one critic per reward, and measure what they do."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import pydantic

from robolearn import checkpoint
from robolearn.algos.slim import SLIM, SLIMConfig, prior
from robolearn.config import EnvConfig
from robolearn.registry import load
from robolearn.run import Run
from robolearn.skill_env import SkillEnv
from robolearn.skills import (
    MeasureConfig,
    draw_critics,
    draw_skill_map,
    require_measurable,
    skill_metrics,
    skill_paths,
)
from robolearn.train_online import OnlineConfig
from robolearn.verbs.evaluate import play
from robolearn.verbs.ppo import train


@dataclass(frozen=True)
class SkillsConfig:
    """Where skills are learnt, how, and how they are measured."""

    env: EnvConfig
    """The environment."""
    environments: pydantic.PositiveInt = 64
    """How many of them step together."""
    slim: SLIMConfig = SLIMConfig()
    """Rewards, network and objective."""
    training: OnlineConfig = OnlineConfig(steps=2_000_000, horizon=50)
    """Length, and how often the policy is improved."""
    measure: MeasureConfig = MeasureConfig()
    """How many skills, and what of them."""
    measured_in: EnvConfig | None = None
    """Where they are measured, if episodes begin elsewhere than in ``env``."""


def learn(config: SkillsConfig, run: Run) -> dict[str, Any]:
    """Train, measure the last policy; keep ``checkpoint/``, ``report.png`` and ``critics.png``.

    Summary: ``steps`` and what ``skill_metrics`` gives.
    """
    shown_in = config.measured_in or config.env
    with (
        contextlib.closing(_make(config.env, config)) as env,
        contextlib.closing(_make(shown_in, config)) as stage,
    ):
        env.interface.require(stage.interface, "env", "measured_in")
        require_measurable(stage, config.measure)  # now, not after the training
        learner = train(SLIM(env.interface, config.slim, run.seed), env, config.training, run)
        played = play(lambda: learner, stage, shown_in, config.measure, run, "measuring skills")
        episodes = list(played)
    if run.viewer is not None:
        run.viewer.log_paths(*skill_paths(episodes, env.interface, config.measure))
    title = f"SLIM on {config.env.name}, seed {run.seed}"
    draw_skill_map(episodes, env.interface, config.measure, title, run.path("report.png"))
    draw_critics(run.path("metrics.jsonl"), learner.heads, title, run.path("critics.png"))
    checkpoint.save(run.path("checkpoint"), learner)
    steps = config.training.updates(env.num_envs) * config.training.horizon * env.num_envs
    return {"steps": steps, **skill_metrics(episodes, env.interface, config.measure)}


def _make(env: EnvConfig, config: SkillsConfig) -> SkillEnv:
    batch = load("sim:make_vec")(env.name, config.environments, **env.options)
    skills = prior(config.slim)
    return SkillEnv(batch, skills.size, skills.draw)
