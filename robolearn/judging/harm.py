"""Would these demonstrations harm a policy cloned from one operator's? Verdicts, and why.

    judge = HarmJudge.of(observations, actions)  # lists of [T, O] and [T, A], the base operator's
    verdict = judge.score(new_observations, new_actions)
    verdict.accepted, verdict.harm, verdict.reasons
    kept_observations, kept_actions = judge.filter(list_of_observations, list_of_actions)

The measures are those of ``robolearn/algos/harm.py``: progress lost, S, as a multiple of what the
base's own demonstrations lose (their median, or a tenth of their steps), and the mismatch of
commands, C. Each has a line, and who is beyond one is rejected. A line is where alpha of the base's
own demonstrations would be beyond it, but never nearer to the base than a stated multiple: who
differs a little harms nobody.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
from annotated_types import Gt

from robolearn.algos.harm import Commands, HarmConfig, Progress
from robolearn.errors import DataError
from robolearn.judging.demonstrations import Demonstration, checked, paired, plain_interface
from robolearn.judging.limits import ActionLimits, Limit, said_of
from robolearn.judging.reasons import Reason, command_reasons, progress_reasons
from robolearn.settings import ProperShare, Settings
from robolearn.types import Spec

Multiple = Annotated[float, Gt(1)]
LEAST_LOSS = 1e-9  # steps: who loses nothing has a logarithm, too


@dataclass(frozen=True)
class HarmJudgeConfig(Settings):
    """Where the lines are. Raises UserError for a value that makes no sense."""

    false_rejection_rate: ProperShare = 0.05
    """Share alpha of the base operator's own demonstrations that each of the two measures may
    reject; together they reject up to twice as many."""
    progress_tolerance: Multiple = 2.5
    """Multiple of the progress that the base's own demonstrations lose, up to which none is
    rejected."""
    typical_share: ProperShare = 0.1
    """Share of a demonstration's steps that the base is taken to lose at least, however alike its
    demonstrations are."""
    command_tolerance: Multiple = 10.0
    """The same for the squared mismatch of commands in its worst window."""
    measure: HarmConfig = HarmConfig()
    """How harm is measured."""


@dataclass(frozen=True)
class HarmVerdict:
    """What the judge says of a demonstration of T steps."""

    accepted: bool
    harm: float  # above 1 is beyond a line; logarithmic, 0 is what is typical of the base
    p_value: float  # small: hardly any base demonstration is as strange
    progress_lost: float  # S, steps
    progress_ratio: float  # S, as a multiple of what is typical of the base
    command_mismatch: float  # C
    reasons: tuple[Reason, ...]  # what is beyond its line, where, and how much: worst first
    lost: np.ndarray = field(repr=False)  # d [T], share of the base's progress that is missing
    residuals: np.ndarray = field(repr=False)  # r [T, A], actions less those that go with motion
    departure: np.ndarray = field(repr=False)  # [T, A], actions less the base's in such states
    clipped: int = 0  # steps whose actions were beyond their limits

    @property
    def worst_window(self) -> tuple[int, int]:
        """First step, and one past the last, of what the first reason is about; all, if none is."""
        first = next(iter(self.reasons), None)
        return (first.start, first.end) if first else (0, len(self.lost))


@dataclass(frozen=True)
class HarmJudge:
    """Judges demonstrations by the harm that they would do; made by ``HarmJudge.of``."""

    config: HarmJudgeConfig
    interface: Spec
    progress: Progress = field(repr=False)
    commands: Commands = field(repr=False)
    own_progress: np.ndarray = field(repr=False)  # log(S / typical_progress) of the base's [N]
    own_mismatch: np.ndarray = field(repr=False)  # C of the base's [N]
    typical_progress: float = field(repr=False)  # steps: median S, or typical_share if more
    mean_loss: float = field(repr=False)  # of the base's own steps, mean of d
    usual_loss: float = field(repr=False)  # d that a share alpha of the base's steps exceeds
    base_actions: np.ndarray = field(repr=False)  # [M, A], of all base steps
    limits: ActionLimits = ActionLimits()  # of actions, as they are given

    @classmethod
    def of(
        cls,
        observations: Sequence[np.ndarray],
        actions: Sequence[np.ndarray],
        *,
        interface: Spec | None = None,
        config: HarmJudgeConfig | None = None,
        limits: tuple[Limit, Limit] | None = None,
        clip: bool = False,
    ) -> HarmJudge:
        """Learn what one operator's demonstrations are like: states [T, O] and actions [T, A].

        ``interface`` names the entries; without it they are numbered. Actions are in [-1, 1], or
        else between ``limits``, low and high, numbers or [A] each; with ``clip`` what lies beyond
        is clipped, and a warning says how much. Both hold for those that are judged later, too.
        Raises DataError for fewer than 4 demonstrations or values that are not finite or beyond
        the limits, SpecError for sizes that do not fit.
        """
        config = config or HarmJudgeConfig()
        pairs = list(paired(observations, actions))
        if len(pairs) < 4:
            raise DataError(f"{len(pairs)} demonstrations say too little: give at least 4")
        interface = interface or plain_interface(pairs)
        within = ActionLimits.of(limits, clip, interface.action.shape[0])
        base = [
            _checked(s, a, interface, within, f"demonstration {i}")
            for i, (s, a) in enumerate(pairs)
        ]
        if clipped := sum(int(within.beyond(a).sum()) for _, a in pairs):
            told = said_of(clipped, sum(len(a) for _, a in pairs))
            warnings.warn(f"base demonstrations: {told}", stacklevel=2)
        progress = Progress([s for s, _ in base], config.measure)
        commands = Commands([s for s, _ in base], [a for _, a in base], config.measure)
        losses = list(progress.lost_by_base())
        steps, alpha = np.concatenate(losses), config.false_rejection_rate
        lost = np.array([d.sum() for d in losses])
        least = config.typical_share * float(np.median([len(a) for _, a in base]))
        typical = max(float(np.median(lost)), least)
        return cls(
            config,
            interface,
            progress,
            commands,
            own_progress=np.log(np.maximum(lost, LEAST_LOSS) / typical),
            own_mismatch=commands.own_excess.max(axis=(1, 2)),
            typical_progress=typical,
            mean_loss=float(steps.mean()),
            usual_loss=max(2 * config.typical_share, float(np.quantile(steps, 1.0 - alpha))),
            base_actions=np.concatenate([a for _, a in base]),
            limits=within,
        )

    @property
    def progress_line(self) -> float:
        """Give log(S / typical_progress) beyond which a demonstration is rejected."""
        return self._line(self.own_progress, self.config.progress_tolerance)

    @property
    def command_line(self) -> float:
        """Give C beyond which a demonstration is rejected."""
        return self._line(self.own_mismatch, self.config.command_tolerance)

    @property
    def own_harm(self) -> np.ndarray:
        """Harm [N] of the base's own demonstrations, each left out of what it is held against."""
        return np.maximum(
            self.own_progress / self.progress_line, self.own_mismatch / self.command_line
        )

    def score(self, observations: np.ndarray, actions: np.ndarray) -> HarmVerdict:
        """Judge one demonstration: states [T, O] and actions [T, A] within the limits.

        Raises SpecError if its sizes are not the base operator's, DataError if it is not finite, or
        leaves the limits and is not to be clipped.
        """
        states, acts = _checked(observations, actions, self.interface, self.limits)
        compared = self.progress.compare(states)
        departure = acts - self.base_actions[compared.nearest].mean(axis=1)
        residuals = self.commands.residuals(states, acts)
        lost = float(compared.lost.sum())
        ratio = max(lost, LEAST_LOSS) / self.typical_progress
        found = self.commands.excess(residuals)
        beyond = np.array([np.log(ratio) / self.progress_line, found.max() / self.command_line])
        action, width = self.interface.action, self.progress.look_ahead
        reasons = [
            lambda: progress_reasons(compared, departure, width, action, self.interface.period_s),
            lambda: command_reasons(self.commands, states, acts, residuals, found, action),
        ]
        worst_first = [reasons[i]() for i in np.argsort(-beyond) if beyond[i] > 1.0]
        return HarmVerdict(
            accepted=bool((beyond <= 1.0).all()),
            harm=float(beyond.max()),
            p_value=self._p_value(float(beyond.max())),
            progress_lost=lost,
            progress_ratio=ratio,
            command_mismatch=float(found.max()),
            reasons=tuple(reason for of_measure in worst_first for reason in of_measure),
            lost=compared.lost,
            residuals=residuals,
            departure=departure,
            clipped=int(self.limits.beyond(actions).sum()),
        )

    def filter(
        self, observations: Sequence[np.ndarray], actions: Sequence[np.ndarray]
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Keep the demonstrations that are accepted; raises as ``score`` does."""
        kept = [pair for pair in paired(observations, actions) if self.score(*pair).accepted]
        return [s for s, _ in kept], [a for _, a in kept]

    def _line(self, own: np.ndarray, tolerance: float) -> float:
        quantile = float(np.quantile(own, 1.0 - self.config.false_rejection_rate))
        return max(float(np.log(tolerance)), quantile)

    def _p_value(self, harm: float) -> float:
        return float((1 + np.sum(self.own_harm >= harm)) / (1 + len(self.own_harm)))


def _checked(
    observations: np.ndarray,
    actions: np.ndarray,
    interface: Spec,
    limits: ActionLimits,
    where: str = "demonstration",
) -> Demonstration:
    """Give states and actions as float64: a regression is solved on them."""
    states, acts = checked(observations, actions, interface, where, limits)
    return states.astype(np.float64), acts.astype(np.float64)
