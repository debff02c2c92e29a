"""Does memory grow? Steps of batches and rounds of making and closing them, with resident memory.

    python benchmarks/memory.py [--steps 1000000] [--robosuite-steps 20000] [--rounds 20]

Prints JSON lines along the way, ``memory_mb`` being the resident memory of this process:

- ``steps``: so many environment steps of a pendulum (64 at once, episodes of 200 steps), and of
  robosuite's Lift (16 at once, episodes of 50 steps, so that resets count too).
- ``closed``: so many batches of two have been made, reset, stepped and closed, over several robots.

``mujoco_cache_mb`` is MuJoCo's cache of compiled meshes and textures, which grows with every new
robot up to a fixed limit (524 MB) and is no leak.
"""

import argparse
import itertools
import json
import resource
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

import sim
from sim.mujoco.task import MujocoTask

PENDULUM = Path(find_spec("dm_control").origin).parent / "suite" / "pendulum.xml"
ROBOTS = ("Panda", "UR5e", "Sawyer")
ROWS = 10  # printed for each batch


def main() -> None:
    """Measure both batches, then the rounds."""
    arguments = _arguments()
    task = MujocoTask(control_hz=25, horizon=200, observation=("qpos", "qvel"))
    watch_steps("pendulum", sim.make_vec(f"mujoco/{PENDULUM}", 64, task=task), arguments.steps)
    lift = sim.make_vec("robosuite/Lift", 16, horizon=50)
    watch_steps("robosuite/Lift", lift, arguments.robosuite_steps)
    watch_rounds("robosuite/Lift", arguments.rounds)


def watch_steps(name: str, envs: Any, steps: int) -> None:
    """Step a batch with random actions, so many environment steps in all, and close it."""
    rng = np.random.default_rng(0)
    shape = envs.action_space.shape
    envs.reset(seed=0)
    for row in range(ROWS + 1):
        report(env=name, environments=envs.num_envs, steps=row * (steps // ROWS))
        if row < ROWS:
            for _ in range(steps // ROWS // envs.num_envs):
                envs.step(rng.uniform(-1, 1, shape))
    envs.close()


def watch_rounds(name: str, rounds: int) -> None:
    """Make, use and close small batches of one robot after the other."""
    for closed, robot in enumerate(itertools.islice(itertools.cycle(ROBOTS), rounds), start=1):
        envs = sim.make_vec(name, 2, robot=robot)
        envs.reset(seed=closed)
        envs.step(np.zeros(envs.action_space.shape))
        envs.close()
        report(env=name, robot=robot, closed=closed)


def report(**row: Any) -> None:
    """Print one line."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    row["memory_mb"] = round(pages * resource.getpagesize() / 1e6, 1)
    row["mujoco_cache_mb"] = round(mujoco.mj_getCacheSize(mujoco.mj_getCache()) / 1e6, 1)
    print(json.dumps(row), flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=10**6)
    parser.add_argument("--robosuite-steps", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=20)
    return parser.parse_args()


if __name__ == "__main__":
    main()
