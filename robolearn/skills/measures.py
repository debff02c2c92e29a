"""What skills do to an object: how much of the table they cover, if they lift, at what cost."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from robolearn.errors import UserError, nearest
from robolearn.settings import Settings
from robolearn.types import Episode, Spec, VectorEnvironment
from robolearn.viz.curves import RAW, read_curve, smooth

CURVES = {  # of every critic -> what it is called in a picture
    "reward": "reward of a step",
    "value": "value",
    "advantage_scale": "spread of the advantage",
    "gradient_share": "share of the gradient",
}
COLOURS = ("#2e86ab", "#e07a1f", "#3a9d5d", "#8b5fbf")


@dataclass(frozen=True)
class MeasureConfig(Settings):
    """How skills are measured. Raises UserError for a value out of range."""

    episodes: PositiveInt = 200
    """Each with a skill and a start of its own, which follow from the run's seed."""
    horizon: PositiveInt = 50
    """Longest episode, in control steps."""
    position: str = "cube_pos"
    """Entries of "state" that are the object's x, y, z, metres."""
    low_m: tuple[float, float] = (-0.2, -0.25)
    """Least x and y of the part of the table that the hand reaches."""
    high_m: tuple[float, float] = (0.2, 0.25)
    """Greatest x and y."""
    cell_m: PositiveFloat = 0.02
    """Edge of the cells that are counted."""
    violations: tuple[str, ...] = ()
    """Names of the reward terms that count violations."""
    recorded: NonNegativeInt = 3
    """How many of the first episodes the viewer shows, if there is one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if any(low >= high for low, high in zip(self.low_m, self.high_m, strict=True)):
            raise UserError(f"low_m: {self.low_m} is not below high_m, {self.high_m}")
        if self.cell_m > min(np.subtract(self.high_m, self.low_m)):
            raise UserError(f"cell_m: {self.cell_m} is more than the table from low_m to high_m")


def require_measurable(env: VectorEnvironment, config: MeasureConfig) -> None:
    """Raise UserError unless environments show what is measured; begins episodes, takes a step."""
    found = env.interface.observations["state"].index(config.position)
    if len(found) != 3:
        raise UserError(f"measure.position: '{config.position}' has {len(found)} entries, not 3")
    env.reset(seed=[0] * env.num_envs)
    *_, info = env.step(np.zeros((env.num_envs, *env.interface.action.shape), np.float32))
    for name in config.violations:
        if name not in (terms := info["reward_terms"]):
            known = [term for term in terms if not term.startswith("_")]
            raise UserError(f"measure.violations: no reward term '{name}'{nearest(name, known)}")


def coverage(points: np.ndarray, config: MeasureConfig) -> float:
    """Give the share of the cells in which any of the points [M, 2 or more] is, metres."""
    low, high = np.array(config.low_m), np.array(config.high_m)
    counts = np.round((high - low) / config.cell_m).astype(int)
    cells = np.floor((points[:, :2] - low) / config.cell_m).astype(int)
    inside = ((cells >= 0) & (cells < counts)).all(axis=1)
    return len(np.unique(cells[inside], axis=0)) / counts.prod()


def skill_metrics(
    episodes: Sequence[Episode], interface: Spec, config: MeasureConfig
) -> dict[str, Any]:
    """Sum up episodes, each with a skill of its own.

    ``coverage`` is that of the object's whole paths; beside it stand those of where they end
    (``final_coverage``) and where they began (``start_coverage``: what doing nothing gives).
    ``lift_share``: episodes with a success at any time. ``violations_per_episode``: name -> steps.
    """
    paths = _paths(episodes, interface, config)
    violations = {
        name: float(np.mean([episode.reward_terms[name].sum() for episode in episodes]))
        for name in config.violations
    }
    return {
        "coverage": coverage(np.concatenate(paths), config),
        "final_coverage": coverage(np.stack([path[-1] for path in paths]), config),
        "start_coverage": coverage(np.stack([path[0] for path in paths]), config),
        "lift_share": float(np.mean([episode.success for episode in episodes])),
        "violations_per_episode": violations,
        "episodes": len(episodes),
    }


def _paths(episodes: Sequence[Episode], interface: Spec, config: MeasureConfig) -> list[np.ndarray]:
    """Give the object's positions [T + 1, 3] in each episode, metres."""
    position = interface.observations["state"].index(config.position)
    return [episode.observations["state"][:, position] for episode in episodes]


def skill_paths(
    episodes: Sequence[Episode], interface: Spec, config: MeasureConfig
) -> tuple[list[np.ndarray], np.ndarray, list[str]]:
    """Give the object's paths [T + 1, 3], metres, colours uint8 [M, 3] of their skills, and labels.

    Colours are those of ``draw_skill_map``.
    """
    skills = _skills(episodes, interface)
    colours = colormaps["hsv"](_angle(skills) / (2 * np.pi) + 0.5, bytes=True)[:, :3]
    labels = ["z = " + ", ".join(f"{entry:.2f}" for entry in z) for z in skills]
    return _paths(episodes, interface, config), colours, labels


def _skills(episodes: Sequence[Episode], interface: Spec) -> np.ndarray:
    """Give the skills z [M, Z] of the episodes."""
    skill = interface.observations["state"].index("skill")
    return np.stack([episode.observations["state"][0, skill] for episode in episodes])


def _angle(skills: np.ndarray) -> np.ndarray:
    """Give the direction [M] of z's first two entries, radians; of a single entry z itself.

    Skills out of a number of them (one-hot z) are evenly spread.
    """
    if _one_hot(skills):
        return 2 * np.pi * skills.argmax(axis=1) / skills.shape[1] - np.pi
    return np.arctan2(skills[:, 1], skills[:, 0]) if skills.shape[1] > 1 else skills[:, 0]


def _one_hot(skills: np.ndarray) -> bool:
    return bool(((skills == 0) | (skills == 1)).all() and (skills.sum(axis=1) == 1).all())


# pictures


def draw_skill_map(
    episodes: Sequence[Episode], interface: Spec, config: MeasureConfig, title: str, path: Path
) -> None:
    """Draw where skills move the object: displacements coloured by the direction of z, and heights.

    Skills of more than two entries show their first two as the colour, the third below.
    """
    paths = _paths(episodes, interface, config)
    skills = _skills(episodes, interface)  # [M, Z]
    moved = np.stack([p[-1] - p[0] for p in paths])  # [M, 3]
    lifted = np.array([episode.success for episode in episodes])
    figure = Figure(figsize=(11, 5), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    _draw_displacements(left, moved, skills, lifted)
    heights = np.array([p[:, 2].max() - p[0, 2] for p in paths])
    _draw_heights(right, heights, skills, lifted)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    figure.savefig(path, dpi=110)


def _draw_displacements(
    axes: Any, moved: np.ndarray, skills: np.ndarray, lifted: np.ndarray
) -> None:
    axes.quiver(
        np.zeros(len(moved)), np.zeros(len(moved)), moved[:, 0], moved[:, 1], _angle(skills),
        cmap="hsv", clim=(-np.pi, np.pi), angles="xy", scale_units="xy", scale=1, width=0.003,
    )  # fmt: skip
    ends = moved[lifted]
    axes.plot(ends[:, 0], ends[:, 1], "o", mfc="none", mec="black", ms=6, label="lifted")
    reach = 1.05 * max(0.05, np.abs(moved[:, :2]).max())
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    axes.set(xlabel="x from the start, m", ylabel="y from the start, m")
    axes.set_title("displacement, coloured by the direction of z", fontsize=10)
    axes.legend(frameon=False)


def _draw_heights(axes: Any, heights: np.ndarray, skills: np.ndarray, lifted: np.ndarray) -> None:
    last, called = skills[:, -1], "last entry of z"
    if _one_hot(skills):
        last, called = skills.argmax(axis=1), "number of the skill"
    axes.plot(last[~lifted], heights[~lifted], ".", color=COLOURS[0], label="not lifted")
    axes.plot(last[lifted], heights[lifted], "o", mfc="none", mec="black", label="lifted")
    axes.set(xlabel=called, ylabel="greatest height above the start, m")
    axes.set_title(f"{lifted.mean():.0%} of {len(lifted)} skills lift", fontsize=10)
    axes.legend(frameon=False)


def draw_critics(metrics: Path, heads: Sequence[str], title: str, path: Path) -> None:
    """Draw what was logged for every critic over the steps, each in units of its own maximum.

    Shares of the gradient are as they are.
    """
    figure = Figure(figsize=(11, 6.5), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (what, called) in zip(figure.subplots(2, 2).flat, CURVES.items(), strict=True):
        for order, (head, colour) in enumerate(zip(heads, itertools.cycle(COLOURS))):
            steps, values = read_curve(metrics, f"{what}/{head}")
            largest = 1.0 if what == "gradient_share" else np.abs(values).max(initial=1e-12)
            label = head if what == "gradient_share" else f"{head} / {largest:.2g}"
            axes.plot(steps, values / largest, color=RAW, linewidth=0.7, zorder=1)
            mean = smooth(values / largest, max(1, len(values) // 50))
            axes.plot(steps, mean, color=colour, label=label, zorder=2 + order)
        axes.set_title(called, fontsize=10, loc="left")
        axes.xaxis.set_major_formatter(EngFormatter(sep=" "))  # 1.5 M
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    figure.savefig(path, dpi=110)
