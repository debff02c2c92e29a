"""Would a demonstration harm a policy that is cloned from a base operator's demonstrations?

Two measures, neither of which needs a network. **Progress lost** sees states only:

    z_t  = clip((s_t - mean) / sd, -3, 3)                      where the demonstration is
    D_t  = (z_(t + k) - z_t) / sd_k                            where it goes within k steps
    d_t  = min_j min(1, sum_i max(0, D_ji (D_ji - D_ti)) / (sum_i D_ji^2 + c))
    S    = sum_t d_t                                           steps of the base's progress lost

j are the n base states that are nearest to z_t, and i the entries of the state: d_t is the share of
the base's displacement that is missing or reversed, next to the neighbour which it disagrees with
least. A slow operator or one who pauses loses progress at many steps, one who comes from the other
side at those where the ways part; who differs where the base never goes, or goes further, loses
none. Added to the base's data, such steps teach the policy to stand still or to turn round.

**Command mismatch** asks whether the actions are those that lead to this motion. The base tells how
actions and motion belong together, by ridge regression of the action on the motion around it:

    a_t ~ W g_t,    g_t = (z_t, (s_(t + l) - s_t) / sd for the lags l, 1)
    r_t = (a_t - W g_t) / (sd(a) sqrt(1 + (h_t / (3 mean h))^2)),    h_t = g' (G'G + lambda)^-1 g
    C   = max over action entries and windows of log mean r_t^2 - max(log 0.1^2, m)

m is the base's own median, and a tenth of its spread is no mismatch however exact the base is. The
leverage h_t says how far from the base's own motions g_t is; what W says there counts little.
So another style of moving is no mismatch, and reversed, delayed, frozen or exchanged actions are.

Scores of the base's own demonstrations are taken with each left out in turn. ``docs/harm.md`` says
how both measures go with the harm that was measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import MinLen
from pydantic import PositiveFloat, PositiveInt
from scipy.spatial import cKDTree

from robolearn.settings import ProperShare, Settings

FURTHEST = 3.0  # standard deviations of a state entry
LEAST_SPREAD = 0.01  # of a state or action entry, and of a standardised displacement
LAGS = (-3, -2, -1, 1, 2, 3, 4, 6)  # control steps around the one whose action is explained
RIDGE = 1e-3  # lambda, for each step of the base's demonstrations
TOLERATED = 0.1  # of an action entry's spread: no mismatch, however exact the base is
AT_REST = 0.3  # of the base's displacement: who goes less far rests
SAME_WAY = 0.5  # cosine of two displacements above which one is the other at another pace
MANY = 0.4  # share of the neighbours whose way it is, if it is the base's way
FAR = 3.0  # multiples of the mean leverage from which on the regression is trusted less
UNMOVED = 0.002  # spread of a part of g below which nothing can be learnt from it: it is left out
TINY = 1e-6


@dataclass(frozen=True)
class HarmConfig(Settings):
    """How harm is measured. Raises UserError for a value out of range.

    Times are shares of the base's demonstrations (of their median length), so that they fit tasks
    of seconds and of minutes, at any control rate.
    """

    neighbours: PositiveInt = 10
    """Base states that a state is compared with, n."""
    look_ahead: ProperShare = 0.045
    """How far ahead a displacement looks, k."""
    least_motion: PositiveFloat = 0.5
    """Squared displacement below which the base counts as standing, c: what it lacks there is not
    missed."""
    windows: Annotated[tuple[ProperShare, ...], MinLen(1)] = (0.045, 0.09, 0.18)
    """Stretches over which the mismatch of commands is averaged."""


def steps(share: float, length: float) -> int:
    """Give so large a share of a length as a number of steps, at least one."""
    return max(1, round(share * length))


@dataclass(frozen=True)
class Comparison:
    """Where a demonstration goes, and where the base goes from there."""

    missing: np.ndarray  # short_tj [T, n], share of a neighbour's displacement that is missing
    mine: np.ndarray  # D_t [T, O]
    theirs: np.ndarray  # D_j [T, n, O]
    nearest: np.ndarray  # j [T, n], numbers of the base's steps

    @property
    def lost(self) -> np.ndarray:
        """Give d [T] in [0, 1]."""
        return self.missing.min(axis=1)

    @property
    def ahead(self) -> np.ndarray:
        """Give how far [T] it goes along the neighbour that it disagrees with least, as a share."""
        best = self.theirs[np.arange(len(self.mine)), self.missing.argmin(axis=1)]
        return (self.mine * best).sum(axis=1) / np.maximum(np.square(best).sum(axis=1), TINY)

    @property
    def paced(self) -> np.ndarray:
        """Say of each step [T] whether it is a rest, or many neighbours' way at another pace."""
        mine = self.mine[:, None]
        size, own = np.linalg.norm(self.theirs, axis=2), np.linalg.norm(mine, axis=2)
        along = (mine * self.theirs).sum(axis=2)
        return ((own < AT_REST * size) | (along > SAME_WAY * own * size)).mean(axis=1) > MANY


class Progress:
    """Where the base operator goes from where: measures the progress that others lose."""

    def __init__(self, states: Sequence[np.ndarray], config: HarmConfig):
        """Look at the base's demonstrations, states [T, O] each; two at least."""
        pooled = np.concatenate(states)
        self.config = config
        self.look_ahead = steps(config.look_ahead, float(np.median([len(s) for s in states])))
        self.mean, self.sd = pooled.mean(0), np.maximum(pooled.std(0), LEAST_SPREAD)
        where = [self.standardise(s) for s in states]  # z
        whither = [self._ahead(z) for z in where]
        self.sd_k = np.concatenate(whither).std(0) + LEAST_SPREAD
        self.displacements = np.concatenate(whither) / self.sd_k  # D [M, O]
        self.where = np.concatenate(where)
        self.owner = np.repeat(np.arange(len(states)), [len(s) for s in states])
        self._tree = cKDTree(self.where)

    def standardise(self, states: np.ndarray) -> np.ndarray:
        """Give z [T, O] of states [T, O]."""
        return np.clip((states - self.mean) / self.sd, -FURTHEST, FURTHEST)

    def compare(self, states: np.ndarray) -> Comparison:
        """Hold a new demonstration's states [T, O] against the base."""
        z = self.standardise(states)
        return self.compare_moves(z, self._ahead(z))

    def compare_moves(self, z: np.ndarray, ahead: np.ndarray) -> Comparison:
        """Hold moves z_(t + k) - z_t [T, O] from z [T, O] against the base."""
        nearest, mine = self._nearest(self._tree, z), ahead / self.sd_k
        theirs = self.displacements[nearest]
        return Comparison(self.missing(mine, theirs), mine, theirs, nearest)

    def lost_by_base(self) -> Iterator[np.ndarray]:
        """Give d [T] of each base demonstration, compared with the others only."""
        for i in range(self.owner[-1] + 1):
            mine, others = self.owner == i, np.flatnonzero(self.owner != i)
            nearest = self._nearest(cKDTree(self.where[others]), self.where[mine])
            base = self.displacements[others[nearest]]
            yield self.missing(self.displacements[mine], base).min(1)

    def missing(self, displacement: np.ndarray, base: np.ndarray) -> np.ndarray:
        """Give the share [T, n] of the base's displacements [T, n, O] that D [T, O] lacks."""
        lacking = np.maximum(0.0, base * (base - displacement[:, None])).sum(-1)
        return np.minimum(1.0, lacking / (np.square(base).sum(-1) + self.config.least_motion))

    def _ahead(self, z: np.ndarray) -> np.ndarray:
        """Give z_(t + k) - z_t; beyond the end a demonstration stays where it is."""
        return z[np.minimum(np.arange(len(z)) + self.look_ahead, len(z) - 1)] - z

    def _nearest(self, tree: cKDTree, z: np.ndarray) -> np.ndarray:
        """Give the numbers [T, n] of the points of a tree that are nearest to z [T, O]."""
        count = min(self.config.neighbours, tree.n)
        return tree.query(z, k=np.arange(1, count + 1))[1]  # [T, n]


class Commands:
    """Which actions go with which motion in the base's demonstrations."""

    def __init__(
        self, states: Sequence[np.ndarray], actions: Sequence[np.ndarray], config: HarmConfig
    ):
        """Regress actions [T, A] on the motion of states [T, O]; two demonstrations at least."""
        pooled = np.concatenate(states)
        length = float(np.median([len(s) for s in states]))
        self.windows = tuple(steps(share, length) for share in config.windows)
        self.mean, self.sd = pooled.mean(0), np.maximum(pooled.std(0), LEAST_SPREAD)
        features = [self._motion(s) for s in states]
        self.shift = np.concatenate(features).mean(0)
        scale = np.concatenate(features).std(0)
        self.scale = np.where(scale < UNMOVED, np.inf, scale)
        rows = [self._standard(g) for g in features]
        grams = [g.T @ g for g in rows]
        products = [g.T @ a for g, a in zip(rows, actions, strict=True)]
        ridge = RIDGE * len(pooled) * np.eye(len(grams[0]))
        gram, product = sum(grams) + ridge, sum(products)
        self.inverse = np.linalg.inv(gram)
        self.weights = self.inverse @ product  # W
        left_out = []
        for g, a, own_gram, own_product in zip(rows, actions, grams, products, strict=True):
            inverse = np.linalg.inv(gram - own_gram)
            left_out.append((a - g @ inverse @ (product - own_product), leverage(g, inverse)))
        self.mean_leverage = float(np.concatenate([h for _, h in left_out]).mean())
        self.spread = np.maximum(np.concatenate(actions).std(0), LEAST_SPREAD)
        self.own = [self._trusted(error, h) for error, h in left_out]  # r of the base
        worst = np.array([mismatch(r, self.windows) for r in self.own])  # [N, W, A]
        self.typical = np.maximum(np.median(worst, axis=0), 2 * np.log(TOLERATED))
        self.own_excess = worst - self.typical  # C [N, W, A] of the base, of each entry and window

    def residuals(self, states: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """Give r [T, A] of a demonstration."""
        g = self._standard(self._motion(states))
        return self._trusted(actions - g @ self.weights, leverage(g, self.inverse))

    def excess(self, residuals: np.ndarray) -> np.ndarray:
        """Give C [W, A] of a demonstration's r [T, A], for each window and entry."""
        return mismatch(residuals, self.windows) - self.typical

    def expected(self, states: np.ndarray) -> np.ndarray:
        """Give the actions [T, A] that go with the motion of states [T, O]."""
        return self._standard(self._motion(states)) @ self.weights

    def _motion(self, states: np.ndarray) -> np.ndarray:
        z = (states - self.mean) / self.sd
        at = np.arange(len(z))
        moved = [z[np.clip(at + lag, 0, len(z) - 1)] - z for lag in LAGS]
        return np.concatenate([np.clip(z, -FURTHEST, FURTHEST), *moved], axis=1)

    def _standard(self, features: np.ndarray) -> np.ndarray:
        """Give g [T, F], standardised, with a constant at the end."""
        standard = (features - self.shift) / self.scale
        return np.concatenate([standard, np.ones((len(features), 1))], axis=1)

    def _trusted(self, error: np.ndarray, h: np.ndarray) -> np.ndarray:
        distrust = np.sqrt(1.0 + np.square(h / (FAR * self.mean_leverage)))
        return error / (self.spread * distrust[:, None])


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
