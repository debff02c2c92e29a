"""What README.md and docs/your_own.md show is there, and its commands run as they are written."""

import json
import os
import re
import runpy
import shlex
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from demos.data.dataset import Dataset
from robolearn.__main__ import main
from robolearn.types import ArraySpec, Episode, Spec

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
YOUR_OWN = (ROOT / "docs" / "your_own.md").read_text()
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECTION = YOUR_OWN.partition("## Your own package, from nothing to a run")[2].partition("\n## ")[0]


def test_the_launch_file_is_shown_as_it_is():
    shown = README.partition("`launch/bc_lift.yaml`, whole:\n\n")[2]
    assert BLOCK.match(shown).groups() == ("yaml", (ROOT / "launch" / "bc_lift.yaml").read_text())


@pytest.fixture
def package(tmp_path, monkeypatch) -> Iterator[Path]:
    """A folder with the files of the README, each under the name in front of it."""
    files = re.findall(rf"`([\w/]+\.\w+)`:\n{BLOCK.pattern[1:]}", SECTION, BLOCK.flags)
    assert [name for name, *_ in files] == [
        "my_lab/drawer.xml", "my_lab/pull.py", "launch/pull.yaml", "pyproject.toml",
    ]  # fmt: skip
    for name, _, text in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    activated = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    monkeypatch.setenv("PATH", activated)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_lab"]:
        del sys.modules[name]


def commands() -> list[tuple[list[str], str]]:
    """Give every command of the section, and what it is said to print."""
    lines = [
        line for kind, text in BLOCK.findall(SECTION) if not kind for line in text.splitlines()
    ]
    return [(shlex.split(line, comments=True), line.partition("# ")[2]) for line in lines]


def said(command: list[str]) -> tuple[str, str]:
    """Run a command that ends well, in the current folder; give what it prints, and on stderr."""
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def test_a_package_of_ones_own_goes_from_nothing_to_a_run(package, capsys):
    """The first command in a process of its own, the others here, where imports are done."""
    (pull, printed), *others, (learn, _) = commands()
    assert said(pull)[1] == f"{printed}\n"
    assert len(others) == 1 and {pull[0], others[0][0][0], learn[0]} == {"robolearn"}
    for command, printed in others:
        assert main(command[1:]) == 0
        assert capsys.readouterr().err == f"{printed}\n"
    assert re.search("^pull +Does this force open", said(["robolearn", "list"])[0], re.MULTILINE)
    short = ["training.steps=400", "evaluation={episodes: 1, horizon: 100}", "out=learnt"]
    assert main([*learn[1:], *short]) == 0
    assert json.loads(Path("learnt/summary.json").read_text())["steps"] == 400


def test_once_it_is_installed_its_names_will_do(package, site, tmp_path_factory, monkeypatch):
    """By a wheel, unpacked: installing would change the environment that the tests run in."""
    built = tmp_path_factory.mktemp("built")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "-q", "-w", built, package], check=True, stdout=subprocess.DEVNULL)
    (wheel,) = built.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(site)
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(elsewhere)
    (elsewhere / "pull.yaml").write_text("verb: pull\nenv: {name: drawer}\n")
    assert "\npull  my_lab.pull:run\n" in said(["robolearn", "list"])[0]
    assert said(["robolearn", "pull"])[1] == "opens: true\n"


def test_the_arrays_of_a_dataset_are_taken_as_it_is_shown(tmp_path, monkeypatch):
    spec = Spec("test/Point", {"state": ArraySpec((3,))}, ArraySpec((2,)), period_s=0.1)
    dataset = Dataset.create(tmp_path / "datasets" / "lift", spec, {})
    for steps, success in ((4, True), (6, False), (5, True)):
        states = {"state": np.zeros((steps + 1, 3), np.float32)}
        actions, rewards = np.zeros((steps, 2), np.float32), np.zeros(steps, np.float32)
        about = {"operator": "base", "outcome": "success" if success else "failure"}
        dataset.append(Episode(states, actions, rewards, False, True, success, metadata=about))
    monkeypatch.chdir(tmp_path)
    (shown,) = (text for _, text in BLOCK.findall(README) if 'open("datasets/lift")' in text)
    Path("shown.py").write_text(shown)
    made = runpy.run_path("shown.py")
    assert [states.shape for states in made["observations"]] == [(4, 3), (5, 3)]
    assert [actions.shape for actions in made["actions"]] == [(4, 2), (5, 2)]
