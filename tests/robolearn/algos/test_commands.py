"""The mismatch of commands, by hand and by brute force."""

import dataclasses
import tracemalloc

import numpy as np
import pytest

from robolearn.algos.commands import (
    AFTER,
    BEFORE,
    LAGS,
    RIDGE,
    TINY,
    CommandConfig,
    Commands,
    leverage,
    mismatch,
    switching,
    whole,
)
from robolearn.errors import UserError

CONFIG = CommandConfig()


def commanded(count=8, length=60, seed=0, noise=0.001):
    """Walk at random: states [T, 3] are positions, actions [T, 3] the next displacement."""
    rng = np.random.default_rng(seed)
    states, actions = [], []
    for _ in range(count):
        a = np.cumsum(rng.standard_normal((length, 3)), axis=0) / 8
        a = np.tanh(a)
        s = np.concatenate([np.zeros((1, 3)), np.cumsum(0.05 * a, axis=0)])[:-1]
        states.append(s + noise * rng.standard_normal(s.shape))
        actions.append(a)
    return states, actions


@pytest.fixture(scope="module")
def known():
    states, actions = commanded()
    return Commands(states, actions, CONFIG), states, actions


def features(commands, states):
    z = (states - commands.mean) / commands.sd
    rows = []
    for t in range(len(z)):
        moved = [z[min(max(t + lag, 0), len(z) - 1)] - z[t] for lag in LAGS]
        g = (np.concatenate([np.clip(z[t], -3, 3), *moved]) - commands.shift) / commands.scale
        rows.append(np.append(g, 1.0))
    return np.array(rows)


def inner(rows):
    """Leave the first 3 and the last 6 steps out."""
    return np.array([rows[t] for t in range(len(rows)) if 3 <= t < len(rows) - 6])


def inner_steps(actions):
    return sum(len(a) - 9 for a in actions)


def fit(commands, states, actions, total):
    g = np.concatenate([inner(features(commands, s)) for s in states])
    gram = g.T @ g + RIDGE * total * np.eye(g.shape[1])
    a = np.concatenate([inner(a) for a in actions])
    return np.linalg.solve(gram, g.T @ a), np.linalg.inv(gram)


def test_the_ends_of_a_demonstration_are_those_that_lags_reach_beyond():
    assert (BEFORE, AFTER) == (3, 6) and (min(LAGS), max(LAGS)) == (-3, 6)
    np.testing.assert_array_equal(whole(np.arange(19)), np.arange(3, 13))


def test_motion_is_standardised_by_what_is_known_whole(known):
    commands, states, _ = known
    z = [(s - commands.mean) / commands.sd for s in states]
    six_later = np.concatenate([inner(np.roll(s, -6, axis=0) - s) for s in z])
    np.testing.assert_allclose(commands.shift[-3:], six_later.mean(0), atol=1e-9)
    np.testing.assert_allclose(commands.scale[-3:], six_later.std(0))


def test_commands_are_a_ridge_regression(known):
    commands, states, actions = known
    total = inner_steps(actions)
    weights, inverse = fit(commands, states, actions, total)
    np.testing.assert_allclose(commands.weights, weights, atol=1e-8)
    g = features(commands, states[0])
    np.testing.assert_allclose(leverage(g, inverse), [r @ inverse @ r for r in g], rtol=1e-9)
    np.testing.assert_allclose(commands.expected(states[0]), g @ weights, atol=1e-8)


def test_the_bases_own_residuals_are_those_of_a_fit_without_it(known):
    commands, states, actions = known
    total = inner_steps(actions)
    errors, leverages = [], []
    for i in range(len(states)):
        rest = [j for j in range(len(states)) if j != i]
        weights, inverse = fit(
            commands, [states[j] for j in rest], [actions[j] for j in rest], total
        )
        g = inner(features(commands, states[i]))
        errors.append(inner(actions[i]) - g @ weights)
        leverages.append(np.array([r @ inverse @ r for r in g]))
    spread = np.concatenate(actions).std(0)
    mean = np.concatenate(leverages).mean()
    for own, error, h in zip(commands.own, errors, leverages, strict=True):
        distrust = np.sqrt(1 + (h / (3 * mean)) ** 2)
        np.testing.assert_allclose(own, error / (spread * distrust[:, None]), rtol=1e-5, atol=1e-7)


def test_the_bases_motion_is_never_held_at_once():
    rng = np.random.default_rng(0)
    states = [np.cumsum(rng.standard_normal((100, 40)), axis=0) for _ in range(30)]
    actions = [rng.uniform(-1, 1, (100, 2)) for _ in range(30)]
    tracemalloc.start()
    Commands(states, actions, CONFIG)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    all_of_it = 30 * 100 * 361 * 8  # bytes; products of it for each demonstration take more
    assert peak < 1.2 * all_of_it


def test_other_actions_than_those_of_the_motion_stand_out(known):
    commands, _, _ = known
    (states,), (actions,) = commanded(1, seed=5)
    usual = mismatch(commands.residuals(states, actions), commands.windows)
    reversed_ = actions * np.array([1.0, -1.0, 1.0])
    more = mismatch(commands.residuals(states, reversed_), commands.windows) - usual
    assert more[:, 1].min() > 2
    np.testing.assert_array_equal(more[:, [0, 2]], 0.0)


def test_motions_that_the_base_does_not_know_say_less(known):
    commands, states, actions = known
    weights, inverse = fit(commands, states, actions, inner_steps(actions))
    (new,), (wrong,) = commanded(1, seed=5)
    far = 5 * new
    g = features(commands, far)
    h = np.array([r @ inverse @ r for r in g])
    distrust = np.sqrt(1 + (h / (3 * commands.mean_leverage)) ** 2)
    expected = (wrong - g @ weights) / (commands.spread * distrust[:, None])
    np.testing.assert_allclose(commands.residuals(far, wrong), expected, rtol=1e-6, atol=1e-8)
    assert np.median(distrust) > 3


def test_what_is_typical_is_the_bases_median_or_a_tenth_of_the_spread():
    commands = Commands(*commanded(noise=0.01), CONFIG)
    worst = np.array([mismatch(r, commands.windows) for r in commands.own])
    floor = np.log(0.01)
    np.testing.assert_allclose(commands.typical, np.maximum(np.median(worst, axis=0), floor))
    assert (np.median(worst, axis=0) > floor).all()
    np.testing.assert_allclose(commands.own_excess, worst - commands.typical)
    still = np.full((19, 3), 1e-3)
    still[[0, 2, 13, 18]] = 9.0  # at the ends nothing counts
    np.testing.assert_allclose(
        commands.excess(still), mismatch(inner(still), commands.windows) - commands.typical
    )
    exact = [0.9 ** np.arange(40)[:, None] * np.array([[1.0 + i]]) for i in range(4)]
    moves = [-0.1 * s for s in exact]
    assert (Commands(exact, moves, CONFIG).typical == floor).all()


@pytest.mark.parametrize("noise", [0.0, 1e-5])
def test_a_state_entry_that_the_base_keeps_constant_says_nothing(noise):
    rng = np.random.default_rng(2)

    def with_constant(states, value):
        column = value + noise * rng.standard_normal((len(states), 1))
        return np.concatenate([states, column], axis=1)

    states, actions = commanded()
    commands = Commands([with_constant(s, 0.3) for s in states], actions, CONFIG)
    (new,), (right,) = commanded(1, seed=5)
    for acts in (right, right * np.array([1.0, -1.0, 1.0])):
        same, other = (
            commands.excess(commands.residuals(with_constant(new, value), acts)).max()
            for value in (0.3, 0.4)
        )
        assert other == pytest.approx(same, abs=0.05)


def with_entry(pairs, used, noise, seed=0):
    """Add an action entry that is ``used`` in steps 20 to 39, and the angle to which it leads."""
    rng = np.random.default_rng(seed)
    made = []
    for states, actions in zip(*pairs, strict=True):
        turn = noise * rng.standard_normal(len(actions))
        turn[20:40] += used
        angle = 0.2 + np.cumsum(0.1 * turn) + 1e-4 * rng.standard_normal(len(actions))
        made.append((np.column_stack([states, angle]), np.column_stack([actions, turn - 0.4])))
    return [s for s, _ in made], [a for _, a in made]


@pytest.mark.parametrize("seen", [True, False])
def test_an_entry_that_the_base_does_not_use_may_tremble_but_not_be_used(seen):
    def given(count, seed, used, noise):
        states, actions = with_entry(commanded(count, seed=seed), used, noise, seed)
        return (states if seen else [s[:, :3] for s in states]), actions

    commands = Commands(*given(8, 0, 0.0, 0.0), CONFIG)
    assert commands.used.tolist() == [True] * 3 + [False]
    for used, noise, found in ((0.0, 0.004, False), (0.0, 0.01, False), (0.3, 0.0, True)):
        (new,), (acts,) = given(1, 5, used, noise)
        excess = commands.excess(commands.residuals(new, acts))[:, 3].max()
        assert bool(excess > np.log(10)) == found
        expected = (acts[:, 3] + 0.4) / 0.1
        np.testing.assert_allclose(commands.residuals(new, acts)[:, 3], expected, atol=1e-9)
        np.testing.assert_allclose(commands.expected(new)[:, 3], -0.4)


def test_what_is_small_against_the_range_of_an_action_is_no_mismatch():
    states, actions = commanded()
    small = [a * np.array([1.0, 0.05, 1.0]) for a in actions]
    commands = Commands(states, small, CONFIG)
    spread = np.concatenate(small).std(0)
    assert 0.01 < spread[1] < 0.05 and commands.used.all()
    np.testing.assert_allclose(commands.spread, np.maximum(spread, 0.1))
    (new,), (acts,) = commanded(1, seed=5)
    acts = acts * np.array([1.0, 0.05, 1.0])
    trembling = acts + 0.01 * np.random.default_rng(1).standard_normal(acts.shape) * [0, 1, 0]
    reversed_ = acts * np.array([1.0, -1.0, 1.0])
    for given, found in ((acts, False), (trembling, False), (reversed_, True)):
        excess = commands.excess(commands.residuals(new, given))[:, 1].max()
        assert bool(excess > np.log(10)) == found


def test_far_from_the_base_reversed_commands_are_still_found(known):
    commands, states, _ = known
    (new,), (acts,) = commanded(1, seed=5)
    away = new + 6 * np.concatenate(states).std(0) * np.array([0.0, 0.0, 1.0])
    usual = commands.excess(commands.residuals(away, acts)).max()
    reversed_ = commands.excess(commands.residuals(away, acts * np.array([-1.0, 1.0, 1.0]))).max()
    assert usual < np.log(10) < reversed_


def test_mismatch_by_hand():
    residuals = np.array([[0.0, 1.0], [2.0, 1.0], [0.0, 3.0], [0.0, 1.0]])
    found = mismatch(residuals, (1, 2, 9))  # a window longer than the demonstration is all of it
    expected = np.log(np.array([[4.0, 9.0], [2.0, 5.0], [1.0, 3.0]]) + TINY)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_windows_follow_the_bases_length(known):
    commands, states, actions = known
    assert commands.windows == tuple(round(share * 60) for share in CONFIG.windows)
    other = dataclasses.replace(CONFIG, windows=(0.5,))
    assert Commands(states, actions, other).windows == (30,)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"windows": (0.1, 0.0)}, "windows"),
        ({"windows": ()}, "windows should have 1 or more entries"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        CommandConfig(**changes)


def test_a_gripper_switches_and_a_motion_does_not():
    actions = np.column_stack([np.linspace(-1, 1, 9), np.sign(np.linspace(-1, 1, 9))])
    assert switching(actions).tolist() == [False, True]
