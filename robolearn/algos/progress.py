"""Would a demonstration cost progress a policy that is cloned from a base operator's?

Progress lost sees states only, and needs no network. It imagines two policies that go where their
teachers went on average, one of the base alone, one of the base and the newcomer, who counts as
much:

    z_t  = clip((s_t - mean) / sd, -3, 3)                      where a demonstration is
    D_t  = (z_(t + k) - z_t) / sd_k                            where it goes within k steps
    m(z) = sum_j w_j D_j / sum_j w_j,   w_j = exp(-|z - z_j|^2 / 2 h^2)
    m_N  = min(q, max(1, |m_B| / |m'|)) m'                     the newcomer's, at the base's pace
    m    = (W_B m_B + W_N m_N) / (W_B + W_N),   W = sum_j w_j
    d_t  = min(1, sum_i max(0, mB_i (mB_i - m_i)) / (sum_i mB_i^2 + c))
    S    = sum_t d_t^2 / L                                     progress lost

m_B is m of the base's steps j, m' that of the newcomer's, which weigh as many times as the base has
more demonstrations; both are taken at the newcomer's z_t. i are the entries of the state, L is the
base's median length, and h a multiple of the distance from a base's state to the nearest of another
demonstration. d_t is the share of the base policy's displacement that the joint policy lacks or
reverses. Where two ways cancel each other out, the joint policy stands still for ever: that is what
harms. Who goes the base's way slowly makes a policy that creeps, and arrives: up to q times as slow
is no loss. (A mean that is small since its ways differ is taken up to q times as large, too. Who
waits harms in another way: ``waiting.py``.) Stops at places which differ from one demonstration to
the next, and noise, vanish in the mean over a person's demonstrations, as they do in what a policy
learns from them; so S is for all of them together. Who differs where the base never goes, or goes
further, loses little. A small loss everywhere harms nobody, a large one in one place does: hence
the square.

The base's own demonstrations are newcomers to the others, each in turn. ``docs/harm.md`` says how
this goes with the harm that was measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from annotated_types import Ge
from pydantic import PositiveFloat

from robolearn.settings import ProperShare, Settings, steps_of

FURTHEST = 3.0  # standard deviations of a state entry
LEAST_SPREAD = 0.01  # of a state entry, and of a standardised displacement
AT_REST = 0.3  # of the base's displacement: who goes less far rests
SAME_WAY = 0.5  # cosine of two displacements above which one is the other at another pace
FAMILIAR = 1.0  # sum of weights: as of a base's step at the same place
FAINT = 1e-12  # least weight of a step: where the base never is, it goes its mean way
MOST_STEPS = 4000  # of the base and of a newcomer that a mean is taken over: every r-th, if more
ROWS = 512  # states at which it is taken at a time
FIELDS = ("where", "ahead")
TINY = 1e-6


@dataclass(frozen=True)
class ProgressConfig(Settings):
    """How lost progress is measured. Raises UserError for a value out of range."""

    look_ahead: ProperShare = 0.045
    """How far ahead a displacement looks, k: a share of the base's median length, so that it fits
    tasks of seconds and of minutes, at any control rate."""
    least_motion: PositiveFloat = 0.5
    """Squared displacement below which the base counts as standing, c: what it lacks there is not
    missed."""
    bandwidth: PositiveFloat = 1.5
    """Width of the mean over states, h, in distances from a base's state to the nearest of another
    of its demonstrations."""
    slowest: Annotated[float, Ge(1)] = 3.0
    """How many times as slow as the base one may go without any loss, q."""


@dataclass(frozen=True)
class Comparison:
    """Where a newcomer goes, and where the base goes from there, on average."""

    mine: np.ndarray  # D_t [T, O]
    around: np.ndarray  # m of the newcomer's demonstration alone [T, O]: D around each step
    base: np.ndarray  # m_B [T, O]

    @property
    def ahead(self) -> np.ndarray:
        """Give how far [T] it goes along the base's displacement, as a share of that."""
        along = (self.mine * self.base).sum(axis=1)
        return along / np.maximum(np.square(self.base).sum(axis=1), TINY)

    @property
    def paced(self) -> np.ndarray:
        """Say of each step [T] whether it is a rest, or the base's way at another pace.

        By the mean around it, as single steps tremble; but who goes straight back does not rest.
        """
        mine, around, base = (
            np.linalg.norm(d, axis=1) for d in (self.mine, self.around, self.base)
        )
        rests = around < AT_REST * base
        same_way = (self.around * self.base).sum(axis=1) > SAME_WAY * around * base
        moves = mine >= AT_REST * base
        back = moves & ((self.mine * self.base).sum(axis=1) < -SAME_WAY * mine * base)
        return (rests | same_way) & ~back


@dataclass(frozen=True)
class Moves:
    """Steps of demonstrations: where they are, and where they go from there."""

    where: np.ndarray  # z [T, O]
    ahead: np.ndarray  # D [T, O]
    weight: float = 1.0  # of each step
    also: np.ndarray | None = None  # of the base's: what else is known of them [T, V]

    def thinned(self, most: int) -> Moves:
        """Give every r-th step, r times as heavy, so that there are at most so many."""
        every = slice(None, None, -(-len(self.where) // most))
        also = None if self.also is None else self.also[every]
        return Moves(self.where[every], self.ahead[every], every.step * self.weight, also)

    def weighing(self, factor: float) -> Moves:
        """Give the same steps, so many times as heavy."""
        return replace(self, weight=factor * self.weight)


@dataclass(frozen=True)
class Sums:
    """What a mean displacement m(z) is the quotient of, at some states."""

    ahead: np.ndarray  # sum_j w_j D_j [T, O]
    weight: np.ndarray  # sum_j w_j [T, 1]
    also: np.ndarray | None = None  # the same of what else is known of the base's steps [T, V]

    @property
    def mean(self) -> np.ndarray:
        """Give m(z) [T, O]."""
        return self.ahead / self.weight

    @property
    def pace(self) -> np.ndarray:
        """Give the base's mean stride [T], |z_(t + 1) - z_t| in spreads of its displacements."""
        return self.also[:, 0] / self.weight[:, 0]

    @property
    def actions(self) -> np.ndarray:
        """Give the base's mean action [T, A]."""
        return self.also[:, 1:] / self.weight


class Progress:
    """Where the base operator goes from where: measures the progress that others cost."""

    def __init__(
        self,
        states: Sequence[np.ndarray],
        config: ProgressConfig,
        actions: Sequence[np.ndarray] | None = None,
        entries: np.ndarray | None = None,
    ):
        """Look at the base's demonstrations, states [T, O] each; two at least.

        Actions [T, A] are remembered only: they play no part in what is lost. ``entries`` are the
        columns of a state that say where things are; None: all. O below is their number.
        """
        self.entries = np.arange(states[0].shape[1]) if entries is None else entries
        pooled = np.concatenate(states)[:, self.entries]
        self.config, self.count = config, len(states)
        self.length = float(np.median([len(s) for s in states]))  # L
        self.look_ahead = steps_of(config.look_ahead, self.length)
        self.mean, self.sd = pooled.mean(0), np.maximum(pooled.std(0), LEAST_SPREAD)
        where = [self.standardise(s) for s in states]  # z
        whither = [self._ahead(z) for z in where]
        self.sd_k = np.concatenate(whither).std(0) + LEAST_SPREAD
        strides = np.concatenate([self.strides(z) for z in where])
        also = (
            [strides[:, None]] if actions is None else [strides[:, None], np.concatenate(actions)]
        )
        self.base = Moves(
            np.concatenate(where), np.concatenate(whither) / self.sd_k, also=np.column_stack(also)
        )
        self.owner = np.repeat(np.arange(len(states)), [len(s) for s in states])
        self._thin = self.base.thinned(MOST_STEPS)
        self._thin_owner = self.owner[:: int(self._thin.weight)]
        self.width = max(config.bandwidth * self._gap(), TINY)  # h
        self.lost_by_base = list(self._of_base())  # d [T] each

    def standardise(self, states: np.ndarray) -> np.ndarray:
        """Give z [T, O] of states [T, O]."""
        return np.clip((states[..., self.entries] - self.mean) / self.sd, -FURTHEST, FURTHEST)

    def moves(self, states: np.ndarray) -> Moves:
        """Give the moves of a demonstration's states [T, O]."""
        z = self.standardise(states)
        return Moves(z, self._ahead(z) / self.sd_k)

    def strides(self, z: np.ndarray) -> np.ndarray:
        """Give |z_(t + 1) - z_t| [T] of z [T, O], in spreads of the base's D; the last is 0."""
        return np.append(np.linalg.norm(np.diff(z, axis=0) / self.sd_k, axis=1), 0.0)

    def expected(self, moves: Moves) -> Sums:
        """Give the sums of m_B at each of a newcomer's steps, and of what else the base does."""
        return self.expected_at(moves.where)

    def expected_at(self, z: np.ndarray) -> Sums:
        """Give the same at states z [T, O]."""
        return self._sums(z, self._thin)

    def advance(self, moves: Moves, expected: Sums) -> np.ndarray:
        """Give how far each step [T], of two at least, goes along m_B, in steps of the base.

        The base goes m_B / k in a step: 1 is its pace, 0 a rest, and who goes back is below. Unlike
        D, which looks ahead, this tells which steps are a pause and which lead to one or out of it.
        Where the base rests every step is as good as its own.
        """
        where, base = moves.where, expected.mean
        strides = np.diff(where, axis=0, append=2 * where[-1:] - where[-2:-1]) / self.sd_k
        squares = np.square(base).sum(axis=1)
        along = self.look_ahead * (strides * base).sum(axis=1)
        moving = squares >= self.config.least_motion
        return np.where(moving, along / np.maximum(squares, TINY), 1.0)

    def joining(self, person: Sequence[Moves]) -> list[Sums]:
        """Give at each of their steps what a person's demonstrations together add to m_B's sums."""
        everything = Moves(*(np.concatenate([getattr(m, f) for m in person]) for f in FIELDS))
        new = everything.thinned(MOST_STEPS).weighing(self.count / len(person))
        return [self._sums(moves.where, new) for moves in person]

    def joining_so_far(self, where: np.ndarray, new: Moves) -> Sums:
        """Give the same at states z [T, O], if one demonstration consists of the ``new`` moves."""
        return self._sums(where, new.weighing(self.count))

    def familiar(self, expected: Sums) -> np.ndarray:
        """Say of each of a newcomer's steps [T] whether the base has been there."""
        return expected.weight[:, 0] >= FAMILIAR

    def mean_around(
        self, z: np.ndarray, values: np.ndarray, width: float, without: int | None = None
    ) -> np.ndarray:
        """Give the mean [T, V] of what the base's steps have, values [M, V], around z [T, O].

        Its ``width`` is that of the weights; one of the base's demonstrations may be left out.
        """
        mine = slice(None) if without is None else self._thin_owner != without
        thin = values[:: int(self._thin.weight)][mine]
        sums, weight = _weighted(z, self._thin.where[mine], thin, width)
        return sums / weight

    def _of_base(self) -> Iterator[np.ndarray]:
        """Give d [T] of each base demonstration, as a newcomer to the others."""
        for i in range(self.count):
            mine, others = self.owner == i, self._thin_owner != i
            base = Moves(self._thin.where[others], self._thin.ahead[others], self._thin.weight)
            own = Moves(self.base.where[mine], self.base.ahead[mine], self.count - 1.0)
            yield self.missing(self._sums(own.where, base), self._sums(own.where, own))

    def share(self, lost: np.ndarray) -> float:
        """Give S of a demonstration's d [T]."""
        return float(np.square(lost).sum() / self.length)

    def missing(self, base: Sums, new: Sums) -> np.ndarray:
        """Give d [T], where the sums of m_B are ``base``, and ``new`` joins them."""
        alone = base.mean
        paces = [np.linalg.norm(mean, axis=1, keepdims=True) for mean in (alone, new.mean)]
        faster = np.clip(paces[0] / np.maximum(paces[1], TINY), 1.0, self.config.slowest)
        joint = (base.ahead + faster * new.ahead) / (base.weight + new.weight)
        lack = np.maximum(0.0, alone * (alone - joint)).sum(1)
        return np.minimum(1.0, lack / (np.square(alone).sum(1) + self.config.least_motion))

    def _sums(self, z: np.ndarray, moves: Moves) -> Sums:
        """Give the sums of m at z [T, O]."""
        also = np.zeros((len(moves.where), 0)) if moves.also is None else moves.also
        values = np.column_stack([moves.ahead, also])
        both = _weighted(z, moves.where, values, self.width)
        sums, weight = (moves.weight * some for some in both)
        entries = moves.ahead.shape[1]
        return Sums(sums[:, :entries], weight, sums[:, entries:])

    def _gap(self) -> float:
        """Give the median distance from a base's state to the nearest of another demonstration.

        No less than that to its next state, should the demonstrations be copies of each other.
        """
        gaps = []
        for i in range(self.count):
            mine = self._thin_owner == i
            if mine.any():
                squared = _squared_distances(self._thin.where[mine], self._thin.where[~mine])
                gaps.append(squared.min(axis=1))
        follows = self.owner[1:] == self.owner[:-1]
        strides = np.linalg.norm(np.diff(self.base.where, axis=0)[follows], axis=1)
        stride = np.median(strides) if len(strides) else 0.0
        return float(max(np.sqrt(np.median(np.concatenate(gaps))), stride))

    def _ahead(self, z: np.ndarray) -> np.ndarray:
        """Give z_(t + k) - z_t; beyond the end a demonstration stays where it is."""
        return z[np.minimum(np.arange(len(z)) + self.look_ahead, len(z) - 1)] - z


def _weighted(
    z: np.ndarray, where: np.ndarray, values: np.ndarray, width: float
) -> tuple[np.ndarray, np.ndarray]:
    """Give sum_j w_j v_j [T, V] and sum_j w_j [T, 1]: z_j [M, O] weigh as they are near z [T, O].

    In single precision, which is much faster.
    """
    where, values = where.astype(np.float32), values.astype(np.float32)
    scale = np.float32(-0.5 / width**2)
    sums = []
    for rows in np.array_split(z.astype(np.float32), -(-len(z) // ROWS)):
        weights = np.exp(scale * _squared_distances(rows, where)) + np.float32(FAINT)
        sums.append((weights @ values, weights.sum(1, keepdims=True)))
    both = zip(*sums, strict=True)
    return tuple(np.concatenate(parts, dtype=float) for parts in both)


def _squared_distances(z: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Give |z_t - z_j|^2 [T, M] of z [T, O] and z_j [M, O]."""
    squares = np.square(z).sum(1)[:, None] + np.square(where).sum(1) - 2 * z @ where.T
    return np.maximum(squares, 0.0)
