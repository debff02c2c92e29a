import re

import numpy as np
import pytest

from robolearn.errors import DataError, SpecError
from robolearn.judging.harm import HarmJudge
from robolearn.judging.limits import ActionLimits, said_of
from robolearn.judging.live import LiveHarm
from robolearn.judging.repair import retimed, without_harm


def test_actions_are_scaled_entry_by_entry():
    limits = ActionLimits.of(([0.0, -2.0], [4.0, 2.0]), clip=False, size=2)
    given = np.array([[0.0, 2.0], [4.0, 0.0], [1.0, -1.0]])
    np.testing.assert_allclose(limits.scale(given, "it"), [[-1, 1], [1, 0], [-0.5, -0.5]])
    assert not limits.beyond(given).any()


def test_scaled_actions_can_be_had_back():
    limits = ActionLimits.of(([0.0, -2.0], [4.0, 3.0]), clip=False, size=2)
    given = np.array([[0.5, 2.5], [3.0, -1.0]])
    np.testing.assert_allclose(limits.unscaled(limits.scaled(given)), given)
    np.testing.assert_allclose(limits.unscaled(np.array([-1.0, 1.0])), [0.0, 3.0])


def test_without_limits_actions_stay_as_they_are():
    given = np.array([[-1.0, 0.25], [1.0, 0.5]])
    np.testing.assert_array_equal(ActionLimits().scale(given, "it"), given)


def test_what_lies_beyond_is_refused_or_clipped_and_counted():
    given = np.array([[0.0, 0.0], [3.0, -5.0], [-2.0, 1.0], [0.0, 2.5]])
    strict = ActionLimits.of((-2.0, 2.0), clip=False, size=2)
    np.testing.assert_array_equal(strict.beyond(given), [False, True, False, True])
    words = (
        "demo_3: actions leave their limits at step 1, and at 2 of 4 in all (they go from -5 to 3)"
    )
    with pytest.raises(DataError, match=f"^{re.escape(words)}: give other limits"):
        strict.scale(given, "demo_3")
    clipping = ActionLimits.of((-2.0, 2.0), clip=True, size=2)
    np.testing.assert_allclose(clipping.scale(given, "it"), [[0, 0], [1, -1], [-1, 0.5], [0, 1]])
    assert said_of(2, 4) == "clipped the actions of 2 of 4 steps (50.0%)"


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (1.0, "limits: 1.0 is not"),
        ((1.0, 2.0, 3.0), r"limits: \(1.0, 2.0, 3.0\) is not \[low, high\]"),
        (("a", "b"), "is not"),
        (([0.0] * 3, 1.0), r"low has shape \(3,\); give a number, or one for each of the 2"),
        (([0.0, 1.0], 1.0), "entry 1 goes from 1 to 1"),
        ((0.0, [1.0, np.nan]), "entry 1 goes from 0 to nan"),
        ((-np.inf, np.inf), "entry 0 goes from -inf to inf"),
    ],
)
def test_limits_that_are_none_are_refused(limits, words):
    with pytest.raises(SpecError, match=words):
        ActionLimits.of(limits, clip=False, size=2)


def walks(count, seed, scale=1.0, shift=0.0):
    rng = np.random.default_rng(seed)
    pairs = []
    for _ in range(count):
        actions = np.clip(0.4 + 0.3 * rng.standard_normal((40, 2)), -1, 1)
        pairs.append((0.1 * actions.cumsum(axis=0), shift + scale * actions))
    return [s for s, _ in pairs], [a for _, a in pairs]


@pytest.mark.parametrize(
    ("low", "high", "value", "difference"),
    [
        (-1.0, 1.0, "+0.31", "+0.31"),
        ([2.0, 2.0], 8.0, "+5.93", "+0.93"),
        ([-1.0], [0.05], "-0.312", "+0.163"),
        (-0.05, 0.05, "+0.0155", "+0.0155"),
        (0.0, 400.0, "+262", "+62"),
    ],
)
def test_amounts_are_told_in_the_units_of_the_recording(low, high, value, difference):
    limits = ActionLimits.of((low, high), clip=False, size=2)
    assert limits.value_said(0.31, 1) == value
    assert limits.difference_said(0.31, 1) == difference


@pytest.fixture
def in_two_units():
    """A judge of actions in [-1, 1] and one of the same in other units, with what they judge."""
    states, actions = walks(9, 0)
    other = [np.array([3.0, 30.0]) * a + np.array([5.0, 50.0]) for a in actions]
    plain = HarmJudge.of(states[:8], actions[:8])
    scaled = HarmJudge.of(states[:8], other[:8], limits=([2.0, 20.0], [8.0, 80.0]))
    return states[8], ((plain, actions[8]), (scaled, other[8]))


def test_commands_are_told_in_the_units_of_the_recording(in_two_units):
    states, judges = in_two_units
    found = []
    for judge, actions in judges:
        frozen = np.concatenate([actions[:10], np.tile(actions[10], (20, 1)), actions[30:]])
        reason = judge.score(states, frozen).reasons[0]
        name, told = re.match(r"(action_\d) (?:stays at|is) (\S+),", reason.text).groups()
        found.append((name, reason.start, float(told)))
    (name, start, value), (_, _, told) = found
    scale = {"action_0": 1.0, "action_1": 10.0}[name]
    assert found[1] == (name, start, pytest.approx(scale * (5.0 + 3.0 * value), abs=0.03 * scale))


def test_departures_are_told_in_the_units_of_the_recording(in_two_units):
    states, judges = in_two_units
    told = []
    for judge, actions in judges:
        back = states[::-1]  # by which all progress is lost
        reasons = judge.score(back, actions).reasons
        live = LiveHarm(judge)
        *_, last = (live.step(*pair) for pair in zip(back[:20], actions[:20], strict=True))
        texts = next(r.text for r in reasons if r.mechanism == "direction"), last.cue
        told.append([re.findall(r"(action_\d) ([+-][\d.]+)", text) for text in texts])
    for plain, scaled in zip(*told, strict=True):
        assert plain and [name for name, _ in plain] == [name for name, _ in scaled]
        for (name, value), (_, other) in zip(plain, scaled, strict=True):
            scale = {"action_0": 3.0, "action_1": 30.0}[name]
            assert float(other) == pytest.approx(scale * float(value), abs=0.01 * scale)


def test_a_judge_sees_the_same_in_other_units():
    states, actions = walks(9, 0)
    plain = HarmJudge.of(states[:8], actions[:8])
    _, other = walks(9, 0, scale=3.0, shift=5.0)
    scaled = HarmJudge.of(states[:8], other[:8], limits=(2.0, [8.0, 8.0]))
    ours, theirs = plain.score(states[8], actions[8]), scaled.score(states[8], other[8])
    assert theirs.harm == pytest.approx(ours.harm, abs=1e-3)
    assert theirs.clipped == 0
    with pytest.raises(DataError, match=r"at step 0, .* give limits=\[low, high\], or clip=True"):
        plain.score(states[8], other[8])


def test_live_scores_and_repairs_are_the_same_in_other_units():
    states, actions = walks(9, 0)
    _, other = walks(9, 0, scale=3.0, shift=5.0)
    plain = HarmJudge.of(states[:8], actions[:8])
    scaled = HarmJudge.of(states[:8], other[:8], limits=(2.0, 8.0))
    live, live_scaled = LiveHarm(plain), LiveHarm(scaled)
    for state, ours, theirs in zip(states[8], actions[8], other[8], strict=True):
        one, two = live.step(state, ours), live_scaled.step(state, theirs)
        assert two.lost == one.lost
    np.testing.assert_allclose(live_scaled.residuals(), live.residuals(), atol=1e-3)
    slow = np.repeat(states[8], 3, axis=0)
    at_pace, same = (
        retimed(judge, slow, np.repeat(given, 3, axis=0)).actions
        for judge, given in ((plain, actions[8]), (scaled, other[8]))
    )
    assert len(at_pace) < len(slow)
    np.testing.assert_allclose((same - 5.0) / 3.0, at_pace, atol=1e-3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, int])
def test_clipped_actions_stay_in_their_units(dtype):
    given = np.array([[0, 0], [3, -5], [-2, 1]], dtype)
    limits = ActionLimits.of(([-1.5, -2.0], 2.5), clip=True, size=2)
    np.testing.assert_allclose(limits.clipped(given), [[0, 0], [2.5, -2], [-1.5, 1]])
    assert limits.clipped(given).dtype == (float if dtype is int else dtype)
    assert given[1, 0] == 3  # it is a copy
    for as_it_is in (limits, ActionLimits.of((-9.0, 9.0), clip=False, size=2)):
        inside = np.zeros((2, 2))
        assert as_it_is.clipped(inside) is inside


def test_what_is_kept_is_clipped_as_it_was_judged():
    states, actions = walks(12, 0, scale=3.0, shift=5.0)
    judge = HarmJudge.of(states[:10], actions[:10], limits=(2.0, 8.0), clip=True)
    beyond = actions[10].copy()
    highest = beyond[:, 1].argmax()
    beyond[highest, 1] = 8.4
    kept_states, kept = judge.filter(states[10:], [beyond, actions[11]])
    assert len(kept) == 2 and beyond[highest, 1] == 8.4
    assert kept_states[0] is states[10] and kept[1] is actions[11]
    np.testing.assert_array_equal(kept[0], np.minimum(beyond, 8.0))
    np.testing.assert_array_equal(without_harm(judge, states[10], beyond).actions, kept[0])
    slow = np.repeat(states[10], 3, axis=0), np.repeat(beyond, 3, axis=0)
    assert retimed(judge, *slow).actions.max() <= 8.0


def test_filtering_says_which_demonstration_is_refused():
    states, actions = walks(12, 0)
    judge = HarmJudge.of(states[:10], actions[:10])
    with pytest.raises(DataError, match="demonstration 1: 7 steps are too few"):
        judge.filter([states[10], states[11][:7]], [actions[10], actions[11][:7]])


def test_a_judge_says_how_much_it_clipped():
    states, actions = walks(9, 0)
    actions[1][7] = 1.4
    actions[3][[2, 5], 1] = -1.2
    with pytest.raises(DataError, match="demonstration 1: actions leave .* at step 7, and at 1 of"):
        HarmJudge.of(states[:8], actions[:8])
    with pytest.warns(UserWarning, match=r"clipped the actions of 3 of 320 steps \(0.9%\)") as told:
        judge = HarmJudge.of(states[:8], actions[:8], clip=True)
    assert len(told) == 1
    actions[8][4, 0] = 1.7
    assert judge.score(states[8], actions[8]).clipped == 1
