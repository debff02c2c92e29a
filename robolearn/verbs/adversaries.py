"""What attacks are made of: a victim, an intention, a budget, and a method to be configured."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from annotated_types import Gt, Le
from pydantic import PositiveFloat, PositiveInt

from robolearn.algos.bc import BehaviorCloning
from robolearn.algos.detection import Evading, Guarded
from robolearn.algos.gaussians import GaussianClone, GaussianExpert
from robolearn.algos.image_bc import ImageCloning
from robolearn.algos.intending import Intending, IntendingConfig
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
from robolearn.loops.attacking import Collected, CollectionConfig, attacking
from robolearn.loops.evaluate import evaluate
from robolearn.loops.handing_over import HandedOver
from robolearn.loops.held import Held
from robolearn.loops.on_policy import OnlineConfig
from robolearn.names import load, load_own
from robolearn.perturbed import Actor, AdversaryEnv, Directed
from robolearn.rewards.base import Terms
from robolearn.running.config import EnvConfig
from robolearn.running.run import Run, kept_until, make_batch
from robolearn.settings import Settings
from robolearn.types import Policy, Spec, VectorEnvironment
from robolearn.verbs.evaluate import EvaluationConfig
from robolearn.verbs.ppo import train
from robolearn.verbs.preferences import PreferencesConfig, opened
from robolearn.verbs.restoring import restored, value_of

Method = Literal["rat", "pgd", "random", "sa_rl", "pa_ad"]
Value = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # Q(s [B, O], a [B, A]) -> [B]
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
    """Whose behaviour is wanted; rat and pgd need it, or preferences."""
    preferences: PreferencesConfig | None = None
    """Who says what is better, if nobody shows it: from that rat and pgd learn an intention, and
    sa_rl and pa_ad are rewarded by it."""
    intending: IntendingConfig = IntendingConfig()
    """How an intention is learnt."""
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
    """Network and objective of sa_rl, of pa_ad, and of an intention that is learnt."""
    training: OnlineConfig = OnlineConfig(steps=200_000)
    """Length of these."""
    hold: PositiveInt = 1
    """Control steps that their decisions last while they learn; segments that are asked about are
    as long in decisions as ``preferences.reward.length`` says."""
    environments: PositiveInt = 8
    """How many environments step together while they learn."""
    evaluation: EvaluationConfig = EvaluationConfig(episodes=50, horizon=200)
    """How many episodes, how long, and where they end."""

    def __post_init__(self) -> None:
        asked = self.preferences
        if self.method in TOWARDS and self.intention is None and asked is None:
            raise UserError(f"method: {self.method} needs an intention, or preferences")
        if asked is None:
            return
        for name in ("intention", "reward"):
            if getattr(self, name):
                raise UserError(f"{name}: beside preferences; leave out one of them")
        if asked.explore:
            raise UserError("preferences.explore: only on a replay, with verb: sac")
        if asked.reward.length > self.decisions.horizon:
            raise UserError(
                f"training.horizon: segments of {asked.reward.length} decisions do not fit into "
                f"rollouts of {self.decisions.horizon}"
            )

    @property
    def decisions(self) -> OnlineConfig:
        """Give the length of the training in decisions."""
        steps, horizon = (max(1, n // self.hold) for n in (self.training.steps,
                                                           self.training.horizon))  # fmt: skip
        return dataclasses.replace(self.training, steps=steps, horizon=horizon)


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
    rng: np.random.Generator  # that the intention draws from
    value: Value | None = None  # what the intention's actions are worth, if that is known
    told: dict[str, Any] = dataclasses.field(default_factory=dict)  # for the summary

    @property
    def horizon(self) -> int:
        """Give the longest episode, in steps."""
        return self.config.evaluation.horizon


# parts


def prepare(config: AttackConfig, run: Run) -> Parts:
    """Make environments, policies and the budget; an intention that is to be learnt is learnt.

    UserError and SpecError for what does not fit.
    """
    envs = run.make_envs(config.env, config.evaluation.episodes)
    victim = _gaussian(restored(config.victim.checkpoint, "victim", envs.interface), config.victim)
    if config.home is not None:
        home = run.make_env(config.home).interface
        victim.interface.require(home, "the victim", home.environment)
    spec = envs.interface.observations["state"]
    if config.method in WHITE_BOX:
        require_victim(victim, spec)
    intention, rng = _intention(config, envs.interface, victim, run.seed)
    states = _states(envs, victim, config, run)
    budget = Budget.of(config.budget, spec, states)
    parts = Parts(config, run, envs, victim, intention, states, budget, rng, value_of(intention))
    asked = config.preferences is not None and config.method in TOWARDS
    return _intending(parts) if asked else parts


def _intending(parts: Parts) -> Parts:
    """Add an intention that is learnt from preferences, with an adversary beside it."""
    config, run, begun = parts.config, parts.run, None
    with (
        contextlib.closing(make_batch(config.env, config.environments)) as envs,
        opened(config.preferences, Held(envs, config.hold), config.env, run) as preferences,
    ):
        ppo = PPO(envs.interface, config.ppo, run.seed, streams=preferences.streams)
        aim = GaussianExpert(ppo, config.intending.std, _is_squashed(parts.victim, envs.interface))
        adversary = RAT(parts.victim, aim, parts.budget, config.rat, run.seed)
        learner = Intending(ppo, adversary, config.intending, run.seed)
        learner.clone(torch.from_numpy(parts.states))
        if config.intending.combined:
            attacked = Attacked(parts.victim, adversary, parts.budget, run.seed)
            envs = begun = HandedOver(envs, attacked)
            learner.begun = begun.begun
        train(
            learner, Held(envs, config.hold), config.decisions, run, config.hold, preferences,
            folder="intention",
        )  # fmt: skip
        parts.told.update(preferences.summary(), begun=0 if begun is None else begun.steps)
    return dataclasses.replace(parts, intention=aim, value=adversary.q)


def another(parts: Parts, config: AttackConfig, run: Run) -> Parts:
    """Give the parts of another attack on the same victim, which depends on no earlier one."""
    intention, rng = _intention(config, parts.envs.interface, parts.victim, run.seed)
    budget = Budget.of(config.budget, parts.budget.spec, parts.states)
    changes = {"config": config, "run": run, "intention": intention, "budget": budget, "rng": rng}
    return dataclasses.replace(parts, **changes, value=value_of(intention))


def knowing(parts: Parts, perturbation: Perturbation) -> Perturbation:
    """Have a perturbation heed the victim's detector, if there is one."""
    guarded = isinstance(parts.victim, Guarded)
    return Evading(perturbation, parts.victim) if guarded else perturbation


def _gaussian(policy: Policy, config: VictimConfig) -> Policy:
    """Give a clone of states a spread; others keep their own."""
    if isinstance(policy, Guarded):
        return Guarded.of(_gaussian(policy.policy, config), policy.detector)
    if isinstance(policy, BehaviorCloning) and not isinstance(policy, ImageCloning):
        return GaussianClone(policy, config.std, config.squashed)
    return policy


def _intention(
    config: AttackConfig, interface: Spec, victim: Policy, seed: int
) -> tuple[Policy | None, np.random.Generator]:
    """Make the intention, if there is one, a Gaussian of the victim's kind; it draws from that."""
    wanted, squashed, rng = config.intention, False, np.random.default_rng(seed)
    if wanted is None:
        return None, rng
    if callable(getattr(victim, "distribution", None)):
        squashed = _is_squashed(victim, interface)
    policy = _wanted(config.env.name, wanted.policy, interface, rng)
    own = callable(getattr(policy, "distribution", None))
    if own and _is_squashed(policy, interface) == squashed:
        return policy, rng
    return GaussianExpert(policy, wanted.std, squashed, wanted.limit), rng


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
        return restored(name, "intention", interface)
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
    """Train RAT's adversary on what the attacked victim and the intention reach.

    It goes on where a stopped run has left one. A KeyboardInterrupt that comes out says from where.
    """
    config, seed, run = parts.config.collection, parts.run.seed, parts.run
    learner = RAT(parts.victim, parts.intention, parts.budget, parts.config.rat, seed, parts.value)
    rng, env = np.random.default_rng(seed), run.make_env(parts.config.env)
    attacked = Attacked(parts.victim, knowing(parts, learner), parts.budget, seed)
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
    """Write the adversary's weights, its budget's radius [O], and what going on needs."""
    tensors = learner.state_dict() | {"budget/radius": learner.budget.radius}
    training = learner.training_state() | {"states": torch.from_numpy(collected.states)}
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
    training = checkpoint.read_tensors(folder / "training" / "state.safetensors")
    learner.load_training_state(training)
    for rng, state in zip(rngs, begun.rngs, strict=True):
        rng.bit_generator.state = state
    return Collected(begun.rounds, training["states"].numpy())


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
        with opened(config.preferences, env, config.env, run) as preferences:
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
