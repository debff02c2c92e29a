"""The methods of attack: what each of them makes of a victim, an intention and a budget."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from robolearn.algos.pa_ad import PAAD
from robolearn.algos.pgd import PGD
from robolearn.algos.ppo import PPO
from robolearn.algos.rat import RAT
from robolearn.algos.sa_rl import SARL
from robolearn.attack import Attacked, Handover, Perturbation
from robolearn.errors import DataError
from robolearn.image_attack import ImagesBudget, RandomImages
from robolearn.loops import checkpoint
from robolearn.loops.attacking import Collected, attacking
from robolearn.loops.held import Held
from robolearn.perturbed import Actor, AdversaryEnv, Directed
from robolearn.rewards.base import Terms
from robolearn.running.run import kept_until, make_batch
from robolearn.state_attack import RandomPerturbation
from robolearn.verbs.adversaries import Method, Parts, knowing
from robolearn.verbs.ppo import train
from robolearn.verbs.preferences import opened

SEEN = "observations/"  # in a checkpoint, before the names of what was collected


def _random(parts: Parts) -> Perturbation:
    if isinstance(parts.budget, ImagesBudget):
        return RandomImages(parts.budget)
    return RandomPerturbation(parts.budget)


def _pgd(parts: Parts) -> Perturbation:
    return PGD(parts.victim, parts.intention, parts.budget, parts.config.pgd)


def _rat(parts: Parts) -> Perturbation:
    """Train RAT's adversary on what the attacked victim and the intention reach.

    It goes on where a stopped run has left one. A KeyboardInterrupt that comes out says from where.
    """
    config, seed, run = parts.config.collection, parts.run.seed, parts.run
    learner = RAT(parts.victim, parts.intention, parts.budget, parts.config.rat, seed, parts.value)
    rng, env = np.random.default_rng(seed), run.make_env(parts.config.env)
    attacked = Attacked(parts.victim, knowing(parts, learner, descends=False), parts.budget, seed)
    collector = parts.intention
    if parts.config.preferences is None or parts.config.intending.combined:
        collector = Handover(attacked, parts.intention, parts.horizon, rng)
    begun = _go_on(learner, run.path("checkpoint"), rng, parts.rng)
    done = begun.rounds * config.updates if begun else 0
    run.go_on(done, "update")
    with run.counter(config.rounds * config.updates, "training", "updates", done) as counter:

        def on_round(collected: Collected, info: dict[str, float]) -> None:
            nonlocal done
            counter.update(config.updates)
            run.log(collected.rounds * config.updates, **info)
            _save(learner, run.path("checkpoint"), collected, rng, parts.rng)
            done = collected.rounds * config.updates

        try:
            attacking(learner, env, collector, config, parts.horizon, rng, on_round, begun)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(kept_until(done, config.updates, "update")) from None
    return learner


def _save(learner: RAT, path: Path, collected: Collected, *rngs: np.random.Generator) -> None:
    """Write the adversary's weights, its budget's radius [P], and what going on needs."""
    tensors = learner.state_dict() | {"budget/radius": learner.budget.radius}
    training = learner.training_state()
    for name, array in collected.observations.items():
        training[f"{SEEN}{name}"] = torch.from_numpy(array)
    if collected.moments is not None:
        training["moments"] = torch.from_numpy(collected.moments)
    counters = {"rounds": collected.rounds, "rngs": [rng.bit_generator.state for rng in rngs]}

    def fill(folder: Path) -> None:
        (folder / "training").mkdir()
        (folder / "spec.json").write_text(learner.victim.interface.to_json())
        (folder / "training" / "counters.json").write_text(json.dumps(counters))
        checkpoint.write_tensors(folder / "training" / "state.safetensors", training)
        checkpoint.write_tensors(folder / "weights.safetensors", tensors)

    checkpoint.write_folder(path, fill)


def _go_on(learner: RAT, path: Path, *rngs: np.random.Generator) -> Collected | None:
    """Put adversary and generators where a stopped run has left them, if there is one."""
    folder = checkpoint.find(path, ["training/counters.json"])
    if folder is None:
        return None
    begun = checkpoint.checked(_Begun, checkpoint.read_counters(folder), folder)
    weights = checkpoint.read_tensors(folder / "weights.safetensors")
    learner.load_state_dict({k: v for k, v in weights.items() if k != "budget/radius"})
    training = checkpoint.load_training(folder / "training" / "state.safetensors", learner)
    for rng, state in zip(rngs, begun.rngs, strict=True):
        rng.bit_generator.state = state
    moments = training["moments"].numpy() if "moments" in training else None
    seen = {k.removeprefix(SEEN): t.numpy() for k, t in training.items() if k.startswith(SEEN)}
    if seen.keys() != set(learner.budget.told):
        wanted = ", ".join(learner.budget.told)
        raise DataError(f"{folder}: it has not collected {wanted}: written by an older version?")
    return Collected(begun.rounds, seen, moments)


@dataclass(frozen=True)
class _Begun:
    """What a stopped run of RAT has counted."""

    rounds: int
    rngs: list[dict[str, Any]]


def _sa_rl(parts: Parts) -> Perturbation:
    return _reinforced(parts, SARL(parts.victim, parts.budget))


def _pa_ad(parts: Parts) -> Perturbation:
    return _reinforced(parts, PAAD(parts.victim, parts.budget))


def _reinforced(parts: Parts, actor: Actor) -> Perturbation:
    """Let PPO learn what an actor shall carry out."""
    config, run = parts.config, parts.run
    streams = {"wanted": Terms("reward", config.reward)} if config.reward else None
    with contextlib.closing(make_batch(config.env, config.environments)) as envs:
        env = Held(AdversaryEnv(envs, actor), config.hold)
        with opened(config.preferences, env, config.env, run, config.hold) as preferences:
            streams = preferences.streams or streams
            policy = PPO(env.interface, config.ppo, run.seed, streams=streams)
            policy = train(policy, env, config.decisions, run, config.hold, preferences)
            parts.told.update(preferences.summary())
    return Directed(policy, actor)


METHODS: dict[Method, Callable[[Parts], Perturbation]] = {
    "random": _random,
    "pgd": _pgd,
    "rat": _rat,
    "sa_rl": _sa_rl,
    "pa_ad": _pa_ad,
}
