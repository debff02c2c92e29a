"""Verdicts on operators who reach for a goal on a plane, each in their own way."""

import dataclasses
import math
import re
import statistics
from pathlib import Path

import numpy as np
import pytest

from robolearn.errors import DataError, SpecError, UserError
from robolearn.judging.harm import HarmJudge
from robolearn.judging.reasons import named_difference, stretches
from robolearn.judging.verdicts import HarmJudgeConfig
from robolearn.types import ArraySpec

from .plane import INTERFACE, PERIOD_S, demonstrations, unzipped, waiting

HUGE = np.full(30, 1e6)  # of the base's own: nothing is beyond it


@pytest.fixture(scope="module")
def judge():
    return HarmJudge.of(*unzipped(demonstrations(30, 0)), interface=INTERFACE)


def rejected(judge, pairs):
    return float(np.mean([not judge.score(*pair).accepted for pair in pairs]))


def test_the_base_itself_is_accepted(judge):
    assert rejected(judge, demonstrations(60, 1)) <= 0.1


@pytest.mark.parametrize("habits", [{"speed": 0.8}, {"speed": 0.4}, {"speed": 1.15}])
def test_who_goes_the_same_way_at_another_pace_is_accepted(judge, habits):
    assert rejected(judge, demonstrations(20, 2, **habits)) <= 0.1


@pytest.mark.parametrize("habits", [{"speed": 0.2}, {"pause": 40}])
def test_who_hardly_moves_or_rests_is_rejected_and_told_so(judge, habits):
    pairs = demonstrations(20, 3, **habits)
    assert rejected(judge, pairs) >= 0.9
    verdict = judge.score(*pairs[0])
    assert verdict.harm > 1 and verdict.p_value == pytest.approx(1 / 31)
    reason = verdict.reasons[0]
    assert reason.mechanism == "tempo"
    said = re.match(r"slower than the base by ([\d.]+) s in steps (\d+) to (\d+)", reason.text)
    assert (int(said[2]), int(said[3])) == (reason.start, reason.end - 1)
    if "pause" in habits:
        assert 14 <= reason.start <= 24 and 56 <= reason.end <= 70
        assert float(said[1]) == pytest.approx(40 * PERIOD_S, rel=0.1)
    else:
        longer = len(verdict.lost) - judge.progress.length
        assert float(said[1]) == pytest.approx(longer * PERIOD_S, rel=0.2)


def test_who_goes_another_way_is_rejected_and_told_which(judge):
    pairs = demonstrations(20, 3, side=-1.0)
    assert rejected(judge, pairs) >= 0.9
    reasons = judge.score(*pairs[0]).reasons
    assert reasons[0].mechanism == "direction"
    assert "(dy +" in reasons[0].text and reasons[0].start == 0


def test_who_waits_before_closing_the_fingers_is_rejected_and_told_so(judge):
    pairs = waiting(10, 4)
    verdicts = judge.score_all(*unzipped(pairs))
    for (_, actions), verdict in zip(pairs, verdicts, strict=True):
        closes = int(np.flatnonzero(actions[:, 2] > 0)[0])
        assert not verdict.accepted and verdict.harm > 1
        assert verdict.waited == pytest.approx(8 / judge.progress.length, rel=0.1)
        assert verdict.waiting[closes - 8 : closes].min() > 0.9
        assert verdict.waiting[: closes - 9].max() < 0.1 and not verdict.waiting[closes:].any()
        (told,) = [reason for reason in verdict.reasons if reason.mechanism == "waiting"]
        assert told.end == closes and told.start in (closes - 9, closes - 8)
        assert re.match(r"waits 0\.[89] s before gripper goes to \+1\.00 in steps", told.text)


def test_who_commands_the_opposite_near_a_switch_is_rejected_and_told_so(judge):
    pairs = demonstrations(20, 3, closes_at=0.4)
    verdicts = judge.score_all(*unzipped(pairs))
    assert np.mean([not verdict.accepted for verdict in verdicts]) >= 0.9
    verdict = verdicts[0]
    closes = int(np.flatnonzero(pairs[0][1][:, 2] > 0)[0])
    assert verdict.contrary > judge.contrary_line and verdict.opposing.argmax() in (
        closes,
        closes + 1,
    )
    (reason,) = (reason for reason in verdict.reasons if reason.mechanism == "contrary")
    assert closes <= reason.start < reason.end <= closes + 4
    assert re.fullmatch(
        r"commands gripper at \+1\.00 for 0\.\d s where the base does the opposite, in steps"
        rf" {reason.start} to {reason.end - 1}",
        reason.text,
    )


def test_of_two_grippers_the_one_that_is_contrary_is_named():
    def with_another(pairs):  # that opens where the first has long been closed
        return [
            (s, np.column_stack([a, np.where(np.arange(len(a)) < 10, 1.0, -1.0)])) for s, a in pairs
        ]

    judge = HarmJudge.of(*unzipped(with_another(demonstrations(20, 0))))
    verdict = judge.score_all(*unzipped(with_another(demonstrations(20, 3, closes_at=0.4))))[0]
    told = next(reason.text for reason in verdict.reasons if reason.mechanism == "contrary")
    assert told.startswith("commands action_2 at +1.00 for ")


def test_whoever_is_rejected_is_told_why(judge):
    """Ten short waits, of which none is more than a tenth of all."""
    states, actions = demonstrations(1, 4)[0]
    times = np.ones(len(actions), int)
    times[10:30:2] = 4  # at rest, and then the fingers are told something else
    s, a = np.repeat(states, times, axis=0), np.repeat(actions, times, axis=0)
    switches = np.cumsum(times)[10:30:2] - 1
    a[:, 2] = np.where(np.searchsorted(switches, np.arange(len(a)), "right") % 2, 1.0, -1.0)
    verdict = judge.score(s, a)
    assert verdict.waited > judge.waiting_line and not verdict.accepted
    assert "waiting" in {reason.mechanism for reason in verdict.reasons}


def test_one_rest_is_no_wait(judge):
    """A step more at the place where the fingers close."""
    states, actions = demonstrations(1, 4)[0]
    closes = int(np.flatnonzero(actions[:, 2] > 0)[0])
    s, a = np.insert(states, closes, states[closes], axis=0), np.insert(actions, closes, 0, axis=0)
    a[closes, 2] = -1.0
    verdict = judge.score(s, a)
    assert 0 < verdict.waited < 1.5 / judge.progress.length
    assert verdict.accepted


def test_who_waits_elsewhere_does_not_wait_for_a_switch(judge):
    verdicts = judge.score_all(*unzipped(waiting(10, 4, anywhere=True)))
    assert np.median([verdict.waited for verdict in verdicts]) < 1e-6
    assert np.mean([verdict.accepted for verdict in verdicts]) >= 0.9


def recorded_faster(pair, times):
    """Give the same motion at so many times the control rate: states in between, actions held."""
    states, actions = pair
    at = np.arange(times * (len(states) - 1) + 1) / times
    between = np.column_stack([np.interp(at, np.arange(len(states)), c) for c in states.T])
    return between, actions[at.astype(int)]


@pytest.mark.parametrize("times", [2, 5])
def test_at_another_control_rate_the_same_are_rejected(times):
    def faster(pairs):
        return [recorded_faster(pair, times) for pair in pairs]

    def late(states, actions):
        held = np.repeat(actions[:1], 5 * times, axis=0)
        return states, np.concatenate([held, actions[: -len(held)]])

    judge = HarmJudge.of(*unzipped(faster(demonstrations(20, 0))))
    own = faster(demonstrations(10, 7))
    assert rejected(judge, own) <= 0.1
    for pairs in (demonstrations(5, 3, side=-1.0), demonstrations(5, 3, pause=60), waiting(5, 3)):
        assert rejected(judge, faster(pairs)) == 1.0
    assert rejected(judge, [late(*pair) for pair in own]) == 1.0


def test_how_fast_things_go_plays_no_part(judge):
    """Velocities tremble where the hand rests, and would hide that it does."""

    def trembling(pairs):
        return [(np.column_stack([s, rng.standard_normal((len(s), 6))]), a) for s, a in pairs]

    rng = np.random.default_rng(0)
    state = INTERFACE.observations["state"]
    names = (*state.names, *(f"joint_vel_{i}" for i in range(3)), *"pqr")
    wider = ArraySpec((9,), names=names, units=("m", "m", "", *[""] * 3, *["rad/s"] * 3))
    interface = dataclasses.replace(INTERFACE, observations={"state": wider})
    seeing = HarmJudge.of(*unzipped(trembling(demonstrations(30, 0))), interface=interface)
    for pairs in (waiting(3, 4), demonstrations(3, 3, side=-1.0)):
        for ours, theirs in zip(pairs, trembling(pairs), strict=True):
            assert seeing.score(*theirs).harm == pytest.approx(judge.score(*ours).harm)
    everything = dataclasses.replace(INTERFACE, observations={"state": ArraySpec((9,))})
    blind = HarmJudge.of(*unzipped(trembling(demonstrations(30, 0))), interface=everything)
    assert (
        blind.score(*trembling(waiting(1, 4))[0]).waited
        < 0.1 * judge.score(*waiting(1, 4)[0]).waited
    )


def test_a_base_that_waits_lets_others_wait():
    judge = HarmJudge.of(*unzipped(waiting(30, 0)), interface=INTERFACE)
    assert judge.typical_wait > 0.1 and judge.waiting_line >= 1.1 * judge.typical_wait
    assert rejected(judge, waiting(10, 4)) <= 0.1 and rejected(judge, demonstrations(10, 4)) <= 0.1


def changed(pair, change):
    states, actions = pair
    actions = actions.copy()
    change(actions)
    return states, actions


def reverse(actions):
    actions[:, 1] *= -1


def delay(actions):
    actions[8:] = actions[:-8].copy()


def freeze(actions):
    actions[5:25, :2] = actions[5, :2]


def close_early(actions):
    actions[:-12, 2] = actions[12:, 2].copy()
    actions[-12:, 2] = 1.0


@pytest.mark.parametrize(
    "change, words",
    [
        (reverse, "dy is reversed: the motion needs its opposite in steps"),
        (delay, "steps late in steps"),
        (close_early, "gripper comes 1"),
        (freeze, "where the motion"),
    ],
)
def test_commands_that_do_not_go_with_the_motion_are_rejected(judge, change, words):
    pairs = [changed(pair, change) for pair in demonstrations(20, 5)]
    assert rejected(judge, pairs) >= 0.5
    verdicts = [judge.score(*pair) for pair in pairs]
    told = [v.reasons[0] for v in verdicts if not v.accepted]
    assert {r.mechanism for r in told} == {"commands"}
    assert np.mean([words in r.text for r in told]) >= 0.7
    assert all(r.end <= len(a) for r, (_, a) in zip(told, pairs, strict=False))


def test_an_entry_that_the_base_does_not_use_is_told():
    def with_wrist(pairs, used):
        turns = [np.where(np.arange(len(a)) // 10 == 1, used, 0.0) for _, a in pairs]
        return [
            (np.column_stack([s, np.cumsum(w)]), np.column_stack([a, w]))
            for (s, a), w in zip(pairs, turns, strict=True)
        ]

    judge = HarmJudge.of(*unzipped(with_wrist(demonstrations(30, 0), 0.0)))
    verdicts = [judge.score(*pair) for pair in with_wrist(demonstrations(5, 1), 0.3)]
    words = "action_3 is +0.30, where the base's stays at +0.00 in steps 1"
    assert all(v.reasons[0].text.startswith(words) for v in verdicts)


def test_the_lines_in_the_readme_run():
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    start = "from robolearn import HarmJudge\n"
    lines = start + readme.partition(start)[2].partition("```")[0]
    mine, theirs = unzipped(demonstrations(10, 0)), unzipped(demonstrations(4, 3, side=-1.0))
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
    assert len(names["verdicts"]) == 4


def test_what_is_accepted_has_no_reasons(judge):
    accepted = [v for v in (judge.score(*p) for p in demonstrations(10, 6)) if v.accepted]
    assert len(accepted) >= 8 and all(v.reasons == () for v in accepted)


def test_filtering_keeps_what_is_accepted(judge):
    pairs = demonstrations(5, 7) + demonstrations(8, 8, pause=60)
    states, actions = judge.filter(*unzipped(pairs))
    verdicts = judge.score_all(*unzipped(pairs))
    kept = [i for i, verdict in enumerate(verdicts) if verdict.accepted]
    assert kept[:4] == [0, 1, 2, 3] and len(kept) <= 6
    for s, a, i in zip(states, actions, kept, strict=True):
        assert s is pairs[i][0] and a is pairs[i][1]
    assert judge.filter([], []) == ([], []) and judge.score_all([], []) == []


def lost_together(judge, moves):
    progress, joining = judge.progress, judge.progress.joining(moves)
    return [progress.missing(progress.expected(m), j) for m, j in zip(moves, joining, strict=True)]


def resting(count, seed, anywhere):
    """Rest for 25 steps: in the middle, or each at a place of its own."""
    rng = np.random.default_rng(seed)
    pairs = []
    for states, actions in demonstrations(count, seed):
        at = int(rng.integers(5, len(states) - 15)) if anywhere else 20
        rest = np.tile([0.0, 0.0, actions[at, 2]], (25, 1))
        s = np.concatenate([states[:at], np.tile(states[at], (25, 1)), states[at:]])
        pairs.append((s, np.concatenate([actions[:at], rest, actions[at:]])))
    return pairs


def test_rests_that_each_has_elsewhere_vanish_in_the_mean(judge):
    """Alone both are as bad; together the habit is, and the accident is hardly bad."""
    losses = {}
    for anywhere in (False, True):
        pairs = resting(20, 5, anywhere)
        alone = np.median([judge.score(*pair).progress_lost for pair in pairs])
        moves = [judge.progress.moves(s) for s, _ in pairs]
        together = np.median([judge.progress.share(d) for d in lost_together(judge, moves)])
        losses[anywhere] = alone, together
    assert losses[True][0] == pytest.approx(losses[False][0], rel=0.5)
    assert losses[False][1] > 0.4 * losses[False][0]
    assert losses[True][1] < 0.2 * losses[True][0]


def test_the_others_count_as_much_as_is_said(judge):
    pairs = demonstrations(4, 3, pause=17) + demonstrations(1, 4, pause=20)
    moves = [judge.progress.moves(s) for s, _ in pairs]
    own = np.array([judge.progress.share(d) for d in lost_together(judge, moves)])
    for together in (0.0, 0.3, 1.0):
        config = HarmJudgeConfig(together=together)
        made = dataclasses.replace(judge, config=config, own_mismatch=HUGE, own_contrary=HUGE)
        logs = np.log(own + 1e-4)
        judged = np.exp((1 - together) * logs + together * np.median(logs))
        typical = made.typical_lost + 1e-4
        expected = np.log(judged / typical) / np.log(0.1001 / typical)
        found = made.score_all(*unzipped(pairs))
        assert all(v.accepted for v in found)
        np.testing.assert_allclose([v.harm for v in found], expected, rtol=1e-4)
        np.testing.assert_allclose([v.progress_lost for v in found], own, rtol=1e-5)


def test_lines_and_p_values_by_hand(judge):
    own = np.array([0.0, 0.01, 0.06, 0.3])
    mismatch = np.array([-1.0, 0.0, 0.5, 3.0])
    waited = np.array([0.0, 0.004, 0.002, 0.05])
    contrary = np.array([0.1, 0.2, 0.3, 0.9])
    found = {"own_lost": own, "own_waited": waited, "own_contrary": contrary}
    found |= {"own_mismatch": mismatch}
    made = dataclasses.replace(judge, **found)
    assert made.progress_line == pytest.approx(0.1)  # one of four may be beyond by chance
    assert made.waiting_line == pytest.approx(1 / 45)  # a step
    logs = np.log(contrary + 0.02).tolist()
    far = statistics.mean(logs) + 2.3534 * statistics.stdev(logs) * math.sqrt(5 / 4)
    assert made.contrary_line == pytest.approx(math.exp(far) - 0.02, rel=1e-4)  # of 3 freedoms
    even = dataclasses.replace(made, own_contrary=np.full(4, 0.25))
    assert even.contrary_line == pytest.approx(1.35 * 0.27 - 0.02)
    assert made.command_line == 1.0 and made.step_line**2 == pytest.approx(0.1)
    beyond = np.log((own + 1e-4) / 0.0351) / np.log(0.1001 / 0.0351)
    late = np.log((waited + 1e-4) / 0.0031) / np.log((1 / 45 + 1e-4) / 0.0031)
    opposite = np.log((contrary + 0.02) / 0.27) / np.log(math.exp(far) / 0.27)
    np.testing.assert_allclose(
        made.own_harm, np.max([beyond, late, opposite, mismatch], axis=0), 1e-4
    )
    assert made._p_value(3.0) == pytest.approx(2 / 5)  # one is as strange, and itself
    assert made._p_value(9.0) == pytest.approx(1 / 5)
    many = dataclasses.replace(judge, **{name: np.tile(of, 10) for name, of in found.items()})
    assert many.progress_line == pytest.approx(0.3) and many.command_line == 3.0  # ten of forty
    assert many.waiting_line == pytest.approx(0.05)
    spread = statistics.stdev(logs * 10) * math.sqrt(41 / 40)
    line = math.exp(statistics.mean(logs) + 1.68488 * spread)
    assert many.contrary_line == pytest.approx(line - 0.02, rel=1e-4)
    alone, two = many.of_contrary(0.5), many.of_contrary_person.together([0.5] * 2, 1.0)
    assert float(alone) == pytest.approx(np.log(0.52 / 0.27) / np.log(line / 0.27), rel=1e-4)
    one = np.log(0.52 / 0.27) / np.log(0.92 / 0.27)  # ten of forty are not beyond by chance
    np.testing.assert_allclose(two, np.sqrt(2) * one)  # the line is nearer, by the root of two
    hundred = many.of_contrary_person.together([0.5] * 100, 1.0)
    np.testing.assert_allclose(hundred, np.log(0.52 / 0.27) / np.log(1.35))
    strict = dataclasses.replace(many, config=HarmJudgeConfig(false_rejection_rate=0.25))
    assert strict.progress_line == pytest.approx(0.1)
    wide = dataclasses.replace(made, own_lost=np.full(4, 0.5))
    assert wide.progress_line == pytest.approx(0.55)  # a little beyond what is typical


def test_the_mismatch_of_a_step_is_its_largest_residual_but_at_the_ends(judge):
    verdict = judge.score(*demonstrations(1, 5)[0])
    largest = np.abs(verdict.residuals).max(axis=1)
    np.testing.assert_array_equal(verdict.mismatch[3:-6], largest[3:-6])
    assert not verdict.mismatch[:3].any() and not verdict.mismatch[-6:].any()


def test_what_only_switches_is_tolerated_less(judge):
    np.testing.assert_allclose(judge.tolerated, np.log([20.0, 20.0, 13.5]))
    verdict = judge.score(*changed(demonstrations(1, 5)[0], close_early))
    found = judge.commands.excess(verdict.residuals)
    assert verdict.command_mismatch == pytest.approx((found / judge.tolerated).max())
    own = (judge.commands.own_excess / judge.tolerated).max(axis=(1, 2))
    np.testing.assert_allclose(judge.own_mismatch, own)


def test_what_is_lost_is_squared_and_a_share_of_the_bases_length(judge):
    pair = demonstrations(1, 9)[0]
    verdict = judge.score(*pair)
    lengths = [len(actions) for _, actions in demonstrations(30, 0)]
    share = np.square(verdict.lost).sum() / np.median(lengths)
    assert verdict.progress_lost == pytest.approx(share)
    own = [np.square(d).sum() / np.median(lengths) for d in judge.progress.lost_by_base]
    np.testing.assert_allclose(judge.own_lost, own)
    assert judge.typical_lost == 0.005  # they are all alike


def test_a_demonstration_that_loses_nothing_is_accepted(judge):
    states = np.tile(demonstrations(1, 1)[0][0][-1], (20, 1))
    verdict = judge.score(states, np.tile([0.0, 0.0, 1.0], (20, 1)))
    assert verdict.accepted and verdict.progress_lost < 0.01 and verdict.reasons == ()


def test_a_base_whose_demonstrations_are_all_the_same_can_be_judged_by():
    pair = demonstrations(1, 0)[0]
    same = HarmJudge.of(*unzipped([pair] * 5))
    assert np.isfinite(same.own_harm).all() and same.score(*pair).accepted
    assert not same.score(*demonstrations(1, 0, side=-1.0)[0]).accepted


def test_pieces_that_are_cut_out_of_motion_are_accepted(judge):
    rng, accepted, found = np.random.default_rng(0), [], []
    for states, actions in demonstrations(60, 1):
        start = int(rng.integers(len(actions) - 19))
        piece = states[start : start + 19], actions[start : start + 19]
        accepted.append(judge.score(*piece).accepted)
        found.append(judge.score(*changed(piece, reverse)).reasons[:1])
    assert np.mean(accepted) >= 0.95
    told = [reasons[0] for reasons in found if reasons]
    assert len(told) >= 0.5 * len(found)  # dy is small in places
    assert all(3 <= reason.start < reason.end <= 13 for reason in told)


def test_what_is_wrong_at_the_ends_alone_is_not_judged(judge):
    states, actions = demonstrations(1, 4)[0]
    usual, other = judge.score(states, actions), actions.copy()
    other[:3], other[-6:] = -other[:3], -other[-6:]
    assert judge.score(states, other).command_mismatch == usual.command_mismatch


def test_demonstrations_that_are_too_short_are_refused(judge):
    states, actions = demonstrations(1, 0)[0]
    judge.score(states[:19], actions[:19])
    with pytest.raises(DataError, match="demonstration: 18 steps are too few to judge: 19 are"):
        judge.score(states[:18], actions[:18])
    pairs = demonstrations(5, 0)
    pairs[3] = tuple(array[:7] for array in pairs[3])
    with pytest.raises(DataError, match="demonstration 3: 7 steps are too few to judge: 19 are"):
        HarmJudge.of(*unzipped(pairs))


@pytest.mark.parametrize(
    "count, error, message",
    [(3, DataError, "3 demonstrations say too little: give at least 4")],
)
def test_too_few_demonstrations_are_refused(count, error, message):
    with pytest.raises(error, match=message):
        HarmJudge.of(*unzipped(demonstrations(count, 0)))


def test_other_sizes_and_numbers_are_refused(judge):
    states, actions = demonstrations(1, 0)[0]
    with pytest.raises(SpecError, match=r"observations have shape .* instead of \[T, 3\]"):
        judge.score(states[:, :2], actions)
    states[3, 0] = np.nan
    with pytest.raises(DataError, match="not finite at step 3"):
        judge.score(states, actions)


def test_states_beyond_single_precision_are_refused(judge):
    states, actions = demonstrations(1, 0)[0]
    states[4, 1] = 1e39
    with pytest.raises(DataError, match="observations are too large at step 4"):
        judge.score(states, actions)


@pytest.mark.parametrize(
    "name, value, message",
    [
        ("command_tolerance", 1.0, "should be greater than 1"),
        ("progress_line", 0.0, "should be greater than 0"),
        ("waiting_line", 1.0, "should be less than 1"),
        ("together", 1.5, "should be less than or equal to 1"),
    ],
)
def test_lines_that_make_no_sense_are_refused(name, value, message):
    with pytest.raises(UserError, match=f"{name} {message}"):
        HarmJudgeConfig(**{name: value})


def test_stretches_by_hand():
    marked = np.array([1, 1, 0, 0, 1, 0, 1], bool)
    assert stretches(marked) == [(0, 2), (4, 5), (6, 7)]
    assert stretches(np.zeros(3, bool)) == []


def test_entries_are_named_by_their_share():
    difference = np.array([[1.0, -0.5, 0.1], [0.6, -0.5, 0.1]])
    assert named_difference(difference, INTERFACE.action) == "dx +0.80, dy -0.50"
    assert named_difference(difference, ArraySpec((3,))).startswith("action_0 +0.80")
