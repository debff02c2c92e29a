"""Operators of robosuite's door: one opens it, one leaves it shut."""

import numpy as np
import pytest

import sim
from demos.operators import make_operator, require_operator
from robolearn.errors import SpecError, UserError
from robolearn.loops.rollout import rollout

TASK = "robosuite/Door"


@pytest.fixture(scope="module")
def env():
    env = sim.make(TASK, horizon=200)
    yield env
    env.close()


def operator(name, interface):
    return make_operator(TASK, name, interface, np.random.default_rng(0))


def test_the_door_is_opened_and_left_shut(env):
    door = operator("open", env.interface)
    assert rollout(env, door, horizon=200, seed=0).success
    episode = rollout(env, operator("wait", env.interface), horizon=60, seed=0)
    names = env.interface.observations["state"]
    last = episode.observations["state"][-1]
    assert abs(last[names.index("hinge_qpos")]).max() < 1e-3
    above = -last[names.index("handle_to_eef_pos")]
    np.testing.assert_allclose(above, [0.0, 0.0, 0.1], atol=0.02)


def test_what_does_not_fit_is_said(env):
    with pytest.raises(UserError, match="operator 'opne'; did you mean 'open'"):
        require_operator(TASK, "opne")
    with pytest.raises(SpecError, match="no entry 'handle_to_eef_pos'"):
        operator("open", sim.make("dmc/cartpole-balance").interface)
