"""Runs by condition: what differs between their settings, but for the seed and the task."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robolearn.comparing.scores import SUMMARY, read_summary, require_score
from robolearn.errors import DataError, UserError, close
from robolearn.running import strict_yaml
from robolearn.running.launch import CHANGEABLE, flat
from robolearn.running.run import SWEEP

CONFIG = "config.yaml"
CONDITIONS = "conditions"  # of a sweep, by name
LABEL = "label"
TASK, NO_TASKS = "env.name", "none"
SAME = CHANGEABLE - {LABEL}  # what runs may have otherwise that are the same
SEEDS = {"seed", "replicate"}  # what runs of one condition differ in
IGNORED = SEEDS | SAME
EVERYTHING = "all runs"  # the name of the condition where nothing differs
UNLABELLED = "no label"
LONGEST = 40  # characters of a value in a condition's name


@dataclass(frozen=True)
class Run:
    """A run that has ended."""

    folder: Path
    settings: dict[str, Any]  # "ppo.gamma" -> 0.99
    provenance: dict[str, Any]
    summary: dict[str, Any]


@dataclass(frozen=True)
class Condition:
    """The runs that differ in nothing but seed and task."""

    name: str  # "gamma=0.99, widths=[64, 64]"
    settings: dict[str, Any]  # what other conditions have otherwise
    runs: dict[str, tuple[Run, ...]]  # by task

    def scores(self, name: str) -> dict[str, np.ndarray]:
        """Give an entry of all summaries, [N] for each task; UserError for a run without it."""
        return {
            task: np.array([require_score(r.summary, name, str(r.folder)).value for r in some])
            for task, some in self.runs.items()
        }

    def all_runs(self) -> list[Run]:
        """Give the runs of all tasks."""
        return [run for some in self.runs.values() for run in some]


def folders_of(paths: Iterable[Path]) -> list[Path]:
    """Give the folders of runs: those that are named, and those in the ones that are not runs.

    Raises UserError for a path where there is none.
    """
    found: dict[Path, None] = {}
    for path in paths:
        inside = [path] if (path / CONFIG).is_file() else _inside(path)
        if not inside:
            raise UserError(f"{path}: no run there (a folder with {CONFIG}), nor a folder of some")
        found |= dict.fromkeys(inside)
    return list(found)


def read_run(folder: Path) -> Run | None:
    """Read a run; None if it has not ended. Raises DataError if it is damaged."""
    if not (folder / SUMMARY).is_file():
        return None
    try:
        text = (folder / CONFIG).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{folder / CONFIG}: cannot be read: {error}") from error
    settings = strict_yaml.parse(text, str(folder / CONFIG)).value
    if not isinstance(settings, dict):
        raise DataError(f"{folder / CONFIG}: damaged: no mapping")
    provenance = settings.pop("provenance", None) or {}
    told = {key: value for key, value in flat(settings).items() if value != {}}
    return Run(folder, told, provenance, read_summary(folder))


def conditions_of(runs: Sequence[Run], task_key: str) -> list[Condition]:
    """Group runs, in their order; where ``task_key`` does not differ there is one task, ""."""
    keys = _differing(runs)
    has_tasks = task_key in keys
    keys = sorted((key for key in keys if key != task_key), key=lambda key: key != LABEL)
    grouped: dict[str, list[Run]] = {}
    for run in runs:
        grouped.setdefault(_text([run.settings.get(key) for key in keys]), []).append(run)
    told = _telling(keys, runs)
    names = dict(zip(told, short_names(told), strict=True))
    conditions = []
    for some in grouped.values():
        by_task: dict[str, list[Run]] = {}
        for run in some:
            task = str(run.settings.get(task_key)) if has_tasks else ""
            by_task.setdefault(task, []).append(run)
        settings = {key: some[0].settings.get(key) for key in keys}
        name = ", ".join(_told(key, names[key], settings[key]) for key in told) or EVERYTHING
        runs_of = {task: tuple(by_task[task]) for task in sorted(by_task)}
        conditions.append(Condition(name, settings, runs_of))
    return conditions


def by_value(conditions: Iterable[Condition], labels: Sequence[str] = ()) -> list[Condition]:
    """Sort conditions by their settings, one after the other: None, then numbers, then others.

    Labels come in the order of ``labels``, others after them.
    """
    places = {label: (1, [float(i)], "") for i, label in enumerate(labels)}

    def place(condition: Condition) -> list[tuple[int, list[float], str]]:
        settings = condition.settings.items()
        return [(key == LABEL and places.get(value)) or _place(value) for key, value in settings]

    return sorted(conditions, key=place)


def labels_of(folders: Iterable[Path]) -> list[str]:
    """Give the conditions of the sweeps that runs are of, in the order in which they were written.

    Raises UserError for what is no YAML.
    """
    found: dict[str, None] = {}
    for file in dict.fromkeys(folder.parent / SWEEP for folder in folders):
        if file.is_file():
            asked = strict_yaml.parse(file.read_text(encoding="utf-8"), str(file)).value
            sweep = (asked if isinstance(asked, dict) else {}).get("sweep")
            found |= dict.fromkeys((sweep if isinstance(sweep, dict) else {}).get(CONDITIONS) or ())
    return list(found)


def require_key(key: str, runs: Sequence[Run]) -> None:
    """Raise UserError unless ``key`` is a setting of a run, "none", or the usual one for tasks."""
    known = {setting for run in runs for setting in run.settings}
    if key not in known | {NO_TASKS, TASK}:
        raise UserError(f"'tasks={key}': no such setting in these runs{close(key, known)}")


def require_same_tasks(conditions: Sequence[Condition]) -> list[str]:
    """Give the tasks; UserError unless every condition was tried on all of them."""
    tasks = sorted({task for condition in conditions for task in condition.runs})
    for condition in conditions:
        if missing := [task for task in tasks if task not in condition.runs]:
            raise UserError(
                f"{condition.name}: no run on {missing[0]} has ended, of others one has"
            )
    return tasks


def told_apart(runs: Sequence[Run]) -> list[Run]:
    """Give the runs; where the same settings and seed ran twice, with the commit as a setting.

    Raises UserError if two are still the same: that is no second run.
    """
    if _twice(runs) is None:
        return list(runs)
    runs = [
        dataclasses.replace(run, settings=run.settings | {"commit": commit_of(run)}) for run in runs
    ]
    if (twice := _twice(runs)) is not None:
        one, other = twice
        raise UserError(
            f"{other.folder}: the same settings and seed as {one.folder}; leave one out"
        )
    return runs


def commit_of(run: Run) -> str:
    """Name the code that made a run: its commit, or the version that was installed."""
    made = run.provenance
    commit = str(made.get("commit") or f"version {made.get('robolearn')}")[:12]
    return f"{commit} with changes" if made.get("dirty") else commit


def _twice(runs: Sequence[Run]) -> tuple[Run, Run] | None:
    seen: dict[str, Run] = {}
    for run in runs:
        decisive = {k: v for k, v in run.settings.items() if k not in SAME}
        other = seen.setdefault(_text(decisive), run)
        if other is not run:
            return other, run
    return None


def short_names(keys: Sequence[str]) -> list[str]:
    """Name dotted keys by their last part, or wholly where two end alike."""
    last = [key.rpartition(".")[2] for key in keys]
    return [end if last.count(end) == 1 else key for end, key in zip(last, keys, strict=True)]


def _inside(path: Path) -> list[Path]:
    return sorted(file.parent for file in path.glob(f"*/{CONFIG}"))


def _differing(runs: Sequence[Run]) -> list[str]:
    """Name the settings that are not the same in all runs, in the order of the first that has them.

    A key that a mapping has in some runs only, as options have, is None in the others.
    """
    keys = dict.fromkeys(key for run in runs for key in run.settings)
    return [
        key
        for key in keys
        if key not in IGNORED and len({_text(run.settings.get(key)) for run in runs}) > 1
    ]


def _place(value: Any) -> tuple[int, list[float], str]:
    """Give what values are sorted by: None, numbers and lists of them, others as they are told."""
    if value is None:
        return (0, [], "")
    numbers = value if isinstance(value, list) else [value]
    if all(isinstance(number, int | float) for number in numbers):
        return (1, [float(number) for number in numbers], "")
    return (2, [], _text(value))


def _telling(keys: Sequence[str], runs: Sequence[Run]) -> list[str]:
    """Leave out settings that need not be told, since others tell the runs apart.

    Those are all but the label, where there are labels, else those that only some runs have.
    """
    told = [key for key in keys if all(key in run.settings for run in runs)]
    if LABEL in keys:
        told = [LABEL]
    for key in keys:
        if key not in told and _groups([*told, key], runs) > _groups(told, runs):
            told.append(key)
    return told


def _groups(keys: Sequence[str], runs: Sequence[Run]) -> int:
    return len({_text([run.settings.get(key) for key in keys]) for run in runs})


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _told(key: str, name: str, value: Any) -> str:
    """Say a setting, a label as it is."""
    return (value or UNLABELLED) if key == LABEL else f"{name}={_value(value)}"


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 2]}.."
