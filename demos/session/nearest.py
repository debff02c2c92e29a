"""Which base demonstration is most like this one, and where? Multivariate dynamic time warping."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def warped_distance(one: np.ndarray, other: np.ndarray) -> float:
    """Give the distance of two series [T, O] and [U, O], each stretched at will to fit the other.

    The mean over the steps of the best path of the Euclidean distances.
    """
    best, steps = _sums(one, other)
    return float(best[-1, -1] / steps[-1, -1])


def warped_path(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Give that path [P, 2]: rows of one series and of the other that correspond, first to last."""
    best, _ = _sums(one, other)
    i, j = best.shape[0] - 1, best.shape[1] - 1
    path = []
    while i and j:
        path.append((i - 1, j - 1))
        before = ((i - 1, j - 1), (i - 1, j), (i, j - 1))
        i, j = before[int(np.argmin([best[at] for at in before]))]
    return np.array(path[::-1])


def _sums(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give what the best path to each pair of rows costs, and its steps, [T + 1, U + 1] each.

    Diagonal by diagonal, so that each is one array operation.
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
    return best, steps


def nearest(states: np.ndarray, base: Sequence[np.ndarray]) -> int:
    """Give the index of the base demonstration [U, O] that is most like ``states`` [T, O].

    Entries are compared in units of their spread over the base.
    """
    unit = _units(base)
    distances = [warped_distance(states / unit, other / unit) for other in base]
    return int(np.argmin(distances))


def alongside(states: np.ndarray, base: Sequence[np.ndarray], index: int) -> np.ndarray:
    """Give the path [P, 2] through ``states`` [T, O] and a base demonstration, in those units."""
    unit = _units(base)
    return warped_path(states / unit, base[index] / unit)


def _units(base: Sequence[np.ndarray]) -> np.ndarray:
    spread = np.concatenate(base).std(axis=0)
    return np.where(spread > 1e-6, spread, np.inf)  # what never changes says nothing


def _squared_distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    a, b = np.asarray(one, float), np.asarray(other, float)
    return (a**2).sum(axis=1)[:, None] - 2 * a @ b.T + (b**2).sum(axis=1)
