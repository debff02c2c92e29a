"""What a hand does with an intent: robosuite's operational-space controller, and our tabletop.

A hand makes the Sights that fit its observations and turns what is wanted into an action.
"""

from typing import Protocol

import numpy as np

from demos.operators.handling import Intent
from demos.operators.scene import RobosuiteSight, Scene, Sight, TabletopSight
from demos.operators.styles import Style
from demos.operators.tasks import Task
from robolearn.errors import SpecError
from robolearn.types import Spec

TURN_SHARE = 0.8  # of the cruise speed: largest norm of the commanded rotation
REST_TREMOR = 0.25  # share of the tremor that is left at rest
# Of a commanded displacement robosuite's hand travels about a third in a step, the tabletop's
# nearly all: so much of the gain gives the same approach.
PROMPT_GAIN = 1 / 3
TABLETOP_ENTRIES = ("hand_x", "hand_y", "hand_z", "hand_yaw", "gripper_close")


class Hand(Protocol):
    """One way to see and to act."""

    def sight(self, task: Task) -> Sight:
        """Give what reads Scenes of this task; SpecError where the state lacks something."""

    def command(self, intent: Intent, scene: Scene, style: Style, tremor: np.ndarray) -> np.ndarray:
        """Turn an intent into an action [A], not yet clipped: proportional, up to cruise speed."""


class OperationalSpaceHand:
    """A displacement [3], a rotation vector [3] and the gripper, for each step."""

    def __init__(self, interface: Spec) -> None:
        if interface.action.shape != (7,) or len(interface.action.scale) != 7:
            raise SpecError(
                "a scripted operator needs 7 action entries with their scale: "
                "displacement, rotation vector, gripper"
            )
        self._interface = interface
        self._scale = np.asarray(interface.action.scale[:6])

    def sight(self, task: Task) -> Sight:
        """Give what reads Scenes of this task; SpecError where the state lacks something."""
        return RobosuiteSight(self._interface, task)

    def command(self, intent: Intent, scene: Scene, style: Style, tremor: np.ndarray) -> np.ndarray:
        """Turn an intent into an action [7], not yet clipped: proportional, up to cruise speed."""
        speed, gain = style.speed, style.gain
        rotation = scene.tilt() + np.array([0.0, 0.0, intent.turn_rad])
        translate = _at_most(gain * intent.offset / self._scale[:3], speed)
        rotate = _at_most(gain * rotation / self._scale[3:], TURN_SHARE * speed)
        action = np.array([*translate, *rotate, intent.gripper])
        action[:6] += _shake(translate, style) * tremor
        return action


class TabletopHand:
    """Moves of a target (x, y, z, yaw) that the hand follows pointing down, and the gripper."""

    def __init__(self, interface: Spec) -> None:
        if interface.action.names != TABLETOP_ENTRIES:
            wanted = ", ".join(TABLETOP_ENTRIES)
            raise SpecError(
                f"a scripted operator at the tabletop needs the action entries {wanted}"
            )
        self._interface = interface
        self._scale = np.asarray(interface.action.scale[:4])

    def sight(self, task: Task) -> Sight:
        """Give what reads Scenes of this task; SpecError where the state lacks something."""
        return TabletopSight(self._interface, task)

    def command(self, intent: Intent, scene: Scene, style: Style, tremor: np.ndarray) -> np.ndarray:
        """Turn an intent into an action [5], not yet clipped: proportional, up to cruise speed.

        The target, which runs ahead of the hand, is where the way is counted from.
        """
        speed, gain = style.speed, PROMPT_GAIN * style.gain
        translate = _at_most(gain * (intent.offset - scene.ahead) / self._scale[:3], speed)
        turn = gain * intent.turn_rad / self._scale[3]
        turn = np.clip(turn, -TURN_SHARE * speed, TURN_SHARE * speed)
        action = np.array([*translate, turn, intent.gripper])
        action[:4] += _shake(translate, style) * tremor[[0, 1, 2, 5]]
        return action


def hand_of(task: Task, interface: Spec) -> Hand:
    """Make the hand with which this task is done; SpecError if the interface has another."""
    if interface.robot not in ("", "Panda"):
        raise SpecError(f"scripted operators know the hand of Panda, not {interface.robot}")
    return TabletopHand(interface) if task.tabletop else OperationalSpaceHand(interface)


def _shake(translate: np.ndarray, style: Style) -> float:
    """Give the standard deviation of the disturbance: it shrinks with the speed."""
    effort = float(np.linalg.norm(translate)) / style.speed
    return style.noise * (REST_TREMOR + (1.0 - REST_TREMOR) * effort)


def _at_most(vector: np.ndarray, norm: float) -> np.ndarray:
    """Shorten the vector to ``norm`` if it is longer."""
    length = float(np.linalg.norm(vector))
    return vector if length <= norm else vector * (norm / length)
