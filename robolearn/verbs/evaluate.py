"""``verb: evaluate``: how well a policy from a checkpoint does."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pydantic

from robolearn.algos.detection import Guarded
from robolearn.errors import UserError
from robolearn.loops import checkpoint, parts
from robolearn.loops.evaluate import evaluate, evaluation_seeds, wilson_interval
from robolearn.loops.rollout import Job, rollouts
from robolearn.names import load, load_own
from robolearn.running.config import EnvConfig
from robolearn.running.launch import maker_of_run
from robolearn.running.run import Run
from robolearn.types import Episode, Policy, VectorEnvironment


@dataclass(frozen=True)
class EpisodesConfig:
    """How many episodes, and how long."""

    episodes: pydantic.PositiveInt = 50
    """Each has its own seed, which follows from the run's."""
    horizon: pydantic.PositiveInt = 400
    """Longest episode, in control steps."""
    recorded: pydantic.NonNegativeInt = 3
    """How many of the first episodes the viewer shows, if there is one."""


@dataclass(frozen=True)
class EvaluationConfig(EpisodesConfig):
    """How many episodes, how long, and where they end."""

    whole: bool | None = None
    """Whether an episode goes on after success, else: terminate on success; None: it goes on if the
    policy was learnt from rewards."""


@dataclass(frozen=True)
class EvaluateConfig:
    """Which policy is evaluated where."""

    checkpoint: str
    """A checkpoint, a run that left one, or a folder of runs, whose newest one counts."""
    env: EnvConfig
    """The environment; it must fit what the policy was trained on, but may show more."""
    learner: str | None = None
    """``module:Class`` of the policy, if it is one's own and no installed package publishes it."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """How many episodes, how long, and where they end."""


def evaluate_policy(config: EvaluateConfig, run: Run) -> dict[str, Any]:
    """Load the policy and evaluate it; see ``measure`` for the summary."""
    own = [] if config.learner is None else [_learner(config.learner)]
    folder = checkpoint.newest(Path(config.checkpoint))
    if not checkpoint.exists(folder):
        hint = maker_of_run(config.checkpoint)
        raise UserError(f"checkpoint: none in {config.checkpoint}{hint}")
    envs = run.make_envs(config.env, config.evaluation.episodes)
    seen = parts.shown(envs.interface, checkpoint.read_spec(folder))
    policy = checkpoint.load_policy(folder, seen, own)
    if own and type(policy) is not own[0]:
        raise UserError(
            f"learner: {config.learner} is called '{own[0].name}', the one in {folder} "
            f"'{policy.name}'"
        )
    policy = parts.sighted(policy, envs.interface, seen)
    return measure(policy, envs, config.env, config.evaluation, run)


def _learner(name: str) -> type[checkpoint.Storable]:
    """Load a class of one's own; UserError for what is no class, or has no ``name``."""
    found = load_own(name, "learner")
    if not isinstance(found, type) or not isinstance(getattr(found, "name", None), str):
        raise UserError(f"learner: {name} must be a class with a name, as checkpoints have it")
    return found


def measure(
    policy: Policy, envs: VectorEnvironment, env: EnvConfig, config: EvaluationConfig, run: Run
) -> dict[str, Any]:
    """Run the episodes, and write ``evaluation/`` with the seed and start state of each.

    The viewer, if there is one, replays episodes in an environment of its own, ``env``. Summary:
    see ``Evaluation.summary``; of a policy with a detector also ``alarmed``, the share of episodes
    with an alarm, with its Wilson interval.
    """
    shown, alarmed = 0, []
    acting = policy.policy if isinstance(policy, parts.Sighted) else policy
    stage = run.make_env(env) if run.viewer is not None and config.recorded else None
    seeds = evaluation_seeds(run.seed, config.episodes)
    with run.counter(config.episodes, "evaluation") as counter:

        def on_episode(episode: Episode) -> None:
            nonlocal shown
            counter.update()
            if isinstance(acting, Guarded):  # one episode at a time
                alarmed.append(bool(acting.alarms.any()))
            result = {
                "success": float(episode.success),
                "return": float(episode.rewards.sum()),
                "length": len(episode),
            }
            run.log(counter.n, **{f"evaluation/{name}": value for name, value in result.items()})
            if stage is not None and shown < config.recorded:
                load("robolearn.viz:replay_episode")(run.viewer, stage, episode)
                shown += 1

        evaluation = evaluate(
            envs, policy, seeds, config.horizon,
            whole=config.whole, keep_states=stage is not None, on_episode=on_episode,
        )  # fmt: skip
    evaluation.save(run.path("evaluation"))
    return evaluation.summary() | (share("alarmed", alarmed) if alarmed else {})


def share(name: str, happened: Sequence[bool]) -> dict[str, Any]:
    """Give how often something happened, with its Wilson interval."""
    interval = list(wilson_interval(sum(happened), len(happened)))
    return {name: sum(happened) / len(happened), f"{name}_interval": interval}


class Whole(Protocol):
    """How many episodes, how long, and how many of them the viewer shows."""

    episodes: int
    horizon: int
    recorded: int


def play(
    policies: Callable[[], Policy],
    envs: VectorEnvironment,
    shown_in: EnvConfig,
    config: Whole,
    run: Run,
    what: str = "episodes",
) -> Iterator[Episode]:
    """Run whole episodes without exploring, each with a policy of its own; give them as they end.

    The viewer, if there is one, replays the first ones in an environment of its own, whose states
    are the first part of those of ``envs``.
    """
    stage = run.make_env(shown_in) if run.viewer is not None and config.recorded else None
    if stage is not None:
        stage.reset(seed=run.seed)  # before that it has no state, whose size is asked for below
    jobs = [Job(policies(), seed) for seed in evaluation_seeds(run.seed, config.episodes)]
    whole = {"horizon": config.horizon, "settle_steps": config.horizon}
    with run.counter(config.episodes, what) as counter:
        for episode, _ in rollouts(envs, jobs, **whole, keep_states=stage is not None):
            if stage is not None and counter.n < config.recorded:
                states = episode.states[:, : stage.get_state().size]
                shown = dataclasses.replace(episode, states=states)
                load("robolearn.viz:replay_episode")(run.viewer, stage, shown)
            counter.update()
            yield episode
