import dataclasses

import numpy as np
import pytest

from demos.devices.contracts import Button, Signal
from demos.devices.steering import Steered, Steering, SteeringConfig
from robolearn.errors import SpecError, UserError

from .hands import ARM, LINE, UPRIGHT, Hand

PUSH = Signal((1, 0, 0), (0, 0, 0), engaged=True)


def steered(signal=PUSH, interface=ARM, axes=None, **settings) -> Steered:
    device = Steered(Hand(signal), Steering(SteeringConfig(**settings), interface, axes))
    device.reset(1)
    return device


def moved(device, now_s=1.0, observation=UPRIGHT) -> list[float]:
    return device.command(observation, now_s).action.tolist()


def test_a_push_moves_forward_at_the_chosen_speed():
    assert moved(steered(speed=0.25)) == [0.25, 0, 0, 0, 0, 0, -1]


def test_a_turn_has_a_speed_of_its_own():
    signal = Signal((0, 0, 0), (0, 0, -1), engaged=True)
    np.testing.assert_allclose(moved(steered(signal, turn_speed=0.5)), [0, 0, 0, 0, 0, -0.5, -1])


def test_nothing_moves_unless_somebody_is_engaged_lately_and_connected():
    still = [0, 0, 0, 0, 0, 0, -1]
    assert moved(steered(dataclasses.replace(PUSH, engaged=False))) == still
    assert moved(steered(dataclasses.replace(PUSH, lost="unplugged"))) == still
    device = steered(dataclasses.replace(PUSH, given_s=1.0), stale_s=0.1)
    device.source.fresh = False
    assert moved(device, 1.05) != still
    assert moved(device, 1.15) == still
    assert not device.command(UPRIGHT, 1.15).engaged


def test_the_gripper_stays_until_it_is_told_otherwise():
    device = steered(Signal(buttons=(Button.GRIP,)))
    assert [moved(device)[-1], moved(device)[-1]] == [1, 1]
    device.source.signal = Signal(buttons=(Button.CLOSE,))
    assert moved(device)[-1] == 1
    device.source.signal = Signal(buttons=(Button.OPEN,))
    assert moved(device)[-1] == -1
    device.steering.follow(np.ones(7, np.float32))
    assert moved(device)[-1] == 1
    device.reset(1)
    assert moved(device)[-1] == -1


def test_speed_changes_within_its_range_and_buttons_of_the_session_pass():
    device = steered(speed=0.5)
    for _ in range(20):
        device.source.signal = dataclasses.replace(PUSH, buttons=(Button.FASTER, Button.KEEP))
        command = device.command(UPRIGHT, 1.0)
        assert command.buttons == (Button.KEEP,)
    assert command.action[0] == device.setting.speed == 1.0
    for _ in range(40):
        device.source.signal = dataclasses.replace(PUSH, buttons=(Button.SLOWER,))
        device.listen(1.0)
    assert device.setting.speed == pytest.approx(0.05)


def test_the_gripper_is_not_told_in_a_pause_what_to_do_after_it():
    device = steered()
    for button in (Button.GRIP, Button.CLOSE):
        device.source.signal = Signal(buttons=(button, Button.START))
        assert device.listen(1.0).buttons == (Button.START,)
    device.source.signal = PUSH
    assert moved(device)[-1] == -1


def test_forward_of_the_tool_is_where_it_points():
    down = np.sqrt(0.5) * np.array([1, 0, 1, 0], np.float32)  # a quarter turn about y: x is down
    action = moved(steered(frame="tool", speed=1.0), observation={"state": down})
    np.testing.assert_allclose(action[:3], [0, 0, -1], atol=1e-6)


def test_forward_of_a_camera_is_into_its_picture():
    axes = np.array([[0, 0, -1], [1, 0, 0], [0, 1, 0]])  # looks along +x: its -z; its x is +y
    push, left, up = (
        moved(
            steered(Signal(move, engaged=True), axes=axes, frame="camera", camera="c", speed=1.0)
        )[:3]
        for move in ((1, 0, 0), (0, 1, 0), (0, 0, 1))
    )
    np.testing.assert_allclose([push, left, up], [[1, 0, 0], [0, -1, 0], [0, 0, 1]])


def test_without_names_the_hand_drives_the_entries():
    assert moved(steered(interface=LINE, speed=0.5)) == [0.5]


@pytest.mark.parametrize("frame", ["tool", "camera"])
def test_a_frame_that_cannot_be_had_is_an_error(frame):
    with pytest.raises(UserError, match=f"frame: {frame} needs actions named dx, dy, dz"):
        steered(interface=LINE, frame=frame, camera="front")


def test_a_frame_needs_what_it_is_named_after():
    no_pose = dataclasses.replace(ARM, observations=LINE.observations)
    with pytest.raises(SpecError, match="frame: tool needs the hand's orientation"):
        steered(interface=no_pose, frame="tool")
    with pytest.raises(UserError, match="frame: nobody has said where camera 'front' looks"):
        steered(frame="camera", camera="front")
    with pytest.raises(UserError, match="camera: which camera?"):
        steered(frame="camera")


def test_it_is_a_policy_of_one_environment():
    device = steered(speed=0.5)
    device.source.fresh = False
    device.source.signal = dataclasses.replace(PUSH, given_s=1e12)
    rows = {"state": UPRIGHT["state"][None]}
    assert device.act(rows).tolist() == [[0.5, 0, 0, 0, 0, 0, -1]]
    with pytest.raises(ValueError, match="one environment"):
        device.act({"state": np.zeros((2, 4), np.float32)})


def test_it_opens_and_closes_its_source():
    device = steered()
    device.open()
    assert device.source.opened == 1
    device.close()
    assert device.source.opened == 0
