"""How fast do environments collect in Ray's processes, beside this one on the same cores?

    python benchmarks/rollout_workers.py [ENVIRONMENTS [ROUNDS]]
    python benchmarks/keep.py rollout_workers -- python benchmarks/rollout_workers.py

Skills on the tabletop (``launch/slim_tabletop.yaml``), rollouts of 50 steps, no learning. By turns
some rollouts here, with as many threads as there are cores, and in as many workers of one core
each, to which weights are sent for each rollout. ``share`` is the workers' speed in this process's.
The last row has what a plan for more cores needs: ``weights_kb`` and ``rollout_mb`` go to and fro,
``call_ms`` is a call that does nothing, ``fetch_ms_mb`` what each MB takes that comes back,
``update_s`` what learning from the rollout takes here.
"""

import functools
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from demos.cluster.rollouts import Workers
from robolearn.algos.slim import SLIM
from robolearn.loops.collecting import WorkersConfig, on_device
from robolearn.loops.on_policy import Collector, OnlineConfig
from robolearn.running import launch
from robolearn.verbs.slim import _make

AT_ONCE = 8  # rollouts in a round of each
SENT = 20_000_000  # bytes


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
            print(json.dumps(costs(there, learner)))


def speed(collecting: Collector | Workers, learner: SLIM, environments: int) -> float:
    """Give control steps a second, of all environments together."""
    taken = timed(lambda: [collecting.rollout(learner, update) for update in range(AT_ONCE)])
    return AT_ONCE * 50 * environments / taken


def costs(there: Workers, learner: SLIM) -> dict[str, float]:
    """Measure messages and an update; medians of some, in one row."""
    rollout = there.rollout(learner, 0)
    weights = sum(tensor.nbytes for tensor in learner.state_dict().values())
    zeros = there._ray.remote(lambda count: np.zeros(count, np.uint8)).options(num_cpus=0)
    call_s, fetch_s = (
        float(np.median([timed(lambda n=n: there._ray.get(zeros.remote(n))) for _ in range(30)]))
        for n in (0, SENT)
    )
    batch = on_device(rollout, learner.device) | {"progress": 0.0}
    return {
        "weights_kb": round(weights / 1e3),
        "rollout_mb": round(size_of(rollout) / 1e6, 2),
        "call_ms": round(1e3 * call_s, 2),
        "fetch_ms_mb": round(1e3 * (fetch_s - call_s) / (SENT / 1e6), 3),
        "update_s": round(timed(lambda: learner.update(batch)), 2),
    }


def timed(call: Callable[[], object]) -> float:
    """Give the seconds that a call takes."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def size_of(rollout: dict) -> int:
    """Give the bytes of nested arrays."""
    return sum(
        size_of(value) if isinstance(value, dict) else np.asarray(value).nbytes
        for value in rollout.values()
    )


if __name__ == "__main__":
    main()
