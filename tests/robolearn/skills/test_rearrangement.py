"""Plans: by hand, and against all sequences of moves that there are."""

import itertools

import numpy as np
import pytest

from robolearn.errors import UserError
from robolearn.skills.rearrangement import PlannerConfig, distance_to_segment, plan

CONFIG = PlannerConfig()
COARSE = PlannerConfig(spacing_m=0.2)  # 3 x 3 places to put something aside


def follow(places, moves, config=CONFIG):
    """Give where all end; each move has to find its place free."""
    places = np.array(places, float)
    for index, place in moves:
        others = np.delete(places, index, axis=0)
        assert (np.linalg.norm(others - place, axis=1) >= config.clearance_m).all()
        places[index] = place
    return places


def cost(places, moves, config):
    """Give what moves cost, infinity where a place is not free."""
    places, total = np.array(places, float), 0.0
    for index, place in moves:
        others = np.delete(places, index, axis=0)
        if (np.linalg.norm(others - place, axis=1) < config.clearance_m).any():
            return np.inf
        line = places[index] + np.linspace(0, 1, 2001)[:, None] * (place - places[index])
        gaps = np.linalg.norm(line[:, None] - others, axis=-1).min(axis=0)  # [K - 1]
        total += np.linalg.norm(place - places[index]) + config.move_m
        total += config.blocked_m * (gaps < config.clearance_m).sum()
        places[index] = place
    return total


def names(moves):
    return [index for index, _ in moves]


def test_an_object_that_is_placed_is_left():
    assert plan(np.zeros((1, 2)), np.array([[0.0, 0.04]]), CONFIG) == []
    (only,) = plan(np.zeros((1, 2)), np.array([[0.0, 0.05]]), CONFIG)
    assert only.index == 0 and only.place.tolist() == [0.0, 0.05]


def test_a_goal_is_freed_first():
    places = np.array([[0.0, 0.0], [0.1, 0.1]])
    goals = np.array([[0.1, 0.1], [-0.1, 0.15]])
    moves = plan(places, goals, CONFIG)
    assert names(moves) == [1, 0]
    np.testing.assert_array_equal(follow(places, moves), goals)


@pytest.mark.parametrize("shift", [1, 2])
def test_a_cycle_needs_somebody_put_aside(shift):
    places = np.array([[-0.1, 0.0], [0.1, 0.1], [0.1, -0.1]])
    goals = np.roll(places, shift, axis=0)
    moves = plan(places, goals, CONFIG)
    assert len(moves) == 4 and len(set(names(moves))) == 3
    np.testing.assert_array_equal(follow(places, moves), goals)


def test_two_are_exchanged():
    places = np.array([[0.0, 0.15], [0.0, -0.15]])
    moves = plan(places, places[::-1].copy(), CONFIG)
    assert len(moves) == 3 and names(moves)[0] == names(moves)[2] != names(moves)[1]
    np.testing.assert_array_equal(follow(places, moves), places[::-1])


def test_what_is_on_the_way_goes_first_if_it_must_go_anyway():
    places = np.array([[0.0, -0.2], [0.0, 0.0]])
    goals = np.array([[0.0, 0.2], [0.15, 0.0]])
    assert names(plan(places, goals, CONFIG)) == [1, 0]
    aside = np.array([[0.0, 0.2], [0.0, 0.0]])  # it is at its goal: the way costs less than moves
    assert names(plan(places, aside, CONFIG)) == [0]


@pytest.mark.parametrize("seed", range(6))
def test_no_sequence_of_moves_is_cheaper(seed):
    rng = np.random.default_rng(seed)
    places, goals = (rng.uniform((-0.15, -0.2), (0.15, 0.2), (2, 2)) for _ in range(2))
    if seed % 2:
        goals = places[::-1] + rng.uniform(-0.02, 0.02, (2, 2))
    asides = COARSE.places()
    choices = [(k, spot) for k in (0, 1) for spot in (goals[k], *asides)]
    least = np.inf
    for length in range(4):
        for moves in itertools.product(choices, repeat=length):
            if (
                all(
                    np.linalg.norm([place for i, place in moves if i == k][-1] - goals[k])
                    < COARSE.placed_m
                    for k in set(names(moves))
                )
                and len(set(names(moves))) == 2
            ):
                least = min(least, cost(places, moves, COARSE))
    assert np.isfinite(least)
    found = plan(places, goals, COARSE)
    assert cost(places, found, COARSE) == pytest.approx(least, abs=1e-9)


def test_goals_in_each_others_way_are_an_error_of_one_line():
    with pytest.raises(UserError, match="no plan: goals are less than clearance_m = 0.08 apart"):
        plan(np.array([[-0.1, 0], [0.1, 0]]), np.array([[0, 0.1], [0, 0.15]]), COARSE)


def test_the_distance_to_a_line_ends_with_it():
    a, b = np.array([0.0, 0.0]), np.array([2.0, 0.0])
    for point, distance in (((1, 3), 3), ((-3, 4), 5), ((5, -4), 5), ((2, 0), 0)):
        assert distance_to_segment(np.array(point, float), a, b) == pytest.approx(distance)
    assert distance_to_segment(np.array([3.0, 4.0]), a, a) == pytest.approx(5)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("placed_m", 0.0), ("clearance_m", 0.0), ("move_m", 0.0), ("blocked_m", -1.0),
     ("spacing_m", 0.0)],
)  # fmt: skip
def test_settings_out_of_range_are_named(setting, value):
    with pytest.raises(UserError, match=f"^{setting} should be greater than "):
        PlannerConfig(**{setting: value})


def test_places_have_an_extent():
    with pytest.raises(UserError, match=r"low_m: \(-0.15, -0.2\) is above high_m, \(0.0, -0.3\)"):
        PlannerConfig(high_m=(0.0, -0.3))
