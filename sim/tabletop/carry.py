"""A scripted policy of skills: it grasps an object and carries it along z, a direction in space.

What learnt skills aim at, and so a measure for what uses them: where this one fails, learning
better skills would not help.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from robolearn.types import ArraySpec, Observation, Spec
from sim.tabletop.model import KINDS

HOVER_M = 0.08  # above the grasp
BELOW_TOP_M = 0.03  # of the hand when it grasps
ASIDE_M, TURNED_RAD, ABOVE_M = 0.006, 0.1, 0.01  # from where it goes down, and closes
HELD_OPENING_M = 0.004  # more than the object is wide
STEP_M = 0.02  # of what is carried


class ScriptedCarry:
    """Carries one object along the last three entries of the state; remembers nothing.

    See ``robolearn.types.Policy``; ``interface`` is that of the tabletop with z in its state.
    """

    memoryless = True

    def __init__(self, interface: Spec, name: str) -> None:
        """Take the interface of a tabletop, without z, and an object's name."""
        self._kind = KINDS[name.rstrip("0123456789")]
        state = interface.observations["state"]
        parts = ("hand_pos", "hand_yaw", "hand_target", "gripper_opening")
        self._columns = [state.index(part) for part in (*parts, f"{name}_pos", f"{name}_xaxis")]
        self._scale = np.array(interface.action.scale[:4])
        names, units = (*state.names, *(f"skill_{i}" for i in (1, 2, 3))), (*state.units, *[""] * 3)
        longer = ArraySpec((len(names),), state.dtype, names, units)
        self.interface = dataclasses.replace(interface, observations={"state": longer})

    def reset(self, n: int) -> None:
        """Begin n episodes; there is nothing to forget."""

    def act(self, observation: Observation, explore: bool = False) -> np.ndarray:
        """Choose actions float32 [N, 5]."""
        state = observation["state"].astype(float)
        hand, yaw, target, opening, thing, axis = (state[:, c] for c in self._columns)
        grasp = thing + (0, 0, max(self._kind.half_height_m - BELOW_TOP_M, 0.0))
        away, turn = grasp - hand, self._turn(axis) - np.arctan2(yaw[:, 1], yaw[:, 0])
        over = (np.hypot(*away[:, :2].T) < ASIDE_M) & (np.abs(turn) < TURNED_RAD)
        around = (np.hypot(*away[:, :2].T) < 2 * ASIDE_M) & (np.abs(away[:, 2]) < ABOVE_M)
        held = around & (opening[:, 0] < 2 * self._kind.radius_m + HELD_OPENING_M)
        way = away + np.where(over, 0, HOVER_M)[:, None] * (0, 0, 1)
        way[around] = 0.0
        turn[around] = 0.0
        move = np.column_stack([way - target, turn])  # an action moves the target, not the hand
        move[held, :3] = STEP_M * state[held, -3:]
        closed = np.where(around, 1.0, -1.0)
        return np.column_stack([np.clip(move / self._scale, -1, 1), closed]).astype(np.float32)

    def _turn(self, axis: np.ndarray) -> np.ndarray:
        """Give the yaw [N] nearest to 0 at which the fingers close on flat or free sides."""
        folds = self._kind.symmetry * (1 + self._kind.symmetry % 2)  # the gripper's own half turn
        if folds == 0:
            return np.zeros(len(axis))
        angle = folds * np.arctan2(axis[:, 1], axis[:, 0])
        return np.arctan2(np.sin(angle), np.cos(angle)) / folds
