"""Environment steps per second on plain MuJoCo models: ours, plain processes, bare physics.

    python benchmarks/simulation_mujoco.py [--rounds 9] [--steps 200] [--environments 64]

``ours`` is ``sim.make_vec``: observations, reward terms, success, info and resets (every HORIZON
steps) are counted. ``physics`` plays the same actions from the same states, one compiled call per
environment for all the steps, with nothing between them. ``processes`` is one plain environment
(``sim.make``) per processor, each in its process, without any exchange. All are measured in turn;
one JSON line each has the median over the rounds, and ``of_physics`` the median of the ratios to
the physics of the same round with as many threads. The models are dm_control's.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from numba import njit

import sim
from sim.base.physics import INTEGRATION
from sim.engine.batch import mj_step
from sim.engine.mujoco import Simulation, load_libmujoco, simulation
from sim.mujoco.task import Draw, Formula, Goal, MujocoTask

HORIZON = 250
MODELS = Path(find_spec("dm_control").origin).parent / "suite"
TO_BALL = "site_pos:grasp - body_pos:ball"
TASKS = {
    "pendulum": MujocoTask(
        control_hz=25,
        horizon=HORIZON,
        observation=("joint_pos:hinge", "joint_vel:hinge"),
        reward={
            "up": Formula(("joint_pos:hinge",), np.cos),
            "still": Goal("joint_vel:hinge", margin=1.0, weight=0.1),
        },
        success=(Goal("joint_pos:hinge", low=-0.2, high=0.2),),
        reset=(Draw("joint_pos:hinge", -3.1, 3.1),),
    ),
    "cartpole": MujocoTask(
        control_hz=20,
        horizon=HORIZON,
        observation=("qpos", "qvel"),
        reward={
            "up": Goal("joint_pos:hinge_1", low=-0.1, high=0.1, margin=1.0),
            "centred": Goal("joint_pos:slider", low=-0.2, high=0.2, margin=2.0, weight=0.2),
        },
        success=(Goal("joint_pos:hinge_1", low=-0.1, high=0.1),),
        reset=(Draw("joint_pos:hinge_1", -3.1, 3.1), Draw("joint_pos:slider", -0.5, 0.5)),
    ),
    "manipulator": MujocoTask(
        control_hz=50,
        horizon=HORIZON,
        observation=("qpos", "qvel", TO_BALL, "site_pos:grasp", "body_pos:ball"),
        reward={
            "reach": Goal(TO_BALL, high=0.02, margin=0.3),
            "lift": Goal("joint_pos:ball_z", low=0.1, high=1.0, margin=0.1),
        },
        success=(Goal("joint_pos:ball_z", low=0.1, high=1.0),),
        reset=(
            Draw("joint_pos:arm_root", -0.5, 0.5),
            Draw("joint_pos:ball_x", -0.3, 0.3),
            Draw("joint_pos:ball_z", 0.1, 0.3),
        ),
    ),
}


def main() -> None:
    """Measure every task."""
    arguments = _arguments()
    for name in arguments.tasks:
        rows = measure(name, arguments.rounds, arguments.steps, arguments.environments)
        for row in rows:
            print(json.dumps(row), flush=True)


def measure(name: str, rounds: int, steps: int, n: int) -> Iterator[dict[str, Any]]:
    """Give the rates of all engines on one task, measured in turn."""
    cores = len(os.sched_getaffinity(0))
    ours = {threads: Ours(name, n, threads) for threads in (1, 2)}
    engines: dict[tuple[str, int], Callable[[np.ndarray], float]] = {}
    for threads, batch in ours.items():
        engines["ours", threads] = batch
        engines["physics", threads] = Physics(batch)
    engines["processes", cores] = Processes(name, cores)
    rates: dict[tuple[str, int], list[float]] = {key: [] for key in engines}
    rng = np.random.default_rng(0)
    for _ in range(rounds):
        actions = rng.uniform(-1, 1, (steps, n, ours[1].env.single_action_space.shape[0]))
        for key, engine in engines.items():
            rates[key].append(engine(actions.astype(np.float32)))
    for engine in engines.values():
        engine.close()
    for (engine, threads), values in rates.items():
        row = {"env": name, "robot": "", "engine": engine, "threads": threads}
        row |= {"environments": threads if engine == "processes" else n}
        row |= {"steps_per_s": round(statistics.median(values))}
        if engine == "ours":
            ratios = [a / b for a, b in zip(values, rates["physics", threads], strict=True)]
            row |= {"of_physics": round(statistics.median(ratios), 3)}
        yield row


class Ours:
    """A batch of the task's environments."""

    def __init__(self, name: str, n: int, threads: int) -> None:
        self.env = sim.make_vec(f"mujoco/{MODELS / name}.xml", n, threads, task=TASKS[name])
        self.env.reset(seed=0)
        self.begin = self.env.get_state()

    def __call__(self, actions: np.ndarray) -> float:
        """Give steps per second under actions [T, N, A]."""
        self.begin = self.env.get_state()
        start = time.perf_counter()
        for action in actions:
            self.env.step(action)
        return actions.shape[0] * actions.shape[1] / (time.perf_counter() - start)

    def close(self) -> None:
        """Stop the threads."""
        self.env.close()


class Physics:
    """The physics alone, from where a batch's last measurement began."""

    def __init__(self, ours: Ours) -> None:
        load_libmujoco()
        self._ours, env = ours, ours.env
        self._model, self._data = env.physics.models[0], [mujoco.MjData(env.physics.models[0])]
        self._data += [mujoco.MjData(self._model) for _ in range(env.num_envs - 1)]
        self._views = [simulation(self._model, data) for data in self._data]
        self._substeps = round(env.interface.period_s / self._model.opt.timestep)
        low, high = self._model.actuator_ctrlrange.T
        self._middle, self._half = (low + high) / 2, (high - low) / 2
        self._pool = ThreadPoolExecutor(env._threads)
        replay(self._views[0], np.zeros((1, self._model.nu)), 1)

    def __call__(self, actions: np.ndarray) -> float:
        """Give steps per second of all threads together under actions [T, N, A]."""
        size = mujoco.mj_stateSize(self._model, INTEGRATION)
        for data, state in zip(self._data, self._ours.begin, strict=True):
            mujoco.mj_setState(self._model, data, state[:size], INTEGRATION)
        controls = self._middle + self._half * actions.astype(np.float64)
        start = time.perf_counter()
        list(self._pool.map(lambda i: self._run(i, controls), range(len(self._data))))
        return actions.shape[0] * actions.shape[1] / (time.perf_counter() - start)

    def _run(self, i: int, controls: np.ndarray) -> None:
        replay(self._views[i], controls[:, i], self._substeps)

    def close(self) -> None:
        """Stop the threads."""
        self._pool.shutdown()


@njit(nogil=True, cache=True)
def replay(sim: Simulation, controls: np.ndarray, substeps: int) -> None:
    """Run the physics under controls [T, nu]."""
    for t in range(len(controls)):
        sim.ctrl[:] = controls[t]
        for _ in range(substeps):
            mj_step(sim.model, sim.data)


class Processes:
    """One plain environment in each of several processes."""

    def __init__(self, name: str, count: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pools = [
            ProcessPoolExecutor(1, context, initializer=_open, initargs=(name,))
            for _ in range(count)
        ]
        self(np.zeros((1, count, mujoco.MjModel.from_xml_path(f"{MODELS / name}.xml").nu)))

    def __call__(self, actions: np.ndarray) -> float:
        """Give steps per second of all processes together under actions [T, N, A]."""
        shares = np.array_split(actions.reshape(-1, actions.shape[-1]), len(self._pools))
        runs = [p.submit(_run, share) for p, share in zip(self._pools, shares, strict=True)]
        return sum(len(share) / run.result() for share, run in zip(shares, runs, strict=True))

    def close(self) -> None:
        """Stop the processes."""
        for pool in self._pools:
            pool.shutdown()


_of_this_process: dict[str, Any] = {}


def _open(name: str) -> None:
    env = sim.make(f"mujoco/{MODELS / name}.xml", task=TASKS[name])
    env.reset(seed=os.getpid())
    _of_this_process["env"] = env


def _run(actions: np.ndarray) -> float:
    """Step under actions [T, A]; give the seconds that it took."""
    env = _of_this_process["env"]
    start = time.perf_counter()
    for action in actions:
        _, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            env.reset()
    return time.perf_counter() - start


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--environments", type=int, default=64)
    parser.add_argument("--tasks", type=lambda s: s.split(","), default=tuple(TASKS))
    return parser.parse_args()


if __name__ == "__main__":
    main()
