"""Progress lost, by hand and by brute force."""

import numpy as np
import pytest

from robolearn.algos import progress as progress_module
from robolearn.algos.progress import Comparison, Moves, Progress, ProgressConfig, Sums
from robolearn.errors import UserError
from robolearn.settings import steps_of

CONFIG = ProgressConfig()
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
    """Give m(z) of steps (z_j, D_j, weight), and their weight, as the module's docstring has it."""
    total, weights = np.zeros(len(z)), 0.0
    for where, ahead, weight in steps_of:
        w = weight * np.exp(
            -sum((a - b) ** 2 for a, b in zip(z, where, strict=True)) / 2 / width**2
        )
        total, weights = total + w * ahead, weights + w
    return total / weights, weights


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
            (alone, W_B), (theirs, W_N) = (policy(z, s, progress.width) for s in (base, new))
            faster = min(3.0, max(1.0, float(np.linalg.norm(alone) / np.linalg.norm(theirs))))
            joint = (W_B * alone + W_N * faster * theirs) / (W_B + W_N)
            lack = sum(max(0.0, b * (b - m)) for b, m in zip(alone, joint, strict=True))
            lost[-1].append(min(1.0, lack / (sum(b * b for b in alone) + config.least_motion)))
    return lost


def lost_by(progress, person):
    moves = [progress.moves(states) for states in person]
    joining = progress.joining(moves)
    return [progress.missing(progress.expected(m), j) for m, j in zip(moves, joining, strict=True)]


@pytest.mark.parametrize(
    ("speed", "least", "most"), [(0.9, 0, 0.05), (0.4, 0, 0.05), (0.1, 0.2, 1)]
)
def test_progress_by_brute_force(speed, least, most):
    """Up to three times as slow nothing is lost."""
    base = walks()
    progress = Progress(base, CONFIG)
    person = [s + np.array([0.1, 0.03]) for s in walks(2, 30, speed * SPEED, seed=7)]
    expected = brute_force(progress, person, base)
    for found, wanted in zip(lost_by(progress, person), expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert least < np.mean(expected[0][:-3]) < most
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
    monkeypatch.setattr(progress_module, "ROWS", 7)
    in_parts = np.concatenate(lost_by(Progress(base, CONFIG), person))
    np.testing.assert_allclose(in_parts, whole, atol=1e-5)
    monkeypatch.setattr(progress_module, "MOST_STEPS", 80)
    thin = Progress(base, CONFIG)
    assert np.abs(np.concatenate(lost_by(thin, person)) - whole).mean() < 0.05
    assert [len(d) for d in thin.lost_by_base] == [40] * 6


def test_look_ahead_follows_the_bases_length():
    assert Progress(walks(length=40), CONFIG).look_ahead == 2
    assert Progress(walks(length=200), CONFIG).look_ahead == 9
    assert steps_of(0.01, 10) == 1


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


def test_advance_by_hand():
    """The base goes to the right; newcomers at its pace, slower, at rest, back, across, faster."""
    base = [np.column_stack([np.arange(60.0), np.full(60, y)]) for y in (0.0, 1.0, 2.0)]
    progress = Progress(base, CONFIG)
    there = np.array([30.0, 1.0])
    ways = {(1, 0): 1.0, (0.5, 0): 0.5, (0, 0): 0.0, (-1, 0): -1.0, (0, 1): 0.0, (2, 5): 2.0}
    for way, advance in ways.items():
        moves = progress.moves(there + np.outer(np.arange(3), way))
        found = progress.advance(moves, progress.expected(moves))
        np.testing.assert_allclose(found, advance, rtol=0.05, atol=0.05)


def test_where_the_base_rests_nobody_is_behind():
    base = [np.concatenate([walk, np.repeat(walk[-1:], 60, axis=0)]) for walk in walks(4)]
    progress = Progress(base, CONFIG)
    moves = progress.moves(base[0])
    expected = progress.expected(moves)
    assert (progress.advance(moves, expected)[-30:] == 1.0).all()


def test_pace_and_actions_are_the_means_of_the_bases():
    base = walks(4)
    progress = Progress(base, CONFIG, [np.full((len(walk), 1), 3.0) for walk in base])
    expected = progress.expected(progress.moves(base[1]))
    np.testing.assert_allclose(expected.actions, 3.0, rtol=1e-5)
    strides = np.concatenate([progress.strides(progress.standardise(walk)) for walk in base])
    again = Progress(base, CONFIG, [s[:, None] for s in np.split(strides, 4)])
    found = again.expected(again.moves(base[1]))
    np.testing.assert_allclose(found.pace, found.actions[:, 0], rtol=1e-5)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"bandwidth": 0.0}, "bandwidth should"),
        ({"look_ahead": 1.0}, "look_ahead should"),
        ({"least_motion": 0.0}, "least_motion should"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        ProgressConfig(**changes)
