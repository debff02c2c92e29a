"""Meta-World's experts as operators: what they need, and that they can do the tasks."""

import warnings

import numpy as np
import pytest

import sim
from demos.operators import make_operator, require_operator
from robolearn.errors import SpecError, UserError
from robolearn.loops.rollout import rollout
from robolearn.types import Policy

PAPER = [  # the tasks of RAT
    f"metaworld/{thing}-v3"
    for thing in (
        "door-lock", "door-unlock", "drawer-close", "drawer-open", "faucet-close", "faucet-open",
        "window-close", "window-open",
    )
]  # fmt: skip


@pytest.fixture(autouse=True)
def metaworld():
    return pytest.importorskip("metaworld", reason="Meta-World is not installed")


def expert(env):
    name = env.interface.environment
    return make_operator(name, "expert", env.interface, np.random.default_rng(0))


@pytest.mark.parametrize("task", PAPER)
def test_the_expert_succeeds_without_a_warning(task):
    env = sim.make(task)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        episode = rollout(env, expert(env), horizon=500, seed=3)
    assert episode.success
    assert np.abs(episode.actions).max() == 1.0
    env.close()


def test_every_task_has_an_expert():
    env = sim.make(PAPER[0])
    for task in sim.available("metaworld"):
        assert make_operator(task, "expert", env.interface, np.random.default_rng(0)).memoryless


def test_a_batch_acts_row_by_row(metaworld):
    env = sim.make("metaworld/hammer-v3")
    policy = expert(env)
    policy.reset(2)
    assert isinstance(policy, Policy)
    states = np.stack([env.reset(seed=seed)[0]["state"] for seed in (0, 1)])
    together = policy.act({"state": states})
    assert together.shape == (2, 4) and together.dtype == np.float32
    theirs = metaworld.policies.ENV_POLICY_MAP["hammer-v3"]()
    for row, state in zip(together, states, strict=True):
        np.testing.assert_array_equal(policy.act({"state": state[None]})[0], row)
        with warnings.catch_warnings(action="ignore"):
            np.testing.assert_array_equal(np.clip(theirs.get_action(np.float64(state)), -1, 1), row)


def test_a_hidden_goal_and_a_foreign_interface_are_refused():
    hidden = sim.make(PAPER[0], partially_observable=True)
    for env in (hidden, sim.make("gym/CartPole-v1")):
        with pytest.raises(
            SpecError, match="^metaworld/door-lock-v3: the expert needs Meta-World's"
        ):
            make_operator(PAPER[0], "expert", env.interface, np.random.default_rng(0))


def test_unknown_tasks_and_operators_are_refused():
    env = sim.make(PAPER[0])
    with pytest.raises(UserError, match="no expert for task 'door-lok-v3'; did you mean 'door-loc"):
        make_operator("metaworld/door-lok-v3", "expert", env.interface, np.random.default_rng(0))
    with pytest.raises(
        UserError, match="unknown operator 'base'; Meta-World's tasks have one: exp"
    ):
        require_operator(PAPER[0], "base")
    with pytest.raises(UserError, match="unknown operator style 'expert'"):
        require_operator("robosuite/Lift", "expert")
    require_operator(PAPER[0], "expert")
    require_operator("robosuite/Lift", "base")
