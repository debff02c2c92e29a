"""Learning curves of the runs of a condition, brought to common steps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from robolearn.comparing import measures
from robolearn.comparing.conditions import Run
from robolearn.errors import DataError, UserError, nearest
from robolearn.viz.curves import SMOOTHED_SHARE, read_curve, smooth

METRICS = "metrics.jsonl"
POINTS = 120
USUAL = ("return", "success", "coverage", "validation_loss", "loss")


class Curve(NamedTuple):
    """Interquartile mean over runs, and its interval, at each step: [P] each."""

    steps: np.ndarray
    iqm: np.ndarray
    low: np.ndarray
    high: np.ndarray
    runs: np.ndarray  # [N, P], smoothed


def name_of_curve(runs: Sequence[Run], score: str) -> str | None:
    """Give the entry of ``metrics.jsonl`` that all runs log: the score's, else a usual one."""
    for name in (score, score.rpartition(".")[2], *USUAL):
        if all(len(_read(run.folder, name)[0]) > 1 for run in runs):
            return name
    return None


def require_curve(runs: Sequence[Run], name: str) -> None:
    """Raise UserError unless some run has logged ``name`` more than once."""
    if any(len(_read(run.folder, name)[0]) > 1 for run in runs):
        return
    known = {key for run in runs for key in _logged(run.folder / METRICS)} - {"step", "time_s"}
    raise UserError(f"'curve={name}': no run has logged it twice{nearest(name, known)}")


def curve_of(folders: Sequence[Path], name: str) -> Curve | None:
    """Read the curves of runs, smooth them, and interpolate between the steps that all have.

    None if a run has no curve, or not one step is common to all.
    """
    found = [_read(folder, name) for folder in folders]
    found = [(steps, values) for steps, values in found if len(steps) > 1]
    if len(found) < len(folders):
        return None
    first, last = max(s[0] for s, _ in found), min(s[-1] for s, _ in found)
    if first >= last:
        return None
    steps = np.linspace(first, last, POINTS)
    windows = [max(1, round(SMOOTHED_SHARE * len(values))) for _, values in found]
    each = zip(found, windows, strict=True)
    runs = np.stack([np.interp(steps, at, smooth(values, n)) for (at, values), n in each])
    rng = np.random.default_rng(0)
    drawn = runs[rng.integers(len(runs), size=(measures.REPETITIONS // 4, len(runs)))]  # [R, N, P]
    low, high = measures.interval(_iqm(np.moveaxis(drawn, 1, -1)))
    return Curve(steps, _iqm(runs.T), low, high, runs)


def _read(folder: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Read a curve, empty where nothing was logged; DataError for a damaged file."""
    file = folder / METRICS
    try:
        return read_curve(file, name)
    except FileNotFoundError:
        return np.array([]), np.array([])
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise DataError(f"{file}: damaged: {error}") from error


def _logged(file: Path) -> set[str]:
    """Name all that a run has logged."""
    if not file.is_file():
        return set()
    return {key for line in file.read_text().splitlines() for key in json.loads(line)}


def _iqm(values: np.ndarray) -> np.ndarray:
    """Give the interquartile mean of values [..., N]: [...]."""
    return measures.interquartile_mean([values])
