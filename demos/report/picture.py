"""``report.png``: every episode as a dot, by operator; what is common to all; what stands out."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from demos.report.findings import Finding, Lines, flagged, saturation
from demos.report.measures import Measured
from demos.report.quality import Quality
from demos.report.table import headline, series

NORMAL, STANDS_OUT, QUIET, MEDIAN = "#2e86ab", "#d1495b", "#f4f4f4", "#9a9a9a"
MOST_OPERATORS = 12  # in one picture
LEAST_ENTRIES, MOST_ENTRIES = 6, 16  # of an action
MOST_FINDINGS = 14
TEXT_WIDTH = 56  # characters
GAP = 0.35  # between two operators, of a row's height
WIDE = 5.0  # the greatest to the least value, from where on an axis may be logarithmic
LEAST_HARM, MOST_HARM = -0.5, 4.0  # what lies beyond is drawn there


@dataclass(frozen=True)
class _Column:
    """One measure of the upper half: a value of each episode, by name."""

    title: str
    label: str
    values: Mapping[str, float]
    out: set[str]  # names of those that stand out
    line: float | None = None
    logarithmic: bool = False


def draw_report(quality: Quality, findings: Sequence[Finding], lines: Lines, path: Path) -> None:
    """Draw it. Above, a row for each operator and a column for each measure; of more than 12
    operators those with most episodes. Below, actions, starts, near duplicates, and words.
    """
    shown = sorted(quality.operators, key=lambda name: -len(quality.operators[name]))
    shown = [name for name in quality.operators if name in shown[:MOST_OPERATORS]]
    upper = 1.3 + max(2.0, 0.62 * len(shown))
    lower = 3.4
    figure = Figure(figsize=(15, upper + lower + 0.9), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subfigures(2, 1, height_ratios=[upper, lower], hspace=0.03)
    columns = _columns(quality, findings, lines)
    axes = above.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    for one, column in zip(axes, columns, strict=True):
        _draw_column(one, column, quality, shown)
    _name_rows(axes[0], quality, shown)
    actions, starts, alike, words = below.subplots(1, 4, width_ratios=[1, 1, 1, 1.25])
    _draw_saturation(actions, quality, lines)
    _draw_starts(starts, quality, findings)
    _draw_nearest(alike, quality, lines)
    _write_findings(words, findings)
    quiet = len({one.name for one in quality.found} - {n for f in findings for n in f.episodes})
    left_out = len(quality.operators) - len(shown)
    more = f"; {left_out} operators with fewer episodes are not shown" if left_out else ""
    figure.suptitle(
        f"{_plain(headline(quality))}{more}: nothing stands out in {quiet} of them\n"
        "A dot is an episode, in the order recorded from top to bottom; red stands out, "
        "the grey bar is the operator's median",
        fontsize=12, x=0.01, ha="left",
    )  # fmt: skip
    figure.savefig(path, dpi=110)


def _columns(quality: Quality, findings: Sequence[Finding], lines: Lines) -> list[_Column]:
    names = [one.name for one in quality.found]
    told = series(quality)

    def column(title: str, key: str, measure: str, line: float | None = None, log: bool = False):
        unit, values = told[key]
        label = f"{key} ({unit})" if unit else key
        of_each = dict(zip(names, values, strict=True))
        return _Column(title, label, of_each, flagged(findings, measure), line, log)

    found = [column("Length", "length", "length")]
    if "jerk" in told:
        what = quality.scales.motion.what
        found.append(column(f"Jerk of the {what}", "jerk", "jerk", log=True))
    found.append(column("Pauses", "paused", "pauses", 100 * lines.paused))
    if "gripper switches" in told:
        found.append(column("Gripper", "gripper switches", "switches"))
    if "late steps" in told:
        found.append(column("Time stamps", "late steps", "stamps", 100 * lines.late))
    frames = [key for key in told if key.endswith("same image")]
    if frames:
        found.append(_frames(frames, told, names, findings, lines))
    if quality.compatibility.judged:
        found.append(_harm(quality, findings))
    return found


def _frames(
    keys: Sequence[str],
    told: Mapping[str, tuple[str, list[float]]],
    names: Sequence[str],
    findings: Sequence[Finding],
    lines: Lines,
) -> _Column:
    """Put the cameras into one column: the worst of each episode's."""
    worst = np.nanmax([told[key][1] for key in keys], axis=0)
    label = "same image, worst (%)" if len(keys) > 1 else "same image (%)"
    values = dict(zip(names, worst.tolist(), strict=True))
    return _Column("Frames", label, values, flagged(findings, "frames"), 100 * lines.repeated)


def _harm(quality: Quality, findings: Sequence[Finding]) -> _Column:
    compatibility = quality.compatibility
    judged = {one.name: one.verdict.harm for one in compatibility.judged if one.verdict}
    values = {
        name: float(np.clip(harm, LEAST_HARM, MOST_HARM))
        for name, harm in {**compatibility.own, **judged}.items()
    }
    title = f"Harm to {_cut(compatibility.base, 12)}"
    return _Column(title, "harm (1: the line)", values, flagged(findings, "harm"), 1.0)


def _draw_column(axes: Axes, column: _Column, quality: Quality, shown: Sequence[str]) -> None:
    for row, operator in enumerate(shown):
        some = quality.operators[operator]
        axes.axhspan(row, row + 1 - GAP, color=QUIET, linewidth=0, zorder=0)
        heights = row + (np.arange(len(some)) + 0.5) / len(some) * (1 - GAP)
        values = np.array([column.values.get(one.name, np.nan) for one in some])
        known = np.isfinite(values)
        if not known.any():
            axes.text(
                0.5, row + (1 - GAP) / 2, "not measured", va="center", ha="center", fontsize=8.5,
                color=MEDIAN, transform=axes.get_yaxis_transform(),
            )  # fmt: skip
            continue
        out = np.array([one.name in column.out for one in some])
        for chosen, colour in ((known & ~out, NORMAL), (known & out, STANDS_OUT)):
            axes.scatter(
                values[chosen], heights[chosen], s=_size(len(some)), c=colour, linewidths=0,
                alpha=0.85, zorder=3,
            )  # fmt: skip
        median = float(np.median(values[known]))
        axes.plot([median] * 2, [row, row + 1 - GAP], color=MEDIAN, linewidth=2, zorder=2)
    axes.set_ylim(len(shown) - GAP / 2, -GAP / 2)
    every = [v for v in column.values.values() if np.isfinite(v)]
    if column.line is not None:
        axes.axvline(column.line, color=STANDS_OUT, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    if column.logarithmic and every and 0 < WIDE * min(every) < max(every):
        axes.set_xscale("log")
        _mark_decades(axes, min(every), max(every))
    elif every and column.line != 1.0:
        least = min(0.0, *every)
        span = max(0.0, *every, column.line or 0.0) - least or 1.0
        axes.set_xlim(least - 0.03 * span, least + 1.03 * span)  # room for half a dot
        if all(value == round(value) for value in every):
            axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_title(column.title, loc="left", fontsize=11)
    axes.set_xlabel(_plain(column.label), fontsize=9.5)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _mark_decades(axes: Axes, low: float, high: float) -> None:
    """Label a logarithmic axis at 1, 2 and 5 of each decade, in plain numbers, a few of them."""
    axes.set_xlim(low / 1.15, high * 1.15)
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    ticks = [
        m * 10.0**d for d in decades for m in (1, 2, 5) if low / 1.15 <= m * 10.0**d <= high * 1.15
    ]
    axes.set_xticks(ticks[:: max(1, len(ticks) // 4)])
    axes.minorticks_off()
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")


def _name_rows(axes: Axes, quality: Quality, shown: Sequence[str]) -> None:
    labels = [
        f"{_cut(name.replace('_', ' '), 22)}\n{_counted(quality.operators[name])}" for name in shown
    ]
    axes.set_yticks([row + (1 - GAP) / 2 for row in range(len(shown))], labels, fontsize=9.5)


def _counted(some: Sequence[Measured]) -> str:
    known = [one.success for one in some if one.success is not None]
    said = f"{len(some)} episode{'s' * (len(some) != 1)}"
    return f"{said}, {np.mean(known):.0%} succeeded" if known else said


def _size(count: int) -> float:
    return float(np.clip(600 / count, 5, 26))


def _draw_saturation(axes: Axes, quality: Quality, lines: Lines) -> None:
    """A bar for each entry of the action: the share of all steps at which it is at its limit."""
    shares = saturation(quality)
    known = np.flatnonzero(np.isfinite(shares))
    chosen = sorted(known, key=lambda i: -shares[i])[:MOST_ENTRIES]
    chosen = sorted(chosen)
    heights = np.arange(len(chosen))
    values = 100 * shares[chosen]
    colours = [STANDS_OUT if v > 100 * lines.saturated else NORMAL for v in values]
    axes.barh(heights, values, color=colours, height=0.7)
    names = [_cut(quality.scales.actions[i], 18) for i in chosen]
    axes.set_yticks(heights, names, fontsize=9)
    axes.set_ylim(max(len(chosen), LEAST_ENTRIES) - 0.5, -0.5)
    axes.axvline(100 * lines.saturated, color=STANDS_OUT, linewidth=1, linestyle=(0, (4, 3)))
    axes.set_xlim(0, max(1.15 * 100 * lines.saturated, 1.05 * max(values, default=0.0)))
    axes.set_title("Actions at their limit", loc="left", fontsize=11)
    axes.set_xlabel("share of all steps (%)", fontsize=9.5)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_starts(axes: Axes, quality: Quality, findings: Sequence[Finding]) -> None:
    """Where episodes begin, in the two entries that vary most and not together."""
    starts = quality.starts
    title = f"Starts: {starts.distinct} distinct of {len(quality.found)}"
    axes.set_title(title, loc="left", fontsize=11)
    if not starts.shown:
        axes.text(0.5, 0.5, "no entry of the state varies", ha="center", va="center", color=MEDIAN)
        axes.set_axis_off()
        axes.set_title(title, loc="left", fontsize=11)
        return
    twice = flagged(findings, "duplicates")
    red = np.array([one.name in twice for one in quality.found])
    x = starts.points[:, 0]
    if len(starts.shown) == 2:
        y, label = starts.points[:, 1], starts.shown[1]
    else:
        y, label = np.arange(len(x)), "episode"
    for chosen, colour, size in ((~red, NORMAL, 1), (red, STANDS_OUT, 3)):
        at = x[chosen], y[chosen]
        axes.scatter(*at, s=size * _size(len(x)), c=colour, linewidths=0, alpha=0.85)
    axes.set_xlabel(_cut(starts.shown[0], 32), fontsize=9.5)
    axes.set_ylabel(_cut(label, 32), fontsize=9.5)
    axes.locator_params(nbins=5)
    if label == "episode":
        axes.yaxis.get_major_locator().set_params(integer=True)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_nearest(axes: Axes, quality: Quality, lines: Lines) -> None:
    """How far each episode is from the one that it is most like."""
    title = "Near duplicates: left of the line"
    distances = np.array([n.distance for n in quality.nearest if n is not None])
    axes.set_title(title, loc="left", fontsize=11)
    if not len(distances):
        axes.text(0.5, 0.5, "nothing to compare", ha="center", va="center", color=MEDIAN)
        axes.set_axis_off()
        axes.set_title(title, loc="left", fontsize=11)
        return
    least = lines.duplicate / 4  # identical ones stand there
    shown = np.maximum(distances, least)
    edges = np.geomspace(least, max(shown.max(), 2.0) * 1.05, 30)
    counts, bars, patches = axes.hist(shown, edges, color=NORMAL)
    for left, patch in zip(bars, patches, strict=False):
        patch.set_color(STANDS_OUT if left < lines.duplicate else NORMAL)
    axes.axvline(lines.duplicate, color=STANDS_OUT, linewidth=1, linestyle=(0, (4, 3)))
    axes.set_xscale("log")
    _mark_decades(axes, least, edges[-1])
    like = f"{len(distances)} of {len(quality.nearest)} have one of about their length"
    axes.set_xlabel(f"distance to the nearest other episode (sd)\n{like}", fontsize=9.5)
    axes.set_ylabel("episodes", fontsize=9.5)
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.spines[["top", "right"]].set_visible(False)


def _write_findings(axes: Axes, findings: Sequence[Finding]) -> None:
    axes.set_axis_off()
    axes.set_title("What stands out", loc="left", fontsize=11)
    told = [
        textwrap.fill(
            _plain(one.text), TEXT_WIDTH, initial_indent="- ", subsequent_indent="  ",
            max_lines=3, placeholder=" ...",
        )
        for one in findings[:MOST_FINDINGS]
    ]  # fmt: skip
    if more := len(findings) - len(told):
        told.append(f"and {more} more: see report.json")
    text = "\n".join(told) or "nothing"
    size = float(np.clip(250 / (text.count("\n") + 1), 5.5, 9.0))
    axes.text(0.0, 1.0, text, va="top", fontsize=size, linespacing=1.3, transform=axes.transAxes)


def _cut(name: str, most: int) -> str:
    """Shorten a name to so many characters, in the middle: names often begin alike."""
    if len(name) > most:
        end = (most - 2) // 2
        name = f"{name[: most - 2 - end]}..{name[-end:]}"
    return _plain(name)


def _plain(text: str) -> str:
    """Keep matplotlib from reading a name as a formula."""
    return text.replace("$", r"\$")
