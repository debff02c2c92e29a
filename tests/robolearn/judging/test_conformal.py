import numpy as np
import pytest

from robolearn.errors import DataError
from robolearn.judging.conformal import cross_conformal_p_value, deal_folds, require_enough


def test_p_value_by_hand():
    held_out = [np.array([1.0, 3.0]), np.array([2.0, 5.0, 7.0])]
    assert cross_conformal_p_value(held_out, [2.0, 5.0]) == (1 + 1 + 2) / 6  # 3; 5 (a tie) and 7
    assert cross_conformal_p_value(held_out, [9.0, 9.0]) == 1 / 6
    assert cross_conformal_p_value(held_out, [0.0, 0.0]) == 1.0


def test_split_conformal_is_exact():
    """Of n + 1 exchangeable examples each may be the new one: every p-value comes up once."""
    scores = np.random.default_rng(0).normal(size=10)
    p = [cross_conformal_p_value([np.delete(scores, i)], [scores[i]]) for i in range(10)]
    np.testing.assert_allclose(np.sort(p), np.arange(1, 11) / 10)


def test_ties_never_make_a_rejection_likelier():
    assert cross_conformal_p_value([np.zeros(19)], [0.0]) == 1.0


def test_folds_are_a_partition_of_nearly_equal_parts():
    folds = deal_folds(23, 5, np.random.default_rng(0))
    assert sorted(np.concatenate(folds)) == list(range(23))
    assert {len(fold) for fold in folds} == {4, 5}


@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_cross_conformal_rejects_about_alpha_of_its_own(alpha):
    """The model is the mean of the other folds, the score the distance to it."""
    rng = np.random.default_rng(1)
    rejected = []
    for _ in range(1500):
        x, new = rng.standard_t(3, size=(39, 2)), rng.standard_t(3, size=2)
        folds = deal_folds(len(x), 5, rng)
        centres = [np.delete(x, fold, axis=0).mean(0) for fold in folds]
        held_out = [np.linalg.norm(x[f] - c, axis=1) for f, c in zip(folds, centres, strict=True)]
        p = cross_conformal_p_value(held_out, [np.linalg.norm(new - c) for c in centres])
        rejected.append(p <= alpha)
    assert np.mean(rejected) == pytest.approx(alpha, abs=0.02)


@pytest.mark.parametrize(("alpha", "needed"), [(0.05, 19), (0.1, 9), (0.03, 33)])
def test_too_few_examples_are_refused_with_the_number_needed(alpha, needed):
    require_enough(needed, alpha, folds=5)
    with pytest.raises(DataError, match=f"at least {needed}"):
        require_enough(needed - 1, alpha, folds=5)


def test_too_few_examples_are_told_which_rate_they_allow():
    with pytest.raises(DataError, match="of 0.05 would reject nothing: .* or allow 0.143$"):
        require_enough(6, 0.05, folds=2)  # 1 / 7


def test_fewer_examples_than_folds_are_refused():
    with pytest.raises(DataError, match="10 folds: give at least 10$"):
        require_enough(6, 0.2, folds=10)


def test_four_examples_are_the_least_that_are_dealt():
    require_enough(4, 0.3, folds=2)
    with pytest.raises(DataError, match="3 demonstrations cannot .* 2 folds: give at least 4$"):
        require_enough(3, 0.3, folds=2)


def test_a_new_score_for_every_fold():
    with pytest.raises(ValueError, match="shorter"):
        cross_conformal_p_value([np.zeros(2), np.zeros(2)], [1.0])
