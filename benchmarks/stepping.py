"""Engines that step environments for a while: processes with one each, and batches.

A benchmark asks several of them in turn, so that all meet the same machine.
"""

import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

import numpy as np

from sim.vector.env import VectorEnv

ACTIONS = 1000  # different actions, played again and again


class Plain:
    """Processes that step one environment each in a loop, all at once."""

    def __init__(self, loop: Callable[[str, Connection], None], task: str, count: int) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._pipes, self._processes = [], []
        for _ in range(count):
            ours, theirs = spawn.Pipe()
            self._pipes.append(ours)
            self._processes.append(spawn.Process(target=loop, args=(task, theirs), daemon=True))
            self._processes[-1].start()
        for pipe in self._pipes:
            pipe.recv()

    def __call__(self, seconds: float) -> float:
        """Give environment steps per second of all processes together."""
        for pipe in self._pipes:
            pipe.send(seconds)
        return sum(pipe.recv() for pipe in self._pipes)

    def close(self) -> None:
        """End the processes."""
        for pipe, process in zip(self._pipes, self._processes, strict=True):
            pipe.send(None)
            process.join()


class Batch:
    """A batch, which it takes over."""

    def __init__(self, envs: VectorEnv) -> None:
        self._envs, n = envs, envs.num_envs
        envs.reset(seed=0)
        shape = envs.single_action_space.shape
        actions = np.random.default_rng(0).uniform(-1, 1, (ACTIONS, 1, *shape))
        self._actions = np.repeat(actions, n, axis=1)
        self._at = 0

    def __call__(self, seconds: float) -> float:
        """Give environment steps per second."""
        return rate(self._step, seconds) * self._envs.num_envs

    def close(self) -> None:
        """End its threads or workers."""
        self._envs.close()

    def _step(self) -> None:
        self._envs.step(self._actions[self._at % ACTIONS])
        self._at += 1


def serve(step: Callable[[np.ndarray], object], shape: tuple[int, ...], pipe: Connection) -> None:
    """Answer a number of seconds with the steps per second in them, until asked no more."""
    actions = np.random.default_rng(0).uniform(-1, 1, (ACTIONS, *shape))
    pipe.send("ready")
    at = 0

    def advance() -> None:
        nonlocal at
        step(actions[at % ACTIONS])
        at += 1

    while (seconds := pipe.recv()) is not None:
        pipe.send(rate(advance, seconds))


def rate(step: Callable[[], object], seconds: float) -> float:
    """Call a function for so long; give the calls per second."""
    begin = now = time.perf_counter()
    count = 0
    while now - begin < seconds:
        step()
        count += 1
        now = time.perf_counter()
    return count / (now - begin)
