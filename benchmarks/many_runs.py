"""Many runs of launch files, one on each core, of which none is ever done twice."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from queue import SimpleQueue

from robolearn.errors import nearest
from robolearn.running import strict_yaml
from robolearn.viz.curves import read_curve

FOLDER = Path("runs/benchmarks")


def run_all(runs: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, Path]]:
    """Run launch files with overrides, name -> ["slim_tabletop", "seed=1"], each in a process of
    its own; give names and directories, as they end.

    A run's directory is ``runs/benchmarks/<name>``, and what made it stands beside it. What ended
    there is not run again, and what was stopped goes on; RuntimeError if it was made by another
    line. Remove the folder to begin anew.
    """
    for name, line in runs.items():
        _claim(FOLDER / name, list(line))
    cores: SimpleQueue[int] = SimpleQueue()
    own = sorted(os.sched_getaffinity(0))
    for core in own:
        cores.put(core)

    def run(name: str) -> tuple[str, Path]:
        directory, core = FOLDER / name, cores.get()
        try:
            _run(directory, runs[name], core)
        finally:
            cores.put(core)
        return name, directory

    pool = ThreadPoolExecutor(len(own))
    try:
        for job in as_completed([pool.submit(run, name) for name in runs]):
            yield job.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _claim(directory: Path, line: list[str]) -> None:
    """Write what makes a directory beside it; RuntimeError if something else made it."""
    file = directory.with_name(directory.name + ".json")
    if directory.exists() and not (file.exists() and json.loads(file.read_text()) == line):
        raise RuntimeError(f"{directory}: not made by {line}; remove it to begin anew")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(line))


def _run(directory: Path, line: Sequence[str], core: int) -> None:
    """Begin a run or go on with it, on one core; RuntimeError with its last words if it fails."""
    if (directory / "summary.json").exists():
        return
    arguments = [*line, f"out={directory}"]
    if (directory / "config.yaml").exists():
        arguments = [str(directory / "config.yaml"), f"resume={directory}"]
    command = [sys.executable, "-m", "robolearn", *arguments]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **quiet, text=True) as process:
        os.sched_setaffinity(process.pid, {core})  # before it has threads, which all inherit it
        _, words = process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{words[-2000:]}")


def summary(directory: Path) -> dict:
    """Give what a run found."""
    return json.loads((directory / "summary.json").read_text())


def commit(directory: Path) -> str:
    """Give the commit with which a run began."""
    made = strict_yaml.parse((directory / "config.yaml").read_text(), "config").value["provenance"]
    return made["commit"][:12] + (" with changes" if made["dirty"] else "")


def known(names: Sequence[str], among: Iterable[str]) -> list[str]:
    """Give the names that a command line asks for, all if none; exit for one that is unknown."""
    for name in names:
        if name not in among:
            sys.exit(f"unknown name '{name}'{nearest(name, among)}")
    return list(names) or list(among)


def training_s(directory: Path) -> float:
    """Give the seconds that a run learnt, simulation and updates together."""
    steps, per_second = read_curve(directory / "metrics.jsonl", "steps_per_s")
    return round(float((steps[0] / per_second).sum()), 1)
