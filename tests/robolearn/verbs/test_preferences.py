"""SAC and PPO on preferences, through the command line: scripted teachers, people, stops."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from robolearn.__main__ import main
from robolearn.algos import sac
from robolearn.rewards.labels import Answer, Terminal
from robolearn.rewards.questionnaire import Questionnaire
from robolearn.rewards.teachers import TeacherConfig
from robolearn.verbs import preferences
from robolearn.viz.curves import read_curve

ASKED = (
    "preferences.every=40", "preferences.questions=4", "preferences.labels=10",
    "preferences.reward={widths: [8], length: 5, epochs: 2}",
)  # fmt: skip
PLACE = (
    "env.name=dmc/cartpole-balance", "env.options.horizon=20", "environments=2",
    "evaluation.episodes=2", "evaluation.horizon=20",
)  # fmt: skip
SAC = (
    "prefer_cartpole", *PLACE, *ASKED, "sac.widths=[16]", "training.steps=240",
    "training.random_steps=40", "training.batch=16", "training.capacity=100",
    "training.log_steps=20", "training.checkpoint_steps=60", "training.keep_replay=true",
)  # fmt: skip
PPO = (
    "ppo_walker", *PLACE, *ASKED, "ppo={widths: [16], epochs: 1}", "training.steps=240",
    "training.horizon=10", "training.checkpoint_updates=3",
)  # fmt: skip
LINES = pytest.mark.parametrize("line", [SAC, PPO], ids=["sac", "ppo"])
CURVES = ("return", "labels", "preference/loss")


def summary(directory: Path) -> dict:
    return json.loads((directory / "summary.json").read_text())


@pytest.mark.usefixtures("drawn")
@LINES
def test_a_run_asks_learns_and_goes_on_after_a_stop_as_if_there_had_been_none(
    line, tmp_path, require_same_after_a_stop
):
    whole = tmp_path / "whole"
    assert main([*line, f"out={whole}"]) == 0
    found = summary(whole)
    assert found["labels"] == sum(found["answers"].values()) == 10
    steps, labels = read_curve(whole / "metrics.jsonl", "labels")
    assert steps.tolist() == list(range(20, 241, 20))
    first = 40 if line is SAC else 20  # the random steps, or a rollout
    at = [first, first + 40, first + 80]
    assert labels.tolist() == [4 * sum(s >= a for a in at) - 2 * (s >= at[2]) for s in steps]
    assert read_curve(whole / "metrics.jsonl", "preference/loss")[0].tolist() == at
    assert (whole / "report.png").stat().st_size > 1000
    require_same_after_a_stop(line, 140, whole, CURVES)  # between two checkpoints
    assert not (whole / "questions").exists()


def test_nobody_is_asked_before_a_replay_that_was_not_kept_is_filled_anew(tmp_path, interrupted):
    line = [*SAC, "training.keep_replay=false", "preferences.reward.length=15"]
    interrupted([*line, f"out={tmp_path}/run"], 4)  # of the lines, the one at 80
    assert main([*line, f"resume={tmp_path}/run"]) == 0
    asked, _ = read_curve(tmp_path / "run/metrics.jsonl", "preference/loss")
    assert asked.tolist() == [40, 120, 160]  # from 60 on, but not of ten steps at 80
    assert summary(tmp_path / "run")["labels"] == 10


def test_it_may_explore_before_anybody_is_asked(tmp_path, monkeypatch, require_same_after_a_stop):
    monkeypatch.setattr(preferences, "LOOK_STEPS", 10)
    line, whole = (*SAC, "preferences.explore=100"), tmp_path / "whole"
    assert main([*line, f"out={whole}"]) == 0
    asked, _ = read_curve(whole / "metrics.jsonl", "preference/loss")
    assert asked.tolist() == [140, 180, 220]
    for at in (80, 200):  # while it looks around, and after the first label
        require_same_after_a_stop(line, at, whole, CURVES)


@pytest.mark.parametrize("explores", [True, False])
def test_with_the_first_label_after_exploring_what_actions_are_worth_is_learnt_anew_once(
    tmp_path, monkeypatch, explores
):
    begun = []

    def begin(learner):
        begun.append(learner.streams["preference"].preference.labels.given)

    monkeypatch.setattr(sac.SAC, "begin_critics", begin)
    line = [*SAC, f"preferences.explore={100 if explores else 0}"]
    assert main([*line, f"out={tmp_path}/run"]) == 0
    assert begun == ([4] if explores else [])


def test_what_is_learnt_depends_on_the_answers(tmp_path, monkeypatch):
    contrary = TeacherConfig(mistake=1.0)
    monkeypatch.setitem(preferences.TEACHERS, "mistaken", contrary)
    weights = []
    for teacher in ("perfect", "mistaken"):
        out = tmp_path / teacher
        assert main([*PPO, f"preferences.labeller={teacher}", f"out={out}"]) == 0
        weights.append((out / "checkpoint" / "weights.safetensors").read_bytes())
    assert weights[0] != weights[1]


def typed(monkeypatch, *keys):
    """Have somebody type at what is no terminal; give what was asked, and let it end."""
    left, read = list(keys), []

    def ask(prompt):
        if not left:
            raise KeyboardInterrupt
        read.append(prompt)
        return left.pop(0)

    monkeypatch.setattr("demos.labels.run.Terminal", lambda show: Terminal(show, ask))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    return read


def test_people_are_asked_only_what_is_open_after_a_stop(tmp_path, monkeypatch, capsys):
    line = (*PPO, "preferences.labeller=terminal", "preferences.labels=7")
    out = tmp_path / "run"
    first = typed(monkeypatch, "1", "x", "2", "=")
    assert main([*line, f"out={out}"]) == 130
    assert len(first) == 4
    asked = Questionnaire.read(out / "questions")
    assert asked.answers() == {0: Answer.FIRST, 1: Answer.SECOND, 2: Answer.EQUAL}
    assert asked.open() == [3] and "3 answered, 1 open" in capsys.readouterr().err
    assert "states" in asked.question(3).first

    second = typed(monkeypatch, "?", "1", "1", "1", "1")
    assert main([*line, f"resume={out}"]) == 0
    assert len(second) == 5
    found = summary(out)
    assert found["labels"] == 7
    assert found["answers"] == {"first": 5, "second": 1, "equal": 1, "cannot tell": 1}

    whole = tmp_path / "whole"
    typed(monkeypatch, "1", "2", "=", "?", "1", "1", "1", "1")
    assert main([*line, f"out={whole}"]) == 0
    for file in ("summary.json", "checkpoint/weights.safetensors"):
        assert (out / file).read_bytes() == (whole / file).read_bytes(), file


def test_a_run_waits_for_those_who_answer_later(tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"

    def sleep(_):
        asked = Questionnaire.read(out / "questions")
        asked.answer(asked.open()[-1], Answer.SECOND)

    monkeypatch.setattr(preferences.time, "sleep", sleep)
    assert main([*SAC, "preferences.labeller=later", f"out={out}"]) == 0
    assert summary(out)["answers"]["second"] == 10
    assert f"answer them with: robolearn label run={out}\n" in capsys.readouterr().err
    typed(monkeypatch)
    assert main(["label", f"run={out}", "by=terminal", f"out={tmp_path}/label"]) == 0
    assert summary(tmp_path / "label") == {"run": str(out), "answered": 10, "open": 0}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("preferences.labeller=perfet", "nobody is called 'perfet'; did you mean 'perfect'?"),
        ("preferences.labeller=page", "preferences.camera: which one shows people"),
        ("preferences.reward.length=30", "have 20 steps, segments cannot have 30"),
        ("preferences.labels=0", "preferences.labels should be greater than 0"),
    ],
)
def test_what_cannot_be_is_one_line(change, said, tmp_path, capsys):
    assert main([*SAC, change, f"out={tmp_path}/run"]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_settings_that_do_not_go_together_are_one_line(tmp_path, capsys):
    assert main([*PPO, "training.horizon=4", f"out={tmp_path}/run"]) == 2
    assert "segments of 5 steps do not fit into rollouts of 4" in capsys.readouterr().err
    assert main([*PPO, "preferences.explore=9", f"out={tmp_path}/run"]) == 2
    assert "preferences.explore: only on a replay" in capsys.readouterr().err
    assert main([*SAC, "sac.terms={a: {b: 1.0}}", f"out={tmp_path}/run"]) == 2
    assert "rewards beside preferences" in capsys.readouterr().err


def test_questions_of_another_environment_and_damaged_answers_are_one_line(
    tmp_path, monkeypatch, capsys
):
    line = (*SAC, "preferences.labeller=terminal")
    out, other = tmp_path / "run", tmp_path / "other"
    typed(monkeypatch, "1", "1")
    assert main([*line, f"out={out}"]) == 130
    other.mkdir()
    shutil.copytree(out / "questions", other / "questions")
    capsys.readouterr()
    assert main([*line, "env.name=dmc/cartpole-swingup", f"out={other}"]) == 2
    error = capsys.readouterr().err
    assert "are about dmc/cartpole-balance, not about the environment dmc/cartpole-swingup" in error
    (out / "questions" / "answers.jsonl").write_text("{}\n")
    assert main([*line, f"resume={out}"]) == 2
    assert "answers.jsonl:1: damaged" in capsys.readouterr().err
    assert main(["label", f"run={tmp_path}/nowhere", f"out={tmp_path}/label"]) == 2
    assert "has no questions to people" in capsys.readouterr().err
