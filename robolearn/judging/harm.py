"""Would these demonstrations harm a policy cloned from one operator's? Verdicts, and why.

    judge = HarmJudge.of(observations, actions)  # lists of [T, O] and [T, A], the base operator's
    verdict = judge.score(new_observations, new_actions)  # of one demonstration
    verdicts = judge.score_all(list_of_observations, list_of_actions)  # of all that a person has
    verdict.accepted, verdict.harm, verdict.reasons
    kept_observations, kept_actions = judge.filter(list_of_observations, list_of_actions)

The measures are progress lost, S (``robolearn/algos/progress.py``), waits, W
(``robolearn/algos/waiting.py``), contrary commands, X (``robolearn/algos/contrary.py``), and the
mismatch of commands, C (``robolearn/algos/commands.py``). Each has a line, and who is beyond one is
rejected. Who differs a little harms nobody: so a line is where harm begins, unless surely more than
a share alpha of the base's own demonstrations were beyond it; then it is where these end.

A person's demonstrations are judged together where there are several: a policy learns their mean,
and what each does in another way vanishes in it. So S and W of one of them are taken in the middle
(geometric) of its own and of their median, and X is their median.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from scipy.stats import binom
from scipy.stats import t as student

from robolearn.algos.commands import AFTER, BEFORE, LEAST_STEPS, Commands, switching
from robolearn.algos.contrary import Contrary, most
from robolearn.algos.progress import Comparison, Moves, Progress, Sums
from robolearn.algos.waiting import Wait, Waits, waiting
from robolearn.errors import DataError
from robolearn.judging.demonstrations import (
    Demonstration,
    checked,
    paired,
    places_of,
    plain_interface,
)
from robolearn.judging.limits import ActionLimits, Limit, said_of
from robolearn.judging.reasons import (
    Reason,
    command_reasons,
    contrary_reasons,
    progress_reasons,
    waiting_reasons,
)
from robolearn.judging.verdicts import HarmJudgeConfig, HarmScale, HarmVerdict
from robolearn.types import Spec

LEAST_LOSS, LEAST_WAIT = 1e-4, 1e-4  # S, W: who loses nothing has a logarithm, too
LEAST_TYPICAL = 0.005  # S of a base whose demonstrations are all alike
LEAST_TYPICAL_WAIT = 0.001  # W of a base who never waits
LEAST_CONTRARY = 0.02  # X, the same: where the base has hardly any, little is told by multiples
CONFIDENCE = 0.95  # that more of the base are beyond a line than should be
ONE = "demonstration"  # what one is called that is judged alone
MARGIN = 1.1  # between what is typical and the line


@dataclass(frozen=True)
class _Judged:
    """What is known of a demonstration before it is put into words."""

    moves: Moves
    expected: Sums  # of the base, at its steps
    own: Sums  # its own, at its steps
    residuals: np.ndarray  # r [T, A]
    excess: np.ndarray  # C [W, A], as multiples of what is tolerated
    by_commands: float  # harm: above 1 is beyond the line
    lost: np.ndarray  # d [T]
    by_progress: float  # harm: above 1 is beyond the line
    waits: list[Wait]
    waited: float  # W
    by_waiting: float  # harm: above 1 is beyond the line
    opposing: np.ndarray  # x [T, E]
    contrary: float  # X
    by_contrary: float  # harm: above 1 is beyond the line

    @property
    def harm(self) -> float:
        """Give the worst of the four."""
        return max(self.by_progress, self.by_waiting, self.by_contrary, self.by_commands)


@dataclass(frozen=True)
class HarmJudge:
    """Judges demonstrations by the harm that they would do; made by ``HarmJudge.of``."""

    config: HarmJudgeConfig
    interface: Spec
    progress: Progress = field(repr=False)
    waits: Waits = field(repr=False)
    contrary: Contrary = field(repr=False)
    commands: Commands = field(repr=False)
    own_lost: np.ndarray = field(repr=False)  # S of the base's own [N]
    own_waited: np.ndarray = field(repr=False)  # W of the base's own [N]
    own_contrary: np.ndarray = field(repr=False)  # X of the base's own [N]
    own_mismatch: np.ndarray = field(repr=False)  # C of the base's [N], as multiples
    tolerated: np.ndarray = field(repr=False)  # C that is tolerated of each entry [A]
    switching: np.ndarray = field(repr=False)  # [A], entries that take a few values only
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

        ``interface`` names the entries; without it they are numbered. Those of a state that say how
        fast something goes, by name or unit, play no part. Actions are in [-1, 1], or
        else between ``limits``, low and high, numbers or [A] each; with ``clip`` what lies beyond
        is clipped, and a warning says how much. Both hold for those that are judged later, too.
        Raises DataError for fewer than 4 demonstrations, one of fewer than 19 steps, or values that
        are not finite or beyond the limits; SpecError for sizes that do not fit.
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
        all_states, all_actions = [s for s, _ in base], [a for _, a in base]
        entries = places_of(interface.observations["state"])
        progress = Progress(all_states, config.progress, all_actions, entries)
        waits = Waits(progress, all_states, all_actions, config.waiting)
        contrary = Contrary(progress, all_states, all_actions, waits.values, config.contrary)
        commands = Commands(all_states, all_actions, config.commands, entries)
        every_action = np.concatenate(all_actions)
        switch = switching(every_action)
        tolerated = np.log(np.where(switch, config.switch_tolerance, config.command_tolerance))
        return cls(
            config,
            interface,
            progress,
            waits,
            contrary,
            commands,
            own_lost=np.array([progress.share(d) for d in progress.lost_by_base]),
            own_waited=np.array(waits.of_base),
            own_contrary=np.array([contrary.share(x) for x in contrary.of_base]),
            own_mismatch=(commands.own_excess / tolerated).max(axis=(1, 2)),
            tolerated=tolerated,
            switching=switch,
            limits=within,
        )

    @cached_property
    def progress_line(self) -> float:
        """Give S beyond which a demonstration is rejected."""
        least = max(self.config.progress_line, MARGIN * self.typical_lost)
        return max(least, self._beyond(self.own_lost))

    @cached_property
    def step_line(self) -> float:
        """Give the d that all steps of a demonstration as long as the base's may lose."""
        return float(np.sqrt(self.progress_line))

    @cached_property
    def typical_lost(self) -> float:
        """Give the median S of the base's own demonstrations, or a little if they are all alike."""
        return max(float(np.median(self.own_lost)), LEAST_TYPICAL)

    @cached_property
    def typical_wait(self) -> float:
        """Give the median W of the base's own demonstrations, or a little if it never waits."""
        return max(float(np.median(self.own_waited)), LEAST_TYPICAL_WAIT)

    @cached_property
    def waiting_line(self) -> float:
        """Give W beyond which a demonstration is rejected."""
        step = 1.0 / self.progress.length
        least = max(self.config.waiting_line, step, MARGIN * self.typical_wait)
        return max(least, self._beyond(self.own_waited))

    @cached_property
    def contrary_line(self) -> float:
        """Give X beyond which a demonstration is rejected that is judged alone.

        The base has much of it in some demonstrations and little in others; the next one of its own
        is beyond the line with a probability of alpha, if the logarithms are normal.
        """
        own, count = np.log(self.own_contrary + LEAST_CONTRARY), len(self.own_contrary)
        if count < 2:
            return self._least_contrary_line
        quantile = student.ppf(1.0 - self.config.false_rejection_rate, count - 1)
        far = float(quantile * own.std(ddof=1) * np.sqrt(1 + 1 / count))
        return max(self._least_contrary_line, float(np.exp(own.mean() + far)) - LEAST_CONTRARY)

    @cached_property
    def _least_contrary_line(self) -> float:
        typical = float(np.median(self.own_contrary)) + LEAST_CONTRARY
        return self.config.contrary_tolerance * typical - LEAST_CONTRARY

    @cached_property
    def command_line(self) -> float:
        """Give the multiple of C that is tolerated beyond which a demonstration is rejected."""
        return max(1.0, self._beyond(self.own_mismatch))

    @cached_property
    def own_harm(self) -> np.ndarray:
        """Harm [N] of the base's own demonstrations, each left out of what it is held against.

        (But for the pace by which waits are told from steps: that is the mean of all.)
        """
        return np.max(
            [
                self.of_progress(self.own_lost),
                self.of_waiting(self.own_waited),
                self.of_contrary(self.own_contrary),
                self.own_mismatch / self.command_line,
            ],
            axis=0,
        )

    @cached_property
    def of_progress(self) -> HarmScale:
        """Give what makes S harm."""
        return HarmScale(LEAST_LOSS, self.typical_lost, self.progress_line)

    @cached_property
    def of_waiting(self) -> HarmScale:
        """Give what makes W harm."""
        return HarmScale(LEAST_WAIT, self.typical_wait, self.waiting_line)

    @cached_property
    def of_contrary(self) -> HarmScale:
        """Give what makes X harm if there is one demonstration only."""
        typical = float(np.median(self.own_contrary))
        return HarmScale(LEAST_CONTRARY, typical, self.contrary_line)

    @cached_property
    def of_contrary_person(self) -> HarmScale:
        """Give what makes the median X of a person's several demonstrations harm."""
        line = max(self._least_contrary_line, self._beyond(self.own_contrary))
        return replace(self.of_contrary, line=line, least_line=self._least_contrary_line)

    def score(self, observations: np.ndarray, actions: np.ndarray) -> HarmVerdict:
        """Judge one demonstration: states [T, O] and actions [T, A] within the limits.

        Raises SpecError if its sizes are not the base operator's, DataError if it is not finite,
        has fewer than 19 steps, or leaves the limits and is not to be clipped.
        """
        return self.score_all([observations], [actions])[0]

    def score_all(
        self, observations: Sequence[np.ndarray], actions: Sequence[np.ndarray]
    ) -> list[HarmVerdict]:
        """Judge a person's demonstrations together; raises as ``score`` does.

        Those that are rejected and would be alone, too, are set apart, and the rest is judged anew
        without them: one who waits in every second demonstration does not spoil the others. If
        none would be alone, the worse half is set apart.
        """
        pairs = list(paired(observations, actions))
        names = [f"demonstration {i}" for i in range(len(pairs))] if len(pairs) > 1 else [ONE]
        scaled = [
            _checked(*pair, self.interface, self.limits, name)
            for pair, name in zip(pairs, names, strict=False)
        ]
        of_contrary = self.of_contrary if len(pairs) == 1 else self.of_contrary_person
        judged = [self._alone(*pair, of_contrary) for pair in scaled]
        left, final = list(range(len(pairs))), {}
        while left:
            together = self._together([judged[i] for i in left], of_contrary)
            found = dict(zip(left, together, strict=True))
            beyond = sorted((i for i in left if found[i].harm > 1.0), key=lambda i: found[i].harm)
            surely = [i for i in beyond if judged[i].harm > 1.0]
            apart = surely or beyond[len(beyond) // 2 :] or left
            final |= {i: found[i] for i in apart}
            left = [i for i in left if i not in final]
        clipped = [int(self.limits.beyond(a).sum()) for _, a in pairs]
        each = zip(scaled, clipped, strict=True)
        return [self._verdict(*pair, final[i], of) for i, (pair, of) in enumerate(each)]

    def _alone(self, states: np.ndarray, actions: np.ndarray, of_contrary: HarmScale) -> _Judged:
        """Judge a demonstration without the person's others."""
        moves = self.progress.moves(states)
        expected, own = self.progress.expected(moves), self.progress.joining([moves])[0]
        residuals = self.commands.residuals(states, actions)
        excess = self.commands.excess(residuals) / self.tolerated
        lost = self.progress.missing(expected, own)
        by_commands = float(excess.max()) / self.command_line
        by_progress = float(self.of_progress(self.progress.share(lost)))
        waits = self.waits.before_switches(moves.where, expected, actions)
        waited = self.waits.share(waiting(waits, len(actions)))
        by_waiting = float(self.of_waiting(waited))
        opposing = self.contrary.along(moves.where, actions)
        contrary = self.contrary.share(opposing)
        by_contrary = float(of_contrary(contrary))
        return _Judged(
            moves, expected, own, residuals, excess, by_commands, lost, by_progress, waits, waited,
            by_waiting, opposing, contrary, by_contrary,
        )  # fmt: skip

    def _together(self, person: Sequence[_Judged], of_contrary: HarmScale) -> list[_Judged]:
        """Judge demonstrations of one person together."""
        joining = self.progress.joining([one.moves for one in person])
        losses = [
            self.progress.missing(one.expected, new)
            for one, new in zip(person, joining, strict=True)
        ]
        share = self.config.together
        by_progress = self.of_progress.together([self.progress.share(d) for d in losses], share)
        by_waiting = self.of_waiting.together([one.waited for one in person], share)
        by_contrary = of_contrary.together([one.contrary for one in person], 1.0)
        return [
            replace(one, lost=d, by_progress=lost, by_waiting=waited, by_contrary=contrary)
            for one, d, lost, waited, contrary in zip(
                person, losses, by_progress.tolist(), by_waiting.tolist(), by_contrary.tolist(),
                strict=True,
            )
        ]  # fmt: skip

    def _verdict(
        self, states: np.ndarray, actions: np.ndarray, found: _Judged, clipped: int
    ) -> HarmVerdict:
        """Say what was found, and why."""
        departure = actions - found.expected.actions
        action, period_s = self.interface.action, self.interface.period_s
        reasons: list[tuple[float, list[Reason]]] = []
        if found.by_progress > 1.0:
            compared = Comparison(found.moves.ahead, found.own.mean, found.expected.mean)
            of_progress = progress_reasons(
                compared, found.lost, departure, self.progress.look_ahead, action, period_s,
                self.limits,
            )  # fmt: skip
            reasons.append((found.by_progress, of_progress))
        if found.by_waiting > 1.0:
            of_waiting = waiting_reasons(found.waits, actions, action, period_s, self.limits)
            reasons.append((found.by_waiting, of_waiting))
        if found.by_contrary > 1.0:
            of_contrary = contrary_reasons(
                found.opposing, actions, tuple(self.contrary.values), action, period_s, self.limits
            )
            reasons.append((0.0, of_contrary))  # what is more special is told before it
        if found.by_commands > 1.0:
            of_commands = command_reasons(
                self.commands, states, actions, found.residuals, found.excess, action, self.limits
            )
            reasons.append((found.by_commands, of_commands))
        reasons.sort(key=lambda both: -both[0])
        return HarmVerdict(
            accepted=found.harm <= 1.0,
            harm=found.harm,
            p_value=self._p_value(found.harm),
            progress_lost=self.progress.share(found.lost),
            waited=found.waited,
            contrary=found.contrary,
            command_mismatch=float(found.excess.max()),
            reasons=tuple(reason for _, some in reasons for reason in some),
            lost=found.lost,
            waiting=waiting(found.waits, len(actions)),
            opposing=most(found.opposing),
            residuals=found.residuals,
            departure=departure,
            clipped=clipped,
        )

    def filter(
        self, observations: Sequence[np.ndarray], actions: Sequence[np.ndarray]
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Keep those of a person's demonstrations that are accepted.

        They are given as they came, but for actions beyond their limits that are to be clipped:
        they are judged as if they were at them, so they are given there, in their own units. Raises
        as ``score`` does, and says for which.
        """
        pairs = list(paired(observations, actions))
        verdicts = self.score_all(*zip(*pairs, strict=True)) if pairs else []
        kept = [
            (s, self.limits.clipped(a))
            for (s, a), verdict in zip(pairs, verdicts, strict=True)
            if verdict.accepted
        ]
        return [s for s, _ in kept], [a for _, a in kept]

    def _beyond(self, own: np.ndarray) -> float:
        """Give what no more of the base's own [N] exceed than a share alpha would by chance."""
        chance = int(binom.ppf(CONFIDENCE, len(own), self.config.false_rejection_rate))
        return float(np.sort(own)[::-1][min(chance, len(own) - 1)])

    def _p_value(self, harm: float) -> float:
        return float((1 + np.sum(self.own_harm >= harm)) / (1 + len(self.own_harm)))


def _checked(
    observations: np.ndarray,
    actions: np.ndarray,
    interface: Spec,
    limits: ActionLimits,
    where: str,
) -> Demonstration:
    """Give states and actions as float64: a regression is solved on them."""
    states, acts = checked(observations, actions, interface, where, limits)
    if len(acts) < LEAST_STEPS:
        raise DataError(
            f"{where}: {len(acts)} steps are too few to judge: {LEAST_STEPS} are needed, as the"
            f" first {BEFORE} and the last {AFTER} say nothing of commands"
        )
    return states.astype(np.float64), acts.astype(np.float64)
