"""A judge beside a session: what it says while a demonstration runs, and when it has ended.

Two judges have one face here: that of harm, and the paper's, of compatibility.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np

from demos.data.arrays import Demonstrations, read
from demos.session.contracts import Live, Phase, Verdict
from demos.session.nearest import nearest
from robolearn.algos.bc import BCConfig
from robolearn.algos.commands import LEAST_STEPS
from robolearn.errors import DataError
from robolearn.judging.calibration import SMALL_NETWORK, TRAINING, calibrate
from robolearn.judging.harm import HarmJudge
from robolearn.judging.judge import Judge, JudgeConfig
from robolearn.judging.judge import Verdict as JudgeVerdict
from robolearn.judging.live import LiveHarm
from robolearn.judging.person import Person
from robolearn.judging.verdicts import HarmJudgeConfig, HarmVerdict
from robolearn.loops.offline import OfflineConfig
from robolearn.settings import Settings
from robolearn.types import Episode, Spec

MOST_WINDOWS = 3
LEAST = 4  # demonstrations from which anything can be learnt
GRIPPER = "gripper"
WAY = "{} of {} were rejected, which is no chance: this way of demonstrating does not fit"
HARM_LIMITS = {"harm now": 0.5, "harm so far": 1.0}  # where as much is lost as may be
OnStep = Callable[[np.ndarray, np.ndarray], Live]  # state [O], action [A] sent there


@dataclass(frozen=True)
class ScorerConfig(Settings):
    """Whose demonstrations one's own are held against, and by what measure."""

    base: str
    """Dataset of the base's demonstrations; of it, the successful ones."""
    operator: str | None = None
    """An operator, or a mask, of it; None for all."""
    by: Literal["harm", "compatibility"] = "harm"
    """Whether they would harm a policy, or agree with an ensemble (the paper's measure)."""
    harm: HarmJudgeConfig = HarmJudgeConfig()
    """How harm is judged."""
    compatibility: JudgeConfig = JudgeConfig()
    """How compatibility is judged."""
    network: BCConfig = SMALL_NETWORK
    """The ensembles of compatibility."""
    training: OfflineConfig = TRAINING
    """How they are trained, when a session begins."""


class Scorer(Protocol):
    """What a session asks of a judge."""

    def live(self) -> OnStep | None:
        """Give what scores the steps of a new demonstration; None where nobody looks."""

    def verdict(self, episode: Episode) -> Verdict:
        """Judge a whole demonstration."""


class Guide(Scorer, Protocol):
    """A Scorer whose base can be watched and trained on."""

    base: Demonstrations

    def closest(self) -> list[str]:
        """Name the base's demonstrations that are most like the rest, first to last."""

    def summary(self) -> dict[str, Any]:
        """Say what all that were judged show together, as JSON-able values; {} for nothing."""


def base_of(config: ScorerConfig, interface: Spec) -> Demonstrations:
    """Read the base's demonstrations, with the entries of the state as the environment has them.

    Raises DataError if there are too few, SpecError if they do not fit the environment.
    """
    base = read(config.base, None, success=True)
    if config.operator is not None:
        base = base.by(config.operator)
    if len(base) < LEAST:
        raise DataError(f"{config.base}: {len(base)} demonstrations say too little: give {LEAST}")
    state = interface.observations["state"]
    if set(state.names) == set(base.interface.observations["state"].names):
        base = base.entries(state.names)
    alone = dataclasses.replace(interface, observations={"state": state})
    wanted = Spec.from_json(alone.to_json())  # as on disk: lists where there were tuples
    wanted.require(base.interface, "the environment", f"base {config.base}")
    return base


def make_scorer(
    config: ScorerConfig, interface: Spec, seed: int = 0,
    on_fit: Callable[[int, int], None] | None = None,
) -> Guide:  # fmt: skip
    """Learn what the base is like; raises as ``base_of`` and the judges do."""
    base = base_of(config, interface)
    if config.by == "harm":
        judge = HarmJudge.of(
            base.states, base.actions, interface=base.interface, config=config.harm
        )
        return HarmScorer(judge, base, _person(judge))
    names = base.interface.action.names
    paper = calibrate(
        base.states,
        base.actions,
        seed=seed,
        gripper=GRIPPER if GRIPPER in names else None,
        interface=base.interface,
        config=config.compatibility,
        network=config.network,
        training=config.training,
        on_fit=on_fit,
    )
    return CompatibilityScorer(paper, base)


def _person(judge: HarmJudge) -> Person | None:
    """Begin to count a person's rejections; None where the base's own are mostly rejected."""
    try:
        return Person(judge)
    except DataError:
        return None


def judged(
    judge: HarmJudge | Judge, episode: Episode
) -> tuple[Verdict, HarmVerdict | JudgeVerdict | None]:
    """Judge a whole demonstration: what a session is told, and all that the judge has found.

    One that is too short for a judge of harm is not accepted, and nothing is found.
    """
    states, actions = episode.observations["state"][:-1], episode.actions
    if isinstance(judge, Judge):
        found = judge.score(states, actions)
        return _of_compatibility(found, judge.config.false_rejection_rate), found
    if len(states) < LEAST_STEPS:
        told = f"too short to judge: {len(states)} steps of {LEAST_STEPS}"
        return Verdict(accepted=False, score=0.0, reasons=(told,)), None
    found = judge.score(states, actions)
    return _of_harm(found), found


def _of_harm(found: HarmVerdict) -> Verdict:
    return Verdict(
        accepted=found.accepted,
        score=found.harm,
        reasons=tuple(reason.text for reason in found.reasons),
        windows=tuple((r.start, r.end) for r in found.reasons)[:MOST_WINDOWS],
    )


def _of_compatibility(found: JudgeVerdict, rate: float) -> Verdict:
    rejected = not found.accepted
    return Verdict(
        accepted=found.accepted,
        score=rate / found.p_value,
        reasons=(found.cue,) if rejected else (),
        windows=(found.worst_window,) if rejected else (),
    )


@dataclass(frozen=True)
class HarmScorer:
    """A session's judge of harm, of one person."""

    judge: HarmJudge
    base: Demonstrations = field(repr=False)
    person: Person | None = None

    def live(self) -> OnStep:
        """Give what scores the steps of a new demonstration."""
        live = LiveHarm(self.judge)

        def on_step(state: np.ndarray, action: np.ndarray) -> Live:
            step = live.step(state, action)
            values = {"harm now": step.level, "harm so far": step.share_of_line}
            return Live(step.level, step.cue, values, HARM_LIMITS)

        return on_step

    def verdict(self, episode: Episode) -> Verdict:
        """Judge a whole demonstration; of a rejected one say if it is the person's way.

        What is done for practice does not count for that.
        """
        verdict, found = judged(self.judge, episode)
        if found is None:
            return verdict
        person = self.person
        if person is not None and episode.metadata.get("phase") != Phase.PRACTICE:
            person.count(found)
            if person.evidence >= person.line and not verdict.accepted:
                told = WAY.format(_rejected(person), len(person.verdicts))
                verdict = dataclasses.replace(verdict, reasons=(*verdict.reasons, told))
        return _with_nearest(verdict, episode, self.base)

    def closest(self) -> list[str]:
        """Name the base's demonstrations that are most like the rest, first to last."""
        return _sorted(self.base.names, self.judge.own_harm)

    def summary(self) -> dict[str, Any]:
        """Say whether the person's way fits, and by how many demonstrations that is told."""
        person = self.person
        if person is None:
            return {}
        judged_, rejected = len(person.verdicts), _rejected(person)
        about = {"fits": person.fits, "judged": judged_, "rejected": rejected}
        return {"person": about | {"evidence": person.strongest, "line": person.line}}


@dataclass(frozen=True)
class CompatibilityScorer:
    """A session's judge of compatibility, the paper's."""

    judge: Judge
    base: Demonstrations = field(repr=False)

    def live(self) -> OnStep:
        """Give what scores the steps of a new demonstration."""
        live = self.judge.live()
        limits = {"L": live.scale.lam, "N": live.scale.eta}

        def on_step(state: np.ndarray, action: np.ndarray) -> Live:
            L, N, M = live.score_step(state, action)
            words = "unlike the base" if M == 0.0 else ""  # in a state that the base knows
            return Live(1.0 - M, words, {"M": M, "L": L, "N": N}, limits)

        return on_step

    def verdict(self, episode: Episode) -> Verdict:
        """Judge a whole demonstration."""
        verdict, _ = judged(self.judge, episode)
        return _with_nearest(verdict, episode, self.base)

    def closest(self) -> list[str]:
        """Name the base's demonstrations that are most like the rest, first to last."""
        pairs = zip(self.base.states, self.base.actions, strict=True)
        return _sorted(self.base.names, [-self.judge.score(*pair).p_value for pair in pairs])

    def summary(self) -> dict[str, Any]:
        """Say nothing."""
        return {}


def _rejected(person: Person) -> int:
    return sum(not verdict.accepted for verdict in person.verdicts)


def _with_nearest(verdict: Verdict, episode: Episode, base: Demonstrations) -> Verdict:
    """Name the base demonstration that is most like a rejected one."""
    if verdict.accepted:
        return verdict
    states = episode.observations["state"][:-1]
    return dataclasses.replace(verdict, nearest=base.names[nearest(states, base.states)])


def _sorted(names: Sequence[str], strangeness: Sequence[float]) -> list[str]:
    return [names[i] for i in np.argsort(strangeness, kind="stable")]
