"""``robolearn compare RUN RUN ...``: a table, ``report.png``, ``report.html``, ``report.json``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robolearn.comparing import measures
from robolearn.comparing.conditions import (
    TASK,
    Condition,
    Run,
    by_value,
    commit_of,
    conditions_of,
    folders_of,
    labels_of,
    read_run,
    require_key,
    require_same_tasks,
    told_apart,
)
from robolearn.comparing.curves import Curve, curve_of, name_of_curve, require_curve
from robolearn.comparing.scores import is_cost, require_score
from robolearn.errors import UserError, nearest
from robolearn.files import cannot_write
from robolearn.names import load
from robolearn.running.run import jsonable, new_directory, replace_text
from robolearn.settings import Settings

PICTURE, PAGE, FIGURES = FILES = ("report.png", "report.html", "report.json")
EVENTS = "tensorboard"
FEW = 5  # runs, below which an interval is too narrow
Interval = tuple[float, float]


@dataclass(frozen=True)
class CompareConfig(Settings):
    """What is compared, and where the report goes."""

    score: str | None = None
    """The entry of ``summary.json`` that counts, such as evaluation.return; None for the usual."""
    curve: str | None = None
    """The entry of ``metrics.jsonl`` whose curve is drawn; None for the one like the score."""
    less: bool | None = None
    """Whether less is better; None: it is for losses and errors."""
    base: str | None = None
    """The condition that the others are held against, by its name; None for the first."""
    tasks: str = TASK
    """The setting that says what the task is; runs of several tasks count together."""
    out: str | None = None
    """The folder of the report; None for the one that holds the runs, or one in runs/compare/."""
    tensorboard: bool = False
    """Whether what the runs have logged is also written as TensorBoard reads it."""


@dataclass(frozen=True)
class Row:
    """What the runs of a condition came to."""

    condition: Condition
    scores: dict[str, np.ndarray]  # by task, [N]
    mean: float
    mean_interval: Interval
    iqm: float
    iqm_interval: Interval
    improvement: float | None  # over the base, whose own is None
    improvement_interval: Interval | None
    curves: dict[str, Curve]  # by task, where there are any

    @property
    def runs(self) -> int:
        return sum(map(len, self.scores.values()))


@dataclass(frozen=True)
class Comparison:
    """All conditions, the base first."""

    score: str
    less_is_better: bool
    tasks: tuple[str, ...]
    rows: tuple[Row, ...]
    curve: str | None
    left_out: tuple[Path, ...]  # runs that have not ended
    commits: tuple[str, ...]

    @property
    def few(self) -> bool:
        """Say whether some condition has so few runs of a task that its interval says little."""
        return any(len(task) < FEW for row in self.rows for task in row.scores.values())


@dataclass(frozen=True)
class Compared:
    """What came of it."""

    lines: list[str]
    paths: list[Path]


def compare(paths: Sequence[str | Path], config: CompareConfig) -> Compared:
    """Compare runs, those of sweeps and other folders too, and write what was found.

    Raises UserError where there is none, none has ended, or they have no score in common.
    """
    given = [Path(path) for path in paths]
    folders = folders_of(given)
    found = comparison_of(folders, config, in_order=folders == given)
    if config.out is None and len(given) == 1 and folders != given:  # a run has its own report
        folder = given[0]
    else:
        folder = new_directory("compare", 0, config.out)
    files = [folder / name for name in FILES]
    if config.tensorboard:
        files.append(folder / EVENTS)
        load("robolearn.comparing.events:write_events")(folders, files[-1])
    try:
        load("robolearn.comparing.picture:draw_report")(found, files[0])
    except OSError as error:
        raise cannot_write(files[0], error) from error
    replace_text(files[1], load("robolearn.comparing.page:page_of")(found, files[0]))
    told = jsonable(as_json(found))
    replace_text(files[2], json.dumps(told, indent=2, allow_nan=False) + "\n")
    return Compared(load("robolearn.comparing.table:lines_of")(found), files)


def comparison_of(
    folders: Sequence[Path], config: CompareConfig, in_order: bool = False
) -> Comparison:
    """Read the runs, group them by condition, and measure those, by value if not ``in_order``."""
    read = [read_run(folder) for folder in folders]
    runs = told_apart([run for run in read if run is not None])
    if not runs:
        raise UserError(f"{folders[0]}: has not ended, nor has any other run")
    score = require_score(runs[0].summary, config.score, str(runs[0].folder)).name
    require_key(config.tasks, runs)
    conditions = conditions_of(runs, config.tasks)
    conditions = conditions if in_order else by_value(conditions, labels_of(folders))
    conditions = _base_first(conditions, config.base)
    tasks = require_same_tasks(conditions)
    less = is_cost(score) if config.less is None else config.less
    curve = name_of_curve(runs, score) if config.curve is None else config.curve
    if config.curve is not None:
        require_curve(runs, config.curve)
    return Comparison(
        score,
        less,
        tuple(tasks),
        tuple(_rows(conditions, score, less, curve)),
        curve,
        tuple(folder for folder, run in zip(folders, read, strict=True) if run is None),
        tuple(sorted({commit_of(run) for run in runs})),
    )


def as_json(found: Comparison) -> dict[str, Any]:
    """Give all figures: ``conditions`` by name, the scores of each by task and run."""
    rows = {row.condition.name: _row_as_json(row) for row in found.rows}
    about = {key: getattr(found, key) for key in ("score", "less_is_better", "tasks", "curve")}
    return about | {
        "base": found.rows[0].condition.name,
        "confidence": measures.CONFIDENCE,
        "repetitions": measures.REPETITIONS,
        "conditions": rows,
        "left_out": [str(folder) for folder in found.left_out],
        "commits": found.commits,
    }


def _row_as_json(row: Row) -> dict[str, Any]:
    figures = ("runs", "mean", "mean_interval", "iqm", "iqm_interval", "improvement",
               "improvement_interval")  # fmt: skip
    runs: dict[str, dict[str, float]] = {}
    for task, scores in row.scores.items():
        folders = [str(run.folder) for run in row.condition.runs[task]]
        runs[task] = dict(zip(folders, scores.tolist(), strict=True))
    told = {"settings": row.condition.settings} | {key: getattr(row, key) for key in figures}
    return told | {"scores": runs}


def _base_first(conditions: list[Condition], base: str | None) -> list[Condition]:
    names = [condition.name for condition in conditions]
    if base is not None and base not in names:
        raise UserError(f"'base={base}': no such condition{nearest(base, names)}")
    return sorted(conditions, key=lambda condition: base is not None and condition.name != base)


def _rows(conditions: Sequence[Condition], score: str, less: bool, curve: str | None) -> list[Row]:
    rows: list[Row] = []
    for condition in conditions:
        rng = np.random.default_rng(0)  # figures depend on the runs alone
        scores = condition.scores(score)
        values = list(scores.values())
        improvement = improvement_interval = None
        if rows:
            both = [values, list(rows[0].scores.values())]
            mine, others = both[::-1] if less else both
            improvement = float(measures.probability_of_improvement(mine, others))
            improvement_interval = _ends(measures.improvement_interval(mine, others, rng))
        of_mean = measures.stratified_bootstrap(values, measures.mean, rng)
        of_iqm = measures.stratified_bootstrap(values, measures.interquartile_mean, rng)
        rows.append(
            Row(
                condition,
                scores,
                float(measures.mean(values)),
                _ends(measures.interval(of_mean)),
                float(measures.interquartile_mean(values)),
                _ends(measures.interval(of_iqm)),
                improvement,
                improvement_interval,
                _curves(condition.runs, curve),
            )
        )
    return rows


def _curves(runs: dict[str, tuple[Run, ...]], name: str | None) -> dict[str, Curve]:
    if name is None:
        return {}
    curves = {task: curve_of([run.folder for run in some], name) for task, some in runs.items()}
    return {task: curve for task, curve in curves.items() if curve is not None}


def _ends(interval: tuple[np.ndarray, np.ndarray]) -> Interval:
    low, high = interval
    return float(low), float(high)
