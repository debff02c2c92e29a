"""A verb of no consequence, and a run that is stopped in between."""

import json
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from robolearn.__main__ import main
from robolearn.errors import UserError
from robolearn.loops import checkpoint
from robolearn.networks import threads
from robolearn.running import registry
from robolearn.running.run import Run
from robolearn.viz.curves import read_curve

TOY = """\
# Counts to three.
#
# (and says so)
verb: toy
count: 3
"""


@dataclass(frozen=True)
class ToyConfig:
    count: int
    end: str = "well"
    workers: int = 1


def toy(config, run):
    """Log ``count`` lines, after those that are there; then end as ``end`` says."""
    already = len(run.path("metrics.jsonl").read_text().splitlines())
    for i in range(already, config.count):
        run.log(i, seed=run.seed, loss=float("nan"))
    if config.end == "interrupted":
        raise KeyboardInterrupt
    if config.end == "user":
        raise UserError("the user\ncan mend this")
    if config.end == "bug":
        raise RuntimeError("nobody expected this")
    return {"counted": config.count}


@pytest.fixture
def one_thread():
    """Let torch compute with one thread."""
    with threads.one_thread():
        yield


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """An empty folder to work in, with ``launch/toy.yaml``, whose verb is ``toy``."""
    module = types.ModuleType("toy_room")
    module.ToyConfig, module.toy = ToyConfig, toy
    monkeypatch.setitem(sys.modules, "toy_room", module)
    verb = registry.Verb("toy_room:ToyConfig", "toy_room:toy", True, changeable=("workers",))
    monkeypatch.setitem(registry.VERBS, "toy", verb)
    (tmp_path / "launch").mkdir()
    (tmp_path / "launch" / "toy.yaml").write_text(TOY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read_steps(run):
    return [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture
def logged_steps():
    """Give the steps of the lines of a run's ``metrics.jsonl``, in their order."""
    return read_steps


@pytest.fixture
def stop_at(tmp_path, monkeypatch):
    """Run a line, stop it as Ctrl-C would once it has logged a step; give the run's folder."""

    def stop(line, step):
        log = Run.log

        def log_and_stop(self, at, **scalars):
            log(self, at, **scalars)
            if at == step:
                raise KeyboardInterrupt

        stopped = tmp_path / f"stopped-{step}"
        with monkeypatch.context() as patch:
            patch.setattr(Run, "log", log_and_stop)
            assert main([*line, f"out={stopped}"]) == 130
        assert read_steps(stopped)[-1] == step
        return stopped

    return stop


@pytest.fixture
def interrupted(monkeypatch):
    """Run a line and stop it as Ctrl-C would, the n-th time that anything is logged."""

    def interrupt(line, n):
        log, left = Run.log, [n]

        def log_and_stop(self, at, **scalars):
            log(self, at, **scalars)
            left[0] -= 1
            if not left[0]:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Run, "log", log_and_stop)
            assert main(line) == 130

    return interrupt


@pytest.fixture
def require_same_after_a_stop(stop_at):
    """Stop a line once it has logged a step, go on; compare with ``whole``.

    The same are the summary, the weights, the steps that were logged, and the curves ``names``.
    """

    def require(line, step, whole, names=()):
        stopped = stop_at(line, step)
        assert checkpoint.exists(stopped / "checkpoint")
        assert main([*line, f"resume={stopped}"]) == 0
        assert read_steps(stopped) == read_steps(whole)
        for file in ("summary.json", "checkpoint/weights.safetensors"):
            assert (stopped / file).read_bytes() == (whole / file).read_bytes(), file
        for name in names:
            curves = [read_curve(folder / "metrics.jsonl", name) for folder in (whole, stopped)]
            np.testing.assert_array_equal(*curves, err_msg=name)

    return require
