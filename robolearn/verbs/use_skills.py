"""``verb: rearrange``, ``follow``: use skills that were learnt, without learning."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from robolearn.errors import UserError
from robolearn.running.config import EnvConfig
from robolearn.running.run import Run
from robolearn.skills.frozen import goals_of, load_skills, settle
from robolearn.skills.goal_metrics import draw_traces, following_metrics, goal_metrics, trace
from robolearn.skills.goals import Follow, LeaveConfig, PathConfig, Rearrange, Towards
from robolearn.skills.rearrangement import PlannerConfig
from robolearn.types import Policy, VectorEnvironment
from robolearn.verbs.evaluate import EpisodesConfig, play


@dataclass(frozen=True)
class FollowConfig:
    """Which object follows which path."""

    env: EnvConfig
    """The environment."""
    skills: str = "runs/slim_tabletop"
    """A run of ``slim``, a folder of such runs, whose newest one counts, or "scripted"."""
    object: str = "cube"
    """The object's name."""
    path: PathConfig = PathConfig()
    """Where it shall be when."""
    leave: LeaveConfig = LeaveConfig(near_m=0.06)
    """When it is left for a new attempt: not while it is near."""
    evaluation: EpisodesConfig = EpisodesConfig(episodes=50, horizon=1000)
    """How many episodes, and how long at most: they end with the path."""


@dataclass(frozen=True)
class RearrangeConfig:
    """Where one object is brought to its goal, or several one after the other."""

    env: EnvConfig
    """The environment; its state shows the goals."""
    skills: str = "runs/slim_tabletop"
    """A run of ``slim``, a folder of such runs, whose newest one counts, or "scripted"."""
    leave: LeaveConfig = LeaveConfig()
    """When an object is left alone."""
    planner: PlannerConfig = PlannerConfig()
    """What moves cost."""
    evaluation: EpisodesConfig = EpisodesConfig(episodes=100, horizon=400)
    """How many episodes, and how long."""


def rearrange(config: RearrangeConfig, run: Run) -> dict[str, Any]:
    """Bring every object to its goal; draw ``report.png``. Summary: see ``goal_metrics``."""
    if config.leave.near_m >= config.planner.placed_m:
        raise UserError("leave.near_m: must be less than planner.placed_m, or moves never end")
    envs = run.make_envs(config.env, config.evaluation.episodes)
    skills = load_skills(settle(config.skills, run.path("skills.json")), envs.interface)
    towards = Towards(skills, envs.interface, config.leave)
    policies = functools.partial(Rearrange, towards, envs.interface, config.planner)
    title = f"skills on {config.env.name}"
    return bring(policies, envs, config.env, config.evaluation, run, title)


def bring(
    policies: Callable[[], Policy],
    envs: VectorEnvironment,
    env: EnvConfig,
    config: EpisodesConfig,
    run: Run,
    title: str,
) -> dict[str, Any]:
    """Run episodes with goals, draw ``report.png``, sum up."""
    episodes = list(play(policies, envs, env, config, run))
    names = list(goals_of(envs.interface))
    traces = [trace(episode, envs.interface, names) for episode in episodes]
    summary = goal_metrics(traces)
    title = f"{title}, seed {run.seed}: {summary['success']:.0%} there at the end"
    draw_traces(traces, title, envs.interface.period_s, run.path("report.png"))
    return summary


def follow(config: FollowConfig, run: Run) -> dict[str, Any]:
    """Let the object follow the path; draw ``report.png``. Summary: see ``following_metrics``."""
    envs = run.make_envs(config.env, config.evaluation.episodes)
    skills = load_skills(settle(config.skills, run.path("skills.json")), envs.interface)
    towards = Towards(skills, envs.interface, config.leave)
    period_s = envs.interface.period_s
    goals = config.path.goals(period_s)  # [T + 1, 3]
    horizon, waiting = min(config.evaluation.horizon, len(goals) - 1), config.path.waiting(period_s)
    if waiting >= horizon:
        raise UserError(f"path.wait_s: {waiting} control steps of {horizon}: the goal never moves")
    evaluation = dataclasses.replace(config.evaluation, horizon=horizon)
    policies = functools.partial(Follow, towards, config.object, goals, config.path.still_m)
    episodes = list(play(policies, envs, config.env, evaluation, run))
    if any(len(episode) < horizon and not episode.terminated for episode in episodes):
        raise UserError(f"env.options.horizon: the path takes {horizon} control steps")
    goals = goals[: horizon + 1]
    traces = [trace(episode, envs.interface, [config.object], goals) for episode in episodes]
    summary = following_metrics(traces, waiting)
    title = f"skills on {config.env.name}, seed {run.seed}: mean error {summary['error_m']:.3f} m"
    draw_traces(traces, title, period_s, run.path("report.png"))
    return summary
