import types

import pytest

from demos.devices.contracts import Button
from demos.devices.desktop import DesktopKeyboard, require_display
from demos.devices.keys import KeyMap
from robolearn.errors import UserError


def key(name):
    """Make a key as pynput gives them: with a character, or with a name."""
    if len(name) == 1:
        return types.SimpleNamespace(char=name)
    return types.SimpleNamespace(name=name)


class Listener:
    """Stands for pynput's: presses what it is told to."""

    def __init__(self, on_press, on_release):
        self.on_press, self.on_release, self.alive = on_press, on_release, False

    def start(self):
        self.alive = True

    def stop(self):
        self.alive = False

    def is_alive(self):
        return self.alive

    def press(self, *names):
        for name in names:
            self.on_press(key(name))

    def release(self, *names):
        for name in names:
            self.on_release(key(name))


@pytest.fixture
def keyboard():
    keyboard = DesktopKeyboard(KeyMap.of({}), Listener, {"DISPLAY": ":0"})
    keyboard.open()
    yield keyboard
    keyboard.close()


def test_nothing_counts_without_the_clutch(keyboard):
    keyboard._listener.press("w", "enter")
    signal = keyboard.poll(1.0)
    assert not signal.engaged and not signal.buttons


def test_keys_count_while_the_clutch_is_held(keyboard):
    keyboard._listener.press("shift", "W", "enter", "space")
    signal = keyboard.poll(1.0)
    assert signal.move == (1, 0, 0) and signal.engaged and signal.given_s == 1.0
    assert signal.buttons == (Button.START, Button.GRIP)
    assert keyboard.poll(1.1).buttons == ()
    keyboard._listener.release("w")
    assert not keyboard.poll(1.2).engaged


def test_the_keys_of_the_speed_count_as_shift_writes_them(keyboard):
    keyboard._listener.press("shift", "_", "+", "*")
    assert keyboard.poll(1.0).buttons == (Button.SLOWER, Button.FASTER, Button.FASTER)


def test_letting_the_clutch_go_stops(keyboard):
    keyboard._listener.press("shift_r", "W")
    keyboard._listener.release("shift_r")
    assert not keyboard.poll(1.0).engaged
    keyboard._listener.press("shift_r")
    assert not keyboard.poll(1.0).engaged  # "W" went up under its other name, or will never


def test_a_listener_that_has_died_is_lost(keyboard):
    keyboard._listener.alive = False
    assert keyboard.poll(1.0).lost


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({}, "there is no display"),
        ({"DISPLAY": ":0", "WAYLAND_DISPLAY": "wayland-0"}, "Wayland"),
    ],
)
def test_where_it_cannot_work_it_says_what_would(environ, said):
    with pytest.raises(UserError, match=f"{said}.*terminal"):
        require_display(environ, "linux")
    require_display({"DISPLAY": ":0"}, "linux")
    require_display({}, "darwin")
