"""Skills of a checkpoint in use, through the command line and the launch files."""

import json
import shutil
from pathlib import Path

import pytest

from robolearn.__main__ import main
from robolearn.algos.slim import SLIM, SLIMConfig
from robolearn.errors import UserError
from robolearn.loops import checkpoint
from robolearn.skills.env import with_skill
from robolearn.skills.frozen import settle
from robolearn.viz.curves import read_curve
from sim import make

STEPS = 4 * 8  # control steps of an update
SMALL = ("evaluation.episodes=3", "evaluation.horizon=6", "evaluation.recorded=1")
CHOOSE = (
    "skills_position", "env.options={goal: position, horizon: 8, threads: 1}", "environments=4",
    "hold=3", "ppo.widths=[8]", "ppo.minibatch=4",
    f"training={{steps: {5 * STEPS}, horizon: 9, checkpoint_updates: 2}}", *SMALL,
)  # fmt: skip
GOAL_FIGURES = {
    "success", "interval", "reached", "steps_to_reach", "start_distance_m", "final_distance_m",
    "final_distance_interval_m", "episodes",
}  # fmt: skip


@pytest.fixture(scope="module")
def skills(tmp_path_factory) -> str:
    """A run of skills that were never trained."""
    env = make("tabletop/cube")
    config = SLIMConfig(weights={"discovery": 1.0}, discovery="metric", widths=(8,))
    folder = tmp_path_factory.mktemp("skills")
    checkpoint.save(folder / "checkpoint", SLIM(with_skill(env.interface, 3), config))
    env.close()
    return f"skills={folder}"


def summary(directory: Path) -> dict:
    return json.loads((directory / "summary.json").read_text())


@pytest.mark.usefixtures("drawn")
@pytest.mark.parametrize("name", ["skills_reach", "skills_rearrange", "skills_rearrange_three"])
def test_objects_are_brought_to_goals(name, skills, tmp_path):
    assert main([name, skills, *SMALL, "view=record", f"out={tmp_path}/run"]) == 0
    found = summary(tmp_path / "run")
    assert set(found) == GOAL_FIGURES and found["episodes"] == 3
    assert (tmp_path / "run" / "report.png").stat().st_size > 1000
    assert (tmp_path / "run" / "recording.rrd").stat().st_size > 1000


@pytest.mark.usefixtures("drawn")
def test_a_path_is_followed(skills, tmp_path):
    line = ("skills_follow", skills, "evaluation.episodes=2", "path.wait_s=0.2")
    corners = "path.waypoints=[[0, 0, 0.025], [0.03, 0, 0.025]]"
    assert main([*line, corners, f"out={tmp_path}/run"]) == 0
    found = summary(tmp_path / "run")
    assert set(found) == {
        "error_m", "error_interval_m", "plane_error_m", "still_error_m", "episodes",
    }  # fmt: skip
    assert found["error_m"] > 0


def test_an_episode_that_is_too_short_for_the_path_is_said(skills, tmp_path, capsys):
    line = ("skills_follow", skills, "evaluation.episodes=2", "env.options.horizon=3")
    assert main([*line, f"out={tmp_path}/run"]) == 2
    assert "env.options.horizon: the path takes" in capsys.readouterr().err


def test_an_object_must_be_left_nearer_than_it_counts_as_placed(skills, tmp_path, capsys):
    assert main(["skills_rearrange", skills, "leave.near_m=0.1", f"out={tmp_path}/run"]) == 2
    assert "leave.near_m: must be less than planner.placed_m" in capsys.readouterr().err


def test_skills_that_are_not_there_are_one_line(tmp_path, capsys):
    assert main(["skills_reach", "skills=nowhere", f"out={tmp_path}/run"]) == 2
    error = capsys.readouterr().err
    assert "skills: no checkpoint in nowhere; `robolearn slim_tabletop`" in error
    assert error.count("\n") == 1


@pytest.fixture(scope="module")
def chosen(skills, tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("choose") / "whole"
    assert main([*CHOOSE, skills, f"out={directory}"]) == 0
    return directory


def test_choosing_counts_control_steps(chosen):
    updates = 5 * STEPS // 3 // (3 * 4)  # three choices of three control steps in four tables
    found = summary(chosen)
    assert set(found) == {"steps", *GOAL_FIGURES}
    assert found["steps"] == updates * 36
    steps, _ = read_curve(chosen / "metrics.jsonl", "kl")
    assert steps.tolist() == [36 * (i + 1) for i in range(updates)]
    assert len(read_curve(chosen / "metrics.jsonl", "success")[0]) == updates
    for picture in ("report.png", "learning.png"):
        assert (chosen / picture).stat().st_size > 1000


def test_an_interrupted_choice_goes_on_with_the_same_curve(
    chosen, skills, require_same_after_a_stop
):
    require_same_after_a_stop([*CHOOSE, skills], 3 * 36, chosen, ["kl", "success"])


def test_a_choice_that_is_stopped_in_its_evaluation_goes_on(skills, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("robolearn.verbs.choose_skills.bring", stop)
        assert main([*CHOOSE, skills, f"out={tmp_path}/run"]) == 130
    assert main([str(tmp_path / "run" / "config.yaml"), f"resume={tmp_path}/run"]) == 0
    assert summary(tmp_path / "run")["episodes"] == 3


def test_a_run_goes_on_with_the_skills_that_it_began_with(skills, tmp_path, capsys):
    folder = Path(skills.removeprefix("skills="))
    shutil.copytree(folder, tmp_path / "runs" / "1")
    line = ["skills_reach", f"skills={tmp_path}/runs", *SMALL, f"out={tmp_path}/run"]
    assert main(line) == 0
    used = json.loads((tmp_path / "run" / "skills.json").read_text())
    assert used["skills"] == str(tmp_path / "runs" / "1" / "checkpoint")
    shutil.copytree(folder, tmp_path / "runs" / "2")  # a newer run
    assert settle(f"{tmp_path}/runs", tmp_path / "run" / "skills.json") == used["skills"]
    (tmp_path / "runs" / "1" / "checkpoint" / "weights.safetensors").write_bytes(b"others")
    with pytest.raises(UserError, match="are no more what this run began with"):
        settle(f"{tmp_path}/runs", tmp_path / "run" / "skills.json")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["skills_position", "object=cub"], "object: no 'cub'; did you mean 'cube'?"),
        (["skills_position", "env={name: tabletop/cube}"], "shows no goals"),
        (["skills_follow", "path.wait_s=100"], "path.wait_s: 1000 control steps of 400"),
        (["skills_follow", "path.waypoints=[[0,0,0],[0,0,0]]"], "a path without length"),
        (["skills_reach", "env={name: dmc/cartpole-swingup}"], "other actions than the skills"),
        (["skills_position", "env.name=tabletop/cub"], "tabletop/cub"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_done(line, said, skills, tmp_path, capsys):
    assert main([*line, skills, f"out={tmp_path}/run"]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_without_skills_it_is_ppo_on_the_actions(tmp_path):
    pose = ("skills_pose", "env.options={goal: pose, horizon: 8, threads: 1}", *CHOOSE[2:])
    assert main([*pose, "skills=null", f"out={tmp_path}/run"]) == 0
    assert summary(tmp_path / "run")["steps"] == 4 * (9 * 4)
    action = checkpoint.read_spec(tmp_path / "run" / "checkpoint").action
    assert action.names[0] == "hand_x" and action.shape == (5,)
