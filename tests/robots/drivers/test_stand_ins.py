"""Drivers whose arms nobody has here: against what stands in for their makers' packages."""

import numpy as np
import pytest

from robots.base import BusError, LifeCycle, LostError, RobotError, quantity
from robots.clocks import SimulatedClock
from robots.conformance import MOVING, READING, check
from robots.drivers.franka import Franka, FrankaConfig
from robots.drivers.lerobot import Lerobot, LerobotConfig
from robots.drivers.ur import Ur, UrConfig
from robots.emulators.stand_ins import Franky, LerobotArm, UrController


@pytest.fixture
def clock():
    return SimulatedClock()


def make_franka(clock, monkeypatch):
    package = Franky(clock)
    return Franka(FrankaConfig(), clock=clock, franky=package), package


def make_ur(clock, monkeypatch):
    controller = UrController(clock)
    return Ur(UrConfig(), clock=clock, rtde=controller), controller


def make_lerobot(clock, monkeypatch):
    theirs = LerobotArm(clock)
    monkeypatch.setattr("robots.drivers.lerobot.load_own", lambda name, where: lambda: theirs)
    return Lerobot(LerobotConfig(type="my_lab:arm"), clock=clock), theirs


MAKERS = {"franka": make_franka, "ur": make_ur, "lerobot": make_lerobot}


@pytest.fixture(params=MAKERS)
def pair(request, clock, monkeypatch):
    return MAKERS[request.param](clock, monkeypatch)


def active(made):
    robot, package = made
    robot.connect()
    robot.activate()
    return robot, package


def command(robot, values):
    return robot.send_action(
        {f"{joint.name}.pos": value for joint, value in zip(robot.joints, values, strict=True)}
    )


def test_it_keeps_the_contract(pair, clock):
    results = list(check(pair[0], clock, motion=True))
    assert [(r.check, r.words) for r in results if not r.passed] == []
    assert len(results) == len(READING) + len(MOVING)


def test_without_the_package_one_line_says_how_to_install_it():
    for robot, words in (
        (Franka(FrankaConfig()), "pip install franky-control"),
        (Ur(UrConfig()), "pip install ur-rtde"),
    ):
        with pytest.raises(RobotError, match=words):
            robot.connect()
    with pytest.raises(RobotError, match="pip install lerobot"):
        Lerobot(LerobotConfig())


def test_an_arm_that_is_not_there_is_said_in_one_line(clock, monkeypatch):
    robot, package = make_franka(clock, monkeypatch)
    package.there = False
    with pytest.raises(RobotError, match=r"no arm at 172.16.0.2 .*; is FCI active"):
        robot.connect()
    robot, controller = make_ur(clock, monkeypatch)
    controller.connected = False
    with pytest.raises(RobotError, match=r"no controller at 192.168.56.101 .*remote control"):
        robot.connect()
    robot, theirs = make_lerobot(clock, monkeypatch)
    theirs.fault = ConnectionError("Could not connect on port '/dev/ttyACM0'")
    with pytest.raises(RobotError, match="my_lab:arm does not connect: Could not connect"):
        robot.connect()


def test_a_reflex_of_franka_is_a_lost_arm_and_clears_when_it_is_activated(clock, monkeypatch):
    robot, package = active(make_franka(clock, monkeypatch))
    package.fault = "libfranka: Move command aborted: motion aborted by reflex!"
    with pytest.raises(LostError, match="stopped by its controller: .*reflex"):
        robot.get_observation()
    robot.disconnect()
    package.fault = "reflex"
    robot.connect()
    robot.activate()
    assert package.fault == ""


def test_a_franka_that_is_slow_to_stop_is_broken_off(clock, monkeypatch):
    robot, package = active(make_franka(clock, monkeypatch))
    here = quantity(robot.joints, robot.get_observation())
    command(robot, [1.0, *here[1:]])
    clock.sleep(0.1)
    package.slow = True
    robot.stop()
    there = robot.get_observation()["joint1.pos"]
    clock.sleep(1.0)
    assert robot.get_observation()["joint1.pos"] == there == pytest.approx(0.2)


def test_frankas_fingers_are_told_what_is_new_only(clock, monkeypatch):
    robot, package = active(make_franka(clock, monkeypatch))
    here = quantity(robot.joints, robot.get_observation())
    sent = [command(robot, [*here[:7], share])["gripper.pos"] for share in (1.0, 0.99, 0.98, 0.98)]
    assert sent == [1.0, 1.0, 1.0, 0.98]  # a little less, and then again: it is meant
    clock.sleep(2.0)
    assert robot.get_observation()["gripper.pos"] == pytest.approx(0.98)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ({"connected": False}, "the connection to 192.168.56.101 is lost"),
        ({"emergency": True}, "its emergency stop is pressed"),
        ({"protective": True}, "protective stop; release it"),
    ],
)
def test_what_stops_a_ur_is_said(clock, monkeypatch, what, words):
    robot, controller = active(make_ur(clock, monkeypatch))
    for name, value in what.items():
        setattr(controller, name, value)
    with pytest.raises(LostError, match=words):
        robot.get_observation()


def test_old_measurements_of_a_ur_are_not_given_for_new(clock, monkeypatch):
    robot, controller = active(make_ur(clock, monkeypatch))
    controller.frozen_s = clock()
    robot.get_observation()
    clock.sleep(0.3)
    with pytest.raises(LostError, match="nothing new for 0.30 s"):
        robot.get_observation()


def test_a_stop_of_a_ur_that_does_nothing_is_noticed(clock, monkeypatch):
    robot, controller = active(make_ur(clock, monkeypatch))
    command(robot, [5.0] + [0.0] * 5)
    clock.sleep(0.1)
    controller.another = True
    with pytest.raises(LostError, match="still moves after a stop; does another program drive it"):
        robot.stop()


def test_a_ur_stops_when_its_program_falls_silent(clock, monkeypatch):
    robot, controller = active(make_ur(clock, monkeypatch))
    command(robot, [5.0] + [0.0] * 5)
    clock.sleep(0.6)
    with pytest.raises(LostError, match="takes no positions any more"):
        command(robot, [5.0] + [0.0] * 5)


def test_lerobots_shares_are_our_radians(clock, monkeypatch):
    robot, theirs = active(make_lerobot(clock, monkeypatch))
    assert quantity(robot.joints, robot.get_observation()) == pytest.approx([0, np.pi / 20, 0.5])
    command(robot, [np.pi / 4, -np.pi / 2, 0.0])
    assert theirs.arm.goal == pytest.approx([50, -100, 0])


def test_an_uncalibrated_robot_of_lerobot_says_what_to_do(clock, monkeypatch):
    monkeypatch.setattr(LerobotArm, "names", ("shoulder",))
    theirs = LerobotArm.__new__(LerobotArm)
    theirs.calibration, theirs.action_features = {}, {"shoulder.pos": float}
    monkeypatch.setattr("robots.drivers.lerobot.load_own", lambda name, where: lambda: theirs)
    with pytest.raises(RobotError, match="no calibration of shoulder; calibrate it with lerobot-"):
        Lerobot(LerobotConfig(type="my_lab:arm"), clock=clock)


def test_lerobots_errors_are_ours(clock, monkeypatch):
    robot, theirs = active(make_lerobot(clock, monkeypatch))
    theirs.fault = ConnectionError("Failed to sync read 'Present_Position'\nmore")
    with pytest.raises(BusError, match="Failed to sync read 'Present_Position'$"):
        robot.get_observation()
    theirs.fault = OSError(5, "Input/output error")
    with pytest.raises(LostError, match="unplugged"):
        robot.get_observation()


@pytest.mark.parametrize("method", ["servoJ", "servoStop"])
def test_what_a_urs_package_raises_is_a_lost_device(clock, monkeypatch, method):
    robot, _ = active(make_ur(clock, monkeypatch))

    def fails(*arguments):
        raise RuntimeError("RTDE control script is not running")

    monkeypatch.setattr(robot._control, method, fails)
    with pytest.raises(LostError, match="the controller does not answer: RTDE control script"):
        command(robot, [0.0] * 6) if method == "servoJ" else robot.stop()
    assert robot.life_cycle is LifeCycle.ERROR


def test_a_ur_whose_connection_breaks_is_closed_all_the_same(clock, monkeypatch):
    robot, _ = active(make_ur(clock, monkeypatch))

    def fails():
        raise RuntimeError("broken pipe")

    monkeypatch.setattr(robot._control, "disconnect", fails)
    monkeypatch.setattr(robot._receive, "disconnect", fails)
    robot.disconnect()
    assert robot.life_cycle is LifeCycle.UNCONFIGURED
