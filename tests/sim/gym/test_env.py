"""gymnasium's environments: their spaces and states in the project's terms."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

import sim
from robolearn.errors import UserError
from sim.gym.spaces import ObservationReader, action_decoder


def test_numbers_become_the_state_and_images_keep_their_names():
    space = spaces.Dict(
        {
            "eye": spaces.Box(0, 255, (4, 5, 3), np.uint8),
            "pose": spaces.Box(-1, 1, (2,), np.float64),
            "gear": spaces.Discrete(3),
        }
    )
    read = ObservationReader(space, "here")
    assert read.specs["state"].names == ("gear_0", "gear_1", "gear_2", "pose_0", "pose_1")
    image = np.full((4, 5, 3), 7, np.uint8)
    seen = read({"eye": image, "pose": np.array([0.5, -0.5]), "gear": 1})
    np.testing.assert_array_equal(seen["eye"], image)
    np.testing.assert_array_equal(seen["state"], np.float32([0, 1, 0, 0.5, -0.5]))


def test_an_image_alone_is_called_image():
    read = ObservationReader(spaces.Box(0, 255, (4, 5, 3), np.uint8), "here")
    assert list(read(np.zeros((4, 5, 3), np.uint8))) == list(read.specs) == ["image"]


@pytest.mark.parametrize(
    ("space", "action", "expected"),
    [
        (spaces.Box(np.float32([-2, 0]), np.float32([2, 10])), [0.5, -1], [1, 0]),
        (spaces.Box(-np.inf, np.inf, (1, 2)), [0.5, -1], [[0.5, -1]]),
        (spaces.Discrete(3, start=5), [0.1, 0.9, -1], 6),
        (spaces.MultiDiscrete([2, 3]), [0.1, 0.9, -1, 0, 1], [1, 2]),
        (spaces.MultiBinary(3), [0.1, 0, -1], [1, 0, 0]),
    ],
)
def test_actions_are_decoded(space, action, expected):
    spec, decode = action_decoder(space, "here")
    action = np.array(action, np.float64)
    assert spec.shape == action.shape
    decoded = decode(action)
    np.testing.assert_array_equal(decoded, expected)
    assert space.contains(decoded)


def test_other_spaces_are_refused():
    with pytest.raises(UserError, match="here: actions of kind Text"):
        action_decoder(spaces.Text(3), "here")
    with pytest.raises(UserError, match="here: observations of kind Text"):
        ObservationReader(spaces.Dict({"a": spaces.Text(3)}), "here")


def test_steps_are_gymnasiums_own():
    env, theirs = sim.make("gym/Pendulum-v1"), gymnasium.make("Pendulum-v1")
    env.reset(seed=0)
    theirs.reset(seed=0)
    theirs.unwrapped.state = env.get_state()[:-1].copy()
    for action in np.linspace(-1, 1, 5, dtype=np.float32):
        observation, reward, _, _, info = env.step(np.array([action]))
        expected = theirs.step(np.array([2 * action]))
        np.testing.assert_allclose(observation["state"], expected[0], rtol=1e-6)
        assert reward == pytest.approx(expected[1]) == info["reward_terms"]["task"]


def test_reward_terms_are_those_the_environment_reports():
    env = sim.make("gym/HalfCheetah-v5")
    env.reset(seed=0)
    _, reward, _, _, info = env.step(env.action_space.sample())
    assert reward == pytest.approx(sum(info["reward_terms"].values()), rel=1e-6)
    assert set(info["reward_terms"]) == {"reward_forward", "reward_ctrl"}


def test_observations_of_mujoco_environments_do_not_lag():
    env = sim.make("gym/Reacher-v5")
    env.reset(seed=0)
    observation = env.step(np.ones(2, np.float32))[0]["state"]
    expected = env.data.body("fingertip").xpos - env.data.body("target").xpos
    np.testing.assert_allclose(observation[-2:], expected[:2], rtol=1e-6)
    env.set_state(env.get_state())
    np.testing.assert_allclose(observation[-2:], expected[:2], rtol=1e-6)


def test_a_hidden_state_is_an_error_that_says_so():
    env = sim.make("gym/Blackjack-v1")
    observation, _ = env.reset(seed=0)
    assert observation["state"].shape == env.observation_space["state"].shape
    with pytest.raises(UserError, match="gym/Blackjack-v1: the state of this environment cannot"):
        env.get_state()


def test_options_of_the_environment_and_cameras():
    env = sim.make("gym/CartPole-v1", env_options={"sutton_barto_reward": True})
    env.reset(seed=0)
    assert env.step(np.float32([1, 0]))[1] == 0.0
    with pytest.raises(UserError, match="unexpected keyword argument 'foo'"):
        sim.make("gym/CartPole-v1", env_options={"foo": 1})
    for wrong, said in {
        3: "env_options=3 must be a mapping of names to values",
        "render_mode": "'render_mode' is no env_options but an option itself, render_mode=",
        "max_episode_steps": "'max_episode_steps' is no env_options but an option itself, horizon=",
    }.items():
        with pytest.raises(UserError, match=f"^gym/CartPole-v1: {said}$"):
            sim.make("gym/CartPole-v1", env_options=wrong if wrong == 3 else {wrong: "human"})
    with pytest.raises(UserError, match="horizon=0 must be a whole number, 1 or more"):
        sim.make("gym/CartPole-v1", horizon=0)
    with pytest.raises(UserError, match="cameras need an environment with a MuJoCo model"):
        sim.make("gym/CartPole-v1", cameras=("free",))
