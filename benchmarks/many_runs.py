"""Many runs of launch files, one on each core, of which none is ever done twice."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from pathlib import Path

from robolearn.errors import nearest
from robolearn.running import launch, strict_yaml
from robolearn.sweeps.attempt import has_ended, last_words
from robolearn.sweeps.grid import SweepConfig
from robolearn.sweeps.local import LocalEngine
from robolearn.sweeps.sweep import prepare
from robolearn.viz.curves import read_curve

FOLDER = Path("runs/benchmarks")


def run_all(runs: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, Path]]:
    """Run launch files with overrides, name -> ["slim_tabletop", "seed=1"], as a sweep does, each
    in a process of its own; give names and directories, as they end.

    A run's directory is ``runs/benchmarks/<name>``. What ended there is not run again, and what was
    stopped goes on. Raises UserError, before any begins, if a line is wrong or the directory holds
    a run with other settings, which has to be removed; RuntimeError with the last words of a run
    that fails.
    """
    lines = {name: launch.read(launch.find(line[0]), line[1:]) for name, line in runs.items()}
    prepare(FOLDER, lines)
    ended = [name for name in runs if has_ended(FOLDER, name)]
    yield from ((name, FOLDER / name) for name in ended)
    with LocalEngine(SweepConfig(), FOLDER) as engine:
        jobs = {engine.submit(name): name for name in runs if name not in ended}
        for job in as_completed(jobs):
            name = jobs[job]
            if job.result() != 0:
                raise RuntimeError(f"{FOLDER / name}: {last_words(FOLDER, name)}")
            yield name, FOLDER / name


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
