"""What learning costs beside the simulation: SLIM's training on the tabletop.

    python benchmarks/training.py [steps]

Prints JSON lines, for a simulation on one thread and on two: control steps per second of the
training that ``launch/slim_tabletop.yaml`` describes, of the simulation alone, and the ratio of
both. After every update a second batch of environments goes through the same episodes with the same
actions, and nothing but its steps is counted. The first UNCOUNTED updates do not count.
"""

import contextlib
import json
import os
import sys
import time

import numpy as np
import torch

import sim
from robolearn.algos.slim import SLIM, prior
from robolearn.loops.on_policy import OnlineConfig, online
from robolearn.running import launch
from robolearn.skills.env import SkillEnv
from robolearn.types import VectorEnvironment
from robolearn.verbs.slim import SkillsConfig

UNCOUNTED = 10


class Recorded(SkillEnv):
    """Keeps its actions, for ``twin`` to repeat, which begins with the same seeds."""

    def __init__(self, twin: VectorEnvironment, *arguments):
        super().__init__(*arguments)
        self.twin = twin
        self.actions: list[np.ndarray] = []
        self.rewards: list[np.ndarray] = []

    def reset(self, *, seed=None, options=None):
        """Begin episodes; see ``SkillEnv``."""
        if options is None:
            self.twin.reset(seed=seed)
        return super().reset(seed=seed, options=options)

    def step(self, actions, *arguments, **options):
        """Apply actions; see ``SkillEnv``."""
        result = super().step(actions, *arguments, **options)
        self.actions.append(actions)
        self.rewards.append(result[1].copy())
        return result


class Clock:
    """Seconds of each update's training, and of the same steps in the twin alone."""

    def __init__(self, env: Recorded):
        self._env = env
        self.training: list[float] = []
        self.simulation: list[float] = []
        self._begun = time.perf_counter()

    def lap(self, *_) -> None:
        """Count an update that ended, then repeat its steps; RuntimeError if they differ."""
        self.training.append(time.perf_counter() - self._begun)
        begun = time.perf_counter()
        rewards = [self._env.twin.step(actions)[1].copy() for actions in self._env.actions]
        self.simulation.append(time.perf_counter() - begun)
        if not np.array_equal(rewards, self._env.rewards):
            raise RuntimeError("the simulation alone went other ways than in the training")
        self._env.actions, self._env.rewards = [], []
        self._begun = time.perf_counter()


def measure(config: SkillsConfig, steps: int, threads: int) -> dict:
    """Train with the simulation on some threads, and give a row."""
    n, horizon = config.environments, config.training.horizon
    skills = prior(config.slim)

    def batch() -> VectorEnvironment:
        return sim.make_vec(config.env.name, n, threads=threads, **config.env.options)

    with (
        contextlib.closing(batch()) as twin,
        contextlib.closing(Recorded(twin, batch(), skills.size, skills.draw)) as env,
    ):
        clock = Clock(env)
        never = steps  # a checkpoint would begin episodes that the twin does not know of
        online(
            SLIM(env.interface, config.slim), env, OnlineConfig(steps, horizon, never), seed=0,
            on_update=clock.lap,
        )  # fmt: skip
    training, simulation = sum(clock.training[UNCOUNTED:]), sum(clock.simulation[UNCOUNTED:])
    counted = len(clock.training[UNCOUNTED:]) * horizon * n
    return {
        "env": config.env.name,
        "n": n,
        "threads": threads,
        "training_steps_per_s": round(counted / training),
        "simulation_steps_per_s": round(counted / simulation),
        "share": round(simulation / training, 3),
    }


def main(steps: int) -> None:
    """Measure with one thread and with two."""
    torch.set_num_threads(1)
    config = launch.read(launch.find("slim_tabletop")).config
    for threads in (1, 2)[: len(os.sched_getaffinity(0))]:
        print(json.dumps(measure(config, steps, threads)), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 300_000)
