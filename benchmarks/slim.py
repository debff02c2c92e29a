"""SLIM's variants on a cube, side by side: what is covered, lifted and violated.

    python benchmarks/slim.py [seeds] [steps] [variant ...]

Prints JSON lines. Every variant is ``launch/slim_tabletop.yaml`` with the overrides below, the same
steps, and the weights at the end of the training. Names: a stream and a factor multiply the unit
of that stream's reward, ``single_`` has one critic on the weighted sum; ``single_tuned`` is the
best of TRIALS sets of weights on a seed of their own, and says which.
"""

import itertools
import json
import sys
import tempfile
import time
from pathlib import Path

from robolearn import launch

STREAMS = ("reach", "discovery", "safety")
SINGLE = ("slim.critics=sum",)
METRIC = ("slim.discovery=metric", "slim.skill={entries: [cube_pos], weights: [1.0, 1.0, 2.0]}")
OWN_UNITS = "slim.skill={entries: [cube_pos], skills: 3, smallest_spread: null}"
DIAYN = ("slim.discovery=diayn", "slim.skill={entries: [cube_pos], skills: 16}")
VARIANTS: dict[str, tuple[str, ...]] = {
    "slim": (),
    "slim_metric": METRIC,
    "single": SINGLE,
    "single_metric": (*SINGLE, *METRIC),
    "discovery_only": ("slim.weights={discovery: 1.0}",),
    "no_reach": ("slim.weights={discovery: 1.0, safety: 1.0}",),
    "no_safety": ("slim.weights={reach: 1.0, discovery: 1.0}",),
    "diayn": DIAYN,
    "lsd": ("slim.discovery=lsd", OWN_UNITS),
    "metra": ("slim.discovery=metra", OWN_UNITS),
}
for _stream, _factor in itertools.product(STREAMS, (0.1, 10.0)):
    _units = f"slim.units={{{_stream}: {_factor}}}"
    VARIANTS[f"{_stream}_x{_factor:g}"] = (_units,)
    VARIANTS[f"single_{_stream}_x{_factor:g}"] = (*SINGLE, _units)
# Weights of reach, discovery and safety; only their ratios matter to one critic.
TRIALS = tuple(itertools.product((0.3, 1.0), (3.0, 10.0, 30.0), (0.1, 0.3, 1.0)))
SEARCH_SEED = 1000


def measure(variant: str, overrides: tuple[str, ...], seed: int, steps: int, folder: str) -> dict:
    """Run the launch file with overrides and give a row."""
    out = f"{folder}/{variant}-{seed}"
    line = [*overrides, f"training.steps={steps}", f"seed={seed}", f"out={out}"]
    begin = time.monotonic()
    launch.execute(launch.read(launch.find("slim_tabletop"), line))
    summary = json.loads((Path(out) / "summary.json").read_text())
    kept = ("steps", "coverage", "final_coverage", "lift_share", "violations_per_episode")
    return {
        "variant": variant,
        "seed": seed,
        **{name: summary[name] for name in kept},
        "wall_s": round(time.monotonic() - begin, 1),
    }


def tuned(steps: int, folder: str) -> tuple[str, ...]:
    """Search weights of a single critic; give the overrides with the most coverage and lifts."""

    def score(numbered: tuple[int, tuple[str, ...]]) -> float:
        i, overrides = numbered
        row = measure(f"single_trial_{i}", overrides, SEARCH_SEED, steps, folder)
        print(json.dumps({**row, "overrides": overrides}), flush=True)
        return row["coverage"] + row["lift_share"]

    trials = [
        (*SINGLE, "slim.weights=" + json.dumps(dict(zip(STREAMS, weights, strict=True))))
        for weights in TRIALS
    ]
    return max(enumerate(trials), key=score)[1]


def main(seeds: int, steps: int, names: list[str]) -> None:
    """Measure every variant with every seed, one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        variants = {name: VARIANTS[name] for name in names if name in VARIANTS}
        if "single_tuned" in names:
            variants["single_tuned"] = tuned(steps, folder)
        for seed in range(seeds):
            for name, overrides in variants.items():
                row = measure(name, overrides, seed, steps, folder)
                print(json.dumps(row), flush=True)


if __name__ == "__main__":
    seeds, steps, *names = [*sys.argv[1:], *["5", "5000000"][len(sys.argv) - 1 :]]
    main(int(seeds), int(steps), names or [*VARIANTS, "single_tuned"])
