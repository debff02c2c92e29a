import numpy as np
import pytest

import sim
from robolearn.errors import SpecError, UserError
from robots.arm_model import Stand
from robots.base import TRIES, BusError, LifeCycle, LostError, RobotError, named
from robots.guard import Guard, GuardConfig, StopError
from robots.safety import SafetyConfig
from robots.several import Several, TwoTwinsConfig, two_twins
from robots.twin import Fault, FaultKind, Twin, TwinConfig

QUIET = {"noise": 0.0, "failing": 0.0}


@pytest.fixture
def pair(clock):
    return two_twins(TwoTwinsConfig(TwinConfig(**QUIET), TwinConfig(**QUIET)), None, clock)


def test_names_begin_with_the_side(pair):
    assert pair.joints[0].name == "left_shoulder_pan" and len(pair.joints) == 12
    assert list(pair.action_features)[-1] == "right_gripper.pos"


def test_each_gets_its_part(pair, clock):
    pair.connect()
    pair.activate()
    home = np.concatenate([robot.arm.home for robot in pair.robots.values()])
    goal = home + np.repeat([0.2, -0.2], 6) * np.tile([1, 0, 0, 0, 0, 0], 2)
    assert pair.send_action(named(pair.joints, {"pos": goal})).keys() == pair.action_features.keys()
    clock.sleep(1.0)
    seen = pair.get_observation()
    assert seen["left_shoulder_pan.pos"] == pytest.approx(0.2, abs=0.01)
    assert seen["right_shoulder_pan.pos"] == pytest.approx(-0.2, abs=0.01)
    assert pair.measured_s == {"joints": 1.0}


def test_an_action_of_one_side_is_refused(pair):
    pair.connect()
    pair.activate()
    with pytest.raises(SpecError, match="missing right_shoulder_pan.pos"):
        pair.send_action({n: 0.0 for n in pair.action_features if n.startswith("left")})


def test_all_are_activated_or_none(pair):
    pair.connect()
    pair.robots["right"].faults.append(Fault(FaultKind.UNPLUGGED, 0.0))
    pair.robots["right"].clock.sleep(0.01)
    with pytest.raises(LostError):
        pair.activate()
    assert pair.robots["left"].life_cycle is LifeCycle.INACTIVE
    assert pair.life_cycle is LifeCycle.ERROR


def test_all_are_connected_or_none(clock):
    right = Twin(TwinConfig(faults=(Fault(FaultKind.UNPLUGGED),)), clock)
    pair = Several({"left": Twin(TwinConfig(), clock), "right": right})
    with pytest.raises(LostError):
        pair.connect()
    assert pair.robots["left"].life_cycle is LifeCycle.UNCONFIGURED


def test_a_stop_reaches_those_that_can_hear_it(pair, clock):
    pair.connect()
    pair.activate()
    pair.robots["left"].faults.append(Fault(FaultKind.UNPLUGGED, 0.0))
    clock.sleep(0.01)
    with pytest.raises(LostError, match="left: twin: nothing answers"):
        pair.stop()
    assert pair.robots["right"].life_cycle is LifeCycle.INACTIVE
    pair.disconnect()
    assert pair.life_cycle is LifeCycle.UNCONFIGURED


def test_one_is_not_several(clock):
    with pytest.raises(UserError, match="two robots or more"):
        Several({"left": Twin(TwinConfig(), clock)})


def test_a_stop_reaches_the_others_whatever_is_raised(pair, monkeypatch):
    pair.connect()
    pair.activate()

    def fails():
        raise RuntimeError("the library's own")

    monkeypatch.setattr(pair.robots["left"], "stop", fails)
    with pytest.raises(RobotError, match="left: the library's own"):
        pair.stop()
    assert pair.robots["right"].life_cycle is LifeCycle.INACTIVE


def test_of_two_arms_only_the_one_that_does_not_stop_is_let_go_of(pair, clock, monkeypatch):
    guard = Guard(pair, 0.01, config=GuardConfig(ramp_s=0.0), clock=clock)
    let_go = []
    for side, robot in pair.robots.items():
        monkeypatch.setattr(robot, "_disable", lambda side=side: let_go.append(side))
    guard.connect()
    guard.activate()
    pair.robots["left"].faults.append(Fault(FaultKind.DEAF, clock()))
    monkeypatch.setattr(pair.robots["left"], "_halt", lambda: 1 / 0)
    guard.emergency_stop("the red button")
    began_s = clock()
    with pytest.raises(StopError, match="left: it could not be told to stop: division by zero, so"):
        guard.tick()
    assert let_go == ["left"] and clock() - began_s <= 2 * guard.config.prove_s
    assert pair.robots["right"].life_cycle is LifeCycle.INACTIVE


def test_where_one_of_two_arms_is_lost_as_they_are_activated_both_are_stopped(
    pair, clock, monkeypatch
):
    guard = Guard(pair, 0.01, clock=clock)
    guard.connect()
    activate = pair.activate

    def loses_one():
        activate()
        pair.robots["right"].faults.append(Fault(FaultKind.UNPLUGGED, 0.0))
        clock.sleep(0.01)

    monkeypatch.setattr(pair, "activate", loses_one)
    with pytest.raises(StopError, match="right: it could not be told to stop"):
        guard.activate()
    assert pair.robots["left"].life_cycle is LifeCycle.INACTIVE


def disturb(monkeypatch, robot, times):
    """Have noise keep so many actions from a robot; give those that it has taken."""
    taken, left, write = [], iter(range(times)), robot._write

    def disturbed(positions):
        if next(left, None) is not None:
            raise BusError("noise")
        taken.append(positions)
        return write(positions)

    monkeypatch.setattr(robot, "_write", disturbed)
    return taken


def test_what_noise_keeps_from_both_arms_can_be_sent_again(pair, monkeypatch):
    pair.connect()
    pair.activate()
    taken = disturb(monkeypatch, pair.robots["right"], 0)
    disturb(monkeypatch, pair.robots["left"], TRIES)
    action = {name: 0.0 for name in pair.action_features}
    with pytest.raises(BusError):
        pair.send_action(action)
    assert not taken
    pair.send_action(action)
    assert len(taken) == 1


@pytest.mark.parametrize("times", [TRIES - 1, TRIES])
def test_what_noise_keeps_from_one_of_two_arms_for_good_stops_both(pair, clock, monkeypatch, times):
    guard = Guard(pair, 0.01, config=GuardConfig(ramp_s=0.0), clock=clock)
    guard.connect()
    guard.activate()
    taken = disturb(monkeypatch, pair.robots["left"], 0)
    disturb(monkeypatch, pair.robots["right"], times)
    clock.sleep(0.01)
    guard.get_observation()
    action = named(guard.joints, {"pos": guard.commanded + 0.1})
    if times < TRIES:
        guard.send_action(action)
        assert guard.is_active
    else:
        with pytest.raises(StopError, match="right: noise; the others have had their part"):
            guard.send_action(action)
        for robot in pair.robots.values():
            assert robot.life_cycle is LifeCycle.INACTIVE
    assert len(taken) == 1


def test_arms_of_arms_have_names(pair, clock):
    three = Several({"pair": pair, "third": Twin(TwinConfig(), clock)})
    assert list(three.arms) == ["pair_left", "pair_right", "third"]
    names = [f"{arm}_{j.name}" for arm, robot in three.arms.items() for j in robot.joints]
    assert names == [joint.name for joint in three.joints]


def test_two_arms_are_kept_off_each_other_and_in_their_box(clock):
    box = ((0.0, 0.5), (-0.5, 0.5), (0.02, 0.5))
    stands = {"left_stand": Stand((0.0, 0.12, 0.0)), "right_stand": Stand((0.0, -0.12, 0.0))}
    quiet = {side: TwinConfig(**QUIET) for side in ("left", "right")}
    pair = two_twins(TwoTwinsConfig(**quiet, **stands), None, clock)
    safe = SafetyConfig(velocity=1.0, box_m=box)
    guard = Guard(pair, 0.01, safe=safe, config=GuardConfig(ramp_s=0), arm=pair.arm, clock=clock)
    guard.connect()
    guard.activate()
    inwards = pair.arm.home + np.repeat([-1.2, 1.2], 6) * np.tile([1, 0, 0, 0, 0, 0], 2)
    words = set()
    for _ in range(150):
        clock.sleep(0.01)
        guard.get_observation()
        guard.send_action(named(guard.joints, {"pos": inwards}))
        words |= {word.partition(":")[0] for word in guard.record.words}
        apart, depth = guard.limits.geometry.clearance(guard.commanded)
        assert apart >= safe.apart_m - 1e-9 and depth >= -1e-9
    assert "collision" in words and np.abs(guard.commanded - inwards).max() > 0.1
    guard.disconnect()


def test_two_twins_are_an_environment_without_one_hand():
    env = sim.make("robot/two_twins", simulated_time=True)
    observation, _ = env.reset(seed=0)
    assert observation["state"].shape == (12,) and env.interface.robot == "desk_arms"
    env.close()
    for options, words in (
        ({"action": {"kind": "pose"}}, "pose moves one hand only"),
        ({"state": ("hand",)}, "two_twins has no 'hand'"),
    ):
        with pytest.raises(UserError, match=words):
            sim.make("robot/two_twins", simulated_time=True, **options)
