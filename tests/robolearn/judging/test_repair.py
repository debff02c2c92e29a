"""What is kept of a rejected demonstration."""

import dataclasses

import numpy as np
import pytest

from robolearn.judging.harm import HarmJudge
from robolearn.judging.reasons import Reason
from robolearn.judging.repair import (
    _advancing,
    harmless,
    mended,
    retimed,
    without_harm,
)

from .plane import INTERFACE, demonstrations, unzipped, waiting


@pytest.fixture(scope="module")
def judge():
    return HarmJudge.of(*unzipped(demonstrations(30, 0)), interface=INTERFACE)


def test_what_is_accepted_stays_whole(judge):
    accepted = [pair for pair in demonstrations(5, 1) if judge.score(*pair).accepted]
    assert len(accepted) >= 4
    assert all(harmless(judge, *pair).all() for pair in accepted)


def test_a_pause_goes_and_the_rest_stays(judge):
    states, actions = demonstrations(1, 3, pause=40)[0]
    stay = harmless(judge, states, actions)
    assert not stay[22:56].any()
    assert stay[:16].all() and stay[64:].mean() > 0.9


@pytest.mark.parametrize("repair", [without_harm, mended])
def test_a_wait_for_the_fingers_goes_and_the_rest_stays(judge, repair):
    for states, actions in waiting(5, 4):
        verdict = judge.score(states, actions)
        closes = int(np.flatnonzero(actions[:, 2] > 0)[0])
        assert not verdict.accepted
        kept = repair(judge, states, actions, verdict)
        stays = np.isin(np.arange(len(actions)), kept.rows)
        assert stays[closes - 7 : closes - 1].sum() <= 1 and stays.sum() >= len(actions) - 16
        assert judge.score(states[kept.rows], kept.actions).accepted


def test_of_another_way_nothing_stays(judge):
    """They come from the other side, where the base has never been, and cross its way."""
    for states, actions in demonstrations(5, 3, side=-1.0):
        verdict = judge.score(states, actions)
        assert "direction" in {reason.mechanism for reason in verdict.reasons}
        assert not harmless(judge, states, actions).any()
        for repair in (without_harm, mended):
            assert len(repair(judge, states, actions)) == 0


def reversed_for_a_while(pair):
    states, actions = pair
    actions = actions.copy()
    actions[10:25] *= -1
    return states, actions


@pytest.mark.parametrize("habits", [{"speed": 0.2}, {"pause": 40}, {"speed": 0.6, "pause": 40}])
@pytest.mark.parametrize("spoil", [lambda pair: pair, reversed_for_a_while])
@pytest.mark.parametrize("repair", [without_harm, mended])
def test_what_is_left_is_accepted(judge, habits, spoil, repair):
    rejected = 0
    for pair in map(spoil, demonstrations(6, 3, **habits)):
        kept = repair(judge, *pair)
        assert len(kept) == len(kept.actions) and (np.diff(kept.rows) > 0).all()
        rejected += not judge.score(*pair).accepted
        assert len(kept) == 0 or judge.score(pair[0][kept.rows], kept.actions).accepted
    assert rejected == 6


def test_steps_that_are_contrary_go(judge):
    states, actions = demonstrations(1, 3)[0]
    verdict = judge.score(states, actions)
    reason = Reason("contrary", 4, 6, 1.0, "")
    opposing = np.zeros(len(actions))
    opposing[[4, 5, 9]] = 0.9, 0.2, 0.09
    found = dataclasses.replace(verdict, accepted=False, reasons=(reason,), opposing=opposing)
    assert np.flatnonzero(~harmless(judge, states, actions, found)).tolist() == [4, 5]
    nothing = dataclasses.replace(found, opposing=np.zeros(len(actions)))
    assert len(without_harm(judge, states, actions, nothing)) == 0  # nothing that could go


def test_where_no_stretch_stands_out_those_go_that_advance_least(judge):
    """Twice as long as the base's, and at every step a little below the line."""
    count = 2 * round(judge.progress.length)
    lost = np.full(count, np.sqrt(0.8 * judge.progress_line))
    advance = np.linspace(0.26, 0.9, count)
    assert judge.progress.share(lost) > 1.3 * judge.progress_line
    marked = _advancing(judge, advance, lost)
    assert judge.progress.share(lost[marked]) <= judge.progress_line
    assert not marked[: count // 5].any() and marked[-count // 2 :].all()
    half = slice(count // 2)  # which may lose so much
    assert _advancing(judge, advance[half], lost[half]).all()
    advance[5] = 0.2
    assert np.flatnonzero(~_advancing(judge, advance[half], lost[half])).tolist() == [5]


def test_what_stays_of_one_who_is_slow_loses_no_more_than_a_demonstration_may(judge):
    for states, actions in demonstrations(5, 6, speed=0.2):
        stay = harmless(judge, states, actions)
        lost = judge.score(states, actions).lost
        assert 0.1 < stay.mean() < 0.9
        assert judge.progress.share(lost[stay]) <= judge.progress_line
        assert lost[stay].mean() < lost[~stay].mean()


def test_nothing_stays_of_what_is_too_short_to_judge(judge):
    states, actions = demonstrations(1, 1)[0]
    for repair in (without_harm, mended):
        assert len(repair(judge, states[:18], actions[:18])) == 0


def test_commands_that_do_not_fit_go(judge):
    states, actions = reversed_for_a_while(demonstrations(1, 4)[0])
    stay = harmless(judge, states, actions)
    assert not stay[10:25].any() and stay[:6].all() and stay[30:34].all()


@pytest.mark.parametrize(("habits", "longer"), [({"pause": 40}, 1.35), ({"speed": 0.2}, 2.0)])
def test_retimed_it_is_about_as_long_as_the_bases_and_loses_no_more(judge, habits, longer):
    usual = np.median([len(a) for _, a in demonstrations(10, 5)])
    for states, actions in demonstrations(5, 6, **habits):
        before = judge.score(states, actions)
        assert not before.accepted
        kept = retimed(judge, states, actions)
        new_actions = kept.actions
        assert len(kept) == len(new_actions) < longer * usual
        verdict = judge.score(states[kept.rows], new_actions)
        assert verdict.progress_lost < 0.05 * before.progress_lost
        assert (np.diff(kept.rows) > 0).all()  # the path is the same
        assert set(new_actions[:, 2]) <= {-1.0, 1.0} and np.abs(new_actions).max() <= 1.0


def test_what_becomes_too_short_does_not_stay(judge):
    states, actions = demonstrations(1, 3)[0]
    rest = np.repeat(states[5:6], 60, axis=0), np.zeros((60, 3))
    assert len(retimed(judge, *rest)) < 19
    left = mended(judge, *rest)
    assert len(left) == 0 and left.actions.shape == (0, 3)


def test_retimed_actions_are_those_of_the_faster_motion(judge):
    states, actions = demonstrations(1, 7, speed=0.5)[0]
    new_actions = retimed(judge, states, actions).actions
    assert np.abs(new_actions[5:15, :2]).max() > 1.5 * np.abs(actions[10:30, :2]).mean()
    size, before = (np.linalg.norm(a[8:16, :2].mean(axis=0)) for a in (new_actions, actions))
    assert size == pytest.approx(2 * before, rel=0.3)
