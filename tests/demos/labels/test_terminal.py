"""Questions in a terminal: which keys answer, and what is drawn."""

import contextlib
import io
import os

import numpy as np
import pytest

from demos.labels import terminal
from demos.labels.clips import Clip, Clips
from robolearn.errors import DataError, UserError
from robolearn.rewards.labels import Answer, Question
from robolearn.rewards.questionnaire import Questionnaire
from sim import make
from sim.rendering.gl import backend_name

needs_gl = pytest.mark.skipif(backend_name() is None, reason="no GL library works here")
NAME = "dmc/cartpole-swingup"


def moved(env, force):
    """Drive the cart from the middle for 30 steps."""
    observation, _ = env.reset(seed=0)
    rows = []
    for _ in range(30):
        rows.append((observation["state"], env.get_state()))
        observation = env.step(np.full(1, force, np.float32))[0]
    state, states = (np.stack(column) for column in zip(*rows, strict=True))
    actions = np.full((30, 1), force, np.float32)
    return {"observations": {"state": state}, "actions": actions, "states": states}


@pytest.fixture
def asked(tmp_path):
    env = make(NAME)
    about = {"env": NAME, "options": {"image_size": [8, 8]}, "task": "drive"}
    found = Questionnaire.begin(tmp_path / "questions", env.interface, about)
    found.put(0, Question(moved(env, -1.0), moved(env, 1.0)))
    env.close()
    return found


@needs_gl
def test_a_clip_shows_the_states_of_a_segment(asked):
    with Clips(asked, "fixed", (40, 60), jpeg=False) as clips:
        clip = clips.clip(0)
        assert clips.clip(0) is clip
        with pytest.raises(DataError, match="missing or damaged"):
            clips.clip(1)
    assert len(clip.first) == len(clip.second) == 30
    assert clip.period_s == pytest.approx(asked.interface.period_s)
    assert clip.first[0].shape == (40, 60, 3)
    np.testing.assert_array_equal(clip.first[0], clip.second[0])  # both begin alike
    left, right = (images[-1].astype(int).sum(axis=(0, 2)) for images in (clip.first, clip.second))
    assert (left != right).any()
    with pytest.raises(UserError, match=r"unknown camera 'fixd'; did you mean 'fixed'\?"):
        Clips(asked, "fixd", (40, 60))


def test_without_a_camera_there_are_curves(asked, monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(terminal, "key_presses", pressing([None, Answer.SECOND]))
    assert terminal.ask(asked, 0, None, out) is Answer.SECOND
    lines = out.getvalue().splitlines()
    assert lines[0] == "question 1: drive (0 answered, 1 open)"
    (cart,) = (line.split() for line in lines if line.startswith("position_0"))
    assert cart[1][-1] == "\u2581" and cart[2][-1] == "\u2588"  # to the left, to the right
    assert lines[-1] == terminal.ASKED


def test_clips_are_played_until_a_key_is_pressed(asked, monkeypatch):
    class Drawn:
        def clip(self, number):
            grey = [np.full((8, 8, 3), level, np.uint8) for level in (0, 120)]
            return Clip(grey, grey[::-1], 0.1)

    out, waits = io.StringIO(), []
    monkeypatch.setattr(terminal, "key_presses", pressing([None] * 4 + [Answer.EQUAL], waits))
    monkeypatch.setenv("COLORTERM", "truecolor")
    assert terminal.ask(asked, 0, Drawn(), out) is Answer.EQUAL
    assert waits == [1.0] * 5  # two pictures last for two seconds at least
    frames = out.getvalue().split(terminal.CLEAR)[1:]
    assert len(frames) == 5 and frames[0].splitlines()[:-1] == frames[2].splitlines()[:-1]
    assert frames[0].index("2;0;0;0") < frames[0].index("2;120;120;120")
    assert frames[1].index("2;120;120;120") < frames[1].index("2;0;0;0")


def pressing(answers, waits=None):
    @contextlib.contextmanager
    def key_presses():
        left = list(answers)

        def press(timeout_s):
            if waits is not None:
                waits.append(timeout_s)
            return left.pop(0)

        yield press

    return key_presses


def test_keys_are_read_as_they_are_pressed(monkeypatch):
    ours, theirs = os.openpty()
    with os.fdopen(theirs) as keyboard:
        monkeypatch.setattr("sys.stdin", keyboard)
        with terminal.key_presses() as press:
            assert press(0.0) is None
            for text, answer in [
                ("1", Answer.FIRST), ("2", Answer.SECOND), ("=", Answer.EQUAL),
                ("?", Answer.CANNOT_TELL), ("\x1b[D", Answer.FIRST), ("\x1b[C", Answer.SECOND),
                ("x", None),
            ]:  # fmt: skip
                os.write(ours, text.encode())
                assert press(10.0) == answer, text
    os.close(ours)
