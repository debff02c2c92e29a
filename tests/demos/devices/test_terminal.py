"""The terminal's keyboard, in pseudo-terminals; times are given, not waited for."""

import itertools
import os
import pty
import termios
import time

import numpy as np
import pytest

from demos.devices.contracts import Button
from demos.devices.keys import KeyMap
from demos.devices.terminal import (
    ASK,
    LONGEST_S,
    PRESS,
    RELEASE,
    REPEAT,
    TAP_S,
    TELL,
    TELL_NO_MORE,
    HeldKeys,
    TerminalKeyboard,
    keys_in,
)
from robolearn.errors import UserError

KEYBOARDS = {  # seconds until the first repeat, and between repeats
    "linux console": (0.25, 0.092),
    "x11": (0.66, 0.04),
    "gnome": (0.5, 0.03),
    "macos": (0.375, 0.09),
    "windows": (0.5, 0.033),
}


def press_and_hold(delay_s, interval_s, hold_s, jitter_s=0.0, told=False):
    """Give keys held over 10 ms steps, of a key that goes down at 0 and up at ``hold_s``."""
    rng = np.random.default_rng(0)
    repeats = np.arange(delay_s, hold_s, interval_s)
    heard = [0.0, *np.sort(repeats + rng.uniform(0, jitter_s, len(repeats)))]
    keys, down = HeldKeys(told), []
    for now_s in np.arange(0, hold_s + 1.5, 0.01):
        while heard and heard[0] <= now_s:
            at_s = heard.pop(0)
            keys.hear("w", REPEAT if told and at_s else PRESS, at_s)
        if told and abs(now_s - hold_s) < 0.005:
            keys.hear("w", RELEASE, now_s)
        down.append("w" in keys.down(now_s))
    return np.array(down)


@pytest.mark.parametrize("name", KEYBOARDS)
def test_a_held_key_moves_without_a_gap_once_it_repeats_and_stops_soon(name):
    delay_s, interval_s = KEYBOARDS[name]
    down = press_and_hold(delay_s, interval_s, 3.0, jitter_s=0.02)
    assert down[: round(TAP_S * 100)].all()
    assert down[round(delay_s * 100) + 3 : 290].all()
    assert not down[300 + round(LONGEST_S * 100) + 2 :].any()


def test_a_tap_is_a_short_push():
    down = press_and_hold(9.0, 9.0, 0.05)
    assert down.sum() == pytest.approx(100 * TAP_S, abs=2)


def test_another_key_takes_over_at_once():
    keys = HeldKeys()
    keys.hear("w", PRESS, 0.0)
    keys.hear("a", PRESS, 0.05)
    assert keys.down(0.06) == ("a",)


def test_a_terminal_that_tells_lets_go_at_once_and_holds_several():
    down = press_and_hold(0.5, 0.03, 2.0, told=True)
    assert down[:200].all() and not down[201:].any()
    keys = HeldKeys(told=True)
    keys.hear("w", PRESS, 0.0)
    keys.hear("a", PRESS, 0.1)
    assert keys.down(0.2) == ("w", "a")
    keys.hear("w", RELEASE, 0.3)
    assert keys.down(0.3) == ("a",)


def test_even_then_a_key_that_falls_silent_does_not_stay_down():
    keys = HeldKeys(told=True)
    keys.hear("w", PRESS, 0.0)
    assert keys.down(0.7) and not keys.down(0.8)
    keys.hear("w", PRESS, 1.0)
    for at_s in (1.5, 1.53, 1.56):
        keys.hear("w", REPEAT, at_s)
    assert not keys.down(1.8)


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"wW \r\t\x7f", ["w", "w", "space", "enter", "tab", "backspace"]),
        (b"\x1b[A\x1b[B\x1bOC\x1b[D", ["up", "down", "right", "left"]),
        (b"\x1b", ["escape"]),
        (b"\x1b[15~\x1b[1;5Hw\x1bOP", ["w"]),  # keys that have no name here
        ("é".encode(), ["é"]),
        (b"\x1b[119;1:1u\x1b[32u\x1b[13;2u\x1b[119:87;2u", ["w", "space", "enter", "w"]),
        (b"\x1b[1;1:1A", ["up"]),
        (b"\x1b[99;5u\x1b[1089::99;5u", ["ctrl-c", "ctrl-c"]),  # also with Cyrillic letters
        (b"\x1b[61:43;2u\x1b[45;1u\x1b[43u", ["+", "-", "+"]),  # Shift and =, or a key of its own
    ],
)
def test_what_a_terminal_sends_is_keys(data, keys):
    assert list(keys_in(data)) == [(key, PRESS) for key in keys]


def test_what_a_terminal_tells_of_a_key():
    data = b"\x1b[119;1:1u\x1b[119;1:2u\x1b[119;1:3u\x1b[1;1:3C"
    assert [event for _, event in keys_in(data)] == [PRESS, REPEAT, RELEASE, RELEASE]


@pytest.fixture
def terminal():
    """Give a function that opens a keyboard on a new terminal that answers as it is told."""
    opened = []

    def make(answer=b"\x1b[?62c"):
        ours, theirs = pty.openpty()
        os.write(ours, answer)  # it is there when the keyboard asks
        keyboard = TerminalKeyboard(KeyMap.of({}), theirs)
        opened.append((keyboard, ours, theirs))
        keyboard.open()
        return keyboard, ours, theirs

    yield make
    for keyboard, ours, theirs in opened:
        keyboard.close()
        os.close(theirs)
        os.close(ours)


def polled(keyboard, wanted):
    """Poll until the keyboard has heard what is wanted."""
    buttons = []
    for now_s in itertools.count():
        time.sleep(0.001)  # the thread that listens needs the lock, too
        signal = keyboard.poll(now_s)
        buttons += signal.buttons
        if wanted(buttons, signal):
            return buttons, signal


def test_keys_typed_into_a_terminal_come_out_as_motion_and_buttons(terminal):
    keyboard, ours, theirs = terminal()
    os.write(ours, b"\r ")
    buttons, _ = polled(keyboard, lambda buttons, _: len(buttons) == 2)
    assert buttons == [Button.START, Button.GRIP]
    keyboard.hear(b"w", 5.0)
    signal = keyboard.poll(5.05)
    assert signal.move == (1, 0, 0) and signal.engaged and signal.given_s == 5.05
    assert not keyboard.poll(5.0 + TAP_S + 0.01).engaged


@pytest.mark.parametrize("parts", [(b"\x1b", b"[A"), (b"\x1b[119;1", b":3u"), (b"\x1b[", b"13u")])
def test_a_key_that_comes_in_two_parts_is_one(parts, monkeypatch):
    monkeypatch.setattr("demos.devices.terminal.REST_S", 30.0)
    ours, theirs = pty.openpty()
    os.write(ours, b"\x1b[?62c")
    keyboard, heard = TerminalKeyboard(KeyMap.of({}), theirs), []
    keyboard.hear = lambda data, at_s: heard.append(data)
    keyboard.open()
    for part in parts:
        os.write(ours, part)
        time.sleep(0.02)
    while not heard:
        time.sleep(0.001)
    assert heard == [b"".join(parts)]
    keyboard.close()
    os.close(theirs)
    os.close(ours)


def test_the_terminal_is_given_back_also_if_it_is_interrupted_while_it_opens(monkeypatch):
    def interrupted(self, fd):
        raise KeyboardInterrupt

    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    monkeypatch.setattr(TerminalKeyboard, "_ask", interrupted)
    keyboard = TerminalKeyboard(KeyMap.of({}), theirs)
    with pytest.raises(KeyboardInterrupt):
        keyboard.open()
    assert termios.tcgetattr(theirs) != before
    keyboard.close()
    assert termios.tcgetattr(theirs) == before
    os.close(theirs)
    os.close(ours)


def test_the_terminal_is_given_back_as_it_was(terminal):
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    keyboard = TerminalKeyboard(KeyMap.of({}), theirs)
    os.write(ours, b"\x1b[?0u\x1b[?62c")
    keyboard.open()
    assert termios.tcgetattr(theirs)[3] & (termios.ECHO | termios.ICANON) == 0
    assert termios.tcgetattr(theirs)[3] & termios.ISIG  # Ctrl-C ends the program
    keyboard.close()
    keyboard.close()
    assert termios.tcgetattr(theirs) == before
    said = b""
    while TELL_NO_MORE not in said:
        said += os.read(ours, 4096)
    assert said.index(ASK) < said.index(TELL) < said.index(TELL_NO_MORE)
    os.close(theirs)
    os.close(ours)


def test_a_terminal_that_can_tell_is_asked_to(terminal):
    keyboard, ours, theirs = terminal(b"\x1b[?0u\x1b[?62c")
    said = b""
    while TELL not in said:
        said += os.read(ours, 4096)
    keyboard.hear(b"\x1b[119;1:1u\x1b[97;1:1u", 1.0)
    assert keyboard.poll(1.5).move == (1, 1, 0)
    keyboard.hear(b"\x1b[119;1:3u\x1b[97;1:3u", 1.5)
    assert not keyboard.poll(1.5).engaged


def test_a_terminal_that_says_nothing_is_an_ordinary_one(terminal):
    keyboard, ours, theirs = terminal(b"")
    assert TELL not in os.read(ours, 4096)


def test_a_terminal_that_goes_away_is_lost():
    ours, theirs = pty.openpty()
    os.write(ours, b"\x1b[?62c")
    keyboard = TerminalKeyboard(KeyMap.of({}), theirs)
    keyboard.open()
    os.close(ours)
    _, signal = polled(keyboard, lambda _, signal: signal.lost)
    assert signal.lost == "the terminal is gone"
    keyboard.close()
    os.close(theirs)


def test_what_is_no_terminal_is_one_line(tmp_path):
    with open(tmp_path / "file", "w") as file:
        keyboard = TerminalKeyboard(KeyMap.of({}), file.fileno())
        with pytest.raises(UserError, match="ssh -t"):
            keyboard.open()
        keyboard.close()
