"""Learning curves: read from ``metrics.jsonl``, drawn as ``report.png``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

RAW, SMOOTH = "#b9cfdd", "#2e86ab"
SMOOTHED_SHARE = 0.05  # of the curve


def read_curve(metrics: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Give steps and values, [M] each, of the lines that have ``name``.

    Of a step that was logged twice, as by a run that was resumed, the later line counts.
    """
    lines = map(json.loads, metrics.read_text().splitlines())
    found = {line["step"]: line[name] for line in lines if line.get(name) is not None}
    steps = sorted(found)
    return np.array(steps), np.array([found[step] for step in steps], float)


def smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Give the mean of each value [M] and those before it, ``window`` in all where there are."""
    sums = np.cumsum(np.concatenate([[0.0], values]))
    last = np.arange(1, len(values) + 1)
    first = np.maximum(last - window, 0)
    return (sums[last] - sums[first]) / (last - first)


def draw_curve(steps: np.ndarray, values: np.ndarray, what: str, title: str, path: Path) -> None:
    """Draw a curve [M], pale, and its running mean, over the steps."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.plot(steps, values, color=RAW, linewidth=1)
    window = max(1, round(SMOOTHED_SHARE * len(values)))
    axes.plot(steps, smooth(values, window), color=SMOOTH, linewidth=2)
    axes.set_xlabel("control steps")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_ylabel(what)
    axes.set_title(title, loc="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#eeeeee")
    figure.savefig(path, dpi=110)
