"""SLIM's variants on a cube, side by side: what is covered, lifted and violated.

    python benchmarks/slim.py [seeds] [steps] [variant ...]

Prints JSON lines. Every variant is ``launch/slim_tabletop.yaml`` with the overrides below, the same
steps, and the weights at the end of the training; ``wall_s`` is the training on one core, beside
another one on the other. Names: a stream and a factor multiply the unit of that stream's reward,
``single_`` has one critic on the weighted sum; factors of 8 round nothing, and with a critic each
they must change nothing at all; ``single_tuned`` is the best of TRIALS sets of weights, on a seed
of their own. ``diayn``, ``lsd`` and ``metra`` have no reward but discovery; their episodes begin as
all others do, some with the object at hand. What has been measured is not measured again:
``swept``. With all seeds of a variant and its scales there is a picture,
``runs/benchmarks/slim_scales.png``.
"""

import itertools
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from swept import FOLDER, commit, known, runs_of, settings, training_s

from robolearn.comparing.scores import read_summary

STREAMS = ("reach", "discovery", "safety")
SINGLE = ("slim.critics=sum",)
METRIC = ("slim.discovery=metric", "slim.skill={entries: [cube_pos], weights: [1.0, 1.0, 2.0]}")
OWN_UNITS = "slim.skill={entries: [cube_pos], skills: 3, smallest_spread: null}"
ALONE = "slim.weights={discovery: 1.0}"
DIAYN = ("slim.discovery=diayn", "slim.skill={entries: [cube_pos], skills: 16}")
VARIANTS: dict[str, tuple[str, ...]] = {
    "slim": (),
    "slim_metric": METRIC,
    "single": SINGLE,
    "no_safety": ("slim.weights={reach: 1.0, discovery: 1.0}",),
    "single_metric": (*SINGLE, *METRIC),
    "no_reach": ("slim.weights={discovery: 1.0, safety: 1.0}",),
    "discovery_only": (ALONE,),
    "diayn": (*DIAYN, ALONE),
    "lsd": ("slim.discovery=lsd", OWN_UNITS, ALONE),
    "metra": ("slim.discovery=metra", OWN_UNITS, ALONE),
}
FACTORS = (0.1, 10.0)
SCALES: dict[str, tuple[str, ...]] = {}
for _critics, _stream, _factor in itertools.product((SINGLE, ()), STREAMS, FACTORS):
    _name = f"{'single_' if _critics else ''}{_stream}_x{_factor:g}"
    SCALES[_name] = (*_critics, f"slim.units={{{_stream}: {_factor}}}")
EXACT = {f"{stream}_x8": (f"slim.units={{{stream}: 8.0}}",) for stream in STREAMS}
TUNED = "single_tuned"
FIRST_SEED = 10  # settings were chosen on seeds 0 and 1
# Weights of discovery and safety beside reach; the spreads of their advantages suggest 5 and 4.
TRIALS = tuple(itertools.product((1.0, 4.0, 15.0), (0.3, 1.0, 4.0)))
MOST_FORCE = 0.5  # steps an episode with force on the table, beyond which no trial is the best
SEARCH_SEED = 1000
COLOURS = {"slim": "#2e86ab", "single": "#e07a1f"}


def measure(variants: dict[str, Iterable[str]], seeds: range, steps: int) -> Iterator[dict]:
    """Run the launch file with overrides; give a row for every variant and seed."""
    line = ("slim_tabletop", f"training.steps={steps}")
    conditions = {variant: settings(overrides) for variant, overrides in variants.items()}
    swept = runs_of(line, f"slim/{steps}", seed=list(seeds), conditions=conditions)
    for changes, directory in swept:
        found = read_summary(directory)
        kept = (
            "steps",
            "coverage",
            "final_coverage",
            "start_coverage",
            "lift_share",
            "violations_per_episode",
        )
        yield {
            "variant": changes["label"],
            "seed": changes["seed"],
            **{key: found[key] for key in kept},
            "wall_s": training_s(directory),
            "commit": commit(directory),
        }


def tuned(steps: int) -> tuple[str, ...]:
    """Search weights of a single critic; give the overrides with the most coverage and lifts, of
    those that do little damage.
    """
    trials = {}
    for discovery, safety in TRIALS:
        weights = f"slim.weights={{reach: 1.0, discovery: {discovery}, safety: {safety}}}"
        trials[f"single_trial_{discovery:g}_{safety:g}"] = (*SINGLE, weights)
    rows = []
    for row in measure(trials, range(SEARCH_SEED, SEARCH_SEED + 1), steps):
        rows.append(row)
        print(json.dumps(row), flush=True)
    return trials[max(rows, key=_merit)["variant"]]


def _merit(row: dict) -> tuple[bool, float]:
    careful = row["violations_per_episode"]["table_force"] <= MOST_FORCE
    return careful, row["coverage"] + row["lift_share"]


def draw(rows: list[dict], path: Path) -> None:
    """Draw coverage and lifts of both kinds of critics under all scales, a mark for each seed."""
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    ticks = ["as it is", *(f"{stream} x{factor:g}" for stream in STREAMS for factor in FACTORS)]
    for axes, what in zip(figure.subplots(1, 2), ("coverage", "lift_share"), strict=True):
        for shift, (kind, colour) in zip((-0.13, 0.13), COLOURS.items(), strict=True):
            prefix = "single_" if kind == "single" else ""
            names = [kind, *(prefix + tick.replace(" ", "_") for tick in ticks[1:])]
            values = [[row[what] for row in rows if row["variant"] == name] for name in names]
            for x, found in enumerate(values):
                axes.plot([x + shift] * len(found), found, ".", color=colour, alpha=0.6)
                axes.plot(x + shift, np.mean(found), "_", color=colour, ms=14, mew=2)
            axes.axhspan(min(values[0]), max(values[0]), color=colour, alpha=0.1, lw=0)
            label = "a critic each" if kind == "slim" else "one critic of the sum"
            axes.plot([], [], "_", color=colour, ms=14, mew=2, label=label)
        axes.set_xticks(range(len(ticks)), ticks, rotation=30, ha="right")
        axes.set(ylim=(0, 1))
        axes.set_title(what.replace("_", " "), loc="left", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.suptitle("One reward in other units: a mark per seed, the mean, and the band of "
                    "rewards as they are", x=0.01, ha="left", fontsize=11)  # fmt: skip
    figure.savefig(path, dpi=110)


def main(seeds: int, steps: int, names: list[str]) -> None:
    """Measure every variant with every seed, all variants with one seed after the other."""
    variants = {name: (VARIANTS | SCALES | EXACT)[name] for name in names if name != TUNED}
    if TUNED in names:
        variants[TUNED] = tuned(steps)
    rows = []
    for row in measure(variants, range(FIRST_SEED, FIRST_SEED + seeds), steps):
        rows.append(row)
        print(json.dumps(row), flush=True)
    if {"slim", "single", *SCALES} <= set(names):
        draw(rows, FOLDER / "slim_scales.png")


if __name__ == "__main__":
    seeds, steps, *names = [*sys.argv[1:], *["5", "3000000"][len(sys.argv) - 1 :]]
    main(int(seeds), int(steps), known(names, [*VARIANTS, *SCALES, *EXACT, TUNED]))
