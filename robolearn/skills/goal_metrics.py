"""How near objects come to their goals: figures over many episodes, and a picture that tells it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from robolearn.loops.evaluate import wilson_interval
from robolearn.types import Episode, Spec

NEAR_M, NEAR_RAD = 0.05, np.deg2rad(15)  # what counts as success
SHOWN_PATHS = 12  # episodes of which the paths are drawn
COLOURS = ("#2e86ab", "#e07a1f", "#3a9d5d")  # of the objects
PALE, BLACK = "#b9cfdd", "#333333"


@dataclass(frozen=True)
class Trace:
    """Where K objects were in an episode, where they should have been, and what that misses."""

    places: np.ndarray  # [T + 1, K, 3], metres
    goals: np.ndarray  # [T + 1, K, 3]
    yaw_rad: np.ndarray | None = None  # [T], mean error over the objects after each step

    @property
    def distance(self) -> np.ndarray:
        """Give the distances [T + 1, K], metres."""
        return np.linalg.norm(self.places - self.goals, axis=-1)

    @property
    def there(self) -> np.ndarray:
        """Say at which moments all objects were where they should be, bool [T + 1]."""
        near = (self.distance < NEAR_M).all(axis=1)
        if self.yaw_rad is not None:
            near[0] = False  # yaw is known after the first step
            near[1:] &= self.yaw_rad < NEAR_RAD
        return near


def trace(
    episode: Episode, interface: Spec, names: Sequence[str], goals: np.ndarray | None = None
) -> Trace:
    """Read a trace of the objects ``names``; ``goals`` [M, 3] are those of the first one.

    An object whose episode ended before them stays where it was. Without ``goals``, they are what
    the state shows, and an error of yaw is what the reward term says.
    """
    spec, state = interface.observations["state"], episode.observations["state"]
    places = np.stack([state[:, spec.index(f"{name}_pos")] for name in names], axis=1)
    if goals is not None:
        missing = len(goals) - len(places)
        return Trace(np.pad(places, ((0, missing), (0, 0), (0, 0)), "edge"), goals[:, None])
    shown = np.stack([state[:, spec.index(f"goal_{name}_pos")] for name in names], axis=1)
    yaw = episode.reward_terms.get("goal_yaw")
    return Trace(places, shown, None if yaw is None else np.pi * (1 - yaw))


def goal_metrics(traces: Sequence[Trace]) -> dict[str, Any]:
    """Sum up episodes with goals that stay.

    ``success``: share of the episodes at whose end all objects are there, with its 95% Wilson
    ``interval``; ``reached``: share of those in which they were there at any time, and
    ``steps_to_reach``, the median of the first such step. Distances are means over the objects.
    """
    successes = int(sum(t.there[-1] for t in traces))
    first = [int(t.there.argmax()) for t in traces if t.there.any()]
    final = np.array([t.distance[-1].mean() for t in traces])
    return {
        "success": successes / len(traces),
        "interval": list(wilson_interval(successes, len(traces))),
        "reached": len(first) / len(traces),
        "steps_to_reach": float(np.median(first)) if first else None,
        "start_distance_m": float(np.mean([t.distance[0].mean() for t in traces])),
        "final_distance_m": float(final.mean()),
        "final_distance_interval_m": mean_interval(final),
        "episodes": len(traces),
    }


def following_metrics(traces: Sequence[Trace], waiting: int) -> dict[str, Any]:
    """Sum up episodes with a goal that moves after ``waiting`` steps.

    ``error_m`` is the mean distance from the goal since then, ``plane_error_m`` without heights;
    ``still_error_m`` that of an object which stays where it was at the beginning.
    """
    errors = np.array([t.distance[waiting:].mean() for t in traces])
    aside = [np.linalg.norm((t.places - t.goals)[waiting:, :, :2], axis=-1).mean() for t in traces]
    still = [np.linalg.norm(t.places[0] - t.goals[waiting:], axis=-1).mean() for t in traces]
    return {
        "error_m": float(errors.mean()),
        "error_interval_m": mean_interval(errors),
        "plane_error_m": float(np.mean(aside)),
        "still_error_m": float(np.mean(still)),
        "episodes": len(traces),
    }


def mean_interval(values: np.ndarray) -> list[float]:
    """Give the 95% interval of the mean of values [M], as if it were normal."""
    half = 1.96 * values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.inf
    return [float(values.mean() - half), float(values.mean() + half)]


# picture


def draw_traces(traces: Sequence[Trace], title: str, period_s: float, path: Path) -> None:
    """Draw the largest distance over time, and the paths of the first episodes from above."""
    figure = Figure(figsize=(11, 5), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    _draw_distances(left, [t.distance.max(axis=1) for t in traces], period_s)
    for t in traces[:SHOWN_PATHS]:
        _draw_paths(right, t)
    right.set(xlabel="x, m", ylabel="y, m", aspect="equal")
    shown = min(SHOWN_PATHS, len(traces))
    right.set_title(
        f"{shown} episodes from above: o start, x goal, dotted: missing",
        fontsize=10, loc="left",
    )  # fmt: skip
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    figure.savefig(path, dpi=110)


def _draw_distances(axes: Any, distances: Sequence[np.ndarray], period_s: float) -> None:
    longest = max(map(len, distances))
    whole = np.stack([np.pad(d, (0, longest - len(d)), mode="edge") for d in distances])
    time = period_s * np.arange(longest)
    axes.plot(time, whole.T, color=PALE, linewidth=0.6)
    axes.plot(time, np.median(whole, axis=0), color=COLOURS[0], linewidth=2, label="median")
    axes.axhline(NEAR_M, color=BLACK, linestyle=":", linewidth=1, label=f"{NEAR_M} m")
    axes.set(xlabel="time, s", ylim=(0, None))
    axes.set_title(
        "distance from the goal, m (the largest of the objects')", fontsize=10, loc="left"
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)


def _draw_paths(axes: Any, t: Trace) -> None:
    for k in range(t.places.shape[1]):
        colour, way, goal = COLOURS[k % len(COLOURS)], t.places[:, k], t.goals[:, k]
        axes.plot(goal[:, 0], goal[:, 1], color=BLACK, linewidth=1)  # of a goal that moves
        axes.plot(way[:, 0], way[:, 1], color=colour, linewidth=1)
        axes.plot(*way[0, :2], "o", color=colour, ms=4)
        axes.plot(*goal[-1, :2], "x", color=colour, ms=6)
        axes.plot(*np.stack([way[-1], goal[-1]])[:, :2].T, ":", color=colour, linewidth=0.8)
