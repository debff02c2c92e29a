"""Why a demonstration would harm: which mechanism, in which steps, how much; in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from robolearn.algos.commands import BEFORE, Commands, whole
from robolearn.algos.compatibility import window_means
from robolearn.algos.contrary import most
from robolearn.algos.progress import Comparison
from robolearn.algos.waiting import Wait
from robolearn.judging.limits import ActionLimits
from robolearn.types import ArraySpec

MOST_REASONS = 3
LEAST_LOST = 0.2  # of the base's progress, averaged over a few steps: what can be a stretch
SLOWER = 0.2  # of the base's displacement: what one must lack to be slower
PEAK = 0.5  # of the largest mean loss: what a stretch loses throughout
MOSTLY = 0.6  # of a demonstration's steps: what is one reason
LEAST_SHARE = 0.15  # of S: what a stretch must make up to be told
AT_PLACE = 0.5  # of the step that counts most as a rest before a switch: where a wait begins
NAMED_SHARE = 0.1  # of a squared difference: what an entry must make up to be named
OPPOSES = -0.5  # correlation with the expected command below which a command is reversed
LEAST_DELAY, LATEST = 2, 20  # steps between which a delay of commands is told
DELAYED = 0.9  # correlation with the expected command that a delay must reach
UNLIKE = 0.01  # what must be missing to 1 without it


@dataclass(frozen=True)
class Reason:
    """One mechanism in one stretch of a demonstration."""

    mechanism: str  # "tempo", "direction", "waiting", "contrary" or "commands"
    start: int  # first step
    end: int  # one past the last
    amount: float  # sum of d^2; steps that are waited, or contrary; for commands the mean of r^2
    text: str


def stretches(marked: np.ndarray) -> list[tuple[int, int]]:
    """Give (first, one past the last) of every run of True in marked [T]."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], marked.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def smoothed(values: np.ndarray, width: int) -> np.ndarray:
    """Average values [T] over ``width`` steps around each; fewer at the ends."""
    ones = np.ones(min(width, len(values)))
    return np.convolve(values, ones, "same") / np.convolve(np.ones(len(values)), ones, "same")


def progress_reasons(
    compared: Comparison,
    lost: np.ndarray,
    departure: np.ndarray,
    width: int,
    action: ArraySpec,
    period_s: float,
    limits: ActionLimits,
) -> list[Reason]:
    """Name the stretches of a demonstration in which most of the progress is lost, worst first.

    ``lost`` [T] is d, and ``departure`` [T, A] what its actions, in [-1, 1], have more than the
    base's in such states; it is told in units of ``limits``. Losses are averaged over ``width``
    steps. What is mostly lost by going slower, on the whole of the way, is one reason.
    """
    paced, behind = compared.paced, np.clip(1.0 - compared.ahead, 0.0, 1.0)
    slow, squares = paced & (behind > SLOWER), np.square(lost)

    def reason(start: int, end: int) -> Reason:
        here, where = slice(start, end), f"in steps {start} to {end - 1}"
        amount = float(squares[here].sum())
        if squares[here] @ slow[here] > squares[here] @ ~paced[here]:
            late = float(behind[here].sum())
            much = f"{late * period_s:.1f} s" if period_s else f"{late:.0f} steps"
            return Reason("tempo", start, end, amount, f"slower than the base by {much} {where}")
        cue = named_difference(departure[here], action, limits)
        text = f"goes another way than the base ({cue}) {where}"
        return Reason("direction", start, end, amount, text)

    smooth = smoothed(lost, width)
    much = smooth >= max(LEAST_LOST, PEAK * float(smooth.max()))
    everywhere, marked = reason(0, len(lost)), stretches(much)
    if everywhere.mechanism == "tempo" and much.mean() > MOSTLY:
        return [everywhere]
    found = sorted((reason(*ends) for ends in marked), key=lambda r: -r.amount)[:MOST_REASONS]
    worst = [r for r in found if r is found[0] or r.amount > LEAST_SHARE * squares.sum()]
    return worst or [everywhere]


def waiting_reasons(
    waits: Sequence[Wait],
    actions: np.ndarray,
    action: ArraySpec,
    period_s: float,
    limits: ActionLimits,
) -> list[Reason]:
    """Name the switches that a demonstration with actions [T, A] waits for, the longest first."""

    def reason(wait: Wait) -> Reason:
        marked = np.flatnonzero(wait.rests >= AT_PLACE * wait.rests.max())
        start, end = wait.since + int(marked[0]), wait.since + int(marked[-1]) + 1
        much = f"{wait.steps * period_s:.1f} s" if period_s else f"{wait.steps:.0f} steps"
        value = limits.value_said(actions[wait.switch, wait.entry], entry=wait.entry)
        text = (
            f"waits {much} before {names_of(action)[wait.entry]} goes to {value} in steps {start}"
            f" to {end - 1}"
        )
        return Reason("waiting", start, end, wait.steps, text)

    longest = sorted(waits, key=lambda wait: -wait.steps)
    everything = sum(wait.steps for wait in waits)
    told = [w for w in longest[1:MOST_REASONS] if w.steps > LEAST_SHARE * everything]
    return [reason(wait) for wait in [*longest[:1], *told]]


def contrary_reasons(
    opposing: np.ndarray,
    actions: np.ndarray,
    entries: Sequence[int],
    action: ArraySpec,
    period_s: float,
    limits: ActionLimits,
) -> list[Reason]:
    """Name the stretches in which a demonstration's commands are contrary, x [T, E], longest first.

    ``entries`` are the E of its actions [T, A] that switch; what is contrary is named.
    """
    each = most(opposing)

    def reason(start: int, end: int) -> Reason:
        steps = float(each[start:end].sum())
        of_entries = opposing[start:end].sum(axis=0)
        named = of_entries >= PEAK * of_entries.max()
        much = f"{steps * period_s:.1f} s" if period_s else f"{steps:.1f} steps"
        told = [
            f"{names_of(action)[e]} at {limits.value_said(actions[start, e], entry=e)}"
            for e in np.array(entries)[named].tolist()
        ]
        text = (
            f"commands {', '.join(told)} for {much} where the base does the opposite, in steps"
            f" {start} to {end - 1}"
        )
        return Reason("contrary", start, end, steps, text)

    marked = each >= PEAK * each.max()
    found = sorted((reason(*ends) for ends in stretches(marked)), key=lambda r: -r.amount)
    everything = float(each.sum())
    told = [r for r in found[1:MOST_REASONS] if r.amount > LEAST_SHARE * everything]
    return [*found[:1], *told]


def command_reasons(
    commands: Commands,
    states: np.ndarray,
    actions: np.ndarray,
    residuals: np.ndarray,
    found: np.ndarray,
    action: ArraySpec,
    limits: ActionLimits,
) -> list[Reason]:
    """Say which action entries do not go with the motion, and how; ``found`` [W, A] is their C.

    ``actions`` [T, A] are in [-1, 1], and told in units of ``limits``.
    """
    entry = int(found.max(axis=0).argmax())
    given, expected = actions[:, entry], commands.expected(states)[:, entry]
    squares = np.square(whole(residuals)[:, entry])
    window = min(commands.windows[int(found[:, entry].argmax())], len(squares))
    means = window_means(squares, window)
    start = BEFORE + int(means.argmax())
    here = slice(start, start + window)
    said = partial(limits.value_said, entry=entry)
    how = _how(given, expected, here, said)
    if not commands.used[entry]:
        mine, rest = said(given[here].mean()), said(commands.rest[entry])
        how = f"is {mine}, where the base's stays at {rest}"
    text = f"{names_of(action)[entry]} {how} in steps {start} to {start + window - 1}"
    return [Reason("commands", start, start + window, float(means.max()), text)]


def names_of(action: ArraySpec) -> tuple[str, ...]:
    """Name the action's entries, by number if they have no names."""
    return action.names or tuple(f"action_{j}" for j in range(action.shape[0]))


def named_difference(
    difference: np.ndarray, action: ArraySpec, limits: ActionLimits | None = None
) -> str:
    """Name the entries of a difference [W, A] that make up most of it, largest first.

    It is one of actions in [-1, 1], and told in units of ``limits``, if there are some.
    """
    said = (limits or ActionLimits()).difference_said
    names, squares = names_of(action), np.square(difference).mean(axis=0)
    order = [j for j in np.argsort(-squares) if squares[j] >= NAMED_SHARE * squares.sum()]
    return ", ".join(f"{names[j]} {said(difference[:, j].mean(), j)}" for j in order)


def _how(given: np.ndarray, expected: np.ndarray, here: slice, said: Callable[[float], str]) -> str:
    """Say how commands [T] differ from those that the motion asks for: reversed, late, frozen."""
    if delay := _delay(given, expected):
        return f"comes {abs(delay)} steps {'late' if delay > 0 else 'early'}"
    if np.ptp(given[here]) < 1e-6 < np.ptp(expected[here]):
        return f"stays at {said(given[here].mean())}, where the motion needs other commands"
    if _alike(given, expected, 0) < OPPOSES:
        return "is reversed: the motion needs its opposite"
    mine, needed = said(given[here].mean()), said(expected[here].mean())
    return f"is {mine}, where the motion goes with {needed}"


def _delay(given: np.ndarray, expected: np.ndarray) -> int:
    """Find by how many steps commands come late, below 0 early; 0 unless that explains them well.

    A slow command looks like itself a little later: to be told, a delay must leave at most half of
    what is unlike without it.
    """
    alike = {delay: _alike(given, expected, delay) for delay in range(-LATEST, LATEST + 1)}
    best = max(alike, key=alike.__getitem__)
    unlike = 1 - alike[0]
    well = alike[best] > DELAYED and unlike > UNLIKE and 1 - alike[best] <= 0.5 * unlike
    return best if abs(best) > LEAST_DELAY and well else 0


def _alike(given: np.ndarray, expected: np.ndarray, delay: int) -> float:
    """Correlate commands with those that were needed ``delay`` steps before."""
    n = len(given) - abs(delay)
    if n < 10:
        return 0.0
    a = given[delay:] if delay >= 0 else given[:delay]
    b = expected[:n] if delay >= 0 else expected[-n:]
    if min(a.std(), b.std()) < 1e-6:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])
