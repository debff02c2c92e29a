"""Harm while it happens: scores for a panel beside the person who demonstrates."""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import dataclass

import numpy as np

from robolearn.algos.commands import AFTER, BEFORE
from robolearn.algos.contrary import most
from robolearn.algos.progress import MOST_STEPS, Comparison, Sums
from robolearn.algos.waiting import signs_of
from robolearn.errors import DataError, SpecError
from robolearn.judging.harm import HarmJudge
from robolearn.judging.nearby import Rows, Steps, weights_of
from robolearn.judging.reasons import named_difference
from robolearn.types import ArraySpec

DUE = 0.2  # of the base's commands at a place are the other one: a switch is due there


@dataclass(frozen=True)
class LiveStep:
    """What is known at one control step."""

    lost: float  # d, of the step ``look_ahead`` steps ago; 0 before there is one
    progress_lost: float  # S so far: a step counts those before it only, not those to come
    waited: float  # W so far: of the switches that have been
    contrary: float  # X so far
    share_of_line: float  # of what a whole demonstration may lose, wait, or contradict: at 1 it is
    # rejected
    level: float  # of what was lost over the last short while, is waited, or contradicts: 0 green
    # to 1 red; at 0.5 it is as much as may be lost throughout, or waited or contradicted in all
    cue: str  # "faster", "switch", or what the action has more than the base's, in the units in
    # which it is given, "dz +0.62"; "" if all is well


class LiveHarm:
    """Scores one demonstration as it grows, within a control loop."""

    def __init__(self, judge: HarmJudge):
        self._judge, self._progress, self._commands = judge, judge.progress, judge.commands
        k, none = self._progress.look_ahead, np.zeros((0, len(self._progress.entries)))
        self._states: deque[np.ndarray] = deque(maxlen=max(k, BEFORE + AFTER) + 1)
        self._actions: deque[np.ndarray] = deque(maxlen=max(k, AFTER) + 1)
        self._recent: deque[float] = deque([0.0] * k, maxlen=k)
        self._where: deque[np.ndarray] = deque(maxlen=k + 1)  # z
        self._expected: deque[Sums] = deque(maxlen=k + 1)  # the base's, at these z
        self._own = Steps(none, none)  # z and D, as far as D is known
        self._total, self._count = 0.0, 0
        self._base = _Base(judge)
        self._waits, self._contrary = _LiveWaits(judge), _LiveContrary(judge)

    def step(self, state: np.ndarray, action: np.ndarray) -> LiveStep:
        """Take in a state [O] and the action [A] that is sent there.

        An action beyond the judge's limits counts as if it were at them, whether ``score`` would
        clip or refuse it: a session goes on. Raises SpecError for another size, DataError for what
        is not finite or too large; such a step does not count.
        """
        judge = self._judge
        state = self._checked("state", state, judge.interface.observations["state"])
        action = self._checked("action", action, judge.interface.action)
        self._states.append(state)
        self._actions.append(np.clip(judge.limits.scaled(action), -1.0, 1.0))
        self._count += 1
        z = self._progress.standardise(state)
        expected, around = self._base.at(z)
        signs = signs_of(self._actions[-1][None], judge.contrary.values)[0]
        before = self._expected[-1] if self._expected else None
        self._waits.step(z, before, self._actions[-1], signs)
        self._contrary.step(signs, around)
        self._where.append(z)
        self._expected.append(expected)
        lost, compared = 0.0, None
        if self._count > self._progress.look_ahead:
            lost, compared = self._behind()
        self._total += self._progress.share(np.array([lost]))
        self._recent.append(lost)
        return self._said(lost, compared)

    def residuals(self) -> np.ndarray | None:
        """Give r [A] of the action that was sent max(LAGS) steps ago; None before there is one."""
        if self._count <= AFTER:
            return None
        states = list(self._states)[-(BEFORE + AFTER + 1) :]
        at = len(states) - 1 - AFTER
        padded = np.array([states[0]] * (BEFORE - at) + states)
        whole = np.tile(self._actions[-AFTER - 1], (len(padded), 1))
        return self._commands.residuals(padded, whole)[BEFORE]

    def _checked(self, name: str, values: np.ndarray, spec: ArraySpec) -> np.ndarray:
        """Give a row as float64, in single precision as ``score`` takes it."""
        with np.errstate(over="ignore"):
            row = np.asarray(values).astype(np.float32).astype(np.float64)
        if row.shape != spec.shape:
            raise SpecError(
                f"step {self._count}: {name} has shape {row.shape} instead of {spec.shape}"
            )
        if not np.isfinite(row).all():
            raise DataError(f"step {self._count}: {name} is not finite, or too large")
        return row

    def _behind(self) -> tuple[float, Comparison]:
        """Give d of the step ``look_ahead`` steps ago, and where it leads."""
        then, expected = self._where[0], self._expected[0]
        ahead = (self._where[-1] - then) / self._progress.sd_k
        self._own.add(then, ahead)
        weights = weights_of(self._own.squared_distances(then), self._progress.width)
        own = Sums(*(self._progress.count * sums for sums in self._own.sums(weights)))
        lost = float(self._progress.missing(expected, own)[0])
        return lost, Comparison(ahead[None], own.mean, expected.mean)

    def _said(self, lost: float, compared: Comparison | None) -> LiveStep:
        """Put together what is known; of what is worst the cue is told."""
        judge, waits = self._judge, self._waits
        contrary = self._contrary.share / judge.contrary_line
        share = max(self._total / judge.progress_line, waits.waited / judge.waiting_line, contrary)
        levels = {
            "": sum(self._recent) / len(self._recent) / judge.step_line / 2,
            "faster": waits.now / judge.waiting_line / 2,
            "switch": contrary * self._contrary.now / 2,
        }
        cue = max(levels, key=levels.__getitem__)
        level = levels[cue]
        if level <= 0.5:
            cue = ""
        elif not cue:
            cue = self._standing_out(compared)
        return LiveStep(
            lost, self._total, waits.waited, self._contrary.share, share, min(level, 1.0), cue
        )

    def _standing_out(self, compared: Comparison) -> str:
        """Say what stood out at the step ``look_ahead`` steps ago."""
        if compared.paced[0]:
            return "faster"
        judge = self._judge
        then = self._actions[-self._progress.look_ahead - 1]
        difference = then - self._expected[0].actions
        return named_difference(difference, judge.interface.action, judge.limits)


class _Base:
    """Says what the base does around one state; how far that is, is worked out once."""

    def __init__(self, judge: HarmJudge):
        self._progress, self._contrary = judge.progress, judge.contrary
        thin = judge.progress.base.thinned(MOST_STEPS)
        self._weight = thin.weight
        self._steps = Steps(thin.where, np.column_stack([thin.ahead, thin.also]))
        self._signs = signs_of(thin.also[:, 1:], judge.contrary.values).astype(np.float32)  # g

    def at(self, z: np.ndarray) -> tuple[Sums, np.ndarray]:
        """Give the sums of m_B, and m [E] of contrary commands, at a standardised state z [O]."""
        squared = self._steps.squared_distances(z)
        both = self._steps.sums(weights_of(squared, self._progress.width))
        sums, weight = (self._weight * some for some in both)
        weights = weights_of(squared, self._contrary.width)
        around = (weights @ self._signs).astype(float) / float(weights.sum())
        return Sums(sums[:, : len(z)], weight, sums[:, len(z) :]), around


class _LiveContrary:
    """Counts commands that contradict the base's; what has switched is early while none follows."""

    def __init__(self, judge: HarmJudge):
        self._of, none = judge.contrary, np.zeros((0, len(judge.contrary.values)))
        self._signs, self._around = Rows(none), Rows(none)  # g, m
        self._switched = np.zeros(none.shape[1], bool)  # entries that ever did
        self.share = 0.0  # X so far
        self.now = 0.0  # how contrary this command is

    def step(self, signs: np.ndarray, around: np.ndarray) -> None:
        """Take in commands g [E], and m [E] of the base."""
        before = self._signs.so_far[-1:]
        switches = (signs != before).any(axis=0) if len(before) else np.zeros_like(self._switched)
        self._switched |= switches
        self._signs.add(signs)
        self._around.add(around)
        if switches.any():  # steps before it that were early may be late now
            opposing = self._of.of(self._signs.so_far, self._around.so_far)
            self.share, self.now = self._of.share(opposing), float(most(opposing[-1:])[0])
            return
        last = np.array([np.where(self._switched, -signs, signs), signs])
        opposing = self._of.of(last, np.array([around, around]))[1:]
        self.now = float(most(opposing)[0])
        self.share += self._of.share(opposing)


class _LiveWaits:
    """Counts rests at one place until a switch comes, of each entry that switches."""

    def __init__(self, judge: HarmJudge):
        self._of, none = judge.waits, np.zeros(0)
        self._places = Rows(np.zeros((0, len(judge.progress.entries))))  # z
        self._paces, self._waiting = Rows(none), Rows(none)  # r; w of the switches that have been
        self._since = dict.fromkeys(self._of.values, 0)
        self._signs: np.ndarray | None = None
        self.waited = 0.0  # W so far
        self.now = 0.0  # what W would gain by a switch here, while resting where the base switches

    def step(
        self, z: np.ndarray, before: Sums | None, action: np.ndarray, signs: np.ndarray
    ) -> None:
        """Take in a standardised state [O], and the action [A], within [-1, 1], that is sent there.

        ``before`` are the base's sums at the state before, if there was one; ``signs`` the action's
        entries that switch [E].
        """
        self._places.add(z)
        self.now = 0.0
        if before is not None:
            stride = self._of.progress.strides(self._places.so_far[-2:])[:1]
            self._paces.add(self._of.paces(stride, before)[0])
            self._waiting.add(0.0)
            due = [e for e in self._of.values if self._may_rest and self._due(before, e, action[e])]
            switched = list(itertools.compress(self._of.values, signs != self._signs))
            if due or switched:
                self._look_back(due, switched)
        self._signs = signs

    def _look_back(self, due: list[int], switched: list[int]) -> None:
        """Count the rests before entries that have switched, and before those that are due to."""
        rests = self._of.rests(self._paces.so_far)
        waits = {e: self._wait(rests, self._since[e]) for e in {*due, *switched}}
        if rests[-1]:
            self.now = max((self._of.share(waits[e]) for e in due), default=0.0)
        for entry in switched:
            since = self._since[entry]
            counted = self._waiting.so_far[since:]
            np.maximum(counted, waits[entry], out=counted)
            self._since[entry] = len(rests)
        self.waited = self._of.share(self._waiting.so_far)

    @property
    def _may_rest(self) -> bool:
        """Say whether the last step is slow enough for a rest, whatever the own pace is."""
        return bool(self._paces.so_far[-1] < self._of.config.at_rest)

    def _wait(self, rests: np.ndarray, since: int) -> np.ndarray:
        """Give w of the steps from ``since`` on, should there be a switch now."""
        places = self._places.so_far
        return rests[since:] * self._of.near(places[since:-1], places[-1])

    def _due(self, expected: Sums, entry: int, command: float) -> bool:
        """Say whether the base often gives the other command where these are its sums."""
        low, high = self._of.values[entry]
        return abs(float(expected.actions[0, entry]) - command) > DUE * (high - low)
