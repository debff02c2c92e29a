"""A compatibility study at a glance: ``report.png``, and ``report.txt`` for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from demos.study.replicate import HARM, HELD_OUT, Scores
from demos.study.results import rejected

COLOURS = {
    "base": "#7f7f7f",
    "naive": "#d1495b",
    "matched": "#8d6a9f",
    "filtered": "#2e86ab",
    "repaired": "#5fb3b3",
    "random_drop": "#c9b79c",
    "informed": "#3c9d6b",
}
WORDS = {
    "naive": "all added",
    "matched": "as many steps of a compatible operator",
    "filtered": "filtered",
    "repaired": "repaired: at the base's tempo",
    "random_drop": "dropped at random",
    "informed": "informed",
}
MEANINGS = {
    "naive": "all of the operator's demonstrations",
    "matched": "in place of the operator's, those of one who fits",
    "repaired": "what filtering leaves, and demonstrations that wait or dawdle at the base's tempo",
    "random_drop": "all, without as many steps as filtering takes, from base and operator alike",
    "informed": "as many accepted demonstrations of an operator who heeds rejections",
}
FILTERED = {
    "demonstrations": "the demonstrations that are accepted",
    "stretches": "the demonstrations that are accepted, and of a rejected one the parts that pass",
    "pairs": "all demonstrations, without their incompatible steps",
}
COMPATIBLE, INCOMPATIBLE = "#2e86ab", "#d1495b"
STRANGENESS = "how strange the demonstration is to the base policy"
CAPTION_WIDTH, COLUMN_WIDTH = 220, 15  # characters
MOST = 0.5  # of an operator's demonstrations: who is rejected
LOGARITHMIC = 20.0  # from how many times the base's median on


def report_text(summary: dict[str, Any]) -> str:
    """Say in a table whom the judge rejects, and what each condition's policies achieve."""
    base, operators = summary["base"], summary["operators"]
    conditions = _conditions(summary)
    header = ["operator", "made to fit", "rejected", *(WORDS[c] for c in conditions)]
    rows = [["base, held out", "yes", f"{summary['false_rejection_rate']:.0%}"]]
    for name, operator in operators.items():
        fits = "yes" if operator["compatible"] else "no"
        rows.append([name.replace("_", " "), fits, f"{operator['rejected_share']:.0%}"])
        rows[-1] += [_percent(operator[condition]) for condition in conditions]
    return (
        f"{summary['task']}: success of {base['episodes']} episodes, in brackets its 95% interval;"
        f"\nthe base operator's demonstrations alone: {_percent(base)}; with others:\n\n"
        + _table(header, rows)
    )


def _percent(row: dict[str, Any]) -> str:
    low, high = row["interval"]
    return f"{row['success']:.0%} ({100 * low:.0f}-{100 * high:.0f})"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Set rows in columns, the first one to the left; headers are wrapped and stand on the rows."""
    wrapped = [textwrap.wrap(text, COLUMN_WIDTH)[::-1] for text in header]
    lines = [*list(zip_longest(*wrapped, fillvalue=""))[::-1], *rows]
    columns = list(zip_longest(*lines, fillvalue=""))
    widths = [max(map(len, column)) for column in columns]
    first, *others = (
        [f"{cell:{'>' if i else '<'}{width}}" for cell in column]
        for i, (column, width) in enumerate(zip(columns, widths, strict=True))
    )
    return "".join("  ".join(line).rstrip() + "\n" for line in zip(first, *others, strict=True))


def draw_report(summary: dict[str, Any], scores: Sequence[Scores], path: Path) -> None:
    """Save what ``figure_of`` gives."""
    figure_of(summary, scores).savefig(path, dpi=110)


def figure_of(summary: dict[str, Any], scores: Sequence[Scores]) -> Figure:
    """Draw on the left what the judge says of demonstrations, on the right what it is worth."""
    height = 3.2 + 0.95 * (len(summary["operators"]) + 1)
    figure = Figure(figsize=(14, height), layout="constrained")
    FigureCanvasAgg(figure)
    verdicts, success = figure.subplots(1, 2, width_ratios=[1, 1.25])
    _draw_verdicts(verdicts, summary, scores)
    _draw_success(success, summary)
    figure.suptitle(f"{_headline(summary)}\n", fontsize=12.5, x=0.01, ha="left")
    figure.legend(  # on the headline's third line, which is free
        *success.get_legend_handles_labels(), loc="upper right", ncols=len(COLOURS), fontsize=9,
        bbox_to_anchor=(1.0, 1.0 - 0.48 / height), frameon=False, borderaxespad=0,
    )  # fmt: skip
    figure.supxlabel(_caption(summary), fontsize=8.5, x=0.01, ha="left", color="#333333")
    return figure


def _headline(summary: dict[str, Any]) -> str:
    own = f"{summary['false_rejection_rate']:.0%} of the base operator's own"
    seeds = f"{summary['replicates']} training seed{'s' * (summary['replicates'] > 1)}"
    if summary["statistic"] == HARM:
        shares = {name: o["rejected_share"] for name, o in summary["operators"].items()}
        whom = ", ".join(
            f"{name.replace('_', ' ')} ({share:.0%})"
            for name, share in shares.items()
            if share > MOST
        )
        question = "whose demonstrations would harm a policy?"
        return f"{summary['task']}: {question}\nRejected: {whom or 'nobody'}; {own}; {seeds}"
    return (
        f"{summary['task']}: whose demonstrations fit the base operator's?\n"
        f"Told apart with an AUC of {summary['auc']:.2f} (by the paper's count: "
        f"{summary['auc_paper']:.2f}), {own} rejected; {seeds}"
    )


def _caption(summary: dict[str, Any]) -> str:
    """Say what is drawn, with the names that ``summary.json`` has for it."""
    meanings = MEANINGS | {"filtered": FILTERED[summary["filter_by"]]}
    conditions = "; ".join(f"{_both_names(c)}: {meanings[c]}" for c in _conditions(summary))
    paragraphs = [
        f"Left: each dot is a demonstration; {_verdict(summary)}",
        f"Right: each policy is trained on the base operator's demonstrations and: {conditions}."
        " Beside the bars: how many demonstrations that makes; one of which a part is left counts.",
    ]
    return "\n".join(textwrap.fill(paragraph, CAPTION_WIDTH) for paragraph in paragraphs)


def _both_names(condition: str) -> str:
    """Name a condition as readers know it, then as ``summary.json`` does if that is another."""
    name = WORDS[condition].partition(":")[0]
    return name if name == condition else f"{name} ({condition})"


def _verdict(summary: dict[str, Any]) -> str:
    if summary["statistic"] == HARM:
        return (
            f"the axis is the harm that it would do ({HARM}), judged without any training: 0 is"
            " typical of the base operator, beyond 1 it is rejected."
        )
    return (
        f"the axis is the judge's measure ({summary['statistic']}), a mean over its folds. The"
        f" colour is the verdict of a p-value (rejected: {summary['alpha']:g} or less), for which"
        " every fold compares the demonstration with those of the base operator that it has not"
        " seen: so among close ones a red dot can lie to the left of a blue one. AUC: the"
        " probability that one that does not fit lies to the right of one that fits."
    )


def _draw_verdicts(axes: Axes, summary: dict[str, Any], scores: Sequence[Scores]) -> None:
    """One dot for each demonstration, one row for each operator."""
    rows, statistic = [HELD_OUT, *summary["operators"]], summary["statistic"]
    found = [[row[statistic] for s in scores for row in s[name]] for name in rows]
    jitter = np.random.default_rng(0)
    logarithmic = _is_wide(found)
    for y, pairs in enumerate(found):
        values = np.array([value for value, _ in pairs])
        gone = rejected(pairs, statistic, summary["alpha"])
        heights = y + jitter.uniform(-0.22, 0.22, len(values))
        colours = np.where(gone, INCOMPATIBLE, COMPATIBLE)
        shown = np.maximum(values, 1e-2) if logarithmic else values
        axes.scatter(shown, heights, s=14, c=colours, alpha=0.7, linewidths=0)
        share = f"{gone.mean():.0%} rejected\n({gone.sum()} of {len(gone)})"
        axes.text(1.01, y, share, transform=axes.get_yaxis_transform(), va="center", fontsize=9)
    if statistic == HARM:
        axes.axvline(1.0, color=COLOURS["base"], linewidth=1, zorder=0)
    labels = ["base operator,\nheld out", *map(_label(summary), summary["operators"])]
    axes.set_yticks(range(len(rows)), labels)
    axes.invert_yaxis()
    _scale(axes, logarithmic, min(value for pairs in found for value, _ in pairs))
    what = "harm that the demonstration would do" if statistic == HARM else STRANGENESS
    axes.set_xlabel(f"{what}, logarithmic scale" if logarithmic else what)
    axes.set_title("Verdicts: blue accepted, red rejected", loc="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)


def _is_wide(found: Sequence[Sequence[tuple[float, float]]]) -> bool:
    """Say whether values (beside p-values) go far beyond the usual ones of the base, the first."""
    values = [np.array(pairs)[:, 0] for pairs in found]
    return bool(0 < LOGARITHMIC * np.median(values[0]) < max(v.max() for v in values))


def _scale(axes: Axes, logarithmic: bool, lowest: float) -> None:
    if not logarithmic:
        axes.set_xlim(left=min(0.0, lowest))
        return
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    low, high = axes.get_xlim()
    between = "25" if high < 100 * low else ""  # where decades alone would leave the axis bare
    axes.xaxis.set_minor_formatter(
        lambda value, _: f"{value:g}" if _first(value) in between else ""
    )


def _first(value: float) -> str:
    """Give the first digit of a positive number."""
    return f"{value:e}"[0]


def _draw_success(axes: Axes, summary: dict[str, Any]) -> None:
    """Bars for each operator and condition with 95% intervals, the base as a line."""
    base, operators = summary["base"], summary["operators"]
    conditions = _conditions(summary)
    height = 0.8 / len(conditions)
    for i, condition in enumerate(conditions):
        rows = [operator[condition] for operator in operators.values()]
        success = np.array([row["success"] for row in rows])
        low, high = np.array([row["interval"] for row in rows]).T
        heights = np.arange(len(rows)) - 0.4 + (i + 0.5) * height
        errors = np.abs(np.stack([success - low, high - success]))
        axes.barh(
            heights, success, 0.92 * height, xerr=errors, color=COLOURS[condition],
            label=WORDS[condition], error_kw={"ecolor": "#444444", "elinewidth": 1},
        )  # fmt: skip
        for y, row in zip(heights, rows, strict=True):
            axes.text(1.01, y, f"{row['demonstrations']:.3g}", va="center", fontsize=7.5,
                      transform=axes.get_yaxis_transform(), color="#555555")  # fmt: skip
    axes.axvspan(*base["interval"], color=COLOURS["base"], alpha=0.2, linewidth=0, zorder=0)
    alone = f"base alone ({base['demonstrations']:.3g} demonstrations)"
    axes.axvline(base["success"], color=COLOURS["base"], label=alone)
    axes.set_yticks(range(len(operators)), map(_label(summary), operators))
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_xlabel(f"success over {base['episodes']} episodes, with 95% intervals")
    axes.set_title("Policies trained with each operator's demonstrations", loc="left", fontsize=11)
    axes.text(1.01, 1.01, "demonstrations", fontsize=7.5, color="#555555",
              transform=axes.transAxes)  # fmt: skip
    axes.spines[["top", "right"]].set_visible(False)


def _conditions(summary: dict[str, Any]) -> list[str]:
    """Name the conditions of a study in the order in which they are shown."""
    return [c for c in WORDS if c in next(iter(summary["operators"].values()))]


def _label(summary: dict[str, Any]):
    def label(name: str) -> str:
        compatible = summary["operators"][name]["compatible"]
        if summary["statistic"] == HARM:
            what = "same style" if compatible else "another style"
        else:
            what = "fits" if compatible else "does not fit"
        return f"{name.replace('_', ' ')}\n({what})"

    return label
