import pytest

from demos.devices.contracts import Button
from demos.devices.keys import AXES, BY_DEFAULT, PAIRS, KeyMap
from robolearn.errors import UserError


def test_keys_move_along_the_axes_that_they_are_called_after():
    keys = KeyMap.of({})
    assert keys.motion(["w"]) == ((1, 0, 0), (0, 0, 0))
    assert keys.motion(["d", "r"]) == ((0, -1, 1), (0, 0, 0))
    assert keys.motion(["e", "i"]) == ((0, 0, 0), (0, -1, -1))
    assert keys.motion(["w", "s"]) == ((0, 0, 0), (0, 0, 0))


def test_a_key_moves_or_presses_or_does_nothing():
    keys = KeyMap.of({})
    assert keys.moves("w") and keys.button("w") is None
    assert not keys.moves("enter") and keys.button("enter") is Button.START
    assert not keys.moves("7") and keys.button("7") is None


def test_every_action_has_a_key_and_is_in_the_help():
    buttons = {str(button) for button in Button} | set(AXES)
    assert set(BY_DEFAULT) == buttons - {"open", "close"}  # the gripper has one key
    assert {name for names, _ in PAIRS for name in names} == set(BY_DEFAULT)


def test_beside_another_device_no_key_of_motion_is_named():
    keys = KeyMap.of({})
    assert set(keys.help_beside) < set(keys.help)
    texts = {text for _, text in keys.help_beside}
    assert "keep, discard" in texts and "pause" in texts
    assert not texts & {"forward, back", "turn left, right", "open or close the gripper"}
    assert "faster, slower" not in texts


def test_a_launch_file_chooses_other_keys():
    keys = KeyMap.of({"forward": "up", "left": "w", "grip": " "})
    assert keys.motion(["up", "w"]) == ((1, 1, 0), (0, 0, 0))
    assert keys.button("space") is Button.GRIP
    assert dict((text, key) for key, text in keys.help)["forward, back"] == "up s"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"forwards": "w"}, "keys: unknown action 'forwards'; did you mean 'forward'?"),
        ({"forward": "spce"}, "keys.forward: unknown key 'spce'; did you mean 'space'?"),
        ({"forward": "a"}, "keys: 'a' is both forward and left"),
    ],
)
def test_wrong_keys_are_named(changes, message):
    with pytest.raises(UserError) as error:
        KeyMap.of(changes)
    assert str(error.value) == message
