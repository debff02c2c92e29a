"""PPO end to end on dm_control, through the command line and its launch file."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from robolearn.__main__ import main
from robolearn.algos.ppo import PPO, PPOConfig
from robolearn.loops import checkpoint
from robolearn.viz.curves import draw_curve, read_curve, smooth

LINE = (
    "ppo_walker", "env.name=dmc/cartpole-balance", "env.options.horizon=20", "environments=2",
    "ppo.widths=[16]", "training.steps=224", "training.horizon=16", "training.checkpoint_updates=2",
    "evaluation.episodes=3", "evaluation.horizon=20",
)  # fmt: skip


def summary(directory: Path) -> dict:
    return json.loads((directory / "summary.json").read_text())


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("ppo") / "whole"
    assert main([*LINE, f"out={directory}"]) == 0
    return directory


def test_a_run_leaves_its_results(whole):
    found = summary(whole)
    assert found["steps"] == 7 * 16 * 2
    assert found["evaluation"]["episodes"] == 3
    assert 0 < found["evaluation"]["return"] <= 20
    low, high = found["evaluation"]["return_interval"]
    assert low < found["evaluation"]["return"] < high
    assert found["evaluation"]["whole"] and found["evaluation"]["length"] == 20
    steps, returns = read_curve(whole / "metrics.jsonl", "return")
    assert set(steps) < {32 * update for update in range(1, 8)}
    assert ((returns > 0) & (returns <= 20)).all()
    assert len(read_curve(whole / "metrics.jsonl", "steps_per_s")[0]) == 7
    assert (whole / "report.png").stat().st_size > 1000
    assert not (whole / "checkpoint" / "training").exists()


def test_an_interrupted_run_goes_on_with_the_same_curve(whole, require_same_after_a_stop):
    names = ("return", "kl", "value_loss", "gradient_norm")
    require_same_after_a_stop(LINE, 5 * 32, whole, names)


def test_a_stop_says_what_is_kept_and_going_on_says_where(whole, stop_at, capsys):
    stopped = stop_at(LINE, 5 * 32)
    go_on = f"go on with: robolearn {stopped}/config.yaml resume={stopped}\n"
    assert capsys.readouterr().err.endswith(f"interrupted; kept up to step 128; {go_on}")
    assert main([*LINE, f"resume={stopped}"]) == 0
    assert f"robolearn: {stopped}: goes on at step 128\n" in capsys.readouterr().err


def test_a_stop_before_the_first_checkpoint_says_that_nothing_is_kept(
    whole, stop_at, capsys, logged_steps
):
    stopped = stop_at(LINE, 32)
    said = "interrupted; no checkpoint yet (the first comes at step 64), resume= begins anew; go on"
    assert said in capsys.readouterr().err
    assert main([*LINE, f"resume={stopped}"]) == 0
    said = f"robolearn: {stopped}: no checkpoint there, it begins anew\n"
    assert said in capsys.readouterr().err
    assert logged_steps(stopped) == logged_steps(whole)
    assert summary(stopped) == summary(whole)


def test_a_stop_in_the_evaluation_repeats_no_line(whole, stop_at, capsys, logged_steps):
    stopped = stop_at(LINE, 2)  # episodes
    assert "interrupted; what was finished is kept; go on with" in capsys.readouterr().err
    assert main([*LINE, f"resume={stopped}"]) == 0
    assert f"{stopped}: goes on at step 224\n" in capsys.readouterr().err
    assert logged_steps(stopped) == logged_steps(whole)
    assert summary(stopped) == summary(whole)


def test_the_policy_of_a_run_is_evaluated_by_the_other_verb(whole, tmp_path, capsys):
    line = ("evaluate_lift", "env.name=dmc/cartpole-balance", "env.options={horizon: 20}")
    line += (f"checkpoint={whole}", "evaluation.episodes=3")
    assert main([*line, f"out={tmp_path}/evaluate"]) == 0
    found = summary(tmp_path / "evaluate")
    assert found == summary(whole)["evaluation"]
    lines = (line.partition(": ") for line in capsys.readouterr().err.splitlines())
    said = {name: value for name, _, value in lines}
    for name in ("return", "return_interval", "length", "length_interval", "whole"):
        assert json.loads(said[name]) == pytest.approx(found[name], rel=1e-3)
    # The pole starts upright, which is this task's success.
    assert main([*line, "evaluation.whole=false", f"out={tmp_path}/cut"]) == 0
    cut = summary(tmp_path / "cut")
    assert not cut["whole"] and cut["length"] < found["length"] and cut["success"] == 1


def test_how_many_environments_is_no_option_of_theirs(tmp_path, capsys):
    assert main([*LINE, "env.options.n=3", f"out={tmp_path}/run"]) == 2
    error = capsys.readouterr().err
    assert "option 'n' is the verb's to choose" in error and error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_counters_of_another_training_are_one_line(whole, tmp_path, capsys):
    shutil.copytree(whole, tmp_path / "run")
    (tmp_path / "run" / "summary.json").unlink()
    learner = PPO(checkpoint.read_spec(whole / "checkpoint"), PPOConfig(widths=(16,)))
    checkpoint.save(tmp_path / "run" / "checkpoint", learner, {"updates": 1})
    assert main([*LINE, f"resume={tmp_path}/run"]) == 2
    error = capsys.readouterr().err
    assert "counters.json: damaged: states: Field required" in error and error.count("\n") == 1


def test_of_a_step_that_was_logged_twice_the_later_line_counts(tmp_path):
    lines = [(1, 5.0), (3, None), (2, 6.0), (2, 7.0)]
    text = "".join(json.dumps({"step": step, "return": value}) + "\n" for step, value in lines)
    (tmp_path / "metrics.jsonl").write_text(text + '{"step": 4, "loss": 1.0}\n')
    steps, values = read_curve(tmp_path / "metrics.jsonl", "return")
    assert steps.tolist() == [1, 2] and values.tolist() == [5.0, 7.0]


@pytest.mark.usefixtures("drawn")
def test_a_curve_is_smoothed_by_the_mean_of_what_came_before(tmp_path):
    values = np.array([1.0, 3.0, 5.0, 7.0])
    assert smooth(values, 2).tolist() == [1.0, 2.0, 4.0, 6.0]
    assert smooth(values, 9).tolist() == [1.0, 2.0, 3.0, 4.0]
    draw_curve(np.arange(4), values, "return", "A title", tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
