import numpy as np
import pytest

from robolearn.algos.compatibility import (
    STATISTICS,
    Scale,
    Scores,
    compatibility,
    error,
    gripper_error,
    is_incompatible,
    novelty,
    paper_rejects,
    quadrant,
    score,
    window_means,
)

SCALE = Scale(lam=0.5, eta=0.2, paper_lam=0.5, paper_eta=0.2, noise=0.1, gripper=0.25)


def scores(L, N=None, gripper=None):
    L = np.asarray(L, float)
    N = np.zeros_like(L) if N is None else np.asarray(N, float)
    gripper = np.zeros_like(L) if gripper is None else np.asarray(gripper, float)
    return Scores(L, N, gripper, L, N, difference=np.zeros((len(L), 2)))


def test_error_by_hand():
    predictions = np.array([[[0.0, 1.0]], [[0.5, -1.0]]])  # K = 2, T = 1, A = 2
    actions = np.array([[0.5, 3.0]])  # 3 is clipped to 1
    assert error(predictions, actions) == pytest.approx([((0.25 + 0) / 2 + (0 + 4) / 2) / 2])
    actions = np.array([[0.5, -3.0]])  # and -3 to -1
    assert error(predictions, actions) == pytest.approx([((0.25 + 0) / 2 + (4 + 0) / 2) / 2])


def test_novelty_by_hand():
    predictions = np.array([[[0.0, 1.0]], [[2.0, 1.0]]])  # unbiased std: sqrt(2) and 0
    assert novelty(predictions) == pytest.approx([np.sqrt(2) / 2])


def test_error_and_novelty_by_brute_force():
    rng = np.random.default_rng(0)
    f, a = rng.uniform(-1, 1, (5, 7, 3)), rng.uniform(-1, 1, (7, 3))
    for t in range(7):
        squares = [(f[k, t, j] - a[t, j]) ** 2 for k in range(5) for j in range(3)]
        assert error(f, a)[t] == pytest.approx(np.mean(squares))
        spreads = [
            np.sqrt(sum((f[k, t, j] - f[:, t, j].mean()) ** 2 for k in range(5)) / 4)
            for j in range(3)
        ]
        assert novelty(f)[t] == pytest.approx(np.mean(spreads))


def test_compatibility_quadrants_and_the_papers_verdict():
    L = np.array([0.1, 0.5, 2.0, 2.0, 0.1, 2.0])
    N = np.array([0.0, 0.0, 0.1, 0.3, 0.3, 0.2])
    np.testing.assert_allclose(compatibility(L, N, 0.5, 0.2), [0.8, 0.0, 0.0, 1.0, 1.0, 0.0])
    np.testing.assert_array_equal(is_incompatible(L, N, 0.5, 0.2), [0, 0, 1, 0, 0, 0])
    assert list(quadrant(L, N, 0.5, 0.2)) == [
        "redundant",
        "redundant",  # L == lambda is not above it
        "incompatible",
        "new coverage",
        "new coverage",
        "redundant",  # N == eta is neither above nor below it
    ]
    assert paper_rejects(L, N, 0.5, 0.2, tau=0) and not paper_rejects(L, N, 0.5, 0.2, tau=1)


def test_gripper_error_by_brute_force():
    rng = np.random.default_rng(1)
    f, a = rng.uniform(-1, 1, (3, 12)), rng.choice([-1.0, 1.0], 12)
    for shift in (0, 2, 20):
        for t in range(12):
            near = range(max(0, t - shift), min(12, t + shift + 1))
            expected = min(np.mean([(f[k, u] - a[t]) ** 2 for k in range(3)]) for u in near) / 4
            assert gripper_error(f, a, shift)[t] == pytest.approx(expected)


def test_a_gripper_may_switch_a_few_steps_late_but_not_never():
    base = np.where(np.arange(40) < 20, -1.0, 1.0)
    late, never = np.where(np.arange(40) < 23, -1.0, 1.0), np.full(40, -1.0)
    predictions = np.tile(base, (5, 1))
    assert gripper_error(predictions, late, 0).max() == 1.0
    assert gripper_error(predictions, late, 5).max() == 0.0
    assert gripper_error(predictions, never, 5).max() == 1.0


def test_scores_leave_the_gripper_out_of_the_motion_only():
    predictions, actions = np.zeros((2, 3, 3)), np.zeros((3, 3))
    actions[:, 2] = 1.0
    parts = score(predictions, actions, gripper=2, gripper_shift=1)
    np.testing.assert_allclose(parts.L, 0.0)
    np.testing.assert_allclose(parts.paper_L, 1 / 3)
    np.testing.assert_allclose(parts.gripper, 0.25)
    np.testing.assert_allclose(parts.difference, actions)
    whole = score(predictions, actions, gripper=None, gripper_shift=1)
    np.testing.assert_allclose(whole.L, whole.paper_L)
    np.testing.assert_allclose(whole.gripper, 0.0)


def test_scores_by_brute_force():
    rng = np.random.default_rng(3)
    f, a = rng.uniform(-1, 1, (4, 6, 3)), rng.uniform(-1, 1, (6, 3))
    parts = score(f, a, gripper=1, gripper_shift=0)
    motion = [0, 2]
    np.testing.assert_allclose(parts.L, error(f[:, :, motion], a[:, motion]))
    np.testing.assert_allclose(parts.N, novelty(f[:, :, motion]))
    np.testing.assert_allclose(parts.gripper, np.square(f[:, :, 1] - a[:, 1]).mean(0) / 4)
    np.testing.assert_allclose(parts.paper_L, error(f, a))
    np.testing.assert_allclose(parts.paper_N, novelty(f))
    for t in range(6):
        np.testing.assert_allclose(parts.difference[t], a[t] - sum(f[:, t]) / 4)


def test_every_part_of_the_scale_is_of_its_own_scores():
    L, N, gripper, paper_L, paper_N = np.arange(1.0, 6.0)[:, None] * [0.0, 1.0, 2.0]
    scale = Scale.of([Scores(L, N, gripper, paper_L, paper_N, np.zeros((3, 2)))], quantile=0.75)
    assert (scale.lam, scale.eta, scale.gripper) == (1.5, 3.0, 4.5)
    assert (scale.paper_lam, scale.paper_eta, scale.noise) == (6.0, 7.5, 1.0)


def test_scale_is_the_quantile_of_all_held_out_steps():
    scale = Scale.of([scores([1, 2, 3], [0, 0, 1]), scores([4], [2])], quantile=0.5)
    assert (scale.lam, scale.eta, scale.noise) == (2.5, 0.5, 2.5)
    assert scale.gripper == 0.1  # the least, though the base was never wrong


def test_window_means_by_brute_force():
    x = np.random.default_rng(2).random(9)
    expected = [x[t : t + 4].mean() for t in range(6)]
    np.testing.assert_allclose(window_means(x, 4), expected)
    np.testing.assert_allclose(window_means(x[:2], 4), [x[:2].sum() / 4])


def statistic(name, *args, window=2, **kwargs):
    return STATISTICS[name](scores(*args, **kwargs), SCALE, window)


def test_between_two_full_windows_the_larger_error_is_stranger():
    full, fuller = statistic("worst_share", [1.0, 1.0]), statistic("worst_share", [9.0, 9.0])
    assert full < fuller == pytest.approx(full)
    assert statistic("worst_share", [9.0, 0.4]) < full  # and otherwise it does not matter


def test_statistics_by_hand():
    L, N = [1.0, 0.0, 1.0, 2.0], [0.0, 0.0, 0.1, 0.3]
    assert statistic("count", L, N) == 2  # the last step is novel
    assert statistic("mean_incompatibility", L, N) == pytest.approx(2 / 4)
    assert statistic("mean_error", L, N) == pytest.approx(4 / 4 / 0.5)
    assert statistic("worst_error", L, N) == pytest.approx(1.5 / 0.5)
    assert statistic("worst_familiar", L, N) == pytest.approx(0.5)  # 1 0 1 0
    assert statistic("worst_share", L, N) == pytest.approx(1.0)  # 1 0 1 1
    assert statistic("mean_share", L, N) == pytest.approx(0.75)
    assert statistic("worst_share", [0.25, 0], gripper=[0, 0.25]) == pytest.approx(0.75)
    relative = np.array(L) / (np.square(N) + 0.1)
    assert statistic("worst_relative", L, N) == pytest.approx(relative[2:].mean())
    assert statistic("mean_error", [1.0, 0.0], gripper=[0.5, 0.25]) == pytest.approx((4 + 1) / 2)
    assert statistic("worst_relative", [0.2, 0], gripper=[0.5, 0]) == pytest.approx((2 + 2) / 2)
    assert statistic("worst_gripper", L, gripper=[0, 1, 0, 0]) == pytest.approx(0.5 / 0.25)


@pytest.mark.parametrize("name", STATISTICS)
def test_a_longer_window_than_the_demonstration_dilutes_what_looks_at_windows(name):
    statistic, three = STATISTICS[name], scores([1.0, 1.0, 1.0], gripper=[0.3, 0.3, 0.3])
    diluted = statistic(three, SCALE, 6) < statistic(three, SCALE, 3)
    assert diluted == statistic.by_window == name.startswith("worst_")


def test_a_state_whose_novelty_is_eta_is_not_familiar():
    assert statistic("worst_familiar", [1.0, 1.0], [0.2, 0.2]) == 0.0
    assert statistic("worst_branch", [1.0, 1.0], [0.2, 0.2]) == 0.0
    assert statistic("worst_familiar", [1.0, 1.0], [0.19, 0.2]) == pytest.approx(0.5)


def test_what_lets_a_step_count_for_one_at_most_is_capped_at_one():
    capped = {name for name, one in STATISTICS.items() if one.cap == 1.0}
    assert capped == {"worst_share", "worst_familiar", "worst_branch"}
    assert {STATISTICS[name].cap for name in STATISTICS.keys() - capped} == {np.inf}


def test_a_branch_counts_for_one_window_after_the_last_familiar_state():
    L, N = [1.0] * 6, [0.0, 0.0, 0.3, 0.3, 0.3, 0.3]
    branch = STATISTICS["worst_branch"].disagreement(scores(L, N), SCALE, 3)
    np.testing.assert_allclose(branch, [1, 1, 1, 1, 0, 0])


def test_a_short_branch_is_seen_by_the_window_not_by_the_count_or_the_mean():
    sloppy = scores(np.where(np.arange(200) % 4 == 0, 0.6, 0.0))  # now and then above lambda
    branch = scores(np.where((np.arange(200) >= 50) & (np.arange(200) < 58), 2.0, 0.0))
    for name in ("count", "mean_incompatibility", "mean_share"):
        assert STATISTICS[name](branch, SCALE, 8) < STATISTICS[name](sloppy, SCALE, 8)
    for name in ("worst_error", "worst_relative", "worst_share", "worst_familiar", "worst_branch"):
        assert STATISTICS[name](branch, SCALE, 8) > 3 * STATISTICS[name](sloppy, SCALE, 8)
