"""Sums around one state are those that are taken of many at once, however the steps came."""

import numpy as np
import pytest

from robolearn.algos.progress import Moves, Progress, ProgressConfig
from robolearn.judging.nearby import ROOM, Rows, Steps, weights_of

from .plane import demonstrations, unzipped


@pytest.mark.parametrize("first", [0, 3])
def test_rows_are_those_that_were_added(first):
    values = np.random.default_rng(0).standard_normal((3 * ROOM, 2))
    begun = values[:first].copy()
    rows = Rows(begun)
    for row in values[first:]:
        rows.add(row)
    np.testing.assert_array_equal(rows.so_far, values)
    rows.so_far[ROOM:] = 0.0
    assert not rows.so_far[ROOM:].any()


@pytest.mark.parametrize("known", [0, 40, 300])
def test_sums_are_those_of_progress(known):
    states, _ = unzipped(demonstrations(8, 0))
    progress = Progress(states, ProgressConfig())
    where, ahead = progress.base.where[:300], progress.base.ahead[:300]
    steps = Steps(where[:known], ahead[:known])
    for z, value in zip(where[known:], ahead[known:], strict=True):
        steps.add(z, value)
    rng = np.random.default_rng(1)
    places = np.concatenate([where[::40], where[::40] + 0.3 * rng.standard_normal((8, 3))])
    wanted = progress.joining_so_far(places, Moves(where, ahead))
    for t, z in enumerate(places):
        squared = steps.squared_distances(z)
        np.testing.assert_allclose(squared, np.square(where - z).sum(1), atol=1e-4)
        sums, weight = steps.sums(weights_of(squared, progress.width))
        np.testing.assert_allclose(progress.count * sums[0], wanted.ahead[t], rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(progress.count * weight[0], wanted.weight[t], rtol=1e-3)
