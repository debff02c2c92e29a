"""The measures of harm, by hand and by brute force."""

import dataclasses

import numpy as np
import pytest

from robolearn.algos.harm import (
    LAGS,
    RIDGE,
    TINY,
    Commands,
    HarmConfig,
    Progress,
    leverage,
    mismatch,
    steps,
)
from robolearn.errors import UserError

CONFIG = HarmConfig(neighbours=3)
SPEED = 0.05


def walks(count=6, length=40, speed=SPEED, seed=0):
    """Walk along x from about 0, with a little noise across: states [T, 2] each."""
    rng = np.random.default_rng(seed)
    along = speed * np.arange(length)
    return [
        np.column_stack([along + 0.02 * rng.standard_normal(), np.full(length, 0.1 * i / count)])
        for i in range(count)
    ]


def brute_force(progress, states, base_states):
    """Give what d is computed from, as the docstring of the module has it."""
    config, k = progress.config, progress.look_ahead
    pooled = np.concatenate(base_states)
    z_of = lambda s: np.clip((s - pooled.mean(0)) / np.maximum(pooled.std(0), 0.01), -3, 3)  # noqa: E731
    ahead = lambda z, t: z[min(t + k, len(z) - 1)] - z[t]  # noqa: E731
    base = [z_of(s) for s in base_states]
    moved = np.array([ahead(z, t) for z in base for t in range(len(z))])
    return z_of(states), np.concatenate(base), moved, moved.std(0) + 0.01, ahead, config


def test_progress_by_brute_force():
    base = walks()
    progress = Progress(base, CONFIG)
    new = walks(1, 30, SPEED / 2, seed=7)[0] + np.array([0.1, 0.03])
    z, where, moved, sd_k, ahead, config = brute_force(progress, new, base)
    expected = []
    for t in range(len(z)):
        nearest = np.argsort(np.linalg.norm(where - z[t], axis=1))[: config.neighbours]
        mine = ahead(z, t) / sd_k
        shorts = []
        for j in nearest:
            theirs = moved[j] / sd_k
            lacking = sum(max(0.0, b * (b - m)) for b, m in zip(theirs, mine, strict=True))
            shorts.append(min(1.0, lacking / (sum(b * b for b in theirs) + config.least_motion)))
        expected.append(min(shorts))
    np.testing.assert_allclose(progress.compare(new).lost, expected, atol=1e-9)
    assert np.mean(expected[:-2]) > 0.2


def test_the_bases_own_progress_is_measured_against_the_others():
    base = walks(4)
    base[2] = base[2][::-1]  # this one walks back: others say so, it itself would not
    progress = Progress(base, CONFIG)
    own = list(progress.lost_by_base())
    assert [len(d) for d in own] == [40] * 4
    assert own[2][progress.look_ahead : -progress.look_ahead].min() > 0.9
    assert own[0].max() < 0.1


def test_missing_displacement_by_hand():
    progress = Progress(walks(), CONFIG)
    base = np.array([[[2.0, 1.0], [0.0, 0.0]]])  # [T=1, n=2, O=2]
    c = CONFIG.least_motion
    same, half, back, across, further = (
        progress.missing(np.array([d]), base)[0]
        for d in ([2.0, 1.0], [1.0, 0.5], [-2.0, -1.0], [2.0, -5.0], [9.0, 1.0])
    )
    np.testing.assert_allclose(same, [0.0, 0.0])
    np.testing.assert_allclose(half, [(2 * 1 + 1 * 0.5) / (5 + c), 0.0])
    np.testing.assert_allclose(back, [1.0, 0.0])  # 10 / 5.5, at most 1; who stands loses nothing
    np.testing.assert_allclose(across, [1.0, 0.0])  # 6 / 5.5
    np.testing.assert_allclose(further, [0.0, 0.0])


@pytest.mark.parametrize("speed, low, high", [(1.0, 0.0, 0.05), (2.0, 0.0, 0.05), (0.0, 0.9, 1.0)])
def test_slowness_loses_progress_and_haste_does_not(speed, low, high):
    progress = Progress(walks(), CONFIG)
    new = walks(1, 12, speed * SPEED, seed=9)[0] + np.array([0.5, 0.04])
    lost = progress.compare(new).lost[: -progress.look_ahead]
    assert low <= lost.mean() <= high


def test_look_ahead_follows_the_bases_length():
    assert Progress(walks(length=40), CONFIG).look_ahead == 2
    assert Progress(walks(length=200), CONFIG).look_ahead == 9
    assert steps(0.01, 10) == 1


def test_as_many_neighbours_as_there_are():
    tiny = [np.zeros((1, 2)), np.ones((1, 2))]
    progress = Progress(tiny, HarmConfig(neighbours=10))
    assert progress.compare(np.zeros((3, 2))).lost.shape == (3,)
    assert [d.tolist() for d in progress.lost_by_base()] == [[0.0], [0.0]]


# commands


def commanded(count=8, length=60, seed=0):
    """Walk at random: states [T, 3] are positions, actions [T, 3] the next displacement."""
    rng = np.random.default_rng(seed)
    states, actions = [], []
    for _ in range(count):
        a = np.cumsum(rng.standard_normal((length, 3)), axis=0) / 8
        a = np.tanh(a)
        s = np.concatenate([np.zeros((1, 3)), np.cumsum(0.05 * a, axis=0)])[:-1]
        states.append(s + 0.001 * rng.standard_normal(s.shape))
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


def fit(commands, states, actions, total):
    g = np.concatenate([features(commands, s) for s in states])
    gram = g.T @ g + RIDGE * total * np.eye(g.shape[1])
    return np.linalg.solve(gram, g.T @ np.concatenate(actions)), np.linalg.inv(gram)


def test_commands_are_a_ridge_regression(known):
    commands, states, actions = known
    total = sum(map(len, actions))
    weights, inverse = fit(commands, states, actions, total)
    np.testing.assert_allclose(commands.weights, weights, atol=1e-8)
    g = features(commands, states[0])
    np.testing.assert_allclose(leverage(g, inverse), [r @ inverse @ r for r in g], rtol=1e-9)
    np.testing.assert_allclose(commands.expected(states[0]), g @ weights, atol=1e-8)


def test_the_bases_own_residuals_are_those_of_a_fit_without_it(known):
    commands, states, actions = known
    total = sum(map(len, actions))
    errors, leverages = [], []
    for i in range(len(states)):
        rest = [j for j in range(len(states)) if j != i]
        weights, inverse = fit(
            commands, [states[j] for j in rest], [actions[j] for j in rest], total
        )
        g = features(commands, states[i])
        errors.append(actions[i] - g @ weights)
        leverages.append(np.array([r @ inverse @ r for r in g]))
    spread = np.concatenate(actions).std(0)
    mean = np.concatenate(leverages).mean()
    for own, error, h in zip(commands.own, errors, leverages, strict=True):
        distrust = np.sqrt(1 + (h / (3 * mean)) ** 2)
        np.testing.assert_allclose(own, error / (spread * distrust[:, None]), rtol=1e-5, atol=1e-7)


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
    total = sum(map(len, actions))
    weights, inverse = fit(commands, states, actions, total)
    (new,), (wrong,) = commanded(1, seed=5)
    far = 5 * new
    g = features(commands, far)
    h = np.array([r @ inverse @ r for r in g])
    distrust = np.sqrt(1 + (h / (3 * commands.mean_leverage)) ** 2)
    expected = (wrong - g @ weights) / (commands.spread * distrust[:, None])
    np.testing.assert_allclose(commands.residuals(far, wrong), expected, rtol=1e-6, atol=1e-8)
    assert np.median(distrust) > 3


def test_what_is_typical_is_the_bases_median_or_a_tenth_of_the_spread(known):
    commands, states, actions = known
    worst = np.array([mismatch(r, commands.windows) for r in commands.own])
    floor = np.log(0.01)
    np.testing.assert_allclose(commands.typical, np.maximum(np.median(worst, axis=0), floor))
    assert (np.median(worst, axis=0) > floor).all()
    np.testing.assert_allclose(commands.own_excess, worst - commands.typical)
    still = np.zeros((9, 3))
    np.testing.assert_allclose(
        commands.excess(still), mismatch(still, commands.windows) - commands.typical
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
        ({"neighbours": 0}, "neighbours should"),
        ({"look_ahead": 1.0}, "look_ahead should"),
        ({"least_motion": 0.0}, "least_motion should"),
        ({"windows": (0.1, 0.0)}, "windows"),
        ({"windows": ()}, "windows should have 1 or more entries"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        HarmConfig(**changes)
