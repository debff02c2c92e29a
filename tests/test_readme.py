"""What README.md shows is there, and runs: literally, in an empty folder."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from robolearn.__main__ import main

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECTION = README.partition("### Your own package, from nothing to a run")[2].partition("\n## ")[0]


def test_the_launch_file_is_shown_as_it_is():
    shown = README.partition("`launch/bc_lift.yaml`, whole:\n\n")[2]
    assert BLOCK.match(shown).groups() == ("yaml", (ROOT / "launch" / "bc_lift.yaml").read_text())


@pytest.fixture
def package(lab) -> Path:
    """A folder with the files of the README, each under the name in front of it."""
    files = re.findall(rf"`([\w/]+\.\w+)`:\n\n{BLOCK.pattern[1:]}", SECTION, BLOCK.flags)
    assert [name for name, *_ in files] == [
        "my_lab/drawer.xml", "my_lab/envs.py", "my_lab/pull.py", "pull.yaml", "pyproject.toml",
    ]  # fmt: skip
    for path in (*lab.glob("my_lab/*"), *lab.glob("*.yaml")):
        path.unlink()
    for name, _, text in files:
        (lab / name).write_text(text)
    return lab


def commands() -> list[tuple[list[str], str]]:
    """Give every command of the section, and what it is said to print."""
    lines = [
        line for kind, text in BLOCK.findall(SECTION) if not kind for line in text.splitlines()
    ]
    return [(shlex.split(line, comments=True), line.partition("# ")[2]) for line in lines]


def test_a_package_of_ones_own_goes_from_nothing_to_a_run(package, capsys):
    (show, _), *pulls, (learn, _) = commands()
    assert main(show[1:]) == 0
    assert "forces:\n- 0.1\n- 0.5\n- 1.0\n" in capsys.readouterr().out
    assert len(pulls) == 2
    for words, printed in pulls:
        assert main(words[1:]) == 0
        assert capsys.readouterr().err == f"{printed}\n"
    short = ["training.steps=400", "evaluation={episodes: 1, horizon: 100}", "out=learnt"]
    assert main([*learn[1:], *short]) == 0
    assert json.loads(Path("learnt/summary.json").read_text())["steps"] == 400


def test_once_it_is_installed_its_names_will_do(package, tmp_path_factory, capsys):
    built = tmp_path_factory.mktemp("built")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "-q", "-w", built, package], check=True, stdout=subprocess.DEVNULL)
    (wheel,) = built.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(built)
    shutil.rmtree(package / "my_lab")
    sys.path.append(str(built))
    assert main(["list"]) == 0
    assert "\npull  my_lab.pull:run\n" in capsys.readouterr().out
    assert main(["pull", "verb=pull", "env.name=drawer"]) == 0
    assert capsys.readouterr().err == "opens: [false, true, true]\n"
