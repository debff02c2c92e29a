"""Questions and answers as files: saved at once, kept over a stop, and what is damaged."""

import numpy as np
import pytest

from robolearn.errors import DataError, SpecError
from robolearn.rewards.labels import Answer, Question
from robolearn.rewards.questionnaire import Questionnaire
from robolearn.types import ArraySpec, Spec

LENGTH = 3
SPEC = Spec("toy/Push", {"state": ArraySpec((2,), names=("x", "y"))}, ArraySpec((1,)), 0.1)


def question(seed):
    rng = np.random.default_rng(seed)

    def segment():
        return {
            "observations": {"state": rng.normal(size=(LENGTH, 2)).astype(np.float32)},
            "actions": rng.normal(size=(LENGTH, 1)).astype(np.float32),
            "states": rng.normal(size=(LENGTH, 4)),
        }

    return Question(segment(), segment())


def begun(tmp_path, spec=SPEC):
    return Questionnaire.begin(tmp_path / "questions", spec, {"task": "push"})


def asked(tmp_path, count=3):
    found = begun(tmp_path)
    for number in range(count):
        found.put(number, question(number))
    return found


def require_same(first, second):
    for ours, theirs in ((first.first, second.first), (first.second, second.second)):
        np.testing.assert_array_equal(
            ours["observations"]["state"], theirs["observations"]["state"]
        )
        for name in ("actions", "states"):
            np.testing.assert_array_equal(ours[name], theirs[name])
            assert ours[name].dtype == theirs[name].dtype


def test_an_answer_is_there_for_everybody_at_once_and_the_first_one_counts(tmp_path):
    ours, theirs = asked(tmp_path), Questionnaire.read(tmp_path / "questions")
    assert theirs.about == {"task": "push"} and theirs.interface == SPEC
    assert theirs.open() == [0, 1, 2]
    require_same(theirs.question(1), question(1))
    assert theirs.answer(1, Answer.SECOND) and not ours.answer(1, Answer.FIRST)
    assert ours.answers() == theirs.answers() == {1: Answer.SECOND}
    assert ours.open() == [0, 2]
    assert ours.answer(0, Answer.CANNOT_TELL)
    lines = (tmp_path / "questions" / "answers.jsonl").read_text().splitlines()
    assert lines[0] == '{"question": 1, "answer": "second"}' and len(lines) == 2


def test_nothing_is_written_before_there_is_a_question(tmp_path):
    begun(tmp_path)
    assert not (tmp_path / "questions").exists()


def test_after_a_stop_only_what_is_open_is_asked_and_no_answer_is_lost(tmp_path):
    first = asked(tmp_path, 2)
    first.answer(0, Answer.FIRST)
    again, calls = begun(tmp_path), []

    def attend():
        calls.append(again.open())
        again.answer(again.open()[0], Answer.EQUAL)

    other = [question(seed) for seed in (10, 11, 12)]  # a replay that was not kept has others
    found = list(again.respond(0, other, attend))
    assert calls == [[1, 2], [2]]
    assert [answer for _, answer in found] == [Answer.FIRST, Answer.EQUAL, Answer.EQUAL]
    for (kept, _), right in zip(found, (question(0), question(1), other[2]), strict=True):
        require_same(kept, right)


def test_a_line_that_was_not_finished_does_not_count_and_is_written_over(tmp_path):
    found = asked(tmp_path)
    found.answer(0, Answer.FIRST)
    file = tmp_path / "questions" / "answers.jsonl"
    with file.open("a") as lines:
        lines.write('{"question": 1, "ans')
    assert found.open() == [1, 2]
    assert found.answer(2, Answer.SECOND)
    assert found.answers() == {0: Answer.FIRST, 2: Answer.SECOND}
    assert len(file.read_text().splitlines()) == 2


@pytest.mark.parametrize(
    "line", ["nonsense", '{"question": 0}', '{"question": 0, "answer": "best"}', "[1]", "[" * 9999]
)
def test_a_damaged_answer_is_one_line_that_says_where(tmp_path, line):
    found = asked(tmp_path)
    found.answer(1, Answer.FIRST)
    with (tmp_path / "questions" / "answers.jsonl").open("a") as lines:
        lines.write(line + "\n")
    with pytest.raises(DataError, match=r"answers\.jsonl:2: damaged: no question and answer in it"):
        found.answers()


def test_what_is_missing_damaged_or_of_another_environment_is_refused(tmp_path):
    found = asked(tmp_path)
    with pytest.raises(DataError, match="no question 7"):
        found.answer(7, Answer.FIRST)
    with pytest.raises(DataError, match="no questions to people there"):
        Questionnaire.read(tmp_path / "nowhere")
    other = Spec("toy/Pull", SPEC.observations, SPEC.action, 0.1)
    with pytest.raises(SpecError, match="are about toy/Push, not about the environment toy/Pull"):
        begun(tmp_path, other)
    larger = Spec("toy/Push", SPEC.observations, ArraySpec((5,)), 0.1)
    with pytest.raises(SpecError, match="action has shape"):
        begun(tmp_path, larger)
    file = tmp_path / "questions" / "000001.safetensors"
    file.write_bytes(file.read_bytes()[:99])
    with pytest.raises(DataError, match=r"000001\.safetensors: missing or damaged"):
        found.question(1)
    found.interface = larger
    with pytest.raises(DataError, match=r"its first segment has no actions \[L, 5\]"):
        found.question(0)
    (tmp_path / "questions" / "about.json").write_text("{")
    with pytest.raises(DataError, match=r"about\.json is damaged"):
        Questionnaire.read(tmp_path / "questions")
