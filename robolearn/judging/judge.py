"""Verdicts on demonstrations: accepted or not, how sure, where and in what it differs.

``calibrate`` (``calibration.py``) makes a Judge from one operator's demonstrations. The measure and
its statistics are in ``robolearn/algos/compatibility.py``, the guarantee of the p-value is in
``conformal.py``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated

import numpy as np
from annotated_types import Ge
from pydantic import NonNegativeInt, PositiveInt

from robolearn.algos.bc import BehaviorCloning
from robolearn.algos.compatibility import (
    STATISTICS,
    Scale,
    Scores,
    compatibility,
    error,
    is_incompatible,
    novelty,
    score,
    window_means,
)
from robolearn.errors import UserError, nearest
from robolearn.judging.conformal import cross_conformal_p_value
from robolearn.judging.demonstrations import Demonstration, checked, paired
from robolearn.judging.limits import ActionLimits
from robolearn.judging.reasons import named_difference
from robolearn.networks.inference import CompiledEnsemble
from robolearn.networks.threads import one_thread
from robolearn.settings import ProperShare, Settings


@dataclass(frozen=True)
class JudgeConfig(Settings):
    """How demonstrations are judged. Raises UserError for a value that makes no sense."""

    false_rejection_rate: ProperShare = 0.05
    """Share alpha of the base operator's own demonstrations that may be rejected."""
    statistic: str = "worst_share"
    """What is compared: a name of ``compatibility.STATISTICS``."""
    window: PositiveInt = 30
    """Length of a window, steps: about as long as people take for one part of a movement. The steps
    that a shorter demonstration lacks count as agreement, so that it is hardly ever rejected."""
    folds: Annotated[int, Ge(2)] = 5
    """Parts into which the base demonstrations are dealt: ensembles trained beside the main one."""
    quantile: ProperShare = 0.95
    """Share of held-out base pairs whose error is below lambda, and whose novelty is below eta."""
    gripper_shift: NonNegativeInt = 5
    """Steps by which the gripper may switch early or late."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.statistic not in STATISTICS:
            hint = nearest(self.statistic, STATISTICS)
            raise UserError(f"statistic: unknown '{self.statistic}'{hint}")


@dataclass(frozen=True)
class Verdict:
    """What the judge says of a demonstration of T steps."""

    accepted: bool
    p_value: float  # small: hardly any base demonstration is as strange
    statistic: float  # mean over the folds; higher is stranger
    worst_window: tuple[int, int]  # first step, and one past the last
    difference: np.ndarray  # [A], mean of action minus base action in the worst window, in [-1, 1]
    cue: str  # the same in words and in the actions' units, largest first: "dz +0.62, dx -0.20"
    scores: Scores = field(repr=False)  # under the ensemble of all base demonstrations
    M: np.ndarray = field(repr=False)  # [T], compatibility
    incompatible: np.ndarray = field(repr=False)  # [T], bool
    clipped: int = 0  # steps whose actions were beyond their limits

    @property
    def departure(self) -> np.ndarray:
        """Action minus base action at every step [T, A], both in [-1, 1]."""
        return self.scores.difference


@dataclass(frozen=True)
class Fold:
    """An ensemble that has not seen some base demonstrations, and what it says of them."""

    policy: BehaviorCloning
    scale: Scale
    held_out: tuple[Scores, ...] = field(repr=False)


@dataclass(frozen=True)
class Judge:
    """Scores, accepts and filters demonstrations; made by ``calibrate``."""

    config: JudgeConfig
    policy: BehaviorCloning  # cloned from all base demonstrations
    scale: Scale  # from all base demonstrations, each where it was held out
    folds: tuple[Fold, ...] = field(repr=False)
    gripper: int | None
    limits: ActionLimits = ActionLimits()  # of actions, as they are given

    def using(self, statistic: str) -> Judge:
        """Give the same judge with another statistic; nothing is trained again."""
        return replace(self, config=replace(self.config, statistic=statistic))

    def score(self, observations: np.ndarray, actions: np.ndarray) -> Verdict:
        """Judge one demonstration: states [T, O] and actions [T, A] within the limits.

        Warns if it is shorter than the statistic's window: it cannot be rejected reliably. Raises
        SpecError if its sizes are not the base operator's, DataError if it is not finite, or leaves
        the limits and is not to be clipped.
        """
        verdict = self._verdict(observations, actions)
        warn_if_short([actions], self.config)
        return verdict

    def _verdict(self, observations: np.ndarray, actions: np.ndarray) -> Verdict:
        demonstration = self._checked(observations, actions)
        scores = self._scores(self.policy, demonstration)
        value, p_value = self._compare(self._under_folds(demonstration), self.config.statistic)
        start, end = self._worst_window(scores)
        return Verdict(
            accepted=p_value > self.config.false_rejection_rate,
            p_value=p_value,
            statistic=value,
            worst_window=(start, end),
            difference=scores.difference[start:end].mean(axis=0),
            cue=named_difference(
                scores.difference[start:end], self.policy.interface.action, self.limits
            ),
            scores=scores,
            M=compatibility(scores.L, scores.N, self.scale.lam, self.scale.eta),
            incompatible=self._incompatible(scores),
            clipped=int(self.limits.beyond(actions).sum()),
        )

    def compare(
        self, observations: np.ndarray, actions: np.ndarray
    ) -> dict[str, tuple[float, float]]:
        """Give every statistic's value and p-value by name, to choose among statistics.

        Warns and raises as ``score`` does.
        """
        new = self._under_folds(self._checked(observations, actions))
        warn_if_short([actions], self.config)
        return {name: self._compare(new, name) for name in STATISTICS}

    def filter(
        self, observations: Sequence[np.ndarray], actions: Sequence[np.ndarray]
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Keep the demonstrations that are accepted; warns, once, and raises as ``score`` does.

        They are given as they came, but for actions beyond their limits that are to be clipped:
        they are judged as if they were at them, so they are given there, in their own units. The
        other filters do the same.
        """
        pairs = list(paired(observations, actions))
        kept = [(s, self.limits.clipped(a)) for s, a in pairs if self._verdict(s, a).accepted]
        warn_if_short(actions, self.config)
        return [s for s, _ in kept], [a for _, a in kept]

    def filter_stretches(
        self, observations: Sequence[np.ndarray], actions: Sequence[np.ndarray]
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Keep what is accepted, and of what is rejected the stretches that agree.

        A stretch goes if it lies in a window that disagrees more than the worst window of all but
        a share alpha of the base's own demonstrations. Warns, once, and raises as ``score`` does.
        """
        kept = self._without(self._disagreeing, observations, actions)
        warn_if_short(actions, self.config)
        return kept

    def filter_pairs(
        self, observations: Sequence[np.ndarray], actions: Sequence[np.ndarray]
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Keep every demonstration without its incompatible pairs, as the paper filters."""
        return self._without(lambda s, a: self._verdict(s, a).incompatible, observations, actions)

    def live(self) -> LiveScore:
        """Give what scores one step at a time within a control loop."""
        return LiveScore(self.policy, self.scale, self.gripper, self.limits)

    def _checked(self, observations: np.ndarray, actions: np.ndarray) -> Demonstration:
        return checked(observations, actions, self.policy.interface, limits=self.limits)

    def _without(
        self,
        gone: Callable[[np.ndarray, np.ndarray], np.ndarray],
        observations: Sequence[np.ndarray],
        actions: Sequence[np.ndarray],
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Leave the steps out of which ``gone`` gives True [T]."""
        kept = []
        for states, acts in paired(observations, actions):
            keep = ~gone(states, acts)
            kept.append((states[keep], self.limits.clipped(acts)[keep]))
        return [s for s, _ in kept], [a for _, a in kept]

    def _scores(self, policy: BehaviorCloning, demonstration: Demonstration) -> Scores:
        return score_under(policy, demonstration, self.gripper, self.config.gripper_shift)

    def _under_folds(self, demonstration: Demonstration) -> list[Scores]:
        return [self._scores(fold.policy, demonstration) for fold in self.folds]

    def _compare(self, new: list[Scores], statistic: str) -> tuple[float, float]:
        """Give the statistic, a mean over the folds, and its p-value."""
        measure, window = STATISTICS[statistic], self.config.window
        values = [measure(s, fold.scale, window) for s, fold in zip(new, self.folds, strict=True)]
        held_out = [
            np.array([measure(s, fold.scale, window) for s in fold.held_out]) for fold in self.folds
        ]
        return float(np.mean(values)), cross_conformal_p_value(held_out, values)

    def _worst_window(self, scores: Scores) -> tuple[int, int]:
        statistic, window = STATISTICS[self.config.statistic], self.config.window
        disagreement = statistic.disagreement(scores, self.scale, window)
        start = int(window_means(disagreement, window).argmax())
        return start, min(start + window, len(disagreement))

    def _disagreeing(self, observations: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """Say of each step [T] of a demonstration whether it lies in a stretch that goes.

        What is rejected loses at least its worst window: the folds' ensembles gave the verdict, and
        the ensemble of all base demonstrations says where.
        """
        verdict = self._verdict(observations, actions)
        gone = np.zeros(len(actions), bool)
        if verdict.accepted:
            return gone
        gone[slice(*verdict.worst_window)] = True
        measure, window = STATISTICS[self.config.statistic].disagreement, self.config.window
        worst = [
            window_means(measure(s, fold.scale, window), window).max()
            for fold in self.folds
            for s in fold.held_out
        ]
        limit = np.quantile(worst, 1.0 - self.config.false_rejection_rate)
        means = window_means(measure(verdict.scores, self.scale, window), window)
        for start in np.flatnonzero(means > limit):
            gone[start : start + window] = True
        return gone

    def _incompatible(self, scores: Scores) -> np.ndarray:
        motion = is_incompatible(scores.L, scores.N, self.scale.lam, self.scale.eta)
        return motion | is_incompatible(
            scores.gripper, scores.N, self.scale.gripper, self.scale.eta
        )


def warn_if_short(actions: Sequence[np.ndarray], config: JudgeConfig, whose: str = "") -> None:
    """Warn the caller's caller, once, if demonstrations are shorter than the statistic's window."""
    short = [len(acts) for acts in actions if len(acts) < config.window]
    if not short or not STATISTICS[config.statistic].by_window:
        return
    which = f"a {whose}demonstration of {short[0]} steps is"
    if len(actions) > 1:
        those = f"{len(short)} of {len(actions)} {whose}demonstrations"
        which = f"{those} (the shortest: {min(short)} steps) are"
    warnings.warn(
        f"{which} shorter than the window of {config.window} steps: so short, none can be rejected"
        " reliably, as missing steps count as agreement; calibrate with a shorter window",
        stacklevel=3,
    )


class LiveScore:
    """Scores single steps under 2 ms on one core; made by ``Judge.live``."""

    def __init__(
        self,
        policy: BehaviorCloning,
        scale: Scale,
        gripper: int | None,
        limits: ActionLimits | None = None,
    ):
        self.scale, self._limits = scale, limits or ActionLimits()
        self._predict = CompiledEnsemble(policy.network["normaliser"], policy.network["mlp"])
        size = policy.interface.action.shape[0]
        self._motion = np.array([j for j in range(size) if j != gripper])

    def score_step(self, state: np.ndarray, action: np.ndarray) -> tuple[float, float, float]:
        """Give (L, N, M) of a state float32 [O] and an action [A], the gripper left out.

        An action beyond its limits counts as if it were at them, whether ``score`` would clip or
        refuse it.
        """
        action = self._limits.scaled(action).astype(np.float32)
        predictions = self._predict(state)[:, None, self._motion]  # [K, 1, A]
        L, N = error(predictions, action[None, self._motion]), novelty(predictions)
        M = compatibility(L, N, self.scale.lam, self.scale.eta)
        return float(L[0]), float(N[0]), float(M[0])


@one_thread()
def score_under(
    policy: BehaviorCloning, demonstration: Demonstration, gripper: int | None, gripper_shift: int
) -> Scores:
    """Score a demonstration under an ensemble."""
    states, actions = demonstration
    return score(policy.predict(states), actions, gripper, gripper_shift)
