"""Harm while it happens: scores for a panel beside the person who demonstrates."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from robolearn.algos.commands import AFTER, BEFORE
from robolearn.algos.contrary import most
from robolearn.algos.progress import Comparison, Moves, Sums
from robolearn.algos.waiting import signs_of
from robolearn.errors import DataError, SpecError
from robolearn.judging.harm import HarmJudge
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
        k = self._progress.look_ahead
        self._states: deque[np.ndarray] = deque(maxlen=max(k, BEFORE + AFTER) + 1)
        self._actions: deque[np.ndarray] = deque(maxlen=max(k, AFTER) + 1)
        self._recent: deque[float] = deque([0.0] * k, maxlen=k)
        self._where: list[np.ndarray] = []  # z
        self._ahead: list[np.ndarray] = []  # D
        self._expected: deque[Sums] = deque(maxlen=k + 1)  # the base's, at the last z
        self._total, self._count = 0.0, 0
        self._waits = _LiveWaits(judge)
        self._signs: list[np.ndarray] = []  # g, of entries that switch
        self._around: list[np.ndarray] = []  # m

    def step(self, state: np.ndarray, action: np.ndarray) -> LiveStep:
        """Take in a state [O] and the action [A] that is sent there.

        An action beyond the judge's limits counts as if it were at them, whether ``score`` would
        clip or refuse it: a session goes on. Raises SpecError for another size, DataError for what
        is not finite or too large; such a step does not count.
        """
        interface = self._judge.interface
        state = self._checked("state", state, interface.observations["state"])
        action = self._checked("action", action, interface.action)
        self._states.append(state)
        self._actions.append(np.clip(self._judge.limits.scaled(action), -1.0, 1.0))
        self._count += 1
        z = self._progress.standardise(state)
        self._waits.step(z, self._expected[-1] if self._expected else None, self._actions[-1])
        self._where.append(z)
        self._expected.append(self._progress.expected_at(z[None]))
        k, lost, cue = self._progress.look_ahead, 0.0, ""
        if self._count > k:
            lost, cue = self._behind(k)
        self._total += self._progress.share(np.array([lost]))
        self._recent.append(lost)
        recent = float(np.mean(self._recent))
        judge, waits = self._judge, self._waits
        opposing = self._opposing(z)
        against = judge.contrary.share(opposing)
        contrary = against / judge.contrary_line
        share = max(self._total / judge.progress_line, waits.waited / judge.waiting_line, contrary)
        level, waiting = recent / judge.step_line / 2, waits.now / judge.waiting_line / 2
        if waiting > level:
            level, cue = waiting, "faster"
        switching = contrary * float(most(opposing[-1:])[0]) / 2
        if switching > level:
            level, cue = switching, "switch"
        said = cue if level > 0.5 else ""
        return LiveStep(lost, self._total, waits.waited, against, share, min(level, 1.0), said)

    def residuals(self) -> np.ndarray | None:
        """Give r [A] of the action that was sent max(LAGS) steps ago; None before there is one."""
        if self._count <= AFTER:
            return None
        states = list(self._states)[-(BEFORE + AFTER + 1) :]
        at = len(states) - 1 - AFTER
        padded = np.array([states[0]] * (BEFORE - at) + states)
        action = np.array(self._actions)[-AFTER - 1]
        whole = np.tile(action, (len(padded), 1))
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

    def _opposing(self, z: np.ndarray) -> np.ndarray:
        """Give x [T, E] of all steps so far; what has switched is early while nothing follows."""
        contrary = self._judge.contrary
        self._signs.append(signs_of(self._actions[-1][None], contrary.values)[0])
        self._around.append(contrary.around(z[None])[0])
        return contrary.of(np.array(self._signs), np.array(self._around))

    def _behind(self, k: int) -> tuple[float, str]:
        """Give d of the step k steps ago, and what stood out there."""
        then, now = self._where[-k - 1], self._where[-1]
        self._ahead.append((now - then) / self._progress.sd_k)
        step = Moves(then[None], self._ahead[-1][None])
        so_far = Moves(np.array(self._where[:-k]), np.array(self._ahead))
        expected = self._expected[0]
        own = self._progress.joining_so_far(step.where, so_far)
        lost = float(self._progress.missing(expected, own)[0])
        if Comparison(step.ahead, own.mean, expected.mean).paced[0]:
            return lost, "faster"
        judge = self._judge
        difference = np.array(self._actions)[-k - 1] - expected.actions
        return lost, named_difference(difference, judge.interface.action, judge.limits)


class _LiveWaits:
    """Counts rests at one place until a switch comes, of each entry that switches."""

    def __init__(self, judge: HarmJudge):
        self._of = judge.waits
        self._places: list[np.ndarray] = []  # z
        self._paces: list[float] = []  # r
        self._since = dict.fromkeys(self._of.values, 0)
        self._signs: dict[int, float] = {}
        self._waiting: list[float] = []  # w, of the switches that have been
        self.waited = 0.0  # W so far
        self.now = 0.0  # what W would gain by a switch here, while resting where the base switches

    def step(self, z: np.ndarray, before: Sums | None, action: np.ndarray) -> None:
        """Take in a standardised state [O], and the action [A], within [-1, 1], that is sent there.

        ``before`` are the base's sums at the state before, if there was one.
        """
        if before is not None:
            stride = self._of.progress.strides(np.array([self._places[-1], z]))[:1]
            self._paces.append(float(self._of.paces(stride, before)[0]))
            self._waiting.append(0.0)
        self._places.append(z)
        rests = self._of.rests(np.array(self._paces))
        waits = {entry: self._wait(rests, since) for entry, since in self._since.items()}
        (row,) = signs_of(action[None], self._of.values)
        signs = dict(zip(self._of.values, row.tolist(), strict=True))
        at_rest = before is not None and rests[-1]
        due = [waits[e].sum() for e in waits if at_rest and self._due(before, e, action[e])]
        self.now = max(due, default=0.0) / self._of.progress.length
        for entry, wait in waits.items():
            if entry in self._signs and self._signs[entry] != signs[entry]:
                since = self._since[entry]
                self._waiting[since:] = np.maximum(self._waiting[since:], wait).tolist()
                self._since[entry] = len(rests)
        self.waited = self._of.share(np.array(self._waiting))
        self._signs = signs

    def _wait(self, rests: np.ndarray, since: int) -> np.ndarray:
        """Give w of the steps from ``since`` on, should there be a switch now."""
        if since == len(rests):
            return np.zeros(0)
        return rests[since:] * self._of.near(np.array(self._places[since:-1]), self._places[-1])

    def _due(self, expected: Sums, entry: int, command: float) -> bool:
        """Say whether the base often gives the other command where these are its sums."""
        low, high = self._of.values[entry]
        return abs(float(expected.actions[0, entry]) - command) > DUE * (high - low)
