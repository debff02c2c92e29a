"""Environment steps per second: robosuite's own loop, the usual vector environment, ours, physics.

All engines play the same actions from the same states of recorded episodes, contacts included, with
observations, rewards and success counted, in turn within one run; the medians over the rounds are
printed as one JSON line each:

    python benchmarks/simulation.py [--rounds 7] [--steps 40] [--tasks Lift,NutAssemblySquare]

``robosuite`` is robosuite's own environment in one process, ``robosuite-processes`` gymnasium's
AsyncVectorEnv of one such environment per processor, ``ours`` is ``sim.make_vec`` with the exact
engine and ``ours-fast`` with the fast one (which holds objects that a task has put away still, and
so can beat the bare physics of the others), and ``physics`` the bare physics steps of the same
states, with no controller, observation or reward. ``n`` environments step at a time; ``of_physics``
is the median of the ratios to the physics of the same round with as many threads.
"""

import argparse
import json
import os
import resource
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import gymnasium
import mujoco
import numpy as np
from trajectories import Trajectory, random_trajectory, scripted_trajectory

import sim
from sim.base.physics import INTEGRATION
from sim.engine.mujoco import load_libmujoco, physics_steps, simulation

TASKS = ("Lift", "PickPlaceCan", "NutAssemblySquare", "Stack", "Door", "TwoArmLift")
BATCH = 16
RECORDED = 240  # states of episodes from which the engines begin


def main() -> None:
    """Measure every task."""
    arguments = _arguments()
    for task in arguments.tasks:
        for row in [*measure(task, arguments.rounds, arguments.steps), footprint(task)]:
            print(json.dumps(row), flush=True)


def measure(task: str, rounds: int, steps: int) -> list[dict[str, Any]]:
    """Give the rates of all engines on one task, measured in turn."""
    name = f"robosuite/{task}"
    single = sim.make(name, horizon=10**6)
    trajectory = scripted_trajectory(single, RECORDED, seed=0)
    trajectory = trajectory or random_trajectory(single, RECORDED, seed=0)
    cores = len(os.sched_getaffinity(0))
    engines: dict[tuple[str, int], Engine] = {
        ("robosuite", 1): Robosuite(name, trajectory),
        ("robosuite-processes", cores): Processes(name, trajectory, cores),
    }
    for threads in sorted({1, 2, cores}):
        engines[("ours", threads)] = Ours(name, trajectory, threads, "compiled")
        engines[("ours-fast", threads)] = Ours(name, trajectory, threads, "fast")
        engines[("physics", threads)] = Physics(name, trajectory, threads)
    rates: dict[tuple[str, int], list[float]] = {key: [] for key in engines}
    for _ in range(rounds):
        for key, engine in engines.items():
            rates[key].append(engine(steps))
    for engine in engines.values():
        engine.close()
    robot = single.interface.robot
    rows = []
    for (engine, threads), values in rates.items():
        of_physics = [v / p for v, p in zip(values, rates["physics", threads], strict=True)]
        rows.append(
            {"env": task, "robot": robot, "engine": engine, "threads": threads,
             "steps_per_s": round(statistics.median(values), 1), "n": engines[engine, threads].n,
             "of_physics": round(statistics.median(of_physics), 3)}
        )  # fmt: skip
    return rows


class Engine(Protocol):
    """A way to step ``n`` environments at a time."""

    n: int

    def __call__(self, steps: int) -> float:
        """Give steps per second of all environments together."""

    def close(self) -> None:
        """Free everything."""


class OwnLoop(gymnasium.Env):
    """robosuite's environment stepped by robosuite itself, begun in recorded states."""

    def __init__(self, name: str, trajectory: Trajectory) -> None:
        self._env = sim.make(name, engine="robosuite", horizon=10**6)
        self._trajectory, self._at = trajectory, 0
        observations = self._env._env.observation_spec()
        size = sum(np.size(v) for k, v in observations.items() if k.endswith("-state"))
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (size,))
        self.action_space = self._env.action_space

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple:
        """Begin at recorded state ``options["start"]``."""
        self._at = (options or {}).get("start", 0)
        self._env.set_state(self._trajectory.states[self._at])
        return np.zeros(self.observation_space.shape, np.float32), {}

    def step(self, action: np.ndarray) -> tuple:
        """Take one of robosuite's own steps with the recorded action."""
        recorded = self._env._action(self._trajectory.actions[self._at % RECORDED])
        observations, reward, _, _ = self._env._env.step(recorded)
        self._at += 1
        state = np.concatenate([v for k, v in observations.items() if k.endswith("-state")])
        info = {"success": bool(self._env._env._check_success())}
        return state.astype(np.float32), float(reward), False, False, info


class Robosuite:
    """One of robosuite's own environments."""

    def __init__(self, name: str, trajectory: Trajectory) -> None:
        self._env, self.n = OwnLoop(name, trajectory), 1
        self._turn = 0

    def __call__(self, steps: int) -> float:
        """Give steps per second."""
        self._env.reset(options={"start": _start(self._turn, steps)})
        self._turn += 1
        begin = time.perf_counter()
        for _ in range(steps):
            self._env.step(np.zeros(0))
        return steps / (time.perf_counter() - begin)

    def close(self) -> None:
        """Do nothing: there is nothing to free."""


class Processes:
    """The usual vector environment: a process for each of robosuite's own environments."""

    def __init__(self, name: str, trajectory: Trajectory, cores: int) -> None:
        makers = [lambda: OwnLoop(name, trajectory)] * cores
        self._envs = gymnasium.vector.AsyncVectorEnv(makers, context="spawn")
        self._turn, self.n = 0, cores

    def __call__(self, steps: int) -> float:
        """Give steps per second of all processes together."""
        self._envs.reset(options={"start": _start(self._turn, steps)})
        self._turn += 1
        actions = self._envs.action_space.sample()
        begin = time.perf_counter()
        for _ in range(steps):
            self._envs.step(actions)
        return self.n * steps / (time.perf_counter() - begin)

    def close(self) -> None:
        """Stop the processes."""
        self._envs.close()


class Ours:
    """``sim.make_vec``, every environment at the same recorded state."""

    def __init__(self, name: str, trajectory: Trajectory, threads: int, engine: str) -> None:
        options = {"horizon": 10**6, "engine": engine}
        self._envs, self.n = sim.make_vec(name, BATCH, threads=threads, **options), BATCH
        self._trajectory, self._turn = trajectory, 0

    def __call__(self, steps: int) -> float:
        """Give steps per second of all environments together."""
        start = _start(self._turn, steps)
        self._envs.set_state(np.tile(self._trajectory.states[start], (BATCH, 1)))
        self._turn += 1
        begin = time.perf_counter()
        for t in range(start, start + steps):
            self._envs.step(np.tile(self._trajectory.actions[t % RECORDED], (BATCH, 1)))
        return BATCH * steps / (time.perf_counter() - begin)

    def close(self) -> None:
        """Stop the threads."""
        self._envs.close()


class Physics:
    """The physics steps alone, from each recorded state with the controls stored in it."""

    def __init__(self, name: str, trajectory: Trajectory, threads: int) -> None:
        load_libmujoco()
        env = sim.make(name, horizon=10**6)
        self.n, self._model, self._substeps = BATCH, env.model, env._loop.substeps
        self._data = [mujoco.MjData(env.model) for _ in range(BATCH)]
        self._pool = ThreadPoolExecutor(threads)
        self._states = trajectory.states[:, : mujoco.mj_stateSize(env.model, INTEGRATION)].copy()
        self._turn = 0
        physics_steps(simulation(env.model, self._data[0]), 1)

    def __call__(self, steps: int) -> float:
        """Give steps per second of all environments together."""
        start = _start(self._turn, steps)
        self._turn += 1
        begin = time.perf_counter()
        list(self._pool.map(lambda data: self._run(data, start, steps), self._data))
        return BATCH * steps / (time.perf_counter() - begin)

    def _run(self, data: Any, start: int, steps: int) -> None:
        arrays = simulation(self._model, data)
        for t in range(start, start + steps):
            mujoco.mj_setState(self._model, data, self._states[t % RECORDED], INTEGRATION)
            physics_steps(arrays, self._substeps)

    def close(self) -> None:
        """Stop the threads."""
        self._pool.shutdown()


def footprint(task: str, count: int = 64) -> dict[str, Any]:
    """Measure the time to build ``count`` environments and the memory of each further one."""
    begin = time.perf_counter()
    envs = sim.make_vec(f"robosuite/{task}", 2)
    envs.reset(seed=0)
    first, memory = time.perf_counter() - begin, _memory_mb()
    begin = time.perf_counter()
    many = sim.make_vec(f"robosuite/{task}", count)
    built = time.perf_counter() - begin
    many.reset(seed=0)
    each = (_memory_mb() - memory) / count
    envs.close()
    many.close()
    return {
        "env": task, "engine": "ours", "build_2_s": round(first, 2), f"build_{count}_s":
        round(built, 2), "memory_mb_per_env": round(each, 2),
    }  # fmt: skip


def _start(turn: int, steps: int) -> int:
    """Spread the beginnings over the recorded states, alike for all engines."""
    return (turn * steps) % (RECORDED - steps)


def _memory_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--tasks", type=lambda s: s.split(","), default=TASKS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
