"""Rows of benchmarks that are sweeps of launch files."""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from robolearn.comparing.conditions import commit_of, read_run
from robolearn.errors import nearest
from robolearn.running import launch, strict_yaml
from robolearn.sweeps.sweep import run_sweep
from robolearn.viz.curves import read_curve

FOLDER = Path("runs/benchmarks")
Runs = Iterator[tuple[dict[str, Any], Path]]


def runs_of(line: Sequence[str], folder: str, **sweep: Any) -> Runs:
    """Run a launch file with overrides for all values of a sweep; give what makes each run differ,
    and its directory, once all have ended.

    They lie in ``runs/benchmarks/<folder>``; what ended there is not run again, and what was
    stopped goes on. Raises UserError, before any begins, if a run is wrong or one there has other
    settings, whose folder has to be removed; RuntimeError if one fails.
    """
    name, *overrides = line
    overrides += [f"sweep={json.dumps(sweep)}", f"out={FOLDER / folder}"]
    swept = run_sweep(launch.find(name), overrides)
    if swept.failed:
        raise RuntimeError(f"{swept.folder}: {swept.failed} runs failed, as it says above")
    for member in swept.members:
        yield member.changes, swept.folder / member.name


def settings(overrides: Iterable[str]) -> dict[str, Any]:
    """Give overrides as a condition of a sweep has them: ["slim.critics=sum"]."""
    pairs = [override.partition("=") for override in overrides]
    return {key: strict_yaml.parse(text, key).value for key, _, text in pairs}


def commit(directory: Path) -> str:
    """Give the commit with which a run began."""
    return commit_of(read_run(directory))


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
