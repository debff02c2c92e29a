"""What PPO learns on three tasks of dm_control, beside published returns.

    python benchmarks/ppo.py [seeds] [steps] [task ...]

Prints JSON lines: ``return`` is the mean over 10 whole episodes without exploring, from the weights
at the end; ``training_return`` the mean over the last tenth of the updates in which episodes ended,
exploring, as published figures have it; ``published`` that of CleanRL's ``ppo_continuous_action``
after a million steps, mean over 3 seeds (docs.cleanrl.dev/rl-algorithms/ppo, table "dm_control").
One setting for all tasks: that of ``launch/ppo_walker.yaml``. ``wall_s`` is the training on one
core, beside another one on the other. What has been measured is not measured again: ``swept``.
"""

import json
import sys
from pathlib import Path

from swept import commit, known, runs_of, training_s

from robolearn.comparing.scores import read_summary
from robolearn.viz.curves import read_curve

PUBLISHED = {"cartpole-swingup": 640.86, "walker-walk": 392.51, "cheetah-run": 432.56}


def row(task: str, seed: int, directory: Path) -> dict:
    """Say what a run came to."""
    found = read_summary(directory)
    _, returns = read_curve(directory / "metrics.jsonl", "return")
    return {
        "env": f"dmc/{task}",
        "seed": seed,
        "steps": found["steps"],
        "return": round(found["evaluation"]["return"], 1),
        "training_return": round(float(returns[-len(returns) // 10 :].mean()), 1),
        "published": PUBLISHED[task],
        "wall_s": training_s(directory),
        "commit": commit(directory),
    }


def main(seeds: int, steps: int, tasks: list[str]) -> None:
    """Train on every task with every seed."""
    swept = {"seed": list(range(seeds)), "env.name": [f"dmc/{task}" for task in tasks]}
    line = ("ppo_walker", f"training.steps={steps}")
    for changes, directory in runs_of(line, f"ppo/{steps}", **swept):
        task = changes["env.name"].removeprefix("dmc/")
        print(json.dumps(row(task, changes["seed"], directory)), flush=True)


if __name__ == "__main__":
    seeds, steps, *tasks = [*sys.argv[1:], *["3", "1000000"][len(sys.argv) - 1 :]]
    main(int(seeds), int(steps), known(tasks, PUBLISHED))
