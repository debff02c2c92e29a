import math

import numpy as np
import pytest

import sim
from robolearn.errors import DataError, OptionError, SpecError, UserError
from robots.base import LifeCycle, RobotError
from robots.guard import StopError
from robots.twin import Fault, FaultKind
from sim.own import METHODS


@pytest.fixture
def made():
    envs = []

    def make(**options):
        env = sim.make("robot/twin", **{"simulated_time": True} | options)
        envs.append(env)
        return env

    yield make
    for env in envs:
        env.close()


def test_it_is_an_environment_as_any_other(made):
    env = made()
    assert all(hasattr(env, part) for part in ("interface", *METHODS))
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    assert env.interface.robot == "desk_arm" and env.interface.period_s == 0.05
    names = env.interface.observations["state"].names
    assert len(names) == len(observation["state"]) == 13
    assert names[0] == "shoulder_pan_pos" and names[6] == "hand_pos_x"
    step = env.step(np.zeros(6, np.float32))
    assert step[1:4] == (0.0, False, False)
    assert step[4]["success"] is False and step[4]["reward_terms"] == {"task": 0.0}


def test_time_goes_by_as_the_rate_says(made):
    env = made(control_hz=10.0, servo_hz=50.0)
    env.reset(seed=0)
    began_s = env.clock()
    for _ in range(20):
        env.step(np.zeros(6))
    assert env.clock() - began_s == pytest.approx(2.0, abs=0.021)
    assert env.missed == 0


def test_joint_steps_add_up(made):
    env = made(guard={"ramp_s": 0.0})
    before, _ = env.reset(seed=0)
    for _ in range(10):
        after = env.step(np.array([1, 0, 0, 0, 0, -0.5]))[0]
    for _ in range(10):
        after = env.step(np.zeros(6))[0]
    moved = after["state"][:6] - before["state"][:6]
    np.testing.assert_allclose(moved, [0.5, 0, 0, 0, 0, -0.25], atol=0.02)


def test_absolute_joints(made):
    env = made(action={"kind": "joints"}, guard={"ramp_s": 0.0})
    env.reset(seed=0)
    goal = np.array([0.2, -0.1, 0.3, 0.4, 0.1, 0.5])
    for _ in range(60):
        observation = env.step(goal)[0]
    low, high = (np.array([getattr(j, e) for j in env.robot.joints]) for e in ("lower", "upper"))
    positions = (low + high) / 2 + goal * (high - low) / 2
    np.testing.assert_allclose(observation["state"][:6], positions, atol=0.02)


@pytest.mark.parametrize("axis", range(3))
def test_the_hand_moves_where_it_is_told_to(made, axis):
    env = made(action={"kind": "pose"}, guard={"ramp_s": 0.0})
    before, _ = env.reset(seed=0)
    action = np.zeros(7)
    action[axis] = 0.3
    for _ in range(20):
        after = env.step(action)[0]
    moved = after["state"][6:9] - before["state"][6:9]
    assert moved[axis] > 0.02
    if axis != 1:  # five joints cannot do it all: sideways it turns along
        assert np.abs(np.delete(moved, axis)).max() < 0.4 * moved[axis]


def test_the_gripper_opens_and_closes(made):
    env = made(action={"kind": "pose"}, guard={"ramp_s": 0.0}, safety={"velocity": 1.0})
    env.reset(seed=0)
    for closing, end in ((1.0, 0.0), (-1.0, 1.0)):
        for _ in range(30):
            observation = env.step(np.array([0, 0, 0, 0, 0, 0, closing]))[0]
        assert observation["state"][5] == pytest.approx(end, abs=0.03)


def test_a_state_is_where_the_arm_is(made):
    env = made(guard={"ramp_s": 0.0})
    env.reset(seed=0)
    for _ in range(10):
        env.step(np.array([1.0, 0.5, 0, 0, 0, 0]))
    state = env.get_state()
    env.reset(seed=1)
    observation = env.set_state(state)
    np.testing.assert_allclose(observation["state"][:6], state[1:], atol=0.05)


def test_what_stops_the_arm_truncates_the_episode_with_the_reason(made):
    env = made(guard={"ramp_s": 0.0})
    env.reset(seed=0)
    env.robot.faults.append(Fault(FaultKind.UNPLUGGED, env.clock() + 0.3, until_s=5.0))
    for _ in range(20):
        _, _, terminated, truncated, info = env.step(np.array([1.0, 0, 0, 0, 0, 0]))
        if truncated:
            break
    assert not terminated and "nothing answers" in info["error"]
    with pytest.raises(StopError, match="nothing answers"):
        env.reset(seed=1)
    env.clock.sleep(6.0)
    env.robot.disconnect()
    env.guard.reset_stop()
    env.reset(seed=1)
    env.step(np.zeros(6))


def fall_silent(env):
    """Let time go by in which only the watchdog comes by, until it has stopped the arm."""
    with pytest.raises(StopError, match="no command for 2.0 s"):
        while True:
            env.clock.sleep(env.guard.period_s)
            env.guard.watch()


def test_an_arm_that_was_stopped_for_silence_between_two_episodes_begins_the_next(made):
    env = made(guard={"ramp_s": 0.0})
    env.reset(seed=0)
    env.step(np.array([1.0, 0, 0, 0, 0, 0]))
    fall_silent(env)
    assert env.robot.life_cycle is LifeCycle.INACTIVE
    env.reset(seed=1)
    assert "error" not in env.step(np.zeros(6))[4]


def test_an_arm_that_was_stopped_for_silence_in_an_episode_is_looked_at(made):
    env = made(guard={"ramp_s": 0.0})
    env.reset(seed=0)
    fall_silent(env)
    _, _, _, truncated, info = env.step(np.zeros(6))
    assert truncated and "no command for 2.0 s" in info["error"]
    with pytest.raises(StopError, match="no command for"):
        env.reset(seed=1)
    env.guard.reset_stop()
    env.reset(seed=1)


def pass_time(env, seconds, calls=lambda: None):
    """Let time go by with the watchdog coming by in every servo period, a call in every fifth."""
    for tick in range(round(seconds / env.guard.period_s)):
        env.clock.sleep(env.guard.period_s)
        env.guard.watch()
        if tick % 5 == 4:
            calls()


def test_a_pause_is_no_silence(made):
    env = made(guard={"ramp_s": 0.0})
    env.reset(seed=0)
    for _ in range(10):
        env.step(np.array([1.0, 0, 0, 0, 0, 0]))
    pass_time(env, 10.0, env.pause)
    assert env.guard.is_active and env.guard.at_rest
    rests = env.guard.commanded
    missed = env.missed
    _, _, _, truncated, info = env.step(np.zeros(6))
    assert not truncated and "error" not in info and env.missed == missed
    np.testing.assert_allclose(env.guard.commanded, rests, atol=1e-9)


def test_who_hangs_in_a_pause_is_silent(made):
    env = made(guard={"ramp_s": 0.0})
    env.reset(seed=0)
    pass_time(env, 5.0, env.pause)
    fall_silent(env)
    assert "no command for 2.0 s" in env.pause()
    assert "no command for 2.0 s" in env.step(np.zeros(6))[4]["error"]


def test_what_stops_the_arm_in_a_pause_is_said(made):
    env = made()
    assert env.pause() == ""  # before an episode there is nothing to hold
    env.reset(seed=0)
    env.guard.emergency_stop("the red button")
    assert "the red button" in env.pause() and env.robot.life_cycle is LifeCycle.INACTIVE


def test_a_stop_that_somebody_called_for_between_two_episodes_is_looked_at(made):
    env = made()
    env.reset(seed=0)
    fall_silent(env)
    env.guard.emergency_stop("the red button")
    with pytest.raises(StopError, match="the red button"):
        env.reset(seed=1)


@pytest.mark.parametrize(
    ("action", "error"), [(np.zeros(5), SpecError), (np.full(6, math.nan), DataError)]
)
def test_an_action_that_is_none_is_refused(made, action, error):
    env = made()
    env.reset(seed=0)
    with pytest.raises(error, match="action"):
        env.step(action)


def test_what_was_changed_is_said(made):
    env = made(action={"kind": "joints"})
    env.reset(seed=0)
    assert "motion" in env.step(np.ones(6))[4]["changes"]


def test_the_horizon_truncates(made):
    env = made(horizon=3)
    env.reset(seed=0)
    assert [env.step(np.zeros(6))[3] for _ in range(3)] == [False, False, True]


def test_an_operator_says_what_success_is(made):
    from robots.env import RobotEnv

    env = made()
    asked = []
    other = RobotEnv(
        env.robot,
        env.config,
        clock=env.clock,
        success=lambda values: values["shoulder_pan.pos"] > 0.1,
        before_episode=lambda: asked.append(True),
    )
    other.reset(seed=0)
    assert asked == [True]
    for _ in range(10):
        info = other.step(np.array([1.0, 0, 0, 0, 0, 0]))[4]
    assert info["success"] is True


def test_closing_stops_it(made):
    env = made()
    env.reset(seed=0)
    assert env.robot.life_cycle is LifeCycle.ACTIVE
    env.close()
    env.close()
    assert env.robot.life_cycle is LifeCycle.UNCONFIGURED


def test_a_reset_brings_an_arm_in_motion_to_rest_before_it_is_stopped(made, monkeypatch):
    env = made(guard={"ramp_s": 0.0}, safety={"velocity": 1.0})
    env.reset(seed=0)
    for _ in range(10):
        env.step(np.array([1.0, 0, 0, 0, 0, 0]))
    moved, halt = [], env.robot._halt

    def halted():
        moved.append(np.abs(env.robot.arm.velocities(env.robot.world.data)).max())
        halt()

    assert not env.guard.at_rest
    monkeypatch.setattr(env.robot, "_halt", halted)
    env.reset(seed=1)
    assert moved and max(moved) < 0.5  # of 1 rad/s


def test_nothing_before_a_reset(made):
    with pytest.raises(UserError, match="reset the environment before a step"):
        made().step(np.zeros(6))


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"contrl_hz": 10}, OptionError, "unknown option 'contrl_hz'; did you mean 'control_hz'"),
        ({"robot": {"sed": 1}}, OptionError, "unknown option 'sed'; did you mean 'seed'"),
        ({"control_hz": 30.0}, UserError, "servo_hz=100 must be a multiple of control_hz=30"),
        ({"state": ("pos", "force")}, UserError, "state: twin has no 'force'"),
        ({"reset_pose": {"elbow": 0.0}}, UserError, "reset_pose: no joint 'elbow'"),
        ({"model": "desk"}, UserError, "unknown model 'desk'; did you mean 'desk_arm'"),
    ],
)
def test_wrong_options_are_one_line(options, error, words):
    with pytest.raises(error, match=words) as caught:
        sim.make("robot/twin", **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("robot/twn", "robot 'twn': unknown; did you mean 'twin'"),
        ("robot/nowhere:Arm", "no module 'nowhere'"),
    ],
)
def test_unknown_robots(name, words):
    with pytest.raises(UserError, match=words):
        sim.make(name)


def test_an_arm_that_does_not_get_there_says_so(made):
    env = made(reset_s=0.2)
    env.reset(seed=0)
    with pytest.raises(
        RobotError, match="shoulder_pan is still .* from the reset pose after 0.2 s"
    ):
        env.set_state(np.array([0, 1.5, 0, 0.5, 0.5, 0, 0.5]))
