import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from robolearn.errors import UserError
from robolearn.running import run as runs
from robolearn.running.config import EnvConfig
from robolearn.running.run import Follower, Run


@pytest.fixture
def run(tmp_path):
    with Run(tmp_path, seed=3) as run:
        yield run


class Closing:
    """Something that a run makes and closes."""

    def __init__(self, *arguments, **options):
        self.given, self.closed = (arguments, options), 0

    def close(self):
        self.closed += 1

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()


def pretend(monkeypatch, name: str, **attributes) -> None:
    module = types.ModuleType(name)
    vars(module).update(attributes)
    monkeypatch.setitem(sys.modules, name, module)


def test_a_metric_is_in_the_file_when_log_returns(run):
    run.log(5, loss=np.float32(0.5), bad=float("inf"))
    line = json.loads(run.path("metrics.jsonl").read_text())
    assert line.pop("time_s") >= 0
    assert line == {"step": 5, "loss": 0.5, "bad": None}


def test_the_summary_takes_arrays_and_tuples_and_is_strict_json(run):
    run.finish({"a": np.arange(2), "b": (1, {"c": np.float64("nan")}), "path": Path("x")})
    text = run.path("summary.json").read_text()
    assert json.loads(text) == {"a": [0, 1], "b": [1, {"c": None}], "path": "x"}
    assert "NaN" not in text
    assert {path.name for path in run.directory.iterdir()} == {"metrics.jsonl", "summary.json"}


def test_what_json_does_not_know_is_written_as_text_and_warned_of(run):
    with pytest.warns(UserWarning, match=r"does not know a.1 \(set\), b \(complex\): written as"):
        run.finish({"a": [0, {3}], "b": 1j, "c": None, "d": True})
    found = json.loads(run.path("summary.json").read_text())
    assert found == {"a": [0, "{3}"], "b": "1j", "c": None, "d": True}


def test_a_file_that_cannot_be_written_is_an_error_of_one_line(tmp_path):
    with pytest.raises(UserError, match="cannot write x .No such file"):
        runs.replace_text(tmp_path / "missing" / "x", "")


def test_a_full_disk_is_an_error_of_one_line(tmp_path):
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with Run(tmp_path, seed=0) as run, pytest.raises(UserError, match="No space left on device"):
        run.log(0)


@pytest.mark.parametrize(
    ("step", "logged", "kept"),
    [
        (0, None, []),
        (4, None, [2, 4]),
        (5, None, [2, 4]),  # whose line a full disk did not take
        (6, None, [2, 4, 6]),  # and not the evaluation, which counts from 1 again
        (6, 5, [2, 4]),
        (9, None, [2, 4, 6, 1, 2]),
    ],
)
def test_a_run_that_goes_on_keeps_the_lines_until_there(
    tmp_path, capsys, logged_steps, step, logged, kept
):
    with Run(tmp_path, seed=0) as run:
        run.go_on(0)  # a new one: nothing to say
        for at in (2, 4, 6, 1, 2):
            run.log(at)
    with Run(tmp_path, seed=0) as run:
        run.go_on(step, "page", logged)
        assert logged_steps(tmp_path) == kept
        run.log(7)
    assert logged_steps(tmp_path) == [*kept, 7]
    where = f"goes on at page {step}" if step else "no checkpoint there, it begins anew"
    assert capsys.readouterr().err == f"robolearn: {tmp_path}: {where}\n"


@pytest.mark.parametrize("line", ["broken", "5", "{}", '{"step": "x"}'])
def test_a_damaged_line_is_one_line(tmp_path, line):
    (tmp_path / "metrics.jsonl").write_text(f'{{"step": 1}}\n{line}\n')
    with Run(tmp_path, seed=0) as run, pytest.raises(UserError, match="jsonl:2: damaged: no step"):
        run.go_on(3)


def test_environments_are_made_by_name_and_closed_with_the_run(tmp_path, monkeypatch):
    pretend(monkeypatch, "sim", make=Closing)
    with Run(tmp_path, seed=0) as run:
        env = run.make_env(EnvConfig("toy/A", {"size": 3}))
        assert env.given == (("toy/A",), {"size": 3})
        assert not env.closed
    assert env.closed == 1


@pytest.mark.parametrize("name", ["n", "autoreset_mode"])
def test_what_verbs_decide_on_is_no_option_of_a_batch(tmp_path, monkeypatch, name):
    pretend(monkeypatch, "sim", make_vec=Closing)
    with Run(tmp_path, seed=0) as run:
        assert run.make_envs(EnvConfig("toy/A", {"size": 3}), 1).given == (
            ("toy/A", 1),
            {"size": 3},
        )
        with pytest.raises(UserError, match=f"'toy/A': option '{name}' is the verb's to choose"):
            run.make_envs(EnvConfig("toy/A", {name: 3}), 1)


def test_there_is_no_viewer_unless_asked_for(run):
    assert run.viewer is None
    assert run.on_step(None) is None


@pytest.mark.parametrize(("view", "live"), [("record", False), ("live", True)])
def test_the_viewer_is_one_and_is_closed_with_the_run(tmp_path, monkeypatch, view, live):
    def step_logger(viewer, env):
        return viewer, env

    pretend(monkeypatch, "robolearn.viz", Viewer=Closing, step_logger=step_logger)
    with Run(tmp_path, seed=0, view=view) as run:
        assert run.on_step("env") == (run.viewer, "env")
        assert run.viewer.given == ((), {"path": tmp_path / "recording.rrd", "live": live})
        assert not run.viewer.closed
    assert run.viewer.closed == 1


def test_a_run_that_did_nothing_leaves_no_folders_but_those_of_other_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs.discard_if_empty(runs.new_directory("alone", 0, None))
    assert list(tmp_path.iterdir()) == []
    other = runs.new_directory("together", 0, None)
    runs.discard_if_empty(runs.new_directory("together", 1, None))
    runs.discard_if_empty(runs.new_directory("alone", 0, None))
    assert [path for path in tmp_path.rglob("*") if path.is_dir()] == [
        tmp_path / folder for folder in ("runs", "runs/together", other)
    ]
    (tmp_path / "mine").mkdir()
    runs.discard_if_empty(runs.new_directory("", 0, "mine/run"))
    assert (tmp_path / "mine").is_dir()


@pytest.mark.parametrize("name", ["metrics.jsonl", "report.png"])
def test_a_run_that_did_something_is_kept(tmp_path, name):
    for file in ("config.yaml", "skills.json", "metrics.jsonl", name):
        (tmp_path / file).touch()
    (tmp_path / name).write_text("something")
    runs.discard_if_empty(tmp_path)
    assert (tmp_path / name).exists()


def test_a_directory_name_that_is_taken_gets_a_number(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runs.time, "strftime", lambda form: "now")
    names = [runs.new_directory("a", 1, None).name for _ in range(3)]
    assert names == ["now-1", "now-1-2", "now-1-3"]


def test_a_follower_of_another_process_writes_and_says_nothing(tmp_path, capsys):
    with Follower(tmp_path, seed=3) as run:
        run.log(1, loss=0.5)
        run.go_on(1)
        with run.counter(2, "letters") as counter:
            counter.update()
        assert counter.n == 1 and run.viewer is None
    assert not list(tmp_path.iterdir())
    assert capsys.readouterr() == ("", "")
