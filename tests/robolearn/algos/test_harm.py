"""The measures of harm, by hand and by brute force."""

import dataclasses
import tracemalloc

import numpy as np
import pytest

from robolearn.algos import harm
from robolearn.algos.harm import (
    AFTER,
    BEFORE,
    LAGS,
    RIDGE,
    TINY,
    Commands,
    Comparison,
    HarmConfig,
    Moves,
    Progress,
    Sums,
    leverage,
    mismatch,
    steps,
    switching,
    whole,
)
from robolearn.errors import UserError

CONFIG = HarmConfig()
SPEED = 0.05


def walks(count=6, length=40, speed=SPEED, seed=0):
    """Walk along x from about 0, with a little noise across: states [T, 2] each."""
    rng = np.random.default_rng(seed)
    along = speed * np.arange(length)
    return [
        np.column_stack([along + 0.02 * rng.standard_normal(), np.full(length, 0.1 * i / count)])
        for i in range(count)
    ]


def policy(z, steps_of, width):
    """Give m(z) of steps (z_j, D_j, weight), as the docstring of the module has it."""
    total, weights = np.zeros(len(z)), 0.0
    for where, ahead, weight in steps_of:
        w = weight * np.exp(
            -sum((a - b) ** 2 for a, b in zip(z, where, strict=True)) / 2 / width**2
        )
        total, weights = total + w * ahead, weights + w
    return total / weights


def brute_force(progress, person, base_states):
    """Give d of each of a person's demonstrations."""
    config, k = progress.config, progress.look_ahead
    pooled = np.concatenate(base_states)
    z_of = lambda s: np.clip((s - pooled.mean(0)) / np.maximum(pooled.std(0), 0.01), -3, 3)  # noqa: E731
    ahead = lambda z: np.array([z[min(t + k, len(z) - 1)] - z[t] for t in range(len(z))])  # noqa: E731
    sd_k = np.concatenate([ahead(z_of(s)) for s in base_states]).std(0) + 0.01
    moves = lambda states, weight: [  # noqa: E731
        (z, d / sd_k, weight) for s in states for z, d in zip(z_of(s), ahead(z_of(s)), strict=True)
    ]
    base, new = moves(base_states, 1.0), moves(person, len(base_states) / len(person))
    lost = []
    for states in person:
        lost.append([])
        for z in z_of(states):
            alone, joint = (policy(z, s, progress.width) for s in (base, base + new))
            lack = sum(max(0.0, b * (b - m)) for b, m in zip(alone, joint, strict=True))
            lost[-1].append(min(1.0, lack / (sum(b * b for b in alone) + config.least_motion)))
    return lost


def lost_by(progress, person):
    moves = [progress.moves(states) for states in person]
    joining = progress.joining(moves)
    return [progress.missing(progress.expected(m), j) for m, j in zip(moves, joining, strict=True)]


def test_progress_by_brute_force():
    base = walks()
    progress = Progress(base, CONFIG)
    person = [s + np.array([0.1, 0.03]) for s in walks(2, 30, SPEED / 3, seed=7)]
    expected = brute_force(progress, person, base)
    for found, wanted in zip(lost_by(progress, person), expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert np.mean(expected[0][:-2]) > 0.2
    moves = progress.moves(person[0])
    alone, so_far = progress.joining([moves])[0], progress.joining_so_far(moves.where, moves)
    np.testing.assert_allclose(so_far.mean, alone.mean, atol=1e-6)


def test_the_width_is_a_multiple_of_the_distance_between_demonstrations():
    base = walks(4)
    progress = Progress(base, CONFIG)
    z = [progress.standardise(s) for s in base]
    gaps = [
        min(np.linalg.norm(p - q) for j, other in enumerate(z) if j != i for q in other)
        for i, own in enumerate(z)
        for p in own
    ]
    assert progress.width == pytest.approx(CONFIG.bandwidth * np.median(gaps))
    copies = Progress([base[0]] * 3, CONFIG)  # no distance at all: that from step to step
    stride = np.linalg.norm(np.diff(copies.standardise(base[0]), axis=0), axis=1)
    assert copies.width == pytest.approx(CONFIG.bandwidth * np.median(stride))


def test_the_bases_own_progress_is_measured_against_the_others():
    base = walks(4)
    base[2] = base[2][::-1]  # this one walks back: others say so, it itself would not
    progress = Progress(base, CONFIG)
    own = progress.lost_by_base
    assert [len(d) for d in own] == [40] * 4
    middle = slice(progress.look_ahead, -progress.look_ahead)
    assert own[2][middle].min() > 0.7
    assert own[0][middle].max() < 0.1


def test_missing_displacement_by_hand():
    """At one place, where all weights are equal: the mean of base and newcomer."""
    progress = Progress(walks(), CONFIG)
    c = CONFIG.least_motion
    base = Sums(np.array([[2.0, 1.0]]), np.ones((1, 1)))

    def missing(ahead, weight=1.0, of=base):
        new = Sums(weight * np.array([ahead]), np.full((1, 1), weight))
        return progress.missing(of, new)[0]

    assert missing([2.0, 1.0]) == pytest.approx(0.0)
    assert missing([0.0, 0.0]) == pytest.approx((2 * 1 + 1 * 0.5) / (5 + c))
    assert missing([0.0, 0.0], 3.0) == pytest.approx((2 * 1.5 + 1 * 0.75) / (5 + c))
    assert missing([-2.0, -1.0]) == pytest.approx(5 / (5 + c))  # they cancel each other out
    assert missing([-9.0, -9.0]) == pytest.approx(1.0)  # no more than all
    assert missing([2.0, -5.0]) == pytest.approx((1 * 3) / (5 + c))  # across: one entry reversed
    assert missing([9.0, 1.0]) == pytest.approx(0.0)  # further is no loss
    standing = Sums(np.zeros((1, 2)), np.ones((1, 1)))
    assert missing([-2.0, -1.0], of=standing) == 0.0  # who stands has nothing to lose


def test_far_from_everybody_the_base_goes_its_mean_way():
    progress = Progress(walks(), CONFIG)
    far = np.full((1, 2), 1e3)
    against = -progress.base.ahead.mean(axis=0, keepdims=True)
    base = progress.expected(Moves(far, against))
    for where, low, high in ((far, 0.9, 1.0), (-far, 0.0, 0.1)):
        new = progress.joining_so_far(far, Moves(where, against))
        assert low <= progress.missing(base, new)[0] <= high


@pytest.mark.parametrize("speed, low, high", [(1.0, 0.0, 0.05), (2.0, 0.0, 0.05), (0.0, 0.4, 1.0)])
def test_slowness_loses_progress_and_haste_does_not(speed, low, high):
    progress = Progress(walks(), CONFIG)
    new = walks(1, 12, speed * SPEED, seed=9)[0] + np.array([0.5, 0.04])
    assert low <= lost_by(progress, [new])[0][: -progress.look_ahead].mean() <= high


def test_many_steps_are_thinned():
    moves = Moves(np.arange(10.0)[:, None], np.ones((10, 1)), 2.0)
    thin = moves.thinned(4)
    assert thin.where[:, 0].tolist() == [0.0, 3.0, 6.0, 9.0] and thin.weight == 6.0
    assert moves.thinned(10).weight == 2.0


def test_thinned_and_in_parts_it_is_about_the_same(monkeypatch):
    base, person = walks(), walks(3, 30, SPEED / 3, seed=7)
    whole = np.concatenate(lost_by(Progress(base, CONFIG), person))
    monkeypatch.setattr(harm, "ROWS", 7)
    in_parts = np.concatenate(lost_by(Progress(base, CONFIG), person))
    np.testing.assert_allclose(in_parts, whole, atol=1e-5)
    monkeypatch.setattr(harm, "MOST_STEPS", 80)
    thin = Progress(base, CONFIG)
    assert np.abs(np.concatenate(lost_by(thin, person)) - whole).mean() < 0.05
    assert [len(d) for d in thin.lost_by_base] == [40] * 6


def test_look_ahead_follows_the_bases_length():
    assert Progress(walks(length=40), CONFIG).look_ahead == 2
    assert Progress(walks(length=200), CONFIG).look_ahead == 9
    assert steps(0.01, 10) == 1


def test_where_the_base_has_been_is_familiar():
    progress = Progress(walks(), CONFIG)
    there, far = progress.moves(walks(1, seed=9)[0]), np.full((2, 2), 1e3)
    assert progress.familiar(progress.expected(there)).all()
    assert not progress.familiar(progress.expected(Moves(far, far))).any()
    at = Sums(np.zeros((3, 2)), np.array([[0.9], [1.0], [7.0]]))
    assert progress.familiar(at).tolist() == [False, True, True]


def test_two_demonstrations_of_a_step_each():
    tiny = Progress([np.zeros((1, 2)), np.ones((1, 2))], CONFIG)
    assert [d.tolist() for d in tiny.lost_by_base] == [[0.0], [0.0]]


def test_paces_by_hand():
    base = np.tile([[1.0, 0.1]], (4, 1))
    mine = np.array([[0.1, 0.0], [0.5, 0.05], [-1.0, 0.0], [0.0, 1.0]])
    compared = Comparison(mine, mine, base)
    assert compared.paced.tolist() == [True, True, False, False]
    assert Comparison(mine, np.zeros((4, 2)), base).paced.tolist() == [True, True, False, True]
    assert Comparison(mine, base, base).paced.tolist() == [True, True, False, True]
    np.testing.assert_allclose(compared.ahead, [0.1 / 1.01, 0.505 / 1.01, -1 / 1.01, 0.1 / 1.01])


def test_what_is_usual_is_the_mean_of_the_bases_values():
    base = walks(4)
    progress = Progress(base, CONFIG)
    moves = progress.moves(base[1])
    np.testing.assert_allclose(progress.usual(moves, np.full((160, 1), 3.0)), 3.0, rtol=1e-5)
    np.testing.assert_allclose(
        progress.usual(moves, progress.base.ahead), progress.expected(moves).mean, atol=1e-6
    )


# commands


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


def steps_of(actions):
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
    total = steps_of(actions)
    weights, inverse = fit(commands, states, actions, total)
    np.testing.assert_allclose(commands.weights, weights, atol=1e-8)
    g = features(commands, states[0])
    np.testing.assert_allclose(leverage(g, inverse), [r @ inverse @ r for r in g], rtol=1e-9)
    np.testing.assert_allclose(commands.expected(states[0]), g @ weights, atol=1e-8)


def test_the_bases_own_residuals_are_those_of_a_fit_without_it(known):
    commands, states, actions = known
    total = steps_of(actions)
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
    weights, inverse = fit(commands, states, actions, steps_of(actions))
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
        ({"bandwidth": 0.0}, "bandwidth should"),
        ({"look_ahead": 1.0}, "look_ahead should"),
        ({"least_motion": 0.0}, "least_motion should"),
        ({"windows": (0.1, 0.0)}, "windows"),
        ({"windows": ()}, "windows should have 1 or more entries"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        HarmConfig(**changes)


def test_a_gripper_switches_and_a_motion_does_not():
    actions = np.column_stack([np.linspace(-1, 1, 9), np.sign(np.linspace(-1, 1, 9))])
    assert switching(actions).tolist() == [False, True]
