"""What learning costs beside the simulation: SLIM's training on the tabletop.

    python benchmarks/training.py [steps]

Prints JSON lines, for a simulation on one thread and on two: control steps per second of the
training that ``launch/slim_tabletop.yaml`` describes, of the environments alone (the time spent in
their steps, in the same run), and the ratio of both. The first UNCOUNTED updates do not count.
"""

import contextlib
import json
import os
import sys
import time

import torch

import sim
from robolearn import launch
from robolearn.algos.slim import SLIM, prior
from robolearn.skill_env import SkillEnv
from robolearn.train_online import OnlineConfig, online
from robolearn.verbs.slim import SkillsConfig

UNCOUNTED = 10


class Timed(SkillEnv):
    """Counts the seconds that its steps take."""

    seconds = 0.0

    def step(self, *arguments, **options):
        """Apply actions; see ``SkillEnv``."""
        begun = time.perf_counter()
        result = super().step(*arguments, **options)
        self.seconds += time.perf_counter() - begun
        return result


def measure(config: SkillsConfig, steps: int, threads: int) -> dict:
    """Train with the simulation on some threads, and give a row."""
    n, horizon = config.environments, config.training.horizon
    batch = sim.make_vec(config.env.name, n, threads=threads, **config.env.options)
    skills = prior(config.slim)
    marks: list[tuple[float, float]] = []  # after each update: by the clock, and in the simulation
    with contextlib.closing(Timed(batch, skills.size, skills.draw)) as env:
        online(
            SLIM(env.interface, config.slim), env, OnlineConfig(steps, horizon), seed=0,
            on_update=lambda *_: marks.append((time.perf_counter(), env.seconds)),
        )  # fmt: skip
    (begun, before), (ended, after) = marks[UNCOUNTED], marks[-1]
    counted = (len(marks) - 1 - UNCOUNTED) * horizon * n
    return {
        "env": config.env.name,
        "n": n,
        "threads": threads,
        "training_steps_per_s": round(counted / (ended - begun)),
        "simulation_steps_per_s": round(counted / (after - before)),
        "share": round((after - before) / (ended - begun), 3),
    }


def main(steps: int) -> None:
    """Measure with one thread and with two."""
    torch.set_num_threads(1)
    config = launch.read(launch.find("slim_tabletop")).config
    for threads in (1, 2)[: len(os.sched_getaffinity(0))]:
        print(json.dumps(measure(config, steps, threads)), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 300_000)
