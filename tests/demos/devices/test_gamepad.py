import sys

import pytest

from demos.devices.contracts import Button
from demos.devices.gamepad import BUTTONS, Gamepad, PygamePad
from robolearn.errors import UserError


class Pad:
    attached = True

    def __init__(self):
        self.axes, self.down, self.closed = (0.0, 0.0, 0.0, 0.0), frozenset(), False

    def sticks(self):
        return self.axes

    def pressed(self):
        return self.down

    def close(self):
        self.closed = True


@pytest.fixture
def pad():
    return Pad()


@pytest.fixture
def gamepad(pad):
    gamepad = Gamepad(lambda: pad)
    gamepad.open()
    yield gamepad
    gamepad.close()
    assert pad.closed


def test_sticks_move_only_while_a_shoulder_is_held(gamepad, pad):
    pad.axes = (0.0, -1.0, 0.0, 0.0)
    assert not gamepad.poll(1.0).engaged
    pad.down = frozenset({"left_shoulder"})
    signal = gamepad.poll(1.0)
    assert signal.engaged and signal.move == (1, 0, 0) and signal.given_s == 1.0
    pad.down = frozenset()
    assert not gamepad.poll(1.0).engaged


def test_the_left_shoulder_moves_and_the_right_one_turns(gamepad, pad):
    pad.axes, pad.down = (1.0, -1.0, -1.0, -1.0), frozenset({"left_shoulder"})
    signal = gamepad.poll(1.0)
    assert signal.move == (1, -1, 1) and signal.turn == (0, 0, 1)
    pad.down = frozenset({"right_shoulder"})
    signal = gamepad.poll(1.0)
    assert signal.move == (0, 0, 0) and signal.turn == (1, 1, 1)


def test_the_middle_of_a_stick_is_dead_and_its_edge_no_step(gamepad, pad):
    pad.down = frozenset({"left_shoulder"})
    pad.axes = (0.0, -0.11, 0.0, 0.0)
    assert gamepad.poll(1.0).move == (0, 0, 0)
    pad.axes = (0.0, -0.13, 0.0, 0.0)
    assert 0 < gamepad.poll(1.0).move[0] < 0.02


def test_a_button_counts_once_each_time_it_goes_down(gamepad, pad):
    pad.down = frozenset({"a"})
    assert gamepad.poll(1.0).buttons == (Button.GRIP,)
    assert gamepad.poll(1.1).buttons == ()
    pad.down = frozenset()
    gamepad.poll(1.2)
    pad.down = frozenset({"a", "start"})
    assert gamepad.poll(1.3).buttons == (Button.GRIP, Button.START)


def test_it_has_a_button_for_all_but_leaving():
    missing = set(Button) - set(BUTTONS.values())
    assert missing == {Button.QUIT, Button.SKIP, Button.OPEN, Button.CLOSE}


def test_one_that_is_pulled_out_is_lost(gamepad, pad):
    pad.attached, pad.down = False, frozenset({"left_shoulder"})
    signal = gamepad.poll(1.0)
    assert signal.lost and not signal.engaged


def test_without_pygame_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pygame", None)
    with pytest.raises(UserError, match="pip install pygame-ce"):
        PygamePad()
