import itertools

import numpy as np
import pytest

from demos.session.nearest import alongside, nearest, warped_distance, warped_path


def by_hand(one, other):
    """Try every path from corner to corner; give the one of the least sum, and that sum."""
    cost = np.linalg.norm(one[:, None] - other[None], axis=2)
    best = (np.inf, [])
    rows, columns = cost.shape
    for moves in range(max(rows, columns) - 1, rows + columns - 1):
        for path in itertools.product([(1, 1), (1, 0), (0, 1)], repeat=moves):
            cells = np.cumsum([(0, 0), *path], axis=0)
            if tuple(cells[-1]) != (rows - 1, columns - 1) or (cells >= cost.shape).any():
                continue
            total = sum(cost[i, j] for i, j in cells)
            best = min(best, (total, cells.tolist()))
    return best[1], best[0]


@pytest.mark.parametrize("seed", range(4))
def test_it_finds_the_best_path(seed):
    rng = np.random.default_rng(seed)
    one, other = rng.normal(size=(3, 2)), rng.normal(size=(4, 2))
    path, total = by_hand(one, other)
    assert warped_path(one, other).tolist() == path
    assert warped_distance(one, other) == pytest.approx(total / len(path))


def test_tempo_makes_no_difference():
    path = np.linspace(0, 1, 20)[:, None] * [1.0, 2.0]
    slow = np.repeat(path, 3, axis=0)
    assert warped_distance(path, slow) == pytest.approx(0, abs=1e-6)
    assert warped_distance(path, path[::-1]) > 0.3


def test_the_nearest_of_several_whatever_the_units():
    t = np.linspace(0, 1, 15)
    base = [np.stack([t, 1000 * np.sin(k * t), np.ones(15)], axis=1) for k in (1, 3, 6)]
    for k, own in enumerate(base):
        assert nearest(np.repeat(own, 2, axis=0)[::3] + [0, 20.0, 0], base) == k


def test_a_path_through_both_waits_for_the_slower_one():
    t = np.linspace(0, 1, 6)
    base = [np.stack([t, 1000 * t**2, np.ones(6)], axis=1), np.zeros((4, 3))]
    path = alongside(np.repeat(base[0], 2, axis=0), base, 0)
    assert path.tolist() == [[i, i // 2] for i in range(12)]
