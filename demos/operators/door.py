"""Scripted operators for robosuite's Door: one opens it, one stays above its handle.

A Panda's hand points down, its fingers open along y. It comes over the handle from above, closes
its fingers around it, turns it down along its arc, and pulls: the door opens towards +y, about a
hinge on the side of -x. Lengths in metres in the world frame. What is to be done follows from what
is seen, and nothing is drawn.
"""

from __future__ import annotations

import numpy as np

from robolearn.errors import SpecError, UserError, nearest
from robolearn.types import Observation, Spec

TASK = "robosuite/Door"
STEP_M = 0.05  # that an action of 1 asks for
ABOVE_M = 0.1  # over the handle, from where the hand goes down
OVER_M = 0.03  # so near to the handle, level, that it may go down
HELD_M = np.array([[-0.045, -0.05, -0.03], [0.045, 0.02, 0.03]])  # handle in the hand, from there
CLOSE_M = 0.012  # height over the handle at which the fingers close
TURNED_RAD = 1.3  # of the handle, from where the latch is free
AJAR_RAD = 0.04  # of the hinge: the latch is out
OPEN, CLOSED = -1.0, 1.0  # of the fingers


class Door:
    """Policy that opens the door, or with ``opens=False`` goes above the handle and stays there."""

    memoryless = True

    def __init__(self, interface: Spec, opens: bool = True) -> None:
        """Look up what it needs to see; SpecError if it is not there, or the action is another."""
        state = interface.observations["state"]
        self._handle = state.index("handle_to_eef_pos")
        self._angles = np.concatenate([state.index("handle_qpos"), state.index("hinge_qpos")])
        if interface.action.shape != (7,):
            raise SpecError(f"{TASK}: the operator moves a Panda's hand by 7 numbers")
        self._actions = self._open if opens else self._wait

    def reset(self, n: int) -> None:
        """Begin n episodes; there is nothing to forget."""

    def act(self, observation: Observation, explore: bool = False) -> np.ndarray:
        """Choose actions float32 [N, 7] for "state" [N, O]."""
        states = observation["state"].astype(np.float64)
        actions = np.zeros((len(states), 7))
        for action, state in zip(actions, states, strict=True):
            velocity, action[6] = self._actions(state[self._handle], *state[self._angles])
            action[:3] = np.clip(velocity, -1, 1)
        return actions.astype(np.float32)

    def _wait(self, handle: np.ndarray, turned: float, hinge: float) -> tuple[np.ndarray, float]:
        """Go above the handle, which is that far from the hand [3], and stay."""
        return (handle + [0.0, 0.0, ABOVE_M]) / STEP_M, OPEN

    def _open(self, handle: np.ndarray, turned: float, hinge: float) -> tuple[np.ndarray, float]:
        """Reach the handle, turn it, pull."""
        if not ((HELD_M[0] < handle) & (handle < HELD_M[1])).all():
            return self._reach(handle), OPEN
        towards = np.clip(handle / STEP_M, -1, 1)
        if abs(handle[2]) > CLOSE_M and abs(turned) < 0.1 and hinge < AJAR_RAD / 2:
            return towards, OPEN
        if turned < TURNED_RAD and hinge < AJAR_RAD:
            arc = np.array([np.sin(turned), 0.0, -np.cos(turned)])
            return 0.5 * arc + towards * [0.4, 0.2, 0.4], CLOSED
        return np.array([-0.25, 0.8, 0.0]) + towards * [0.5, 0.0, 0.8], CLOSED

    def _reach(self, handle: np.ndarray) -> np.ndarray:
        """Rise, go above the handle, and down on it."""
        if np.linalg.norm(handle[:2]) < OVER_M:
            return handle / STEP_M
        if handle[2] > -0.6 * ABOVE_M:
            return np.array([0.0, 0.0, handle[2] + ABOVE_M]) / STEP_M
        return (handle + [0.0, 0.0, ABOVE_M]) / STEP_M


NAMES = {"open": True, "wait": False}


def require_door(name: object) -> None:
    """Raise UserError unless there is an operator of that name."""
    if name not in NAMES:
        known = ", ".join(NAMES)
        hint = nearest(str(name), NAMES)
        raise UserError(f"{TASK}: unknown operator '{name}'{hint}; there are {known}")


def make_door(name: str, interface: Spec) -> Door:
    """Make the operator of that name."""
    require_door(name)
    return Door(interface, NAMES[name])
