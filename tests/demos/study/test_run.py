"""The stages of a study: what happens when a process dies; replicates that others have done."""

import os

import pytest

from demos.study import run as study
from robolearn.errors import UserError
from robolearn.running import launch
from robolearn.running.processes import Processes
from robolearn.running.run import Run, write_config


def test_a_process_that_dies_is_one_line_that_says_how_to_go_on(tmp_path):
    with (
        Run(tmp_path, seed=0) as run,
        pytest.raises(UserError, match="baking: a worker process died .* go on with: .*resume="),
        Processes(1) as processes,
    ):
        study._stage(processes, run, "baking", [(os._exit, 3)])


def part(folder, *overrides, ended=True):
    """Make what a run of one replicate leaves."""
    folder.mkdir(parents=True)
    settings = launch.read(launch.find("quickstart"), ("replicates=3", *overrides)).settings()
    write_config(folder, settings)
    if ended:
        (folder / "summary.json").write_text("{}")
    return folder


def test_replicates_that_have_ended_are_taken_and_no_others(tmp_path):
    for i, ended in enumerate((True, False, True)):
        done = part(tmp_path / "sweep" / f"replicate-{i}", f"replicate={i}", ended=ended)
        (done / f"replicate_{i}").mkdir()
        (done / f"replicate_{i}" / "scores.json").write_text(f"[{i}]")
    whole = part(tmp_path / "whole", f"gathered={tmp_path / 'sweep'}", "workers=1", ended=False)
    (whole / "replicate_2").mkdir()  # begun here before
    with Run(whole, seed=0) as run:
        study._gather(tmp_path / "sweep", run)
    assert {path.name for path in whole.glob("*replicate_*")} == {"replicate_0", "replicate_2"}
    assert (whole / "replicate_0" / "scores.json").read_text() == "[0]"
    assert not list((whole / "replicate_2").iterdir())


def test_replicates_of_another_study_are_refused(tmp_path):
    part(tmp_path / "sweep" / "replicate-0", "replicate=0", "episodes=7")
    whole = part(tmp_path / "whole", ended=False)
    with Run(whole, seed=0) as run, pytest.raises(UserError, match="that run has episodes=7"):
        study._gather(tmp_path / "sweep", run)
