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


@pytest.mark.parametrize(("name", "shared"), [("walker-walk", True), ("reacher-easy", False)])
def test_a_twin_lives_on_its_own(name, shared):
    env, alone = (sim.make(f"dmc/{name}", horizon=3) for _ in range(2))
    twin = env.twin()
    assert (twin.model._address == env.model._address) == shared
    seen, expected = twin.reset(seed=1)[0], alone.reset(seed=1)[0]
    rng = np.random.default_rng(0)
    for _ in range(4):  # beyond the end of an episode: resets draw from generators of their own
        np.testing.assert_array_equal(seen["state"], expected["state"])
        env.reset(seed=2)
        action = rng.uniform(-1, 1, env.action_space.shape)
        env.step(-action)
        (seen, *rest), (expected, *own) = twin.step(action), alone.step(action)
        assert rest == own
        if rest[2]:
            seen, expected = twin.reset()[0], alone.reset()[0]
    np.testing.assert_array_equal(twin.get_state(), alone.get_state())
    env.close()
    twin.step(action)  # the shared model outlives the environment that it came from


@pytest.mark.parametrize("name", ["walker-walk", "hopper-hop"])  # the second has touch sensors
def test_rewards_and_observations_are_of_the_present(name):
    env = sim.make(f"dmc/{name}")
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    for _ in range(5):
        seen, reward, *_ = env.step(rng.uniform(-1, 1, env.action_space.shape))
    np.testing.assert_array_equal(env.set_state(env.get_state())["state"], seen["state"])
    assert env._task.get_reward(env.dm_physics) == reward


def test_an_action_can_be_held_and_rewards_add_up():
    env, plain = sim.make("dmc/cartpole-balance", action_repeat=4), sim.make("dmc/cartpole-balance")
    env.reset(seed=1), plain.reset(seed=1)
    rng = np.random.default_rng(0)
    for _ in range(3):
        action = rng.uniform(-1, 1, 1).astype(np.float32)
        observation, reward, *_, info = env.step(action)
        moved = [plain.step(action) for _ in range(4)]
        np.testing.assert_array_equal(observation["state"], moved[-1][0]["state"])
        assert reward == info["reward_terms"]["task"] == sum(step[1] for step in moved)
    assert env.horizon == 250 and env.interface.period_s == 4 * plain.interface.period_s
    short = sim.make("dmc/cartpole-balance", action_repeat=4, horizon=2)
    assert short.horizon == 2
    batch = sim.make_vec("dmc/cartpole-balance", 2, threads=1, action_repeat=4, horizon=2)
    short.reset(seed=3), batch.reset(seed=[3, 3])
    for last in (False, True):
        assert short.step(action)[3] is last
        _, rewards, _, truncated, _ = batch.step(np.stack([action] * 2))
        assert truncated.tolist() == [last] * 2 and 3 < rewards[0] <= 4
    batch.close()
    with pytest.raises(UserError, match="action_repeat=0 must be a whole number"):
        sim.make("dmc/cartpole-balance", action_repeat=0)
