"""The leader arm: what its joints say is what the follower is asked for."""

import threading
from dataclasses import dataclass

import numpy as np
import pytest

from demos.devices.contracts import Button
from demos.devices.leader import Leader, LeaderConfig
from demos.devices.make import DeviceConfig, make_device
from robolearn.errors import SpecError, UserError
from robolearn.types import ArraySpec, Spec


@dataclass
class Joint:
    name: str
    lower: float
    upper: float


class Arm:
    """An arm that lies where it is told to; ``read`` is set at each reading."""

    joints = (Joint("elbow", -1.0, 1.0), Joint("gripper", 0.0, 1.0))

    def __init__(self):
        self.at, self.is_connected, self.fault = [0.5, 0.25], False, None
        self.readings = threading.Semaphore(0)

    def connect(self):
        self.is_connected = True

    def disconnect(self):
        self.is_connected = False

    def get_observation(self):
        self.readings.release()
        if self.fault is not None:
            raise self.fault
        return {"elbow.pos": self.at[0], "gripper.pos": self.at[1]}


def interface(*names):
    action = ArraySpec((len(names),), names=names)
    return Spec("robot/two", {"state": ArraySpec((2,))}, action, 0.05)


def make_leader(arm, **options):
    config = LeaderConfig(rate_hz=1000.0, **options)
    return Leader(config, interface("elbow", "gripper"), lambda name, options: arm)


@pytest.fixture
def arm():
    return Arm()


@pytest.fixture
def leader(arm):
    leader = make_leader(arm, stale_s=60.0)
    leader.open()
    yield leader
    leader.close()


def wait_for_readings(arm, count=3):
    """Wait until so many more readings have begun: all but the last have been noted then."""
    while arm.readings.acquire(blocking=False):
        pass
    for _ in range(count):
        assert arm.readings.acquire(timeout=10)


def ask(leader, arm):
    return leader.command({}, leader._latest[1])


def test_the_follower_goes_to_the_same_share_of_its_range(leader, arm):
    command = ask(leader, arm)
    assert command.action.tolist() == [0.5, -0.5]
    assert command.action.dtype == np.float32
    assert command.engaged
    arm.at = [-3.0, 1.0]
    wait_for_readings(arm)
    assert ask(leader, arm).action.tolist() == [-1.0, 1.0]


def test_an_old_reading_is_held_and_not_engaged(leader, arm):
    ask(leader, arm)
    late = leader.command({}, leader._latest[1] + 61)
    assert not late.engaged
    assert late.action.tolist() == [0.5, -0.5]


def test_a_lost_arm_is_said_and_the_follower_stays(leader, arm):
    ask(leader, arm)
    arm.fault = UserError("leader: unplugged?")
    wait_for_readings(arm)
    command = ask(leader, arm)
    assert (command.lost, command.engaged) == ("leader: unplugged?", False)
    assert command.action.tolist() == [0.5, -0.5]
    arm.fault = None
    wait_for_readings(arm)
    assert ask(leader, arm).lost == ""


def test_an_arm_that_cannot_be_read_is_not_opened(arm):
    arm.fault = UserError("leader: not calibrated")
    with pytest.raises(UserError, match="not calibrated"):
        make_leader(arm).open()
    assert not arm.is_connected


def test_it_begins_by_itself_only_if_that_is_asked_for(leader, arm):
    assert leader.listen(0.0).buttons == ()
    free = make_leader(arm, hands_free=True)
    assert free.listen(0.0).buttons == (Button.START,)


def test_actions_must_be_positions_of_its_joints(arm):
    with pytest.raises(SpecError, match=r"joints elbow, gripper, but actions are dx, dy; .*joints"):
        Leader(LeaderConfig(), interface("dx", "dy"), lambda name, options: arm)


def test_a_launch_file_names_it():
    config = DeviceConfig(kind="leader", leader=LeaderConfig(options={"port": "emulated"}))
    joints = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
    device = make_device(config, interface(*joints))
    assert device.name == "leader arm"
