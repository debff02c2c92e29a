"""What skills are good for: goals, paths, rearrangement, and PPO over skills against PPO without.

    python benchmarks/skills_downstream.py [skills] [seeds] [steps] [task ...]

Prints JSON lines. ``skills`` are a run of ``slim_tabletop``, in whose name {seed} stands for the
seed; by default those of ``benchmarks/slim.py``, so that every seed has skills of its own. Every
task is a launch file; ``steps`` are the control steps that PPO may learn from, with skills
(``..._skills``: those within a held skill count) and without (``..._scratch``), on the same
environment and reward. "curve" is the share of the episodes that end in success while learning,
over control steps, as means of WINDOW updates; ``steps_to_80`` is where it first is 80%. The curves
are drawn as ``runs/benchmarks/skills_downstream.png``. What has been measured is not measured
again: ``swept``.
"""

import json
import sys
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from swept import FOLDER, commit, known, runs_of, settings

from robolearn.comparing.scores import read_summary
from robolearn.viz.curves import read_curve, smooth

SCRATCH = (
    "skills=null",  # and PPO's settings at the pace of control steps
    "ppo.gamma=0.97", "ppo.minibatch=1600", "ppo.initial_std=0.4", "ppo.entropy_weight=0.003",
)  # fmt: skip
TASKS: dict[str, tuple[str, tuple[str, ...]]] = {  # name -> launch file, overrides
    "reach": ("skills_reach", ()),
    "follow": ("skills_follow", ()),
    "rearrange_two": ("skills_rearrange", ()),
    "rearrange_three": ("skills_rearrange_three", ()),
    "position_skills": ("skills_position", ()),
    "position_scratch": ("skills_position", SCRATCH),
    "pose_skills": ("skills_pose", ()),
    "pose_scratch": ("skills_pose", SCRATCH),
}
LEARNT = ("position_skills", "position_scratch", "pose_skills", "pose_scratch")
FIRST_SEED = 10  # as in ``benchmarks/slim.py``
WINDOW, POINTS = 5, 100  # updates that are averaged, points of a curve that are kept
COLOURS = {"skills": "#2e86ab", "scratch": "#e07a1f"}


def row(task: str, seed: int, skills: str, directory: Path) -> dict:
    """Say what a run came to."""
    found = {"task": task, "seed": seed, "skills": skills, "commit": commit(directory)}
    found |= read_summary(directory)
    return found | curve(directory / "metrics.jsonl") if task in LEARNT else found


def curve(metrics: Path) -> dict:
    """Give success while learning over control steps, and when it was 80%."""
    steps, success = read_curve(metrics, "success")
    mean = smooth(success, WINDOW)
    arrived = np.flatnonzero(mean >= 0.8)
    kept = np.unique(np.linspace(0, len(steps) - 1, POINTS).astype(int))
    return {
        "curve": [[int(steps[i]), round(float(mean[i]), 3)] for i in kept],
        "steps_to_80": int(steps[arrived[0]]) if len(arrived) else None,
    }


def draw(rows: list[dict], path: Path) -> None:
    """Draw every seed's curve, and what skills do without learning as a level."""
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, goal in zip(figure.subplots(1, 2), ("position", "pose"), strict=True):
        for row in rows:
            task, _, method = row["task"].rpartition("_")
            if task == goal:
                axes.plot(*np.transpose(row["curve"]), color=COLOURS[method], label=method)
            if goal == "position" and row["task"] == "reach":
                axes.axhline(row["success"], color="#333333", ls=":", label="no learning")
        axes.set(xlabel="control steps", ylim=(0, 1))
        axes.set_title(f"{goal}: success at the end while learning", loc="left", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
        handles = dict(zip(*axes.get_legend_handles_labels()[::-1], strict=True))
        axes.legend(handles.values(), handles.keys(), frameon=False)
    figure.savefig(path, dpi=110)


def main(skills: str, seeds: int, steps: int, tasks: list[str]) -> None:
    """Measure every task with every seed."""
    rows = []
    for task in tasks:
        name, overrides = TASKS[task]
        line = [name, *([f"training.steps={steps}"] if task in LEARNT else [])]
        each = {
            str(seed): {"seed": seed, "skills": skills.format(seed=seed)} | settings(overrides)
            for seed in range(FIRST_SEED, FIRST_SEED + seeds)
        }
        swept = runs_of(line, f"skills_downstream/{steps}/{task}", conditions=each)
        for changes, directory in swept:
            rows.append(row(task, changes["seed"], changes["skills"], directory))
            print(json.dumps(rows[-1]), flush=True)
    if any("curve" in row for row in rows):
        draw(rows, FOLDER / "skills_downstream.png")


if __name__ == "__main__":
    defaults = ["runs/benchmarks/slim/3000000/slim-{seed}", "3", "1000000"]
    skills, seeds, steps, *tasks = [*sys.argv[1:], *defaults[len(sys.argv) - 1 :]]
    main(skills, int(seeds), int(steps), known(tasks, TASKS))
