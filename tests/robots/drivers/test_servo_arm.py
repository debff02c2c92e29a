"""Arms of serial servos, both makers' packages and all, on emulated lines."""

import json
import time

import numpy as np
import pytest

from robots import calibration
from robots.base import BusError, LifeCycle, LostError, RobotError, quantity
from robots.clocks import SimulatedClock
from robots.drivers.arm_kind import ServoArmConfig, nominal
from robots.drivers.servo_arm import ServoArm
from robots.drivers.so101 import SO101
from robots.emulators.faults import Faults, Wire
from robots.emulators.line import Line
from robots.guard import Guard, StopError
from robots.registry import make_robot

STEP = 2 * np.pi / 4096


def positions(arm):
    return quantity(arm.joints, arm.get_observation())


def command(arm, line, value):
    """Send an action and wait until it was heard, since nobody answers to it."""
    heard = line.instructions
    sent = arm.send_action({name: value for name in arm.action_features})
    while line.instructions == heard:
        time.sleep(0.001)
    with line.lock:
        return sent


def pass_s(line, clock, seconds):
    """Let time pass, and the servos move; their watchdogs hear something all the time."""
    with line.lock:
        for _ in range(50):
            clock.sleep(seconds / 50)
            for servo in line.station.servos:
                getattr(servo, "spoken_to", servo.update)()


def test_features_are_known_before_connecting(kind):
    arm = ServoArm(kind, ServoArmConfig(port="/dev/nothing"))
    names = [servo.joint for servo in kind.servos]
    assert list(arm.action_features) == [f"{name}.pos" for name in names]
    assert set(arm.observation_features) == {f"{n}.{q}" for n in names for q in ("pos", "vel")}
    assert not arm.is_calibrated


def test_connecting_moves_nothing_and_holding_neither(make_arm, line, clock):
    for servo in line.station.servos:
        servo.motor.position += 200
        servo.memory["goal_position"] = 1000
    before = [servo.motor.position for servo in line.station.servos]
    arm = make_arm()
    arm.connect()
    pass_s(line, clock, 1.0)
    arm.activate()
    pass_s(line, clock, 1.0)
    assert [servo.motor.position for servo in line.station.servos] == before
    assert all(servo.memory["torque_enable"] for servo in line.station.servos)


def test_it_goes_where_it_is_told_and_says_what_was_sent(arm, line, clock):
    sent = command(arm, line, 0.3)
    pass_s(line, clock, 2.0)
    reached = arm.get_observation()
    assert {name: reached[name] for name in sent} == sent
    assert np.abs(np.array(list(sent.values())) - 0.3).max() < STEP


def test_a_goal_beyond_the_range_is_cut(arm, line, clock):
    sent = command(arm, line, 9.0)
    assert sent["gripper.pos"] == 1.0
    assert sent["elbow_flex.pos"] == pytest.approx(arm.joints[2].upper, abs=STEP)


def test_velocities_are_measured(arm, line, clock):
    command(arm, line, 1.0)
    pass_s(line, clock, 0.01)
    assert quantity(arm.joints, arm.get_observation(), "vel").min() > 0.5


def test_a_stop_holds_where_it_is_and_what_was_commanded_is_void(arm, line, clock):
    command(arm, line, 1.0)
    pass_s(line, clock, 0.05)
    arm.stop()
    assert arm.life_cycle is LifeCycle.INACTIVE
    here = positions(arm)
    pass_s(line, clock, 2.0)
    assert np.abs(positions(arm) - here).max() <= STEP
    assert here.max() < 0.9
    assert all(servo.memory["torque_enable"] for servo in line.station.servos)


def test_disconnecting_takes_the_torque_away(arm, line):
    arm.disconnect()
    assert not any(servo.memory["torque_enable"] for servo in line.station.servos)


def test_with_5_percent_damaged_every_position_is_true_and_every_stop_holds(arm, line, clock):
    arm.bus.timeout_s = 0.03
    line.wire = Wire(Faults(corrupted=0.05, lost=0.01, noise=0.02, seed=5))
    for i in range(40):
        if i % 5 == 0:
            command(arm, line, 0.2 if i % 10 else -0.2)
        pass_s(line, clock, 0.01)
        true = [servo.present for servo in line.station.servos]
        given = arm.get_observation()
        raw = arm._translate.from_raw(np.array(true))
        assert quantity(arm.joints, given) == pytest.approx(raw, abs=1e-9)
    assert line.wire.damaged > 5
    arm.stop()
    goals = [servo.memory["goal_position"] for servo in line.station.servos]
    assert goals == [servo.present for servo in line.station.servos]


def test_a_goal_that_did_not_come_through_is_sent_again(arm, line, clock):
    line.wire = Wire(Faults(lost=1.0))
    command(arm, line, 0.3)
    line.wire = Wire(Faults())
    arm.get_observation()
    assert arm.resent == 1
    pass_s(line, clock, 2.0)
    assert positions(arm) == pytest.approx(0.3, abs=STEP)


def test_a_servo_that_drops_out_is_named_and_then_the_arm_is_lost(arm, line):
    arm.bus.timeout_s = 0.03
    line.station[3].dropped = True
    for _ in range(2):
        with pytest.raises(BusError, match=r"nothing to rely on from servo 3 \(elbow_flex\)$"):
            arm.get_observation()
    with pytest.raises(LostError, match="elbow_flex"):
        arm.get_observation()
    assert arm.life_cycle is LifeCycle.ERROR
    assert not arm.is_connected
    line.station[3].dropped = False
    arm.disconnect()
    arm.connect()
    arm.activate()


def test_a_servo_that_is_silent_for_a_moment_is_forgiven(arm, line):
    arm.bus.timeout_s = 0.03
    line.station[3].dropped = True
    with pytest.raises(BusError):
        arm.get_observation()
    line.station[3].dropped = False
    assert positions(arm) == pytest.approx([*[0.0] * 5, 0.5], abs=STEP)


def test_a_stop_reaches_the_others_when_one_is_gone_and_says_which(arm, line, clock):
    arm.bus.timeout_s = 0.03
    command(arm, line, 1.0)
    pass_s(line, clock, 0.02)
    line.station[3].dropped = True
    with pytest.raises(LostError, match=r"servo 3 \(elbow_flex\) cannot be told to stop"):
        arm.stop()
    others = [servo for servo in line.station.servos if servo.identity != 3]
    assert all(servo.memory["goal_position"] == servo.present for servo in others)


def test_an_unplugged_arm_is_lost_in_one_line_and_comes_back(arm, line):
    line.unplug()
    with pytest.raises(LostError, match="unplugged") as caught:
        arm.get_observation()
    assert "\n" not in str(caught.value)
    arm.disconnect()
    with pytest.raises(RobotError, match="no such serial port"):
        arm.connect()
    line.plug()
    arm.connect()
    assert arm.is_connected


def test_a_servo_that_lost_its_power_for_a_moment_is_noticed(arm, line):
    command(arm, line, 0.3)
    arm.get_observation()
    line.station[2].lose_power()
    with pytest.raises(LostError, match=r"servo 2 \(shoulder_lift\) has let go"):
        arm.get_observation()


def test_a_servo_that_lost_its_power_at_its_goal_is_noticed_too(arm, line, clock):
    command(arm, line, 0.3)
    pass_s(line, clock, 2.0)
    arm.get_observation()
    line.station[2].lose_power()
    with pytest.raises(LostError, match=r"servo 2 \(shoulder_lift\) has let go"):
        arm.get_observation()


def test_an_alarm_is_an_error_that_says_what_it_is(arm, line):
    line.station[4].celsius = 95
    with pytest.raises(LostError, match=r"servo 4 \(wrist_flex\): it is too hot"):
        arm.get_observation()


@pytest.mark.parametrize(
    ("what", "value", "words"),
    [("volts", 20.0, "its voltage is outside its limits"), ("celsius", 95, "it is too hot")],
)
def test_an_alarm_stops_a_guarded_arm_which_goes_on_holding(
    make_arm, line, clock, what, value, words
):
    guard = Guard(make_arm(), 0.01, clock=clock)
    guard.connect()
    guard.activate()
    setattr(line.station[4], what, value)
    with pytest.raises(StopError, match=rf"\(wrist_flex\): {words}; reset"):
        guard.get_observation()
    assert guard.is_stopped and guard.life_cycle is LifeCycle.ERROR
    for servo in line.station.servos:
        assert servo.memory["goal_position"] == servo.present
        assert servo.memory["torque_enable"] or servo.identity == 4  # which may let go by itself


def test_a_missing_servo_another_model_and_silence_are_told_apart(make_arm, line):
    line.station[5].dropped = True
    arm = make_arm(timeout_s=0.05)
    with pytest.raises(RobotError, match=r"servo 5 \(wrist_roll\) does not answer"):
        arm.connect()
    assert arm.life_cycle is LifeCycle.UNCONFIGURED
    for servo in line.station.servos:
        servo.dropped = True
    with pytest.raises(RobotError, match="no servo answers on .* is its power on"):
        arm.connect()
    for servo in line.station.servos:
        servo.dropped = False
    line.station[2].memory["model_number"] = 9
    with pytest.raises(RobotError, match=r"servo 2 \(shoulder_lift\) is model 9 instead of"):
        arm.connect()


def test_two_programs_do_not_share_a_line(arm, make_arm):
    with pytest.raises(RobotError, match="another program has it open"):
        make_arm().connect()


def test_its_calibration_is_written_into_the_servos(make_arm, line, kind, tmp_path):
    arm = make_arm()
    entries = {n: vars(e) | {"homing_offset": 100 + e.id} for n, e in nominal(kind).items()}
    (tmp_path / "arm.json").write_text(json.dumps(entries))
    arm = make_arm(calibrated=False)
    arm.connect()
    assert [s.memory["homing_offset"] for s in line.station.servos] == [101 + i for i in range(6)]
    for servo in line.station.servos:
        servo.lose_power()
        assert servo.memory["homing_offset"] == 100 + servo.identity


def test_without_calibration_it_is_read_by_nobody_and_not_activated(make_arm):
    arm = make_arm(calibrated=False)
    arm.connect(calibrate=False)
    with pytest.raises(RobotError, match="not calibrated"):
        arm.get_observation()
    with pytest.raises(RobotError, match="not calibrated"):
        arm.activate()


def test_a_person_calibrates_it(make_arm, line, kind, tmp_path):
    low, high = [700.0] * 6, [2900.0] * 6
    low[5], high[5] = 3000.0, 4000.0
    answers = iter(["middle", "gripper"])
    shown, swings = [], iter([low, [1800.0] * 5 + [3500.0], high, None])

    def move(where):
        with line.lock:
            for servo, position in zip(line.station.servos, where, strict=True):
                servo.motor.position = position

    def ask(words):
        shown.append(words)
        if next(answers) == "middle":
            move([1800.0] * 5 + [3500.0])
        else:
            move([1800.0] * 5 + [4000.0])

    def pressed():
        where = next(swings)
        if where is not None:
            move(where)
        return where is None

    arm = make_arm(calibrated=False, ask=ask, pressed=pressed)
    arm.connect()
    assert ["middle" in shown[0], "close the gripper" in shown[1]] == [True, True]
    stored = calibration.read(tmp_path / "arm.json")
    assert (stored["elbow_flex"].range_min, stored["elbow_flex"].range_max) == (948, 3148)
    assert stored["elbow_flex"].drive_mode == 0
    assert stored["gripper"].drive_mode == 1
    arm.activate()
    assert arm.get_observation()["gripper.pos"] == pytest.approx(0.0)
    assert arm.get_observation()["elbow_flex.pos"] == pytest.approx(0.0)


def test_an_arm_outside_its_range_is_moved_inside_by_hand(make_arm, line):
    line.station[3].motor.position = 100
    arm = make_arm()
    arm.connect()
    with pytest.raises(RobotError, match="elbow_flex is at .* move it inside by hand"):
        arm.activate()
    assert not any(servo.memory["torque_enable"] for servo in line.station.servos)


@pytest.mark.parametrize("kind", ["so101"], indirect=True)
def test_without_a_file_an_emulated_arm_is_as_in_its_drawings(kind, tmp_path, monkeypatch, clock):
    monkeypatch.chdir(tmp_path)
    arm = ServoArm(kind, ServoArmConfig(port="emulated", timeout_s=0.5), clock=clock)
    arm.connect()
    assert positions(arm) == pytest.approx([*[0.0] * 5, 0.5], abs=STEP)
    arm.disconnect()
    assert arm.line is None


@pytest.mark.parametrize("kind", ["koch"], indirect=True)
def test_a_turn_that_was_forgotten_without_power_changes_nothing(make_arm, line, kind):
    for servo in line.station.servos:
        servo.motor.position += 4096
    arm = make_arm()
    arm.connect()
    arm.activate()
    assert positions(arm) == pytest.approx([*[0.0] * 5, 0.5], abs=STEP)


@pytest.mark.parametrize("kind", ["koch"], indirect=True)
def test_a_servo_that_has_stopped_by_itself_says_so_when_it_is_commanded(arm, line, clock):
    with line.lock:
        clock.sleep(60.0)
    command(arm, line, 0.1)
    with pytest.raises(LostError, match=r"has stopped by itself, since nothing was heard for 0.3"):
        arm.get_observation()


@pytest.mark.parametrize("kind", ["koch"], indirect=True)
def test_when_the_program_is_killed_the_servos_stop_by_themselves(arm, line, clock):
    line.station[1].memory["profile_velocity"] = 60  # 940 steps/s
    command(arm, line, -1.8)
    before = line.station[1].motor.position
    with line.lock:
        clock.sleep(60.0)
    arm.stop()  # it has stopped already
    here = positions(arm)
    arm.activate()
    pass_s(line, clock, 1.0)
    assert positions(arm) == pytest.approx(here, abs=2 * STEP)
    assert 0 < abs(line.station[1].motor.position - before) * STEP < 1.9 / 2


@pytest.mark.parametrize("kind", ["so101"], indirect=True)
def test_an_emulated_line_can_be_disturbed_from_a_launch_file(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    clock = SimulatedClock()
    faults = {"corrupted": 0.05, "lost": 0.01, "late": 0.01, "seed": 7}
    options = {"port": "emulated", "patience_s": 1.0, "faults": faults}
    arm = make_robot(kind.name, options, clock=clock)
    arm.connect()
    arm.activate()
    for i in range(100):
        if i % 10 == 0:
            arm.send_action({name: 0.3 if i % 20 else 0.2 for name in arm.action_features})
        clock.sleep(0.005)
        before, given, after = truth(arm), positions(arm), truth(arm)
        assert (given >= np.minimum(before, after) - 3 * STEP).all()
        assert (given <= np.maximum(before, after) + 3 * STEP).all()
    assert arm.bus._direct.wire.damaged > 10
    arm.disconnect()


def truth(arm):
    """Give where emulated servos are now, in our units."""
    for servo in arm.station.servos:
        servo.update()
    return arm._translate.from_raw(np.array([servo.present for servo in arm.station.servos]))


@pytest.mark.parametrize(
    ("swing", "words"),
    [
        ([3900.0, 4090.0, 4.0], "elbow_flex went from 4090 to 4 steps at once, over its encoder's"),
        ([2100.0, 4090.0, 2100.0, 100.0], "elbow_flex went through 3990 of 4096 steps"),
    ],
)
def test_a_joint_that_goes_over_its_encoders_seam_is_not_calibrated(clock, tmp_path, swing, words):
    with Line(SO101.emulate(nominal(SO101), clock)) as line:
        steps, asked = iter(swing), []

        def pressed():
            where = next(steps, None)
            if where is None:
                return True
            with line.lock:
                for servo in line.station.servos:
                    other = 2048.0 + 400 * (where < 2048) - 100
                    offset = servo.memory["homing_offset"]
                    servo.motor.position = (where if servo.identity == 3 else other) + offset
            return False

        config = ServoArmConfig(
            port=line.path, calibration=str(tmp_path / "arm.json"), timeout_s=0.5
        )
        arm = ServoArm(SO101, config, clock=clock, ask=asked.append, pressed=pressed)
        with pytest.raises(RobotError, match=words):
            arm.connect()
        assert not (tmp_path / "arm.json").exists()
