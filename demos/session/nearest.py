"""Which base demonstration is most like this one? Multivariate dynamic time warping."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def warped_distance(one: np.ndarray, other: np.ndarray) -> float:
    """Give the distance of two series [T, O] and [U, O], each stretched at will to fit the other.

    The mean over the steps of the best path of the Euclidean distances: diagonal by diagonal, so
    that each is one array operation.
    """
    cost = np.sqrt(np.maximum(_squared_distances(one, other), 0.0))  # [T, U]
    rows, columns = cost.shape
    best = np.full((rows + 1, columns + 1), np.inf)
    steps = np.zeros((rows + 1, columns + 1))
    best[0, 0] = 0.0
    for diagonal in range(2, rows + columns + 1):
        i = np.arange(max(1, diagonal - columns), min(rows, diagonal - 1) + 1)
        j = diagonal - i
        before = np.stack([best[i - 1, j - 1], best[i - 1, j], best[i, j - 1]])
        lengths = np.stack([steps[i - 1, j - 1], steps[i - 1, j], steps[i, j - 1]])
        choice = before.argmin(axis=0)
        at = np.arange(len(i))
        best[i, j] = before[choice, at] + cost[i - 1, j - 1]
        steps[i, j] = lengths[choice, at] + 1
    return float(best[rows, columns] / steps[rows, columns])


def nearest(states: np.ndarray, base: Sequence[np.ndarray]) -> int:
    """Give the index of the base demonstration [U, O] that is most like ``states`` [T, O].

    Entries are compared in units of their spread over the base.
    """
    spread = np.concatenate(base).std(axis=0)
    unit = np.where(spread > 1e-6, spread, np.inf)  # what never changes says nothing
    distances = [warped_distance(states / unit, other / unit) for other in base]
    return int(np.argmin(distances))


def _squared_distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    a, b = np.asarray(one, float), np.asarray(other, float)
    return (a**2).sum(axis=1)[:, None] - 2 * a @ b.T + (b**2).sum(axis=1)
