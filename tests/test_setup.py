"""The set-up of ./run and ./test on a pretended machine: its commands are scripts that log."""

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
GOOD_LIBRARIES = "libEGL.so.1 libEGL_mesa.so.0 libGL.so.1 libgthread-2.0.so.0"
PYTHON = r"""#!/usr/bin/env bash
# Stands for Python 3.11 or 3.12, by its name, and what set-up asks of it.
echo "python $*" >> "$LOG"
case "$1 $2" in
  "-c import sysconfig;"*Python.h*) echo "$HEADERS" ;;
  "-c import sysconfig;"*version*) cat "${0%/*}/version" 2>/dev/null || echo "${0##*python}" ;;
  "-m venv")
    mkdir -p "${@: -1}/bin" && cp "$0" "${@: -1}/bin/python"
    echo "${0##*python}" > "${@: -1}/bin/version"
    ;;
  "-m pip")
    [[ $* == *"${FAILING:-nothing}"* ]] && exit 1
    sleep "${DURATION_S:-0}"
    if [[ $* == *" -e "* ]]; then
      printf '#!/bin/sh\necho "robolearn $*"\n' > "${0%/*}/robolearn"
      chmod +x "${0%/*}/robolearn"
    fi
    ;;
  "-m pytest") echo "pytest ${*:3} in $PWD" ;;
esac
exit 0
"""
SCRIPTS = {
    "python3.11": PYTHON,
    "ldconfig": '#!/bin/sh\necho "$LIBRARIES"\n',
    "id": '#!/bin/sh\necho "$USER_ID"\n',
    "sudo": '#!/bin/sh\necho "sudo $*" >> "$LOG"\nexit 1\n',
    "apt-get": '#!/bin/sh\necho "apt-get $*" >> "$LOG"\n',
    "apt-cache": '#!/bin/sh\n[ "$2" != libosmesa6 ]\n',
}
TOOLS = "bash sh env cat chmod cksum cp dirname flock grep mkdir rm sleep touch"


class Machine:
    """A copy of the project's set-up, and a PATH with nothing but the scripts above."""

    def __init__(self, folder: Path):
        self.project, self.log = folder / "project", folder / "log"
        for name in ("run", "test", "tools/setup.sh", "pyproject.toml", "constraints.txt"):
            target = self.project / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target)
        commands = folder / "bin"
        commands.mkdir()
        for name, script in SCRIPTS.items():
            (commands / name).write_text(script)
            (commands / name).chmod(0o755)
        for tool in (*TOOLS.split(), "cc"):
            (commands / tool).symlink_to(shutil.which(tool) or shutil.which("true"))
        self.environ = {
            "PATH": str(commands), "HOME": str(folder), "LOG": str(self.log), "USER_ID": "1000",
            "LIBRARIES": GOOD_LIBRARIES, "HEADERS": str(self.log),
        }  # fmt: skip

    def __call__(self, *command: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the project, and log what it calls."""
        self.log.write_text("")
        return self.run(*command, **environ)

    def run(self, *command: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the project, and add what it calls to the log."""
        return subprocess.run(
            [str(self.project / command[0]), *command[1:]],
            env=self.environ | environ, cwd=self.project.parent, capture_output=True, text=True,
        )  # fmt: skip

    @property
    def installs(self) -> list[str]:
        lines = self.log.read_text().splitlines()
        return [line.partition(" install ")[2] for line in lines if "-m pip" in line]


@pytest.fixture
def machine(tmp_path) -> Machine:
    return Machine(tmp_path)


def test_the_first_time_installs_the_pins_with_torch_first_and_meta_world_alone(machine):
    done = machine("run", "list")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "robolearn list\n"
    torch, rest, metaworld = machine.installs
    assert torch.split()[-1].startswith("torch==2.")
    assert f"-c {machine.project}/constraints.txt -e {machine.project}[dev]" in rest
    assert metaworld.split()[-2:] == ["--no-deps", "metaworld==3.1.1"]


def test_without_meta_world_the_work_goes_on(machine):
    done = machine("run", "list", FAILING="metaworld==")
    assert (done.returncode, done.stdout) == (0, "robolearn list\n")
    again = ".venv/bin/python -m pip install --no-deps metaworld==3.1.1"
    assert f"{machine.project}/{again}" in done.stderr
    assert machine("run", "list").stderr == ""


def test_the_second_time_installs_nothing(machine):
    machine("run", "list")
    assert machine("run", "list").stdout == "robolearn list\n"
    assert machine.log.read_text() == ""


@pytest.mark.parametrize("changed", ["pyproject.toml", "constraints.txt"])
def test_other_pins_are_installed(machine, changed):
    machine("run")
    with (machine.project / changed).open("a") as file:
        file.write("\n# another\n")
    machine("run")
    assert len(machine.installs) == 3
    assert "-m venv" not in machine.log.read_text()


@pytest.mark.parametrize("failing", ["torch==", "-e "])
def test_an_interrupted_set_up_begins_again(machine, failing):
    done = machine("run", FAILING=failing)
    assert done.returncode != 0
    assert done.stdout == ""
    (machine.project / ".venv" / "half").write_text("half a package")
    assert machine("run").returncode == 0
    assert "-m venv" in machine.log.read_text()
    assert not (machine.project / ".venv" / "half").exists()


def test_of_two_at_once_the_second_waits_and_finds_it_done(machine):
    with ThreadPoolExecutor() as pool:
        both = list(pool.map(lambda name: machine.run(name, DURATION_S="0.3"), ["run", "run"]))
    assert [done.returncode for done in both] == [0, 0]
    assert len(machine.installs) == 3
    assert machine.log.read_text().count("-m venv") == 1


def test_a_folder_that_was_moved_is_set_up_again(machine):
    machine("run")
    machine.project = machine.project.rename(machine.project.with_name("elsewhere"))
    machine("run")
    assert len(machine.installs) == 3


def test_without_a_python_that_fits_there_is_one_line(machine):
    commands = Path(machine.environ["PATH"])
    (commands / "python3.11").rename(commands / "python3")
    (commands / "version").write_text("3.10")
    done = machine("run")
    assert done.returncode == 2
    assert done.stderr.startswith("set-up: Python 3.11 or 3.12 is needed")
    assert done.stderr.count("\n") == 1


def test_python_3_12_serves_where_there_is_no_other(machine):
    commands = Path(machine.environ["PATH"])
    (commands / "python3.11").rename(commands / "python3.12")
    assert machine("run", "list").stdout == "robolearn list\n"


def test_a_python_can_be_named(machine):
    commands = Path(machine.environ["PATH"])
    shutil.copy(commands / "python3.11", commands / "python3.12")
    done = machine("run", "list", PYTHON="python3.12", HEADERS="/nowhere")
    assert done.stdout == "robolearn list\n"
    assert "python3.12-dev" in done.stderr
    assert machine("run", "list").stdout == "robolearn list\n"
    for _ in range(2):
        done = machine("run", PYTHON="python3.11")
        assert done.returncode == 2 and done.stdout == ""
        assert done.stderr.startswith("set-up: PYTHON=python3.11, but .venv/ has Python 3.12")
        (machine.project / "constraints.txt").write_text("torch==2.0")  # incomplete from now on
    shutil.rmtree(machine.project / ".venv")
    done = machine("run", PYTHON="no python")
    assert done.returncode == 2
    assert done.stderr.startswith("set-up: PYTHON=no python is no Python 3.11 or 3.12")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "launched"),
    [
        ([], "quickstart"),
        (["seed=3"], "quickstart seed=3"),
        (["lift", "seed=3"], "lift seed=3"),
        (["--help"], "--help"),
    ],
)
def test_run_without_a_launch_file_is_the_quickstart(machine, arguments, launched):
    assert machine("run", *arguments).stdout == f"robolearn {launched}\n"


def test_test_hands_its_arguments_to_pytest_in_the_project(machine):
    said = f"pytest -n 2 --dist loadfile -k a b in {machine.project}\n"
    assert machine("test", "-k", "a b").stdout == said


def test_missing_libraries_are_installed_where_that_is_allowed(machine):
    done = machine("run", LIBRARIES="libGL.so.1 libgthread-2.0.so.0", USER_ID="0")
    assert done.returncode == 0, done.stderr
    (install,) = (
        line for line in machine.log.read_text().splitlines() if "apt-get install" in line
    )
    assert install.endswith("libegl1 libgl1-mesa-dri")  # libosmesa6 is not to be had there


def test_else_the_command_to_type_is_said_and_the_work_goes_on(machine):
    for _ in range(2):
        done = machine("run", LIBRARIES="libGL.so.1 libgthread-2.0.so.0")
        assert done.returncode == 0
        assert "apt-get install --no-install-recommends libegl1 libgl1-mesa-dri libosmesa6" in (
            done.stderr
        )
        assert "apt-get" not in machine.log.read_text()


def test_headers_and_compiler_are_only_needed_to_install(machine):
    (Path(machine.environ["PATH"]) / "cc").unlink()
    first = machine("run", HEADERS="/nowhere")
    assert "gcc libc6-dev python3.11-dev" in first.stderr
    assert machine("run", HEADERS="/nowhere").stderr == ""


def test_ci_runs_the_tests():
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert "/test" in (ROOT / ".ci" / "run").read_text()
