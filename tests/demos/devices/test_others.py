import dataclasses

import numpy as np
import pytest

from demos.devices.contracts import Button, Heard, Signal
from demos.devices.make import DeviceConfig, make_device
from demos.devices.others import Beside, Replay, Scripted, TakeOver
from demos.devices.steering import Steered, Steering, SteeringConfig
from robolearn.errors import UserError
from robolearn.types import Episode

from .hands import ARM, UPRIGHT, Hand

PUSH = Signal((1, 0, 0), (0, 0, 0), engaged=True)


class Closing:
    """A policy that turns, with a closed hand; it counts what it sees."""

    def __init__(self):
        self.seen = 0

    def reset(self, n):
        self.seen = 0

    def act(self, observation, explore=False):
        self.seen += 1
        return np.array([[0, 0, 0, 0, 0, 2.0, 1]], np.float32)


def person(signal=None) -> Steered:
    return Steered(Hand(signal), Steering(SteeringConfig(speed=0.5), ARM))


@pytest.fixture
def episode() -> Episode:
    rng = np.random.default_rng(0)
    return Episode(
        observations={"state": np.zeros((4, 4), np.float32)},
        actions=rng.uniform(-1, 1, (3, 7)).astype(np.float32),
        rewards=np.zeros(3, np.float32),
        terminated=False, truncated=True, success=True,
        states=rng.normal(size=(4, 5)),
    )  # fmt: skip


def test_a_replay_gives_the_stored_actions_from_the_stored_start(episode):
    replay = Replay(episode)
    np.testing.assert_array_equal(replay.start_state, episode.states[0])
    assert replay.listen(0.0).buttons == (Button.START,)
    for _ in range(2):
        replay.reset(1)
        commands = [replay.command(UPRIGHT, t / 20) for t in range(4)]
        np.testing.assert_array_equal([c.action for c in commands[:3]], episode.actions)
        assert [c.ended for c in commands] == [False] * 3 + [True]
        assert not commands[3].action.any()
    assert replay.listen(0.0).buttons == (Button.START, Button.QUIT)


def test_the_policy_acts_until_the_person_moves_and_again_a_moment_later():
    returns = []
    device = TakeOver(Closing(), person(), 0.3, lambda: returns.append(device.policy.seen))
    device.reset(1)
    first = device.command(UPRIGHT, 0.0)
    assert first.action.tolist() == [0, 0, 0, 0, 0, 1, 1] and not first.intervention
    device.person.source.signal = PUSH
    taken = device.command(UPRIGHT, 0.1)
    assert taken.action.tolist() == [0.5, 0, 0, 0, 0, 0, 1] and taken.intervention
    device.person.source.signal = Signal()
    held = device.command(UPRIGHT, 0.3)
    assert held.action.tolist() == [0, 0, 0, 0, 0, 0, 1] and held.intervention
    back = device.command(UPRIGHT, 0.5)
    assert back.action[5] == 1 and not back.intervention
    assert device.policy.seen == 4  # also what happens while the person acts
    assert returns == [3]


def test_the_person_begins_with_the_gripper_as_it_is_and_changes_it():
    device = TakeOver(Closing(), person(PUSH))
    device.reset(1)
    assert device.command(UPRIGHT, 0.0).action[-1] == -1  # as an episode begins
    device.reset(1)
    device.person.source.signal = Signal()
    device.command(UPRIGHT, 0.0)
    device.person.source.signal = dataclasses.replace(PUSH, buttons=(Button.GRIP,))
    assert device.command(UPRIGHT, 1.0).action[-1] == -1


def test_closing_the_gripper_takes_over_without_motion():
    device = TakeOver(Closing(), person(), back_s=0.3)
    device.reset(1)
    device.command(UPRIGHT, 0.0)
    device.person.source.signal = Signal(buttons=(Button.GRIP,))
    for now_s in (1.0, 1.2):
        taken = device.command(UPRIGHT, now_s)
        assert taken.action.tolist() == [0, 0, 0, 0, 0, 0, -1] and taken.intervention
    assert not device.command(UPRIGHT, 1.4).intervention


def test_without_a_connection_the_policy_does_not_act_either():
    device = TakeOver(Closing(), person(Signal(lost="unplugged")))
    device.reset(1)
    command = device.command(UPRIGHT, 0.0)
    assert command.lost and not command.action[:6].any() and not command.intervention


def test_a_scripted_operator_is_made_anew_for_each_demonstration():
    made = []

    def make():
        made.append(Closing())
        return made[-1]

    device = Scripted(make)
    for _ in range(2):
        device.reset(1)
        assert device.command(UPRIGHT, 0.0).action.max() == 1.0
    assert [one.seen for one in made] == [1, 1]
    assert device.listen(0.0) == Heard((Button.START,))


def test_a_keyboard_beside_adds_its_buttons_and_no_motion(episode):
    keyboard = Hand(dataclasses.replace(PUSH, buttons=(Button.PAUSE,)))
    device = Beside(Replay(episode), keyboard, (("p", "pause"),))
    assert device.help == (("p", "pause"),)
    assert Beside(device, keyboard, (("p", "pause"), ("x", "leave"))).help == (
        ("p", "pause"), ("x", "leave"),
    )  # fmt: skip
    device.open()
    device.reset(1)
    command = device.command(UPRIGHT, 0.0)
    np.testing.assert_array_equal(command.action, episode.actions[0])
    assert command.buttons == (Button.PAUSE,)
    keyboard.signal = Signal(buttons=(Button.QUIT,))
    assert Button.QUIT in device.listen(0.0).buttons
    np.testing.assert_array_equal(device.start_state, episode.states[0])
    device.close()
    assert keyboard.opened == 0


def test_all_of_them_are_policies(episode):
    rows = {"state": UPRIGHT["state"][None]}
    devices = [Replay(episode), TakeOver(Closing(), person()), Scripted(Closing), person()]
    for device in [*devices, Beside(Replay(episode), Hand())]:
        device.open()
        device.reset(1)
        assert device.act(rows).shape == (1, 7)
        device.close()


@pytest.mark.parametrize("kind", ["terminal", "desktop", "gamepad", "spacemouse"])
def test_devices_go_by_names(kind):
    device = make_device(DeviceConfig(kind=kind, speed=0.25), ARM)
    assert device.setting.speed == 0.25 and device.help and kind.split("_")[0] in device.name


def test_an_unknown_kind_is_named():
    with pytest.raises(UserError, match="kind: unknown 'terminl'; did you mean 'terminal'?"):
        DeviceConfig(kind="terminl")
    with pytest.raises(UserError, match="keys: unknown action"):
        DeviceConfig(keys={"fly": "w"})


def test_a_device_of_ones_own_is_made_by_a_function(lab):
    (lab / "my_lab" / "arm.py").write_text(
        "from demos.devices.others import Scripted\n"
        "def make(interface, config):\n    return Scripted(lambda: None)\n"
        "def broken(interface, config):\n    return object()\n"
        "nothing = 3\n"
    )
    device = make_device(DeviceConfig(kind="my_lab.arm:make"), ARM)
    assert {"open", "close", "reset", "command", "listen"} <= set(dir(device))
    with pytest.raises(UserError, match="makes no Device: it lacks name"):
        make_device(DeviceConfig(kind="my_lab.arm:broken"), ARM)
    with pytest.raises(UserError, match="must be a function"):
        make_device(DeviceConfig(kind="my_lab.arm:nothing"), ARM)
