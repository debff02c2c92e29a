"""What attacks are made of: a victim, an intention, a budget, and a method to be configured."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
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
from robolearn.algos.intending import IntendingConfig
from robolearn.algos.pgd import PGD, PGDConfig
from robolearn.algos.ppo import PPOConfig
from robolearn.algos.rat import RATConfig, Value
from robolearn.algos.sac import SACConfig
from robolearn.attack import (
    AnyBudget,
    Perturbation,
    distribution_of,
    has_distribution,
    require_seeing,
    require_victim,
    require_without_context,
)
from robolearn.errors import UserError
from robolearn.image_attack import ImageBudgetConfig, ImagesBudget
from robolearn.loops.attacking import CollectionConfig
from robolearn.loops.evaluate import evaluate
from robolearn.loops.off_policy import OffPolicyConfig
from robolearn.loops.on_policy import OnlineConfig
from robolearn.loops.parts import sighted
from robolearn.names import load, load_own
from robolearn.rewards.base import Terms
from robolearn.running.config import EnvConfig
from robolearn.running.run import Run
from robolearn.settings import Numbers, Settings
from robolearn.state_attack import Budget, BudgetConfig
from robolearn.types import Episode, Policy, Spec, VectorEnvironment
from robolearn.verbs.evaluate import EvaluationConfig
from robolearn.verbs.intentions import intend
from robolearn.verbs.preferences import PreferencesConfig
from robolearn.verbs.restoring import restored_one, shown_to, value_of

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
    skill: Numbers | None = None
    """What a policy of skills (``verb: slim``) does: its skill that is nearest to this."""


@dataclass(frozen=True)
class IntentionConfig(Settings):
    """Whose behaviour is wanted. Its spread matters where it has none of the victim's kind."""

    policy: str
    """A style of ``demos.operators`` ("expert" for Meta-World's tasks), ``module:function`` of
    one's own, which makes a policy of ``(interface, rng)``, or what a victim can be. rat and pgd
    ask it about single states: it must be ``memoryless``."""
    std: PositiveFloat = 0.1
    """Spread of its actions."""
    limit: Annotated[float, Gt(0), Le(1)] = 1.0
    """Where its actions are cut off; below 1 if the victim is squashed, which never gets there."""
    skill: Numbers | None = None
    """What a policy of skills does: its skill that is nearest to this."""


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
    images: ImageBudgetConfig | None = None
    """How far camera images may be perturbed, in place of the state; None: not."""
    measured: PositiveInt = 10
    """Episodes in which the spread of the observations is measured, without an attack."""
    rat: RATConfig = RATConfig(adversary_rate=1e-3)
    """Networks and objectives of rat."""
    collection: CollectionConfig = CollectionConfig()
    """Length of rat."""
    pgd: PGDConfig = PGDConfig()
    """Descent of pgd."""
    ppo: PPOConfig = PPOConfig()
    """Network and objective of sa_rl, of pa_ad, and of an intention that ppo learns."""
    training: OnlineConfig = OnlineConfig(steps=200_000)
    """Length of these."""
    sac: SACConfig = SACConfig()
    """Networks and objectives of an intention that sac learns."""
    replay: OffPolicyConfig = OffPolicyConfig(
        steps=100_000, random_steps=1_600, updates_per_step=2.0, keep_replay=True
    )
    """Length of that, in control steps, but for ``updates_per_step``: updates for a decision."""
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
            if self.intending != IntendingConfig():
                raise UserError("intending: nothing to learn an intention from; say preferences")
            return
        if self.method == "random":
            raise UserError("preferences: random learns nothing; leave them out")
        if self.images is not None:
            raise UserError("preferences: they attack the state only; leave out images")
        for name in ("intention", "reward"):
            if getattr(self, name):
                raise UserError(f"{name}: beside preferences; leave out one of them")
        replays = self.method in TOWARDS and self.intending.learner == "sac"
        if asked.explore and not replays:
            raise UserError("preferences.explore: only on a replay; intending.learner: sac has one")
        if asked.reward.length > self.decisions.horizon and not replays:
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

    @property
    def replayed(self) -> OffPolicyConfig:
        """Give the length of the training on a replay in decisions."""
        names = "steps", "random_steps", "capacity", "log_steps", "checkpoint_steps"
        decisions = {name: max(1, getattr(self.replay, name) // self.hold) for name in names}
        return dataclasses.replace(self.replay, **decisions)


@dataclass(frozen=True)
class Parts:
    """What an attack is made of."""

    config: AttackConfig
    run: Run
    envs: VectorEnvironment  # many of config.env
    seen: Spec  # of what they show, by the victim
    victim: Policy
    intention: Policy | None
    states: np.ndarray | None  # [M, O] that the victim sees without an attack, if it sees any
    budget: AnyBudget
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
    seen = shown_to(config.victim.checkpoint, "victim", envs.interface)
    victim = _victim(config.victim, envs.interface, seen)
    if config.home is not None:
        home = run.make_env(config.home).interface
        victim.interface.require(home, "the victim", home.environment)
    states = None
    if config.images is not None and config.intention is not None:
        require_without_context(victim, "victim", "images are attacked one by one")
    if config.images is None:
        _require_only_state(seen)
        if config.method in WHITE_BOX:
            require_victim(victim, Budget.unit(envs.interface.observations["state"]))
    intention, rng = _intention(config, envs.interface, victim, run.seed)
    if config.images is None:
        states = _states(envs, victim, config, run)
    budget = _budget(config, envs.interface, seen, states)
    parts = Parts(
        config, run, envs, seen, victim, intention, states, budget, rng, value_of(intention)
    )
    asked = config.preferences is not None and config.method in TOWARDS
    return _intending(parts) if asked else parts


def _intending(parts: Parts) -> Parts:
    """Add an intention that is learnt from preferences."""
    require_without_context(parts.victim, "victim", "preferences need one of single states")
    states = torch.from_numpy(parts.states)
    found = intend(parts.config, parts.run, parts.victim, parts.budget, states)
    parts.told.update(found.told)
    return dataclasses.replace(parts, intention=found.intention, value=found.value)


def another(parts: Parts, config: AttackConfig, run: Run) -> Parts:
    """Give the parts of another attack on the same victim, which depends on no earlier one."""
    intention, rng = _intention(config, parts.envs.interface, parts.victim, run.seed)
    budget = _budget(config, parts.envs.interface, parts.seen, parts.states)
    changes = {"config": config, "run": run, "intention": intention, "budget": budget, "rng": rng}
    return dataclasses.replace(parts, **changes, value=value_of(intention))


def knowing(parts: Parts, perturbation: Perturbation, descends: bool = True) -> Perturbation:
    """Have a perturbation heed the victim's detector, if there is one.

    One that has an intention descends on what raises no alarm, unless that would take too long.
    """
    if not isinstance(parts.victim, Guarded):
        return perturbation
    aim = perturbation if isinstance(perturbation, PGD) else None
    if aim is None and descends and parts.config.method in TOWARDS:
        aim = PGD(parts.victim, parts.intention, parts.budget, parts.config.pgd)
    return Evading(perturbation, parts.victim, aim)


def _require_only_state(seen: Spec) -> None:
    """Raise UserError if a victim sees images, and nobody says how far they may be touched."""
    cameras = sorted(set(seen.observations) - {"state"})
    if cameras:
        raise UserError(
            f"images: the victim sees {', '.join(cameras)}; say how far: images={{size: 8}}"
        )


def _budget(
    config: AttackConfig, interface: Spec, seen: Spec, states: np.ndarray | None
) -> AnyBudget:
    """Give what may be done to images or, measured on states [M, O], to the state."""
    if config.images is not None:
        return ImagesBudget.of(config.images, interface, seen)
    return Budget.of(config.budget, interface.observations["state"], states)


def _victim(config: VictimConfig, interface: Spec, seen: Spec) -> Policy:
    """Read the victim, which may see a part of what there is, but for one with a detector."""
    policy = _gaussian(restored_one(config.checkpoint, "victim", seen, config.skill), config)
    if isinstance(policy, Guarded) and seen.observations != interface.observations:
        raise UserError("victim: one with a detector must see all that the environment shows")
    return sighted(policy, interface, seen)


def _gaussian(policy: Policy, config: VictimConfig) -> Policy:
    """Give a clone a spread; others keep their own."""
    if isinstance(policy, Guarded):
        return Guarded.of(_gaussian(policy.policy, config), policy.detector)
    if isinstance(policy, BehaviorCloning):
        return GaussianClone(policy, config.std, config.squashed)
    return policy


def _intention(
    config: AttackConfig, interface: Spec, victim: Policy, seed: int
) -> tuple[Policy | None, np.random.Generator]:
    """Make the intention, if there is one, a Gaussian of the victim's kind; it draws from that."""
    wanted, squashed, rng = config.intention, False, np.random.default_rng(seed)
    if wanted is None:
        return None, rng
    if has_distribution(victim):
        squashed = _is_squashed(victim, interface)
    policy = _wanted(config.env.name, wanted, interface, rng)
    if config.method in TOWARDS and not getattr(policy, "memoryless", False):
        require_without_context(policy, "intention", "an intention answers to single states")
        raise UserError(
            f"intention: {wanted.policy} is not memoryless, {config.method} asks it about "
            "single states; sa_rl and pa_ad ask nobody"
        )
    if has_distribution(policy) and _is_squashed(policy, interface) == squashed:
        return policy, rng
    return GaussianExpert(policy, wanted.std, squashed, wanted.limit), rng


def _is_squashed(policy: Policy, interface: Spec) -> bool:
    budget = ImagesBudget({}, interface)  # of nothing, where all is seen
    if set(interface.observations) == {"state"}:
        budget = Budget.unit(interface.observations["state"])
    require_seeing(policy, budget, "policy")
    with torch.no_grad():
        return distribution_of(policy, budget.blank()).squashed


def _wanted(env: str, wanted: IntentionConfig, interface: Spec, rng: np.random.Generator) -> Policy:
    """Make the policy of that name: one's own, that of a checkpoint, or an operator."""
    name = wanted.policy
    if ":" not in name and Path(name).exists():
        seen = shown_to(name, "intention", interface)
        return sighted(restored_one(name, "intention", seen, wanted.skill), interface, seen)
    if wanted.skill is not None:
        raise UserError(f"intention: skill: no checkpoint in {name}")
    if ":" in name:
        own = load_own(name, "intention")
        policy = own(interface, rng) if _takes(own, interface, rng) else None
        if not isinstance(policy, Policy):
            raise UserError(f"intention: {name} must make a policy of (interface, rng)")
        return policy
    try:
        return load("demos.operators:make_operator")(env, name, interface, rng)
    except UserError as error:
        raise UserError(f"intention: no checkpoint in {name}, and {error}") from None


def _takes(own: Any, *arguments: Any) -> bool:
    try:
        inspect.signature(own).bind(*arguments)
    except (TypeError, ValueError):  # not to be called, or not with these
        return False
    return True


def _states(envs: VectorEnvironment, victim: Policy, config: AttackConfig, run: Run) -> np.ndarray:
    """Give the states [M, O] that the victim sees without an attack, in seeds of their own.

    SpecError for a reward of terms that are not there.
    """
    found: list[np.ndarray] = []

    def on_episode(episode: Episode) -> None:
        wanted_in(episode, config.reward)  # before anything is learnt
        found.append(episode.observations["state"])

    seeds = np.random.SeedSequence([run.seed, 1]).generate_state(config.measured).tolist()
    evaluate(envs, victim, seeds, config.evaluation.horizon, whole=True, on_episode=on_episode)
    return np.concatenate(found)


def wanted_in(episode: Episode, reward: Mapping[str, float]) -> float:
    """Give what weighted reward terms come to in an episode; SpecError for an unknown one."""
    sums = {name: float(term.sum()) for name, term in episode.reward_terms.items()}
    return Terms("reward", reward).reward({"reward_terms": sums})
