"""A scripted policy that grasps an object on the table, lifts it and holds it."""

from __future__ import annotations

import numpy as np

from robolearn.types import Observation, Spec
from sim.tabletop.model import KINDS

HOVER_M = 0.1  # above the grasp
BELOW_TOP_M = 0.033  # of the hand when it grasps; the palm is 39 mm above it
CLOSING_STEPS = 5
NEAR_M, NEAR_RAD = 0.008, 0.05
HOVER, DESCEND, CLOSE, LIFT = range(4)


class ScriptedGrasp:
    """Grasps one object from above; see ``robolearn.types.Policy``.

    ``name`` is the object's in the observation. It should stand upright, with room around it.
    """

    def __init__(self, interface: Spec, name: str, lift_m: float = 0.1) -> None:
        kind = KINDS[name.rstrip("0123456789")]
        state, scale = interface.observations["state"], interface.action.scale
        parts = ("hand_pos", "hand_yaw", "hand_target", f"{name}_pos", f"{name}_xaxis")
        self._columns = [state.index(part) for part in parts]
        self._scale, self._lift_m = np.array(scale[:4]), lift_m
        self._folds = 2 * kind.symmetry if kind.symmetry % 2 else kind.symmetry  # of the grasp
        self._height = max(kind.half_height_m - BELOW_TOP_M, 0.0)
        self.reset(0)

    def reset(self, n: int) -> None:
        """Begin n grasps at once."""
        self._phase, self._closing = np.zeros(n, int), np.zeros(n, int)
        self._grasp = np.zeros((n, 4))  # x, y, z, yaw of the hand

    def act(self, observation: Observation, explore: bool = False) -> np.ndarray:
        """Choose actions float32 [N, 5]."""
        seen = [observation["state"][:, columns].astype(float) for columns in self._columns]
        hand, yaw, offset, thing, axis = seen
        before = self._phase < CLOSE
        grasp = np.column_stack([thing + (0, 0, self._height), self._turn(axis)])
        self._grasp[before] = grasp[before]
        wanted = self._grasp.copy()
        wanted[:, 2] += np.choose(self._phase, [HOVER_M, 0.0, 0.0, self._lift_m])
        here = np.column_stack([hand, np.arctan2(yaw[:, 1], yaw[:, 0])])
        self._advance(np.abs(wanted - here))
        move = wanted - here
        move[:, :3] -= offset  # an action moves the target, not the hand
        closed = np.where(self._phase >= CLOSE, 1.0, -1.0)
        return np.column_stack([np.clip(move / self._scale, -1, 1), closed]).astype(np.float32)

    def _advance(self, away: np.ndarray) -> None:
        """Go on to the next phase where the hand has arrived or has closed."""
        there = (away[:, :3] < NEAR_M).all(1) & (away[:, 3] < NEAR_RAD)
        self._closing += self._phase == CLOSE
        done = np.where(self._phase == CLOSE, self._closing > CLOSING_STEPS, there)
        self._phase += done & (self._phase < LIFT)

    def _turn(self, axis: np.ndarray) -> np.ndarray:
        """Give the yaw [N] nearest to 0 at which the fingers close on flat or free sides."""
        if self._folds == 0:
            return np.zeros(len(axis))
        angle = self._folds * np.arctan2(axis[:, 1], axis[:, 0])
        return np.arctan2(np.sin(angle), np.cos(angle)) / self._folds
