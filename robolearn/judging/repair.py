"""What can be kept of a demonstration that is rejected: its harmless stretches, or the same path at
the base's tempo."""

from __future__ import annotations

import numpy as np

from robolearn.algos.commands import AFTER, BEFORE, LEAST_STEPS, TINY, switching, whole
from robolearn.algos.progress import Comparison
from robolearn.judging.demonstrations import Demonstration
from robolearn.judging.harm import HarmJudge, HarmVerdict
from robolearn.judging.reasons import smoothed

LEAST_RATE = 0.02  # a pause is passed over fifty times as fast


def without_harm(
    judge: HarmJudge, states: np.ndarray, actions: np.ndarray, verdict: HarmVerdict | None = None
) -> Demonstration:
    """Give what may stay of a demonstration: all of it if it is accepted, perhaps nothing.

    With actions that are clipped, as ``HarmJudge.filter`` gives them. ``verdict``, here and below,
    is that on the demonstration, if it was judged together with others; without it, it is judged
    alone.
    """
    stay = harmless(judge, states, actions, verdict)
    return states[stay], judge.limits.clipped(actions)[stay]


def mended(
    judge: HarmJudge, states: np.ndarray, actions: np.ndarray, verdict: HarmVerdict | None = None
) -> Demonstration:
    """Give a demonstration at the base's tempo if it was rejected for its own; else what may stay.

    Of what is rejected still, its harmless stretches stay; nothing, if it has become too short.
    """
    reasons = (verdict or judge.score(states, actions)).reasons
    if reasons and all(reason.mechanism == "tempo" for reason in reasons):
        states, actions = retimed(judge, states, actions)
        verdict = None
    if len(actions) < LEAST_STEPS:
        return states[:0], actions[:0]
    return without_harm(judge, states, actions, verdict)


def harmless(
    judge: HarmJudge, states: np.ndarray, actions: np.ndarray, verdict: HarmVerdict | None = None
) -> np.ndarray:
    """Say of each step [T] whether it may stay; all may, if the demonstration is accepted.

    What goes of one that loses progress are the stretches in which d^2 is above the line on
    average, and those where the base has never been: who took another way is on it until it joins
    the base's again. Of any, those go whose commands do not go with the motion; the ends, where
    that is not known, go with what is beside them.
    """
    verdict = verdict or judge.score(states, actions)
    stay = np.ones(len(actions), bool)
    if verdict.accepted:
        return stay
    if any(reason.mechanism in ("tempo", "direction") for reason in verdict.reasons):
        progress, width = judge.progress, judge.progress.look_ahead
        lost = smoothed(np.square(verdict.lost), width) > judge.progress_line
        stay = progress.familiar(progress.expected(progress.moves(states))) & ~widened(lost, width)
    if verdict.command_mismatch > judge.command_line:
        for window, typical in zip(judge.commands.windows, judge.commands.typical, strict=True):
            means = [smoothed(r, window) for r in np.square(whole(verdict.residuals)).T]
            excess = np.log(np.array(means).T + TINY) - typical  # [T - BEFORE - AFTER, A]
            wrong = (excess / judge.tolerated > judge.command_line).any(axis=1)
            stay &= ~np.pad(wrong, (BEFORE, AFTER), mode="edge")
    return stay


def retimed(judge: HarmJudge, states: np.ndarray, actions: np.ndarray) -> Demonstration:
    """Give the same path at the base's tempo: pauses go, and slow stretches are passed faster.

    A step's rate is how far it goes along the base's displacement, as a share of that, or what it
    does not lose, 1 - d, where it goes another way; the path is resampled where the sum of the
    rates passes whole numbers. So stretches that go against the base vanish, too. The new actions
    are those that go with the new motion in the base's demonstrations; entries that only switch are
    taken over.
    """
    moves = judge.progress.moves(states)
    expected, own = judge.progress.expected(moves), judge.progress.joining([moves])[0]
    compared = Comparison(moves.ahead, own.mean, expected.mean)
    lost = judge.progress.missing(expected, own)
    rate = np.clip(np.where(compared.paced, compared.ahead, 1.0 - lost), LEAST_RATE, 1.0)
    passed = np.concatenate([[0.0], np.cumsum(smoothed(rate, judge.progress.look_ahead))])
    kept = np.flatnonzero(np.floor(passed[1:]) > np.floor(passed[:-1]))
    if len(kept) < 2:
        return states[:0], actions[:0]
    new_states, new_actions = states[kept], judge.limits.clipped(actions)[kept].copy()
    motion = ~switching(judge.base_actions)
    wanted = np.clip(judge.commands.expected(new_states), -1.0, 1.0)
    new_actions[:, motion] = judge.limits.unscaled(wanted)[:, motion]
    return new_states, new_actions


def widened(marked: np.ndarray, width: int) -> np.ndarray:
    """Mark [T] also what lies within half a ``width`` of what is marked."""
    return np.convolve(marked, np.ones(min(width, len(marked))), "same") > 0.5
