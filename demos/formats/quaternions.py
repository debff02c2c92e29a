"""Quaternions among the entries of a vector, found by the entries' names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np

NAMED = re.compile(r"(?P<stem>.*)(?P<axis>[wxyz])", re.IGNORECASE)  # z and qw: two stems


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


def on_one_side(q: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Turn quaternions [T, 4] to the side of the one before, the first to the reference's [4]."""
    before = np.concatenate([reference[None], q[:-1]])
    turns = np.where((q * before).sum(axis=1) < 0.0, -1.0, 1.0)
    return q * np.cumprod(turns)[:, None].astype(q.dtype)
