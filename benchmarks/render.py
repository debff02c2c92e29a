"""Frames per second of this project's renderer against dm_control's default, in one run, in turn.

Prints one JSON line per task and renderer, then one per task with the ratios of the medians:

    python benchmarks/render.py [--rounds 15] [--frames 20] [--size 64] [--batch 16]

``fast``, ``segmentation`` and ``all effects`` are this project's, in one process; ``batch`` is
``sim.make_vec`` with one worker per processor. Its frames contain the step that leads to them, and
its ratio is per worker.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable

import numpy as np

import sim
from sim.rendering.cameras import Cameras
from sim.rendering.gl import backend_name
from sim.vector.env import VectorEnv

TASKS = ("walker-walk", "cheetah-run", "quadruped-walk", "manipulator-bring_ball")


def main() -> None:
    """Measure every task."""
    arguments = _arguments()
    for task in TASKS:
        measure(task, arguments.rounds, arguments.frames, arguments.size, arguments.batch)


def measure(task: str, rounds: int, frames: int, size: int, n: int) -> None:
    """Time all renderers on moving frames of one task, alternating, and print the results."""
    env = sim.make(f"dmc/{task}")
    env.reset(seed=0)
    physics = env.dm_physics
    camera = env.model.camera(0).name
    fast = Cameras(env.model, env.data, [camera], (size, size), task, fast=True)
    full = Cameras(env.model, env.data, [camera], (size, size), task, fast=False)
    labels = Cameras(env.model, env.data, [f"{camera}_segmentation"], (size, size), task)
    workers = len(os.sched_getaffinity(0))
    batch = sim.make_vec(
        f"dmc/{task}", n, threads=workers, cameras=(camera,), image_size=(size, size)
    )
    batch.reset(seed=0)
    renderers: dict[str, Callable[[], object]] = {
        "dm_control default": lambda: physics.render(size, size, camera_id=0),
        "fast": fast.render,
        "segmentation": labels.render,
        "all effects": full.render,
    }
    rates: dict[str, list[float]] = {name: [] for name in [*renderers, "batch"]}
    for _ in range(1 + rounds):  # the first round makes the GL contexts
        for name, render in renderers.items():
            rates[name].append(_frames_per_second(env, render, frames))
        rates["batch"].append(_batch_frames_per_second(batch, -(-frames * len(renderers) // n)))
    medians = {name: statistics.median(values[1:]) for name, values in rates.items()}
    for name, median in medians.items():
        spread = [round(v) for v in np.percentile(rates[name][1:], [10, 90])]
        row = {"task": task, "renderer": name, "frames_per_s": round(median), "p10_p90": spread}
        print(json.dumps({**row, "size": size, "backend": backend_name()}), flush=True)
    ratios = {
        "fast_over_dm_control": medians["fast"] / medians["dm_control default"],
        "batch_worker_over_dm_control": medians["batch"] / workers / medians["dm_control default"],
    }
    row = {"task": task, "batch": n, "workers": workers}
    print(json.dumps(row | {k: round(v, 2) for k, v in ratios.items()}), flush=True)
    for opened in (fast, full, labels, batch, env):
        opened.close()


def _frames_per_second(env: object, render: Callable[[], object], frames: int) -> float:
    """Render ``frames`` different states; stepping is not timed."""
    seconds = 0.0
    for _ in range(frames):
        env.step(env.action_space.sample())
        begin = time.perf_counter()
        render()
        seconds += time.perf_counter() - begin
    return frames / seconds


def _batch_frames_per_second(batch: VectorEnv, steps: int) -> float:
    """Step all environments of a batch, and see them."""
    actions = [batch.action_space.sample() for _ in range(steps)]
    begin = time.perf_counter()
    for action in actions:
        batch.step(action)
    return steps * batch.num_envs / (time.perf_counter() - begin)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16)
    return parser.parse_args()


if __name__ == "__main__":
    main()
