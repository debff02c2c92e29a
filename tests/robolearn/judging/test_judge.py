"""Verdicts on a synthetic operator: a point that is steered to the origin, where it grasps."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import robolearn
from robolearn.algos.bc import BCConfig, BehaviorCloning
from robolearn.algos.compatibility import STATISTICS, Scale
from robolearn.errors import DataError, SpecError, UserError
from robolearn.judging.calibration import calibrate
from robolearn.judging.files import load_judge, save_judge
from robolearn.judging.judge import (
    Fold,
    Judge,
    JudgeConfig,
    LiveScore,
    score_under,
    warn_if_short,
)
from robolearn.judging.limits import ActionLimits
from robolearn.loops.offline import OfflineConfig
from robolearn.types import ArraySpec, Spec

NETWORK = BCConfig(members=3, widths=(32,), dropout=0.1, learning_rate=5e-3)
TRAINING = OfflineConfig(epochs=25, batch_size=64, validation_share=0.2)
NAMES = Spec(
    "test/Point",
    {"state": ArraySpec((2,))},
    ArraySpec((3,), names=("dx", "dy", "gripper")),
    period_s=0.1,
)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def demonstration(rng, steps=40, noise=None, branch=(0, 0), mirrored=False):
    """Give states [T, 2] and actions [T, 3]; on the branch, the operator goes the other way in x.

    ``noise`` differs from demonstration to demonstration, as a person's care does.
    """
    noise = rng.uniform(0.05, 0.3) if noise is None else noise
    x = rng.uniform(-1, 1, 2)
    states, actions = [], []
    for t in range(steps):
        move = np.tanh(-3.0 * x) + noise * rng.normal(size=2)
        if mirrored or branch[0] <= t < branch[1]:
            move[0] = -np.sign(move[0]) * 0.9
        action = np.clip([*move, 1.0 if np.abs(x).max() < 0.3 else -1.0], -1, 1)
        states.append(x)
        actions.append(action)
        x = np.clip(x + 0.1 * action[:2], -1, 1)
    return np.array(states), np.array(actions)


def demonstrations(n, seed, **kwargs):
    rng = np.random.default_rng(seed)
    states, actions = zip(*[demonstration(rng, **kwargs) for _ in range(n)], strict=True)
    return list(states), list(actions)


@pytest.fixture(scope="module")
def judge():
    return calibrate(
        *demonstrations(40, seed=0),
        gripper="gripper",
        interface=NAMES,
        config=JudgeConfig(window=5),
        network=NETWORK,
        training=TRAINING,
    )


def rejected_share(judge, observations, actions):
    verdicts = [judge.score(s, a) for s, a in zip(observations, actions, strict=True)]
    return np.mean([not verdict.accepted for verdict in verdicts])


def test_the_operators_own_are_accepted_and_another_ones_rejected(judge):
    assert rejected_share(judge, *demonstrations(40, seed=1)) <= 0.15
    assert rejected_share(judge, *demonstrations(10, seed=2, mirrored=True)) == 1.0


def test_a_short_branch_is_seen_by_the_window_and_missed_by_the_count(judge):
    of_five = demonstrations(20, seed=3, noise=0.05, branch=(3, 8))
    assert rejected_share(judge, *of_five) >= 0.9
    assert rejected_share(judge.using("mean_share"), *of_five) <= 0.1
    of_four = demonstrations(20, seed=3, noise=0.05, branch=(3, 7))
    assert rejected_share(judge.using("worst_error"), *of_four) >= 0.9
    assert rejected_share(judge.using("count"), *of_four) <= 0.1


def test_the_verdict_points_at_the_branch_and_the_action_entry(judge):
    (states,), (actions,) = demonstrations(1, seed=4, noise=0.05, branch=(2, 7))
    verdict = judge.score(states, actions)
    assert verdict.worst_window == (2, 7)
    assert verdict.cue.startswith("dx ")
    assert np.sign(verdict.difference[0]) == np.sign(actions[2, 0])
    assert verdict.incompatible[2:7].sum() >= 4 and verdict.M[2:7].mean() < 0.3
    assert len(verdict.M) == len(verdict.scores.L) == len(actions)


def test_filtering_by_demonstration_keeps_the_compatible_ones(judge):
    good, bad = demonstrations(6, seed=5), demonstrations(6, seed=6, mirrored=True)
    observations, actions = judge.filter(good[0] + bad[0], good[1] + bad[1])
    kept = [id(array) for array in observations]
    assert len(kept) >= 5 and set(kept) <= {id(array) for array in good[0]}
    assert len(observations) == len(actions)


def test_filtering_by_stretch_cuts_the_branch_out_of_what_is_rejected(judge):
    (good,), (good_actions,) = demonstrations(1, seed=5)
    (bad,), (bad_actions,) = demonstrations(1, seed=7, noise=0.05, branch=(4, 12))
    assert judge.score(good, good_actions).accepted
    assert not judge.score(bad, bad_actions).accepted
    (whole, cut), (_, cut_actions) = judge.filter_stretches(
        [good, bad], [good_actions, bad_actions]
    )
    np.testing.assert_array_equal(whole, good)
    kept = [int(np.flatnonzero((bad == state).all(axis=1))[0]) for state in cut]
    assert not set(range(5, 11)) & set(kept)  # the branch is gone
    assert set(range(20, len(bad))) <= set(kept)  # what agrees, long after it, is not
    np.testing.assert_array_equal(cut_actions, bad_actions[kept])


def test_filtering_by_pair_drops_the_incompatible_steps_only(judge):
    given = demonstrations(4, seed=7, branch=(3, 8))
    observations, actions = judge.filter_pairs(*given)
    for i, (states, kept) in enumerate(zip(given[0], observations, strict=True)):
        incompatible = judge.score(states, given[1][i]).incompatible
        np.testing.assert_array_equal(kept, states[~incompatible])
        np.testing.assert_array_equal(actions[i], given[1][i][~incompatible])
        assert 3 <= incompatible.sum() <= 15


def test_live_scores_are_those_of_the_whole_demonstration(judge):
    (states,), (actions,) = demonstrations(1, seed=8, branch=(3, 8))
    verdict, live = judge.score(states, actions), judge.live()
    for t in (0, 5, 20):
        L, N, M = live.score_step(states[t].astype(np.float32), actions[t])
        expected = (verdict.scores.L[t], verdict.scores.N[t], verdict.M[t])
        np.testing.assert_allclose((L, N, M), expected, rtol=1e-3, atol=1e-5)


def test_scoring_is_free_of_dropout_and_repeats(judge):
    (states,), (actions,) = demonstrations(1, seed=9)
    first, second = judge.score(states, actions), judge.score(states, actions)
    np.testing.assert_array_equal(first.scores.L, second.scores.L)
    assert first.p_value == second.p_value


def test_a_judge_from_disk_gives_the_same_verdicts(judge, tmp_path):
    save_judge(tmp_path / "judge", judge)
    loaded = load_judge(tmp_path / "judge", NAMES)
    assert loaded.config == judge.config and loaded.scale == judge.scale
    for states, actions in zip(*demonstrations(5, seed=14, branch=(3, 8)), strict=True):
        assert loaded.compare(states, actions) == judge.compare(states, actions)
        ours, theirs = judge.score(states, actions), loaded.score(states, actions)
        np.testing.assert_array_equal(ours.M, theirs.M)


def test_a_judge_from_disk_has_its_limits_and_an_older_one_those_of_one(judge, tmp_path):
    limits = ActionLimits.of(([-2.0, -3.0, 0.0], 3.0), True, size=3)
    save_judge(tmp_path / "judge", replace(judge, limits=limits))
    loaded = load_judge(tmp_path / "judge", NAMES).limits
    assert loaded.low.tolist() == [-2.0, -3.0, 0.0] and loaded.high == 3.0 and loaded.clip
    file = tmp_path / "judge" / "judge.json"
    stored = json.loads(file.read_text())
    file.write_text(json.dumps({k: v for k, v in stored.items() if k != "limits"}))
    assert load_judge(tmp_path / "judge", NAMES).limits == ActionLimits()
    file.write_text(json.dumps(stored | {"limits": {"low": "a", "high": 1.0, "clip": True}}))
    with pytest.raises(DataError, match="no judge here, or a damaged one"):
        load_judge(tmp_path / "judge", NAMES)


def test_a_judge_that_is_damaged_or_of_another_robot_is_refused(judge, tmp_path):
    save_judge(tmp_path / "judge", judge)
    with pytest.raises(SpecError, match="action has shape"):
        load_judge(tmp_path / "judge", replace(NAMES, action=ArraySpec((7,))))
    (tmp_path / "judge" / "judge.json").write_text("{}")
    with pytest.raises(DataError, match="no judge here, or a damaged one"):
        load_judge(tmp_path / "judge", NAMES)


def test_every_statistic_is_at_hand_without_training_again(judge):
    (states,), (actions,) = demonstrations(1, seed=10)
    values = judge.compare(states, actions)
    assert values.keys() == STATISTICS.keys()
    for name, (value, p_value) in values.items():
        verdict = judge.using(name).score(states, actions)
        assert (verdict.statistic, verdict.p_value) == (value, p_value)


def test_no_fold_has_seen_what_it_holds_out(judge):
    """Each held-out demonstration scores as strange as a new one, not as one learnt by heart."""
    assert sum(len(fold.held_out) for fold in judge.folds) == 40
    new = [judge.score(s, a).scores.L.mean() for s, a in zip(*demonstrations(40, 1), strict=True)]
    held_out = [s.L.mean() for fold in judge.folds for s in fold.held_out]
    assert np.mean(held_out) == pytest.approx(np.mean(new), rel=0.25)


def test_the_false_rejection_rate_is_about_alpha_over_many_calibrations():
    """A little below it: few demonstrations, whose folds' networks are not quite alike."""
    tiny = BCConfig(members=2, widths=(24,), dropout=0.0, learning_rate=1e-2)
    shares = []
    for draw in range(8):
        calibrated = calibrate(
            *demonstrations(29, seed=100 + draw, steps=20),
            seed=draw,
            config=JudgeConfig(false_rejection_rate=0.2, window=5, folds=3),
            network=tiny,
            training=OfflineConfig(epochs=10, batch_size=64, validation_share=0.2),
        )
        shares.append(rejected_share(calibrated, *demonstrations(30, seed=200 + draw, steps=20)))
    assert 0.1 <= np.mean(shares) <= 0.25, np.mean(shares)


def test_the_face_for_plain_arrays():
    mine, theirs = demonstrations(20, seed=11), demonstrations(3, seed=12, mirrored=True)
    quick = dict(network=NETWORK, training=TRAINING)

    judge = robolearn.calibrate(*mine, seed=0, **quick)
    verdict = judge.score(theirs[0][0], theirs[1][0])
    kept_observations, kept_actions = judge.filter(*theirs)

    assert not verdict.accepted and verdict.p_value == 1 / 21
    assert kept_observations == kept_actions == []
    assert verdict.cue.startswith("action_0 ")


def test_the_lines_in_the_documentation_run():
    shown = (Path(__file__).parents[3] / "docs" / "judging.md").read_text()
    start = "from robolearn import calibrate\n"
    lines = start + shown.partition(start)[2].partition("```")[0]
    mine = demonstrations(20, seed=11, steps=12)
    theirs = demonstrations(3, seed=12, steps=12, mirrored=True)
    names = {
        "observations": mine[0],
        "actions": mine[1],
        "new_observations": theirs[0][0],
        "new_actions": theirs[1][0],
        "others_observations": theirs[0],
        "others_actions": theirs[1],
    }
    exec(lines, names)
    assert len(lines.splitlines()) <= 10
    assert not names["verdict"].accepted and names["kept_actions"] == []


def test_a_saturated_statistic_is_warned_of(recwarn):
    """A window of one step is full as soon as one step disagrees."""
    mine, quick = demonstrations(20, seed=14, steps=12), dict(network=NETWORK, training=TRAINING)
    calibrate(*mine, config=JudgeConfig(window=8), **quick)
    calibrate(*mine, config=JudgeConfig(window=1, statistic="mean_share"), **quick)
    assert not recwarn
    with pytest.warns(UserWarning, match="of 20 base .* window of 1 steps.*'mean_share'") as told:
        calibrate(*mine, config=JudgeConfig(window=1), **quick)
    assert told[0].filename == __file__


def test_a_demonstration_shorter_than_the_window_is_warned_of(judge, recwarn):
    """Mirrored, and yet accepted: that is what the warning is about."""
    (states,), (actions,) = demonstrations(1, seed=16, steps=5, mirrored=True)
    assert not judge.score(states, actions).accepted  # as long as the window
    assert not recwarn
    with pytest.warns(UserWarning) as told:
        assert judge.score(states[:2], actions[:2]).accepted
    assert [str(warning.message) for warning in told] == [
        "a demonstration of 2 steps is shorter than the window of 5 steps: so short, none can be"
        " rejected reliably, as missing steps count as agreement; calibrate with a shorter window"
    ]
    assert told[0].filename == __file__
    with pytest.warns(UserWarning, match="of 2 steps is .* window of 5") as told:
        judge.compare(states[:2], actions[:2])
    assert len(told) == 1 and told[0].filename == __file__


@pytest.mark.parametrize("filtering", ["filter", "filter_stretches"])
def test_filtering_warns_of_all_short_demonstrations_at_once(judge, filtering):
    states, actions = demonstrations(4, seed=17, steps=6)
    for i, steps in enumerate((4, 2, 5)):
        states[i], actions[i] = states[i][:steps], actions[i][:steps]
    with pytest.warns(UserWarning) as told:
        getattr(judge, filtering)(states, actions)
    (warning,) = told
    assert str(warning.message).startswith(
        "2 of 4 demonstrations (the shortest: 2 steps) are shorter than the window of 5 steps: "
    )
    assert warning.filename == __file__


def test_what_looks_at_no_window_does_not_warn_of_its_length(judge, recwarn):
    states, actions = demonstrations(2, seed=17, steps=4)
    judge.using("mean_share").score(states[0], actions[0])
    judge.using("count").filter(states, actions)
    judge.filter_pairs(states, actions)
    assert not recwarn


def test_base_demonstrations_shorter_than_the_window_are_warned_of(recwarn):
    mine, quick = demonstrations(20, seed=18, steps=8), dict(network=NETWORK, training=TRAINING)
    mine[0][3], mine[1][3] = mine[0][3][:7], mine[1][3][:7]
    calibrate(*mine, config=JudgeConfig(window=7), **quick)
    assert not recwarn
    with pytest.warns(UserWarning) as told:
        calibrate(*mine, config=JudgeConfig(window=8), **quick)
    (warning,) = told
    assert str(warning.message).startswith(
        "1 of 20 base demonstrations (the shortest: 7 steps) are shorter than the window of 8"
    )
    assert warning.filename == __file__


def test_calibrating_and_judging_take_one_thread_and_give_the_others_back(monkeypatch):
    seen = []
    predict = BehaviorCloning.predict

    def overheard(policy, states):
        seen.append(torch.get_num_threads())
        return predict(policy, states)

    monkeypatch.setattr(BehaviorCloning, "predict", overheard)
    torch.set_num_threads(2)
    mine = demonstrations(20, seed=15, steps=5)
    calibrated = calibrate(
        *mine,
        network=NETWORK,
        training=OfflineConfig(epochs=1, validation_share=0.2),
        on_fit=lambda done, total: seen.append(torch.get_num_threads() - 1),
    )
    calibrated.score(mine[0][0], mine[1][0])
    assert set(seen) == {1} and torch.get_num_threads() == 2
    torch.set_num_threads(1)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"observations": [], "actions": []}, DataError, "with 0 demonstrations .*at least 19"),
        ({"actions": []}, DataError, "observations of 20 demonstrations, but actions of 0"),
        ({"gripper": 3}, SpecError, "no entry 3 among 3"),
        ({"gripper": "hand"}, SpecError, "no entry 'hand'"),
        ({"actions": [np.zeros((5, 1))] * 20, "gripper": 0}, SpecError, "only action entry"),
        ({"training": OfflineConfig(validation_share=0.0)}, UserError, "validation_share"),
        ({"network": BCConfig(members=1)}, UserError, "members: .* 2 at least"),
    ],
)
def test_what_cannot_be_calibrated_is_a_one_line_error(changes, error, words):
    observations, actions = demonstrations(20, seed=13, steps=5)
    arguments = {"observations": observations, "actions": actions} | changes
    with pytest.raises(error, match=words):
        calibrate(**arguments)


def test_a_faulty_demonstration_is_named():
    observations, actions = demonstrations(20, seed=13, steps=5)
    observations[7][2, 0] = np.nan
    with pytest.raises(DataError, match="demonstration 7: observations are not finite at step 2"):
        calibrate(observations, actions)


def test_another_robots_demonstration_is_refused(judge):
    with pytest.raises(SpecError, match=r"actions have shape \(5, 7\) instead of \[T, 3\]"):
        judge.score(np.zeros((5, 2)), np.zeros((5, 7)))


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"statistic": "worst_shaer"}, "did you mean 'worst_share'"),
        ({"false_rejection_rate": 0.0}, "false_rejection_rate should be greater than 0, not 0.0"),
        ({"window": 0}, "window should"),
    ],
)
def test_settings_are_checked(setting, words):
    with pytest.raises(UserError, match=words):
        JudgeConfig(**setting)


# by hand: ensembles whose actions are written down

SCALE = Scale(lam=0.5, eta=0.2, paper_lam=0.5, paper_eta=0.2, noise=0.1, gripper=0.25)
LENIENT = replace(SCALE, lam=1.0)
STILL = (0.0, 0.0, -1.0)  # what the ensembles do: neither move nor grasp


class Written:
    """Two members that do the same wherever they are, ``spread`` more and ``spread`` less."""

    def __init__(self, spread=0.0, interface=NAMES):
        self.interface, self.spread = interface, spread

    def predict(self, states):
        offset = self.spread * np.array([[[-1.0]], [[1.0]]])
        return np.tile(STILL, (2, len(states), 1)) + offset


def moves(*steps):
    """Give a demonstration: steps are dx, or (dx, dy), or (dx, dy, gripper) where it is not -1.

    Under ``Written`` and SCALE the error of a step, L / lambda, is dx^2 + dy^2.
    """
    actions = [np.r_[step, STILL[np.size(step) :]] for step in steps]
    return np.zeros((len(steps), 2)), np.array(actions)


def scored(*steps):
    return score_under(Written(), moves(*steps), gripper=2, gripper_shift=0)


def written(*folds, spread=0.0, scale=SCALE, interface=NAMES, **settings):
    """Make a judge; each fold is a scale and the demonstrations that it held out."""
    return Judge(
        JudgeConfig(**{"window": 2, "gripper_shift": 0, "folds": 2} | settings),
        Written(spread, interface),
        scale,
        tuple(Fold(Written(), own, tuple(scored(*d) for d in held)) for own, held in folds),
        gripper=2,
    )


TWO_FOLDS = ((SCALE, [(0.0, 0.0), (1.0, 1.0)]), (LENIENT, [(0.5, 0.5)]))


def test_the_verdict_by_hand():
    verdict = written(*TWO_FOLDS).score(*moves(0.0, 0.5, 1.0, 0.0))
    # shares of the first fold: 0, 1/4, 1, 0; of the second: 0, 1/8, 1/2, 0
    assert verdict.statistic == pytest.approx((0.625 + 0.3125) / 2)
    assert verdict.p_value == (1 + 1) / (1 + 3)  # only 1, 1 is as strange
    assert verdict.accepted and verdict.worst_window == (1, 3)
    np.testing.assert_allclose(verdict.difference, [0.75, 0.0, 0.0])
    np.testing.assert_allclose(verdict.M, [1.0, 0.75, 0.0, 1.0])
    np.testing.assert_allclose(verdict.scores.L, [0.0, 0.125, 0.5, 0.0])
    assert verdict.cue == "dx +0.75"


def test_a_p_value_of_just_the_false_rejection_rate_rejects():
    given = moves(0.0, 0.5, 1.0, 0.0)  # p = 1/2
    assert not written(*TWO_FOLDS, false_rejection_rate=0.5).score(*given).accepted
    assert written(*TWO_FOLDS, false_rejection_rate=0.49).score(*given).accepted


def test_comparing_gives_the_statistics_by_name():
    judge = written(*TWO_FOLDS, statistic="mean_error")
    values = judge.compare(*moves(0.0, 0.5, 1.0, 0.0))
    assert values["mean_error"] == pytest.approx(((1.25 / 4 + 0.625 / 4) / 2, 2 / 4))
    assert values["worst_gripper"] == (0.0, 1.0)
    assert judge.score(*moves(0.0, 0.5, 1.0, 0.0)).statistic == values["mean_error"][0]
    assert judge.using("count").config == replace(judge.config, statistic="count")


def test_a_demonstration_shorter_than_the_window_is_a_window():
    verdict = written(*TWO_FOLDS, window=3).score(*moves(0.5, 1.0))
    assert verdict.worst_window == (0, 2)
    np.testing.assert_allclose(verdict.difference, [0.75, 0.0, 0.0])


def test_the_cue_names_what_is_a_tenth_of_the_difference_and_the_largest_first():
    cues = {
        step: written(*TWO_FOLDS).score(*moves(step, step)).cue
        for step in ((0.25, -0.75), (0.125, 0.5), (1.0, -0.5, 0.0))
    }
    assert list(cues.values()) == [
        "dy -0.75, dx +0.25",
        "dy +0.50",
        "dx +1.00, gripper +1.00, dy -0.50",
    ]


def test_the_cue_of_entries_without_names():
    nameless = replace(NAMES, action=ArraySpec((3,)))
    verdict = written(*TWO_FOLDS, interface=nameless).score(*moves((0.0, 0.5), (0.0, 0.5)))
    assert verdict.cue == "action_1 +0.50"


def test_steps_are_incompatible_by_motion_or_by_gripper_where_states_are_familiar():
    given = moves(0.0, (0.0, 0.0, 1.0), 1.0, (0.9, 0.9))  # 1.0: L is lambda, and not above it
    assert written(*TWO_FOLDS).score(*given).incompatible.tolist() == [False, True, False, True]
    novel = written(*TWO_FOLDS, spread=0.2).score(*given)  # N = 0.28
    assert not novel.incompatible.any() and novel.M.tolist() == [1.0] * 4
    np.testing.assert_allclose(novel.scores.N, 0.2 * np.sqrt(2))


def test_the_gripper_may_be_early_as_many_steps_as_the_settings_say():
    class Late(Written):
        def predict(self, states):
            predictions = super().predict(states)
            predictions[:, 2:, 2] = 1.0
            return predictions

    given = moves(*[(0.0, 0.0, 1.0)] * 4)
    for shift, expected in ((0, [True, True, False, False]), (1, [True, False, False, False])):
        judge = replace(written(*TWO_FOLDS, gripper_shift=shift), policy=Late())
        assert judge.score(*given).incompatible.tolist() == expected


def within(judge, clip=False):
    """Give the same judge of actions between -2 and 2."""
    return replace(judge, limits=ActionLimits.of((-2.0, 2.0), clip, size=3))


def test_a_verdict_is_the_same_in_other_units_and_tells_them():
    states, actions = moves(0.0, 0.5, 1.0, 0.0)
    plain = written(*TWO_FOLDS)
    ours, theirs = plain.score(states, actions), within(plain).score(states, 2 * actions)
    assert (theirs.statistic, theirs.p_value) == (ours.statistic, ours.p_value)
    np.testing.assert_array_equal(theirs.difference, ours.difference)
    np.testing.assert_array_equal(theirs.M, ours.M)
    assert (ours.cue, theirs.cue) == ("dx +0.75", "dx +1.50")
    assert theirs.clipped == 0
    assert within(plain).compare(states, 2 * actions) == plain.compare(states, actions)


def test_what_lies_beyond_the_limits_is_refused_or_judged_at_them_and_counted():
    states, actions = moves(0.0, 0.5, 1.0, 0.0)
    beyond = 2 * actions
    beyond[2, 0], beyond[3, 2] = 2.5, -7.0
    judge = written(*TWO_FOLDS)
    with pytest.raises(DataError, match="leave their limits at step 2, and at 2 of 4 .*clip=True"):
        within(judge).score(states, beyond)
    with pytest.raises(DataError, match=r"leave \[-1, 1\] at step 0, .* give limits=\[low, high\]"):
        judge.score(states, beyond)
    verdict, at_limit = within(judge, clip=True).score(states, beyond), judge.score(states, actions)
    assert verdict.clipped == 2
    assert (verdict.statistic, verdict.p_value) == (at_limit.statistic, at_limit.p_value)
    np.testing.assert_array_equal(verdict.departure, at_limit.departure)


def test_what_is_kept_is_clipped_as_it_was_judged_in_its_own_units():
    states, actions = moves(0.0, (0.0, 0.0, -9.0), 0.0)
    judge = within(written(*TWO_FOLDS), clip=True)
    given = actions * 2
    for keep in (judge.filter, judge.filter_stretches, judge.filter_pairs):
        (_,), (kept,) = keep([states], [given])
        np.testing.assert_array_equal(kept[:, 2], [-2.0, -2.0, -2.0])
    assert given[1, 2] == -18.0


def test_filters_by_hand():
    judge = written(*TWO_FOLDS, false_rejection_rate=0.5)
    calm, branch = moves(0.0, 0.0, 0.0), moves(0.0, (0.9, 0.9), 1.0, 0.0)  # p = 1 and 1/2
    (observations,), (actions,) = judge.filter([calm[0], branch[0]], [calm[1], branch[1]])
    assert observations is calm[0] and actions is calm[1]
    kept = judge.filter_pairs([calm[0], branch[0]], [calm[1], branch[1]])
    assert [len(states) for states in kept[0]] == [3, 3]
    np.testing.assert_array_equal(kept[1][1], branch[1][[0, 2, 3]])


# errors of a whole window, 0, 1/16, 1/8, 1/4 and 1/2; three quarters are 1/4 at most
FIVE = (
    (SCALE, [(0.0, 0.0), (0.25, 0.25), ((0.25, 0.25), (0.25, 0.25))]),
    (SCALE, [(0.5, 0.5), ((0.5, 0.5), (0.5, 0.5))]),
)
BRANCH = (
    0.0,
    (1.0, 1.0),
    (1.0, 1.0),
    0.0,
    0.0,
    (0.5, 0.5),
    0.0,
    0.5,
    0.5,
)  # 0 2 2 0 0 1/2 0 1/4 1/4


def kept_steps(judge, *steps):
    """Number the steps by their states, and give those that are kept."""
    _, actions = moves(*steps)
    states = np.column_stack([np.arange(len(steps)), np.zeros(len(steps))])
    (observations,), (kept,) = judge.filter_stretches([states], [actions])
    np.testing.assert_array_equal(kept, actions[observations[:, 0].astype(int)])
    return observations[:, 0].tolist()


def test_a_stretch_goes_if_a_window_disagrees_more_than_most_of_the_base():
    judge = written(*FIVE, statistic="worst_error", false_rejection_rate=0.25)
    assert kept_steps(judge, *BRANCH) == [4, 5, 6, 7, 8]  # 1/4 is not above it
    whole = [0.5, 0.5, 0.0]
    assert kept_steps(judge, *whole) == [0, 1, 2]  # accepted, p = 3/6


def test_of_what_is_rejected_the_worst_window_goes_at_least():
    """The folds reject it, but in the units of the main ensemble it is below the limit."""
    lax = replace(SCALE, lam=8.0)
    judge = written(*FIVE, scale=lax, statistic="worst_error", false_rejection_rate=0.25)
    assert kept_steps(judge, *BRANCH) == [0, 3, 4, 5, 6, 7, 8]


def test_a_branch_from_familiar_states_counts_as_any_disagreement_does():
    share, branch = (
        written(*TWO_FOLDS, statistic=name, false_rejection_rate=0.5)
        for name in ("worst_share", "worst_branch")
    )
    steps = (0.0, 0.5, 1.0, 0.0)
    assert branch.score(*moves(*steps)).worst_window == (1, 3)
    assert kept_steps(branch, *steps) == kept_steps(share, *steps) == [0]


def warned(*lengths, whose="base ", **settings):
    """Have demonstrations of these lengths looked at, as a method of the judge does."""
    actions = [np.zeros((length, 1)) for length in lengths]
    warn_if_short(actions, JudgeConfig(window=5, **settings), whose)


@pytest.mark.parametrize(
    ("lengths", "begin"),
    [
        ((4,), "a base demonstration of 4 steps is"),
        ((4, 6), "1 of 2 base demonstrations (the shortest: 4 steps) are"),
        ((4, 9, 3), "2 of 3 base demonstrations (the shortest: 3 steps) are"),
    ],
)
def test_the_warning_of_short_demonstrations_by_hand(lengths, begin, recwarn):
    warned(*lengths)
    (told,) = recwarn
    assert str(told.message) == (
        f"{begin} shorter than the window of 5 steps: so short, none can be rejected reliably, as "
        "missing steps count as agreement; calibrate with a shorter window"
    )
    here = Path(__file__).read_text().splitlines()
    assert told.filename == __file__ and here[told.lineno - 1].strip() == "warned(*lengths)"


def test_nothing_is_said_of_demonstrations_as_long_as_the_window_or_judged_without_one(recwarn):
    warned(5, 6)
    warned(4, statistic="mean_share")
    assert not recwarn.list
    warn_if_short([np.zeros((4, 1))], JudgeConfig(window=5))
    assert str(recwarn.pop().message).startswith("a demonstration of 4 steps is")


def test_a_live_score_is_that_of_the_judges_policy_scale_and_gripper(monkeypatch):
    monkeypatch.setattr("robolearn.judging.judge.LiveScore", lambda *given: given)
    judge = written(*TWO_FOLDS)
    assert judge.live() == (judge.policy, judge.scale, judge.gripper, judge.limits)


def test_a_live_score_is_the_same_in_other_units_and_beyond_them_that_of_the_limit():
    policy = BehaviorCloning(NAMES, NETWORK, seed=3)
    (state,), (action,) = demonstration(np.random.default_rng(0), steps=1)
    plain = LiveScore(policy, SCALE, 2)
    scaled = LiveScore(
        policy, SCALE, 2, ActionLimits.of(([-2.0, -4.0, -1.0], [2.0, 4.0, 1.0]), False, 3)
    )
    units = np.array([2.0, 4.0, 1.0])
    assert scaled.score_step(state, action * units) == plain.score_step(state, action)
    far, limit = np.array([-9.0, 0.5, 1.0]), np.array([-2.0, 0.5, 1.0])
    assert scaled.score_step(state, far) == scaled.score_step(state, limit)


def test_a_live_score_leaves_the_gripper_out():
    policy = BehaviorCloning(NAMES, NETWORK, seed=3)
    states, actions = demonstration(np.random.default_rng(0), steps=3)
    for gripper in (2, None):
        parts = score_under(policy, (states, actions), gripper, 0)
        live = LiveScore(policy, replace(SCALE, eta=parts.N[1], lam=2 * parts.L[1]), gripper)
        for t in range(3):
            L, N, M = live.score_step(states[t].astype(np.float32), actions[t])
            assert (L, N) == pytest.approx((parts.L[t], parts.N[t]), rel=1e-4)
            expected = 1.0 if N > parts.N[1] else 1.0 - min(L / (2 * parts.L[1]), 1.0)
            assert M == pytest.approx(expected, rel=1e-4)


def test_an_unknown_statistic_is_named():
    with pytest.raises(UserError, match="^statistic: unknown 'worst_shaer'; did you mean"):
        JudgeConfig(statistic="worst_shaer")
