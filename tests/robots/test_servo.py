"""The servo loop in a process of its own; what it does is waited for, never how long it takes."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import sim
from robots.base import LifeCycle
from robots.guard import StopError

OPTIONS = {"robot": {"failing": 0.0}, "own_process": True, "guard": {"ramp_s": 0.0}}
MOST_S = 120.0

ORPHAN = """
import sim, sys
env = sim.make("robot/twin", **{options})
env.reset(seed=0)
print(env.guard._process.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def env():
    env = sim.make("robot/twin", **OPTIONS)
    yield env
    env.close()


def wait_for(what):
    ends_s = time.monotonic() + MOST_S
    while not what():
        assert time.monotonic() < ends_s, "it did not happen"
        time.sleep(0.01)


def test_it_is_driven_as_any_other(env):
    before, _ = env.reset(seed=0)
    assert env.robot.life_cycle is LifeCycle.ACTIVE
    for _ in range(10):
        observation, _, _, truncated, info = env.step(np.array([1.0, 0, 0, 0, 0, 0]))
        assert not truncated, info
    target = env._actions._target[0]
    wait_for(lambda: abs(env.guard.get_observation()["shoulder_pan.pos"] - target) < 0.02)
    assert env.ticks > 0
    assert observation.keys() == before.keys()


def test_a_policy_that_falls_silent_leaves_the_arm_at_rest_and_then_stopped(env):
    env.reset(seed=0)
    env.step(np.array([1.0, 0, 0, 0, 0, 0]))
    wait_for(lambda: env.guard.at_rest)
    wait_for(lambda: env.guard.is_stopped)
    assert "no command for" in env.guard.reason
    _, _, _, truncated, info = env.step(np.zeros(6))
    assert truncated and "no command for" in info["error"]
    with pytest.raises(StopError, match="no command for"):
        env.reset(seed=1)
    env.guard.reset_stop()
    env.reset(seed=1)


def test_a_servo_process_that_is_killed_is_noticed():
    env = sim.make("robot/twin", **OPTIONS)
    env.reset(seed=0)
    os.kill(env.guard._process.pid, signal.SIGKILL)
    env.guard._process.join()
    _, _, _, truncated, info = env.step(np.zeros(6))
    assert truncated and "the servo process is gone" in info["error"]
    env.close()


def test_when_the_process_that_decides_is_killed_the_servo_process_ends():
    code = ORPHAN.format(options=OPTIONS)
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdin.close()
    parent.stdout.close()
    wait_for(lambda: not running(pid))


def running(pid):
    """Whether a process is there, and not only its remains that nobody has asked for."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
