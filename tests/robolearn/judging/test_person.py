"""A verdict that grows with a person's demonstrations."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import beta

from robolearn.errors import DataError
from robolearn.judging.harm import HarmJudge
from robolearn.judging.person import STRANGER, Person

from .plane import INTERFACE, demonstrations, unzipped


@pytest.fixture(scope="module")
def judge():
    return HarmJudge.of(*unzipped(demonstrations(30, 0)), interface=INTERFACE)


def test_one_who_is_like_the_base_keeps_fitting(judge):
    person = Person(judge)
    for pair in demonstrations(40, 1):
        person.score(*pair)
    assert person.fits and len(person.verdicts) == 40


def test_one_who_comes_from_the_other_side_is_found_out_within_a_few_demonstrations(judge):
    person = Person(judge)
    assert person.fits
    for pair in demonstrations(10, 2, side=-1.0):
        person.score(*pair)
        if not person.fits:
            break
    assert not person.fits and 2 <= len(person.verdicts) <= 4
    for pair in demonstrations(20, 3):
        person.score(*pair)
    assert not person.fits  # what was found stays found


def test_the_evidence_by_hand(judge):
    own = np.array([0.0] * 18 + [0.3, 0.4])  # two of twenty are beyond their line
    made = dataclasses.replace(
        judge,
        own_lost=own,
        own_waited=np.zeros(20),
        own_contrary=np.full(20, 1e6),
        own_mismatch=np.zeros(20),
    )
    made = dataclasses.replace(
        made, config=dataclasses.replace(judge.config, false_rejection_rate=0.3)
    )
    assert (made.own_harm > 1).sum() == 2
    person = Person(made, false_alarm_rate=0.1)
    q0 = float(beta.ppf(0.95, 4, 17))
    assert person.rate_of_base == pytest.approx(q0)
    q1 = max(STRANGER, (1 + q0) / 2)
    up, down = q1 / q0, (1 - q1) / (1 - q0)
    person.score(*demonstrations(1, 4, pause=60)[0])
    first = up / 2 + 1 / 2
    assert person.evidence == pytest.approx(first)
    person.score(*demonstrations(1, 5)[0])
    assert person.evidence == pytest.approx(up * down / 2 + down / 6 + 1 / 3)
    person.score(*demonstrations(1, 4, pause=60)[0])
    third = up * down * up / 2 + down * up / 6 + up / 12 + 1 / 4
    assert person.evidence == pytest.approx(third)
    assert person.strongest == pytest.approx(max(first, third))


class Numbers:
    """A judge whose measures of a demonstration are the numbers that it is given."""

    def __init__(self, own, alpha=0.05):
        self.lines = np.quantile(own, 1 - alpha, axis=0)
        self.own_harm = (own - self.lines).max(axis=1) + 1

    def score(self, numbers, actions):
        return SimpleNamespace(accepted=bool((numbers <= self.lines).all()))


def test_the_false_alarm_rate_holds_whatever_is_calibrated_on():
    """Calibrate anew each time, then let 30 more of the same kind come."""
    rng = np.random.default_rng(0)
    alarms, runs = 0, 1500
    for _ in range(runs):
        person = Person(Numbers(rng.standard_normal((20, 2))), false_alarm_rate=0.05)
        for numbers in rng.standard_normal((30, 2)):
            person.score(numbers, None)
        alarms += not person.fits
    assert alarms / runs <= 0.05


class Coin:
    """A judge of a base of 60, 4 of them beyond a line, that rejects with a probability."""

    own_harm = np.array([2.0] * 4 + [0.0] * 56)

    def __init__(self, rate, seed):
        self.rate, self.rng = rate, np.random.default_rng(seed)

    def score(self, observations, actions):
        return SimpleNamespace(accepted=bool(self.rng.random() >= self.rate))


def test_the_worst_that_the_test_allows_for_is_seldom_told_however_long_one_looks():
    """With q = q_0 the evidence reaches 1 / delta with probability delta at most."""
    alarms, runs = 0, 400
    for seed in range(runs):
        person = Person(Coin(0.0, seed), false_alarm_rate=0.2)
        person.judge.rate = person.rate_of_base
        for _ in range(300):
            person.score(None, None)
        alarms += not person.fits
    delta = 0.1
    assert alarms / runs <= delta + 3 * np.sqrt(delta * (1 - delta) / runs)
    assert alarms > 0  # the test has power there


@pytest.mark.parametrize("before, within", [(0, 6), (20, 9), (100, 13), (1000, 17)])
def test_a_change_of_a_persons_way_is_found_soon_however_long_it_fitted(before, within):
    person = Person(Coin(0.0, 0))
    for _ in range(before):
        person.score(None, None)
    assert person.fits
    person.judge.rate = 1.0
    for _ in range(within):
        person.score(None, None)
    assert not person.fits


def test_a_base_that_is_beyond_its_own_lines_says_nothing(judge):
    own = np.full(30, 9.0)
    config = dataclasses.replace(judge.config, false_rejection_rate=0.999)
    beyond = dataclasses.replace(judge, config=config, own_mismatch=own + np.arange(30))
    with pytest.raises(DataError, match="base demonstrations are beyond the lines"):
        Person(beyond)


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_a_rate_that_makes_no_sense_is_refused(judge, rate):
    with pytest.raises(DataError, match="false_alarm_rate"):
        Person(judge, false_alarm_rate=rate)
