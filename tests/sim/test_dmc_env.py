"""dm_control's suite: the same physics, tasks and rewards as there."""

import numpy as np
import pytest
from dm_control import suite

import sim
from robolearn.errors import UserError


def test_an_episode_is_dm_controls_own():
    env = sim.make("dmc/cheetah-run")
    env.reset(seed=4)
    theirs = suite.load("cheetah", "run")
    theirs.reset()
    size = env.mujoco_state_size
    with theirs.physics.reset_context():
        theirs.physics.data.qpos[:] = env.data.qpos
        theirs.physics.data.qvel[:] = env.data.qvel
        theirs.physics.data.time = env.data.time
    rng = np.random.default_rng(0)
    for _ in range(20):
        action = rng.uniform(-1, 1, 6).astype(np.float32)
        _, reward, _, _, _ = env.step(action)
        expected = theirs.step(action.astype(np.float64))
        np.testing.assert_allclose(
            env.get_state()[1:size], theirs.physics.get_state(), rtol=0, atol=1e-9
        )
        assert reward == pytest.approx(expected.reward, abs=1e-9)


def test_state_entries_are_named_and_chosen():
    env = sim.make("dmc/walker-walk", state=("height", "velocity"))
    observation, _ = env.reset(seed=0)
    names = env.interface.observations["state"].names
    assert names == ("height", *(f"velocity_{i}" for i in range(9)))
    assert observation["state"][0] == np.float32(env.dm_physics.torso_height())
    with pytest.raises(UserError, match="unknown state entry 'heigth'; did you mean 'height'"):
        sim.make("dmc/walker-walk", state=("heigth",))


def test_the_tasks_own_time_limit_and_its_success():
    env = sim.make("dmc/cartpole-balance", success_reward=0.5)
    env.reset(seed=0)
    info = env.step(np.zeros(1, np.float32))[4]
    assert info["success"]  # the pole starts upright
    for _ in range(998):
        truncated = env.step(np.zeros(1, np.float32))[3]
        assert not truncated
    assert env.step(np.zeros(1, np.float32))[3]


def test_a_task_that_ends_by_itself_terminates():
    env = sim.make("dmc/lqr-lqr_2_1")
    env.reset(seed=0)
    state = env.get_state()
    state[1 : env.mujoco_state_size] = 0  # at rest at the origin: the task's goal
    env.set_state(state)
    _, _, terminated, truncated, _ = env.step(np.zeros(1, np.float32))
    assert terminated and not truncated
