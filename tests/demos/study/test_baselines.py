"""Other predictors of harm, on operators who walk along a line."""

import numpy as np
import pytest

from demos.study.baselines import (
    BASELINES,
    FEATURES,
    RIDGE,
    distance,
    influence,
    length,
    mutual_information,
)


def walks(count, seed, way=1.0, noise=0.05, steps=40, offset=0.0):
    """Walk from left to right with velocity actions that follow from the state, or not."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        x = np.linspace(-1, 1, steps) + 0.05 * rng.standard_normal()
        y = 0.3 * rng.standard_normal(steps)
        action = way * (1 - x**2) + noise * rng.standard_normal(steps)
        made.append((np.column_stack([x, y + offset]), action[:, None]))
    return made


BASE = walks(12, 0)


def test_length_counts_steps():
    assert length(BASE, walks(2, 1, steps=7)).tolist() == [7.0, 7.0]


def test_distance_by_brute_force():
    new = walks(2, 1)
    states, actions = (np.concatenate(part) for part in zip(*BASE, strict=True))
    spread, side = states.std(0), actions.std(0)
    for found, (s, a) in zip(distance(BASE, new), new, strict=True):
        gaps = np.sqrt(
            np.square((s[:, None] - states) / spread).sum(-1)
            + np.square((a[:, None] - actions) / side).sum(-1)
        )
        assert found == pytest.approx(gaps.min(1).mean())


def test_actions_that_do_not_follow_from_the_state_add_less_information():
    orderly, random = walks(6, 2), walks(6, 3, way=0.0, noise=0.4)
    scores = mutual_information(BASE, orderly + random)
    assert scores[:6].mean() < scores[6:].mean() - 0.2


def test_information_by_brute_force():
    base, new = walks(3, 0, steps=12), walks(1, 1, steps=12)
    everything = base + new
    states, actions = (np.concatenate(part) for part in zip(*everything, strict=True))
    s0, a0 = (np.concatenate(part) for part in zip(*base, strict=True))
    s, a = (states - s0.mean(0)) / s0.std(0), (actions - a0.mean(0)) / a0.std(0)
    gap_s = np.abs(s[:, None] - s).max(-1)
    gap_a = np.abs(a[:, None] - a).max(-1)
    radius = np.sort(np.maximum(gap_s, gap_a), axis=1)[:, 5]  # its own 0 comes first

    def psi(n):
        return -np.euler_gamma + sum(1 / i for i in range(1, n))

    def count(gaps):
        return [int((row < r).sum()) for row, r in zip(gaps, radius, strict=True)]

    pairs = zip(count(gap_s), count(gap_a), strict=True)
    information = [psi(5) + psi(48) - psi(n) - psi(m) for n, m in pairs]
    assert mutual_information(base, new)[0] == pytest.approx(-np.mean(information[36:]), rel=1e-6)


def test_influence_is_the_change_of_the_loss_on_held_out_demonstrations():
    new = walks(3, 4) + walks(3, 5, way=-1.0)
    scores = influence(BASE, new)
    assert scores[:3].max() < scores[3:].min()
    assert scores[3:].min() > 0


def test_influence_by_training_again():
    """Weigh one demonstration a little more, fit anew, and see how the held-out loss changes."""
    new = walks(2, 4) + walks(2, 5, way=-1.0)
    states, actions = (np.concatenate(part) for part in zip(*BASE, strict=True))
    mean, spread = (states.mean(0), actions.mean(0)), (states.std(0), actions.std(0))
    rng = np.random.default_rng(0)  # the features of the policy
    frequencies = rng.standard_normal((2, FEATURES)) / np.sqrt(2)
    phases = rng.uniform(0, 2 * np.pi, FEATURES)

    def pair(demonstration):
        s, a = ((x - m) / d for x, m, d in zip(demonstration, mean, spread, strict=True))
        return np.sqrt(2 / FEATURES) * np.cos(s @ frequencies + phases), a

    training, held_out = [pair(d) for d in (*BASE[::2], *new)], [pair(d) for d in BASE[1::2]]
    penalty = np.sqrt(RIDGE * sum(len(a) for _, a in training)) * np.eye(FEATURES)

    def loss(weight):
        """Minimise sum_d weight_d |phi W - a|^2 / 2 + penalty; give that of held-out ones."""
        rows = [np.sqrt(w) * phi for w, (phi, _) in zip(weight, training, strict=True)]
        targets = [np.sqrt(w) * a for w, (_, a) in zip(weight, training, strict=True)]
        targets.append(np.zeros((FEATURES, 1)))
        fit = np.linalg.lstsq(np.concatenate([*rows, penalty]), np.concatenate(targets))[0]
        return sum(np.square(phi @ fit - a).sum() / 2 for phi, a in held_out)

    ones, step = np.ones(len(training)), 1e-3
    for i, predicted in enumerate(influence(BASE, new)):
        change = step * np.eye(len(ones))[len(BASE[::2]) + i]
        assert predicted == pytest.approx(
            (loss(ones + change) - loss(ones - change)) / (2 * step), rel=1e-3
        )


@pytest.mark.parametrize("name", BASELINES)
def test_each_gives_a_number_for_each_demonstration_and_always_the_same(name):
    new = walks(4, 6)
    scores = BASELINES[name](BASE, new)
    assert scores.shape == (4,) and np.isfinite(scores).all()
    np.testing.assert_array_equal(scores, BASELINES[name](BASE, new))
