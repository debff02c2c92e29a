"""``report.png``: a compatibility study at a glance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from demos.study.replicate import HELD_OUT, Scores

COLOURS = {
    "base": "#7f7f7f",
    "naive": "#d1495b",
    "matched": "#8d6a9f",
    "filtered": "#2e86ab",
    "repaired": "#5fb3b3",
    "random_drop": "#c9b79c",
    "informed": "#3c9d6b",
}
COMPATIBLE, INCOMPATIBLE = "#2e86ab", "#d1495b"


def draw_report(summary: dict[str, Any], scores: Sequence[Scores], path: Path) -> None:
    """Draw on the left what the judge says of demonstrations, on the right what it is worth."""
    operators = summary["operators"]
    figure = Figure(figsize=(14, 2.2 + 0.95 * (len(operators) + 1)), layout="constrained")
    FigureCanvasAgg(figure)
    verdicts, success = figure.subplots(1, 2, width_ratios=[1, 1.25])
    _draw_verdicts(verdicts, summary, scores)
    _draw_success(success, summary)
    figure.suptitle(_headline(summary), fontsize=12.5, x=0.01, ha="left")
    figure.savefig(path, dpi=110)


def _headline(summary: dict[str, Any]) -> str:
    replicates = summary["replicates"]
    return (
        f"{summary['task']}: who fits the base policy?\n"
        f"AUC {summary['auc']:.2f} (the paper's count: "
        f"{summary['auc_paper']:.2f}), {summary['false_rejection_rate']:.0%} of the base's "
        f"own demonstrations rejected; {replicates} training seed{'s' * (replicates > 1)}"
    )


def _draw_verdicts(axes: Axes, summary: dict[str, Any], scores: Sequence[Scores]) -> None:
    """One dot for each demonstration, one row for each operator."""
    rows = [HELD_OUT, *summary["operators"]]
    jitter = np.random.default_rng(0)
    for y, name in enumerate(rows):
        found = [row[summary["statistic"]] for s in scores for row in s[name]]
        values, p_values = np.array(found).T
        rejected = p_values <= summary["alpha"]
        heights = y + jitter.uniform(-0.22, 0.22, len(values))
        colours = np.where(rejected, INCOMPATIBLE, COMPATIBLE)
        axes.scatter(np.maximum(values, 1e-2), heights, s=14, c=colours, alpha=0.7, linewidths=0)
        share = f"{rejected.mean():.0%} rejected"
        axes.text(1.01, y, share, transform=axes.get_yaxis_transform(), va="center", fontsize=9)
    labels = ["base operator,\nheld out", *map(_label(summary), summary["operators"])]
    axes.set_yticks(range(len(rows)), labels)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    low, high = axes.get_xlim()
    between = "25" if high < 100 * low else ""  # where decades alone would leave the axis bare
    axes.xaxis.set_minor_formatter(
        lambda value, _: f"{value:g}" if _first(value) in between else ""
    )
    axes.set_xlabel(f"how strange a demonstration is to the base policy ({summary['statistic']})")
    axes.set_title("Verdicts: blue accepted, red rejected", loc="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)


def _first(value: float) -> str:
    """Give the first digit of a positive number."""
    return f"{value:e}"[0]


def _draw_success(axes: Axes, summary: dict[str, Any]) -> None:
    """Bars for each operator and condition with 95% intervals, the base as a line."""
    base, operators = summary["base"], summary["operators"]
    conditions = [c for c in COLOURS if c in next(iter(operators.values()))]
    height = 0.8 / len(conditions)
    for i, condition in enumerate(conditions):
        rows = [operator[condition] for operator in operators.values()]
        success = np.array([row["success"] for row in rows])
        low, high = np.array([row["interval"] for row in rows]).T
        y = np.arange(len(rows)) - 0.4 + (i + 0.5) * height
        errors = np.abs(np.stack([success - low, high - success]))
        axes.barh(
            y, success, 0.92 * height, xerr=errors, color=COLOURS[condition],
            label=condition.replace("_", " "), error_kw={"ecolor": "#444444", "elinewidth": 1},
        )  # fmt: skip
    axes.axvspan(*base["interval"], color=COLOURS["base"], alpha=0.2, linewidth=0, zorder=0)
    axes.axvline(base["success"], color=COLOURS["base"], label="base alone")
    axes.set_yticks(range(len(operators)), map(_label(summary), operators))
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_xlabel(f"success over {base['episodes']} episodes, with 95% intervals")
    axes.set_title("Policies trained with each operator's demonstrations", loc="left", fontsize=11)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.06), ncols=len(conditions) + 1, fontsize=9,
                frameon=False, borderaxespad=0)  # fmt: skip
    axes.spines[["top", "right"]].set_visible(False)


def _label(summary: dict[str, Any]):
    def label(name: str) -> str:
        fits = "fits" if summary["operators"][name]["compatible"] else "does not fit"
        return f"{name.replace('_', ' ')}\n({fits})"

    return label
