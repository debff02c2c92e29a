"""The page as a Source: one slot with the newest that a browser said, and when it was so."""

from __future__ import annotations

import threading
from collections import deque

from demos.devices.contracts import Button, Help, Signal
from demos.devices.gamepad import HELP as GAMEPAD
from demos.devices.keys import KeyMap
from demos.page.messages import Message

HOLD_S = 0.1  # after the last input, by which the robot is told to stand still
MARGIN_S = 0.005  # by which a step may be late
LEAST_S = 0.03
SILENT_S = 0.5  # without a word, after which the connection counts as lost
PRESSED_S = 1.0  # after which a button that nobody has asked for is forgotten
NOBODY = "no page has the controls: open the page's address"
CLOSED = "the page's connection was lost"
SILENT = "the page has not been heard of for half a second"


class PageSource:
    """What the page that has the controls says; nothing is queued but buttons, for a moment.

    ``period_s`` is the control loop's: the last step that moves must be followed, within HOLD_S of
    the input, by one that does not.
    """

    name = "page"

    def __init__(self, keys: KeyMap, period_s: float) -> None:
        self.keys = keys
        self.help: Help = (*keys.help, *((f"gamepad: {key}", text) for key, text in GAMEPAD))
        self._hold_s = max(HOLD_S - period_s - MARGIN_S, LEAST_S)
        self._lock = threading.Lock()
        self._lost, self._heard_s = NOBODY, 0.0
        self._broken = ""  # a break that no poll has told of
        self._told_silent = False
        self._newest: Message | None = None
        self._given_s = 0.0
        self._buttons: deque[tuple[Button, float]] = deque(maxlen=16)

    def open(self) -> None:
        """Nothing needs to be had: a browser comes when it comes."""

    def close(self) -> None:
        """Hear nothing more."""
        self.disconnect(CLOSED)

    def connect(self, now_s: float) -> None:
        """Somebody has the controls from now on; nothing that was said before counts."""
        with self._lock:
            if not self._lost:
                self._broken = CLOSED
            self._clear()
            self._lost, self._heard_s = "", now_s

    def disconnect(self, why: str = CLOSED) -> None:
        """Nobody has the controls any more; nothing that was said before counts."""
        with self._lock:
            self._clear()
            self._lost = self._broken = why

    def hear(self, message: Message, given_s: float, now_s: float) -> None:
        """Take a message in that comes in time, in place of the one before."""
        with self._lock:
            if self._lost:
                return
            silent = self._newest is not None and now_s - self._heard_s > SILENT_S
            if silent and not self._told_silent:
                self._broken = SILENT
            self._told_silent = False
            self._newest, self._given_s, self._heard_s = message, given_s, now_s
            self._buttons.extend((button, given_s) for button in message.buttons)

    def poll(self, now_s: float) -> Signal:
        """Give what the page says now: motion only if it said so a moment ago.

        A break is told of, also one that was over before anybody asked: somebody else may steer.
        """
        with self._lock:
            broken, self._broken = self._broken, ""
            if broken:
                return Signal(lost=self._lost or broken)
            buttons = tuple(b for b, at_s in self._buttons if now_s - at_s <= PRESSED_S)
            self._buttons.clear()
            said, given_s, lost = self._newest, self._given_s, self._lost
            if not lost and now_s - self._heard_s > SILENT_S:
                lost, self._told_silent = SILENT, True
        if said is None or lost or not said.engaged or now_s - given_s > self._hold_s:
            return Signal(given_s=given_s, buttons=() if lost else buttons, lost=lost)
        return Signal(said.move, said.turn, True, given_s, buttons)

    def _clear(self) -> None:
        self._newest, self._given_s, self._told_silent = None, 0.0, False
        self._buttons.clear()
