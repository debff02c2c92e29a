"""``report.png``: scores by condition, who beats the base, learning curves."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, FigureBase

from robolearn.comparing.compare import Comparison, Row
from robolearn.comparing.table import notes_of

COLOURS = (
    "#7f7f7f", "#2e86ab", "#e07a1f", "#3c9d6b", "#d1495b", "#8d6a9f", "#c29b2c", "#5fb3b3",
)  # fmt: skip
MANY = tuple(  # of more conditions than those: each hue, and the same darker
    tuple(float(shade * part) for part in hue)
    for hue in colormaps["tab10"].colors
    for shade in (1.0, 0.55)
)
MOST_ROWS, MOST_TASKS = len(MANY), 6  # in one picture
NAME_WIDTH, MOST_LINES = 30, 6  # characters in a line of a condition's name, and lines of it
ROW_INCHES, LINE_INCHES = 0.5, 0.16
CAPTION_WIDTH = 170
MIDDLE = "#9a9a9a"
Colour = str | tuple[float, float, float]


def draw_report(found: Comparison, path: Path) -> None:
    """Draw the first 20 conditions, and curves of the first 6 tasks."""
    rows = found.rows[:MOST_ROWS]
    colours = COLOURS if len(rows) <= len(COLOURS) else MANY
    tasks = [task for task in found.tasks if any(task in row.curves for row in rows)][:MOST_TASKS]
    lines = max(_wrapped(row.condition.name).count("\n") + 1 for row in rows)
    upper = 1.2 + max(ROW_INCHES, LINE_INCHES * lines) * max(2, len(rows))
    lower = 3.6 * -(-len(tasks) // 3)
    figure = Figure(figsize=(12, upper + lower + 0.9), layout="constrained")
    FigureCanvasAgg(figure)
    halves = figure.subfigures(2 if tasks else 1, 1, squeeze=False,
                               height_ratios=[upper, lower] if tasks else [1])[:, 0]  # fmt: skip
    has_base = len(rows) > 1
    axes = halves[0].subplots(1, 1 + has_base, squeeze=False,
                              width_ratios=[2, 1] if has_base else [1])[0]  # fmt: skip
    _draw_scores(axes[0], rows, colours, found.score)
    if has_base:
        _draw_improvement(axes[1], rows, colours)
    if tasks:
        _draw_curves(halves[1], rows, colours, tasks, found.curve or "")
    figure.suptitle(_headline(found, len(rows)), fontsize=12.5, x=0.01, ha="left")
    caption = [textwrap.fill(note, CAPTION_WIDTH) for note in notes_of(found)]
    figure.supxlabel(_plain("\n".join(caption)), fontsize=8.5, x=0.01, ha="left", color="#444444")
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    """Write the picture; that the font lacks letters of a name is said once, not for each."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        figure.savefig(path, dpi=110)
    lacking = [one for one in said if "missing from font" in str(one.message)]
    for warning in said:
        if warning not in lacking:
            warnings.warn(warning.message, stacklevel=2)
    if lacking:
        warnings.warn(
            f"{path.name} lacks letters of some names, report.html has them", stacklevel=2
        )


def _headline(found: Comparison, shown: int) -> str:
    runs, count = sum(row.runs for row in found.rows), len(found.rows)
    said = f"{found.score}: {runs} runs, {count} condition{'s' * (count > 1)}"
    return _plain(f"{said}, of which {shown} are shown" if shown < count else said)


def _draw_scores(axes: Axes, rows: Sequence[Row], colours: Sequence[Colour], score: str) -> None:
    """A row for each condition: a dot for each run, the IQM with its interval, the mean."""
    for y, row in enumerate(rows):
        colour = colours[y]
        scores = np.concatenate(list(row.scores.values()))
        spread = np.linspace(-0.12, 0.12, len(scores)) if len(scores) > 1 else np.zeros(1)
        axes.scatter(scores, y + spread, s=16, color=colour, alpha=0.45, linewidths=0, zorder=2)
        axes.plot(row.iqm_interval, [y, y], color=colour, linewidth=7, alpha=0.3,
                  solid_capstyle="butt", zorder=1)  # fmt: skip
        axes.plot([row.iqm] * 2, [y - 0.22, y + 0.22], color=colour, linewidth=3, zorder=3)
        axes.plot(row.mean, y, "D", color="white", markeredgecolor=colour, ms=5.5, zorder=4)
    names = [_wrapped(row.condition.name) for row in rows]
    axes.set_yticks(range(len(rows)), names)
    for label, colour in zip(axes.get_yticklabels(), colours, strict=False):
        label.set_color(colour)
    axes.set_ylim(max(len(rows), 2) - 0.5, -0.5)
    axes.set_title("Scores: a dot is a run, the line the interquartile mean on its interval, "
                   "the diamond the mean", loc="left", fontsize=9.5)  # fmt: skip
    axes.set_xlabel(_plain(score), fontsize=9.5)
    _plainly(axes)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _draw_improvement(axes: Axes, rows: Sequence[Row], colours: Sequence[Colour]) -> None:
    axes.axvline(0.5, color=MIDDLE, linewidth=1, linestyle=(0, (4, 3)))
    for y, row in enumerate(rows):
        if row.improvement is None or row.improvement_interval is None:
            axes.text(0.5, y, "the base", ha="center", va="center", fontsize=9, color="#555555",
                      bbox={"color": "white", "pad": 2})  # fmt: skip
            continue
        axes.plot(row.improvement_interval, [y, y], color=colours[y], linewidth=7, alpha=0.3,
                  solid_capstyle="butt")  # fmt: skip
        axes.plot(row.improvement, y, "o", color=colours[y], ms=6)
    axes.set_xlim(-0.03, 1.03)
    axes.set_ylim(max(len(rows), 2) - 0.5, -0.5)
    axes.set_yticks([])
    axes.set_title("A run of it beats one of the base", loc="left", fontsize=9.5)
    axes.set_xlabel("probability", fontsize=9.5)
    _plainly(axes)
    axes.spines["left"].set_visible(False)


def _draw_curves(
    half: FigureBase, rows: Sequence[Row], colours: Sequence[Colour], tasks: list[str], name: str
) -> None:
    """Interquartile means over control steps, in their intervals."""
    columns = min(3, len(tasks))
    grid = half.subplots(-(-len(tasks) // 3), columns, squeeze=False).ravel()
    for axes, task in zip(grid, tasks, strict=False):
        for y, row in enumerate(rows):
            if (curve := row.curves.get(task)) is None:
                continue
            axes.fill_between(curve.steps, curve.low, curve.high, color=colours[y], alpha=0.15,
                              linewidth=0)  # fmt: skip
            axes.plot(curve.steps, curve.iqm, color=colours[y], linewidth=2)
        title = f"While learning {task}".strip()
        axes.set_title(_plain(f"{title}, coloured as above"), loc="left", fontsize=9.5)
        axes.set_xlabel("steps", fontsize=9.5)
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.locator_params(axis="x", nbins=6 if len(tasks) == 1 else 4)
        axes.set_ylabel(_plain(name), fontsize=9.5)
        axes.grid(axis="y", color="#eeeeee")
        _plainly(axes)
    for axes in grid[len(tasks) :]:
        axes.set_axis_off()


def _plainly(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9)


def _wrapped(name: str) -> str:
    lines = textwrap.wrap(name, NAME_WIDTH, break_on_hyphens=False, max_lines=MOST_LINES,
                          placeholder=" ..")  # fmt: skip
    return _plain("\n".join(lines))


def _plain(text: str) -> str:
    """Keep matplotlib from reading a name as a formula."""
    return text.replace("$", r"\$")
