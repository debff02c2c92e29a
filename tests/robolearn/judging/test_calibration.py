"""What a calibration trains on what, and scores by what; nothing here is really trained."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from robolearn.algos.bc import BCConfig, BehaviorCloning
from robolearn.algos.compatibility import Scale
from robolearn.errors import DataError, SpecError, UserError
from robolearn.judging import calibration
from robolearn.judging.calibration import calibrate
from robolearn.judging.judge import JudgeConfig, score_under
from robolearn.loops.offline import OfflineConfig, validation_episodes
from robolearn.types import ArraySpec, Spec

NAMES = Spec(
    "test/Point",
    {"state": ArraySpec((1,))},
    ArraySpec((3,), names=("pos_x", "pos_y", "gripper")),
    period_s=0.1,
)
NETWORK = BCConfig(members=2, widths=(4,), dropout=0.0)
TRAINING = OfflineConfig(epochs=1, batch_size=16, validation_share=0.4)
CONFIG = JudgeConfig(
    false_rejection_rate=0.2, statistic="mean_share", window=2, folds=2, quantile=0.5,
    gripper_shift=1,
)  # fmt: skip
COUNT, STEPS = 9, 5


@pytest.fixture
def trainings(monkeypatch):
    """Leave networks as they were drawn; give a list of what each was to be trained on."""
    seen = []

    def offline(policy, data, training, seed):
        assert training == TRAINING
        demonstrations = data["observations"]["state"][::STEPS, 0].astype(int).tolist()
        assert data["episode"].tolist() == np.repeat(np.arange(len(demonstrations)), STEPS).tolist()
        seen.append((policy, demonstrations, seed))

    monkeypatch.setattr(calibration, "offline", offline)
    return seen


def numbered():
    """Give demonstrations whose states are their number, and whose actions are drawn."""
    rng = np.random.default_rng(0)
    states = [np.full((STEPS, 1), float(i)) for i in range(COUNT)]
    return states, [rng.uniform(-1, 1, (STEPS, 3)) for _ in range(COUNT)]


def calibrated(states=None, actions=None, **changes):
    if states is None:
        states, actions = numbered()
    given = {"interface": NAMES, "config": CONFIG, "network": NETWORK, "training": TRAINING}
    return calibrate(states, actions, **given | changes)


def scores(policy, rows):
    states, actions = (np.stack(arrays).astype(np.float32) for arrays in numbered())
    return [score_under(policy, (states[i], actions[i]), 2, CONFIG.gripper_shift) for i in rows]


def assert_same(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        for name in ("L", "N", "gripper", "paper_L", "difference"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_a_fold_is_scored_by_the_others_and_in_units_of_their_validation(trainings):
    judge = calibrated(gripper="gripper", seed=5)
    held_out = []
    for fold, (policy, learnt, seed) in zip(judge.folds, trainings[:2], strict=True):
        rest = np.setdiff1d(np.arange(COUNT), learnt)
        assert len(learnt) in (4, 5) and fold.policy is policy
        assert_same(fold.held_out, scores(policy, rest))
        unseen = np.array(learnt)[validation_episodes(np.arange(len(learnt)), 0.4, seed)]
        assert len(unseen) == 2 and fold.scale == Scale.of(scores(policy, unseen), 0.5)
        held_out += [*rest]
    assert sorted(held_out) == list(range(COUNT))
    policy, learnt, _ = trainings[2]
    assert learnt == list(range(COUNT)) and judge.policy is policy
    assert judge.scale == Scale.of([s for fold in judge.folds for s in fold.held_out], 0.5)
    assert (judge.gripper, judge.config) == (2, CONFIG)


def test_networks_and_their_training_are_drawn_from_one_seed_each(trainings):
    calibrated(seed=5)
    assert len({seed for _, _, seed in trainings}) == 3
    for policy, _, seed in trainings:
        assert (policy.interface, policy.config) == (NAMES, NETWORK)
        again = BehaviorCloning(NAMES, NETWORK, seed)
        assert all(map(torch.equal, policy.state_dict().values(), again.state_dict().values()))


def test_the_seed_decides_who_is_in_which_fold_and_is_0_unless_given(trainings):
    for seeded in ({"seed": 0}, {}, {"seed": 1}):
        calibrated(**seeded)
    drawn = [[(learnt, seed) for _, learnt, seed in trainings[i : i + 3]] for i in (0, 3, 6)]
    assert drawn[0] == drawn[1]
    assert drawn[2][0][0] != drawn[0][0][0] and drawn[2][0][1] != drawn[0][0][1]


def test_it_is_told_after_each_training_how_many_are_done(trainings):
    told = []
    calibrated(on_fit=lambda done, total: told.append((done, total, len(trainings))))
    assert told == [(1, 3, 1), (2, 3, 2), (3, 3, 3)]


def test_without_settings_they_are_those_of_the_judge(trainings):
    states, actions = (array * 3 for array in numbered())
    judge = calibrated(states, actions, config=None, interface=None)
    assert judge.config == JudgeConfig() and len(judge.folds) == 5
    assert judge.gripper is None and judge.policy.interface.action.names[0] == "action_0"


def test_networks_are_small_a_fifth_validates_and_updates_are_bounded(monkeypatch):
    seen = []
    monkeypatch.setattr(
        calibration, "offline", lambda policy, data, training, seed: seen.append((policy, training))
    )
    states, actions = numbered()
    calibrate(states, actions, interface=NAMES, config=CONFIG)
    for policy, training in seen:
        assert policy.config == BCConfig(widths=(256, 256), dropout=0.0)
        assert training == OfflineConfig(validation_share=0.2, most_updates=300)


@pytest.fixture
def taught(monkeypatch):
    """Leave networks as they were drawn; give the actions that each was to be trained on."""
    seen = []
    monkeypatch.setattr(
        calibration, "offline", lambda policy, data, training, seed: seen.append(data["actions"])
    )
    return seen


def test_actions_between_limits_are_those_within_one_in_other_units(taught):
    states, actions = numbered()
    plain = calibrated(states, actions, gripper="gripper")
    scaled = calibrated(
        states,
        [a * np.array([2.0, 4.0, 1.0]) for a in actions],
        gripper="gripper",
        limits=([-2.0, -4.0, -1.0], [2.0, 4.0, 1.0]),
    )
    for ours, theirs in zip(taught[:3], taught[3:], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert scaled.scale == plain.scale
    for one, other in zip(plain.folds, scaled.folds, strict=True):
        assert_same(one.held_out, other.held_out)
    assert scaled.limits.high.tolist() == [2.0, 4.0, 1.0] and not scaled.limits.clip


def test_base_actions_beyond_their_limits_are_refused_or_clipped_and_counted(taught, recwarn):
    states, actions = numbered()
    at_limit = [a.copy() for a in actions]
    actions[1][[0, 3], 1], at_limit[1][[0, 3], 1] = 1.5, 1.0
    actions[4][2], at_limit[4][2] = -1.25, -1.0
    said = "demonstration 1: actions leave .* at step 0, and at 2 of 5 .* or clip=True"
    with pytest.raises(DataError, match=said):
        calibrated(states, actions)
    assert not taught and not recwarn
    judge = calibrated(states, actions, clip=True)
    (warning,) = recwarn
    assert warning.filename == __file__
    told = "base demonstrations: clipped the actions of 3 of 45 steps (6.7%)"
    assert str(warning.message) == told
    calibrated(states, at_limit)
    for ours, theirs in zip(taught[:3], taught[3:], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert judge.limits.clip and len(recwarn) == 1
    with pytest.raises(SpecError, match="limits: entry 0 goes from 1 to 1"):
        calibrated(states, actions, limits=(1.0, 1.0))


@pytest.mark.parametrize(
    ("gripper", "entry"), [("gripper", 2), ("pos_x", 0), (2, 2), (-1, 2), (0, 0), (-3, 0)]
)
def test_a_gripper_is_a_name_or_a_number(trainings, gripper, entry):
    assert calibrated(gripper=gripper).gripper == entry


@pytest.mark.parametrize(
    ("gripper", "said"),
    [
        ("pos", "gripper: 'pos' names 2 action entries, not one"),
        (3, "gripper: there is no entry 3 among 3 action entries"),
        (-4, "gripper: there is no entry -4 among 3 action entries"),
    ],
)
def test_what_is_no_gripper_is_said(gripper, said):
    with pytest.raises(SpecError) as caught:
        calibrated(gripper=gripper)
    assert str(caught.value) == said


def test_a_single_action_entry_is_no_gripper(trainings):
    states, actions = numbered()
    actions = [a[:, :1] for a in actions]
    single = replace(NAMES, action=ArraySpec((1,)))
    assert calibrated(states, actions, interface=single).gripper is None
    with pytest.raises(SpecError) as caught:
        calibrated(states, actions, interface=single, gripper=0)
    said = "gripper: the only action entry cannot be scored apart: leave gripper out"
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"training": replace(TRAINING, validation_share=0.0)},
            "validation_share: must be above 0, as the scale is taken there",
        ),
        (
            {"network": replace(NETWORK, members=1)},
            "members: novelty is a spread over members, so there must be 2 at least",
        ),
    ],
)
def test_settings_that_leave_no_scale_are_refused(change, said):
    with pytest.raises(UserError) as caught:
        calibrated(**change)
    assert str(caught.value) == said


@pytest.mark.parametrize("odd", [0, 1])
def test_the_demonstration_that_is_unlike_the_others_is_named(odd):
    states, actions = numbered()
    actions[odd] = actions[odd][:, :2]
    with pytest.raises(SpecError) as caught:
        calibrated(states, actions, interface=None)
    said = f"demonstration {odd}: actions have shape (5, 2) instead of [T, 3]"
    assert str(caught.value) == said


def test_a_single_demonstration_in_place_of_a_list_is_told_what_is_expected():
    with pytest.raises(SpecError, match=r"^demonstration 0: .*; a list of arrays is expected"):
        calibrated(np.zeros((40, 6)), np.zeros((40, 3)), interface=None)


@pytest.mark.parametrize("full", [1, 2])
def test_a_cap_that_the_base_reaches_is_warned_of(trainings, monkeypatch, recwarn, full):
    """Three steps of five are at lambda, their median; in ``full`` demonstrations two in a row."""
    monkeypatch.setattr(
        BehaviorCloning, "predict", lambda self, states: np.zeros((2, len(states), 3), np.float32)
    )
    apart, together = np.array([1, 0, 1, 0, 1]), np.array([1, 1, 0, 0, 1])
    patterns = [together] * full + [apart] * (COUNT - full)
    actions = [0.5 * np.outer(pattern, [1.0, 0.0, 0.0]) for pattern in patterns]
    calibrated(numbered()[0], actions, config=replace(CONFIG, statistic="worst_share"))
    if full == 1:  # (1 + 1) / (1 + 9) is the false-rejection rate, so that one can be rejected
        assert not recwarn
        return
    (warning,) = recwarn
    assert warning.filename == __file__
    assert str(warning.message) == (
        "worst_share: 2 of 9 base demonstrations disagree throughout a window of 2 steps, so that"
        " others hardly stand out: take a longer window, or statistic='mean_share'"
    )


@pytest.mark.parametrize("alpha, warned", [(0.3, False), (0.299, True)])
def test_a_statistic_is_saturated_from_its_cap_on_and_beyond_the_rate(
    trainings, monkeypatch, recwarn, alpha, warned
):
    values = iter([1.0, 1.5, *[0.99] * (COUNT - 2)])  # two are full: (1 + 2) / (1 + 9) = 0.3

    class Full:
        cap, by_window = 1.0, False

        def __call__(self, scores, scale, window):
            return next(values)

    monkeypatch.setitem(calibration.STATISTICS, "mean_share", Full())
    calibrated(config=replace(CONFIG, false_rejection_rate=alpha))
    told = [str(w.message) for w in recwarn if "disagree throughout" in str(w.message)]
    assert len(told) == warned
    assert not told or told[0].startswith("mean_share: 2 of 9 base demonstrations")
