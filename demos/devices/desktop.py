"""The keyboard of a desktop, by pynput, which sees keys go up; needs X11, macOS or Windows.

It hears every key, whatever window has the focus. So nothing counts, motion or button, unless the
clutch (Shift) is held.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from demos.devices.contracts import Button, Help, Signal
from demos.devices.keys import WORDS, KeyMap
from robolearn.errors import UserError

CLUTCH = ("shift", "shift_l", "shift_r")
UNSHIFTED = {"_": "-", "*": "+"}  # what Shift makes of our keys on a usual keyboard
Handler = Callable[[Any], None]
INSTEAD = "device.kind: terminal works here, and so does a gamepad"


def require_display(environ: Mapping[str, str] = os.environ, platform: str = sys.platform) -> None:
    """Raise UserError where pynput would hear nothing."""
    if platform != "linux":
        return
    if environ.get("WAYLAND_DISPLAY"):
        raise UserError(
            "device: desktop keyboard: Wayland tells no program of keys that another window gets; "
            f"log in with X11, or: {INSTEAD}"
        )
    if not environ.get("DISPLAY"):
        raise UserError(f"device: desktop keyboard: there is no display here; {INSTEAD}")


def listener(on_press: Handler, on_release: Handler) -> Any:
    """Make pynput's listener; UserError if it is not installed or cannot reach the display."""
    try:
        from pynput import keyboard
    except ImportError as error:  # it also says so where it finds no way to listen
        raise UserError(
            f"device: desktop keyboard: needs pynput ({' '.join(str(error).split())}): "
            f"pip install pynput; {INSTEAD}"
        ) from None
    return keyboard.Listener(on_press=on_press, on_release=on_release)


class DesktopKeyboard:
    """A Source that hears the whole desktop's keyboard while Shift is held."""

    name = "desktop keyboard"

    def __init__(
        self,
        keys: KeyMap,
        make_listener: Callable[[Handler, Handler], Any] = listener,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._keys, self._make, self._environ = keys, make_listener, environ
        self.help: Help = (("Shift", "hold it: nothing counts without"), *keys.help)
        self._down: set[str] = set()
        self._clutched: set[str] = set()
        self._buttons: deque[Button] = deque(maxlen=16)
        self._heard_s = 0.0
        self._lock = threading.Lock()
        self._listener: Any = None

    def open(self) -> None:
        """Begin to listen; UserError if that cannot work here."""
        require_display(self._environ)
        self._listener = self._make(self._press, self._release)
        self._listener.start()

    def close(self) -> None:
        """Listen no more."""
        if self._listener is not None:
            self._listener.stop()
            self._listener = None

    def poll(self, now_s: float) -> Signal:
        """Give the motion of the keys that are down while the clutch is held."""
        with self._lock:
            held = tuple(self._down) if self._clutched else ()
            buttons = tuple(self._buttons)
            self._buttons.clear()
        alive = self._listener is not None and self._listener.is_alive()
        lost = "" if alive else "the desktop's keyboard is gone"
        move, turn = self._keys.motion(held)
        return Signal(move, turn, bool(held), now_s, buttons, lost)

    def _press(self, key: Any) -> None:
        name = self._meant(key)
        with self._lock:
            if name in CLUTCH:
                self._clutched.add(name)
            elif self._keys.moves(name):
                self._down.add(name)
            elif self._clutched and (button := self._keys.button(name)):
                self._buttons.append(button)

    def _release(self, key: Any) -> None:
        name = self._meant(key)
        with self._lock:
            self._clutched.discard(name)
            self._down.discard(name)
            if not self._clutched:  # the same key has another name without Shift
                self._down.clear()

    def _meant(self, key: Any) -> str:
        """Name a key, also if Shift has made a character of it that does nothing."""
        name = _name(key)
        return name if name in self._keys.actions else UNSHIFTED.get(name, name)


def _name(key: Any) -> str:
    """Give our name of pynput's key: a character, or a word."""
    char = getattr(key, "char", None)
    if char:
        return char.lower()
    word = {"esc": "escape"}.get(getattr(key, "name", ""), getattr(key, "name", "")) or ""
    return word if word in (*WORDS, *CLUTCH) else ""
