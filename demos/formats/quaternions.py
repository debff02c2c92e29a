"""Rotations among the entries of a vector, found by the entries' names."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence

import numpy as np
from scipy.spatial.transform import Rotation

NAMED = re.compile(r"(?P<stem>.*)(?P<axis>[wxyz])", re.IGNORECASE)  # z and qw: two stems

AXIS_ANGLE = re.compile(
    r"(?P<stem>(?P<whose>.*?)(?:axis_?angle|rot_?vec(?:tor)?))[_.]?(?P<axis>[xyz\d])", re.IGNORECASE
)
THREE = ("xyz", "012", "123")  # what the entries of one end in


def wxyz_by_name(names: Sequence[str]) -> tuple[int, ...]:
    """Put the w of every quaternion, four neighbours whose names end in x, y, z, w, first."""
    order = list(range(len(names)))
    for i in _neighbours(names, "xyzw"):
        order[i : i + 4] = [i + 3, i, i + 1, i + 2]
    return tuple(order)


def starts_of(names: Sequence[str]) -> tuple[int, ...]:
    """Find where four names end in w, x, y, z, and are called alike before that."""
    return tuple(_neighbours(names, "wxyz"))


def _neighbours(names: Sequence[str], axes: str) -> Iterator[int]:
    """Yield where four names end in ``axes``, and are called alike before that."""
    for i in range(len(names) - 3):
        found = [NAMED.fullmatch(name) for name in names[i : i + 4]]
        if all(found) and "".join(m["axis"].lower() for m in found) == axes:
            if len({m["stem"] for m in found}) == 1:
                yield i


def axis_angles_of(names: Sequence[str]) -> dict[int, tuple[str, str]]:
    """Find where three entries, and no fourth, are an axis times an angle, by their names.

    Gives for each where it begins what it is called, and what its quaternion is.
    """
    matches = [AXIS_ANGLE.fullmatch(name) for name in names]
    found, at = {}, 0
    for stem, run in itertools.groupby(matches, lambda m: m and m["stem"]):
        some = list(run)
        if stem and "".join(m["axis"].lower() for m in some) in THREE:
            found[at] = (stem, f"{some[0]['whose']}quat")
        at += len(some)
    return found


def from_axis_angle(rows: np.ndarray) -> np.ndarray:
    """Give quaternions wxyz [T, 4] of rotations [T, 3], axis times angle in rad."""
    return Rotation.from_rotvec(rows).as_quat()[:, [3, 0, 1, 2]]


def on_one_side(q: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Turn quaternions [T, 4] to the side of the one before, the first to the reference's [4]."""
    before = np.concatenate([reference[None], q[:-1]])
    turns = np.where((q * before).sum(axis=1) < 0.0, -1.0, 1.0)
    return q * np.cumprod(turns)[:, None].astype(q.dtype)
