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


def test_one_who_is_slow_is_found_out_within_a_few_demonstrations(judge):
    person = Person(judge)
    assert person.fits
    for pair in demonstrations(10, 2, speed=0.4):
        person.score(*pair)
        if not person.fits:
            break
    assert not person.fits and 2 <= len(person.verdicts) <= 4
    for pair in demonstrations(20, 3):
        person.score(*pair)
    assert not person.fits  # what was found stays found


def test_the_evidence_by_hand(judge):
    own = np.array([0.0] * 18 + [0.3, 0.4])  # two of twenty are beyond their line
    made = dataclasses.replace(judge, own_lost=own, own_mismatch=np.zeros(20))
    made = dataclasses.replace(
        made, config=dataclasses.replace(judge.config, false_rejection_rate=0.3)
    )
    assert (made.own_harm > 1).sum() == 2
    person = Person(made, false_alarm_rate=0.1)
    q0 = float(beta.ppf(0.95, 4, 17))
    assert person.rate_of_base == pytest.approx(q0)
    q1 = max(STRANGER, (1 + q0) / 2)
    person.score(*demonstrations(1, 4, speed=0.3)[0])
    assert person.evidence == pytest.approx(q1 / q0)
    person.score(*demonstrations(1, 5)[0])
    assert person.evidence == pytest.approx(q1 / q0 * (1 - q1) / (1 - q0))
    assert person.strongest == pytest.approx(q1 / q0)


class Numbers:
    """A judge whose two measures of a demonstration are the numbers that it is given."""

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
