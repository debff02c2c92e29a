"""What a representation holds: linear probes, and whether its distances are those of the world.

A probe is ridge regression from codes to what is asked for, fitted on some episodes and judged on
others. Similarity correlates the distances between codes with those between the true states
(in the spirit of Bharadhwaj et al., ICLR 2022, section 5): 1 for a copy that is turned and scaled.
``path_similarity`` compares ways through neighbours in place of distances.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse.csgraph import minimum_spanning_tree, shortest_path
from scipy.spatial.distance import pdist, squareform

from robolearn.errors import DataError

RIDGE = 1e-2  # of the variance of the codes' entries
CONSTANT = 1e-6  # an entry that spreads less tells nothing
NEIGHBOURS = 10  # to which a moment is joined in a graph of moments


@dataclass(frozen=True)
class Probe:
    """A linear map from codes [..., F] to targets [..., D]."""

    weights: np.ndarray  # [F, D]
    centre: np.ndarray  # [F], mean of the codes
    shift: np.ndarray  # [D], mean of the targets

    @classmethod
    def fit(cls, codes: np.ndarray, targets: np.ndarray) -> Probe:
        """Fit to codes [M, F] and targets [M, D] by ridge regression on entries of unit variance.

        Raises DataError for other than as many rows of both, at least two, all finite.
        """
        codes, targets = _checked(codes, targets)
        centre, spread = codes.mean(axis=0), codes.std(axis=0)
        scale = np.where(spread > CONSTANT, spread, np.inf)
        x, shift = (codes - centre) / scale, targets.mean(axis=0)
        gram = x.T @ x / len(x) + RIDGE * np.eye(x.shape[1])
        weights = np.linalg.solve(gram, x.T @ (targets - shift) / len(x))
        return cls(weights / scale[:, None], centre, shift)

    def __call__(self, codes: np.ndarray) -> np.ndarray:
        """Give what codes [..., F] tell of the targets, [..., D]."""
        return (codes - self.centre) @ self.weights + self.shift

    def r2(self, codes: np.ndarray, targets: np.ndarray) -> float:
        """Give the share of the variance of targets [M, D], all entries together, that is told.

        1 for all of it, 0 for as good as their mean, less than 0 for worse.
        """
        codes, targets = _checked(codes, targets)
        wrong = np.square(self(codes) - targets).sum()
        return float(1 - wrong / np.square(targets - targets.mean(axis=0)).sum())


@dataclass(frozen=True)
class Scale:
    """Entries that vary, in units of their standard deviation."""

    mean: np.ndarray  # [D]
    std: np.ndarray  # [D], infinite where an entry is constant

    @classmethod
    def of(cls, rows: np.ndarray) -> Scale:
        """Measure rows [M, D]."""
        rows = rows.astype(np.float64)
        std = rows.std(axis=0)
        return cls(rows.mean(axis=0), np.where(std > CONSTANT, std, np.inf))

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Give rows [..., D] with mean 0 and deviation 1, 0 where an entry is constant."""
        return (rows - self.mean) / self.std


@dataclass(frozen=True)
class Components:
    """The directions in which rows vary most."""

    mean: np.ndarray  # [D]
    axes: np.ndarray  # [K, D], orthonormal

    @classmethod
    def of(cls, rows: np.ndarray, count: int) -> Components:
        """Find the first so many of rows [M, D]."""
        rows = rows.astype(np.float64)
        mean = rows.mean(axis=0)
        _, axes = np.linalg.eigh((rows - mean).T @ (rows - mean))
        return cls(mean, axes.T[::-1][:count])

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Give how far rows [..., D] are along each, [..., K]."""
        return (rows - self.mean) @ self.axes.T


def similarity(codes: np.ndarray, states: np.ndarray) -> float:
    """Correlate the distances between all pairs of codes [M, F] with those of states [M, S].

    0 where one of them does not vary. Raises DataError as ``Probe.fit``.
    """
    codes, states = _checked(codes, states)
    distances = [pdist(rows) for rows in (codes, states)]
    if min(d.std() for d in distances) < CONSTANT:
        return 0.0
    return float(np.corrcoef(*distances)[0, 1])


def path_similarity(codes: np.ndarray, states: np.ndarray, neighbours: int = NEIGHBOURS) -> float:
    """Compare codes [M, F] with states [M, S] by a shortest-path kernel, from 0 to 1.

        k(G, G') = mean over pairs i < j of max(0, 1 - |d_ij - d'_ij|)

    d_ij are the lengths, in units of their mean, of the shortest paths between the moments i and j
    of a graph in which each is joined to its nearest ``neighbours``, and all to one tree. 1 for a
    copy that is turned and scaled; codes that tell nothing do not come to 0, but to the share that
    two lengths have in common by chance. Borgwardt and Kriegel, "Shortest-Path Kernels on Graphs"
    (ICDM 2005), with moments as labels of vertices and a Brownian bridge between lengths. 0 where
    one of them does not vary. Raises DataError as ``Probe.fit``.
    """
    lengths = [_path_lengths(rows, neighbours) for rows in _checked(codes, states)]
    if any(length is None for length in lengths):
        return 0.0
    return float(np.maximum(0.0, 1 - np.abs(lengths[0] - lengths[1])).mean())


def _path_lengths(rows: np.ndarray, neighbours: int) -> np.ndarray | None:
    """Give the shortest paths between all pairs of rows [M, D], [M (M - 1) / 2], of mean 1."""
    distances = squareform(pdist(rows))
    if distances.max() < CONSTANT:
        return None
    distances += CONSTANT * distances.max()  # a distance of 0 would be no edge
    nearest = np.argsort(distances + np.diag(np.full(len(rows), np.inf)), axis=1)
    graph = minimum_spanning_tree(distances).toarray()
    for column in nearest[:, : min(neighbours, len(rows) - 1)].T:
        graph[np.arange(len(rows)), column] = distances[np.arange(len(rows)), column]
    lengths = squareform(shortest_path(graph, directed=False), checks=False)
    return lengths / lengths.mean()


def _checked(codes: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if not len(codes) == len(targets) > 1:
        raise DataError(f"{len(codes)} codes and {len(targets)} targets; as many are needed, two+")
    rows = np.asarray(codes, np.float64), np.asarray(targets, np.float64)
    for name, array in zip(("codes", "targets"), rows, strict=True):
        if not np.isfinite(array).all():
            raise DataError(f"{name}: not all are finite")
    return rows
