"""Are a demonstration's actions those that lead to its motion?

The base tells how actions and motion belong together, by ridge regression of the action on the
motion around it:

    a_t ~ W g_t,    g_t = (z_t, (s_(t + l) - s_t) / sd for the lags l, 1)
    r_t = (a_t - W g_t) / (sd(a) sqrt(1 + (h_t / (3 mean h))^2)),    h_t = g' (G'G + lambda)^-1 g
    C   = max over action entries and windows of log mean r_t^2 - max(log 0.1^2, m)

m is the base's own median, and a tenth of its spread is no mismatch however exact the base is. The
leverage h_t says how far from the base's own motions g_t is; what W says there counts little.
So another style of moving is no mismatch, and reversed, delayed, frozen or exchanged actions are.
The first 3 and the last 6 steps count nowhere, as lags reach beyond what was recorded there.

The base's own demonstrations are each left out in turn. ``docs/harm.md`` says how this goes with
demonstrations that were spoilt on purpose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import MinLen

from robolearn.settings import ProperShare, Settings, steps_of

FURTHEST = 3.0  # standard deviations of a state entry
LEAST_SPREAD = 0.01  # of a state entry
UNUSED = 0.01  # spread of an action entry below which the base does not use it
LEAST_USE = 0.1  # spread of an action entry, in [-1, 1]: what is small against it is noise
LAGS = (-3, -2, -1, 1, 2, 3, 4, 6)  # control steps around the one whose action is explained
BEFORE, AFTER = -min(LAGS), max(LAGS)  # first and last steps, whose motion is cut
LEAST_STEPS = BEFORE + AFTER + 10  # of a demonstration: of fewer, commands can hardly be judged
RIDGE = 1e-3  # lambda, for each step of the base's demonstrations
TOLERATED = 0.1  # of an action entry's spread: no mismatch, however exact the base is
FAR = 3.0  # multiples of the mean leverage from which on the regression is trusted less
UNMOVED = 0.002  # spread of a part of g below which nothing can be learnt from it: it is left out
FEW_VALUES = 3  # an action entry that takes no more than so many values switches
TINY = 1e-6


@dataclass(frozen=True)
class CommandConfig(Settings):
    """How the mismatch of commands is measured. Raises UserError for a value out of range."""

    windows: Annotated[tuple[ProperShare, ...], MinLen(1)] = (0.045, 0.09, 0.18)
    """Stretches over which the mismatch is averaged, shares of the base's median length."""


class Commands:
    """Which actions go with which motion in the base's demonstrations."""

    def __init__(
        self,
        states: Sequence[np.ndarray],
        actions: Sequence[np.ndarray],
        config: CommandConfig,
        entries: np.ndarray | None = None,
    ):
        """Regress actions [T, A] on the motion of states [T, O], of these ``entries``; None: all.

        There must be two demonstrations at least, with LEAST_STEPS steps each.
        """
        self.entries = np.arange(states[0].shape[1]) if entries is None else entries
        pooled = np.concatenate(states)[:, self.entries]
        length = float(np.median([len(s) for s in states]))
        self.windows = tuple(steps_of(share, length) for share in config.windows)
        self.mean, self.sd = pooled.mean(0), np.maximum(pooled.std(0), LEAST_SPREAD)
        self.shift, self.scale = self._spread_of_motion(states)
        spread = np.concatenate(actions).std(0)
        self.spread, self.used = np.maximum(spread, LEAST_USE), spread >= UNUSED  # [A]
        self.rest = np.concatenate(actions).mean(0)  # what an entry is that is not used
        pairs = list(zip(states, actions, strict=True))
        self.gram, self.product = self._sums(pairs)
        self.inverse = np.linalg.inv(self.gram)
        self.weights = self.inverse @ self.product  # W
        left_out = [self._left_out(*pair) for pair in pairs]
        self.mean_leverage = float(np.concatenate([h for _, h in left_out]).mean())
        self.own = [
            self._trusted(error, h) for error, h in left_out
        ]  # r of the base, but for its ends
        worst = np.array([mismatch(r, self.windows) for r in self.own])  # [N, W, A]
        self.typical = np.maximum(np.median(worst, axis=0), 2 * np.log(TOLERATED))
        self.own_excess = worst - self.typical  # C [N, W, A] of the base, of each entry and window

    def residuals(self, states: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """Give r [T, A] of a demonstration; at its ends, less is known than r says."""
        g = self._standard(self._motion(states))
        return self._trusted(actions - self._explained(g, self.weights), leverage(g, self.inverse))

    def excess(self, residuals: np.ndarray) -> np.ndarray:
        """Give C [W, A] of a demonstration's r [T, A], for each window and entry."""
        return mismatch(whole(residuals), self.windows) - self.typical

    def expected(self, states: np.ndarray) -> np.ndarray:
        """Give the actions [T, A] that go with the motion of states [T, O]."""
        return self._explained(self._standard(self._motion(states)), self.weights)

    def _spread_of_motion(self, states: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Give what standardises the motion: mean [F], and spread [F], infinite if there is none.

        Here and below the base's motion is computed anew where it is needed, one demonstration at
        a time: all of it is nine times as large as the states.
        """
        count = sum(len(whole(s)) for s in states)
        shift = sum(whole(self._motion(s)).sum(0) for s in states) / count
        squares = sum(np.square(whole(self._motion(s)) - shift).sum(0) for s in states)
        scale = np.sqrt(squares / count)
        return shift, np.where(scale < UNMOVED, np.inf, scale)

    def _sums(
        self, pairs: Sequence[tuple[np.ndarray, np.ndarray]]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Give G'G + lambda I [F, F] and G'a [F, A] of all demonstrations."""
        count = sum(len(whole(a)) for _, a in pairs)
        gram, product = RIDGE * count * np.eye(len(self.shift) + 1), 0.0
        for states, actions in pairs:
            g = whole(self._standard(self._motion(states)))
            gram, product = gram + g.T @ g, product + g.T @ whole(actions)
        return gram, product

    def _left_out(self, states: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Give errors and leverage of a base demonstration, but its ends, in a fit without it."""
        g, known = whole(self._standard(self._motion(states))), whole(actions)
        inverse = np.linalg.inv(self.gram - g.T @ g)
        weights = inverse @ (self.product - g.T @ known)
        return known - self._explained(g, weights), leverage(g, inverse)

    def _explained(self, g: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Give the actions [T, A] that go with g [T, F]; an entry that is not used rests."""
        return np.where(self.used, g @ weights, self.rest)

    def _motion(self, states: np.ndarray) -> np.ndarray:
        z = (states[:, self.entries] - self.mean) / self.sd
        at = np.arange(len(z))
        moved = [z[np.clip(at + lag, 0, len(z) - 1)] - z for lag in LAGS]
        return np.concatenate([np.clip(z, -FURTHEST, FURTHEST), *moved], axis=1)

    def _standard(self, features: np.ndarray) -> np.ndarray:
        """Give g [T, F], standardised, with a constant at the end."""
        standard = (features - self.shift) / self.scale
        return np.concatenate([standard, np.ones((len(features), 1))], axis=1)

    def _trusted(self, error: np.ndarray, h: np.ndarray) -> np.ndarray:
        far = np.where(self.used, h[:, None] / (FAR * self.mean_leverage), 0.0)  # [T, A]
        return error / (self.spread * np.sqrt(1.0 + np.square(far)))


def whole(rows: np.ndarray) -> np.ndarray:
    """Give those of the rows [T, ...] of a demonstration around which its motion is known whole."""
    return rows[BEFORE : len(rows) - AFTER]


def leverage(g: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    """Give g' (G'G + lambda I)^-1 g [T] of rows g [T, F]."""
    return np.einsum("tf,tf->t", g @ inverse, g)


def mismatch(residuals: np.ndarray, windows: Sequence[int]) -> np.ndarray:
    """Give the log of the largest mean of r^2 in a window, for each length and entry [W, A]."""
    squares = np.square(residuals)  # [T, A]
    total = np.concatenate([np.zeros((1, squares.shape[1])), np.cumsum(squares, axis=0)])
    largest = []
    for window in windows:
        length = min(window, len(squares))
        largest.append(((total[length:] - total[:-length]) / length).max(0))
    return np.log(np.array(largest) + TINY)


def switching(actions: np.ndarray) -> np.ndarray:
    """Say of each entry [A] of actions [M, A] whether it takes a few values only, as a gripper."""
    return np.array([len(np.unique(np.round(column, 3))) <= FEW_VALUES for column in actions.T])
