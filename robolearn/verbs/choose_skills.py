"""``verb: choose``: learn by PPO which skill to use, or else the actions themselves, for a goal."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pydantic

from robolearn.algos.ppo import PPO, PPOConfig
from robolearn.errors import UserError, nearest
from robolearn.loops import checkpoint
from robolearn.loops.on_policy import OnlineConfig
from robolearn.running.config import EnvConfig
from robolearn.running.run import Run, make_batch
from robolearn.skills.actions import HeldSkills, SkillActions
from robolearn.skills.frozen import goals_of, load_skills, settle
from robolearn.types import Policy, Spec, VectorEnvironment
from robolearn.verbs.evaluate import EpisodesConfig
from robolearn.verbs.ppo import train
from robolearn.verbs.use_skills import bring
from robolearn.viz.curves import draw_curve, read_curve


@dataclass(frozen=True)
class ChooseConfig:
    """For which goals skills are chosen, and how that is learnt."""

    env: EnvConfig
    """The environment; its state shows the goals."""
    skills: str | None = "runs/slim_tabletop"
    """A run of ``slim``, a folder of such runs, whose newest one counts, or "scripted"; null: PPO
    from scratch on the actions themselves."""
    object: str = "cube"
    """Name of the object that is moved."""
    hold: pydantic.PositiveInt = 3
    """Control steps for which a skill is held."""
    environments: pydantic.PositiveInt = 64
    """How many of them step together."""
    ppo: PPOConfig = PPOConfig()
    """Network and objective; a step is one choice."""
    training: OnlineConfig = OnlineConfig()
    """Length, in control steps, also those within a skill that is held."""
    evaluation: EpisodesConfig = EpisodesConfig(episodes=100, horizon=50)
    """How many episodes, and how long, in control steps."""

    @property
    def pace(self) -> int:
        """Count the control steps of a choice."""
        return self.hold if self.skills is not None else 1


def choose(config: ChooseConfig, run: Run) -> dict[str, Any]:
    """Train, evaluate without exploring; keep ``checkpoint/``, ``report.png``, ``learning.png``.

    Summary: ``steps``, and what ``goal_metrics`` gives.
    """
    if config.skills is not None:
        config = dataclasses.replace(config, skills=settle(config.skills, run.path("skills.json")))
    with contextlib.closing(_make(config)) as env:
        goals = goals_of(env.interface)
        if config.object not in goals:
            raise UserError(f"object: no '{config.object}'{nearest(config.object, goals)}")
        training, pace = in_choices(config.training, config.pace), config.pace
        learner = train(PPO(env.interface, config.ppo, run.seed), env, training, run, pace)
        steps = training.updates(env.num_envs) * training.horizon * env.num_envs * pace
    title = f"{'PPO over skills' if config.skills else 'PPO from scratch'} on {config.env.name}"
    curve = read_curve(run.path("metrics.jsonl"), "success")
    if len(curve[0]):  # else no episode ended
        draw_curve(*curve, "success at the end, exploring", title, run.path("learning.png"))
    envs = run.make_envs(config.env, config.evaluation.episodes)
    policies = _policies(learner, config, envs.interface)
    found = bring(policies, envs, config.env, config.evaluation, run, title)
    checkpoint.save(run.path("checkpoint"), learner)
    return {"steps": steps, **found}


def _make(config: ChooseConfig) -> VectorEnvironment:
    env = make_batch(config.env, config.environments)
    if config.skills is None:
        return env
    skills = load_skills(config.skills, env.interface)
    return SkillActions(env, skills, config.object, config.hold)


def in_choices(training: OnlineConfig, pace: int) -> OnlineConfig:
    """Turn lengths in control steps into lengths in choices, each of ``pace`` control steps."""
    return dataclasses.replace(
        training,
        steps=max(1, training.steps // pace),
        horizon=max(1, training.horizon // pace),
    )


def _policies(learner: Policy, config: ChooseConfig, interface: Spec) -> Callable[[], Policy]:
    """Say how to make what was learnt a policy of the environment itself."""
    if config.skills is None:
        return lambda: learner
    skills = load_skills(config.skills, interface)
    return functools.partial(HeldSkills, learner, skills, config.object, config.hold)
