"""A gamepad, by pygame-ce: sticks move while a shoulder button is held.

Left shoulder held: the left stick goes forward, back, left, right, the right one up and down, and
turns about the vertical. Right shoulder held: the left stick tips and rolls the hand.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Protocol

from demos.devices.contracts import STILL, Button, Help, Signal
from robolearn.errors import UserError

DEAD = 0.12  # of a stick's way, around its middle
BUTTONS = {
    "a": Button.GRIP,
    "b": Button.DISCARD,
    "x": Button.RETRY,
    "y": Button.KEEP,
    "start": Button.START,
    "back": Button.UNDO,
    "left_stick": Button.END,
    "right_stick": Button.PAUSE,
    "up": Button.FASTER,
    "down": Button.SLOWER,
}
HELP: Help = (
    ("left shoulder", "hold it: left stick forward, back, left, right; right stick up, down, turn"),
    ("right shoulder", "hold it: left stick tips and rolls"),
    ("A", "open or close the gripper"),
    ("Start", "begin, go on, as proposed"),
    ("Y B X", "keep, discard, try again from the same start"),
    ("Back", "take back the last one"),
    ("press a stick", "left: end the demonstration; right: pause"),
    ("pad up down", "faster, slower"),
)


class Pad(Protocol):
    """A gamepad, whoever reads it: sticks in [-1, 1], x to the right and y down."""

    attached: bool

    def sticks(self) -> tuple[float, float, float, float]:
        """Give left x, left y, right x, right y."""

    def pressed(self) -> frozenset[str]:
        """Name the buttons that are down: those of BUTTONS, "left_shoulder", "right_shoulder"."""

    def close(self) -> None:
        """Let go of it."""


class PygamePad:
    """The first gamepad that SDL knows."""

    def __init__(self) -> None:
        """Find it; UserError if there is none, or no pygame."""
        try:
            os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
            import pygame
            from pygame._sdl2 import controller
        except ImportError:
            raise UserError(
                "device: gamepad: needs pygame-ce: pip install pygame-ce, or choose another "
                "device.kind"
            ) from None
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # no window, nor a display
        os.environ.setdefault("SDL_JOYSTICK_ALLOW_BACKGROUND_EVENTS", "1")
        pygame.display.init()
        controller.init()
        known = [i for i in range(controller.get_count()) if controller.is_controller(i)]
        if not known:
            pygame.display.quit()
            raise UserError(
                "device: gamepad: none is connected, or may be read (on Linux, /dev/input/event* "
                "belong to the group input); over SSH, use device.kind: terminal"
            )
        self._pygame, self._pad = pygame, controller.Controller(known[0])

    @property
    def attached(self) -> bool:
        """Whether it is still connected."""
        self._pygame.event.pump()
        return bool(self._pad.attached())

    def sticks(self) -> tuple[float, float, float, float]:
        """Give left x, left y, right x, right y."""
        names = ("LEFTX", "LEFTY", "RIGHTX", "RIGHTY")
        axes = (getattr(self._pygame, f"CONTROLLER_AXIS_{name}") for name in names)
        return tuple(max(-1.0, self._pad.get_axis(axis) / 32767) for axis in axes)

    def pressed(self) -> frozenset[str]:
        """Name the buttons that are down."""
        names = {
            "a": "A", "b": "B", "x": "X", "y": "Y", "start": "START", "back": "BACK",
            "left_stick": "LEFTSTICK", "right_stick": "RIGHTSTICK", "up": "DPAD_UP",
            "down": "DPAD_DOWN", "left_shoulder": "LEFTSHOULDER",
            "right_shoulder": "RIGHTSHOULDER",
        }  # fmt: skip
        return frozenset(
            ours
            for ours, theirs in names.items()
            if self._pad.get_button(getattr(self._pygame, f"CONTROLLER_BUTTON_{theirs}"))
        )

    def close(self) -> None:
        """Let go of it, and of SDL."""
        self._pad.quit()
        self._pygame.display.quit()


class Gamepad:
    """A Source that reads a gamepad."""

    name, help = "gamepad", HELP

    def __init__(self, make_pad: Callable[[], Pad] = PygamePad) -> None:
        self._make, self._pad = make_pad, None
        self._before: frozenset[str] = frozenset()

    def open(self) -> None:
        """Find the gamepad; UserError if there is none."""
        self._pad = self._make()
        self._before = self._pad.pressed()

    def close(self) -> None:
        """Let go of it."""
        if self._pad is not None:
            self._pad.close()
            self._pad = None

    def poll(self, now_s: float) -> Signal:
        """Give the sticks, as the shoulder buttons say, and the buttons that went down."""
        pad: Any = self._pad
        if not pad.attached:
            return Signal(given_s=now_s, lost="the gamepad was disconnected")
        down = pad.pressed()
        buttons = tuple(BUTTONS[name] for name in sorted(down - self._before) if name in BUTTONS)
        self._before = down
        left_x, left_y, right_x, right_y = map(_alive, pad.sticks())
        if "left_shoulder" in down:
            return Signal((-left_y, -left_x, -right_y), (0.0, 0.0, -right_x), True, now_s, buttons)
        if "right_shoulder" in down:
            return Signal(STILL, (left_x, -left_y, -right_x), True, now_s, buttons)
        return Signal(given_s=now_s, buttons=buttons)


def _alive(value: float) -> float:
    """Cut out a stick's dead middle, without a jump at its edge."""
    size = max(0.0, abs(value) - DEAD) / (1 - DEAD)
    return min(size, 1.0) * (1.0 if value > 0 else -1.0)
