"""Every corruption does what it says, and nothing else."""

import numpy as np
import pytest

from demos.study.corruptions import CORRUPTIONS, EARLY, FROZEN, LATE, PAUSE, Spoiler

T = 100
VELOCITY, ABSOLUTE = Spoiler(gripper=2), Spoiler(gripper=2, absolute=True)


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    states = np.cumsum(rng.standard_normal((T, 2)), axis=0)
    actions = np.column_stack(
        [rng.uniform(-1, 1, T), 0.1 * rng.uniform(-1, 1, T), np.where(np.arange(T) < 60, -1.0, 1.0)]
    )
    return states, actions


def spoilt(name, pair, spoiler=VELOCITY, other=None):
    before = [array.copy() for array in pair]
    found = CORRUPTIONS[name](spoiler, pair, other, np.random.default_rng(1))
    for array, kept in zip(pair, before, strict=True):
        np.testing.assert_array_equal(array, kept)  # what was given is left alone
    assert len(found[0]) == len(found[1]) and np.abs(found[1]).max() <= 1
    return found


@pytest.mark.parametrize("name, entry", [("one entry mirrored", 0), ("a small entry mirrored", 1)])
def test_one_entry_is_mirrored(pair, name, entry):
    states, actions = spoilt(name, pair)
    signs = np.ones(3)
    signs[entry] = -1
    np.testing.assert_array_equal(actions, pair[1] * signs)
    assert states is pair[0]


def test_a_place_is_mirrored_about_its_mean(pair):
    moved = pair[1] * 0.3 + np.array([0.2, 0.1, 0.0])
    _, actions = spoilt("one entry mirrored", (pair[0], moved), ABSOLUTE)
    np.testing.assert_allclose(actions[:, 0], 2 * moved[:, 0].mean() - moved[:, 0])


def test_actions_come_late(pair):
    _, actions = spoilt("actions late", pair)
    np.testing.assert_array_equal(actions[LATE:], pair[1][:-LATE])
    np.testing.assert_array_equal(actions[:LATE], np.tile(pair[1][0], (LATE, 1)))


def test_actions_freeze_for_a_while(pair):
    _, actions = spoilt("actions frozen", pair)
    changed = np.flatnonzero((actions != pair[1]).any(axis=1))
    assert len(changed) == FROZEN - 1 and np.ptp(changed) == FROZEN - 2
    assert (actions[changed] == actions[changed[0]]).all()


@pytest.mark.parametrize("spoiler", [VELOCITY, ABSOLUTE])
def test_a_pause_is_put_in(pair, spoiler):
    states, actions = spoilt("a pause", pair, spoiler)
    assert len(states) == T + PAUSE
    still = np.flatnonzero((np.diff(states, axis=0) == 0).all(axis=1))
    start = still[0]
    assert len(still) == PAUSE and 10 <= start < 90
    rest = actions[start : start + PAUSE]
    expected = pair[1][start] if spoiler.absolute else pair[1][start] * [0, 0, 1]
    np.testing.assert_array_equal(rest, np.tile(expected, (PAUSE, 1)))
    gone = np.delete(states, slice(start, start + PAUSE), axis=0)
    np.testing.assert_array_equal(gone, pair[0])


@pytest.mark.parametrize("spoiler", [VELOCITY, ABSOLUTE])
def test_half_the_speed_is_the_same_path(pair, spoiler):
    states, actions = spoilt("half the speed", pair, spoiler)
    np.testing.assert_allclose(states[::2], pair[0])
    np.testing.assert_allclose(states[1:-1:2], (pair[0][1:] + pair[0][:-1]) / 2)
    factor = 1.0 if spoiler.absolute else 0.5
    np.testing.assert_allclose(actions[::2, :2], factor * pair[1][:, :2])
    assert set(actions[:, 2]) == {-1.0, 1.0}


def test_actions_are_shuffled(pair):
    _, actions = spoilt("actions shuffled", pair)
    assert not np.array_equal(actions, pair[1])
    np.testing.assert_array_equal(np.sort(actions, axis=0), np.sort(pair[1], axis=0))


@pytest.mark.parametrize("steps", [30, 200])
def test_anothers_actions_take_their_place(pair, steps):
    other = np.random.default_rng(5).uniform(-1, 1, (steps, 3))
    _, actions = spoilt("another's actions", pair, other=other)
    expected = other[np.minimum(np.arange(T), steps - 1)]
    np.testing.assert_array_equal(actions, expected)


def test_the_gripper_comes_early(pair):
    _, actions = spoilt("gripper early", pair)
    assert (actions[:, 2] > 0).argmax() == 60 - EARLY
    np.testing.assert_array_equal(actions[:, :2], pair[1][:, :2])
