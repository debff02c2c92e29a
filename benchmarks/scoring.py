"""How long one step's compatibility score takes on one core, for the paper's ensemble.

    python benchmarks/scoring.py [steps]

Prints JSON lines: 50th and 99th percentile in milliseconds of (L, N, M) for one state and action,
5 members of 2 x 1024 units, for the compiled function and, in turn within the same run, for plain
batched torch. ``wall`` is what a control loop waits; ``cpu`` leaves out the time in which other
processes had the core.
"""

import json
import sys
import time

import numpy as np
import torch

from robolearn.algos.bc import BCConfig, BehaviorCloning
from robolearn.algos.compatibility import Scale, compatibility, error, novelty
from robolearn.judging.judge import LiveScore
from robolearn.types import ArraySpec, Spec

STATE, ACTION = 23, 7  # the square nut's
SCALE = Scale(lam=0.1, eta=0.1, paper_lam=0.1, paper_eta=0.1, noise=0.02, gripper=0.1)


def percentiles(seconds: list[float]) -> dict[str, float]:
    """Give the median and the 99th percentile in milliseconds."""
    p50, p99 = np.percentile(np.array(seconds) * 1e3, [50, 99])
    return {"p50_ms": round(float(p50), 3), "p99_ms": round(float(p99), 3)}


def main(steps: int) -> None:
    """Time both ways, alternating, and print a line for each way and clock."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    spec = Spec("benchmark", {"state": ArraySpec((STATE,))}, ArraySpec((ACTION,)), period_s=0.05)
    policy = BehaviorCloning(spec, BCConfig())
    live = LiveScore(policy, SCALE, gripper=ACTION - 1)

    def plain(state: np.ndarray, action: np.ndarray) -> None:
        predictions = policy.predict(state[None])[..., :-1]
        L, N = error(predictions, action[None, :-1]), novelty(predictions)
        compatibility(L, N, SCALE.lam, SCALE.eta)

    ways = {"compiled": live.score_step, "torch": plain}
    clocks = {"wall": time.perf_counter, "cpu": time.thread_time}
    times: dict[tuple[str, str], list[float]] = {(w, c): [] for w in ways for c in clocks}
    for _ in range(steps):
        state = rng.normal(size=STATE).astype(np.float32)
        action = rng.uniform(-1, 1, ACTION).astype(np.float32)
        for way, function in ways.items():
            begin = {name: clock() for name, clock in clocks.items()}
            function(state, action)
            for name, clock in clocks.items():
                times[way, name].append(clock() - begin[name])
    for (way, clock), seconds in times.items():
        row = {"way": way, "clock": clock, "steps": steps, "members": 5, "widths": [1024, 1024]}
        print(json.dumps(row | percentiles(seconds)))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3000)
