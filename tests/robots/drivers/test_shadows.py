"""An arm of which two servos turn two joints each: the maker's package asks emulated ones."""

import json

import numpy as np
import pytest

from robots import calibration
from robots.base import LifeCycle, LostError, RobotError, quantity
from robots.drivers.arm_kind import nominal
from robots.guard import Guard, StopError
from robots.registry import make_robot

from .test_servo_arm import STEP, command, pass_s, positions

PAIRS = {2: 3, 4: 5}
TOGETHER = "they work against each other"
pytestmark = pytest.mark.parametrize("kind", ["viperx"], indirect=True)


def mirrored(line):
    """Give by how many steps the two servos of each joint differ, by their true places."""
    motors = {servo.identity: servo.motor for servo in line.station.servos}
    return [abs(motors[a].position + motors[b].position - 4096) for a, b in PAIRS.items()]


def torques(line):
    return [servo.memory["torque_enable"] for servo in line.station.servos]


def test_fresh_servos_are_told_whose_shadow_they_are_without_torque(make_arm, line):
    arm = make_arm()
    arm.connect()
    for first, shadow in PAIRS.items():
        servos = line.station[first], line.station[shadow]
        assert [servo.memory["secondary_id"] for servo in servos] == [255, first]
        assert [servo.memory["drive_mode"] for servo in servos] == [1, 0]
        assert servos[0].present == servos[1].present
    assert not any(torques(line))
    for servo in line.station.servos:
        servo.lose_power()  # it was written where it lasts
    assert line.station[3].memory["secondary_id"] == 2


def test_both_servos_of_a_joint_go_where_it_is_sent(arm, line, clock):
    assert len(arm.joints) == len(arm.action_features) == 7 and len(line.station.servos) == 9
    command(arm, line, 0.4)
    for _ in range(10):
        pass_s(line, clock, 0.1)
        arm.get_observation()
        assert max(mirrored(line)) <= 1
    assert positions(arm) == pytest.approx(0.4, abs=STEP)
    assert line.station[2].motor.position < 1900 and line.station[3].motor.position > 2196


def test_a_stop_holds_both_at_one_place(arm, line, clock):
    command(arm, line, 1.0)
    pass_s(line, clock, 0.05)
    arm.stop()
    for first, shadow in PAIRS.items():
        goals = {line.station[i].memory["goal_position"] for i in (first, shadow)}
        assert goals == {line.station[first].present}
    before = positions(arm)
    pass_s(line, clock, 1.0)
    assert np.abs(positions(arm) - before).max() <= STEP and all(torques(line))
    arm.disconnect()
    assert not any(torques(line))


def test_a_goal_that_a_shadow_has_lost_is_sent_again(arm, line):
    command(arm, line, 0.2)
    arm.get_observation()
    line.station[3].memory["goal_position"] -= 30
    arm.get_observation()
    assert arm.resent == 1
    goals = [line.station[i].memory["goal_position"] for i in (2, 3)]
    assert goals[0] == goals[1]


def test_a_shadow_that_is_not_there_is_named(make_arm, line):
    line.station[5].dropped = True
    with pytest.raises(RobotError, match=r"servo 5 \(elbow_shadow\) does not answer"):
        make_arm(timeout_s=0.05).connect()


@pytest.mark.parametrize(
    "moved",
    [
        {3: 200},  # a horn has slipped
        {2: 300, 3: 300},  # both sit on the same side: one that turns the other way fights it
    ],
)
def test_two_that_do_not_read_the_same_get_no_torque(make_arm, line, moved):
    for identity, steps in moved.items():
        line.station[identity].motor.position += steps
    arm = make_arm()
    with pytest.raises(LostError, match=rf"servo 3 \(shoulder_shadow\), of the .* {TOGETHER}"):
        arm.connect()
    assert not any(torques(line)) and arm.life_cycle is LifeCycle.UNCONFIGURED


def test_whole_turns_that_a_shadow_has_forgotten_change_nothing(make_arm, line, clock):
    line.station[3].motor.position += 4096
    line.station[4].motor.position -= 8192
    arm = make_arm()
    for _ in range(2):  # the second time they are aligned already
        arm.connect()
        arm.activate()
        command(arm, line, 0.3)
        pass_s(line, clock, 2.0)
        assert positions(arm) == pytest.approx(0.3, abs=STEP)
        assert line.station[2].present == line.station[3].present
        arm.disconnect()


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (lambda servo: setattr(servo, "celsius", 95), r"servo 5 \(elbow_shadow\): it is too hot"),
        (lambda servo: servo.lose_power(), r"servo 5 \(elbow_shadow\) has let go"),
        (lambda servo: servo.overload(), r"servo 5 \(elbow_shadow\): it is overloaded"),
        (lambda servo: setattr(servo.motor, "blocked", True), rf"servo 4 \(elbow\) .*{TOGETHER}"),
    ],
)
def test_what_goes_wrong_with_a_shadow_stops_the_arm(make_arm, line, clock, what, words):
    arm = make_arm()
    guard = Guard(arm, 0.01, clock=clock)
    guard.connect()
    guard.activate()
    command(arm, line, 0.4)
    with line.lock:
        what(line.station[5])
    pass_s(line, clock, 0.1)
    with pytest.raises(StopError, match=words):
        guard.get_observation()


def test_a_person_calibrates_it(make_arm, line, tmp_path):
    def move(way, gripper):
        with line.lock:
            for servo in line.station.servos:
                away = -way if servo.identity in PAIRS.values() else way
                servo.motor.position = 2000 + away if servo.identity != 9 else gripper

    answers = iter([(0, 2500), (0, 2200)])
    swings = iter([(-700, 2200), (500, 3400), None])

    def pressed():
        where = next(swings)
        if where is not None:
            move(*where)
        return where is None

    arm = make_arm(calibrated=False, ask=lambda words: move(*next(answers)), pressed=pressed)
    arm.connect()
    stored = calibration.read(tmp_path / "arm.json")
    assert list(stored) == [
        "waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate", "gripper",
        "shoulder_shadow", "elbow_shadow",
    ]  # fmt: skip
    first, shadow = stored["shoulder"], stored["shoulder_shadow"]
    assert (first.drive_mode, shadow.drive_mode, shadow.id) == (1, 0, 3)
    assert (first.range_min, first.range_max) == (1548, 2748)  # it counts the other way
    assert (stored["waist"].range_min, stored["waist"].range_max) == (1348, 2548)
    assert line.station[2].present == line.station[3].present
    arm.activate()
    assert arm.get_observation()["gripper.pos"] == pytest.approx(0.0)


def test_a_shadow_that_turns_with_its_joint_is_not_calibrated(make_arm, line):
    def move(way):
        with line.lock:
            for servo in line.station.servos:
                servo.motor.position = 2000 + way

    arm = make_arm(calibrated=False, ask=lambda words: move(0), pressed=lambda: move(300))
    with pytest.raises(LostError, match=TOGETHER):
        arm.connect()
    assert not any(torques(line))


def test_a_file_without_a_shadow_is_not_this_arms(kind, make_arm, tmp_path):
    entries = {n: vars(e) for n, e in nominal(kind).items() if n != "elbow_shadow"}
    (tmp_path / "arm.json").write_text(json.dumps(entries))
    with pytest.raises(RobotError, match="arm.json: no entry for 'elbow_shadow', a joint's second"):
        make_arm(calibrated=False)


def test_an_emulated_one_is_waved_with_both_servos(kind, clock, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arm = make_robot(
        "dynamixel", {"arm": kind.name, "port": "emulated", "waved": True}, clock=clock
    )
    arm.connect()
    seen = []
    for _ in range(20):
        clock.sleep(0.1)
        seen.append(quantity(arm.joints, arm.get_observation()))
    assert (np.ptp(seen, axis=0) > 0.05).all()
    arm.disconnect()
