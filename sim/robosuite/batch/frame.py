"""What a batch of simulations shows at one moment, as arrays with the environment as first axis."""

from __future__ import annotations

from collections.abc import Iterable

import mujoco
import numpy as np
from numba import njit

from sim.robosuite.batch.model import LeanModel

GeomSets = tuple[list[int], list[int]]


class Frame:
    """Poses, joint positions and chosen contacts of N simulations of one model.

    ``qpos`` [N, nq]; ``body_pos`` [N, bodies, 3] and ``site_pos`` [N, sites, 3] in metres;
    ``body_quat`` [N, bodies, 4] wxyz; ``touching`` [N, G] bool: whether any geom of the first set
    of a pair of sets touches any of the second. The sets have the original model's indices.
    """

    def __init__(self, lean: LeanModel, count: int, pairs: Iterable[GeomSets]) -> None:
        model, pairs = lean.model, list(pairs)
        self._first = np.zeros((len(pairs), model.ngeom), bool)
        self._second = np.zeros((len(pairs), model.ngeom), bool)
        for g, (first, second) in enumerate(pairs):
            self._first[g] = np.isin(lean.geoms, first)
            self._second[g] = np.isin(lean.geoms, second)
        self.qpos = np.zeros((count, model.nq))
        self.body_pos = np.zeros((count, model.nbody, 3))
        self.body_quat = np.zeros((count, model.nbody, 4))
        self.site_pos = np.zeros((count, model.nsite, 3))
        self.touching = np.zeros((count, len(pairs)), bool)

    def read(self, i: int, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Bring simulation ``i`` up to date and write its row; its state stays as it is.

        After a step MuJoCo's poses and contacts still belong to the moment before the last
        integration. ``mj_step1`` is the first half of the next step: that one need not repeat it.
        """
        mujoco.mj_step1(model, data)
        self.qpos[i], self.body_pos[i], self.body_quat[i] = data.qpos, data.xpos, data.xquat
        self.site_pos[i] = data.site_xpos
        contacts = np.ascontiguousarray(data.contact.geom)  # [contacts, 2]
        _find_touching(contacts, self._first, self._second, self.touching[i])


@njit(cache=True)
def _find_touching(
    contacts: np.ndarray, first: np.ndarray, second: np.ndarray, touching: np.ndarray
) -> None:
    """Say for every pair of sets of geoms, bool [G, geoms] each, whether there is a contact [G]."""
    for g in range(len(touching)):
        touching[g] = False
        for one, other in contacts:
            if first[g, one] and second[g, other] or first[g, other] and second[g, one]:
                touching[g] = True
