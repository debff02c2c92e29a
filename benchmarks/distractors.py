"""Frames a second with something moving behind the robot, on one core.

Prints one JSON line per task and backdrop, clean frames first:

    python benchmarks/distractors.py [--videos FOLDER] [--rounds 15] [--frames 50] [--size 64]

``frames_per_s`` is of what is observed; the step that leads to it is not timed, but every 25th
frame begins another piece of a video, twice as often as in an episode, and that is. Without
``--videos`` three are written first, 250 frames of 288 x 352 each; they are read in a first round
that does not count. The bar is 400 at 64 x 64 with a video behind (robosuite's meshes allow some 60
with nothing behind).
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

import sim
from sim.rendering.gl import backend_name

TASKS = {
    "dmc/cartpole-swingup": "fixed",
    "dmc/walker-walk": "side",
    "dmc/cheetah-run": "side",
    "dmc/reacher-easy": "fixed",
    "robosuite/Lift": "frontview",
}


def main() -> None:
    """Measure every task, backdrops in turn."""
    arguments = _arguments()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as folder:
        videos = arguments.videos or _written(Path(folder))
        for task, camera in TASKS.items():
            measure(task, camera, videos, arguments.rounds, arguments.frames, arguments.size)


def measure(task: str, camera: str, videos: str, rounds: int, frames: int, size: int) -> None:
    """Time what is observed of moving states of one task; print the results."""
    looks = {"cameras": (camera,), "image_size": (size, size)}
    behind = {"nothing": None, "video": videos, "noise": "noise", "agent": "agent"}
    envs = {
        name: sim.make(task, **looks, distractors=None if video is None else {"video": video})
        for name, video in behind.items()
    }
    rates: dict[str, list[float]] = {name: [] for name in envs}
    for round_ in range(1 + rounds):  # the first makes the GL context and reads the videos
        for name, env in envs.items():
            env.reset(seed=round_)
            rates[name].append(_frames_per_second(env, frames))
    for name, found in rates.items():
        spread = [round(v) for v in np.percentile(found[1:], [10, 90])]
        row = {"task": task, "behind": name, "frames_per_s": round(statistics.median(found[1:]))}
        row |= {"p10_p90": spread, "size": size, "cores": 1, "backend": backend_name()}
        print(json.dumps(row), flush=True)
    for env in envs.values():
        env.close()


def _frames_per_second(env: object, frames: int) -> float:
    """Observe so many different states."""
    seconds, images = 0.0, env._images
    rng = np.random.default_rng(0)
    for _ in range(frames):
        env.step(rng.uniform(-1, 1, env.action_space.shape).astype(np.float32))
        begin = time.perf_counter()
        if images.backdrop is not None:
            images.backdrop.advance()  # else the step has begun the next piece already
        images.observe()
        seconds += time.perf_counter() - begin
    return frames / seconds


def _written(folder: Path) -> str:
    """Write three videos in which blurred noise moves; give their folder."""
    for seed in range(3):
        rng = np.random.default_rng(seed)
        still = cv2.GaussianBlur(rng.integers(0, 255, (288, 602, 3)).astype(np.uint8), (0, 0), 5)
        codec = cv2.VideoWriter_fourcc(*"MJPG")
        writer = cv2.VideoWriter(str(folder / f"{seed}.avi"), codec, 25, (352, 288))
        for first in range(250):
            writer.write(np.ascontiguousarray(still[:, first : first + 352]))
        writer.release()
    return str(folder)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--frames", type=int, default=50)
    parser.add_argument("--size", type=int, default=64)
    return parser.parse_args()


if __name__ == "__main__":
    main()
