"""The measures of Agarwal et al. (2021), by hand and by brute force."""

import itertools

import numpy as np
import pytest
from scipy.stats import bootstrap

from robolearn.comparing import measures

RNG = np.random.default_rng(0)


def test_the_mean_counts_tasks_alike_the_interquartile_mean_runs():
    scores = [np.array([0.0, 2.0]), np.array([10.0, 10.0, 10.0, 14.0])]
    assert measures.mean(scores) == pytest.approx((1 + 11) / 2)
    # 0 2 10 10 10 14 without one at either end
    assert measures.interquartile_mean(scores) == pytest.approx((2 + 10 + 10 + 10) / 4)
    assert measures.interquartile_mean([np.array([1.0, 2.0, 9.0])]) == pytest.approx(4.0)


def test_the_probability_of_improvement_counts_pairs_and_halves_of_equal_ones():
    x = [np.array([3.0, 1.0]), np.array([5.0])]
    y = [np.array([1.0, 2.0, 4.0]), np.array([5.0, 0.0])]
    # first task: 3 beats 1 and 2, 1 equals 1; second: 5 equals 5 and beats 0
    expected = ((2 + 0.5) / 6 + 1.5 / 2) / 2
    assert measures.probability_of_improvement(x, y) == pytest.approx(expected)
    assert measures.probability_of_improvement(y, x) == pytest.approx(1 - expected)


def test_the_bootstrap_draws_runs_within_their_task():
    scores = [np.array([0.0, 1.0]), np.array([10.0, 30.0])]
    draws = measures.stratified_bootstrap(scores, measures.mean, RNG, 20_000)
    exact = [
        np.mean([np.mean(first), np.mean(second)])
        for first in itertools.product(scores[0], repeat=2)
        for second in itertools.product(scores[1], repeat=2)
    ]
    assert set(np.round(draws, 6)) == set(np.round(exact, 6))
    assert np.mean(draws) == pytest.approx(np.mean(exact), abs=0.1)
    assert np.std(draws) == pytest.approx(np.std(exact), abs=0.1)


def test_the_interval_is_that_of_scipys_bootstrap_on_one_task():
    scores = np.random.default_rng(3).normal(100, 20, 12)
    draws = measures.stratified_bootstrap([scores], measures.mean, RNG, 20_000)
    theirs = bootstrap(
        (scores,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    np.testing.assert_allclose(measures.interval(draws), [theirs.low, theirs.high], atol=0.6)


def test_the_interval_of_an_improvement_holds_it_and_is_certain_where_nothing_overlaps():
    x, y = [np.array([4.0, 2.0, 6.0, 5.0])], [np.array([3.0, 1.0, 4.5, 2.5])]
    low, high = measures.improvement_interval(x, y, RNG)
    assert 0 < low < measures.probability_of_improvement(x, y) < high <= 1
    above = measures.improvement_interval([x[0] + 100], y, RNG)
    assert [float(end) for end in above] == [1.0, 1.0]


def test_the_interval_of_an_improvement_is_that_of_runs_drawn_one_by_one():
    x = [np.array([4.0, 2.0, 6.0]), np.array([1.0, 1.0, 0.0, 2.0])]
    y = [np.array([3.0, 2.0, 4.5, 2.5]), np.array([1.0, 0.5])]
    rng, draws = np.random.default_rng(7), []
    for _ in range(3000):
        mine, others = ([rng.choice(task, len(task)) for task in scores] for scores in (x, y))
        draws.append(measures.probability_of_improvement(mine, others))
    ends = measures.improvement_interval(x, y, RNG, 3000)
    np.testing.assert_allclose(ends, np.percentile(draws, [2.5, 97.5]), atol=0.03)
