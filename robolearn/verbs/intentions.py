"""An intention that nobody can show, learnt from answers beside an adversary towards it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from robolearn.algos.gaussians import GaussianExpert
from robolearn.algos.intending import Intending
from robolearn.algos.intending_ppo import RolloutIntending
from robolearn.algos.intending_sac import ReplayIntending, ScaledSAC
from robolearn.algos.ppo import PPO
from robolearn.algos.rat import RAT, Value
from robolearn.attack import Attacked, Victim
from robolearn.loops.handing_over import HandedOver
from robolearn.loops.held import Held
from robolearn.running.run import Run, make_batch
from robolearn.state_attack import Budget
from robolearn.types import VectorEnvironment
from robolearn.verbs import ppo, sac
from robolearn.verbs.preferences import Preferences, opened

if TYPE_CHECKING:
    from robolearn.verbs.adversaries import AttackConfig

FOLDER = "intention"  # of its checkpoints, in a run


@dataclass(frozen=True)
class Intended:
    """What was learnt."""

    intention: GaussianExpert
    value: Value | None  # what its actions are worth, if states are weighed
    told: dict[str, Any]  # for the summary


def intend(
    config: AttackConfig, run: Run, victim: Victim, budget: Budget, states: torch.Tensor
) -> Intended:
    """Learn an intention, or go on where a stopped run has left one.

    ``states`` [M, O] are those that the victim sees without an attack.
    """
    with (
        contextlib.closing(make_batch(config.env, config.environments)) as envs,
        opened(
            config.preferences, Held(envs, config.hold), config.env, run, config.hold
        ) as preferences,
    ):
        replays = config.intending.learner == "sac"
        learns, settings = (ScaledSAC, config.sac) if replays else (PPO, config.ppo)
        policy = learns(envs.interface, settings, run.seed, streams=preferences.streams)
        squashed = victim.distribution(states[:1]).squashed
        aim = GaussianExpert(policy, config.intending.std, squashed)
        adversary = RAT(victim, aim, budget, config.rat, run.seed)
        kind = ReplayIntending if replays else RolloutIntending
        learner, begun = kind(policy, adversary, config.intending, run.seed), None
        learner.clone(states)
        if config.intending.combined:
            attacked = Attacked(victim, adversary, budget, run.seed)
            envs = begun = HandedOver(envs, attacked, config.intending.latest)
            learner.begun = begun.begun
        _train(learner, Held(envs, config.hold), config, run, preferences)
        told = preferences.summary() | {"begun": 0 if begun is None else begun.steps}
    return Intended(aim, adversary.q, told)


def _train(
    learner: Intending,
    env: VectorEnvironment,
    config: AttackConfig,
    run: Run,
    preferences: Preferences,
) -> None:
    if isinstance(learner, RolloutIntending):
        ppo.train(learner, env, config.decisions, run, config.hold, preferences, folder=FOLDER)
        return
    replay = preferences.memory(env, config.replayed.capacity, run.seed)
    sac.train(
        learner, env, config.replayed, run, replay, preferences, hold=config.hold, folder=FOLDER
    )
