"""Contrary commands by hand, on a line along which a hand goes and closes."""

import copy

import numpy as np
import pytest

from robolearn.algos.contrary import Contrary, ContraryConfig, early, most
from robolearn.algos.progress import Progress, ProgressConfig
from robolearn.errors import UserError

VALUES = {1: (-1.0, 1.0)}


def going(steps, closes_at, seed):
    """Go from 0 to 1 along x, in steps of a length; close where x is ``closes_at``."""
    rng = np.random.default_rng(seed)
    x = np.linspace(0.0, 1.0, steps) + rng.normal(0, 0.004, steps)
    states = np.stack([x, rng.normal(0, 0.005, steps)], axis=1)
    return states, np.stack([np.ones(steps), np.where(x > closes_at, 1.0, -1.0)], axis=1)


@pytest.fixture(scope="module")
def contrary():
    states, actions = zip(*(going(40, 0.6, seed) for seed in range(12)), strict=True)
    progress = Progress(states, ProgressConfig(), actions)
    return Contrary(progress, states, actions, VALUES, ContraryConfig())


def share(contrary, pair):
    states, actions = pair
    return contrary.share(contrary.along(contrary.progress.standardise(states), actions))


def test_it_is_the_mean_command_around_by_hand(contrary):
    states, actions = going(40, 0.6, 99)
    z = contrary.progress.standardise(states)
    base, signs = contrary.progress.base.where, contrary._base[:, 0]
    weights = np.exp(-np.square(z[:, None] - base).sum(2) / (2 * contrary.width**2))
    around = (weights @ signs) / weights.sum(1)
    switched = int((actions[:, 1] > 0).argmax())
    expected = np.maximum(0.0, -actions[:, 1] * around) * np.where(np.arange(40) < switched, 1, 0.5)
    np.testing.assert_allclose(contrary.along(z, actions)[:, 0], expected, atol=1e-4)
    assert contrary.width == pytest.approx(1.75 * contrary.progress.width)


def test_who_is_slow_at_the_switch_late_or_early_is_contrary(contrary):
    own = np.median([contrary.share(x) for x in contrary.of_base])
    assert 0 < own and share(contrary, going(40, 0.6, 50)) < 1.2 * own
    assert share(contrary, going(160, 0.6, 50)) > 3 * own
    late, soon = share(contrary, going(40, 0.75, 50)), share(contrary, going(40, 0.45, 50))
    assert late > 2 * own and soon > 2 * own
    whole = copy.copy(contrary)
    whole._early = 1.0
    assert share(whole, going(40, 0.45, 50)) == pytest.approx(2 * soon)
    assert share(whole, going(40, 0.75, 50)) == pytest.approx(late, rel=0.1)


def test_a_base_demonstration_is_held_against_the_others(contrary):
    states, actions = going(40, 0.6, 3)
    z = contrary.progress.standardise(states)
    np.testing.assert_array_equal(contrary.of_base[3], contrary.along(z, actions, without=3))
    assert (contrary.around(z, without=3) != contrary.around(z)).any()


def test_a_command_is_early_if_the_last_switch_is_nearer_than_the_next():
    signs = np.array([-1, -1, -1, 1, 1, 1, 1, 1, -1, -1.0])[:, None]
    assert early(signs)[:, 0].tolist() == [0, 0, 0, 1, 1, 1, 0, 0, 1, 1]
    assert not early(np.ones((5, 1))).any()


def test_of_several_entries_the_most_contrary_counts(contrary):
    states, actions = going(40, 0.75, 50)
    both = np.column_stack([actions, np.ones(40)])
    made = Contrary(contrary.progress, *zip(*(
        (s, np.column_stack([a, np.ones(40)])) for s, a in (going(40, 0.6, i) for i in range(12))
    ), strict=True), VALUES | {2: (-1.0, 1.0)}, ContraryConfig())  # fmt: skip
    z = contrary.progress.standardise(states)
    found, alone = made.along(z, both), contrary.along(z, actions)
    np.testing.assert_allclose(found, np.column_stack([alone, np.zeros(40)]), atol=1e-6)
    assert made.share(found) == pytest.approx(contrary.share(alone))
    opposite = made.along(z, np.column_stack([actions, -np.ones(40)]))
    np.testing.assert_allclose(opposite, np.column_stack([alone, np.ones(40)]), atol=1e-6)
    np.testing.assert_allclose(most(opposite), 1.0, atol=1e-6)


def test_without_anything_that_switches_nothing_is_contrary(contrary):
    states, actions = going(40, 0.6, 0)
    base = [going(40, 0.6, seed) for seed in range(12)]
    none = Contrary(contrary.progress, *zip(*base, strict=True), {}, ContraryConfig())
    assert not none.along(contrary.progress.standardise(states), actions).any()


def test_settings_out_of_range_are_refused():
    for wrong in ({"bandwidth": 0.0}, {"early": 1.5}):
        with pytest.raises(UserError):
            ContraryConfig(**wrong)
