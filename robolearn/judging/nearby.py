"""Sums over the steps around one state, quick enough for a control loop.

They are those of ``robolearn/algos/progress.py``, in single precision as there, of steps that are
known beforehand or come one by one. Nothing is converted or copied anew for each state.
"""

from __future__ import annotations

import numpy as np

from robolearn.algos.progress import FAINT

ROOM = 256  # rows that there is room for at least, once one was added


class Rows:
    """An array at whose end rows are added, in room that is doubled when it is full."""

    def __init__(self, first: np.ndarray):
        """Begin with the ``first`` rows [T, ...], which may be none."""
        self._room, self._count = first, len(first)

    def add(self, row: np.ndarray | float) -> None:
        """Add a row of the shape of the others."""
        if self._count == len(self._room):
            more = np.empty((max(ROOM, self._count), *self._room.shape[1:]), self._room.dtype)
            self._room = np.concatenate([self._room, more])
        self._room[self._count] = row
        self._count += 1

    @property
    def so_far(self) -> np.ndarray:
        """Give all rows [T, ...], as they are kept: what is written there stays."""
        return self._room[: self._count]


class Steps:
    """Where steps are, z_j [M, O], and what is known of each, v_j [M, V]."""

    def __init__(self, where: np.ndarray, values: np.ndarray):
        """Begin with these steps, which may be none."""
        where = where.astype(np.float32)
        self._where, self._values = Rows(where), Rows(values.astype(np.float32))
        self._squares = Rows(np.square(where).sum(axis=1))

    def add(self, z: np.ndarray, value: np.ndarray) -> None:
        """Add a step at z [O], with v [V]."""
        self._where.add(z)
        self._values.add(value)
        added = self._where.so_far[-1]
        self._squares.add(added @ added)

    def squared_distances(self, z: np.ndarray) -> np.ndarray:
        """Give |z - z_j|^2 [M] of a state z [O]."""
        here = z.astype(np.float32)
        squares = self._squares.so_far - 2 * (self._where.so_far @ here) + here @ here
        return np.maximum(squares, 0.0, out=squares)

    def sums(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Give sum_j w_j v_j [1, V] and sum_j w_j [1, 1] of weights w [M]."""
        sums = weights @ self._values.so_far
        return sums[None].astype(float), np.array([[weights.sum()]], float)


def weights_of(squared_distances: np.ndarray, width: float) -> np.ndarray:
    """Give w_j [M] of steps at these squared distances [M]: they weigh as they are near."""
    weights = np.exp(np.float32(-0.5 / width**2) * squared_distances)
    return np.add(weights, np.float32(FAINT), out=weights)
