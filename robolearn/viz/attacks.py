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
        actions = _actions_of(steps, {"state": true}, intention)
        names = _names(interface.observations["state"].names, true.shape[1], "state")
        kept = tuple(name for name, counts in zip(names, touched, strict=True) if counts)
        action_names = _names(interface.action.names, actions["done"].shape[1], "action")
        return cls(true[:, touched], seen[:, touched], actions, kept, action_names)

    @property
    def pictures(self) -> int:
        """Count what ``draw`` draws below each other."""
        return min(MOST_ENTRIES, len(self.state_names))

    def scores(self) -> list[StepScores]:
        """Give every step's numbers by name, for the viewer: it draws them over time."""
        series = {f"true {name}": self.true[:, i] for i, name in enumerate(self.state_names)}
        series |= {f"seen {name}": self.seen[:, i] for i, name in enumerate(self.state_names)}
        return _scores(series, self.actions, self.action_names)

    def draw(self, rows: Sequence[Axes]) -> None:
        """Draw the entries that were changed the most, in units of their own spread."""
        change = np.abs(self.seen - self.true).mean(axis=0)
        most = np.argsort(-change / (self.true.std(axis=0) + change.max() + 1e-9))
        for axes, i in zip(rows, most, strict=False):
            axes.plot(self.true[:, i], color=COLOURS["control"], label="true")
            axes.plot(self.seen[:, i], color=COLOURS["attacked"], label="seen")
            axes.set_title(self.state_names[i], loc="left", fontsize=9)
        rows[0].legend(fontsize=8)
        rows[-1].set_xlabel("control steps")


@dataclass(frozen=True)
class ImageAccount:
    """What a camera really saw and what was shown instead, in one attacked episode of T steps."""

    camera: str
    true: np.ndarray  # [T, H, W, 3] uint8
    seen: np.ndarray  # [T, H, W, 3] uint8
    actions: dict[str, np.ndarray]  # as in an ``Account``
    action_names: tuple[str, ...]  # [A]
    pictures = 3  # that ``draw`` draws below each other

    @classmethod
    def of(cls, steps: Sequence[Step], interface: Spec, intention: Policy | None) -> ImageAccount:
        """Gather what ``PerturbedEnv`` said of the first of the cameras that were touched."""
        first = steps[0].info["attack"]
        cameras = [name.partition("/")[2] for name in first if name.startswith("true/")]
        true, seen = (
            {c: np.stack([step.info["attack"][f"{what}/{c}"] for step in steps]) for c in cameras}
            for what in ("true", "seen")
        )
        shown = {
            name: np.stack([step.observation[name] for step in steps])
            for name in steps[0].observation
        }
        actions = _actions_of(steps, shown | true, intention)
        names = _names(interface.action.names, actions["done"].shape[1], "action")
        return cls(cameras[0], true[cameras[0]], seen[cameras[0]], actions, names)

    def scores(self) -> list[StepScores]:
        """Give every step's numbers by name, for the viewer: it draws them over time."""
        apart = np.abs(self.seen.astype(float) - self.true).reshape(len(self.true), -1)
        series = {f"change of {self.camera}, mean": apart.mean(axis=1)}
        return _scores(series, self.actions, self.action_names)

    def draw(self, rows: Sequence[Axes]) -> None:
        """Draw the true image, the one that was seen, and how they differ, in mid-episode."""
        true, seen = self.true[len(self.true) // 2], self.seen[len(self.seen) // 2]
        change = seen.astype(float) - true
        most = np.abs(change).max()
        pictures = {
            f"{self.camera}, true": true,
            f"{self.camera}, seen": seen,
            f"difference, up to {most:.0f} grey levels": 0.5 + 0.5 * change / max(most, 1.0),
        }
        for axes, (name, picture) in zip(rows, pictures.items(), strict=False):
            axes.imshow(picture)
            axes.set_title(name, loc="left", fontsize=9)
            axes.set_axis_off()


def _actions_of(
    steps: Sequence[Step], true: dict[str, np.ndarray], intention: Policy | None
) -> dict[str, np.ndarray]:
    """Give actions [T, A] by what they are; ``true`` is what was there, name -> [T, ...]."""
    attacks = [step.info["attack"] for step in steps]
    actions = {"done": np.stack([attack["action"] for attack in attacks])}
    if "unattacked" in attacks[0]:
        actions["unattacked"] = np.stack([attack["unattacked"] for attack in attacks])
    if intention is not None:
        actions["intended"] = intention.act(true).clip(-1, 1)
    return actions


def _scores(
    series: dict[str, np.ndarray], actions: Mapping[str, np.ndarray], names: Sequence[str]
) -> list[StepScores]:
    for what, rows in actions.items():
        series = series | {f"{what} {name}": rows[:, j] for j, name in enumerate(names)}
    return StepScores.along(series, {}, np.zeros(len(next(iter(actions.values()))), bool))


def draw_attack(
    found: Mapping[str, Mapping[str, Any]],
    account: Account | ImageAccount,
    title: str,
    path: Path,
) -> None:
    """Draw success rates with their intervals, and one episode, as a picture.

    ``found`` has a summary of ``Evaluation`` for "attacked", "control" and others.
    """
    figure = Figure(figsize=(12, 7), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    bars, seen, done = figure.subfigures(1, 3, width_ratios=(1, 1.2, 1.2))
    _bars(bars.subplots(), found)
    account.draw(seen.subplots(account.pictures, 1, sharex=True, squeeze=False)[:, 0])
    count = min(MOST_ENTRIES, len(account.action_names))
    rows = done.subplots(count, 1, sharex=True, squeeze=False)[:, 0]
    _actions(rows, account)
    rows[-1].set_xlabel("control steps")
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


def _actions(rows: Sequence[Axes], account: Account | ImageAccount) -> None:
    colours = {"done": "attacked", "unattacked": "control", "intended": "intention"}
    for j, axes in enumerate(rows):
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
