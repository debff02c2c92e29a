import logging
import math
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from robolearn.errors import DataError, SpecError, UserError
from robots import watchdog
from robots.base import TRIES, BusError, LifeCycle, LostError, RobotError, named, quantity
from robots.clocks import RealClock
from robots.commanding import JITTER
from robots.guard import Guard, GuardConfig, StopError
from robots.safety import SafetyConfig
from robots.twin import Fault, FaultKind, Twin, TwinConfig
from robots.watchdog import Watchdog

PERIOD_S = 0.01
STILL = 0.01


def action(guard, positions):
    return named(guard.joints, {"pos": np.asarray(positions, float)})


def run(guard, target, seconds, each=lambda: None):
    """Drive towards positions [J] for so long, measured and guarded each period."""
    for _ in range(round(seconds / PERIOD_S)):
        guard.clock.sleep(PERIOD_S)
        guard.get_observation()
        guard.send_action(action(guard, target))
        each()


def truth(guard):
    """Where the arm really is."""
    return guard.robot.arm.positions(guard.robot.world.data).copy()


def test_it_goes_where_it_is_sent(guarded):
    guard = guarded()
    goal = guard.robot.arm.home + [0.5, 0.2, -0.3, 0.2, 0.5, 0.3]
    run(guard, goal, 3.0)
    assert np.abs(truth(guard) - goal).max() < 0.02
    assert guard.record.words == ()


def test_the_beginning_is_slow(guarded):
    home = guarded().robot.arm.home
    goal = home + [1, 0, 0, 0, 0, 0]
    ways = []
    for ramp_s in (0.0, 2.0):
        guard = guarded(config=GuardConfig(ramp_s=ramp_s))
        run(guard, goal, 0.5)
        ways.append(guard.commanded[0])
    assert ways[1] < 0.5 * ways[0]


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        ({}, SpecError),
        ({"shoulder_pan.pos": 0.0}, SpecError),
        ({"shoulder_pan.pos": math.nan}, DataError),
        ({"shoulder_pan.pos": "left"}, SpecError),
    ],
)
def test_nonsense_is_refused_and_the_arm_comes_to_rest(guarded, bad, error):
    guard = guarded()
    goal = guard.robot.arm.home + [1, 0, 0, 0, 0, 0]
    run(guard, goal, 0.8)
    whole = action(guard, goal) | bad if len(bad) and error is DataError else bad
    for _ in range(60):
        guard.clock.sleep(PERIOD_S)
        guard.get_observation()
        with pytest.raises(error):
            guard.send_action(whole)
    assert guard.at_rest and not guard.is_stopped
    assert guard.record.words[0].startswith("refused: twin: action: ")
    run(guard, guard.robot.arm.home, 0.1)  # and it goes on


def test_silence_holds_and_then_stops(guarded):
    guard = guarded()
    run(guard, guard.robot.arm.home + [1, 0, 0, 0, 0, 0], 0.8)
    began_s = guard.clock()
    with pytest.raises(StopError, match="no command for 2.0 s"):
        while True:
            guard.clock.sleep(PERIOD_S)
            guard.get_observation()
            guard.tick()
            if guard.clock() - began_s > 0.8:
                assert guard.at_rest
    assert guard.is_stopped and guard.life_cycle is LifeCycle.INACTIVE


@pytest.mark.parametrize("early", [False, True])
def test_told_to_rest_it_begins_with_the_next_period(guarded, early):
    guard = guarded(config=GuardConfig(ramp_s=0.0))
    run(guard, guard.robot.arm.home + [1, 0, 0, 0, 0, 0], 0.5)
    if not early:
        guard.clock.sleep(PERIOD_S)
    guard.rest("no more")
    assert guard.record.words == ("no more",)
    for _ in range(15):
        guard.clock.sleep(PERIOD_S)
        guard.get_observation()
        guard.tick()
    assert guard.at_rest


def test_a_short_silence_goes_unnoticed(guarded):
    guard = guarded()
    goal = guard.robot.arm.home + [0.5, 0, 0, 0, 0, 0]
    run(guard, goal, 0.3)
    before = guard.commanded
    guard.clock.sleep(PERIOD_S)
    guard.tick()
    assert guard.commanded[0] > before[0]


def test_commands_that_come_too_quickly_do_not_speed_it_up(guarded):
    guard = guarded()
    goal = guard.robot.arm.home + [1, 0, 0, 0, 0, 0]
    run(guard, goal, 0.5)
    before = guard.commanded
    for _ in range(50):
        guard.send_action(action(guard, goal))
    np.testing.assert_array_equal(guard.commanded, before)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ((FaultKind.UNPLUGGED, 0.5), "nothing answers.*could not be told"),
        ((FaultKind.NOISY, 0.5), "nothing to rely on for 0.1.* wrong checksum"),
        ((FaultKind.STALLED, 0.5, "shoulder_pan"), "shoulder_pan is at .* blocked"),
        ((FaultKind.WRAPPED, 0.5, "elbow_flex"), "elbow_flex's encoder jumped by 6.28"),
        ((FaultKind.MIRRORED, 0.0, "shoulder_pan"), "shoulder_pan is at .* disagree"),
        ((FaultKind.DEAF, 0.8), "shoulder_pan is at .* was sent to"),
    ],
)
def test_faults_stop_it_with_the_reason(guarded, fault, words):
    guard = guarded(fault, config=GuardConfig(ramp_s=0.0))
    goal = guard.robot.arm.home + [1.2, 0, 0, 0, 0, 0]
    with pytest.raises(StopError, match=words):
        run(guard, goal, 3.0)
    assert guard.is_stopped and guard.clock() < 2.5
    with pytest.raises(StopError):  # a latch
        guard.send_action(action(guard, goal))
    with pytest.raises(StopError):
        guard.activate()


def test_a_mirrored_encoder_that_is_not_at_its_middle_is_noticed_at_once(guarded):
    guard = guarded((FaultKind.MIRRORED, 0.0, "elbow_flex"))
    with pytest.raises(StopError, match="elbow_flex"):
        run(guard, guard.commanded, 1.0)
    assert guard.clock() < 0.2


def test_a_fault_that_is_over_can_be_reset(guarded, clock):
    guard = guarded((FaultKind.STALLED, 0.3, "shoulder_pan", 2.0))
    goal = guard.robot.arm.home + [1, 0, 0, 0, 0, 0]
    with pytest.raises(StopError):
        run(guard, goal, 2.0)
    clock.sleep(2.0)
    guard.reset_stop()  # the error has told why
    with pytest.raises(RobotError, match="before activate"):
        guard.send_action(action(guard, goal))
    guard.activate()
    run(guard, goal, 4.0)
    assert abs(truth(guard)[0] - goal[0]) < 0.02


def test_a_stop_is_proven(guarded):
    guard = guarded()
    run(guard, guard.robot.arm.home + [1, 0, 0, 0, 0, 0], 0.8)
    guard.emergency_stop("the operator's button")
    began_s = guard.clock()
    with pytest.raises(StopError, match="the operator's button; reset_stop"):
        guard.tick()
    assert guard.clock() - began_s <= guard.config.prove_s
    before = truth(guard)
    guard.clock.sleep(0.5)
    guard.robot.advance()
    assert np.abs(truth(guard) - before).max() < STILL


def test_an_arm_that_does_not_hear_its_stop_is_said_to_move_on(guarded, clock):
    guard = guarded()
    run(guard, guard.robot.arm.home + [1.5, 0, 0, 0, 0, 0], 1.0)
    guard.robot.faults.append(Fault(FaultKind.DEAF, clock()))
    guard.emergency_stop()
    with pytest.raises(StopError, match="IT STILL MOVES, whatever it is told: cut its power"):
        guard.tick()


def test_an_emergency_stop_from_another_thread(guarded):
    guard = guarded()
    threading.Thread(target=guard.emergency_stop).start()
    with pytest.raises(StopError, match="emergency stop"):
        run(guard, guard.robot.arm.home, 5.0)


def test_a_dry_run_sends_nothing(guarded):
    guard = guarded(config=GuardConfig(dry_run=True))
    assert guard.life_cycle is LifeCycle.INACTIVE
    before = truth(guard)
    run(guard, guard.robot.arm.home + 0.3, 1.0)
    assert np.abs(truth(guard) - before).max() < STILL
    assert np.abs(guard.commanded - before).max() > 0.1  # what it would have sent


def test_a_little_noise_on_the_bus_is_asked_again(guarded):
    guard = guarded(failing=0.2, seed=3)
    run(guard, guard.robot.arm.home + [0.3, 0, 0, 0, 0, 0], 2.0)
    assert not guard.is_stopped


def test_an_old_observation_stops_it(guarded, monkeypatch):
    guard = guarded()
    run(guard, guard.robot.arm.home, 0.2)
    old_s = guard.clock()
    monkeypatch.setattr(Twin, "measured_s", property(lambda self: {"joints": old_s}))
    with pytest.raises(StopError, match="joints: nothing new for 0.1"):
        run(guard, guard.robot.arm.home, 1.0)


def test_a_camera_that_froze_stops_it(guarded, monkeypatch):
    guard = guarded()
    times = {"joints": 0.0, "front": guard.clock()}
    monkeypatch.setattr(Twin, "measured_s", property(lambda self: times | {"joints": self.clock()}))
    with pytest.raises(StopError, match="front: nothing new for 0.5"):
        run(guard, guard.robot.arm.home, 1.0)


def test_an_arm_far_outside_its_range_is_not_activated(guarded):
    guard = guarded((FaultKind.WRAPPED, 0.0, "shoulder_pan"), active=False)
    with pytest.raises(UserError, match="shoulder_pan is at 6.28, far outside .* calibrate"):
        guard.activate()
    assert guard.life_cycle is LifeCycle.INACTIVE


def test_it_looks_like_the_robot_it_guards(guarded):
    guard = guarded()
    robot = guard.robot
    assert guard.action_features == robot.action_features
    assert guard.observation_features == robot.observation_features
    assert quantity(guard.joints, guard.get_observation()).shape == (6,)
    assert guard.is_connected and guard.is_calibrated and guard.name == "twin"
    guard.deactivate()
    guard.disconnect()
    assert guard.life_cycle is LifeCycle.UNCONFIGURED


def test_a_box_needs_a_model(clock):
    robot = Twin(TwinConfig(), clock)
    with pytest.raises(UserError, match="box_m: twin has no model"):
        Guard(robot, PERIOD_S, safe=SafetyConfig(box_m=((0, 1),) * 3), clock=clock)


def test_settings_that_make_no_sense():
    with pytest.raises(UserError, match="hold_s=3.0 must be below stop_s=2.0"):
        GuardConfig(hold_s=3)


def test_a_blocked_gripper_is_not_squeezed_by_ticks_between_commands(guarded):
    guard = guarded((FaultKind.STALLED, 0.0, "gripper"), config=GuardConfig(ramp_s=0.0))
    goal = guard.robot.arm.home.copy()
    goal[5] = 0.0
    at = truth(guard)[5]
    for step in range(300):
        guard.clock.sleep(PERIOD_S)
        guard.get_observation()
        guard.send_action(action(guard, goal)) if step % 2 else guard.tick()
    assert guard.commanded[5] > at - SafetyConfig().squeeze - STILL


def test_a_measurement_that_is_no_number_stops_it(guarded, monkeypatch):
    guard = guarded()
    values = guard.get_observation() | {"elbow_flex.pos": math.nan}
    monkeypatch.setattr(guard.robot, "get_observation", lambda: values)
    with pytest.raises(StopError, match="elbow_flex is measured at nan"):
        guard.get_observation()


@pytest.mark.parametrize("share", [0.51, 0.96, 1.7])
def test_commands_at_any_rate_keep_to_the_limits(guarded, share, monkeypatch):
    guard = guarded(config=GuardConfig(ramp_s=0.0), failing=0.0)
    goal = guard.robot.arm.home + [1, 0, 0, 0, 0, 0]
    sent, send = [], guard.robot.send_action

    def noted(asked):
        sent.append((guard.clock(), quantity(guard.joints, asked)))
        return send(asked)

    monkeypatch.setattr(guard.robot, "send_action", noted)
    for _ in range(round(1.5 / share / PERIOD_S)):
        guard.clock.sleep(share * PERIOD_S)
        guard.get_observation()
        guard.send_action(action(guard, goal))
    at_s, been = np.array([a for a, _ in sent]), np.array([b for _, b in sent])
    speeds = np.diff(been, axis=0) / np.diff(at_s)[:, None]
    most = guard.limits.motion[2]
    assert (np.abs(speeds) <= most / (1 - JITTER) + 1e-6).all()
    assert np.abs(speeds[:, 0]).max() > 0.5 * most[0]


def test_a_command_before_its_period_is_the_next_ones_target(guarded):
    guard = guarded(config=GuardConfig(ramp_s=0.0))
    home = guard.robot.arm.home
    run(guard, home, 0.1)
    before = guard.commanded
    guard.send_action(action(guard, home + [0.5, 0, 0, 0, 0, 0]))
    np.testing.assert_array_equal(guard.commanded, before)
    guard.clock.sleep(PERIOD_S)
    guard.tick()
    assert guard.commanded[0] > before[0]


def failing(monkeypatch, robot, name, error, times=10**6):
    """Have a method raise so many times before it works; give the calls."""
    calls, works = [], getattr(robot, name)

    def call(*arguments):
        calls.append(name)
        if len(calls) <= times:
            raise error
        return works(*arguments)

    monkeypatch.setattr(robot, name, call)
    return calls


def test_a_stop_that_noise_disturbed_is_repeated(guarded, monkeypatch):
    guard = guarded()
    run(guard, guard.robot.arm.home + [1, 0, 0, 0, 0, 0], 0.5)
    failing(monkeypatch, guard.robot, "stop", BusError("checksum"), times=2)
    guard.emergency_stop()
    with pytest.raises(StopError, match="stopped: emergency stop; reset_stop"):
        guard.tick()
    assert guard.life_cycle is LifeCycle.INACTIVE


@pytest.mark.parametrize("method", ["stop", "get_observation"])
@pytest.mark.parametrize("error", [BusError("checksum"), LostError("gone"), RuntimeError("odd")])
def test_a_stop_that_is_not_proven_takes_the_torque(guarded, monkeypatch, method, error):
    guard = guarded()
    run(guard, guard.robot.arm.home, 0.1)
    failing(monkeypatch, guard.robot, method, error)
    let_go = failing(monkeypatch, guard.robot, "deactivate", error, times=0)
    guard.emergency_stop()
    with pytest.raises(StopError, match=f"{error}.*torque was taken away"):
        guard.tick()
    assert let_go and guard.is_stopped


def test_a_plain_stop_that_is_not_proven_closes_the_latch(guarded, monkeypatch):
    guard = guarded()
    failing(monkeypatch, guard.robot, "stop", LostError("gone"))
    failing(monkeypatch, guard.robot, "deactivate", LostError("gone"))
    with pytest.raises(StopError, match="gone; its torque could not be .* cut its power"):
        guard.stop()
    assert guard.is_stopped


def test_a_command_without_a_fresh_look_stops_it(guarded):
    guard = guarded()
    run(guard, guard.robot.arm.home, 0.1)
    with pytest.raises(StopError, match="joints were measured 0.1. s ago"):
        for _ in range(30):
            guard.clock.sleep(PERIOD_S)
            guard.send_action(action(guard, guard.robot.arm.home))
    assert guard.is_stopped


@pytest.mark.parametrize("method", ["send_action", "get_observation"])
def test_after_a_long_silence_it_stops_without_ticks_too(guarded, method):
    guard = guarded()
    goal = action(guard, guard.robot.arm.home + [1, 0, 0, 0, 0, 0])
    run(guard, guard.robot.arm.home + [1, 0, 0, 0, 0, 0], 0.5)
    guard.clock.sleep(30.0)
    with pytest.raises(StopError, match="no command for 30.0 s"):
        guard.get_observation() if method == "get_observation" else guard.send_action(goal)


def test_after_a_silence_it_begins_at_rest(guarded):
    guard = guarded(config=GuardConfig(ramp_s=0.0))
    goal = guard.robot.arm.home + [1, 0, 0, 0, 0, 0]
    run(guard, goal, 0.5)
    before = guard.commanded
    guard.clock.sleep(1.0)
    guard.get_observation()
    guard.send_action(action(guard, goal))
    most = guard.limits.motion[3, 0] * PERIOD_S**2
    assert 0 < guard.commanded[0] - before[0] <= most


@pytest.mark.parametrize("call", [Guard.tick, lambda guard: guard.rest("told to"), Guard.pause])
def test_after_a_silence_it_rests_from_rest(guarded, call):
    guard = guarded(config=GuardConfig(ramp_s=0.0))
    run(guard, guard.robot.arm.home + [1, 0, 0, 0, 0, 0], 0.5)
    before = guard.commanded
    guard.clock.sleep(1.0)
    guard.get_observation()
    call(guard)
    np.testing.assert_array_equal(guard.commanded, before)


def test_it_begins_where_it_is_once_it_is_active(guarded, monkeypatch):
    guard = guarded(active=False)
    at = iter([guard.robot.arm.home, guard.robot.arm.home + 0.01])
    monkeypatch.setattr(guard.robot, "get_observation", lambda: action(guard, next(at)))
    guard.activate()
    np.testing.assert_allclose(guard.commanded, guard.robot.arm.home + 0.01)


def test_an_arm_that_moved_while_it_was_activated_is_stopped(guarded, monkeypatch):
    guard = guarded(active=False)
    at = iter([guard.robot.arm.home, guard.robot.arm.home + [0.9, 0, 0, 0, 0, 0]])
    look = guard.robot.get_observation
    monkeypatch.setattr(
        guard.robot,
        "get_observation",
        lambda: look() | action(guard, next(at, guard.robot.arm.home)),
    )
    with pytest.raises(StopError, match="shoulder_pan went from .* while it was activated"):
        guard.activate()
    assert guard.is_stopped and guard.life_cycle is LifeCycle.INACTIVE


@pytest.mark.parametrize("sick", [0, 1])
def test_an_arm_at_no_number_is_not_active(guarded, monkeypatch, sick):
    guard = guarded(active=False)
    look, calls = guard.robot.get_observation, []

    def sickly():
        calls.append(look())
        nan = {"elbow_flex.pos": math.nan} if len(calls) == sick + 1 else {}
        return calls[-1] | nan

    monkeypatch.setattr(guard.robot, "get_observation", sickly)
    with pytest.raises(UserError, match="elbow_flex is at nan"):
        guard.activate()
    assert guard.life_cycle is LifeCycle.INACTIVE


def test_a_stop_that_was_not_seen_is_not_reset(guarded):
    guard = guarded()
    guard.emergency_stop("the first")
    seen = guard.stops
    guard.emergency_stop("the second")
    with pytest.raises(StopError, match="the second"):
        guard.reset_stop(seen)
    assert guard.is_stopped
    guard.reset_stop(guard.stops)
    assert not guard.is_stopped and guard.reason == ""


def silently(guard, seconds):
    """Let time go by in which only the watchdog comes by."""
    for _ in range(round(seconds / PERIOD_S)):
        guard.clock.sleep(PERIOD_S)
        guard.watch()


def test_a_watched_arm_rests_and_is_stopped_where_nobody_calls(guarded):
    guard = guarded(config=GuardConfig(ramp_s=0.0))
    goal = guard.robot.arm.home + [1, 0, 0, 0, 0, 0]
    run(guard, goal, 0.5)
    silently(guard, 0.15)
    under_way = guard.commanded[0]
    silently(guard, 0.6)
    assert guard.at_rest and under_way < guard.commanded[0] < goal[0] - 0.1
    with pytest.raises(StopError, match="no command for 2.0 s"):
        silently(guard, 1.5)
    assert guard.silent and guard.life_cycle is LifeCycle.INACTIVE


def test_the_watchdog_leaves_an_arm_to_whoever_drives_it(guarded):
    guard = guarded()
    run(guard, guard.robot.arm.home + [1, 0, 0, 0, 0, 0], 0.3)
    before, record = guard.commanded, guard.record
    guard.watch()
    guard.clock.sleep(PERIOD_S)
    guard.watch()  # it may come yet
    assert guard.record is record
    np.testing.assert_array_equal(guard.commanded, before)


def test_where_the_watchdog_gives_what_is_late_the_motion_goes_on(guarded):
    guard = guarded(config=GuardConfig(ramp_s=0.0))
    goal = guard.robot.arm.home + [1, 0, 0, 0, 0, 0]
    run(guard, goal, 0.5)
    before = guard.commanded[0]
    run(guard, goal, PERIOD_S)
    step = guard.commanded[0] - before
    guard.clock.sleep(1.6 * PERIOD_S)
    guard.watch()
    assert guard.commanded[0] - before == pytest.approx(2 * step, rel=0.1)


@pytest.mark.parametrize("missing", ["silence", "noise"])
def test_where_a_command_is_missing_the_motion_begins_from_rest(guarded, monkeypatch, missing):
    guard = guarded(config=GuardConfig(ramp_s=0.0))
    goal = guard.robot.arm.home + [1, 0, 0, 0, 0, 0]
    run(guard, goal, 0.5)
    before = guard.commanded[0]
    if missing == "silence":
        guard.clock.sleep(PERIOD_S)
    else:
        failing(monkeypatch, guard.robot, "send_action", BusError("noise"), times=TRIES)
        run(guard, goal, PERIOD_S)
        assert guard.record.words == ("not sent: noise",) and guard.commanded[0] == before
    run(guard, goal, PERIOD_S)
    most = guard.limits.motion[4, 0] * PERIOD_S**3
    assert 0 < guard.commanded[0] - before <= most + 1e-9


def test_a_command_before_its_period_is_sent_by_the_watchdog(guarded):
    guard = guarded(config=GuardConfig(ramp_s=0.0))
    run(guard, guard.robot.arm.home, 0.1)
    before = guard.commanded
    guard.send_action(action(guard, guard.robot.arm.home + [0.5, 0, 0, 0, 0, 0]))
    silently(guard, 3 * PERIOD_S)
    assert guard.commanded[0] > before[0]


def test_a_watched_arm_is_stopped_at_once_if_somebody_calls_for_it(guarded):
    guard = guarded()
    run(guard, guard.robot.arm.home + [1, 0, 0, 0, 0, 0], 0.5)
    guard.emergency_stop("the red button")
    with pytest.raises(StopError, match="the red button"):
        guard.watch()
    assert guard.life_cycle is LifeCycle.INACTIVE
    guard.watch()  # and that is all


def wait_for(true):
    ends_s = time.monotonic() + 60.0
    while not true():
        assert time.monotonic() < ends_s, "it did not happen"
        time.sleep(0.002)


@pytest.fixture
def watched():
    """Make a guard of a twin in the machine's time, whose patience is short."""
    guards = []

    def make(**config):
        short = {"hold_s": 0.04, "stop_s": 0.08, "stale_s": 60.0, "ramp_s": 0.0} | config
        robot = Twin(TwinConfig(failing=0.0), RealClock())
        guards.append(
            Guard(robot, PERIOD_S, config=GuardConfig(**short), arm=robot.arm, clock=robot.clock)
        )
        guards[-1].connect()
        guards[-1].activate()
        return guards[-1]

    yield make
    for guard in guards:
        guard.disconnect()


def test_a_dry_run_that_begins_anew_is_watched_by_one_thread(watched):
    before = threading.enumerate()
    guard = watched(dry_run=True, stop_s=60.0)
    guard.activate()
    threads = [thread for thread in threading.enumerate() if isinstance(thread, Watchdog)]
    began = [thread for thread in threads if thread not in before]
    for thread in began:  # none may keep this program from ending
        thread.end()
    assert len(began) == 1


def test_a_thread_watches_an_arm_in_the_machines_time(watched):
    guard = watched()
    wait_for(lambda: guard.life_cycle is LifeCycle.INACTIVE)
    assert guard.silent and guard.reason.startswith("no command for")
    guard.reset_stop(guard.stops)
    guard.activate()
    guard.emergency_stop("the red button")
    wait_for(lambda: guard.life_cycle is LifeCycle.INACTIVE)
    assert not guard.silent


def test_a_bug_of_the_driver_while_nobody_calls_stops_the_arm(watched, monkeypatch, caplog):
    guard = watched(stop_s=60.0)
    with guard.turn:
        monkeypatch.setattr(guard.robot, "send_action", lambda action: 1 / 0)
    with caplog.at_level(logging.CRITICAL):
        wait_for(lambda: guard.life_cycle is LifeCycle.INACTIVE)
    assert "ZeroDivisionError" in guard.reason


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(watchdog, "PATIENCE_S", 0.02)


def test_a_driver_that_hangs_is_said_to(watched, caplog, impatient):
    guard = watched()
    with caplog.at_level(logging.CRITICAL), guard.turn:  # a call that does not come back
        wait_for(lambda: caplog.text)
    assert "twin: a call to its driver does not come back: cut its power" in caplog.text


@pytest.mark.parametrize("call", ["stop", "disconnect"])
def test_a_driver_that_hangs_while_it_is_told_to_stop_is_said_to(
    watched, caplog, impatient, monkeypatch, call
):
    guard = watched(stop_s=60.0)
    goes_on = threading.Event()
    with guard.turn:
        monkeypatch.setattr(guard.robot, call, goes_on.wait)
    told = threading.Thread(target=getattr(guard, call))
    with caplog.at_level(logging.CRITICAL):
        told.start()
        wait_for(lambda: "does not come back" in caplog.text)
    goes_on.set()
    told.join()
    monkeypatch.undo()


def test_a_driver_that_hangs_while_nobody_calls_is_said_to_who_calls_then(
    watched, caplog, impatient, monkeypatch
):
    guard = watched(stop_s=60.0)
    hangs, goes_on = threading.Event(), threading.Event()

    def send_action(action):
        hangs.set()
        goes_on.wait()
        return action

    with guard.turn:
        monkeypatch.setattr(guard.robot, "send_action", send_action)
    hangs.wait()
    threading.Timer(0.2, goes_on.set).start()
    with caplog.at_level(logging.CRITICAL):
        guard.get_observation()
    assert "does not come back" in caplog.text


def test_a_driver_that_hangs_while_nobody_calls_at_all_is_said_to(
    watched, caplog, impatient, monkeypatch
):
    guard = watched(stop_s=60.0)
    goes_on = threading.Event()
    with guard.turn:
        monkeypatch.setattr(guard.robot, "send_action", lambda action: goes_on.wait() and action)
    with caplog.at_level(logging.CRITICAL):
        wait_for(lambda: "twin: a call to its driver does not come back" in caplog.text)
    goes_on.set()


def test_an_active_arm_is_stopped_before_it_is_disconnected(guarded, monkeypatch):
    guard = guarded()
    run(guard, guard.robot.arm.home + [1, 0, 0, 0, 0, 0], 0.5)
    failing(monkeypatch, guard.robot, "_halt", BusError("checksum"), times=2)
    let_go = failing(monkeypatch, guard.robot, "_disable", BusError("checksum"), times=2)
    guard.disconnect()
    assert len(let_go) == 3 and guard.life_cycle is LifeCycle.UNCONFIGURED


def test_an_arm_that_is_disconnected_while_it_moves_is_told_of(guarded, monkeypatch):
    guard = guarded()
    failing(monkeypatch, guard.robot, "_halt", LostError("gone"))
    failing(monkeypatch, guard.robot, "_disable", LostError("gone"))
    with pytest.warns(UserWarning, match="twin: disconnected.*gone.*cut its power"):
        guard.disconnect()
    assert guard.life_cycle is LifeCycle.UNCONFIGURED


def test_old_positions_prove_no_stop(guarded, monkeypatch):
    guard = guarded()
    run(guard, guard.robot.arm.home + [1, 0, 0, 0, 0, 0], 0.5)
    old_s, old = guard.clock(), guard.get_observation()
    monkeypatch.setattr(Twin, "measured_s", property(lambda self: {"joints": old_s}))
    monkeypatch.setattr(guard.robot, "get_observation", lambda: old)
    guard.clock.sleep(PERIOD_S)
    guard.emergency_stop()
    with pytest.raises(StopError, match="nothing new was measured of twin.*nothing shows"):
        guard.tick()


def test_a_stop_by_another_guard_behind_it_is_its_own(guarded, monkeypatch):
    guard = guarded()
    failing(monkeypatch, guard.robot, "send_action", StopError("stopped there"))
    with pytest.raises(StopError, match="stopped there"):
        run(guard, guard.robot.arm.home, 0.1)
    assert guard.is_stopped and guard.life_cycle is LifeCycle.INACTIVE


def test_a_bug_of_the_driver_while_it_is_activated_leaves_it_inactive(guarded, monkeypatch):
    guard = guarded(active=False)
    activate = guard.robot.activate

    def breaks():
        activate()
        failing(monkeypatch, guard.robot, "get_observation", KeyError("elbow"), times=1)

    monkeypatch.setattr(guard.robot, "activate", breaks)
    with pytest.raises(StopError, match="elbow"):
        guard.activate()
    assert guard.life_cycle is LifeCycle.INACTIVE


def test_an_arm_that_is_lost_while_it_is_activated_is_told_to_stop(guarded, monkeypatch):
    guard = guarded(active=False)
    activate, halt, told = guard.robot.activate, guard.robot._halt, []

    def breaks():
        activate()
        failing(monkeypatch, guard.robot, "_read", LostError("it is too hot"), times=1)

    monkeypatch.setattr(guard.robot, "activate", breaks)
    monkeypatch.setattr(guard.robot, "_halt", lambda: told.append(halt()))
    with pytest.raises(StopError, match="it is too hot; reset"):
        guard.activate()
    assert told and guard.life_cycle is LifeCycle.ERROR


def test_a_program_that_ends_without_a_word_leaves_no_arm_active():
    code = """
from robots.guard import Guard, GuardConfig
from robots.twin import Twin
robot = Twin()
halt = robot._halt
robot._halt = lambda: (halt(), print("stopped", flush=True))
guard = Guard(robot, 0.02, config=GuardConfig(hold_s=0.04, stop_s=0.08), arm=robot.arm)
guard.connect()
guard.activate()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "stopped\n" and done.returncode == 0


def test_a_stop_that_nobody_was_told_of_is_not_reset(guarded):
    guard = guarded()
    guard.emergency_stop("the first")
    with pytest.raises(StopError, match="the first"):
        guard.get_observation()
    guard.emergency_stop("the second")
    with pytest.raises(StopError, match="the first; the second"):
        guard.reset_stop()
    assert guard.is_stopped
    guard.reset_stop()
    assert not guard.is_stopped


def test_what_only_the_watchdog_was_told_of_nobody_knows(guarded):
    guard = guarded()
    guard.emergency_stop("the red button")
    with pytest.raises(StopError):
        guard.watch()
    with pytest.raises(StopError, match="the red button"):
        guard.reset_stop()


def test_a_stop_is_not_counted_again_by_whoever_is_refused(guarded):
    guard = guarded()
    guard.emergency_stop()
    for _ in range(3):
        with pytest.raises(StopError):
            guard.send_action({})
    assert guard.stops == 1
