"""``verb: atla``: harden a policy by turns: an adversary learns, then the policy that it attacks.

ATLA, alternating training with learned adversaries (Zhang, Chen, Boning, Hsieh, ICLR 2021), with
RAT as the adversary: RAT-ATLA (Bai et al., AAAI 2025).
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import PositiveInt

from robolearn.algos.ppo import PPO
from robolearn.algos.rat import RATConfig
from robolearn.errors import UserError
from robolearn.files import make_folder
from robolearn.loops import checkpoint
from robolearn.loops.on_policy import OnlineConfig
from robolearn.perturbed import PerturbedVectorEnv
from robolearn.running.config import EnvConfig
from robolearn.running.run import Run, make_batch
from robolearn.state_attack import BudgetConfig
from robolearn.types import VectorEnvironment
from robolearn.verbs.adversaries import (
    AttackConfig,
    CollectionConfig,
    IntentionConfig,
    Parts,
    VictimConfig,
    another,
    prepare,
)
from robolearn.verbs.attack_methods import METHODS
from robolearn.verbs.evaluate import EvaluationConfig, measure
from robolearn.verbs.ppo import train


@dataclass(frozen=True)
class AtlaConfig:
    """Whose policy is hardened where, against whom, and for how long."""

    checkpoint: str
    """A checkpoint of ppo, a run that left one, or a folder of runs, whose newest one counts."""
    env: EnvConfig
    """Where it is attacked, and where it goes on learning."""
    intention: IntentionConfig
    """Whose behaviour the adversary wants."""
    turns: PositiveInt = 3
    """How often the adversary learns, and then the policy."""
    budget: BudgetConfig = BudgetConfig()
    """How far an observation may be perturbed."""
    rat: RATConfig = RATConfig(adversary_rate=1e-3)
    """Networks and objectives of the adversary."""
    collection: CollectionConfig = CollectionConfig()
    """Length of the adversary's training in a turn."""
    training: OnlineConfig = OnlineConfig(steps=200_000)
    """Length of the policy's training in a turn."""
    environments: PositiveInt = 8
    """How many environments step together while the policy learns."""
    evaluation: EvaluationConfig = EvaluationConfig(episodes=20, horizon=1000)
    """How many episodes, how long, and where they end; attacked ones are as long."""

    def attack(self) -> AttackConfig:
        """Give the configuration of the adversary."""
        return AttackConfig(
            env=self.env,
            victim=VictimConfig(self.checkpoint),
            intention=self.intention,
            budget=self.budget,
            rat=self.rat,
            collection=self.collection,
            evaluation=self.evaluation,
        )


def harden(config: AtlaConfig, run: Run) -> dict[str, Any]:
    """Take turns, evaluate without an attack, and leave the policy in ``checkpoint/``.

    Summary: ``steps`` that the policy learnt from, and under ``evaluation`` what
    ``robolearn.verbs.evaluate.measure`` gives. It goes on where a stopped run was: what is finished
    of ``turn-1/`` and so on is read.
    """
    parts = prepare(config.attack(), run)
    policy = parts.victim
    if not isinstance(policy, PPO):
        name = getattr(policy, "name", type(policy).__name__)
        raise UserError(f"checkpoint: goes on with a policy of ppo only, not with '{name}'")
    with contextlib.closing(make_batch(config.env, config.environments)) as envs:
        for turn in range(1, config.turns + 1):
            _take_turn(turn, policy, envs, config, parts)
        steps = config.turns * config.training.updates(envs.num_envs)
        steps *= config.training.horizon * envs.num_envs
    evaluation = measure(policy, parts.envs, config.env, config.evaluation, run)
    checkpoint.save(run.path("checkpoint"), policy)
    return {"steps": steps, "evaluation": evaluation}


def _take_turn(
    turn: int, policy: PPO, envs: VectorEnvironment, config: AtlaConfig, parts: Parts
) -> None:
    """Have an adversary learn, and the policy in spite of it."""
    seed, folder = parts.run.seed + turn, parts.run.path(f"turn-{turn}")
    with _run(folder / "adversary", seed) as run:
        one = another(parts, parts.config, run)
        adversary = METHODS["rat"](one)
    with _run(folder / "policy", seed) as run:
        train(policy, PerturbedVectorEnv(envs, adversary, one.budget), config.training, run)


def _run(folder: Path, seed: int) -> Run:
    make_folder(folder)
    return Run(folder, seed)
