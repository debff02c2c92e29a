"""Updates a second of Dreamer and InfoPower by size, device and precision.

    python benchmarks/world_updates.py [--sizes small paper] [--learners dreamer infopower]
                                       [--device cpu] [--rounds 10] [--compiled]

Prints a JSON line for each learner and size: world model, policy and value from images of 64 x 64,
on one thread of a processor or on a GPU. All settings take turns, an update at a time; a figure is
the median over the rounds, a ``ratio`` (of bfloat16, or compiled, to float32) the median of the
rounds' own ratios with its quartiles. What is made in the first update does not count.
"""

import argparse
import dataclasses
import json
import statistics
import time

import numpy as np
import torch

from robolearn.algos.dreamer import Dreamer, DreamerConfig, DreamingConfig
from robolearn.algos.infopower import InfoPower, InfoPowerConfig
from robolearn.loops.collecting import on_device
from robolearn.networks.world import SIZES, Sizes
from robolearn.types import ArraySpec, Spec

ACTIONS = 1
LEARNERS: dict[str, tuple[type[Dreamer], DreamingConfig]] = {
    "dreamer": (Dreamer, DreamerConfig()),
    "infopower": (InfoPower, InfoPowerConfig()),
}
EYE = Spec("benchmark", {"eye": ArraySpec((64, 64, 3), "uint8")}, ArraySpec((ACTIONS,)), 0.1)


def batch(rng: np.random.Generator, sizes: Sizes) -> dict:
    """Draw sequences of noise."""
    shape = (sizes.batch, sizes.length)
    images = rng.integers(0, 256, (*shape, 64, 64, 3), dtype=np.uint8)
    return {
        "observations": {"eye": torch.from_numpy(images)},
        "actions": torch.from_numpy(rng.uniform(-1, 1, (*shape, ACTIONS)).astype(np.float32)),
        "rewards": torch.from_numpy(rng.uniform(size=shape).astype(np.float32)),
        "terminated": torch.zeros(shape, dtype=torch.bool),
        "is_first": torch.zeros(shape, dtype=torch.bool),
    }


def took_s(learner: Dreamer, rows: dict) -> float:
    """Give the seconds of an update, by the clock."""
    begun = time.perf_counter()
    learner.update(on_device(rows, learner.device))  # which waits for what it tells
    return time.perf_counter() - begun


def measured(name: str, size: str, device: str, settings: dict[str, dict], rounds: int) -> dict:
    """Let all settings take turns; give a row."""
    kind, config = LEARNERS[name]
    learners = {
        s: kind(EYE, dataclasses.replace(config, size=size, **changes), device=device)
        for s, changes in settings.items()
    }
    rng, took = np.random.default_rng(0), []
    for _ in range(rounds + 1):
        rows = batch(rng, SIZES[size])
        took.append({s: took_s(learner, rows) for s, learner in learners.items()})
    del took[0]
    plain, *others = ([one[s] for one in took] for s in settings)
    row: dict = {"learner": name, "size": size, "device": device, "rounds": rounds}
    row["updates_per_s"] = {"float32": round(1 / statistics.median(plain), 2)}
    for setting, mine in zip(list(settings)[1:], others, strict=True):
        ratios = [p / m for p, m in zip(plain, mine, strict=True)]
        row["updates_per_s"][setting] = round(1 / statistics.median(mine), 2)
        row[f"ratio_{setting}"] = [round(q, 2) for q in statistics.quantiles(ratios, n=4)]
    return row


def main() -> None:
    """Print a row for each learner and size."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", nargs="+", default=["small"], choices=list(SIZES))
    parser.add_argument("--learners", nargs="+", default=list(LEARNERS), choices=list(LEARNERS))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--compiled", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    settings: dict[str, dict] = {"float32": {}, "bfloat16": {"precision": "bfloat16"}}
    if arguments.compiled:
        settings["compiled"] = {"compiled": True}
        settings["both"] = {"compiled": True, "precision": "bfloat16"}
    for size in arguments.sizes:
        for name in arguments.learners:
            row = measured(name, size, arguments.device, settings, arguments.rounds)
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
