"""What demonstrations are worth: a policy of the base's, one of the base's and these, evaluated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import PositiveInt

from demos.data.arrays import Demonstrations
from robolearn.algos.bc import BCConfig, BehaviorCloning
from robolearn.judging.calibration import SMALL_NETWORK
from robolearn.judging.demonstrations import Demonstration, transitions
from robolearn.loops.evaluate import evaluate, evaluation_seeds
from robolearn.loops.offline import OfflineConfig, offline
from robolearn.settings import Settings
from robolearn.types import Episode, Spec, VectorEnvironment


@dataclass(frozen=True)
class GainConfig(Settings):
    """How policies are trained and evaluated, with and without a person's demonstrations."""

    bc: BCConfig = SMALL_NETWORK
    """Network and optimiser."""
    training: OfflineConfig = OfflineConfig(validation_share=0.2)
    """Length and batches."""
    seeds: PositiveInt = 1
    """Trainings of each; success is their mean."""
    episodes: PositiveInt = 50
    """Evaluation episodes of a training."""
    horizon: PositiveInt = 400
    """Longest one, steps."""


def gain(
    config: GainConfig,
    base: Demonstrations,
    kept: Sequence[Episode],
    envs: VectorEnvironment,
    seed: int,
    on_policy: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Train from scratch on the base, and on the base and what was kept; evaluate both.

    Both meet the same start states. ``{"base": success, "with_kept": success, "kept": n,
    "episodes": of each}``, the shares of successful episodes; ``on_policy`` hears of each policy
    that is evaluated. The environment shows a "state" only.
    """
    demonstrations = list(zip(base.states, base.actions, strict=True))
    new = [(one.observations["state"][:-1], one.actions) for one in kept]
    found: dict[str, Any] = {}
    for name, data in (("base", demonstrations), ("with_kept", demonstrations + new)):
        rates = []
        for training in range(config.seeds):
            policy = _cloned(config, data, envs.interface, seed + training)
            starts = evaluation_seeds(seed, config.episodes)
            rates.append(evaluate(envs, policy, starts, config.horizon).success)
            on_policy()
        found[name] = float(np.mean(rates))
    return found | {"kept": len(new), "episodes": config.seeds * config.episodes}


def said(found: dict[str, Any]) -> str:
    """Say it in a line: "your 5 demonstrations: 62% -> 81%"."""
    one = found["kept"] == 1
    return (
        f"your {found['kept']} demonstration{'' if one else 's'}: "
        f"{found['base']:.0%} -> {found['with_kept']:.0%}"
    )


def _cloned(
    config: GainConfig, data: Sequence[Demonstration], interface: Spec, seed: int
) -> BehaviorCloning:
    policy = BehaviorCloning(interface, config.bc, seed)
    offline(policy, transitions(data), config.training, seed)
    return policy
