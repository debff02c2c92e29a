"""The servo loop in a process of its own; what it does is waited for, never how long it takes."""

import os
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

import sim
from robolearn.errors import DataError
from robots import servo
from robots.base import LifeCycle
from robots.guard import StopError

OPTIONS = {"own_process": True, "guard": {"ramp_s": 0.0, "stop_s": 1.0}}
MOST_S = 120.0

ORPHAN = """
import os, sys
import sim
env = sim.make("robot/twin", **{options})
env.reset(seed=0)
if os.fork() == 0:  # whose copy of the pipe keeps it open
    sys.stdin.read()
    os._exit(0)
print(env.guard._process.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def env():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(os.path.dirname(__file__))
        env = sim.make("robot/slow_arm:SlowArm", **OPTIONS)
    yield env
    env.close()


@pytest.fixture
def moving(env):
    """The environment in an episode, whatever has stopped the arm before."""
    if env.guard.is_stopped:
        env.guard.reset_stop(env.guard.stops)
    env.reset(seed=0)
    env.step(np.array([1.0, 0, 0, 0, 0, 0]))
    return env


@pytest.fixture
def tell(env):
    """Send the servo process a signal; it goes on afterwards, whatever it was."""
    pid = env.guard._process.pid
    yield lambda kind: os.kill(pid, kind)
    if env.guard._process.is_alive():
        os.kill(pid, signal.SIGCONT)


def wait_for(what):
    ends_s = time.monotonic() + MOST_S
    while not what():
        assert time.monotonic() < ends_s, "it did not happen"
        time.sleep(0.01)


def stepped(env):
    """Go on until the episode is over, and say why."""
    truncated = False
    while not truncated:
        _, _, _, truncated, info = env.step(np.zeros(6))
    return info["error"]


def test_it_is_driven_as_any_other(env):
    before, _ = env.reset(seed=0)
    assert env.robot.life_cycle is LifeCycle.ACTIVE
    for _ in range(10):
        observation, _, _, truncated, info = env.step(np.array([1.0, 0, 0, 0, 0, 0]))
        assert not truncated, info
    ends_s, way = time.monotonic() + MOST_S, np.inf
    while abs(way) > 0.02:
        assert time.monotonic() < ends_s, "it did not get there"
        observation, _, _, truncated, info = env.step(np.zeros(6))
        assert not truncated, info
        way = env._actions._target[0] - observation["state"][0]
    assert observation["state"][0] - before["state"][0] > 0.1
    assert env.ticks > 0
    assert observation.keys() == before.keys()


def test_a_policy_that_falls_silent_leaves_the_arm_at_rest_and_then_stopped(moving):
    env = moving
    wait_for(lambda: env.guard.at_rest)
    wait_for(lambda: env.guard.is_stopped)
    assert "no command for" in env.guard.reason
    assert "no command for" in stepped(env)
    with pytest.raises(StopError, match="no command for"):
        env.reset(seed=1)
    env.guard.reset_stop()
    env.reset(seed=1)


def test_silence_between_two_episodes_is_no_fault(moving):
    wait_for(lambda: moving.guard.is_stopped)
    moving.reset(seed=1)
    assert moving.robot.life_cycle is LifeCycle.ACTIVE


def test_a_pause_is_an_order_to_rest(moving):
    wait_for(lambda: not moving.pause() and moving.guard.at_rest)
    assert "paused" in moving.guard.record.words
    assert "error" not in moving.step(np.zeros(6))[4]


def test_an_emergency_stop_is_made_when_it_returns(moving):
    guard = moving.guard
    guard.emergency_stop("the red button")
    assert moving.robot.life_cycle is LifeCycle.INACTIVE
    with pytest.raises(StopError, match="the red button"):
        guard.send_action({})
    guard.reset_stop()
    assert not guard.is_stopped


def test_an_emergency_stop_waits_for_no_order_and_takes_nobodys_answer(moving):
    guard, answers = moving.guard, []
    asking = threading.Thread(target=lambda: answers.append(guard.order("nap", 0.5)))
    asking.start()
    guard.emergency_stop("the red button")
    asking.join()
    assert answers == [0.5] and moving.robot.life_cycle is LifeCycle.INACTIVE
    assert "the red button" in guard.reason


def test_an_answer_that_is_late_is_not_that_of_the_next_order(moving, monkeypatch):
    guard = moving.guard
    monkeypatch.setattr(servo, "QUICK_S", 0.1)
    with pytest.raises(StopError, match="does not answer: cut its power"):
        guard.order("nap", 0.4)
    monkeypatch.setattr(servo, "QUICK_S", MOST_S)
    assert guard.order("nap", 0.01) == 0.01
    assert "an order was not carried out in time" in guard.reason


def test_an_order_that_is_late_is_not_carried_out(moving, monkeypatch, tell):
    guard = moving.guard
    guard.stop()
    tell(signal.SIGSTOP)
    monkeypatch.setattr(servo, "SLOW_S", 0.1)
    with pytest.raises(StopError, match="does not answer"):
        guard.activate()
    tell(signal.SIGCONT)
    wait_for(lambda: "not carried out" in guard.reason and not guard._unheeded())
    assert moving.robot.life_cycle is LifeCycle.INACTIVE


def test_a_servo_process_that_is_frozen_is_noticed_and_stops_when_it_goes_on(
    moving, monkeypatch, tell
):
    guard = moving.guard
    monkeypatch.setattr(servo, "FROZEN_S", 0.3)
    monkeypatch.setattr(servo, "HEEDED_S", 0.1)
    tell(signal.SIGSTOP)
    assert "the servo process has done nothing for 0." in (error := stepped(moving))
    assert error.endswith("cut its power")
    assert guard.is_stopped and moving.robot.life_cycle is LifeCycle.ERROR
    with pytest.raises(StopError, match="takes no notice of a stop: cut its power"):
        guard.emergency_stop()
    monkeypatch.undo()
    tell(signal.SIGCONT)
    wait_for(lambda: moving.robot.life_cycle is LifeCycle.INACTIVE)
    assert "emergency stop" in guard.reason


def test_a_bad_target_brings_the_arm_to_rest_there(moving):
    nan = dict.fromkeys(moving.robot.action_features, float("nan"))
    with pytest.raises(DataError, match="not a finite number"):
        moving.guard.send_action(nan)
    wait_for(lambda: moving.guard.at_rest)


def test_what_a_terminal_tells_its_programs_is_not_for_it(env):
    assert os.getsid(env.guard._process.pid) != os.getsid(0)


def test_one_that_is_killed_is_told_of(moving, monkeypatch, tell):
    env, guard = moving, moving.guard
    monkeypatch.setattr(servo, "FROZEN_S", 0.1)
    monkeypatch.setattr(servo, "ENDS_S", 0.1)
    tell(signal.SIGSTOP)
    wait_for(lambda: guard.is_stopped)
    guard.board.seen._edition[...] |= 1  # in the middle of a word
    with pytest.warns(UserWarning, match="was killed before it had stopped the arm: cut"):
        env.close()  # which it does not hear
    assert env.robot.life_cycle is LifeCycle.UNCONFIGURED and env.ticks > 0
    env.close()
    for call in (guard.get_observation, guard.emergency_stop, guard.activate):
        with pytest.raises(StopError, match="the servo process is gone: cut its power"):
            call()
    with monkeypatch.context() as patch:
        patch.setattr(guard, "_process", SimpleNamespace(exitcode=0))  # as of one that was told to
        guard.emergency_stop("too late, and there is nothing to stop")


def test_when_the_process_that_decides_is_killed_the_servo_process_ends():
    code = ORPHAN.format(options=OPTIONS)
    parent = subprocess.Popen(
        [sys.executable, "-c", code], text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    wait_for(lambda: not running(pid))
    parent.stdin.close()
    parent.stdout.close()


def running(pid):
    """Whether a process is there, and not only its remains that nobody has asked for."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
