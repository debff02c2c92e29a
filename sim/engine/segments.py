"""Which entries of MuJoCo's arrays somebody wants to read, and where they go."""

from __future__ import annotations

from typing import NamedTuple

import mujoco
import numpy as np

Owner = mujoco.MjModel | mujoco.MjData


class Segment(NamedTuple):
    """Entries ``start`` to ``start + count`` of a float64 array, which counts as flat."""

    array: str  # what mujoco calls it: "qpos", "site_xpos", "sensordata" ...
    start: int
    count: int

    def view(self, owner: Owner) -> np.ndarray:
        """Give the entries [count] as a view, valid as long as the owner of the array lives."""
        flat = getattr(owner, self.array).reshape(-1)
        return flat[self.start : self.start + self.count]


def whole(owner: Owner, array: str) -> Segment:
    """Give the segment that is a whole array."""
    return Segment(array, 0, getattr(owner, array).size)


def part(owner: Owner, array: str, view: np.ndarray) -> Segment:
    """Give the segment of an array that a view into it shows."""
    base = getattr(owner, array)
    return Segment(array, (view.ctypes.data - base.ctypes.data) // base.itemsize, view.size)


class Layout:
    """Columns of readings [N, width]: the time (s) first, then whatever is added."""

    TIME = 0

    def __init__(self) -> None:
        self.segments: dict[Segment, slice] = {}
        self.width = 1

    def add(self, segment: Segment) -> slice:
        """Give the columns of a segment; asked again, the same ones."""
        if segment not in self.segments:
            self.segments[segment] = self.reserve(segment.count)
        return self.segments[segment]

    def reserve(self, count: int) -> slice:
        """Give so many columns for the caller to fill."""
        start, self.width = self.width, self.width + count
        return slice(start, self.width)
