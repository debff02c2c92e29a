"""What "state" is made of: stretches of observations, their rotations told by names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from demos.formats.quaternions import axis_angles_of, from_axis_angle, starts_of, wxyz_by_name

STATE = "state"
QUATERNION = re.compile(r"(?:.*_)?quat(?:_site)?")
XYZW = (3, 0, 1, 2)  # where w, x, y and z are found
VECTOR = ("x", "y", "z")


@dataclass(frozen=True)
class Part:
    """A stretch of "state": columns of a key, and what its entries are called there."""

    key: str
    names: tuple[str, ...]
    columns: tuple[int, ...]
    quaternions: tuple[int, ...] = ()  # where, in the part, four entries w, x, y, z begin
    axis_angles: tuple[int, ...] = ()  # where, among the columns, three become such four
    turned: tuple[str, ...] = ()  # what these were called

    def rows(self, given: np.ndarray) -> np.ndarray:
        """Give the part's entries [T, n] of a key's [T, N]."""
        found = given[:, self.columns]
        for at in reversed(self.axis_angles):
            turn = from_axis_angle(found[:, at : at + 3])
            found = np.concatenate([found[:, :at], turn, found[:, at + 3 :]], axis=1)
        return found


def part_of(key: str, size: int, names: tuple[str, ...], order: str) -> Part:
    """Say which of a key's ``size`` columns are in "state", in which order, and what they are.

    ``order`` is that of a quaternion whose entries have no names, "" where nobody knows.
    """
    if len(names) == size and len(set(names)) == size:
        columns = wxyz_by_name(names)
        named = tuple(names[c] for c in columns)
        return _turned(key, named if key == STATE else [_under(key, n) for n in named], columns)
    if size == 1:
        return Part(key, (key,), (0,))
    if size == 4 and order and QUATERNION.fullmatch(key.rpartition("/")[2]):
        columns = XYZW if order == "xyzw" else (0, 1, 2, 3)
        return Part(key, tuple(f"{key}_{axis}" for axis in "wxyz"), columns, (0,))
    suffixes = VECTOR if size == 3 and key.endswith("pos") else range(size)
    return _turned(key, [f"{key}_{suffix}" for suffix in suffixes], tuple(range(size)))


def _turned(key: str, names: Sequence[str], columns: tuple[int, ...]) -> Part:
    """Give a part in which what is called an axis-angle is a quaternion."""
    found, turned = list(names), axis_angles_of(names)
    for at, (_, stem) in reversed(turned.items()):
        found[at : at + 3] = [f"{stem}_{axis}" for axis in "wxyz"]
    called = tuple(stem for stem, _ in turned.values())
    return Part(key, tuple(found), columns, starts_of(found), tuple(turned), called)


def _under(key: str, name: str) -> str:
    return name if name.startswith(key) else f"{key}_{name}"
