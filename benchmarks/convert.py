"""How long do conversions take, and how much memory? A row for each, as JSON.

    python benchmarks/convert.py [EPISODES [CAMERA_EPISODES [HEIGHT WIDTH]]]
    python benchmarks/keep.py convert -- python benchmarks/convert.py

State: 1,000 episodes of 150 steps, a state of 32 entries, 7 action entries, 20 Hz, from each format
to each. Cameras: 50 episodes of 100 steps with two cameras, moving pictures with noise, into
LeRobot's video and back. Every conversion is a process of its own, on one core; ``peak_mib`` is its
largest resident size, all imports in it. ``times_real`` is recorded time over time taken.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

STEPS, HZ, ENTRIES, ACTIONS = 150, 20, 32, 7
CAMERA_STEPS, CAMERAS = 100, ("front", "wrist")
FORMATS = {"robomimic": "x.hdf5", "lerobot": "lerobot", "minari": "minari", "robolearn": "again"}


def main() -> None:
    """Make the datasets, convert them, print the rows."""
    if sys.argv[1:2] == ["--one"]:
        one(*sys.argv[2:])
        return
    given = [int(a) for a in sys.argv[1:]]
    episodes, camera_episodes, height, width = (*given, *(1000, 50, 240, 320)[len(given) :])
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        make(base / "state", episodes)
        for kind, name in FORMATS.items():
            row("state", base / "state", base / name, kind, episodes * STEPS / HZ)
            if kind != "robolearn":
                seconds = episodes * STEPS / HZ
                row("state", base / name, base / f"back_{kind}", "robolearn", seconds)
        make(base / "cameras", camera_episodes, (height, width))
        seconds = camera_episodes * CAMERA_STEPS / HZ
        size = {"cameras": len(CAMERAS), "size": [height, width]}
        row("cameras", base / "cameras", base / "video", "lerobot", seconds, **size)
        row("cameras", base / "video", base / "back_video", "robolearn", seconds, **size)


def row(what: str, source: Path, target: Path, kind: str, seconds: float, **more) -> None:
    """Convert in a process of its own, and print what it took."""
    command = [sys.executable, __file__, "--one", str(source), str(target), kind]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    found = json.loads(result.stdout.splitlines()[-1])
    found["times_real"] = round(seconds / found["seconds"], 1)
    print(
        json.dumps({"what": what, "source": source.name, "to": kind, **more, **found}), flush=True
    )


def one(source: str, target: str, kind: str) -> None:
    """Convert on one core; print seconds, megabytes and episodes."""
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[-1]})
    from demos.formats.convert import ConvertConfig, convert

    begun, processor = time.monotonic(), time.process_time()
    done = convert(source, target, ConvertConfig(format=kind))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found = {
        "seconds": round(time.monotonic() - begun, 1),
        "processor_seconds": round(time.process_time() - processor, 1),
        "peak_mib": round(peak),
        "episodes": done.episodes,
        "steps": done.steps,
    }
    print(json.dumps(found))


def make(path: Path, episodes: int, size: tuple[int, int] | None = None) -> None:
    """Write a dataset of ours of random walks, with moving pictures if there is a ``size``."""
    from demos.data.dataset import Dataset
    from robolearn.types import ArraySpec, Episode, Spec

    cameras = {name: ArraySpec((*size, 3), "uint8") for name in CAMERAS} if size else {}
    steps = CAMERA_STEPS if size else STEPS
    observations = {"state": ArraySpec((ENTRIES,)), **cameras}
    spec = Spec("test/Walk", observations, ArraySpec((ACTIONS,)), 1 / HZ)
    dataset, rng = Dataset.create(path, spec), np.random.default_rng(0)
    for _ in range(episodes):
        walk = rng.normal(size=(steps + 1, ENTRIES)).cumsum(axis=0).astype(np.float32)
        frames = {name: pictures(rng, steps + 1, size) for name in cameras}
        actions = rng.uniform(-1, 1, (steps, ACTIONS)).astype(np.float32)
        rewards = np.zeros(steps, np.float32)
        dataset.append(Episode({"state": walk, **frames}, actions, rewards, True, False, True))
    dataset.flush()


def pictures(rng: np.random.Generator, steps: int, size: tuple[int, int]) -> np.ndarray:
    """Draw a bright square that moves over a shaded ground, with a camera's noise."""
    height, width = size
    ground = np.linspace(30, 200, width)[None, :, None] + np.linspace(0, 40, height)[:, None, None]
    frames = np.empty((steps, height, width, 3), np.uint8)
    for t in range(steps):
        image = ground + rng.normal(0, 2, (height, width, 3))
        x = int((width - 60) * (0.5 + 0.5 * np.sin(t / 15)))
        image[height // 3 : height // 3 + 60, x : x + 60] = (230, 60, 40)
        frames[t] = np.clip(image, 0, 255)
    return frames


if __name__ == "__main__":
    main()
