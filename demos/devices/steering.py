"""From a person's hand to the robot's: frame, speed, gripper, and standing still.

An action's entries are found by their names: ``dx dy dz`` (m), ``drx dry drz`` (rad) and
``gripper``, as robosuite's and our own arms have them. Where there is no ``dx``, the hand drives
the entries themselves, one after the other. Motion is asked for only while somebody is engaged and
the signal is fresh; everything else is the still action, in which the gripper stays as it is.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Gt, Le
from pydantic import PositiveFloat
from scipy.spatial.transform import Rotation

from demos.devices.contracts import (
    OF_STEERING,
    Button,
    Command,
    Heard,
    Setting,
    Signal,
    Source,
    as_policy,
)
from robolearn.errors import SpecError, UserError
from robolearn.settings import Settings
from robolearn.types import Observation, Spec

MOVES, TURNS = ("dx", "dy", "dz"), ("drx", "dry", "drz")
OPEN, CLOSED = -1.0, 1.0
OF_SPEED = (Button.FASTER, Button.SLOWER)
SPEED_STEP = 1.25  # a press of FASTER
SLOWEST = 0.05
QUATERNION = "_quat_w"
# A camera looks along its -z, with x to the right and y up: forward, left, up in its axes.
CAMERA_AXES = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, 1.0], [-1.0, 0.0, 0.0]])
ProperSpeed = Annotated[float, Gt(0), Le(1)]


@dataclass(frozen=True)
class SteeringConfig(Settings):
    """How a hand's motion becomes the robot's."""

    frame: Literal["world", "tool", "camera"] = "world"
    """Where forward, left and up point: x, y, z of the world, of the hand, or into the picture, to
    its left and its top."""
    camera: str | None = None
    """The camera of frame "camera"."""
    speed: ProperSpeed = 0.5
    """Share of the action's range that a full deflection asks for."""
    turn_speed: ProperSpeed = 0.3
    """The same of rotations."""
    stale_s: PositiveFloat = 0.1
    """Age of the last input beyond which nothing moves."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.frame == "camera" and self.camera is None:
            raise UserError("camera: which camera? frame 'camera' needs one")


class Steering:
    """Turns signals into actions; remembers the gripper and the speed."""

    def __init__(
        self, config: SteeringConfig, interface: Spec, camera_axes: np.ndarray | None = None
    ) -> None:
        """Find the action's entries; ``camera_axes`` [3, 3] are a camera's axes in the world.

        Raises UserError if the frame cannot be had with this interface.
        """
        self.config, self.factor = config, 1.0
        names = interface.action.names or ("",) * interface.action.shape[0]
        self._size = len(names)
        self._moves, self._turns = _columns(MOVES, names), _columns(TURNS, names)
        self._grip = names.index("gripper") if "gripper" in names else None
        self._gripper = OPEN
        self._axes = self._plain_axes(config, camera_axes)
        self._quaternion = None
        if config.frame == "tool":
            self._quaternion = _quaternion(interface)

    def _plain_axes(self, config: SteeringConfig, camera_axes: np.ndarray | None) -> np.ndarray:
        if config.frame != "world" and not self._moves:
            raise UserError(f"frame: {config.frame} needs actions named dx, dy, dz")
        if config.frame != "camera":
            return np.eye(3)
        if camera_axes is None:
            raise UserError(f"frame: nobody has said where camera '{config.camera}' looks")
        return np.asarray(camera_axes) @ CAMERA_AXES

    @property
    def speed(self) -> float:
        """Share of the range that a full deflection asks for now."""
        return min(1.0, self.config.speed * self.factor)

    @property
    def closed(self) -> bool:
        """Whether the gripper is told to be closed."""
        return self._gripper == CLOSED

    def reset(self) -> None:
        """Begin an episode, with the gripper open."""
        self._gripper = OPEN

    def follow(self, action: np.ndarray) -> None:
        """Take the gripper over from whoever acted before."""
        if self._grip is not None:
            self._gripper = CLOSED if action[self._grip] > 0 else OPEN

    def press(self, button: Button) -> None:
        """Do what a button of the steering does."""
        if button is Button.GRIP:
            self._gripper = OPEN if self.closed else CLOSED
        elif button in (Button.OPEN, Button.CLOSE):
            self._gripper = OPEN if button is Button.OPEN else CLOSED
        else:
            step = SPEED_STEP if button is Button.FASTER else 1 / SPEED_STEP
            slowest, fastest = SLOWEST / self.config.speed, 1 / self.config.speed
            self.factor = float(np.clip(self.factor * step, slowest, fastest))

    def still(self) -> np.ndarray:
        """Give the action [A] that moves nothing."""
        action = np.zeros(self._size, np.float32)
        if self._grip is not None:
            action[self._grip] = self._gripper
        return action

    def action(self, signal: Signal, observation: Observation) -> np.ndarray:
        """Give the action [A] that a signal asks for, its gripper as it is."""
        action = self.still()
        move = np.clip(signal.move, -1, 1) * self.speed
        turn = np.clip(signal.turn, -1, 1) * min(1.0, self.config.turn_speed * self.factor)
        if not self._moves:
            free = [i for i in range(self._size) if i != self._grip][:6]
            action[free] = np.concatenate([move, turn])[: len(free)]
            return action
        axes = self._axes_now(observation)
        for columns, values in ((self._moves, axes @ move), (self._turns, axes @ turn)):
            for axis, column in columns.items():
                action[column] = values[axis]
        return np.clip(action, -1.0, 1.0)

    def _axes_now(self, observation: Observation) -> np.ndarray:
        if self._quaternion is None:
            return self._axes
        wxyz = observation["state"][self._quaternion]
        return Rotation.from_quat(wxyz, scalar_first=True).as_matrix()


class Steered:
    """A Device made of a source and a steering."""

    start_state = None

    def __init__(self, source: Source, steering: Steering) -> None:
        self.source, self.steering = source, steering
        self.name, self.help = source.name, source.help

    @property
    def setting(self) -> Setting:
        """Frame and speed as they are now."""
        return Setting(self.steering.config.frame, self.steering.speed)

    def open(self) -> None:
        """Take hold of the source; UserError if it cannot be had."""
        self.source.open()

    def close(self) -> None:
        """Let go of the source."""
        self.source.close()

    def reset(self, n: int) -> None:
        """Begin an episode."""
        self.steering.reset()

    def command(self, observation: Observation, now_s: float) -> Command:
        """Give what is asked for now: motion only if somebody is engaged, lately, and not lost."""
        signal = self.source.poll(now_s)
        others = self._press(signal.buttons, OF_STEERING)
        fresh = now_s - signal.given_s <= self.steering.config.stale_s
        engaged = signal.engaged and fresh and not signal.lost
        asked = self.steering.action(signal, observation) if engaged else self.steering.still()
        return Command(asked, engaged, signal.given_s, others, signal.lost)

    def listen(self, now_s: float) -> Heard:
        """Give the buttons that are not the steering's, of which only those of the speed count.

        The gripper's do not: nothing moves now, and what is pressed now moves nothing later.
        """
        signal = self.source.poll(now_s)
        return Heard(self._press(signal.buttons, OF_SPEED), signal.lost)

    def _press(self, buttons: Sequence[Button], count: Sequence[Button]) -> tuple[Button, ...]:
        """Do what those of the buttons say that ``count``; give those that are not our own."""
        for button in buttons:
            if button in count:
                self.steering.press(button)
        return tuple(button for button in buttons if button not in OF_STEERING)

    def act(self, observation: Observation, explore: bool = False) -> np.ndarray:
        """Give the action [1, A] that is asked for now."""
        return as_policy(self, observation, time.monotonic())


def _columns(wanted: tuple[str, ...], names: tuple[str, ...]) -> dict[int, int]:
    """Give axis -> column of those of the entries that there are."""
    return {axis: names.index(name) for axis, name in enumerate(wanted) if name in names}


def _quaternion(interface: Spec) -> np.ndarray:
    """Find the hand's orientation in the state: columns [4] of w, x, y, z."""
    names = interface.observations["state"].names if "state" in interface.observations else ()
    found = [i for i, name in enumerate(names) if name.endswith("eef" + QUATERNION)]
    if not found:
        raise SpecError("frame: tool needs the hand's orientation, ..._eef_quat, in the state")
    return np.arange(found[0], found[0] + 4)
