"""How far an attack gets with how large a budget: ``docs/rat_budgets.png``, from ``rat.jsonl``.

    python benchmarks/rat_budgets.py

RAT towards the opposite of what the victim has learnt, stage 1: a panel for each unit of the
budget, a colour for each task, side by side; dashed towards an intention that is within reach. A
mark is a mean over seeds, a bar from the least to the most of them.
"""

import json
from collections import defaultdict
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rat import LEARNT, ROWS

PICTURE = Path(__file__).parents[1] / "docs" / "rat_budgets.png"
UNITS = {
    "raw": "raw units (m), every entry that varies",
    "std": "standard deviations of each entry",
}
COLOURS = dict(
    zip(LEARNT, ("#c8553d", "#e9a178", "#2e86ab", "#8ecae6", "#3a7d44", "#a3c9a8"), strict=True)
)
Curve = dict[float, list[float]]  # size -> success by seed


def main() -> None:
    """Draw a panel for each unit."""
    curves = read()
    figure = Figure(figsize=(10.5, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, unit in zip(figure.subplots(1, 2, sharey=True), UNITS, strict=True):
        for (of, task, intention), curve in curves.items():
            if of == unit:
                draw(axes, task, intention, curve)
        dress(axes, unit)
    names = {}
    for axes in figure.axes:
        names |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    figure.axes[0].set_ylabel("success at the opposite task")
    figure.legend(
        names.values(), names.keys(), loc="outside right center", frameon=False, fontsize=9
    )
    figure.savefig(PICTURE, dpi=110)


def read() -> dict[tuple[str, str, str], Curve]:
    """Give the curves, by unit, task and intention."""
    curves: dict[tuple[str, str, str], Curve] = defaultdict(lambda: defaultdict(list))
    for line in ROWS.read_text().splitlines():
        row = json.loads(line)
        if (row["stage"], row["method"]) == (1, "rat"):
            about = row["unit"], row["task"], row["intention"]
            curves[about][row["budget"]].append(row["success"])
    return dict(sorted(curves.items()))


def draw(axes: Axes, task: str, intention: str, curve: Curve) -> None:
    """Draw success over size."""
    sizes, aside = sorted(curve), 1.035 ** (list(COLOURS).index(task) - len(COLOURS) / 2)
    means = [sum(curve[size]) / len(curve[size]) for size in sizes]
    below = [mean - min(curve[size]) for mean, size in zip(means, sizes, strict=True)]
    above = [max(curve[size]) - mean for mean, size in zip(means, sizes, strict=True)]
    style, name = ("-", task) if intention == "expert" else ("--", f"{task}, within reach")
    axes.errorbar(
        [aside * size for size in sizes], means, [below, above], label=name,
        color=COLOURS[task], ls=style, marker="o", ms=4, lw=1.6, elinewidth=1,
    )  # fmt: skip


def dress(axes: Axes, unit: str) -> None:
    """Say what is shown."""
    sizes = {"raw": (0.01, 0.02, 0.05, 0.1, 0.2), "std": (0.05, 0.1, 0.3, 0.5, 1.0)}[unit]
    axes.set(xscale="log", ylim=(-0.04, 1.04), xlabel=UNITS[unit])
    axes.set_xticks(sizes, [f"{size:g}" for size in sizes])
    axes.minorticks_off()
    axes.set_title(f"budget: {unit}", loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
