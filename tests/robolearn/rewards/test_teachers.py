"""Scripted teachers, held against the paper's equations."""

import math

import numpy as np
import pytest

from robolearn.errors import DataError, UserError
from robolearn.rewards.labels import Answer, Question
from robolearn.rewards.teachers import TEACHERS, Teacher, TeacherConfig, probability, unit_of

FIRST = np.array([1.0, 0.0, 2.0])
SECOND = np.array([0.5, 2.0, 0.0])


def question(first, second):
    return Question(*({"task_rewards": np.asarray(rewards)} for rewards in (first, second)))


def answers(config, first=FIRST, second=SECOND, count=1, **options):
    teacher = Teacher(config, **options)
    return [teacher.answer(question(first, second)) for _ in range(count)]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (TeacherConfig(), 1.0),
        (TeacherConfig(beta=0.0), 0.5),
        (TeacherConfig(beta=1.0), math.exp(3.0) / (math.exp(3.0) + math.exp(2.5))),
        (TeacherConfig(beta=4.0), math.exp(12.0) / (math.exp(12.0) + math.exp(10.0))),
        (TeacherConfig(mistake=0.1), 0.9),
        (TeacherConfig(beta=1.0, mistake=0.2), 0.8 * 0.622459331 + 0.2 * 0.377540669),
        # 0.5^2 (1 - 0.5) + 0.5 (0 - 2) + (2 - 0) = 1.125
        (TeacherConfig(beta=2.0, gamma=0.5), 1 / (1 + math.exp(-2 * 1.125))),
    ],
)
def test_the_probability_of_an_answer_is_the_papers(config, expected):
    assert probability(FIRST, SECOND, config) == pytest.approx(expected, abs=1e-9)
    assert probability(SECOND, FIRST, config) == pytest.approx(1 - expected, abs=1e-9)


def test_a_myopic_teacher_prefers_what_ends_well():
    early, late = np.array([5.0, 0.0, 0.0]), np.array([0.0, 0.0, 4.0])
    assert answers(TEACHERS["perfect"], early, late) == [Answer.FIRST]
    assert answers(TEACHERS["myopic"], early, late) == [Answer.FIRST]  # 5 * 0.81 > 4
    assert answers(TeacherConfig(gamma=0.8), early, late) == [Answer.SECOND]  # 5 * 0.64 < 4


@pytest.mark.parametrize("config", [TeacherConfig(beta=1.0, mistake=0.1), TeacherConfig(beta=0.0)])
def test_answers_come_as_often_as_they_should(config):
    said = answers(config, count=4000)
    share = said.count(Answer.FIRST) / 4000
    assert set(said) == {Answer.FIRST, Answer.SECOND}
    assert abs(share - probability(FIRST, SECOND, config)) < 0.03  # 4 standard deviations


def test_a_skipping_teacher_cannot_tell_when_both_are_small():
    config = TEACHERS["skipping"]  # both below a tenth of the unit
    assert answers(config, unit=31.0) == [Answer.CANNOT_TELL]  # sums 3.0 and 2.5
    assert answers(config, unit=29.0) == [Answer.FIRST]
    assert answers(config, SECOND, FIRST, unit=29.0) == [Answer.SECOND]
    assert answers(TEACHERS["perfect"], -FIRST, -SECOND) == [Answer.SECOND]  # never skips


def test_small_differences_are_none_for_an_equal_teacher():
    config = TEACHERS["equal"]  # sums 0.5 apart
    assert answers(config, unit=5.0) == [Answer.EQUAL]
    assert answers(config, unit=4.9) == [Answer.FIRST]
    assert answers(config, unit=-5.0) == [Answer.EQUAL]  # where all that is earned is punishment
    assert answers(TEACHERS["perfect"], FIRST, FIRST[::-1]) == [Answer.EQUAL]
    both = TeacherConfig(skip=1.0, equal=1.0, mistake=1.0)
    assert answers(both, unit=3.1) == [Answer.CANNOT_TELL]  # that comes first
    assert answers(both, unit=2.9) == [Answer.EQUAL]  # and is never a mistake
    assert answers(both, unit=0.4) == [Answer.SECOND]


def test_the_unit_is_the_average_of_a_segment():
    assert unit_of(average_return=300.0, steps=500, length=50) == pytest.approx(30.0)


def test_a_teacher_goes_on_where_it_stopped():
    config = TeacherConfig(beta=0.0)
    said = answers(config, count=60, seed=3)
    later = Teacher(config, seed=3)
    later.asked = 40
    assert [later.answer(question(FIRST, SECOND)) for _ in range(20)] == said[40:]
    assert answers(config, count=60, seed=4) != said


def test_a_teacher_judges_by_what_it_is_told():
    looks = (
        {"observations": {"state": np.ones((3, 2))}},
        {"observations": {"state": np.zeros((3, 2))}},
    )
    teacher = Teacher(judge=lambda segment: -segment["observations"]["state"][:, 0])
    assert teacher.answer(Question(*looks)) == Answer.SECOND
    with pytest.raises(DataError, match="no 'task_rewards'"):
        Teacher().answer(Question(*looks))


@pytest.mark.parametrize(
    "wrong", [{"beta": -1.0}, {"gamma": 0.0}, {"mistake": 1.1}, {"skip": -0.1}, {"equal": math.nan}]
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        TeacherConfig(**wrong)
