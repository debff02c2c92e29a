"""What is said while a person demonstrates is what the verdict says afterwards."""

import numpy as np
import pytest

from robolearn.algos.commands import LAGS
from robolearn.algos.progress import MOST_STEPS, Moves
from robolearn.errors import DataError, SpecError
from robolearn.judging.harm import HarmJudge
from robolearn.judging.live import LiveHarm

from .plane import INTERFACE, demonstrations, unzipped, waiting


@pytest.fixture(scope="module")
def judge():
    return HarmJudge.of(*unzipped(demonstrations(30, 0)), interface=INTERFACE)


def watched(judge, states, actions):
    live = LiveHarm(judge)
    steps, residuals = [], []
    for state, action in zip(states, actions, strict=True):
        steps.append(live.step(state, action))
        residuals.append(live.residuals())
    return steps, residuals


@pytest.mark.parametrize("habits", [{}, {"speed": 0.4}, {"pause": 30}])
def test_it_is_the_verdicts_loss_and_residuals_a_little_later(judge, habits):
    states, actions = (array.astype(np.float32) for array in demonstrations(1, 3, **habits)[0])
    verdict = judge.score(states, actions)
    steps, residuals = watched(judge, states, actions)
    k, after = judge.progress.look_ahead, max(LAGS)
    lost = [step.lost for step in steps]
    assert lost[:k] == [0.0] * k
    progress, moves = judge.progress, judge.progress.moves(states)
    for t in range(0, len(lost) - k, 5):  # the verdict knows what is still to come, too
        step = Moves(moves.where[t : t + 1], moves.ahead[t : t + 1])
        so_far = Moves(moves.where[: t + 1], moves.ahead[: t + 1])
        joining = progress.joining_so_far(step.where, so_far)
        now = progress.missing(progress.expected(step), joining)
        assert lost[t + k] == pytest.approx(float(now[0]), abs=1e-6)
    assert residuals[:after] == [None] * after
    # beyond the end a demonstration stays where it is, which nobody knows before
    whole = len(lost) - after
    np.testing.assert_allclose(np.array(residuals[after:]), verdict.residuals[:whole], atol=1e-8)
    assert steps[-1].progress_lost == pytest.approx(progress.share(np.array(lost)))
    assert steps[-1].contrary == pytest.approx(verdict.contrary, rel=1e-4)
    shares = steps[-1].progress_lost / judge.progress_line, steps[-1].contrary / judge.contrary_line
    assert steps[-1].share_of_line == pytest.approx(max(shares))
    assert (steps[-1].share_of_line > 1) == (not verdict.accepted)


def trembling(pair, count, seed):
    """Command the opposite of the fingers in some steps."""
    states, actions = (array.copy() for array in pair)
    actions[np.random.default_rng(seed).choice(len(actions), count, replace=False), 2] *= -1
    return states, actions


@pytest.mark.parametrize(
    "pair", [demonstrations(1, 3)[0], trembling(demonstrations(1, 4)[0], 9, 0)]
)
def test_what_is_contrary_is_at_every_step_what_it_is_of_all_so_far(judge, pair):
    steps, _ = watched(judge, *pair)
    z = judge.progress.standardise(pair[0].astype(np.float32))
    for t, step in enumerate(steps, 1):
        so_far = judge.contrary.along(z[:t], pair[1][:t])
        assert step.contrary == pytest.approx(judge.contrary.share(so_far), rel=1e-3, abs=1e-6)
    assert steps[-1].contrary > 0.0


def with_a_second_switch(pairs):
    """Add an entry that is told to switch off later than the fingers, and on again."""
    for states, actions in pairs:
        far = np.linalg.norm(states[:, :2], axis=1)
        second = np.where((far > 0.1) | (far < 0.06), 1.0, -1.0)
        yield states, np.column_stack([actions, second])


def test_with_two_switches_the_larger_counts():
    judge = HarmJudge.of(*unzipped(list(with_a_second_switch(demonstrations(30, 0)))))
    assert len(judge.contrary.values) == 2
    steady = demonstrations(1, 5)[0]
    for pair in with_a_second_switch([steady, trembling(steady, 9, 1), waiting(1, 3)[0]]):
        steps, _ = watched(judge, *pair)
        verdict = judge.score(*pair)
        assert steps[-1].contrary == pytest.approx(verdict.contrary, rel=1e-3, abs=1e-6)
        assert steps[-1].waited == pytest.approx(verdict.waited, abs=0.1 / judge.progress.length)


def test_without_switches_nothing_is_contrary_and_nobody_waits():
    states, actions = unzipped(demonstrations(30, 0))
    judge = HarmJudge.of(states, [a[:, :2] for a in actions])
    (pair,) = waiting(1, 3)
    steps, _ = watched(judge, pair[0], pair[1][:, :2])
    assert steps[-1].contrary == steps[-1].waited == 0.0
    assert steps[-1].progress_lost > 0.0


def test_a_base_of_many_steps_is_thinned_as_the_verdict_thins_it():
    many = demonstrations(100, 0, speed=0.5)
    judge = HarmJudge.of(*unzipped(many), interface=INTERFACE)
    assert len(judge.progress.base.where) > MOST_STEPS
    states, actions = (array.astype(np.float32) for array in demonstrations(1, 3)[0])
    steps, _ = watched(judge, states, actions)
    verdict, k = judge.score(states, actions), judge.progress.look_ahead
    assert steps[-1].contrary == pytest.approx(verdict.contrary, rel=1e-3, abs=1e-6)
    moves = judge.progress.moves(states)
    for t in range(0, len(steps) - k, 5):
        so_far = Moves(moves.where[: t + 1], moves.ahead[: t + 1])
        joining = judge.progress.joining_so_far(moves.where[t : t + 1], so_far)
        expected = judge.progress.expected_at(moves.where[t : t + 1])
        now = judge.progress.missing(expected, joining)
        assert steps[t + k].lost == pytest.approx(float(now[0]), abs=1e-5)


@pytest.mark.parametrize(
    ("state", "action", "error", "said"),
    [
        (np.zeros(2), np.zeros(3), SpecError, r"step 1: state has shape \(2,\) instead of \(3,\)"),
        (np.zeros((1, 3)), np.zeros(3), SpecError, r"state has shape \(1, 3\)"),
        (np.zeros(3), 0.0, SpecError, r"step 1: action has shape \(\) instead of \(3,\)"),
        (np.array([0, np.nan, 0]), np.zeros(3), DataError, "step 1: state is not finite"),
        (np.array([0, 1e39, 0]), np.zeros(3), DataError, "step 1: state is not finite, or too la"),
        (np.zeros(3), np.array([0, 0, np.inf]), DataError, "step 1: action is not finite"),
    ],
)
def test_a_wrong_step_is_refused_and_does_not_count(judge, state, action, error, said):
    states, actions = demonstrations(1, 3, pause=30)[0]
    live = LiveHarm(judge)
    live.step(states[0], actions[0])
    with pytest.raises(error, match=said):
        live.step(state, action)
    for s, a in zip(states[1:], actions[1:], strict=True):
        last = live.step(s, a)
    assert last == watched(judge, states, actions)[0][-1]


def test_who_rests_is_told_to_go_on(judge):
    states, actions = demonstrations(1, 3, pause=30)[0]
    steps, _ = watched(judge, states, actions)
    assert all(step.cue == "" for step in steps[:20])
    assert [step.cue for step in steps[32:48]] == ["faster"] * 16
    assert min(step.level for step in steps[32:48]) > 0.9


def test_who_goes_back_is_told_by_how_much(judge):
    states, actions = demonstrations(1, 4)[0]
    back = states[10] + 0.04 * np.arange(12)[:, None] * np.array([0.7, 0.7, 0.0])
    moves = np.tile([0.7, 0.7, -1.0], (12, 1))
    states = np.concatenate([states[:10], back])
    actions = np.concatenate([actions[:10], moves])
    cue = watched(judge, states, actions)[0][-1].cue
    assert "dx +" in cue


def closing(pair):
    """Give the step at which the fingers are told to close."""
    return int(np.flatnonzero(pair[1][:, 2] > 0)[0])


def resting_first(pair, count):
    """Rest for some steps at the beginning, before anything else."""
    times = [count] + [1] * (len(pair[1]) - 1)
    return tuple(np.repeat(array, times, axis=0) for array in pair)


@pytest.mark.parametrize(
    "pair",
    [
        demonstrations(1, 3)[0],
        waiting(1, 3)[0],
        waiting(1, 3, anywhere=True)[0],
        resting_first(waiting(1, 3)[0], 12),
    ],
)
def test_what_is_waited_is_what_the_verdict_says(judge, pair):
    steps, _ = watched(judge, *pair)
    verdict = judge.score(*pair)
    assert steps[-1].waited == pytest.approx(verdict.waited, abs=0.1 / judge.progress.length)
    assert (steps[-1].waited > judge.waiting_line) == (verdict.waited > judge.waiting_line)
    assert steps[closing(pair) - 1].waited == 0.0  # it is told at the switch


def test_who_waits_where_the_fingers_close_is_told_to_go_on(judge):
    pair = waiting(1, 3)[0]
    steps, _ = watched(judge, *pair)
    closes = closing(pair)
    assert [step.cue for step in steps[closes - 4 : closes]] == ["faster"] * 4
    assert min(step.level for step in steps[closes - 4 : closes]) > 0.5
    assert steps[-1].share_of_line > 1


def test_who_rests_a_little_elsewhere_is_not_told_anything(judge):
    states, actions = demonstrations(1, 3)[0]
    times = np.ones(len(actions), int)
    times[12] = 4
    steps, _ = watched(judge, *(np.repeat(array, times, axis=0) for array in (states, actions)))
    assert max(step.level for step in steps) < 0.5 and steps[-1].share_of_line < 1
