"""``report.png``: who would harm, and where in their demonstrations progress is lost."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from robolearn.judging.groups import MECHANISMS, Judged, reasons_of, verdicts_of
from robolearn.judging.harm import HarmJudge

ACCEPTED, REJECTED, BASE = "#2e86ab", "#d1495b", "#7f7f7f"
MARKS = {
    "commands": ("#5b3fa0", "purple: wrong commands"),
    "waiting": ("#13705e", "green: waits"),
    "contrary": ("#2e86ab", "blue: against the base's switch"),
}
LOSS = LinearSegmentedColormap.from_list("loss", ["#f7f5f2", "#f0b49a", "#d1495b", "#4a0d22"])
BINS = 120  # parts of a demonstration, in the strips
LEAST_ROWS, MOST_ROWS, GAP = 13, 40, 2.5  # heights of a group, and between two
ROW_INCHES = 0.085
MOST_GROUPS = 16  # in one picture
LEAST_HARM, MOST_HARM = -0.5, 6.0  # what lies beyond is drawn there
TEXT_WIDTH = 52  # characters
DPI = 110
MARK_HEIGHT, MOST_POINTS = 0.4, 2.0  # of a mark, in rows and in points at most


@dataclass(frozen=True)
class _Band:
    """A group of demonstrations as drawn: from ``top`` down to ``bottom``, the worst on top."""

    label: str
    harm: np.ndarray  # [n]
    lost: list[np.ndarray]  # [T] each
    marks: list[list[tuple[str, float, float]]]  # stretches: what, from and to, as shares of each
    notes: str
    top: float = 0.0
    bottom: float = 0.0

    @property
    def heights(self) -> np.ndarray:
        """Give the middle of each demonstration's row [n]."""
        edges = np.linspace(self.top, self.bottom, len(self.harm) + 1)
        return (edges[:-1] + edges[1:]) / 2


def draw_report(
    judge: HarmJudge, groups: Mapping[str, Sequence[Judged]], base: str, path: Path
) -> None:
    """Draw each demonstration as a dot, on the axis of harm, and as a strip, along its time.

    ``base`` names the operator whose demonstrations the judge knows; they come first, each held
    against the others. Of more than 16 groups, the most harmful are drawn. What is too short to
    judge is counted only.
    """
    figure = report_figure(judge, groups, base)
    figure.savefig(path)


def report_figure(judge: HarmJudge, groups: Mapping[str, Sequence[Judged]], base: str) -> Figure:
    """Give the picture that ``draw_report`` writes."""
    shown = _most_harmful(groups)
    bands = list(_stacked([_own(judge, base), *(_band(*group) for group in shown.items())]))
    height = 2.3 + ROW_INCHES * bands[-1].bottom
    figure = Figure(figsize=(15, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    dots, strips, words = figure.subplots(1, 3, sharey=True, width_ratios=[1, 1.35, 0.95])
    dots.set_ylim(bands[-1].bottom + GAP / 2, -GAP / 2)
    _draw_dots(dots, bands)
    _draw_strips(strips, bands)
    _write_notes(words, bands)
    figure.suptitle(_headline(groups, base), fontsize=12.5, x=0.01, ha="left")
    return figure


def along(lost: np.ndarray, bins: int) -> np.ndarray:
    """Give the means [bins] of d [T] over equal parts of a demonstration."""
    total = np.concatenate([[0.0], np.cumsum(lost)])
    edges = np.linspace(0, len(lost), bins + 1)
    return np.diff(np.interp(edges, np.arange(len(total)), total)) * bins / len(lost)


def _own(judge: HarmJudge, base: str) -> _Band:
    harm = judge.own_harm
    order = np.argsort(-harm)
    lost = judge.progress.lost_by_base
    label = f"{_words(base)}\n(base; each held\nagainst the others)\n{len(harm)} demonstrations"
    beyond = int((harm > 1.0).sum())
    notes = f"{beyond} of {len(harm)} beyond the line\n(each alone; others are judged together)"
    return _Band(label, harm[order], [lost[i] for i in order], [[] for _ in harm], notes)


def _band(name: str, found: Sequence[Judged]) -> _Band:
    judged = [one for one in found if one.verdict is not None]
    ordered = sorted(judged, key=lambda one: -one.verdict.harm)
    harm = np.array([one.verdict.harm for one in ordered])
    accepted = sum(one.accepted for one in found)
    return _Band(
        f"{_words(name)}\n{len(found)} demonstration{'s' * (len(found) > 1)}",
        harm,
        [one.verdict.lost for one in ordered],
        [_marks(one) for one in ordered],
        "\n".join([f"accepted: {accepted} of {len(found)}", *_notes(ordered, len(found))]),
    )


def _marks(one: Judged) -> list[tuple[str, float, float]]:
    steps = len(one.verdict.lost)
    return [
        (reason.mechanism, reason.start / steps, reason.end / steps)
        for reason in one.verdict.reasons
        if reason.mechanism in MARKS
    ]


def _notes(ordered: Sequence[Judged], count: int) -> Iterator[str]:
    """Count those of ``count`` that cannot be judged, and the mechanisms; quote the worst."""
    if short := count - len(ordered):
        yield f"{short} x too short to judge"
    for mechanism, count in reasons_of(ordered).items():
        yield f"{count} x {MECHANISMS.get(mechanism, mechanism)}"
    if ordered[0].verdict.reasons:
        text = f"worst, {ordered[0].name}: {ordered[0].verdict.reasons[0].text}"
        yield textwrap.fill(_plain(text), TEXT_WIDTH, max_lines=2, placeholder=" ...")


def _most_harmful(groups: Mapping[str, Sequence[Judged]]) -> Mapping[str, Sequence[Judged]]:
    """Give all groups that could be judged, or of too many the most harmful, in their order."""
    found = {name: [verdict.harm for verdict in verdicts_of(some)] for name, some in groups.items()}
    harm = {name: np.median(values) for name, values in found.items() if values}
    first = sorted(harm, key=lambda name: -harm[name])[:MOST_GROUPS]
    return {name: some for name, some in groups.items() if name in first}


def _words(name: str) -> str:
    return textwrap.fill(_plain(name.replace("_", " ")), 24)


def _plain(text: str) -> str:
    """Keep matplotlib from reading a name as a formula."""
    return text.replace("$", r"\$")


def _stacked(bands: Sequence[_Band]) -> Iterator[_Band]:
    """Put bands below each other; few demonstrations have thick rows, many thin ones."""
    top = 0.0
    for band in bands:
        bottom = top + float(np.clip(len(band.harm), LEAST_ROWS, MOST_ROWS))
        yield dataclasses.replace(band, top=top, bottom=bottom)
        top = bottom + GAP


def _headline(groups: Mapping[str, Sequence[Judged]], base: str) -> str:
    everybody = [one for found in groups.values() for one in found]
    accepted = sum(one.accepted for one in everybody)
    left_out = f"; shown are the {MOST_GROUPS} most harmful of {len(groups)} operators"
    whose = _plain(base.replace("_", " "))
    return (
        f"Would these demonstrations harm a policy cloned from those of {whose}?\n"
        f"{accepted} of {len(everybody)} are accepted{left_out * (len(groups) > MOST_GROUPS)}"
    )


def _draw_dots(axes: Axes, bands: Sequence[_Band]) -> None:
    """One dot for each demonstration on the axis of harm, at the height of its strip."""
    for i, band in enumerate(bands):
        colours = np.where(band.harm > 1.0, REJECTED, BASE if i == 0 else ACCEPTED)
        shown = np.clip(band.harm, LEAST_HARM, MOST_HARM)
        axes.axhspan(band.top, band.bottom, color="#f4f4f4", linewidth=0, zorder=0)
        axes.scatter(shown, band.heights, s=22, c=colours, linewidths=0, alpha=0.9, zorder=3)
        median = float(np.median(shown))
        axes.plot([median] * 2, [band.top, band.bottom], color="#bbbbbb", linewidth=1, zorder=1)
    axes.axvline(1.0, color=REJECTED, linewidth=1.2, linestyle=(0, (4, 3)), zorder=2)
    axes.set_yticks([(b.top + b.bottom) / 2 for b in bands], [b.label for b in bands], fontsize=9)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("harm (0: typical of the base; beyond 1: rejected)")
    title = "Grey: the base's own; blue: accepted; red: rejected"
    axes.set_title(title, loc="left", fontsize=10.5)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _draw_strips(axes: Axes, bands: Sequence[_Band]) -> None:
    """A strip for each demonstration along its time: the darker, the more progress is lost."""
    for band in bands:
        strips = np.array([along(lost, BINS) for lost in band.lost])  # [n, BINS]
        image = axes.imshow(
            strips, cmap=LOSS, vmin=0.0, vmax=1.0, aspect="auto", interpolation="nearest",
            extent=(0, 1, band.bottom, band.top),
        )  # fmt: skip
        _draw_marks(axes, band)
    axes.set_xlim(0, 1)
    axes.set_ylim(bands[-1].bottom + GAP / 2, -GAP / 2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_xlabel("share of the demonstration's time")
    marked = {what for band in bands for marks in band.marks for what, *_ in marks}
    told = "; ".join(said for what, (_, said) in MARKS.items() if what in marked)
    title = "\n".join(filter(None, ["Where progress is lost, the most harmful on top", told]))
    axes.set_title(title, loc="left", fontsize=10.5)
    axes.tick_params(axis="y", length=0, labelleft=False)
    axes.spines[["top", "right", "left"]].set_visible(False)
    bar = axes.figure.colorbar(image, ax=axes, location="bottom", shrink=0.5, aspect=40, pad=0.01)
    bar.set_label("share of the base's progress that is missing", fontsize=9)
    bar.outline.set_visible(False)


def _draw_marks(axes: Axes, band: _Band) -> None:
    """Mark what is told of each demonstration; what is of several kinds has a lane for each."""
    row = (band.bottom - band.top) / len(band.harm)
    for y, marks in zip(band.heights, band.marks, strict=True):
        kinds = [kind for kind in MARKS if kind in {what for what, *_ in marks}]
        height = min(MARK_HEIGHT, 0.9 / max(len(kinds), 1))
        width = float(np.clip(72 * ROW_INCHES * row * height, 0.4, MOST_POINTS))
        for what, *ends in marks:
            lane = y + row * ((kinds.index(what) + 0.5) / len(kinds) - 0.5)
            colour = MARKS[what][0]
            axes.plot(ends, [lane, lane], color=colour, linewidth=width, solid_capstyle="butt")


def _write_notes(axes: Axes, bands: Sequence[_Band]) -> None:
    for band in bands:
        axes.text(0.0, band.top, band.notes, va="top", fontsize=9, linespacing=1.35)
    axes.set_title("Why", loc="left", fontsize=10.5)
    axes.set_axis_off()
