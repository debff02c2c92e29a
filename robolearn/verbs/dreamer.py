"""``verb: dreamer`` and ``infopower``: learn a world model from images and a policy in its
imagination.
"""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import dataclass
from typing import Any

import pydantic

from robolearn.algos.dreamer import Dreamer, DreamerConfig, DreamingConfig
from robolearn.algos.infopower import InfoPower, InfoPowerConfig
from robolearn.errors import UserError
from robolearn.loops import checkpoint
from robolearn.loops.moments import Moments
from robolearn.loops.off_policy import OffPolicyConfig
from robolearn.networks.devices import Device, device_of
from robolearn.networks.world import SIZES
from robolearn.running.config import EnvConfig
from robolearn.running.run import Run, make_batch
from robolearn.verbs.dreaming import show
from robolearn.verbs.evaluate import EvaluationConfig, measure
from robolearn.verbs.preferences import UNASKED
from robolearn.verbs.sac import say, train


@dataclass(frozen=True)
class SequencesConfig(OffPolicyConfig):
    """Length, replay, and how often the networks are improved."""

    steps: pydantic.PositiveInt = 50_000
    """Control steps to learn from, of all environments together."""
    random_steps: pydantic.NonNegativeInt = 1_000
    """The first of them, in which actions are random and nothing is learnt."""
    updates_per_step: pydantic.PositiveFloat = 0.2
    """Updates for each further control step."""
    batch: pydantic.PositiveInt | None = None
    """Sequences in an update; None: as the learner's size says."""
    length: pydantic.PositiveInt | None = None
    """Moments of a sequence; None: as the learner's size says."""
    capacity: pydantic.PositiveInt = 100_000
    """Moments that are remembered, images once; the oldest are forgotten."""


@dataclass(frozen=True)
class ImaginedConfig:
    """Where a policy is learnt and evaluated."""

    env: EnvConfig
    """The environment, with ``cameras`` of 64 x 64 pixels."""
    evaluated_in: EnvConfig | None = None
    """Where it is evaluated, for other distractors than it was learnt with; None: in ``env``."""
    environments: pydantic.PositiveInt = 1
    """How many of them step together."""
    training: SequencesConfig = SequencesConfig()
    """Length, replay, and how often the networks are improved."""
    device: Device = "cpu"
    """Where the networks compute; "cuda" for a GPU."""
    evaluation: EvaluationConfig | None = EvaluationConfig(episodes=10, horizon=1000)
    """How many episodes, how long, and where they end; None for no evaluation."""


@dataclass(frozen=True)
class ImagineConfig(ImaginedConfig):
    """Where a policy is learnt, how, and how it is evaluated."""

    dreamer: DreamerConfig = DreamerConfig()
    """Networks and objectives."""


def learn(config: ImagineConfig, run: Run) -> dict[str, Any]:
    """Train, with checkpoints on the way, evaluate, keep ``checkpoint/``; see ``imagine``."""
    return imagine(Dreamer, config.dreamer, config, run)


@dataclass(frozen=True)
class EmpowerConfig(ImaginedConfig):
    """Where a policy is learnt, how, and how it is evaluated."""

    infopower: InfoPowerConfig = InfoPowerConfig()
    """Networks and objectives."""


def empower(config: EmpowerConfig, run: Run) -> dict[str, Any]:
    """Do the same with a world model that stores what can be controlled."""
    return imagine(InfoPower, config.infopower, config, run)


def imagine(
    kind: type[Dreamer], settings: DreamingConfig, config: ImaginedConfig, run: Run
) -> dict[str, Any]:
    """Train a learner of a kind with its settings.

    Summary: ``steps``, ``replay_bytes``, under ``losses`` every scalar that was logged last, by
    name, and under ``evaluation`` what ``robolearn.verbs.evaluate.measure`` gives. What the model
    makes of an episode is drawn, see ``robolearn.verbs.dreaming.show``.
    """
    training, where = _sized(config, SIZES[settings.size]), config.evaluated_in or config.env
    with contextlib.closing(make_batch(config.env, config.environments)) as env:
        learner = kind(env.interface, settings, run.seed, device_of(config.device))
        stage, n = run.make_env(where), env.num_envs
        learner.interface.require(stage.interface, "the policy", "evaluated_in")
        replay = Moments(env.interface, training.capacity, n, training.length)
        say(run, f"the replay of {training.capacity:,} takes {replay.nbytes / 1e6:,.0f} MB")
        losses = train(learner, env, training, run, replay, UNASKED)
        summary = {
            "steps": training.rounds(n) * n, "replay_bytes": replay.nbytes, "losses": losses,
        }  # fmt: skip
    if config.evaluation is not None:
        envs = run.make_envs(where, config.evaluation.episodes)
        summary["evaluation"] = measure(learner, envs, where, config.evaluation, run)
        show(learner, stage, run)
    checkpoint.save(run.path("checkpoint"), learner)  # one that was stopped before can go on
    return summary


def _sized(config: ImaginedConfig, sizes: Any) -> SequencesConfig:
    """Give the training with what the learner's size says; UserError where nothing can be drawn."""
    training, n = config.training, config.environments
    training = dataclasses.replace(
        training, batch=training.batch or sizes.batch, length=training.length or sizes.length
    )
    if training.random_steps < training.length * n:
        raise UserError(
            f"training.random_steps: {training.random_steps} steps of {n} environments hold no "
            f"sequence of {training.length}; {training.length * n} would be right"
        )
    return training
