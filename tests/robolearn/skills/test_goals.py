"""Frozen skills at work on a tabletop: goals are reached, followed, and put in order."""

from itertools import groupby

import numpy as np
import pytest

from robolearn.errors import UserError
from robolearn.skills.frozen import scripted_skills
from robolearn.skills.goals import (
    Follow,
    LeaveConfig,
    PathConfig,
    Rearrange,
    Towards,
)
from robolearn.skills.rearrangement import PlannerConfig
from sim import make_vec

LEAVE = LeaveConfig()


@pytest.fixture(scope="module")
def one():
    env = make_vec("tabletop/cube", 4, threads=1, goal="position", horizon=1000)
    yield env
    env.close()


@pytest.fixture(scope="module")
def alone():
    env = make_vec("tabletop/cube", 1, threads=1, goal="position", horizon=1000)
    yield env
    env.close()


@pytest.fixture(scope="module")
def two():
    env = make_vec("tabletop/cube+cube", 1, threads=1, goal="position", horizon=1000)
    yield env
    env.close()


def place(observation, env, name="cube"):
    return observation["state"][:, env.interface.observations["state"].index(f"{name}_pos")]


def away(observation, env, name="cube"):
    return np.linalg.norm(
        place(observation, env, name) - place(observation, env, f"goal_{name}"), axis=1
    )


def test_an_entry_that_an_action_does_not_have_is_named(one):
    with pytest.raises(UserError, match="leave.action: no entry 'hand_up'; .*hand_"):
        LeaveConfig(action={"hand_up": 1.0}).vector(one.interface)
    with pytest.raises(UserError, match="action.hand_z should be less than or equal to 1, not 2.0"):
        LeaveConfig(action={"hand_z": 2.0})


# following


def test_a_goal_waits_and_then_goes_along_its_path_at_its_speed():
    corners = ((0.0, 0.0, 0.1), (0.1, 0.0, 0.1), (0.1, 0.2, 0.1))
    goals = PathConfig(waypoints=corners, speed_m_s=0.05, wait_s=0.5).goals(0.1)
    assert len(goals) == 5 + 1 + 60  # 0.3 m at 5 mm a step
    np.testing.assert_array_equal(goals[:6], np.tile(corners[0], (6, 1)))
    np.testing.assert_allclose(goals[5 + 30], [0.1, 0.05, 0.1], atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(np.diff(goals[5:], axis=0), axis=1), 0.005)
    np.testing.assert_allclose(goals[-1], corners[-1])


def test_a_circle_is_one():
    path = PathConfig(centre_m=(0.05, 0.0, 0.03), radius_m=0.1)
    goals = path.goals(0.1)
    radius = np.linalg.norm(goals[:, :2] - (0.05, 0.0), axis=1)
    np.testing.assert_allclose(radius, 0.1, rtol=0.002)
    np.testing.assert_allclose(goals[0], goals[-1], atol=1e-9)
    assert (goals[:, 2] == 0.03).all() and path.waiting(0.1) == 30


def test_an_object_follows_a_goal(one):
    goals = PathConfig(speed_m_s=0.02, wait_s=4.0).goals(0.1)[:90]
    towards = Towards(scripted_skills(one.interface), one.interface, LeaveConfig(near_m=0.06))
    policy = Follow(towards, "cube", goals, 0.02)
    observation, _ = one.reset(seed=0)
    policy.reset(4)
    for _ in goals:
        observation, *_ = one.step(policy.act(observation))
    errors = np.linalg.norm(place(observation, one) - goals[-1], axis=1)
    assert np.median(errors) < 0.03
    moved = np.linalg.norm(goals[-1] - goals[0])
    assert moved > 0.09  # so that staying at the first goal would not do


def test_an_object_that_stays_behind_is_left_for_a_new_attempt(one):
    config = LeaveConfig(near_m=0.06, patience_steps=3, steps=2)
    towards = Towards(scripted_skills(one.interface), one.interface, config)
    observation, _ = one.reset(seed=0)
    goals = np.tile(place(observation, one)[:1], (9, 1))  # the first is there, whatever is done
    policy = Follow(towards, "cube", goals, 0.02)
    policy.reset(4)
    actions = np.stack([policy.act(observation) for _ in goals])  # [T, N, A]
    left = (actions == towards.leave).all(axis=2)
    assert left[:, 1].tolist() == [0, 0, 0, 1, 1, 0, 0, 0, 0]
    assert (actions[:, 0] == 0).all()  # the hand stays still


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("waypoints", ((0.0, 0.0, 0.0),)),
        ("radius_m", 0.0),
        ("speed_m_s", 0.0),
        ("wait_s", -1.0),
        ("still_m", -0.1),
    ],
)
def test_paths_out_of_range_are_named(setting, value):
    with pytest.raises(UserError, match=f"^{setting}.* should "):
        PathConfig(**{setting: value})


# rearranging


def rearranging(env, **settings):
    leave = LeaveConfig(**settings)
    towards = Towards(scripted_skills(env.interface), env.interface, leave)
    policy = Rearrange(towards, env.interface, PlannerConfig())
    policy.reset(1)
    return policy


def test_an_object_is_brought_to_its_goal_and_left_there(alone):
    policy = rearranging(alone)
    observation, _ = alone.reset(seed=0)
    for _ in range(60):
        observation, *_, info = alone.step(policy.act(observation))
    assert info["success"].all() and away(observation, alone)[0] < 0.05
    hand = alone.interface.observations["state"].index("hand_pos_z")
    assert observation["state"][0, hand] > 0.1
    np.testing.assert_array_equal(policy.act(observation), [[0, 0, 1, 0, -1]])


def test_two_objects_exchange_their_places(two):
    observation, _ = two.reset(seed=1)
    first, second = place(observation, two)[0], place(observation, two, "cube2")[0]
    observation = two.set_goals(np.array([[[*second, 0.0], [*first, 0.0]]]))
    policy = rearranging(two)
    for _ in range(200):
        observation, *_, info = two.step(policy.act(observation))
    assert info["success"].all()
    first, second, last = (name for name, _ in groupby(policy.moves))  # whatever is tried again
    assert first == last != second
    before = len(policy.moves)
    for _ in range(20):  # and then nothing is begun
        observation, *_ = two.step(policy.act(observation))
    assert len(policy.moves) == before


def test_a_move_that_takes_too_long_is_planned_anew(two):
    observation, _ = two.reset(seed=0)
    policy = rearranging(two, patience_steps=4, steps=3)
    actions = [policy.act(observation)[0] for _ in range(15)]  # nothing moves, whatever it does
    left = [(action == policy._towards.leave).all() for action in actions]
    assert left == [False] * 4 + [True] * 3 + [False] * 4 + [True] * 3 + [False]
    assert len(policy.moves) == 3


def test_one_plan_is_for_one_episode(two):
    with pytest.raises(ValueError, match="2 episodes at once"):
        rearranging(two).reset(2)
