"""How long it takes on one core to calibrate the paper's measure on one operator's demonstrations.

    python benchmarks/calibrating.py [--least-of 3]

Prints a JSON line for each size of a base: seconds of one core's time, the least of so many, as
what else runs on the machine slows it down. Demonstrations are drawn: how long it takes depends on
their sizes alone.
"""

import argparse
import json
import time

import numpy as np
import torch

from robolearn.judging.calibration import calibrate

SIZES = ((20, 60, 23, 7), (30, 60, 23, 7), (19, 270, 28, 8))  # demonstrations, T, O, A


def main() -> None:
    """Print the time of each size."""
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--least-of", type=int, default=3)
    repeated = parser.parse_args().least_of
    for count, steps, entries, actions in SIZES:
        base = drawn(count, steps, entries, actions)
        about = {"demonstrations": count, "steps": steps, "entries": entries, "actions": actions}
        seconds = min(calibration_s(*base) for _ in range(repeated))
        print(json.dumps(about | {"calibrate_s": round(seconds, 1)}), flush=True)


def drawn(
    count: int, steps: int, entries: int, actions: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Draw states [T, O] that wander, and the actions [T, A] by which their first entries do."""
    rng = np.random.default_rng(0)
    moves = [np.clip(0.5 * rng.normal(size=(steps, entries)), -1, 1) for _ in range(count)]
    return [0.1 * m.cumsum(axis=0) for m in moves], [m[:, :actions] for m in moves]


def calibration_s(observations: list[np.ndarray], actions: list[np.ndarray]) -> float:
    """Give the seconds of a core that a calibration takes."""
    begin = time.process_time()
    calibrate(observations, actions)
    return time.process_time() - begin


if __name__ == "__main__":
    main()
