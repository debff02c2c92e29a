"""How fast do environments collect in Ray's processes, beside this one on the same cores?

    python benchmarks/rollout_workers.py [ENVIRONMENTS [ROUNDS]]
    python benchmarks/keep.py rollout_workers -- python benchmarks/rollout_workers.py

Skills on the tabletop (``launch/slim_tabletop.yaml``), rollouts of 50 steps, no learning. By turns
some rollouts here, with as many threads as there are cores, and in as many workers of one core
each, to which weights are sent for each rollout. ``share`` is the workers' speed in this process's;
``weights_kb`` and ``rollout_mb`` are what goes to and fro.
"""

import functools
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from demos.cluster.rollouts import Workers
from robolearn.algos.slim import SLIM
from robolearn.loops.on_policy import Collector, OnlineConfig, WorkersConfig
from robolearn.running import launch
from robolearn.verbs.slim import _make

AT_ONCE = 8  # rollouts in a round of each


def main() -> None:
    """Collect by turns, and print a row for each round."""
    given = [int(a) for a in sys.argv[1:]]
    environments, rounds = (*given, *(64, 6)[len(given) :])
    config = launch.read(launch.find("slim_tabletop")).config
    training, cores = OnlineConfig(horizon=50), len(os.sched_getaffinity(0))
    torch.set_num_threads(1)
    make = functools.partial(_make, config.env, slim=config.slim)
    here = Collector(make(environments, threads=cores), training)
    learner = SLIM(here.env.interface, config.slim)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "ray.txt"
        settings = WorkersConfig(count=cores)
        with Workers(settings, make, environments, learner, training, log) as there:
            for collecting in (here, there):
                collecting.begin(0, None)
                collecting.rollout(learner, 0)
            for number in range(rounds):
                local, remote = (speed(each, learner, environments) for each in (here, there))
                row = {"round": number, "environments": environments, "cores": cores}
                row |= {"here_steps_s": round(local), "workers_steps_s": round(remote)}
                print(json.dumps(row | {"share": round(remote / local, 3)}), flush=True)
            rollout = there.rollout(learner, 0)
    weights = sum(tensor.nbytes for tensor in learner.state_dict().values())
    sizes = {"weights_kb": round(weights / 1e3), "rollout_mb": round(size_of(rollout) / 1e6, 2)}
    print(json.dumps(sizes))


def speed(collecting: Collector | Workers, learner: SLIM, environments: int) -> float:
    """Give control steps a second, of all environments together."""
    begin = time.perf_counter()
    for update in range(AT_ONCE):
        collecting.rollout(learner, update)
    return AT_ONCE * 50 * environments / (time.perf_counter() - begin)


def size_of(rollout: dict) -> int:
    """Give the bytes of nested arrays."""
    return sum(
        size_of(value) if isinstance(value, dict) else np.asarray(value).nbytes
        for value in rollout.values()
    )


if __name__ == "__main__":
    main()
