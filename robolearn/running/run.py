"""A run: its directory, its log, its seed, and by name the rooms that a verb may ask for.

::

    runs/<launch>/<time>-<seed>/     or what out= says
        config.yaml                  resolved configuration, with versions and the git commit
        metrics.jsonl                a line for each call of ``Run.log``
        summary.json                 the results; it is there when the run has ended well
        report.txt               a verb's own account of the results, which is printed at the end
        recording.rrd, checkpoint/   and others, by verb
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import json
import math
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from robolearn.errors import DataError, UserError
from robolearn.files import cannot_write, make_folder, write_atomically
from robolearn.names import load
from robolearn.running import strict_yaml
from robolearn.running.config import EnvConfig
from robolearn.running.counter import Counter
from robolearn.types import Environment, Step, VectorEnvironment

PACKAGES = (
    "torch", "numpy", "mujoco", "robosuite", "dm-control", "gymnasium", "metaworld", "rerun-sdk",
)  # fmt: skip
RUNS = Path("runs")
MEASURED = ":!/benchmarks/results"  # as git names what is not in there
SWEEP = "sweep.yaml"  # in the folder of a sweep: what was asked for
GIVEN = {"config.yaml", "skills.json"}  # files that say with what a run began, not what it did
ENVS_PER_PROCESSOR = 4
RESERVED = ("n", "autoreset_mode")  # arguments of sim.make_vec that no launch file gives


class Run:
    """What a verb gets beside its configuration; a context manager that closes what it made."""

    def __init__(self, directory: Path, seed: int, view: str = "off"):
        """Log into ``directory``, which holds an earlier part of the run if it is resumed."""
        self.directory, self.seed, self._view = directory, seed, view
        self._started = time.monotonic()
        self._closing = contextlib.ExitStack()
        self._begun_before = self.path("metrics.jsonl").is_file()
        self._metrics = self._closing.enter_context(_append_to(self.path("metrics.jsonl")))

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *error: Any) -> None:
        self._closing.__exit__(*error)

    def path(self, name: str) -> Path:
        """Give the path of a file of this run."""
        return self.directory / name

    def log(self, step: int, **scalars: float) -> None:
        """Append a line to ``metrics.jsonl`` at once; UserError if the disk is full."""
        line = {"step": step, "time_s": round(time.monotonic() - self._started, 3), **scalars}
        text = json.dumps(jsonable(line), allow_nan=False) + "\n"
        try:
            self._metrics.write(text.encode())
        except OSError as error:
            raise cannot_write(self.path("metrics.jsonl"), error) from None

    def go_on(self, step: int, unit: str = "step", logged: int | None = None) -> None:
        """Say that a run that is resumed goes on at a step, and cut ``metrics.jsonl`` back to it.

        What it logged later comes again; ``logged`` is the last step to keep, if it is another. A
        new run has nothing to say. Raises DataError if the file is damaged.
        """
        if self._begun_before:
            file = self.path("metrics.jsonl")
            os.truncate(file, _size_until(file, step if logged is None else logged))
            where = f"goes on at {unit} {step}" if step else "no checkpoint there, it begins anew"
            print(f"robolearn: {self.directory}: {where}", file=sys.stderr, flush=True)

    def counter(
        self, total: int | None = None, label: str = "", unit: str = "", done: int = 0
    ) -> Counter:
        """Make what shows how far the run is."""
        return Counter(total, label, unit, done)

    @functools.cached_property
    def viewer(self) -> Any:
        """Give the Rerun viewer that ``view`` asks for (recording.rrd, live too), None when off."""
        if self._view == "off":
            return None
        viewer = load("robolearn.viz:Viewer")(
            path=self.path("recording.rrd"), live=self._view == "live"
        )
        return self._closing.enter_context(viewer)

    def on_step(self, env: Environment) -> Callable[[Step], None] | None:
        """Give what shows every step of ``env`` in the viewer, for ``rollout``; None when off."""
        return self.viewer and load("robolearn.viz:step_logger")(self.viewer, env)

    def make_env(self, config: EnvConfig) -> Environment:
        """Make an environment; the run closes it at its end. UserError for unknown names."""
        env = load("sim:make")(config.name, **config.options)
        self._closing.callback(env.close)
        return env

    def make_envs(self, config: EnvConfig, episodes: int) -> VectorEnvironment:
        """Make a batch of environments, on all processors, in which to run so many episodes."""
        n = min(episodes, ENVS_PER_PROCESSOR * len(os.sched_getaffinity(0)))
        envs = make_batch(config, n)
        self._closing.callback(envs.close)
        return envs

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Write ``summary.json``, all at once.

        What JSON does not know is written as text, with a warning: the work is done by now.
        """
        plain = jsonable(summary)
        if strange := ", ".join(_not_json(plain)):
            warnings.warn(f"summary: JSON does not know {strange}: written as text", stacklevel=2)
        text = json.dumps(plain, indent=2, allow_nan=False, default=str)
        replace_text(self.path("summary.json"), text + "\n")


class Follower(Run):
    """A process that takes part in a run of another one: it writes and says nothing."""

    def __init__(self, directory: Path, seed: int):
        """Read what is in ``directory``, if anything is."""
        self.directory, self.seed, self._view = directory, seed, "off"
        self._closing = contextlib.ExitStack()

    def log(self, step: int, **scalars: float) -> None:
        """Leave it to the other."""

    def go_on(self, step: int, unit: str = "step", logged: int | None = None) -> None:
        """Leave it to the other."""

    def counter(
        self, total: int | None = None, label: str = "", unit: str = "", done: int = 0
    ) -> Counter:
        """Count without a word."""
        return Counter(total, label, unit, done, is_silent=True)


def make_batch(config: EnvConfig, n: int, **options: Any) -> VectorEnvironment:
    """Make n environments that step together; UserError for options that verbs decide on."""
    for name in RESERVED:
        if name in config.options:
            raise UserError(
                f"environment '{config.name}': option '{name}' is the verb's to choose; "
                f"reserved are {', '.join(RESERVED)}"
            )
    return load("sim:make_vec")(config.name, n, **options | config.options)


def new_directory(name: str, seed: int, out: str | None) -> Path:
    """Make the directory of a new run: ``out``, which must hold no run yet, or one in ``runs/``."""
    if out is not None:
        directory = Path(out)
        if (directory / "config.yaml").exists():
            raise UserError(f"'out={out}': holds a run already; choose another, or resume={out}")
        if (directory / SWEEP).exists():
            raise UserError(f"'out={out}': holds a sweep; choose another folder")
        make_folder(directory)
        return directory
    base = RUNS / name / f"{time.strftime('%Y%m%d-%H%M%S')}-{seed}"
    others = (base.with_name(f"{base.name}-{i}") for i in range(2, sys.maxsize))
    directory = base
    while directory.exists():
        directory = next(others)
    make_folder(directory)
    return directory


def old_directory(resume: str) -> Path:
    """Give the directory of a run that was stopped and is to be resumed; UserError for others."""
    if not (Path(resume) / "config.yaml").is_file():
        raise UserError(f"'resume={resume}': no run there (a folder with config.yaml)")
    if (Path(resume) / "summary.json").exists():
        raise UserError(f"'resume={resume}': that run has ended")
    return Path(resume)


def how_to_go_on(directory: Path) -> str:
    """Give the command that resumes a run, whatever it was started with."""
    command = ["robolearn", f"{directory}/config.yaml", f"resume={directory}"]
    return f"go on with: {shlex.join(command)}"


def kept_until(done: int, first: int, unit: str = "step") -> str:
    """Say what is kept of a training that is stopped: ``done`` steps, or none before ``first``."""
    if done:
        return f"kept up to {unit} {done}"
    return f"no checkpoint yet (the first comes at {unit} {first}), resume= begins anew"


def discard_if_empty(directory: Path) -> None:
    """Remove the directory of a run that ended before it did anything.

    Those above it go too where ``new_directory`` chose them and nothing else is in them.
    """
    left = {path.name: path.stat().st_size for path in directory.iterdir()}
    if left.keys() <= GIVEN | {"metrics.jsonl"} and not left.get("metrics.jsonl"):
        shutil.rmtree(directory)
        if directory.parent.parent == RUNS:
            with contextlib.suppress(OSError):  # other runs are in there
                directory.parent.rmdir()
                RUNS.rmdir()


def write_config(directory: Path, settings: Mapping[str, Any]) -> None:
    """Write ``config.yaml``: the settings, and under ``provenance`` what code ran them."""
    replace_text(
        directory / "config.yaml", strict_yaml.dump({**settings, "provenance": provenance()})
    )


def provenance() -> dict[str, Any]:
    """Say which code runs: versions, and the git commit where the source is a checkout.

    It is ``dirty`` with changes that are not committed; results that benchmarks add are none.
    """
    commit = _git("rev-parse", "HEAD")
    found = {"robolearn": importlib.metadata.version("robolearn"), "commit": commit}
    if commit:
        found["dirty"] = bool(_git("status", "--porcelain", "--", ":/", MEASURED))
    versions = {name: _version(name) for name in PACKAGES}
    return found | {"python": platform.python_version(), "versions": versions}


def jsonable(value: Any) -> Any:
    """Turn arrays and tuples into lists, numpy scalars into numbers, what is not finite to None."""
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    if hasattr(value, "tolist"):  # numpy array or scalar
        return jsonable(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def _not_json(value: Any, name: str = "") -> Iterator[str]:
    """Name what is left in ``jsonable`` values that JSON does not know, with its type."""
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _not_json(item, f"{name}.{key}" if name else str(key))
    elif not isinstance(value, str | int | float | None):
        yield f"{name} ({type(value).__name__})"


def replace_text(path: Path, text: str) -> None:
    """Write a whole file or nothing; DataError if it cannot be written."""
    write_atomically(path, text.encode())


def _append_to(path: Path) -> BinaryIO:
    """Open a file of lines, without what a full disk has left of its last one."""
    try:
        if path.is_file():
            os.truncate(path, path.read_bytes().rfind(b"\n") + 1)
        return path.open("ab", buffering=0)
    except OSError as error:
        raise cannot_write(path, error) from error


def _size_until(path: Path, step: int) -> int:
    """Count the bytes of a file of lines up to the first with ``step``, or before a later one.

    An evaluation after a training counts from 1 again: hence the first.
    """
    size = 0
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), start=1):
        try:
            at = json.loads(line)["step"]
            size += len(line) if at <= step else 0
        except (ValueError, TypeError, KeyError):
            raise DataError(f"{path}:{number}: damaged: no step in it") from None
        if at >= step:
            break
    return size


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    """Run git on the project's own checkout; None if it is installed otherwise, or without git."""
    source = Path(__file__).resolve().parents[2]
    if not (source / ".git").exists():
        return None
    try:
        command = ["git", "-C", str(source), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
