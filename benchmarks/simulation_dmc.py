"""Environment steps per second of dm_control's tasks: batches against plain loops.

All play the same actions, resets, observations, rewards and success counted, in turn within one
run; the medians over the rounds are printed as one JSON line each, and then what the batches make
of the two loops' rates:

    python benchmarks/simulation_dmc.py [--rounds 9] [--seconds 2] [--batch 32] [--tasks T,...]

``plain`` is one process per processor that steps a ``sim.make`` environment in a loop,
``dm_control`` the same with dm_control's own environment. ``ours`` is ``sim.make_vec``, formulas on
arrays with as many threads; ``processes`` a batch over as many worker processes, which is what a
task without formulas gets. All plain processes run at once; their rates are summed.
"""

import argparse
import itertools
import json
import os
import statistics
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from dm_control import suite
from stepping import Batch, Plain, serve

import sim
from sim.vector.processes import ProcessVectorEnv, Workers

TASKS = ("walker-walk", "cheetah-run")


def main() -> None:
    """Measure every task."""
    arguments = _arguments()
    for task in arguments.tasks:
        for row in measure(task, arguments.rounds, arguments.seconds, arguments.batch):
            print(json.dumps(row), flush=True)


def measure(task: str, rounds: int, seconds: float, n: int) -> list[dict[str, Any]]:
    """Give the rates of all engines on one task, measured in turn, and the batches' shares."""
    cores = len(os.sched_getaffinity(0))
    engines = {
        (name, count): engine
        for count in sorted({1, cores})
        for name, engine in (
            ("dm_control", Plain(own_loop, task, count)),
            ("plain", Plain(our_loop, task, count)),
            ("ours", Batch(sim.make_vec(f"dmc/{task}", n, threads=count))),
            ("processes", Batch(ProcessVectorEnv(Workers(f"dmc/{task}", n, count, {})))),
        )
    }
    rates: dict[tuple[str, int], list[float]] = {key: [] for key in engines}
    for _ in range(rounds):
        for key, engine in engines.items():
            rates[key].append(engine(seconds))
    for engine in engines.values():
        engine.close()
    medians = {key: statistics.median(values) for key, values in rates.items()}
    rows = [
        {"env": task, "robot": "", "engine": engine, "threads": threads,
         "steps_per_s": round(rate)}
        for (engine, threads), rate in medians.items()
    ]  # fmt: skip
    share = {"env": task, "threads": cores, "batch": n, "rounds": rounds}
    for batch, loop in itertools.product(("ours", "processes"), ("plain", "dm_control")):
        ratios = np.divide(rates[batch, cores], rates[loop, cores])
        share[f"{batch}_over_{loop}"] = round(float(np.median(ratios)), 3)
    return [*rows, share]


def our_loop(task: str, pipe: Connection) -> None:
    """Step a ``sim.make`` environment whenever asked."""
    env = sim.make(f"dmc/{task}")
    env.reset(seed=0)

    def step(action: np.ndarray) -> None:
        _, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            env.reset()

    serve(step, env.action_space.shape, pipe)


def own_loop(task: str, pipe: Connection) -> None:
    """Step dm_control's own environment whenever asked; it resets itself."""
    env = suite.load(*task.split("-"), task_kwargs={"random": 0})
    env.reset()
    serve(env.step, env.action_spec().shape, pipe)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--tasks", type=lambda text: text.split(","), default=list(TASKS))
    return parser.parse_args()


if __name__ == "__main__":
    main()
