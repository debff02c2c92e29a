"""What can be kept of a demonstration that is rejected: its harmless stretches, or the same path at
the base's tempo."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robolearn.algos.commands import AFTER, BEFORE, LEAST_STEPS, TINY, whole
from robolearn.judging.harm import HarmJudge
from robolearn.judging.reasons import smoothed
from robolearn.judging.verdicts import HarmVerdict

LEAST_RATE = 0.02  # a pause is passed over fifty times as fast
LEAST_ADVANCE = 0.25  # of the base's pace: steps that go along with it less than that go
MOST_WAITING = 0.1  # how much a step may be a wait for a switch
MOST_CONTRARY = 0.1  # how contrary its command may be
MOST_PASSES = 20  # until what is left is accepted


@dataclass(frozen=True)
class Kept:
    """What is kept of a demonstration: some of its steps, and what is to be done there."""

    rows: np.ndarray  # [K] of its T steps, in order
    actions: np.ndarray  # [K, A], within the limits that they were given in

    def __len__(self) -> int:
        return len(self.rows)


def without_harm(
    judge: HarmJudge, states: np.ndarray, actions: np.ndarray, verdict: HarmVerdict | None = None
) -> Kept:
    """Give what may stay of a demonstration: all of it if it is accepted, perhaps nothing.

    ``verdict``, here and below, is that on the demonstration, if it was judged together with
    others; without it, it is judged alone. What is ``harmless`` is judged again, alone, as the one
    motion that it is now: where it jumps from one stretch to the next, commands do not go with it,
    and more must go. So what is given of a rejected demonstration is accepted. Nothing is given of
    what is too short to judge, becomes so, or is still rejected after 20 passes. Actions are
    clipped, as ``HarmJudge.filter`` gives them.
    """
    return _accepted(judge, states, Kept(np.arange(len(actions)), actions), verdict)


def _accepted(
    judge: HarmJudge, states: np.ndarray, kept: Kept, verdict: HarmVerdict | None = None
) -> Kept:
    """Leave steps out until the rest is accepted; ``verdict`` is on all of what is kept."""
    rows, actions = kept.rows, judge.limits.clipped(kept.actions)
    for _ in range(MOST_PASSES):
        if len(rows) < LEAST_STEPS:
            break
        verdict = verdict or judge.score(states[rows], actions)
        if verdict.accepted:
            return Kept(rows, actions)
        stay = harmless(judge, states[rows], actions, verdict)
        if stay.all():  # nothing that could go would help
            break
        rows, actions, verdict = rows[stay], actions[stay], None
    return Kept(rows[:0], actions[:0])


def mended(
    judge: HarmJudge, states: np.ndarray, actions: np.ndarray, verdict: HarmVerdict | None = None
) -> Kept:
    """Give a demonstration at the base's tempo if it was rejected for its own; else what may stay.

    Of what is rejected still, its harmless stretches stay, as in ``without_harm``. Waits are tempo,
    and contrary commands near a switch often come of being slow.
    """
    if verdict is None and len(actions) >= LEAST_STEPS:
        verdict = judge.score(states, actions)
    reasons = verdict.reasons if verdict else ()
    if reasons and {reason.mechanism for reason in reasons} <= {"tempo", "waiting", "contrary"}:
        return _accepted(judge, states, retimed(judge, states, actions))
    return without_harm(judge, states, actions, verdict)


def harmless(
    judge: HarmJudge, states: np.ndarray, actions: np.ndarray, verdict: HarmVerdict | None = None
) -> np.ndarray:
    """Say of each step [T] whether it may stay; all may, if the demonstration is accepted.

    Of one that goes another way nothing stays: the little of it that agrees with the base leads
    into the rest. Of one that waits, its rests at the place of a switch go; of one with contrary
    commands, the steps that are so. Of one that loses
    progress by its tempo alone, those steps go that hardly go along with the base, and those where
    the base has never been; of any, those whose commands do not go with the motion; the ends, where
    that is not known, go with what is beside them. All is measured in the motion as it was
    demonstrated: that is right for a policy which learns from single steps. Raises as
    ``HarmJudge.score`` does.
    """
    verdict = verdict or judge.score(states, actions)
    stay = np.ones(len(actions), bool)
    if verdict.accepted:
        return stay
    mechanisms = {reason.mechanism for reason in verdict.reasons}
    if "direction" in mechanisms:
        return ~stay
    if "waiting" in mechanisms:
        stay &= verdict.waiting < MOST_WAITING
    if "contrary" in mechanisms:
        stay &= verdict.opposing < MOST_CONTRARY
    if "tempo" in mechanisms:
        moves = judge.progress.moves(states)
        expected = judge.progress.expected(moves)
        stay &= judge.progress.familiar(expected)
        stay &= _advancing(judge, judge.progress.advance(moves, expected), verdict.lost)
    if verdict.command_mismatch > judge.command_line:
        for window, typical in zip(judge.commands.windows, judge.commands.typical, strict=True):
            means = [smoothed(r, window) for r in np.square(whole(verdict.residuals)).T]
            excess = np.log(np.array(means).T + TINY) - typical  # [T - BEFORE - AFTER, A]
            wrong = (excess / judge.tolerated > judge.command_line).any(axis=1)
            stay &= ~np.pad(wrong, (BEFORE, AFTER), mode="edge")
    return stay


def _advancing(judge: HarmJudge, advance: np.ndarray, lost: np.ndarray) -> np.ndarray:
    """Mark [T] the steps that go along with the base, at least at a quarter of its pace.

    If these lose more than a whole demonstration may, which is so if it is slow everywhere, those
    go, too, that advance least of them.
    """
    for least in np.linspace(LEAST_ADVANCE, 1.0, 16):
        marked = advance >= least
        if judge.progress.share(lost[marked]) <= judge.progress_line:
            break
    return marked


def retimed(judge: HarmJudge, states: np.ndarray, actions: np.ndarray) -> Kept:
    """Give the same path at the base's tempo: pauses go, and slow stretches are passed faster.

    A step counts as much as it goes along with the base's displacement, one at the base's pace at
    most; the path is resampled where the sum of the steps passes whole numbers. So stretches that
    go against the base vanish, too. The new actions are those that go with the new motion in the
    base's demonstrations; entries that only switch are taken over.
    """
    moves = judge.progress.moves(states)
    advance = judge.progress.advance(moves, judge.progress.expected(moves))
    passed = np.concatenate([[0.0], np.cumsum(np.clip(advance, LEAST_RATE, 1.0))])
    kept = np.flatnonzero(np.floor(passed[1:]) > np.floor(passed[:-1]))
    if len(kept) < 2:
        return Kept(kept[:0], actions[:0])
    new_actions = judge.limits.clipped(actions)[kept].copy()
    motion = ~judge.switching
    wanted = np.clip(judge.commands.expected(states[kept]), -1.0, 1.0)
    new_actions[:, motion] = judge.limits.unscaled(wanted)[:, motion]
    return Kept(kept, new_actions)
