"""``verb: slim``: learn skills with one critic per reward, and measure what they do;
``verb: measure``: measure skills that were learnt before.
"""

from __future__ import annotations

import contextlib
import functools
from dataclasses import dataclass
from typing import Any

import pydantic

from robolearn.algos.slim import SLIM, SLIMConfig, prior
from robolearn.loops import checkpoint
from robolearn.loops.collecting import WorkersConfig
from robolearn.loops.on_policy import OnlineConfig
from robolearn.running.config import EnvConfig
from robolearn.running.run import Run, make_batch
from robolearn.skills.env import SkillEnv
from robolearn.skills.frozen import load_learnt, newest_skills
from robolearn.skills.measures import (
    MeasureConfig,
    draw_critics,
    draw_skill_map,
    require_measurable,
    skill_metrics,
    skill_paths,
)
from robolearn.verbs.evaluate import play
from robolearn.verbs.ppo import train
from robolearn.verbs.workers import ROLLOUTS, dealt, require_dealt


@dataclass(frozen=True)
class SkillsConfig:
    """Where skills are learnt, how, and how they are measured."""

    env: EnvConfig
    """The environment."""
    environments: pydantic.PositiveInt = 64
    """How many of them step together."""
    workers: WorkersConfig | None = None
    """Who has them in training; None: this process."""
    slim: SLIMConfig = SLIMConfig()
    """Rewards, network and objective."""
    training: OnlineConfig = OnlineConfig(steps=2_000_000, horizon=50)
    """Length, and how often the policy is improved."""
    measure: MeasureConfig = MeasureConfig()
    """How many skills, and what of them."""
    measured_in: EnvConfig | None = None
    """Where they are measured, if episodes begin elsewhere than in ``env``."""

    def __post_init__(self) -> None:
        require_dealt(self.environments, self.workers)


def learn(config: SkillsConfig, run: Run) -> dict[str, Any]:
    """Train, measure the last policy; keep ``checkpoint/``, ``report.png`` and ``critics.png``.

    Summary: ``steps`` and what ``skill_metrics`` gives.
    """
    shown_in = config.measured_in or config.env
    with (
        contextlib.closing(_make(config.env, config.environments, config.slim)) as env,
        contextlib.closing(_make(shown_in, config.environments, config.slim)) as stage,
    ):
        env.interface.require(stage.interface, "env", "measured_in")
        require_measurable(stage, config.measure)  # now, not after the training
        learner = SLIM(env.interface, config.slim, run.seed)
        make = functools.partial(_make, config.env, slim=config.slim)
        with dealt(ROLLOUTS, config.workers, make, env, learner, config.training, run) as workers:
            train(learner, env, config.training, run, workers=workers)
        title = f"SLIM on {config.env.name}, seed {run.seed}"
        found = _measure(learner, stage, shown_in, config.measure, run, title)
    draw_critics(run.path("metrics.jsonl"), learner.heads, title, run.path("critics.png"))
    checkpoint.save(run.path("checkpoint"), learner)
    steps = config.training.updates(env.num_envs) * config.training.horizon * env.num_envs
    return {"steps": steps, **found}


@dataclass(frozen=True)
class RemeasureConfig:
    """Which skills are measured where."""

    env: EnvConfig
    """The environment; it must fit what the skills were learnt on."""
    skills: str = "runs/slim_tabletop"
    """A run of ``slim``, or a folder of such runs, whose newest one counts."""
    environments: pydantic.PositiveInt = 64
    """How many of them step together."""
    measure: MeasureConfig = MeasureConfig()
    """How many skills, and what of them."""


def remeasure(config: RemeasureConfig, run: Run) -> dict[str, Any]:
    """Measure the skills of a run that ended; keep ``report.png``.

    Summary: what ``skill_metrics`` gives. A seed other than the run's draws other skills and
    starts.
    """
    folder = newest_skills(config.skills)
    learner = load_learnt(folder)
    with contextlib.closing(_make(config.env, config.environments, learner.config)) as stage:
        learner.interface.require(stage.interface, "skills", "env")
        require_measurable(stage, config.measure)
        title = f"skills on {config.env.name}, seed {run.seed}"
        return _measure(learner, stage, config.env, config.measure, run, title)


def _measure(
    learner: SLIM, stage: SkillEnv, env: EnvConfig, config: MeasureConfig, run: Run, title: str
) -> dict[str, Any]:
    """Give what ``skill_metrics`` gives; draw ``report.png``."""
    episodes = list(play(lambda: learner, stage, env, config, run, "measuring skills"))
    if run.viewer is not None:
        run.viewer.log_paths(*skill_paths(episodes, stage.interface, config))
    draw_skill_map(episodes, stage.interface, config, title, run.path("report.png"))
    return skill_metrics(episodes, stage.interface, config)


def _make(env: EnvConfig, environments: int, slim: SLIMConfig, **options: Any) -> SkillEnv:
    batch = make_batch(env, environments, **options)
    skills = prior(slim)
    return SkillEnv(batch, skills.size, skills.draw)
