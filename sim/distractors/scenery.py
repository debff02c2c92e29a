"""Which geoms of a model are scenery: what stands behind the robot and may be replaced."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

import mujoco
import numpy as np

from robolearn.errors import UserError, nearest

WORLD = 0  # id of the body that all is fixed to
WALLS = "*wall*"


def scenery(
    model: mujoco.MjModel, keep: Sequence[str], drop: Sequence[str], where: str
) -> np.ndarray:
    """Say of every geom whether it is scenery, bool [geoms].

    That are planes, and walls of other shapes that belong to the world, but for those of ``keep``;
    and those of ``drop``. Both name geoms, or bodies for all of theirs. Raises UserError for a name
    that fits nothing.
    """
    walls = [
        model.geom_bodyid[i] == WORLD and fnmatch.fnmatchcase(model.geom(i).name, WALLS)
        for i in range(model.ngeom)
    ]
    behind = (model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE) | np.array(walls, bool)
    return behind & ~_named(model, keep, where) | _named(model, drop, where)


def _named(model: mujoco.MjModel, patterns: Sequence[str], where: str) -> np.ndarray:
    """Say of every geom whether its name or its body's fits one of the patterns, bool [geoms]."""
    geoms = [model.geom(i).name for i in range(model.ngeom)]
    bodies = [model.body(i).name for i in model.geom_bodyid]
    found = np.zeros(model.ngeom, bool)
    for pattern in patterns:
        fits = [
            any(fnmatch.fnmatchcase(n, pattern) for n in pair)
            for pair in zip(geoms, bodies, strict=True)
        ]
        if not any(fits):
            known = {*geoms, *bodies} - {""}
            raise UserError(f"{where}: no geom and no body '{pattern}'{nearest(pattern, known)}")
        found |= fits
    return found
