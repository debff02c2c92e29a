import math

import numpy as np
import pytest

from robolearn.errors import DataError, SpecError
from robots.base import (
    BusError,
    Driver,
    Joint,
    Kind,
    LifeCycle,
    LostError,
    Robot,
    RobotError,
    named,
    quantity,
    vector,
)

JOINTS = (
    Joint("pan", Kind.REVOLUTE, -1, 1, 2, 10, 100),
    Joint("gripper", Kind.GRIPPER, 0, 1, 2, 10, 100, stroke_m=0.08),
)


class Arm(Driver):
    """A driver that notes what it was told."""

    name, joints = "arm", JOINTS

    def __init__(self, fails=None, **options):
        super().__init__(**options)
        self.told, self.fails = [], fails

    def _note(self, what):
        self.told.append(what)
        if self.fails and what in self.fails:
            raise self.fails[what]

    def _open(self):
        self._note("open")

    def _close(self):
        self.told.append("close")

    def _enable(self):
        self._note("enable")

    def _disable(self):
        self._note("disable")

    def _halt(self):
        self._note("halt")

    def _read(self):
        self._note("read")
        return {"pos": np.array([0.5, 0.25])}

    def _write(self, positions):
        self._note("write")
        return np.round(positions, 1)


class Eye:
    """A camera that shows grey."""

    shape = (2, 3, 3)

    def __init__(self):
        self.is_open = False

    def open(self):
        self.is_open = True

    def latest(self):
        return np.full(self.shape, 7, np.uint8), 3.0

    def close(self):
        self.is_open = False


def test_a_driver_is_a_robot():
    assert isinstance(Arm(), Robot)


def test_features_are_known_before_connecting():
    arm = Arm(cameras={"front": Eye()})
    assert arm.action_features == {"pan.pos": float, "gripper.pos": float}
    assert arm.observation_features == {**arm.action_features, "front": (2, 3, 3)}


def test_a_whole_life():
    arm = Arm(clock=lambda: 5.0)
    arm.connect()
    assert arm.life_cycle is LifeCycle.INACTIVE and arm.is_connected
    arm.activate()
    assert arm.get_observation() == {"pan.pos": 0.5, "gripper.pos": 0.25}
    assert arm.measured_s == {"joints": 5.0}
    assert arm.send_action({"pan.pos": 0.123, "gripper.pos": 1}) == {
        "pan.pos": 0.1,
        "gripper.pos": 1.0,
    }
    arm.stop()
    assert arm.life_cycle is LifeCycle.INACTIVE
    arm.disconnect()
    arm.disconnect()
    assert arm.life_cycle is LifeCycle.UNCONFIGURED
    assert arm.told == ["open", "enable", "read", "write", "halt", "halt", "disable", "close"]


@pytest.mark.parametrize("call", ["get_observation", "activate", "configure", "calibrate", "stop"])
def test_nothing_is_done_before_connecting(call):
    arm = Arm()
    with pytest.raises(RobotError, match=rf"arm: {call}\(\) while it is unconfigured; connect"):
        getattr(arm, call)()
    assert arm.told == []


def test_actions_are_refused_before_it_is_activated():
    arm = Arm()
    arm.connect()
    with pytest.raises(RobotError, match="send_action.. while it is inactive; activate"):
        arm.send_action({"pan.pos": 0, "gripper.pos": 0})
    assert "write" not in arm.told


def test_connecting_twice_is_refused():
    arm = Arm()
    arm.connect()
    with pytest.raises(RobotError, match="disconnect.. it first"):
        arm.connect()


def test_a_lost_device_makes_an_error_that_only_disconnecting_ends():
    arm = Arm(fails={"read": LostError("gone")})
    arm.connect()
    with pytest.raises(LostError):
        arm.get_observation()
    assert arm.life_cycle is LifeCycle.ERROR
    with pytest.raises(RobotError, match="look at its cable"):
        arm.activate()
    arm.disconnect()
    arm.connect()
    assert arm.is_connected


def test_noise_changes_no_state():
    arm = Arm(fails={"read": BusError("checksum")})
    arm.connect()
    with pytest.raises(BusError):
        arm.get_observation()
    assert arm.life_cycle is LifeCycle.INACTIVE


def test_what_was_opened_is_closed_when_connecting_fails():
    eye = Eye()
    arm = Arm(cameras={"front": eye}, fails={"open": RobotError("no port")})
    with pytest.raises(RobotError, match="no port"):
        arm.connect()
    assert arm.told == ["open", "close"] and not eye.is_open
    assert arm.life_cycle is LifeCycle.UNCONFIGURED


def test_disconnecting_closes_what_is_gone():
    eye = Eye()
    arm = Arm(cameras={"front": eye}, fails={"halt": LostError("gone")})
    arm.connect()
    assert eye.is_open
    arm.disconnect()
    assert arm.told[-1] == "close" and not eye.is_open


def test_cameras_are_observed_with_their_own_time():
    arm = Arm(cameras={"front": Eye()}, clock=lambda: 5.0)
    arm.connect()
    assert (arm.get_observation()["front"] == 7).all()
    assert arm.measured_s == {"joints": 5.0, "front": 3.0}


def test_an_uncalibrated_arm_is_not_activated():
    class Uncalibrated(Arm):
        is_calibrated = False

    arm = Uncalibrated()
    arm.connect(calibrate=False)
    with pytest.raises(RobotError, match="not calibrated"):
        arm.activate()


@pytest.mark.parametrize(
    ("action", "error", "words"),
    [
        ({"pan.pos": 0}, SpecError, "missing gripper.pos"),
        ({"pan.pos": 0, "gripper.pos": 0, "tail.pos": 0}, SpecError, "extra tail.pos"),
        ({"pan.pos": "left", "gripper.pos": 0}, SpecError, "one number for each joint"),
        ({"pan.pos": math.nan, "gripper.pos": 0}, DataError, "pan.pos is nan"),
        ({"pan.pos": 0, "gripper.pos": math.inf}, DataError, "gripper.pos is inf"),
    ],
)
def test_bad_actions_move_nothing(action, error, words):
    arm = Arm()
    arm.connect()
    arm.activate()
    with pytest.raises(error, match=words):
        arm.send_action(action)
    assert "write" not in arm.told


def test_vectors_and_names():
    values = named(JOINTS, {"pos": np.array([0.1, 0.2]), "vel": np.array([3.0, 4.0])})
    assert values["gripper.vel"] == 4.0
    np.testing.assert_array_equal(quantity(JOINTS, values, "vel"), [3, 4])
    np.testing.assert_array_equal(
        vector(JOINTS, {"gripper.pos": 1, "pan.pos": 2}, "here"), [2.0, 1.0]
    )


@pytest.mark.parametrize(
    "change", [{"lower": 2.0}, {"velocity": 0.0}, {"jerk": math.inf}, {"upper": math.nan}]
)
def test_a_joint_is_possible(change):
    values = dict(lower=-1.0, upper=1.0, velocity=1.0, acceleration=1.0, jerk=1.0) | change
    with pytest.raises(SpecError, match="joint pan"):
        Joint("pan", Kind.REVOLUTE, **values)


def test_a_lost_device_is_looked_at_and_let_go_as_long_as_it_answers():
    arm = Arm(fails={"write": LostError("gone")})
    arm.connect()
    arm.activate()
    with pytest.raises(LostError):
        arm.send_action({"pan.pos": 0, "gripper.pos": 0})
    assert arm.get_observation()["pan.pos"] == 0.5
    arm.deactivate()
    assert arm.told[-1] == "disable" and arm.life_cycle is LifeCycle.ERROR


@pytest.mark.parametrize("error", [BusError("checksum"), LostError("gone")])
def test_disconnecting_takes_the_torque_of_an_arm_that_does_not_stop(error):
    arm = Arm(fails={"halt": error})
    arm.connect()
    arm.activate()
    arm.disconnect()
    assert arm.told[-2:] == ["disable", "close"]
