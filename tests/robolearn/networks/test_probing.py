import numpy as np
import pytest

import robolearn.networks.probing as module
from robolearn.errors import DataError
from robolearn.networks.probing import Components, Probe, Scale, path_similarity, similarity


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def linear(rng, count=4000):
    codes = rng.normal(size=(count, 3)) * [1.0, 5.0, 0.1] + [3.0, 0.0, -7.0]
    targets = codes @ np.array([[1.0, 0.0], [0.2, 2.0], [0.0, -4.0]]) + [10.0, -1.0]
    return codes, targets


def test_a_probe_finds_a_linear_map(rng, monkeypatch):
    monkeypatch.setattr(module, "RIDGE", 0.0)
    codes, targets = linear(rng)
    probe = Probe.fit(codes, targets)
    np.testing.assert_allclose(probe(codes[:5]), targets[:5], rtol=1e-6)
    assert probe.r2(*linear(rng)) == pytest.approx(1.0)


def test_the_ridge_shrinks_by_its_share(rng):
    codes, targets = linear(rng)
    told = Probe.fit(codes[:, :1], codes[:, :1])
    assert told.weights.item() == pytest.approx(1 / (1 + module.RIDGE))


def test_r2_is_the_share_of_the_variance_that_is_told(rng):
    codes, targets = linear(rng)
    noisy = targets + rng.normal(size=targets.shape) * 3
    probe = Probe.fit(codes, targets)
    wrong = ((probe(codes) - noisy) ** 2).sum() / ((noisy - noisy.mean(0)) ** 2).sum()
    assert probe.r2(codes, noisy) == pytest.approx(1 - wrong)
    expected = 1 - 2 * 9 / noisy.var(axis=0).sum()  # noise of deviation 3 in both entries
    assert probe.r2(codes, noisy) == pytest.approx(expected, abs=0.02)
    mean = Probe(np.zeros((3, 2)), np.zeros(3), targets.mean(axis=0))
    assert mean.r2(codes, targets) == pytest.approx(0.0)
    assert Probe(np.zeros((3, 2)), np.zeros(3), mean.shift + 9).r2(codes, targets) < 0


def test_what_is_not_in_the_codes_is_not_told(rng):
    codes, targets = linear(rng)
    probe = Probe.fit(codes, rng.normal(size=(4000, 2)))
    assert abs(probe.r2(linear(rng)[0], rng.normal(size=(4000, 2)))) < 0.02


def test_constant_codes_do_no_harm(rng):
    codes, targets = linear(rng)
    constant = np.full((len(codes), 1), 4.0)
    with_constant = Probe.fit(np.hstack([codes, constant]), targets)
    np.testing.assert_allclose(with_constant.weights[:3], Probe.fit(codes, targets).weights)
    assert with_constant.weights[3].tolist() == [0.0, 0.0]


def test_a_scale_leaves_out_what_does_not_vary(rng):
    rows = np.hstack([rng.normal(size=(500, 2)) * [3.0, 0.01] + 5, np.full((500, 1), 2.0)])
    scaled = Scale.of(rows)(rows)
    np.testing.assert_allclose(scaled.std(axis=0), [1.0, 1.0, 0.0])
    np.testing.assert_allclose(scaled.mean(axis=0), 0.0, atol=1e-12)


def test_components_are_the_directions_of_most_variance(rng):
    turn, _ = np.linalg.qr(rng.normal(size=(4, 4)))
    rows = (rng.normal(size=(20_000, 4)) * [10.0, 5.0, 0.1, 0.1]) @ turn.T + 3
    components = Components.of(rows, 2)
    np.testing.assert_allclose(np.abs(components.axes @ turn)[:, :2], np.eye(2), atol=0.02)
    np.testing.assert_allclose(components(rows).std(axis=0), [10.0, 5.0], rtol=0.02)


def test_a_turned_and_scaled_copy_is_similar_and_noise_is_not(rng):
    states = rng.normal(size=(300, 3))
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    assert similarity(4 * states @ turn + 9, states) == pytest.approx(1.0)
    noise = rng.normal(size=(300, 3))
    assert abs(similarity(noise, states)) < 0.1
    assert 0.2 < similarity(np.hstack([states, 2 * noise]), states) < 0.8
    assert similarity(np.ones((300, 3)), states) == 0.0


def test_similarity_by_hand():
    codes, states = np.array([[0.0], [1.0], [3.0]]), np.array([[0.0], [2.0], [3.0]])
    expected = np.corrcoef([1, 3, 2], [2, 3, 1])[0, 1]
    assert similarity(codes, states) == pytest.approx(expected)


def test_rows_that_do_not_fit_are_told():
    with pytest.raises(DataError, match="3 codes and 2 targets"):
        Probe.fit(np.zeros((3, 1)), np.zeros((2, 1)))
    with pytest.raises(DataError, match="targets: not all are finite"):
        similarity(np.zeros((2, 1)), np.array([[0.0], [np.nan]]))


def test_the_shortest_path_kernel_by_hand():
    """On a square, the way over a corner is as long as two sides where only they are edges."""
    square = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    line = np.arange(4.0)[:, None]
    sides = np.array([1, 2, 1, 1, 2, 1]) * 6 / 8  # pairs 01 02 03 12 13 23, of mean 1
    along = np.array([1, 2, 3, 1, 2, 1]) * 6 / 10
    expected = np.maximum(0, 1 - np.abs(sides - along)).mean()
    assert path_similarity(square, line, neighbours=2) == pytest.approx(expected, abs=1e-4)
    straight = np.array([1, 2**0.5, 1, 1, 2**0.5, 1])
    straight /= straight.mean()
    expected = np.maximum(0, 1 - np.abs(straight - along)).mean()
    assert path_similarity(square, line, neighbours=3) == pytest.approx(expected, abs=1e-4)


def test_the_shortest_path_kernel_knows_a_copy_and_joins_what_is_apart(rng):
    states = rng.normal(size=(60, 3))
    states[30:] += 100  # no neighbours of the others
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    assert path_similarity(7 * states @ turn + 2, states) == pytest.approx(1.0, abs=1e-3)
    order = rng.permutation(60)
    other = path_similarity(states[order], states)
    assert 0 < other < 0.8
    assert path_similarity(np.zeros((60, 2)), states) == 0.0
    with pytest.raises(DataError, match="as many are needed"):
        path_similarity(states[:5], states)
