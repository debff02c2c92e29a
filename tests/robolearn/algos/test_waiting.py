"""Waits before switches, by hand."""

import numpy as np
import pytest

from robolearn.algos.progress import Progress, ProgressConfig
from robolearn.algos.waiting import WaitingConfig, Waits, values_of, waiting
from robolearn.errors import UserError


def walk(waits=0, pace=1.0, where=20, y=0.0):
    """Go 40 units along x; at ``where`` the hand closes, after so many steps at rest.

    States [T, 2], actions [T, 2]: the move, and the hand's command.
    """
    x = np.arange(0.0, 40.0, pace)
    at = int(np.searchsorted(x, where))
    x = np.concatenate([x[:at], np.full(waits, x[at]), x[at:]])
    states = np.column_stack([x, np.full(len(x), y)])
    closed = np.where(np.arange(len(x)) < at + waits, -1.0, 1.0)
    moves = np.gradient(x) + 0.2 * np.sin(np.arange(len(x)))  # of many values
    return states, np.column_stack([moves / 10, closed])


@pytest.fixture(scope="module")
def waits():
    states, actions = zip(*[walk(y=0.5 * i) for i in range(6)], strict=True)
    return Waits(Progress(states, ProgressConfig(), actions), states, actions, WaitingConfig())


def waits_of(waits, states, actions):
    z = waits.progress.standardise(states)
    return waits.before_switches(z, waits.progress.expected_at(z), actions)


def waited(waits, states, actions):
    return waits.share(waiting(waits_of(waits, states, actions), len(actions)))


def test_what_switches_is_found_and_the_base_does_not_wait(waits):
    assert waits.values == {1: (-1.0, 1.0)}
    assert waits.of_base == [0.0] * 6


def test_an_entry_switches_that_takes_two_values():
    """One that never moves does not, nor a key's, nor one of any value."""
    two, one, key, keys = (
        [-1.0, 1.0, 1.0, -1.0],
        [0.5] * 4,
        [0.0, 0.4, 0.4, 0.0],
        [-1.0, 0.0, 1.0, 0.0],
    )
    every = np.column_stack([two, one, key, keys, [0.1, 0.2, 0.3, 0.4]])
    assert values_of(every) == {0: (-1.0, 1.0)}


def test_a_newcomers_commands_are_taken_to_the_nearer_value(waits):
    states, actions = walk(waits=8, y=1.0)
    trembling = actions.copy()
    trembling[:, 1] += 0.1 * np.sin(np.arange(len(actions)))
    assert [w.switch for w in waits_of(waits, states, trembling)] == [28]


def test_w_by_hand(waits):
    """Eight rests at one place, and one step of a quarter of h away from it that is none."""
    states, actions = walk(waits=8, y=1.0)
    (found,) = waits_of(waits, states, actions)
    assert (found.entry, found.switch, found.since) == (1, 28, 0)
    np.testing.assert_allclose(found.rests[20:], 1.0)
    assert not found.rests[:20].any()  # it moves there
    assert found.steps == 8 and waited(waits, states, actions) == pytest.approx(8 / 40)
    states[22:25, 1] += 0.3  # away from the place, at rest but for the step there and back
    z = waits.progress.standardise(states)
    (found,) = waits_of(waits, states, actions)
    near = np.exp(-np.square(z[22] - z[28]).sum() / 2 / (0.25 * waits.progress.width) ** 2)
    assert 0.01 < near < 0.99
    np.testing.assert_allclose(found.rests[20:], [1, 0, near, near, 0, 1, 1, 1], rtol=1e-6)


def test_who_is_slow_does_not_rest(waits):
    for pace in (0.5, 0.3, 0.1):
        states, actions = walk(pace=pace)
        assert waited(waits, states, actions) == 0.0
        states, actions = walk(waits=10, pace=pace)
        assert waits_of(waits, states, actions)[0].steps >= 10


def test_each_switch_has_its_own_wait(waits):
    states, actions = walk(waits=5)
    states, actions = np.repeat(states, [1] * 35 + [7] + [1] * 9, axis=0), actions.copy()
    actions = np.repeat(actions, [1] * 35 + [7] + [1] * 9, axis=0)
    actions[41:, 1] = -1.0
    first, second = waits_of(waits, states, actions)
    assert (first.since, first.switch, second.since, second.switch) == (0, 25, 25, 41)
    assert first.steps == pytest.approx(5) and second.steps == pytest.approx(6)


def test_who_rests_for_most_of_the_time_still_waits(waits):
    states, actions = walk(waits=8, y=1.0)
    longer = [1] * (len(states) - 1) + [61]
    states, actions = (np.repeat(array, longer, axis=0) for array in (states, actions))
    assert waited(waits, states, actions) == pytest.approx(8 / 40)


def test_two_grippers_that_close_at_once_wait_once():
    pairs = [walk(y=0.5 * i) for i in range(6)]
    states, actions = [s for s, _ in pairs], [np.column_stack([a, a[:, 1]]) for _, a in pairs]
    waits = Waits(Progress(states, ProgressConfig(), actions), states, actions, WaitingConfig())
    states, actions = walk(waits=8, y=1.0)
    assert len(waits.values) == 2
    both = np.column_stack([actions, actions[:, 1]])
    assert waited(waits, states, both) == pytest.approx(8 / 40)


def test_without_an_entry_that_switches_there_is_nothing_to_wait_for():
    pairs = [walk(y=0.5 * i) for i in range(4)]
    states, actions = [s for s, _ in pairs], [a[:, :1] for _, a in pairs]
    waits = Waits(Progress(states, ProgressConfig(), actions), states, actions, WaitingConfig())
    assert waits.values == {} and waited(waits, states[0], actions[0]) == 0.0


@pytest.mark.parametrize("name", ["at_rest", "bandwidth"])
def test_settings_that_make_no_sense_are_refused(name):
    with pytest.raises(UserError, match=f"{name} should be greater than 0"):
        WaitingConfig(**{name: 0.0})
