"""SLIM end to end on a tabletop, through the command line and its launch file."""

import json
from pathlib import Path

import numpy as np
import pytest

from robolearn.__main__ import main
from robolearn.viz.curves import read_curve

STEPS = 4 * 6  # of an update
LINE = (
    "slim_tabletop", "env.options={horizon: 8, threads: 1, held_share: 0.5}", "environments=4",
    "measured_in.options={horizon: 8, threads: 1}",
    "slim.widths=[16]", "slim.minibatch=8", "slim.skill.widths=[8]", "slim.skill.steps=2",
    f"training={{steps: {7 * STEPS}, horizon: 6, checkpoint_updates: 2}}",
    "measure.episodes=5", "measure.horizon=8",
)  # fmt: skip
HEADS = ("reach", "discovery", "safety")


def summary(directory: Path) -> dict:
    return json.loads((directory / "summary.json").read_text())


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("slim") / "whole"
    assert main([*LINE, f"out={directory}"]) == 0
    return directory


def test_a_run_leaves_its_results(whole):
    found = summary(whole)
    assert found["steps"] == 7 * STEPS and found["episodes"] == 5
    assert 0 < found["start_coverage"] <= found["coverage"] <= 1
    assert set(found["violations_per_episode"]) == {
        "table_force", "joint_limits", "workspace", "thrown", "self_collision",
    }  # fmt: skip
    for what in ("reward", "value", "advantage_scale", "gradient_share"):
        curves = [read_curve(whole / "metrics.jsonl", f"{what}/{head}")[1] for head in HEADS]
        assert np.shape(curves) == (3, 7)
    np.testing.assert_allclose(np.sum(curves, axis=0), 1.0, rtol=1e-5)  # shares
    for picture in ("report.png", "critics.png"):
        assert (whole / picture).stat().st_size > 1000


def test_an_interrupted_run_goes_on_with_the_same_curve(whole, require_same_after_a_stop):
    names = [f"{what}/{head}" for what in ("reward", "value") for head in HEADS]
    names += ["return", "kl", "gradient_norm", "discovery/change"]
    require_same_after_a_stop(LINE, 5 * STEPS, whole, names)


def test_a_stream_that_has_no_weight_has_no_critic(tmp_path):
    line = (*LINE, "slim.weights={discovery: 1.0, reach: 0.5}", f"out={tmp_path}/two")
    assert main(line) == 0
    assert len(read_curve(tmp_path / "two" / "metrics.jsonl", "value/reach")[0]) == 7
    assert not len(read_curve(tmp_path / "two" / "metrics.jsonl", "value/safety")[0])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("measure.violations=[tabel_force]", "no reward term 'tabel_force'; did you mean"),
        ("measure.position=hand_yaw", "'hand_yaw' has 2 entries, not 3"),
        ("measured_in.name=tabletop/cylinder", "measured_in does not fit env"),
        ("slim.terms.discovery={reach: 1.0}", "slim.terms: 'discovery' is taken"),
        ("slim.terms.reach={}", "slim.terms.reach should have 1 or more entries"),
        ("slim.units={reach: .inf}", "slim.units.reach should be a finite number"),
        ("env.options.near_share=a", "must be numbers"),
        ("env.options.goal_height_m=-1", "goal_height_m=-1 must be 0 or more"),
    ],
)
def test_what_cannot_be_is_told_before_the_training(change, said, tmp_path, capsys):
    assert main([*LINE, change, f"out={tmp_path}/no"]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_a_misspelt_stream_is_one_line(tmp_path, capsys):
    assert main([*LINE, "slim.weights={discovry: 1.0}", f"out={tmp_path}/no"]) == 2
    assert "no stream 'discovry'; did you mean 'discovery'?" in capsys.readouterr().err


@pytest.mark.usefixtures("drawn")
def test_skills_of_a_run_are_measured_again(whole, tmp_path):
    line = ["skills_measure", f"skills={whole}", f"out={tmp_path}/again"]
    line += ["environments=4", "measure.episodes=6", "measure.horizon=5"]
    assert main([*line, "seed=0"]) == 0
    again = json.loads((tmp_path / "again" / "summary.json").read_text())
    assert again["episodes"] == 6
    assert 0 < again["start_coverage"] <= again["coverage"]
    assert (tmp_path / "again" / "report.png").exists()


def test_nothing_but_skills_is_measured(tmp_path, capsys):
    assert main(["skills_measure", f"skills={tmp_path}", f"out={tmp_path}/run"]) == 2
    assert "no checkpoint" in capsys.readouterr().err
