"""``verb: slim``: learn skills with one critic per reward, and measure what they do."""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import pydantic

from robolearn import checkpoint
from robolearn.algos.slim import SLIM, SLIMConfig, prior
from robolearn.config import EnvConfig
from robolearn.registry import load
from robolearn.rollout import Job, rollouts
from robolearn.run import Run
from robolearn.skill_env import SkillEnv
from robolearn.skills import MeasureConfig, draw_critics, draw_skill_map, skill_metrics
from robolearn.train_online import OnlineConfig
from robolearn.types import Episode, Policy
from robolearn.verbs.ppo import train


@dataclass(frozen=True)
class SkillsConfig:
    """Where skills are learnt, how, and how they are measured."""

    env: EnvConfig
    """The environment."""
    environments: pydantic.PositiveInt = 128
    """How many of them step together."""
    slim: SLIMConfig = SLIMConfig()
    """Rewards, network and objective."""
    training: OnlineConfig = OnlineConfig(steps=2_000_000, horizon=25)
    """Length, and how often the policy is improved."""
    measure: MeasureConfig = MeasureConfig()
    """How many skills, and what of them."""


def learn(config: SkillsConfig, run: Run) -> dict[str, Any]:
    """Train, measure the last policy; keep ``checkpoint/``, ``report.png`` and ``critics.png``.

    Summary: ``steps`` and what ``skill_metrics`` gives.
    """
    make, skills = load("sim:make_vec"), prior(config.slim)
    batch = make(config.env.name, config.environments, **config.env.options)
    with contextlib.closing(SkillEnv(batch, skills.size, skills.draw)) as env:
        learner = train(SLIM(env.interface, config.slim, run.seed), env, config.training, run)
        episodes = run_skills(learner, env, config, run)
    title = f"SLIM on {config.env.name}, seed {run.seed}"
    draw_skill_map(episodes, env.interface, config.measure, title, run.path("report.png"))
    draw_critics(run.path("metrics.jsonl"), learner.heads, title, run.path("critics.png"))
    checkpoint.save(run.path("checkpoint"), learner)
    steps = config.training.updates(env.num_envs) * config.training.horizon * env.num_envs
    return {"steps": steps, **skill_metrics(episodes, env.interface, config.measure)}


def run_skills(policy: Policy, env: SkillEnv, config: SkillsConfig, run: Run) -> list[Episode]:
    """Run whole episodes without exploring; the viewer, if there is one, replays the first ones."""
    settings, episodes = config.measure, []
    stage = run.make_env(config.env) if run.viewer is not None and settings.recorded else None
    seeds = np.random.SeedSequence(run.seed).generate_state(settings.episodes).tolist()
    whole = {"horizon": settings.horizon, "settle_steps": settings.horizon}
    jobs = [Job(policy, seed) for seed in seeds]
    with run.counter(settings.episodes, "measuring skills") as counter:
        for episode, _ in rollouts(env, jobs, **whole, keep_states=stage is not None):
            episodes.append(episode)
            if stage is not None and len(episodes) <= settings.recorded:
                states = episode.states[:, : stage.get_state().size]  # without the skill
                shown = dataclasses.replace(episode, states=states)
                load("robolearn.viz:replay_episode")(run.viewer, stage, shown)
            counter.update()
    return episodes
