"""What is asked, answered and kept."""

import numpy as np
import pytest

from robolearn.errors import DataError, SpecError, UserError
from robolearn.rewards.labels import Answer, Labels, Question, Terminal, curves
from robolearn.types import ArraySpec, Spec

SPEC = Spec("toy", {"state": ArraySpec((2,), names=("x", "far"))}, ArraySpec((1,)), 0.1)
LENGTH = 3


def segment(number, length=LENGTH):
    state = number + np.stack([np.arange(length), np.zeros(length)], axis=1)
    return {"observations": {"state": state}, "actions": np.full((length, 1), number / 100)}


def question(number):
    return Question(segment(number), segment(number + 0.5))


def filled(answers, capacity=4):
    labels = Labels(SPEC, capacity, LENGTH)
    for i, answer in enumerate(answers):
        labels.add(question(i), answer)
    return labels


ANSWERS = [
    Answer.FIRST,
    Answer.CANNOT_TELL,
    Answer.SECOND,
    Answer.EQUAL,
    Answer.FIRST,
    Answer.SECOND,
]


def test_answers_become_probabilities_and_who_cannot_tell_leaves_none():
    labels = filled(ANSWERS[:4])
    assert len(labels) == labels.given == 3
    assert labels.y.tolist() == [1.0, 0.0, 0.5]
    assert labels.states.shape == (3, 2, LENGTH, 2) and labels.actions.shape == (3, 2, LENGTH, 1)
    np.testing.assert_array_equal(labels.states[:, :, 0, 0], [[0, 0.5], [2, 2.5], [3, 3.5]])
    np.testing.assert_allclose(labels.actions[:, 1, 2, 0], [0.005, 0.025, 0.035], rtol=1e-6)
    assert labels.add(question(9), Answer.EQUAL) and not labels.add(question(9), ANSWERS[1])


@pytest.mark.parametrize("seed", range(5))
def test_the_latest_labels_are_kept(seed):
    rng = np.random.default_rng(seed)
    capacity, given = int(rng.integers(1, 9)), rng.choice(list(Answer), int(rng.integers(1, 40)))
    labels = filled(given, capacity)
    share = {Answer.FIRST: 1.0, Answer.SECOND: 0.0, Answer.EQUAL: 0.5}
    expected = [(i, share[a]) for i, a in enumerate(given) if a in share]
    assert labels.given == len(expected)
    held = zip(labels.states[:, 0, 0, 0].tolist(), labels.y.tolist(), strict=True)
    assert sorted(held) == expected[-capacity:]


@pytest.mark.parametrize("count", [3, 6])
def test_labels_that_were_saved_go_on_as_those_that_were_not(tmp_path, count):
    labels, path = filled(ANSWERS[:count]), tmp_path / "labels.safetensors"
    labels.save(path)
    restored = Labels(SPEC, 4, LENGTH)
    restored.load(path)
    for each in (labels, restored):
        for i in range(3):
            each.add(question(10 + i), Answer.EQUAL)
    for name, array in labels.state_dict().items():
        np.testing.assert_array_equal(restored.state_dict()[name], array, err_msg=name)


def test_what_does_not_fit_is_refused_and_changes_nothing(tmp_path):
    labels, path = filled(ANSWERS), tmp_path / "labels.safetensors"
    before = {name: array.copy() for name, array in labels.state_dict().items()}
    for lengths in ((4, 4), (3, 4)):
        with pytest.raises(DataError, match=r"has states \(4, 2\) and actions \(4, 1\) instead of"):
            labels.add(Question(*(segment(0, length) for length in lengths)), Answer.FIRST)
    with pytest.raises(DataError, match="not finite"):
        labels.add(Question(segment(0), segment(np.nan)), Answer.FIRST)
    with pytest.raises(DataError, match="no answer 'secnd'; did you mean 'second'"):
        labels.add(question(0), "secnd")
    with pytest.raises(DataError, match=r"labels\.safetensors: missing or damaged"):
        labels.load(path)
    Labels(SPEC, 4, LENGTH + 1).save(path)
    with pytest.raises(DataError, match=r"labels\.safetensors: these labels are of another"):
        labels.load(path)
    with pytest.raises(DataError, match="of another environment or capacity: states"):
        Labels(SPEC, 9, LENGTH).load_state_dict(labels.state_dict())
    with pytest.raises(DataError, match="these are no labels: given, y missing"):
        labels.load_state_dict({"states": labels.states, "actions": labels.actions})
    for name, array in labels.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_labels_need_a_state():
    blind = Spec("toy", {"eye": ArraySpec((4, 4, 3), "uint8")}, ArraySpec((1,)), 0.1)
    with pytest.raises(SpecError, match="about the 'state'; this environment shows eye"):
        Labels(blind, 4, LENGTH)


def test_a_person_types_until_a_key_is_one():
    typed, shown = iter(["", "first", " 2 ", "=", "?", "1"]), []
    terminal = Terminal(shown.append, read=lambda asked: next(typed))
    asked = [question(i) for i in range(4)]
    said = [terminal.answer(q) for q in asked]
    assert said == [Answer.SECOND, Answer.EQUAL, Answer.CANNOT_TELL, Answer.FIRST]
    assert shown == asked

    def ended(asked):
        raise EOFError

    with pytest.raises(UserError, match="nobody answers"):
        Terminal(shown.append, read=ended).answer(question(0))


def test_entries_that_tell_segments_apart_are_drawn_first():
    first, second = segment(0), segment(0)
    second["observations"]["state"] = second["observations"]["state"] + [0.0, 7.0]
    lines = curves(Question(first, second), SPEC, entries=1).splitlines()
    assert len(lines) == 2 and lines[1].split()[0] == "far" and lines[1].endswith("0 and 7")
    assert "x" in curves(Question(first, second), SPEC)
