"""Predicted against measured harm, an operator a mark: ``docs/harm.png``, from ``harm.json``.

python benchmarks/harm_picture.py
"""

import json
from pathlib import Path

import numpy as np
from harm import COMPATIBLE
from keep import RESULTS
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

PICTURE = Path(__file__).parents[1] / "docs" / "harm.png"
HARMFUL = 10.0  # points
PARTS = {"looked_at": ("#9db4c0", "choices looked at them"), "summary": ("#2e86ab", "kept apart")}
WRONG = "#e07a1f"
LEAST, MOST = -0.5, 3.0  # predicted harm that is shown
LOWEST, HIGHEST = -34.0, 90.0  # points that are shown
LINE, ASIDE = 4.8, 0.6  # points between names; where names begin at the left


def main() -> None:
    """Draw a panel for each task."""
    found = json.loads((RESULTS / "harm.json").read_text())
    tasks = list(found["looked_at"]["tasks"])
    columns = -(-len(tasks) // 2)
    figure = Figure(figsize=(4.8 * columns, 8), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, columns, sharex=True, sharey=True).flat
    for axes in panels[len(tasks) :]:
        axes.set_axis_off()
    for axes, task in zip(panels, tasks, strict=False):
        axes.tick_params(labelbottom=True)
        for part, (colour, name) in PARTS.items():
            draw(axes, found[part]["tasks"].get(task, {}), colour, name)
        name_wrong(
            axes, found["looked_at"]["tasks"][task] | found["summary"]["tasks"].get(task, {})
        )
        dress(axes, task)
    figure.axes[0].plot([], [], "o", color=WRONG, label="judge and measurement differ")
    handles = figure.axes[0].get_legend_handles_labels()
    figure.axes[-1].legend(*handles, frameon=False, loc="upper right")
    figure.supxlabel("what the judge says (median over demonstrations; beyond 1 they are rejected)")
    figure.supylabel("harm that was measured, points of success")
    figure.savefig(PICTURE, dpi=110)


def draw(axes: Axes, operators: dict[str, dict], colour: str, name: str) -> None:
    """Draw operators as marks: [predicted, harm]."""
    for operator, of in operators.items():
        inner = WRONG if is_wrong(operator, of) else colour
        axes.plot(*place(of), "o", color=inner, ms=6, mec=colour, mew=1.5)
    axes.plot([], [], "o", color=colour, label=name)


def name_wrong(axes: Axes, operators: dict[str, dict]) -> None:
    """Write names beside marks where the judge is wrong, from the top, none on another."""
    above = np.inf
    for operator, of in sorted(operators.items(), key=lambda item: -item[1]["harm"]):
        if is_wrong(operator, of):
            x, y = place(of)
            above = min(y, above - LINE)
            axes.plot([x, max(x, ASIDE) + 0.05], [y, above], color="#cccccc", lw=0.6, zorder=0)
            text = operator.replace("_", " ")
            axes.text(max(x, ASIDE) + 0.06, above, text, fontsize=8, va="center", color="#444444")


def place(of: dict) -> tuple[float, float]:
    """Say where an operator's mark is."""
    return float(np.clip(of["predicted"], LEAST, MOST)), of["harm"]


def is_wrong(operator: str, of: dict) -> bool:
    """Say whether judge and truth are on different sides of their lines.

    The compatible operators are what harm is counted from: theirs is the noise of training.
    """
    return operator not in COMPATIBLE and (of["predicted"] > 1.0) != (of["harm"] >= HARMFUL)


def dress(axes: Axes, task: str) -> None:
    """Draw the lines between right and wrong, and say which corner is which."""
    axes.axvline(1.0, color="#bbbbbb", lw=1)
    axes.axhline(HARMFUL, color="#bbbbbb", lw=1)
    axes.set_title(task, loc="left", fontsize=11)
    axes.text(LEAST, HIGHEST, "missed", color=WRONG, va="top", fontsize=9)
    axes.text(MOST, LOWEST + 3, "rejected in vain", color=WRONG, ha="right", fontsize=9)
    axes.set(xlim=(LEAST - 0.1, MOST + 0.1), ylim=(LOWEST, HIGHEST))
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
