"""The order of calls: what comes before the first reset, after closing, without a render mode."""

import re
from pathlib import Path

import numpy as np
import pytest

import sim
from robolearn.errors import UserError

ARM = str(Path(__file__).parents[1] / "models" / "arm.xml")
FAMILIES = [  # one environment of every kind, quick to make
    ("robosuite/Lift", {}),
    ("dmc/cartpole-swingup", {}),
    (f"mujoco/{ARM}", {}),
    ("gym/CartPole-v1", {}),
    ("gym/HalfCheetah-v5", {}),
    ("tabletop/cube", {"goal": "pose"}),
]


@pytest.fixture(params=FAMILIES, ids=lambda case: f"{case[0].split('/')[-1]}")
def fresh(request):
    """An environment that has just been made."""
    name, options = request.param
    env = sim.make(name, **options)
    yield env
    env.close()


def test_before_the_first_reset_nothing_can_be_done_but_that(fresh):
    where = re.escape(fresh.interface.environment)
    still = np.zeros(fresh.action_space.shape, np.float32)
    calls = {
        "its first step": lambda: fresh.step(still),
        "its state is read": fresh.get_state,
        "it is rendered": fresh.render,
    }
    if fresh.interface.environment.startswith("tabletop"):
        calls["its goals are set"] = lambda: fresh.set_goals(np.zeros((1, 4)))
    for what, call in calls.items():
        with pytest.raises(UserError, match=f"^{where}: reset the environment before {what}$"):
            call()
    with pytest.raises(UserError):
        fresh.reset(seed=-1)
    with pytest.raises(UserError, match="before its first step"):  # that was none
        fresh.step(still)
    fresh.reset(seed=0)
    fresh.step(still)


def test_a_stored_state_begins_an_episode_too(fresh):
    name, options = next(case for case in FAMILIES if case[0] == fresh.interface.environment)
    other = sim.make(name, **options)
    other.reset(seed=0)
    fresh.set_state(other.get_state())
    fresh.step(np.zeros(fresh.action_space.shape, np.float32))
    other.close()


def test_a_closed_environment_says_so_and_closing_twice_does_nothing(fresh):
    where = re.escape(fresh.interface.environment)
    fresh.reset(seed=0)
    state = fresh.get_state()
    fresh.close()
    fresh.close()
    calls = (
        fresh.reset,
        lambda: fresh.reset(options={"state": state}),
        lambda: fresh.step(np.zeros(fresh.action_space.shape, np.float32)),
        fresh.get_state,
        lambda: fresh.set_state(state),
        fresh.render,
    )
    for call in calls:
        with pytest.raises(UserError, match=f"^{where}: this environment is closed; make another"):
            call()


def test_without_a_render_mode_nothing_is_rendered_and_a_warning_says_how(fresh):
    fresh.reset(seed=0)
    with pytest.warns(UserWarning, match=r'rendered without make\(..., render_mode="rgb_array"\)'):
        assert fresh.render() is None
    assert fresh.render_mode is None


def test_an_ended_episode_may_be_stepped_on():
    env = sim.make("dmc/pendulum-swingup", horizon=1)
    env.reset(seed=0)
    assert [env.step(np.zeros(1, np.float32))[3] for _ in range(2)] == [True, True]
    env.close()
