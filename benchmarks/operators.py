"""How often, and how fast, every scripted operator succeeds: one JSON line per task and style.

Start states are the task's ``placement``, or robosuite's own with ``--stock``:

    python benchmarks/operators.py [--tasks Lift ...] [--styles base ...] [--episodes 30]
        [--stock] [--engine fast]
"""

import argparse
import json
import statistics

import numpy as np

import sim
from demos.operators import STYLES, TASKS, make_operator
from robolearn.loops.rollout import rollout
from robolearn.types import Environment

HORIZON = 900


def main() -> None:
    """Measure every chosen task and style."""
    arguments = _arguments()
    for task in arguments.tasks:
        options = {} if arguments.stock else TASKS[task].options()
        if "/" in task:
            env = sim.make(task, **options)
        else:
            env = sim.make(f"robosuite/{task}", robot="Panda", engine=arguments.engine, **options)
        for style in arguments.styles:
            row = measure(env, task, style, arguments.episodes)
            print(json.dumps({**row, "start_states": options or "stock"}), flush=True)
        env.close()


def measure(env: Environment, task: str, style: str, episodes: int) -> dict[str, object]:
    """Let one operator try ``episodes`` times; seeds count from 0."""
    steps, failed_seeds = [], []
    for seed in range(episodes):
        operator = make_operator(task, style, env.interface, np.random.default_rng([seed, 1]))
        episode = rollout(env, operator, horizon=HORIZON, seed=seed)
        if episode.success:
            steps.append(len(episode))
        else:
            failed_seeds.append(seed)
    return {
        "task": task,
        "style": style,
        "episodes": episodes,
        "success": len(steps) / episodes,
        "mean_steps": round(statistics.mean(steps)) if steps else None,
        "longest_steps": max(steps, default=None),
        "failed_seeds": failed_seeds,
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--styles", nargs="+", default=list(STYLES), choices=list(STYLES))
    parser.add_argument("--episodes", type=int, default=30)
    parser.add_argument("--engine", default="compiled", help="control loop, see sim.make")
    parser.add_argument("--stock", action="store_true", help="robosuite's own start states")
    return parser.parse_args()


if __name__ == "__main__":
    main()
