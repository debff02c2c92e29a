"""What attacks are made of: a victim, an intention, a budget, and a method to be configured."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from annotated_types import Gt, Le
from pydantic import PositiveFloat, PositiveInt

from robolearn.algos.bc import BehaviorCloning
from robolearn.algos.gaussians import GaussianClone, GaussianExpert
from robolearn.algos.pa_ad import PAAD
from robolearn.algos.pgd import PGD, PGDConfig
from robolearn.algos.ppo import PPO, PPOConfig
from robolearn.algos.rat import RAT, RATConfig
from robolearn.algos.sa_rl import SARL
from robolearn.attack import (
    Attacked,
    Budget,
    BudgetConfig,
    Handover,
    Perturbation,
    RandomPerturbation,
    require_distribution,
    require_victim,
)
from robolearn.errors import UserError
from robolearn.loops import checkpoint
from robolearn.loops.attacking import CollectionConfig, attacking
from robolearn.loops.evaluate import evaluate
from robolearn.loops.on_policy import OnlineConfig
from robolearn.names import load, load_own
from robolearn.perturbed import Actor, AdversaryEnv, Directed
from robolearn.rewards.base import Terms
from robolearn.running.config import EnvConfig
from robolearn.running.launch import maker_of_run
from robolearn.running.run import Run, make_batch
from robolearn.settings import Settings
from robolearn.types import Policy, Spec, VectorEnvironment
from robolearn.verbs.evaluate import EvaluationConfig
from robolearn.verbs.ppo import train

Method = Literal["rat", "pgd", "random", "sa_rl", "pa_ad"]
TOWARDS = ("rat", "pgd")  # methods that need an intention
WHITE_BOX = (*TOWARDS, "pa_ad")  # methods that need the victim's gradients


@dataclass(frozen=True)
class VictimConfig(Settings):
    """Who is attacked."""

    checkpoint: str
    """A checkpoint, a run that left one, or a folder of runs, whose newest one counts."""
    std: PositiveFloat = 0.1
    """Spread of the actions of a policy without one, such as a clone."""
    squashed: bool = False
    """Whether such a policy counts as a Gaussian through tanh, else as one of the actions."""


@dataclass(frozen=True)
class IntentionConfig(Settings):
    """Whose behaviour is wanted. Its spread matters where it has none of the victim's kind."""

    policy: str
    """A style of ``demos.operators`` ("expert" for Meta-World's tasks), ``module:function`` of
    one's own, which makes a policy of ``(interface, rng)``, or what a victim can be."""
    std: PositiveFloat = 0.1
    """Spread of its actions."""
    limit: Annotated[float, Gt(0), Le(1)] = 1.0
    """Where its actions are cut off; below 1 if the victim is squashed, which never gets there."""


@dataclass(frozen=True)
class AttackConfig:
    """Who is attacked where, how far, to what end, and by which method."""

    env: EnvConfig
    """Where the victim is attacked; success there is that of the behaviour that is wanted."""
    victim: VictimConfig
    """Who is attacked."""
    home: EnvConfig | None = None
    """Where the victim does what it has learnt, if that is another environment."""
    method: Method = "rat"
    """How: rat, pgd (looks one step ahead), random, sa_rl or pa_ad (learn from rewards)."""
    intention: IntentionConfig | None = None
    """Whose behaviour is wanted; rat and pgd need it."""
    reward: dict[str, float] = dataclasses.field(default_factory=dict)
    """Weights of the environment's reward terms in what sa_rl and pa_ad earn; none: its reward."""
    budget: BudgetConfig = BudgetConfig()
    """How far an observation may be perturbed."""
    measured: PositiveInt = 10
    """Episodes in which the spread of the observations is measured, without an attack."""
    rat: RATConfig = RATConfig(adversary_rate=1e-3)
    """Networks and objectives of rat."""
    collection: CollectionConfig = CollectionConfig()
    """Length of rat."""
    pgd: PGDConfig = PGDConfig()
    """Descent of pgd."""
    ppo: PPOConfig = PPOConfig()
    """Network and objective of sa_rl and pa_ad."""
    training: OnlineConfig = OnlineConfig(steps=200_000)
    """Length of sa_rl and pa_ad."""
    environments: PositiveInt = 8
    """How many environments step together while they learn."""
    evaluation: EvaluationConfig = EvaluationConfig(episodes=50, horizon=200)
    """How many episodes, how long, and where they end."""

    def __post_init__(self) -> None:
        if self.method in TOWARDS and self.intention is None:
            raise UserError(f"method: {self.method} needs an intention")


@dataclass(frozen=True)
class Parts:
    """What an attack is made of."""

    config: AttackConfig
    run: Run
    envs: VectorEnvironment  # many of config.env
    victim: Policy
    intention: Policy | None
    states: np.ndarray  # [M, O] that the victim sees without an attack
    budget: Budget

    @property
    def horizon(self) -> int:
        """Give the longest episode, in steps."""
        return self.config.evaluation.horizon


# parts


def prepare(config: AttackConfig, run: Run) -> Parts:
    """Make environments, policies and the budget; UserError and SpecError for what does not fit."""
    envs = run.make_envs(config.env, config.evaluation.episodes)
    victim = _gaussian(_restored(config.victim.checkpoint, "victim", envs.interface), config.victim)
    if config.home is not None:
        home = run.make_env(config.home).interface
        victim.interface.require(home, "the victim", home.environment)
    spec = envs.interface.observations["state"]
    if config.method in WHITE_BOX:
        require_victim(victim, spec)
    intention = None
    if config.intention is not None:
        intention = _intention(config, envs.interface, victim, run.seed)
    states = _states(envs, victim, config, run)
    budget = Budget.of(config.budget, spec, states)
    return Parts(config, run, envs, victim, intention, states, budget)


def _restored(path: str, role: str, interface: Spec) -> Policy:
    folder = checkpoint.newest(Path(path))
    if not checkpoint.exists(folder):
        raise UserError(f"{role}: no checkpoint in {path}{maker_of_run(path)}")
    return checkpoint.load_policy(folder, interface)


def _gaussian(policy: Policy, config: VictimConfig) -> Policy:
    """Give a clone a spread; others keep their own."""
    if isinstance(policy, BehaviorCloning):
        return GaussianClone(policy, config.std, config.squashed)
    return policy


def _intention(config: AttackConfig, interface: Spec, victim: Policy, seed: int) -> Policy:
    """Make the intention, a Gaussian of the victim's kind."""
    wanted, squashed = config.intention, False
    if callable(getattr(victim, "distribution", None)):
        squashed = _is_squashed(victim, interface)
    policy = _wanted(config.env.name, wanted.policy, interface, np.random.default_rng(seed))
    own = callable(getattr(policy, "distribution", None))
    if own and _is_squashed(policy, interface) == squashed:
        return policy
    return GaussianExpert(policy, wanted.std, squashed, wanted.limit)


def _is_squashed(policy: Policy, interface: Spec) -> bool:
    state = interface.observations["state"]
    require_distribution(policy, state, "policy")
    with torch.no_grad():
        return policy.distribution(torch.zeros(1, *state.shape)).squashed


def _wanted(env: str, name: str, interface: Spec, rng: np.random.Generator) -> Policy:
    """Make the policy of that name: one's own, that of a checkpoint, or an operator."""
    if ":" in name:
        own = load_own(name, "intention")
        if not callable(own):
            raise UserError(f"intention: {name} must be a function of (interface, rng)")
        return own(interface, rng)
    if Path(name).exists():
        return _restored(name, "intention", interface)
    try:
        return load("demos.operators:make_operator")(env, name, interface, rng)
    except UserError as error:
        raise UserError(f"intention: no checkpoint in {name}, and {error}") from None


def _states(envs: VectorEnvironment, victim: Policy, config: AttackConfig, run: Run) -> np.ndarray:
    """Give the states [M, O] that the victim sees without an attack, in seeds of their own."""
    found: list[np.ndarray] = []
    seeds = np.random.SeedSequence([run.seed, 1]).generate_state(config.measured).tolist()
    evaluate(
        envs, victim, seeds, config.evaluation.horizon, whole=True,
        on_episode=lambda episode: found.append(episode.observations["state"]),
    )  # fmt: skip
    return np.concatenate(found)


# methods


def _random(parts: Parts) -> Perturbation:
    return RandomPerturbation(parts.budget)


def _pgd(parts: Parts) -> Perturbation:
    return PGD(parts.victim, parts.intention, parts.budget, parts.config.pgd)


def _rat(parts: Parts) -> Perturbation:
    """Train RAT's adversary on what the attacked victim and the intention reach."""
    config, seed = parts.config.collection, parts.run.seed
    q = _value(parts.intention)
    learner = RAT(parts.victim, parts.intention, parts.budget, parts.config.rat, seed, q)
    rng, env = np.random.default_rng(seed), parts.run.make_env(parts.config.env)
    attacked = Attacked(parts.victim, learner, parts.budget, seed)
    collector = Handover(attacked, parts.intention, parts.horizon, rng)
    with parts.run.counter(config.rounds * config.updates, "training", "updates") as counter:

        def on_round(updates: int, info: dict[str, float]) -> None:
            counter.update(config.updates)
            parts.run.log(updates, **info)

        attacking(learner, env, collector, config, parts.horizon, rng, on_round)
    _save(learner, parts.run.path("checkpoint"))
    return learner


def _value(intention: Policy) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None:
    """Give Q(s, a) of an intention that has critics, else None."""
    critics = getattr(getattr(intention, "network", None), "targets", None)
    return None if critics is None else lambda state, action: critics(state, action).amin(dim=0)


def _save(learner: RAT, path: Path) -> None:
    """Write the adversary's weights, and its budget's radius [O]."""
    tensors = learner.state_dict() | {"budget/radius": learner.budget.radius}

    def fill(folder: Path) -> None:
        (folder / "spec.json").write_text(learner.victim.interface.to_json())
        checkpoint.write_tensors(folder / "weights.safetensors", tensors)

    checkpoint.write_folder(path, fill)


def _sa_rl(parts: Parts) -> Perturbation:
    return _reinforced(parts, SARL(parts.victim, parts.budget))


def _pa_ad(parts: Parts) -> Perturbation:
    return _reinforced(parts, PAAD(parts.victim, parts.budget))


def _reinforced(parts: Parts, actor: Actor) -> Perturbation:
    """Let PPO learn what an actor shall carry out."""
    config = parts.config
    streams = {"wanted": Terms("reward", config.reward)} if config.reward else None
    with contextlib.closing(make_batch(config.env, config.environments)) as envs:
        env = AdversaryEnv(envs, actor)
        policy = PPO(env.interface, config.ppo, parts.run.seed, streams=streams)
        policy = train(policy, env, config.training, parts.run)
    checkpoint.save(parts.run.path("checkpoint"), policy)
    return Directed(policy, actor)


METHODS: dict[Method, Callable[[Parts], Perturbation]] = {
    "random": _random,
    "pgd": _pgd,
    "rat": _rat,
    "sa_rl": _sa_rl,
    "pa_ad": _pa_ad,
}
