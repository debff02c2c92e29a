"""The keyboard of a terminal: standard library only; works over SSH and in tmux.

A terminal tells when a key is pressed, and again while it repeats, but not when it goes up. So a
key counts as down for a short while after each time it was heard: ``TAP_S`` after the first, and
once it repeats, a little longer than the repeats are apart. Motion therefore stops between the
first press and the first repeat (a quarter to two thirds of a second, as the keyboard is set), and
within ``LONGEST_S`` of letting go. ``docs/teleoperation.md`` has the figures.

Some terminals (kitty, foot, WezTerm, Ghostty, iTerm2, where no tmux is in between) do tell when a
key goes up, if they are asked. Then several keys may be down at once, and letting go stops at once;
but even so a key counts as down only as long as some key repeats, since a connection that hangs
tells nothing either.
"""

from __future__ import annotations

import os
import re
import select
import signal
import sys
import termios
import threading
import time
import tty
from collections import deque
from collections.abc import Iterator

from demos.devices.contracts import Button, Signal
from demos.devices.keys import KeyMap
from robolearn.errors import UserError

TAP_S = 0.12  # a key that was heard once
LONGEST_S = 0.2  # a key that repeats, at most; slow repeats (Linux' console: 92 ms apart) fit in
SHORTEST_S = 0.08
SLACK = 2.2  # times the longest of the latest distances between repeats
LATEST_REPEAT_S = 1.1  # after which a key heard again was pressed anew
FIRST_REPEAT_S = 0.75  # until which a key that is known to be down may be silent
ANSWER_S = 0.25  # that a terminal has to say what it can
REST_S = 0.02  # in which the rest of a key comes, if it comes in two parts
ASK, TELL, TELL_NO_MORE = b"\x1b[?u\x1b[c", b"\x1b[>15u", b"\x1b[<u"
CAN_TELL, ANSWERED = re.compile(rb"\x1b\[\?\d+u"), re.compile(rb"\x1b\[\?[\d;]*c")
NAMES = {
    b" ": "space", b"\r": "enter", b"\n": "enter", b"\t": "tab", b"\x7f": "backspace",
    b"\x08": "backspace", b"\x1b": "escape", b"\x1b[A": "up", b"\x1b[B": "down",
    b"\x1b[C": "right", b"\x1b[D": "left", b"\x1bOA": "up", b"\x1bOB": "down",
    b"\x1bOC": "right", b"\x1bOD": "left",
}  # fmt: skip
CODES = {32: "space", 13: "enter", 9: "tab", 127: "backspace", 27: "escape"}
PRESS, REPEAT, RELEASE = 1, 2, 3
TOKEN = re.compile(
    rb"\x1b\[(?P<code>\d+)(?::(?P<shifted>\d*))?(?::(?P<latin>\d*))?"
    rb"(?:;(?P<mods>\d*)(?::(?P<event>\d))?)?(?:;[\d:]*)?u"
    rb"|\x1b\[1;(?P<amods>\d*)(?::(?P<aevent>\d))?(?P<arrow>[ABCD])"
    rb"|\x1b\[[0-9;:<=>?]*[@-~]|\x1bO.|[\xc2-\xf4][\x80-\xbf]+|.",
    re.DOTALL,
)
BEGUN = re.compile(rb"\x1b(?:O|\[[0-9;:<=>?]*)?\Z")  # a key whose rest has not come yet
SHIFT, CTRL, CTRL_C = 1, 4, 99
NO_TERMINAL = (
    "device: terminal keyboard: standard input is no terminal; start it in one (over SSH with "
    "ssh -t), or choose another device.kind"
)


def keys_in(data: bytes) -> Iterator[tuple[str, int]]:
    """Give the keys in what a terminal has sent, each with what happened to it."""
    for found in TOKEN.finditer(data):
        text = found[0]
        if found["code"] or found["arrow"]:
            yield _coded(found), int(found["event"] or found["aevent"] or PRESS)
        elif text in NAMES:
            yield NAMES[text], PRESS
        elif text[:1] != b"\x1b":
            yield text.decode(errors="replace").lower(), PRESS


def _coded(found: re.Match[bytes]) -> str:
    """Name the key of a code, of which the keyboard's layout and Shift may have others."""
    if found["arrow"]:
        return NAMES[b"\x1b[" + found["arrow"]]
    code, shifted, latin = (int(found[name] or 0) for name in ("code", "shifted", "latin"))
    mods = int(found["mods"] or 1) - 1
    if mods & CTRL and CTRL_C in (code, latin):
        return "ctrl-c"
    typed = shifted if mods & SHIFT and shifted else code
    return CODES.get(typed) or (chr(typed).lower() if typed < 0x110000 else "")


class HeldKeys:
    """Which keys count as down, from when they were heard."""

    def __init__(self, told: bool = False) -> None:
        """``told`` says whether the terminal tells when a key goes up."""
        self._told = told
        self._down: dict[str, None] = {}  # in order; without being told, the last one only
        self._last, self._heard_s, self._until_s = "", -1e9, -1e9
        self._repeats = 0  # of the last key
        self._gaps: deque[float] = deque(maxlen=4)  # between repeats, seconds

    def hear(self, key: str, event: int, at_s: float) -> None:
        """Take in that a key was pressed, has repeated or went up."""
        if event == RELEASE:
            self._down.pop(key, None)
            return
        gap_s = at_s - self._heard_s
        repeats = key == self._last and gap_s < LATEST_REPEAT_S
        if event == REPEAT or (repeats and not self._told):
            if self._repeats:  # before the first repeat keyboards wait longer
                self._gaps.append(gap_s)
            self._repeats += 1
            hold_s = self._hold_s()
        else:
            self._gaps.clear()
            self._repeats = 0
            hold_s = FIRST_REPEAT_S if self._told else TAP_S
        if not self._told:
            self._down.clear()
        self._down[key] = None
        self._last, self._heard_s, self._until_s = key, at_s, at_s + hold_s

    def down(self, now_s: float) -> tuple[str, ...]:
        """Name the keys that count as down."""
        if now_s > self._until_s:
            self._down.clear()
        return tuple(self._down)

    def _hold_s(self) -> float:
        if not self._gaps:
            return LONGEST_S
        return min(LONGEST_S, max(SHORTEST_S, SLACK * max(self._gaps)))


class TerminalKeyboard:
    """A Source that reads the terminal that the program was started in."""

    name = "terminal keyboard"

    def __init__(self, keys: KeyMap, descriptor: int | None = None) -> None:
        """Read ``descriptor``, by default standard input."""
        self._keys, self.help = keys, keys.help
        self._descriptor = descriptor
        self._held = HeldKeys()
        self._buttons: deque[Button] = deque(maxlen=16)
        self._lock = threading.Lock()
        self._lost, self._heard_s, self._tells = "", 0.0, False
        self._before: list | None = None
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Have the terminal send every key at once, unseen; UserError if there is no terminal."""
        fd = self._fd()
        if not os.isatty(fd):
            raise UserError(NO_TERMINAL)
        self._before = termios.tcgetattr(fd)
        tty.setcbreak(fd, termios.TCSANOW)
        mode = termios.tcgetattr(fd)
        mode[6][termios.VSUSP] = b"\x00"  # Ctrl-Z would stop the program in the middle of a motion
        termios.tcsetattr(fd, termios.TCSANOW, mode)
        self._tells = self._ask(fd)
        self._held = HeldKeys(told=self._tells)
        self._wake, self._end = os.pipe()
        self._thread = threading.Thread(target=self._listen, name="terminal", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Give the terminal back as it was."""
        before, self._before = self._before, None
        if before is None:
            return
        if self._thread is not None:  # None if it was interrupted while it opened
            os.write(self._end, b"x")
            self._thread.join()
            self._thread = None
            os.close(self._wake)
            os.close(self._end)
        if self._lost:
            return  # there is no terminal to give back
        if self._tells:
            os.write(self._fd(), TELL_NO_MORE)
        termios.tcsetattr(self._fd(), termios.TCSAFLUSH, before)

    def poll(self, now_s: float) -> Signal:
        """Give the motion of the keys that count as down."""
        with self._lock:
            held = self._held.down(now_s)
            buttons, lost = tuple(self._buttons), self._lost
            self._buttons.clear()
        move, turn = self._keys.motion(held)
        given_s = now_s if held else self._heard_s
        return Signal(move, turn, bool(held), given_s, buttons, lost)

    def hear(self, data: bytes, at_s: float) -> None:
        """Take in what the terminal has sent."""
        with self._lock:
            for key, event in keys_in(data):
                self._heard_s = at_s
                if key == "ctrl-c":
                    signal.raise_signal(signal.SIGINT)
                elif self._keys.moves(key):
                    self._held.hear(key, event, at_s)
                elif event == PRESS and (button := self._keys.button(key)):
                    self._buttons.append(button)

    def _fd(self) -> int:
        return sys.stdin.fileno() if self._descriptor is None else self._descriptor

    def _ask(self, fd: int) -> bool:
        """Ask whether the terminal can tell when a key goes up, and have it do so."""
        try:
            os.write(fd, ASK)
        except OSError:  # it can be read only
            return False
        answer, until_s = b"", time.monotonic() + ANSWER_S
        while not ANSWERED.search(answer):
            left_s = until_s - time.monotonic()
            if left_s <= 0 or not select.select([fd], [], [], left_s)[0]:
                break
            answer += os.read(fd, 256)
        rest = ANSWERED.sub(b"", CAN_TELL.sub(b"", answer))
        if rest:  # what somebody has typed meanwhile
            self.hear(rest, time.monotonic())
        if not CAN_TELL.search(answer):
            return False
        os.write(fd, TELL)
        return True

    def _listen(self) -> None:
        fd = self._fd()
        while True:
            ready, _, _ = select.select([fd, self._wake], [], [])
            if self._wake in ready:
                return
            try:
                data = os.read(fd, 1024)
                if BEGUN.search(data) and select.select([fd], [], [], REST_S)[0]:
                    data += os.read(fd, 1024)
            except OSError:
                data = b""
            if not data:
                with self._lock:
                    self._lost = "the terminal is gone"
                return
            self.hear(data, time.monotonic())
