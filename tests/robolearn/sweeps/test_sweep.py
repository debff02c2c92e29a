"""Whole sweeps of somebody's verbs: what fails, what goes on, what is left behind."""

import fcntl
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from robolearn.__main__ import main
from robolearn.errors import UserError
from robolearn.running import launch
from robolearn.sweeps import attempt, grid, sweep

LAUNCH = """\
verb: my_lab.many:run
sweep:
  seed: [0, 1]
  how: [well]
  memory_gb: 0.01
"""
VERBS = '''
"""Verbs that end in all sorts of ways."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from robolearn.errors import UserError
from robolearn.running.registry import Verb
from robolearn.settings import Settings


@dataclass(frozen=True)
class ManyConfig(Settings):
    """How it ends."""

    how: str = "well"


def end(config, run):
    earlier = len(run.path("metrics.jsonl").read_text().splitlines())
    run.log(earlier, process=os.getpid())
    if config.how == "user" and run.seed == 0:
        raise UserError("this can be put right")
    if config.how == "bug" and run.seed == 0:
        raise RuntimeError("nobody expected this")
    if config.how == "killed once" and not earlier:
        os.kill(os.getpid(), signal.SIGKILL)
    if config.how == "waits" and not Path("go").exists():
        Path(f"waiting-{run.seed}").touch()
        time.sleep(600)
    threads = os.getenv("OMP_NUM_THREADS")
    return {"score": 10.0 + run.seed, "attempts": earlier + 1, "threads": threads}


run = Verb(ManyConfig, end, resumable=True)
from_the_start = Verb(ManyConfig, end)
'''


@pytest.fixture
def many(lab):
    """A folder with a launch file of a sweep of two runs, and its verbs."""
    (lab / "many.yaml").write_text(LAUNCH)
    (lab / "my_lab" / "many.py").write_text(VERBS)
    return lab


def summary(run):
    return json.loads(Path(run, "summary.json").read_text())


def test_every_run_has_a_folder_of_its_own_and_the_same_command_has_nothing_left(many, capsys):
    assert main(["many"]) == 0
    out, told = capsys.readouterr()
    (folder,) = Path("runs/many").iterdir()
    assert folder.name.startswith("sweep-")
    assert summary(folder / "how-well_seed-1") == {"score": 11.0, "attempts": 1, "threads": "1"}
    assert "2 runs" in told
    assert "[2/2] how-well_seed-" in told
    assert ": score 10" in told
    assert "all runs      2  10.5 (10 to 11)" in told
    assert out.splitlines() == [f"{folder}/report.{kind}" for kind in ("png", "html", "json")]
    before = (folder / "how-well_seed-0" / "summary.json").stat().st_mtime_ns
    assert main(["many"]) == 0
    assert "2 runs, all of them done before; nothing is left to do" in capsys.readouterr().err
    assert (folder / "how-well_seed-0" / "summary.json").stat().st_mtime_ns == before


def test_show_prints_the_first_run_and_the_sweep_as_a_launch_file(many, capsys):
    assert main(["show", "many", "sweep.how=[bug, well]"]) == 0
    Path("shown.yaml").write_text(capsys.readouterr().out)
    shown = grid.read(Path("shown.yaml"))
    assert shown.members[0].launch.config.how == "bug"
    assert (
        shown.fingerprint() == grid.read(Path("many.yaml"), ["sweep.how=[bug, well]"]).fingerprint()
    )


def test_a_folder_takes_more_runs_of_the_same_kind_and_no_others(many, capsys):
    assert main(["many", "out=all", "sweep.seed=[0]"]) == 0
    assert main(["many", "out=all"]) == 0
    assert summary("all/how-well_seed-0")["attempts"] == 1
    assert main(["many", "out=all", "verb=my_lab.many:from_the_start"]) == 2
    assert "all/how-well_seed-0: that run has verb=" in capsys.readouterr().err
    assert main(["many", "out=all", "sweep=null"]) == 2
    assert "'out=all': holds a sweep; choose another folder" in capsys.readouterr().err
    assert main(["many", "out=all/how-well_seed-0"]) == 2
    assert "holds a run of its own; choose another folder" in capsys.readouterr().err


def test_a_run_that_fails_is_told_with_its_last_line_and_the_others_go_on(many, capsys):
    line = ["many", "out=all", "sweep.how=[bug, user]", "sweep.retries=1"]
    assert main(line) == 1
    told = capsys.readouterr().err
    assert "how-bug_seed-0: exit code 1; retry 1 of 1\n" in told
    last = "how-bug_seed-0: failed (exit code 1): RuntimeError: nobody expected this (all/logs/"
    assert last in told
    assert "how-user_seed-0: failed (exit code 2): robolearn: this can be put right (" in told
    assert "how-user_seed-0: exit code" not in told  # no retry is any use
    assert "robolearn: all: 2 runs failed\n" in told
    assert summary("all/how-bug_seed-1")["score"] == summary("all/how-user_seed-1")["score"] == 11


@pytest.mark.parametrize(("verb", "attempts"), [("run", 2), ("from_the_start", 1)])
def test_a_run_that_dies_goes_on_if_its_verb_can_and_begins_anew_if_not(
    many, capsys, verb, attempts
):
    line = ["many", "out=all", f"verb=my_lab.many:{verb}", "sweep.how=[killed once]"]
    assert main([*line, "sweep.seed=[0]", "sweep.retries=1"]) == (0 if attempts == 2 else 1)
    told = capsys.readouterr().err
    assert "how-killed-once_seed-0: its process was ended by SIGKILL; retry 1 of 1\n" in told
    if attempts == 2:
        assert summary("all/how-killed-once_seed-0")["attempts"] == 2


def test_what_never_began_may_be_put_right_in_the_same_folder(many):
    for how in ("user", "well"):
        read = grid.read(Path("many.yaml"), ["sweep={seed: [0]}", f"how={how}"])
        sweep._prepare(read, Path("all"), Path("many.yaml"))
    assert launch.read(Path("all/launch/seed-0.yaml")).config.how == "well"
    Path("all/seed-0").mkdir()
    shutil.copy("all/launch/seed-0.yaml", "all/seed-0/config.yaml")
    read = grid.read(Path("many.yaml"), ["sweep={seed: [0]}", "how=bug"])
    with pytest.raises(UserError, match="all/seed-0: that run has how='well', not 'bug'"):
        sweep._prepare(read, Path("all"), Path("many.yaml"))


def test_a_stopped_run_whose_verb_is_gone_is_one_line_and_not_tried_again(lab, capsys):
    for file in ("all/launch/seed-0.yaml", "all/seed-0/config.yaml"):
        Path(file).parent.mkdir(parents=True)
        Path(file).write_text("verb: my_lab.gone:run\n")
    assert attempt.attempt("all", "seed-0", 1) == attempt.USERS
    said = capsys.readouterr().err
    assert said.startswith("robolearn: all/launch/seed-0.yaml:1: no module 'my_lab.gone'")
    assert said.count("\n") == 1


def test_a_folder_that_cannot_be_locked_is_one_line(many, capsys):
    Path("all/.lock").mkdir(parents=True)
    assert main(["many", "out=all"]) == 2
    assert capsys.readouterr().err.startswith("robolearn: all: cannot write .lock (")


def test_what_is_wrong_with_one_run_keeps_all_from_beginning(many, capsys):
    assert main(["many", "out=all", "sweep.how=[well, 3]"]) == 2
    assert capsys.readouterr().err == (
        "robolearn: 'sweep.how=[well, 3]': how should be a valid string, not 3\n"
    )
    assert not Path("all").exists()


def wait_for(*paths):
    deadline = time.monotonic() + 120
    while not all(path.exists() for path in paths):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def processes_of(folder):
    """Give the processes that a sweep's runs have noted and that are still there."""
    lines = [json.loads(line)["process"] for file in folder.glob("*/metrics.jsonl")
             for line in file.read_text().splitlines()]  # fmt: skip
    return [pid for pid in lines if Path(f"/proc/{pid}").exists()]


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGKILL])
def test_a_sweep_that_is_stopped_leaves_no_process_and_goes_on(many, kind):
    line = ["many", "out=all", "sweep.how=[waits]", "sweep.at_once=2"]
    command = [sys.executable, "-m", "robolearn", *line]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as sweeping:
        wait_for(many / "waiting-0", many / "waiting-1")
        assert len(processes_of(many / "all")) == 2
        sweeping.send_signal(kind)
        told = sweeping.communicate(timeout=120)[1]
    if kind == signal.SIGINT:
        assert sweeping.returncode == 130
        stopped = "interrupted; all: 0 of 2 runs have ended; the same command goes on\n"
        assert told.endswith(stopped)
    deadline = time.monotonic() + 60
    while processes_of(many / "all"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    if kind == signal.SIGINT:
        (many / "go").touch()
        assert main(line) == 0
        assert summary("all/how-waits_seed-0")["attempts"] == 2


def test_the_same_sweep_is_not_run_twice_at_once(many, capsys):
    Path("all").mkdir()
    with open("all/.lock", "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert main(["many", "out=all"]) == 2
    assert capsys.readouterr().err == "robolearn: all: this sweep is being run already\n"
