"""A verb of no consequence, for the tests of launch files and of the command line."""

import sys
import types
from dataclasses import dataclass
from pathlib import Path

import pytest

from robolearn import registry
from robolearn.errors import UserError

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
