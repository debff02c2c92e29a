"""What PPO learns on three tasks of dm_control, beside published returns.

    python benchmarks/ppo.py [seeds] [steps] [task ...]

Prints JSON lines: ``return`` is the mean over 10 whole episodes without exploring, from the weights
at the end; ``training_return`` the mean over the last tenth of the training's episodes, exploring,
as published figures have it; ``published`` that of CleanRL's ``ppo_continuous_action`` after a
million steps, mean over 3 seeds (docs.cleanrl.dev/rl-algorithms/ppo, table "dm_control"). One
setting for all tasks: that of ``launch/ppo_walker.yaml``.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

from robolearn import launch
from robolearn.curves import read_curve

PUBLISHED = {"cartpole-swingup": 640.86, "walker-walk": 392.51, "cheetah-run": 432.56}


def measure(task: str, seed: int, steps: int, directory: str) -> dict:
    """Run the launch file on a task and give a row."""
    out = f"{directory}/{task}-{seed}"
    overrides = [f"env.name=dmc/{task}", f"training.steps={steps}", f"seed={seed}", f"out={out}"]
    begin = time.monotonic()
    launch.execute(launch.read(launch.find("ppo_walker"), overrides))
    wall_s = time.monotonic() - begin
    summary = json.loads((Path(out) / "summary.json").read_text())
    _, returns = read_curve(Path(out) / "metrics.jsonl", "return")
    return {
        "env": f"dmc/{task}",
        "seed": seed,
        "steps": summary["steps"],
        "return": round(summary["evaluation"]["return"], 1),
        "training_return": round(float(returns[-len(returns) // 10 :].mean()), 1),
        "published": PUBLISHED[task],
        "wall_s": round(wall_s),
    }


def main(seeds: int, steps: int, tasks: list[str]) -> None:
    """Train on every task with every seed, one after the other."""
    with tempfile.TemporaryDirectory() as directory:
        for seed in range(seeds):
            for task in tasks:
                print(json.dumps(measure(task, seed, steps, directory)), flush=True)


if __name__ == "__main__":
    seeds, steps, *tasks = [*sys.argv[1:], *["3", "1000000"][len(sys.argv) - 1 :]]
    main(int(seeds), int(steps), tasks or list(PUBLISHED))
