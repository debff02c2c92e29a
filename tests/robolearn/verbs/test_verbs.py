"""The verbs, end to end on robosuite's Lift, through the command line and the launch files."""

import json
import re
from pathlib import Path

import pytest
import yaml

from robolearn.__main__ import main
from robolearn.loops import checkpoint
from robolearn.running import launch

SMALL = ("bc.widths=[16]", "bc.members=2", "evaluation.episodes=2", "evaluation.horizon=5")


def run(*arguments: str) -> dict:
    """Run a launch file in this process and give its summary."""
    assert main(arguments) == 0
    out = next(a for a in arguments if a.startswith("out="))
    return json.loads((Path(out.removeprefix("out=")) / "summary.json").read_text())


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> str:
    """Three demonstrations, collected in two goes."""
    folder = tmp_path_factory.mktemp("collect")
    path = f"{folder}/lift"
    for episodes in (2, 3):
        summary = run(
            "collect_lift", f"episodes={episodes}", f"dataset={path}", "operators=[base]",
            f"out={folder}/{episodes}",
        )  # fmt: skip
    assert summary["dataset"] == path
    assert summary["operators"]["base"]["successes"] == 3
    return path


COLLECT = ("collect_lift", "env={name: my_lab.envs:make_bead}", "dataset=beads", "horizon=30")
BOTH = "operators=[my_lab.operators:make_pusher, my_lab.operators:make_puller]"


def test_a_collection_says_what_was_there_and_what_is_new(lab, capsys):
    operators = Path("my_lab", "operators.py")
    operators.write_text(operators.read_text() + "\n\nmake_puller = make_pusher\n")

    def collect(*line: str) -> tuple[dict, dict, str]:
        summary = run(*COLLECT, BOTH, *line)
        new = {name[-6:]: o["new"] for name, o in summary["operators"].items()}
        said = capsys.readouterr().err
        assert said.count("goes on with") == ("goes on with beads (" in said)  # once, or never
        return summary["episodes"], new, said

    found, new, said = collect("episodes=3", "out=first")
    assert found == {"before": 0, "new": 6, "in_all": 6}
    assert new == {"pusher": 3, "puller": 3}
    assert "goes on with" not in said
    found, new, said = collect("episodes=3", "out=again")
    assert found == {"before": 6, "new": 0, "in_all": 6}
    assert new == {"pusher": 0, "puller": 0}
    assert said.startswith("goes on with beads (6 episodes)\n")
    assert 'episodes: {"before": 6, "new": 0, "in_all": 6}' in said
    found, new, said = collect("episodes=1", "out=other", "seed=1")
    assert found == {"before": 6, "new": 2, "in_all": 8}
    assert new == {"pusher": 1, "puller": 1}
    assert said.startswith("goes on with beads (6 episodes)\n")


def test_a_collection_that_cannot_go_on_is_one_line(lab, capsys):
    run(*COLLECT, BOTH.replace(", my_lab.operators:make_puller", ""), "episodes=1", "out=first")
    capsys.readouterr()
    other = "env={name: my_lab.envs:make_bead, options: {start: 0.5}}"
    assert main([*COLLECT, BOTH.replace(", my_lab.operators:make_puller", ""), other]) == 2
    error = capsys.readouterr().err
    assert error.startswith("robolearn: beads was recorded with other options (start)")
    assert error.count("\n") == 1


def test_a_collection_is_in_order(dataset, capsys):
    assert main(["doctor", dataset]) == 0
    assert "episodes in order" in capsys.readouterr().out


def test_the_clone_is_trained_evaluated_and_kept(dataset, tmp_path):
    first = run("bc_lift", f"dataset={dataset}", "training.epochs=3", *SMALL, f"out={tmp_path}/bc")
    assert first["demonstrations"] == 3
    assert first["transitions"] > 50
    assert 1 <= first["best_epoch"] <= 3
    assert first["evaluation"]["episodes"] == 2 and not first["evaluation"]["whole"]
    low, high = first["evaluation"]["return_interval"]
    assert low <= first["evaluation"]["return"] <= high
    spec = checkpoint.read_spec(tmp_path / "bc" / "checkpoint")
    assert spec.environment == "robosuite/Lift"
    assert not (tmp_path / "bc" / "checkpoint" / "training").exists()
    again = run(
        "evaluate_lift", f"checkpoint={tmp_path}", "evaluation.episodes=2",
        "evaluation.horizon=5", f"out={tmp_path}/evaluate",
    )  # fmt: skip
    assert again == first["evaluation"]
    episodes = [tmp_path / name / "evaluation" / "episodes.jsonl" for name in ("bc", "evaluate")]
    assert episodes[0].read_text() == episodes[1].read_text()


def test_a_policy_that_does_not_fit_the_environment_is_refused(dataset, tmp_path, capsys):
    run(
        "bc_lift", f"dataset={dataset}", "training.epochs=1", "evaluation=", *SMALL[:2],
        f"out={tmp_path}/bc",
    )  # fmt: skip
    capsys.readouterr()
    line = ["evaluate_lift", f"checkpoint={tmp_path}/bc", "env.options.controller=JOINT_VELOCITY"]
    assert main([*line, f"out={tmp_path}/evaluate"]) == 2
    error = capsys.readouterr().err
    assert "does not fit" in error
    assert error.count("\n") == 1


def test_an_operator_and_an_environment_of_ones_own(lab):
    """Demonstrate, clone, evaluate, and learn from rewards, as in our own environments."""
    env, operator = (
        "{name: my_lab.envs:make_bead, options: {start: 0.8}}",
        "my_lab.operators:make_pusher",
    )
    collected = run(
        "collect_lift", f"env={env}", "dataset=beads", f"operators=[{operator}]", "episodes=3",
        "horizon=30", "out=collect",
    )  # fmt: skip
    assert collected["operators"][operator]["successes"] == 3
    assert main(["doctor", "beads"]) == 0
    cloned = run(
        "bc_lift", "dataset=beads", f"operator={operator}", "training.epochs=30", "bc.widths=[32]",
        "evaluation={episodes: 2, horizon: 30}", "out=bc",
    )  # fmt: skip
    assert cloned["evaluation"]["success"] == 1.0
    learnt = run(
        "ppo_walker", "env={name: my_lab.envs:make_bead}", "environments=2", "out=ppo",
        "training={steps: 64, horizon: 32}", "evaluation={episodes: 1, horizon: 30}",
    )  # fmt: skip
    assert learnt["steps"] == 64


@pytest.mark.parametrize(
    ("operator", "said"),
    [
        ("my_lab.operators:make_pushr", "did you mean 'make_pusher'?"),
        ("my_lab.operators:not_a_maker", "must be a function of (interface, rng)"),
    ],
)
def test_an_operator_that_is_none_is_one_line(lab, capsys, operator, said):
    line = ["collect_lift", "env={name: my_lab.envs:make_bead}", "dataset=beads"]
    assert main([*line, f"operators=[my_lab.operators:make_pusher, {operator}]"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("robolearn: operators: ")
    assert said in error and error.count("\n") == 1
    assert not Path("beads").exists()


def test_a_task_on_the_tabletop_can_be_collected_too(tmp_path):
    options = "{goal: pose, goal_height_m: 0.15, horizon: 150, threads: 1}"
    found = run(
        "collect_lift", f"env={{name: tabletop/cube, options: {options}}}", "episodes=1",
        f"dataset={tmp_path}/cubes", "operators=[base]", f"out={tmp_path}/run",
    )  # fmt: skip
    assert found["operators"]["base"]["successes"] == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["operators=[base, bse]"], "unknown operator style 'bse'; did you mean 'base'?"),
        (["env={name: dmc/cartpole-balance}"], "no scripted operator for task"),
        (["env={name: dmc/cartpole-balnce}"], "dmc/cartpole-balnce"),
    ],
)
def test_a_collection_that_cannot_begin_leaves_nothing(
    tmp_path, monkeypatch, capsys, changes, said
):
    monkeypatch.chdir(tmp_path)
    assert main(["collect_lift", *changes]) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_learner_of_ones_own_is_evaluated_where_it_is_named(lab, capsys):
    run("reach", "out=run")
    line = ["evaluate_lift", "checkpoint=run", "env={name: my_lab.envs:make_bead}"]
    line += ["evaluation={episodes: 2, horizon: 30}"]
    assert main(line) == 2
    assert "unknown learner 'spring'" in capsys.readouterr().err
    assert run(*line, "learner=my_lab.method:Spring", "out=evaluation")["episodes"] == 2


def test_an_option_that_only_the_launch_file_gives_is_said_with_its_line(lab, capsys):
    run("reach", "out=run")
    capsys.readouterr()
    line = ["evaluate_lift", "checkpoint=run", "learner=my_lab.method:Spring"]
    assert main([*line, "env.name=my_lab.envs:make_bead"]) == 2
    said = capsys.readouterr().err
    where = r"robolearn: \S+launch/evaluate_lift.yaml:6: environment 'my_lab.envs:make_bead': "
    assert re.match(where + "unknown option 'robot'", said) and said.count("\n") == 1


@pytest.mark.parametrize(
    ("learner", "said"),
    [
        ("my_lab.method:SpringConfig", "must be a class with a name, as checkpoints have it"),
        ("my_lab.reach:run", "must be a class with a name, as checkpoints have it"),
        (
            "my_lab.method:Clone",
            "my_lab.method:Clone is called 'bc', the one in run/checkpoint 'spring'",
        ),
    ],
)
def test_a_learner_that_cannot_be_the_one_in_the_checkpoint_is_refused(
    installed_lab, capsys, learner, said
):
    run("reach", "out=run")
    capsys.readouterr()
    line = ["evaluate_lift", "checkpoint=run", "env={name: my_lab.envs:make_bead}"]
    assert main([*line, f"learner={learner}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("robolearn: learner: ")
    assert said in error and error.count("\n") == 1


def test_a_resumed_training_ends_as_if_it_had_never_stopped(
    dataset, tmp_path, require_same_after_a_stop
):
    line = ["bc_lift", f"dataset={dataset}", "training.epochs=5", "checkpoint_epochs=2"]
    line += [*SMALL[:2], "evaluation="]
    run(*line, f"out={tmp_path}/whole")
    require_same_after_a_stop(line, 3, tmp_path / "whole")


def test_a_stopped_cloning_says_what_is_kept(dataset, stop_at, capsys):
    line = ["bc_lift", f"dataset={dataset}", "training.epochs=5", "checkpoint_epochs=2"]
    line += [*SMALL[:2], "evaluation="]
    stopped = stop_at(line, 3)  # in the fourth epoch, at its end
    assert "interrupted; kept up to epoch 2; go on with: " in capsys.readouterr().err
    assert main([*line, f"resume={stopped}"]) == 0
    assert f"robolearn: {stopped}: goes on at epoch 2\n" in capsys.readouterr().err


def test_counters_of_another_training_are_one_line(dataset, tmp_path, capsys):
    line = ["bc_lift", f"dataset={dataset}", "training.epochs=1", *SMALL[:2], "evaluation="]
    run(*line, f"out={tmp_path}/bc")
    (tmp_path / "bc" / "summary.json").unlink()
    folder = tmp_path / "bc" / "checkpoint"
    learner = checkpoint.load_policy(folder, checkpoint.read_spec(folder))
    checkpoint.save(folder, learner, {"updates": 1})
    capsys.readouterr()
    assert main([*line, f"resume={tmp_path}/bc"]) == 2
    error = capsys.readouterr().err
    assert "counters.json: damaged: should be a valid list, not None" in error


def test_what_was_run_is_written_down(dataset):
    config = yaml.safe_load((Path(dataset).parent / "3" / "config.yaml").read_text())
    assert config["verb"] == "collect"
    assert config["env"]["name"] == "robosuite/Lift"
    assert launch.read(Path(dataset).parent / "3" / "config.yaml").config.episodes == 3


def test_a_clone_of_a_mask_takes_only_what_is_in_it(dataset, capsys):
    assert main(["bc_lift", f"dataset={dataset}", "operator=null", "mask=kept"]) == 2
    assert "has no mask 'kept'" in capsys.readouterr().err
