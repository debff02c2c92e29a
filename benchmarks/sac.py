"""What SAC learns on three tasks of dm_control, beside published returns.

    python benchmarks/sac.py [seeds] [task ...]

Prints JSON lines: ``return`` is the mean over 10 whole episodes without exploring, from the weights
at the end of 100,000 control steps and 47,500 updates; ``training_return`` the mean over the last
tenth of the lines in which episodes ended, exploring. ``published`` is the SAC that TD-MPC2 is
compared with: mean over its 3 seeds after as many control steps, taken two at a time, hence 50,000
decisions (github.com/nicklashansen/tdmpc2, results/sac/TASK.csv, step 100000). One setting for all
tasks: that of ``launch/sac_walker.yaml``. ``wall_s`` is the training on one core, shared with other
work. One run after the other; what has been measured is not measured again: ``swept``.
"""

import json
import sys
from pathlib import Path

from swept import commit, known, runs_of, training_s

from robolearn.comparing.scores import read_summary
from robolearn.viz.curves import read_curve

PUBLISHED = {"cartpole-swingup": 835.0, "walker-walk": 708.2, "finger-spin": 762.4}


def row(task: str, seed: int, directory: Path) -> dict:
    """Say what a run came to."""
    found = read_summary(directory)
    _, returns = read_curve(directory / "metrics.jsonl", "return")
    return {
        "env": f"dmc/{task}",
        "seed": seed,
        "steps": found["steps"],
        "return": round(found["evaluation"]["return"], 1),
        "training_return": round(float(returns[-max(1, len(returns) // 10) :].mean()), 1),
        "published": PUBLISHED[task],
        "wall_s": training_s(directory),
        "commit": commit(directory),
    }


def main(seeds: int, tasks: list[str]) -> None:
    """Train on every task with every seed."""
    swept = {"seed": list(range(seeds)), "env.name": [f"dmc/{task}" for task in tasks]}
    for changes, directory in runs_of(("sac_walker",), "sac", at_once=1, **swept):
        task = changes["env.name"].removeprefix("dmc/")
        print(json.dumps(row(task, changes["seed"], directory)), flush=True)


if __name__ == "__main__":
    seeds, *tasks = sys.argv[1:] or ["3"]
    main(int(seeds), known(tasks, PUBLISHED))
