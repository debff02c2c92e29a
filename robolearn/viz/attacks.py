"""What an attack did, drawn: success rates, and what was true, seen, done and intended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from robolearn.types import Policy, Spec, Step
from robolearn.viz.entries import StepScores

COLOURS = {"attacked": "#c8553d", "control": "#2e86ab", "clean": "#7fb7be", "intention": "#8a8a8a"}
MOST_ENTRIES = 3  # of the state, and of the action, that are drawn


@dataclass(frozen=True)
class Account:
    """What was true, seen, done and intended in one attacked episode of T steps."""

    true: np.ndarray  # [T, O], entries that may be touched
    seen: np.ndarray  # [T, O]
    actions: dict[str, np.ndarray]  # "done", "unattacked", "intended", if known -> [T, A]
    state_names: tuple[str, ...]  # [O]
    action_names: tuple[str, ...]  # [A]

    @classmethod
    def of(
        cls, steps: Sequence[Step], interface: Spec, touched: np.ndarray, intention: Policy | None
    ) -> Account:
        """Gather what ``PerturbedEnv`` said of the steps; ``touched`` bool [O]: which count."""
        attacks = [step.info["attack"] for step in steps]
        true = np.stack([attack["true"] for attack in attacks])
        seen = np.stack([attack["seen"] for attack in attacks])
        actions = {"done": np.stack([attack["action"] for attack in attacks])}
        if "unattacked" in attacks[0]:
            actions["unattacked"] = np.stack([attack["unattacked"] for attack in attacks])
        if intention is not None:
            actions["intended"] = intention.act({"state": true}).clip(-1, 1)
        names = _names(interface.observations["state"].names, true.shape[1], "state")
        kept = tuple(name for name, counts in zip(names, touched, strict=True) if counts)
        action_names = _names(interface.action.names, actions["done"].shape[1], "action")
        return cls(true[:, touched], seen[:, touched], actions, kept, action_names)

    def scores(self) -> list[StepScores]:
        """Give every step's numbers by name, for the viewer: it draws them over time."""
        series = {f"true {name}": self.true[:, i] for i, name in enumerate(self.state_names)}
        series |= {f"seen {name}": self.seen[:, i] for i, name in enumerate(self.state_names)}
        for what, actions in self.actions.items():
            series |= {f"{what} {name}": actions[:, j] for j, name in enumerate(self.action_names)}
        return StepScores.along(series, {}, np.zeros(len(self.true), bool))


def draw_attack(
    found: Mapping[str, Mapping[str, Any]], account: Account, title: str, path: Path
) -> None:
    """Draw success rates with their intervals, and one episode, as a picture.

    ``found`` has a summary of ``Evaluation`` for "attacked", "control" and others.
    """
    count = (
        min(MOST_ENTRIES, len(account.state_names)),
        min(MOST_ENTRIES, len(account.action_names)),
    )
    figure = Figure(figsize=(12, 7), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    bars, curves = figure.subfigures(1, 2, width_ratios=(1, 2.4))
    _bars(bars.subplots(), found)
    rows = curves.subplots(max(count), 2, sharex=True, squeeze=False)
    _states(rows[:, 0], account, count[0])
    _actions(rows[:, 1], account, count[1])
    for axes in rows[-1]:
        axes.set_xlabel("control steps")
    figure.savefig(path, dpi=110)


def _bars(axes: Axes, found: Mapping[str, Mapping[str, Any]]) -> None:
    for i, (name, outcome) in enumerate(found.items()):
        success, (low, high) = outcome["success"], outcome["interval"]
        axes.bar(i, success, color=COLOURS.get(name, "#cccccc"))
        axes.plot([i, i], [low, high], color="black", linewidth=1)
    axes.set_xticks(range(len(found)), found)
    axes.set_ylim(0, 1)
    axes.set_title("success, 95% intervals", loc="left", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)


def _states(rows: Sequence[Axes], account: Account, count: int) -> None:
    """Draw the entries that were changed the most, in units of their own spread."""
    change = np.abs(account.seen - account.true).mean(axis=0)
    most = np.argsort(-change / (account.true.std(axis=0) + change.max() + 1e-9))[:count]
    for axes, i in zip(rows, most, strict=False):
        axes.plot(account.true[:, i], color=COLOURS["control"], label="true")
        axes.plot(account.seen[:, i], color=COLOURS["attacked"], label="seen")
        axes.set_title(account.state_names[i], loc="left", fontsize=9)
    rows[0].legend(fontsize=8)


def _actions(rows: Sequence[Axes], account: Account, count: int) -> None:
    colours = {"done": "attacked", "unattacked": "control", "intended": "intention"}
    for axes, j in zip(rows, range(count), strict=False):
        for what, actions in account.actions.items():
            axes.plot(actions[:, j], color=COLOURS[colours[what]], label=what)
        axes.set_ylim(-1.05, 1.05)
        axes.set_title(account.action_names[j], loc="left", fontsize=9)
    rows[0].legend(fontsize=8)


def _names(names: tuple[str, ...], count: int, what: str) -> tuple[str, ...]:
    return names or tuple(f"{what}[{i}]" for i in range(count))


PANELS = {  # value of a row: what it is, and what is so without an attack, (name, value)
    "success": ("success at what is wanted", ("control", "success")),
    "learnt": ("success at what was learnt", ("clean", "success")),
    "alarmed": ("episodes with an alarm", ("control", "alarmed")),
}
UNAWARE = {"success": "unaware", "alarmed": "unaware_alarmed"}  # of who does not know the detector
DODGE = 0.012  # of the panel's width: methods beside each other, where they are equal


def draw_audit(
    rows: Sequence[Mapping[str, Any]],
    found: Mapping[str, Mapping[str, Any]],
    title: str,
    path: Path,
) -> None:
    """Draw success over the size of the budget, a line for each method, with 95% intervals.

    A row has "method", "size", "success" and "interval", at what is wanted; where rows have
    "learnt" or "alarmed", with their intervals, further panels show these. ``found`` has what is so
    without an attack. Dotted is what becomes of who does not know a detector.
    """
    panels = [value for value in PANELS if value in rows[0]]
    figure = Figure(figsize=(5.2 * len(panels) + 1.6, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    columns = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axes, value in zip(columns, panels, strict=True):
        _over_sizes(axes, rows, value)
        what, (name, without) = PANELS[value]
        axes.axhline(found[name][without], color="#8a8a8a", linestyle="--", label="no attack")
        if value == "success" and "intention" in found:
            reached = found["intention"]["success"]
            axes.axhline(reached, color="#8a8a8a", linestyle=":", label="the intention itself")
        axes.set_ylim(-0.04, 1.04)
        axes.set_xlabel("size of the budget")
        axes.set_title(what, loc="left", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = columns[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=9, frameon=False)
    figure.savefig(path, dpi=110)


def _over_sizes(axes: Axes, rows: Sequence[Mapping[str, Any]], value: str) -> None:
    """Draw a value of rows, a line for each method, at sizes that are equally far apart."""
    sizes = sorted({row["size"] for row in rows})
    methods = list(dict.fromkeys(row["method"] for row in rows))
    width = max(1, len(sizes) - 1)
    for i, method in enumerate(methods):
        own = [row for row in rows if row["method"] == method]
        x = np.array([sizes.index(row["size"]) for row in own], float)
        x += DODGE * width * (i - (len(methods) - 1) / 2)
        _line(axes, x, own, value, color=f"C{i}", marker="osD^v"[i % 5], label=method)
        if UNAWARE.get(value) in own[0]:
            label = f"{method}, unaware"
            _line(
                axes, x, own, UNAWARE[value], color=f"C{i}", linestyle=":", marker="x", label=label
            )
    axes.set_xticks(range(len(sizes)), [f"{size:g}" for size in sizes])
    axes.set_xlim(-0.15 * width, (len(sizes) - 1) + 0.15 * width)


def _line(
    axes: Axes, x: np.ndarray, rows: Sequence[Mapping[str, Any]], value: str, **style: Any
) -> None:
    middle = np.array([row[value] for row in rows])
    interval = "interval" if value == "success" else f"{value}_interval"
    ends = np.array([row[interval] for row in rows]).T  # [2, sizes]
    axes.errorbar(x, middle, np.abs(ends - middle), capsize=2, markersize=5, **style)
