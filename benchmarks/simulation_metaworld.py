"""Environment steps per second of Meta-World's tasks, and what its experts achieve in ours.

All play the same actions, resets, observations, rewards and success counted, in turn within one
run; the medians over the rounds are printed as one JSON line each, then the medians of the ratios,
and then how often the expert succeeds:

    python benchmarks/simulation_metaworld.py [--rounds 9] [--seconds 1] [--batch 16]
        [--episodes 20] [--tasks T,...]

``metaworld`` is one process per processor that steps Meta-World's own environment in a loop,
``plain`` the same with a ``sim.make`` environment. ``processes`` is ``sim.make_vec``, a batch over
as many worker processes. All plain processes run at once; their rates are summed.
"""

import argparse
import json
import os
import statistics
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from stepping import Batch, Plain, serve

import sim
from demos.operators import make_operator
from robolearn.loops.rollout import Job, rollouts

TASKS = (
    "door-lock-v3", "door-unlock-v3", "drawer-close-v3", "drawer-open-v3", "faucet-close-v3",
    "faucet-open-v3", "window-close-v3", "window-open-v3",
)  # fmt: skip
HORIZON = 500


def main() -> None:
    """Measure every task."""
    arguments = _arguments()
    for task in arguments.tasks:
        rows = speed(task, arguments.rounds, arguments.seconds, arguments.batch)
        for row in [*rows, skill(task, arguments.episodes)]:
            print(json.dumps(row), flush=True)


def speed(task: str, rounds: int, seconds: float, n: int) -> list[dict[str, Any]]:
    """Give the rates of all engines on one task, measured in turn, and ours in shares of theirs."""
    cores = len(os.sched_getaffinity(0))
    engines = {
        (name, count): engine
        for count in sorted({1, cores})
        for name, engine in (
            ("metaworld", Plain(own_loop, task, count)),
            ("plain", Plain(our_loop, task, count)),
            ("processes", Batch(sim.make_vec(f"metaworld/{task}", n, threads=count))),
        )
    }
    rates: dict[tuple[str, int], list[float]] = {key: [] for key in engines}
    for _ in range(rounds):
        for key, engine in engines.items():
            rates[key].append(engine(seconds))
    for engine in engines.values():
        engine.close()
    rows = [
        {
            "env": task,
            "engine": engine,
            "threads": count,
            "steps_per_s": round(statistics.median(own)),
        }
        for (engine, count), own in rates.items()
    ]
    for count in sorted({1, cores}):
        share = {"env": task, "threads": count, "batch": n, "rounds": rounds}
        for engine in ("plain", "processes"):
            ratios = np.divide(rates[engine, count], rates["metaworld", count])
            share[f"{engine}_over_metaworld"] = round(float(np.median(ratios)), 3)
        rows.append(share)
    return rows


def skill(task: str, episodes: int) -> dict[str, Any]:
    """Say in how many episodes, of seeds 0 and so on, the expert succeeds, and how soon."""
    env = sim.make(f"metaworld/{task}")
    name = env.interface.environment
    policy = make_operator(name, "expert", env.interface, np.random.default_rng(0))
    jobs = (Job(policy, seed) for seed in range(episodes))
    done = [episode for episode, _ in rollouts(env, jobs, horizon=HORIZON)]
    env.close()
    return {
        "env": task,
        "expert": "Meta-World's",
        "episodes": episodes,
        "successes": sum(episode.success for episode in done),
        "median_steps": statistics.median(len(episode) for episode in done),
    }


def our_loop(task: str, pipe: Connection) -> None:
    """Step a ``sim.make`` environment whenever asked."""
    env = sim.make(f"metaworld/{task}")
    env.reset(seed=0)

    def step(action: np.ndarray) -> None:
        if env.step(action)[3]:
            env.reset()

    serve(step, env.action_space.shape, pipe)


def own_loop(task: str, pipe: Connection) -> None:
    """Step Meta-World's own environment whenever asked, with the goal in sight as in ours."""
    from metaworld import ALL_V3_ENVIRONMENTS

    env = ALL_V3_ENVIRONMENTS[task]()
    env._partially_observable = False
    del env.sawyer_observation_space
    env.seeded_rand_vec, env._freeze_rand_vec, env._set_task_called = True, False, True
    env.seed(0)
    env.reset()

    def step(action: np.ndarray) -> None:
        if env.step(action)[3]:
            env.reset()

    serve(step, env.action_space.shape, pipe)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--tasks", type=lambda text: text.split(","), default=list(TASKS))
    return parser.parse_args()


if __name__ == "__main__":
    main()
