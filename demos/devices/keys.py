"""Which key does what: the same names in a terminal, on a desktop and in a browser.

A key is the character that it types, or a word: "space", "enter", "tab", "backspace", "escape",
"up", "down", "left", "right". A launch file moves actions to other keys: ``keys: {forward: up}``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from demos.devices.contracts import OF_STEERING, STILL, Button, Help, Triple
from robolearn.errors import UserError, nearest

WORDS = ("space", "enter", "tab", "backspace", "escape", "up", "down", "left", "right")
AXES = {  # action -> whether it turns, axis, sign
    "forward": (False, 0, 1.0),
    "back": (False, 0, -1.0),
    "left": (False, 1, 1.0),
    "right": (False, 1, -1.0),
    "up": (False, 2, 1.0),
    "down": (False, 2, -1.0),
    "roll_right": (True, 0, 1.0),
    "roll_left": (True, 0, -1.0),
    "pitch_down": (True, 1, 1.0),
    "pitch_up": (True, 1, -1.0),
    "turn_left": (True, 2, 1.0),
    "turn_right": (True, 2, -1.0),
}
BY_DEFAULT = {
    "forward": "w", "back": "s", "left": "a", "right": "d", "up": "r", "down": "f",
    "turn_left": "q", "turn_right": "e", "pitch_up": "i", "pitch_down": "k",
    "roll_left": "j", "roll_right": "l",
    "grip": "space", "faster": "+", "slower": "-",
    "start": "enter", "end": "g", "keep": "y", "discard": "n", "retry": "t", "undo": "u",
    "pause": "p", "skip": "tab", "quit": "x",
}  # fmt: skip
PAIRS = (  # how help names them
    (("forward", "back"), "forward, back"),
    (("left", "right"), "left, right"),
    (("up", "down"), "up, down"),
    (("turn_left", "turn_right"), "turn left, right"),
    (("pitch_up", "pitch_down"), "tip up, down"),
    (("roll_left", "roll_right"), "roll left, right"),
    (("grip",), "open or close the gripper"),
    (("faster", "slower"), "faster, slower"),
    (("start",), "begin, go on, as proposed"),
    (("end",), "end the demonstration"),
    (("keep", "discard"), "keep, discard"),
    (("retry",), "try again from the same start"),
    (("undo",), "take back the last one"),
    (("pause",), "pause"),
    (("skip",), "skip what is shown"),
    (("quit",), "leave"),
)


@dataclass(frozen=True)
class KeyMap:
    """Which key does what; made by ``KeyMap.of``."""

    actions: Mapping[str, str]  # key -> action

    @classmethod
    def of(cls, changes: Mapping[str, str]) -> KeyMap:
        """Put changes, action -> key, over the defaults.

        Raises UserError for an unknown action or key, and for a key that does two things.
        """
        for action, key in changes.items():
            if action not in BY_DEFAULT:
                raise UserError(f"keys: unknown action '{action}'{nearest(action, BY_DEFAULT)}")
            if len(key) != 1 and key not in WORDS:
                raise UserError(f"keys.{action}: unknown key '{key}'{nearest(key, WORDS)}")
        keys = BY_DEFAULT | {a: " ".join(k.lower().split()) or "space" for a, k in changes.items()}
        actions: dict[str, str] = {}
        for action, key in keys.items():
            if key in actions:
                raise UserError(f"keys: '{key}' is both {actions[key]} and {action}")
            actions[key] = action
        return cls(actions)

    @property
    def help(self) -> Help:
        """Say which keys there are."""
        return self._help(())

    @property
    def help_beside(self) -> Help:
        """Say which of them count beside another device: those that move nothing."""
        return self._help((*AXES, *OF_STEERING))

    @property
    def help_steering(self) -> Help:
        """Say which of them steer: those that move something."""
        return self._help([name for name in BY_DEFAULT if name not in (*AXES, *OF_STEERING)])

    def named(self, texts: Mapping[str, str]) -> Help:
        """Say which keys do what in other words, action -> text."""
        keys = {action: key for key, action in self.actions.items()}
        return tuple((keys[action], text) for action, text in texts.items())

    def moves(self, key: str) -> bool:
        """Say whether a key asks for motion while it is down."""
        return self.actions.get(key) in AXES

    def button(self, key: str) -> Button | None:
        """Give the button that a key presses, if it does."""
        action = self.actions.get(key)
        return None if action is None or action in AXES else Button(action)

    def motion(self, held: Collection[str]) -> tuple[Triple, Triple]:
        """Give move and turn of the keys that are down."""
        axes = [list(STILL), list(STILL)]
        for key in held:
            turns, axis, sign = AXES[self.actions[key]]
            axes[turns][axis] += sign
        return tuple(axes[0]), tuple(axes[1])

    def _help(self, but: Collection[str]) -> Help:
        keys = {action: key for key, action in self.actions.items()}
        pairs = [(names, text) for names, text in PAIRS if names[0] not in but]
        return tuple((" ".join(keys[name] for name in names), text) for names, text in pairs)
