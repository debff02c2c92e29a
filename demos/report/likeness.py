"""Which episodes are nearly the same, and how different their starts are.

Episodes are held against each other by sketches: states and actions at up to 16 equal parts of
their time, in standard deviations of the dataset. Candidates are the nearest in a few random
directions (two that are alike are near in every direction); of these the whole sketches decide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from demos.report.measures import Measured
from demos.report.scales import TINY, Scales

DIRECTIONS = 10
CANDIDATES = 4  # nearest others that are looked at
SAME_LENGTH = 0.05  # of the longer: more, and one is no copy of the other
BINS = 10  # of the range of an entry at the starts
VARIES = 0.05  # of an entry's spread: less is no other start
SAME_START = 0.1  # of an entry's spread


@dataclass(frozen=True)
class Nearest:
    """The episode that another is most like."""

    other: int  # its position
    distance: float  # root mean square, in standard deviations


def nearest_of(found: Sequence[Measured], scales: Scales) -> list[Nearest | None]:
    """Give for each episode the one of about the same length that it is most like."""
    if len(found) < 2:
        return [None] * len(found)
    divided_by = np.concatenate([scales.spread, scales.spread_of_actions])
    varying = np.flatnonzero(divided_by > TINY)
    if not len(varying):
        return [None] * len(found)
    sketches = np.stack([one.sketch[:, varying] / divided_by[varying] for one in found])
    rows = sketches.reshape(len(found), -1).astype(np.float32)  # [N, points x entries]
    directions = np.random.default_rng(0).normal(size=(rows.shape[1], DIRECTIONS))
    shadows = rows @ (directions / np.linalg.norm(directions, axis=0))
    _, near = cKDTree(shadows).query(shadows, k=min(CANDIDATES + 1, len(found)))
    steps = np.array([one.steps for one in found])
    return [_nearest(i, others[others != i], rows, steps) for i, others in enumerate(near)]


def _nearest(i: int, others: np.ndarray, rows: np.ndarray, steps: np.ndarray) -> Nearest | None:
    longer = np.maximum(steps[others], steps[i])
    others = others[np.abs(steps[others] - steps[i]) <= SAME_LENGTH * longer]
    if not len(others):
        return None
    distances = np.sqrt(np.square(rows[others] - rows[i]).mean(axis=1))
    best = int(distances.argmin())
    return Nearest(int(others[best]), float(distances[best]))


@dataclass(frozen=True)
class Starts:
    """How different the first states of N episodes are."""

    distinct: int  # that differ by a tenth of an entry's spread, at least
    entries: dict[str, dict[str, Any]]  # entry that varies -> low, high, share of bins filled
    shown: tuple[str, ...]  # up to two of them, which vary most and not together
    points: np.ndarray  # [N, 2] (or [N, 1], [N, 0]) what these were


def starts_of(found: Sequence[Measured], scales: Scales) -> Starts:
    """Describe the starts: of each entry that varies how evenly its range is filled."""
    starts = np.stack([one.start for one in found]).astype(np.float64)  # [N, O]
    spread = np.where(scales.spread > TINY, scales.spread, np.inf)
    ratio = starts.std(axis=0) / spread
    varying = np.flatnonzero(ratio > VARIES)
    entries = {scales.entries[i]: _entry(starts[:, i]) for i in varying}
    rounded = np.round(starts[:, varying] / (SAME_START * spread[varying]))
    distinct = len(np.unique(rounded, axis=0)) if len(varying) else 1
    chosen = _independent(starts, varying[np.argsort(-ratio[varying], kind="stable")])
    names = tuple(scales.entries[i] for i in chosen)
    return Starts(distinct, entries, names, starts[:, chosen])


def _entry(values: np.ndarray) -> dict[str, Any]:
    """Say how much of an entry's range is filled, as a share of what as many even draws would."""
    filled = int((np.histogram(values, BINS)[0] > 0).sum())
    expected = BINS * (1.0 - (1.0 - 1.0 / BINS) ** len(values))
    evenly = min(1.0, filled / expected)
    return {"low": float(values.min()), "high": float(values.max()), "filled": evenly}


def _independent(starts: np.ndarray, ordered: np.ndarray) -> list[int]:
    """Give the first of ``ordered`` columns, and the next that does not go along with it."""
    if not len(ordered):
        return []
    first, *others = ordered.tolist()
    for other in others:
        if abs(np.corrcoef(starts[:, first], starts[:, other])[0, 1]) < 0.8:
            return [first, other]
    return [first]
