"""Episodes that begin at an object."""

import numpy as np
import pytest

import sim
from robolearn.errors import UserError

N = 24
CLOSE = np.tile(np.array([0, 0, 0.2, 0, 1], np.float32), (N, 1))
OPEN = np.tile(np.array([0, 0, 0, 0, -1], np.float32), (N, 1))


def seen(env, observation, name):
    return observation["state"][:, env.interface.observations["state"].index(name)]


@pytest.fixture
def make():
    made = []

    def make(kind="cube", **options):
        made.append(sim.make_vec(f"tabletop/{kind}", N, threads=1, **options))
        return made[-1]

    yield make
    for env in made:
        env.close()


@pytest.mark.parametrize("kind", ["cube", "cylinder", "mug"])
def test_a_held_object_stays_in_a_hand_that_stays_closed(make, kind):
    env = make(kind, held_share=1.0)
    first, _ = env.reset(seed=list(range(N)))
    heights = seen(env, first, f"{kind}_pos")[:, 2]
    assert np.ptp(heights) > 0.1 and heights.min() > 0.02
    for _ in range(8):
        observation, _, terminated, _, info = env.step(CLOSE)
        assert not terminated.any()
    risen = seen(env, observation, f"{kind}_pos")[:, 2] - heights
    np.testing.assert_allclose(risen, 8 * 0.01, atol=0.02)
    for _ in range(8):
        observation, *_ = env.step(OPEN)
    assert seen(env, observation, f"{kind}_pos")[:, 2].max() < 0.1  # fell


def test_the_gripper_stays_as_it_is_between_two_clear_commands(make):
    env = make(held_share=1.0)
    env.reset(seed=list(range(N)))
    for entry, held in ((-0.2, True), (0.2, True), (-0.3, False), (0.2, False)):
        for _ in range(6):
            action = np.tile(np.array([0, 0, 0, 0, entry], np.float32), (N, 1))
            observation, *_ = env.step(action)
        opening = seen(env, observation, "gripper_opening")
        assert (opening < 0.052).all() if held else (opening > 0.06).all(), entry


def test_an_open_hand_begins_around_the_object_and_does_not_touch_it(make):
    env = make(near_share=1.0)
    first, _ = env.reset(seed=list(range(N)))
    away = seen(env, first, "hand_pos") - seen(env, first, "cube_pos")
    assert np.abs(away[:, :2]).max() < 0.013
    assert -1e-3 < away[:, 2].min() < 0.02 and 0.1 < away[:, 2].max() < 0.121
    observation, *_, info = env.step(OPEN)
    moved = seen(env, observation, "cube_pos") - seen(env, first, "cube_pos")
    assert np.abs(moved).max() < 2e-3
    assert info["reward_terms"]["table_force"].max() == 0


def test_shares_are_those_of_all_episodes_and_else_nothing_changes(make):
    plain, _ = make().reset(seed=list(range(N)))
    env = make(near_share=0.25, held_share=0.25)
    mixed, _ = env.reset(seed=list(range(N)))
    home = seen(env, mixed, "hand_pos")[:, 2] == seen(env, plain, "hand_pos")[:, 2]
    held = seen(env, mixed, "gripper_opening")[:, 0] < 0.06
    assert 0.25 < home.mean() < 0.75 and 0.05 < held.mean() < 0.5
    np.testing.assert_array_equal(mixed["state"][home], plain["state"][home])


@pytest.mark.parametrize("shares", [(-0.1, 0.0), (0.6, 0.6)])
def test_shares_that_cannot_be_are_named(shares):
    with pytest.raises(UserError, match="near_share, held_share"):
        sim.make("tabletop/cube", near_share=shares[0], held_share=shares[1])
