"""SAC end to end on dm_control, through the command line and its launch file."""

import json
from pathlib import Path

import pytest

from robolearn.__main__ import main
from robolearn.viz.curves import read_curve

LINE = (
    "sac_walker", "env.name=dmc/cartpole-balance", "env.options.horizon=20", "environments=2",
    "sac.widths=[16]", "training.steps=160", "training.random_steps=40", "training.batch=16",
    "training.capacity=100", "training.log_steps=20", "training.checkpoint_steps=60",
    "evaluation.episodes=3", "evaluation.horizon=20",
)  # fmt: skip
KEPT = (*LINE, "training.keep_replay=true")


def summary(directory: Path) -> dict:
    return json.loads((directory / "summary.json").read_text())


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("sac") / "whole"
    assert main([*KEPT, f"out={directory}"]) == 0
    return directory


def test_a_run_leaves_its_results(whole):
    found = summary(whole)
    assert found["steps"] == 160 and found["replay_bytes"] == 100 * (2 * 5 * 4 + 4 + 4 + 1 + 1 + 4)
    assert found["evaluation"]["episodes"] == 3
    assert found["evaluation"]["whole"] and found["evaluation"]["length"] == 20
    steps, returns = read_curve(whole / "metrics.jsonl", "return")
    assert steps.tolist() == [40, 80, 120, 160]
    assert ((returns > 0) & (returns <= 20)).all()
    assert read_curve(whole / "metrics.jsonl", "critic_loss")[0].tolist() == list(
        range(40, 161, 20)
    )
    assert (whole / "report.png").stat().st_size > 1000
    assert not (whole / "checkpoint" / "training").exists()


def test_an_interrupted_run_goes_on_with_the_same_curve(whole, require_same_after_a_stop):
    require_same_after_a_stop(KEPT, 140, whole, ("return", "critic_loss", "alpha"))


def test_a_run_that_keeps_no_replay_says_so_when_it_goes_on(stop_at, capsys, logged_steps):
    stopped = stop_at(LINE, 140)
    error = capsys.readouterr().err
    assert "the replay of 100 takes 0 MB\n" in error
    assert "interrupted; kept up to step 120; go on with: robolearn" in error
    assert not (stopped / "checkpoint" / "training" / "replay.safetensors").exists()
    assert main([*LINE, f"resume={stopped}"]) == 0
    error = capsys.readouterr().err
    assert f"{stopped}: goes on at step 120\n" in error
    assert "the replay was not kept (training.keep_replay=true keeps it), it is empty\n" in error
    assert logged_steps(stopped) == [*range(20, 161, 20), 1, 2, 3]


def test_a_stop_in_the_evaluation_repeats_no_line(whole, stop_at, logged_steps):
    stopped = stop_at(KEPT, 2)  # episodes
    assert main([*KEPT, f"resume={stopped}"]) == 0
    assert logged_steps(stopped) == logged_steps(whole)
    assert summary(stopped) == summary(whole)


def test_a_stop_before_the_first_checkpoint_says_that_nothing_is_kept(stop_at, capsys):
    stop_at(LINE, 40)
    said = "interrupted; no checkpoint yet (the first comes at step 60), resume= begins anew; go on"
    assert said in capsys.readouterr().err


def test_a_replay_that_is_gone_is_one_line(stop_at, capsys):
    stopped = stop_at(KEPT, 140)
    (stopped / "checkpoint" / "training" / "replay.safetensors").unlink()
    capsys.readouterr()
    assert main([*KEPT, f"resume={stopped}"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "replay.safetensors: missing or damaged" in error


def test_the_policy_of_a_run_is_evaluated_by_the_other_verb(whole, tmp_path):
    line = ("evaluate_lift", "env.name=dmc/cartpole-balance", "env.options={horizon: 20}")
    line += (f"checkpoint={whole}", "evaluation.episodes=3", f"out={tmp_path}/evaluate")
    assert main([*line]) == 0
    assert summary(tmp_path / "evaluate") == summary(whole)["evaluation"]


def test_rewards_may_be_terms_of_the_environment(tmp_path, capsys):
    line = (*LINE, f"out={tmp_path}/terms")
    assert main([*line, "sac.terms={near: {nothing: 1.0}}"]) == 2
    assert "near: no reward term 'nothing'" in capsys.readouterr().err


def test_more_memory_than_there_is_is_one_line(tmp_path, capsys):
    assert main([*LINE, "training.capacity=1000000000000", f"out={tmp_path}/run"]) == 2
    error = capsys.readouterr().err
    assert "1,000,000,000,000 transitions take" in error and error.count("\n") == 1
    assert not (tmp_path / "run").exists()
