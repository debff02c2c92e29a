"""How the judge of harm weakens with few base demonstrations, and with few of a person's.

    python benchmarks/harm_few.py [--tasks square ...] [--part tuning apart]

Prints a JSON line for each task and number of base demonstrations: the share that is rejected of
the base's own that were not calibrated on, each judged alone, and of every operator's, judged alone
(``alone``) and all together (``together``). Demonstrations are those of ``benchmarks/harm.py``'s
first replicate, collected if they are missing; the base's are drawn from its own and its held-out
ones in five ways, and shares are means over these. What is too short to judge is left out.
"""

import argparse
import json

import numpy as np
from harm import FOLDER, PARTS, SEED, TASKS, study_of

from demos.study.replicate import BASE, HELD_OUT, Replicate, is_long
from robolearn.judging.demonstrations import Demonstration
from robolearn.judging.harm import HarmJudge

COUNTS = (5, 10, 20, 40)
DRAWS = 5
OWN = 40  # of the base's, that are judged


def main() -> None:
    """Print the tables."""
    arguments = _arguments()
    for task in arguments.tasks:
        study = Replicate(study_of(task), FOLDER / task, SEED, 0)
        operators = [name for part in arguments.part for name in PARTS[part]]
        for name in (BASE, HELD_OUT, *operators):
            study.demonstrate(name)
        base = list(filter(is_long, (d for n in (BASE, HELD_OUT) for d in study.demonstrations(n))))
        new = {name: list(filter(is_long, study.demonstrations(name))) for name in operators}
        for count in COUNTS:
            print(json.dumps({"task": task, "base": count} | table(base, new, count)), flush=True)


def table(
    base: list[Demonstration], new: dict[str, list[Demonstration]], count: int
) -> dict[str, dict]:
    """Give the shares that are rejected by judges who know ``count`` base demonstrations."""
    own: list[float] = []
    alone: dict[str, list[float]] = {name: [] for name in new}
    together: dict[str, list[float]] = {name: [] for name in new}
    for draw in range(DRAWS):
        order = np.random.default_rng(draw).permutation(len(base))
        judge = HarmJudge.of(*zip(*(base[i] for i in order[:count]), strict=True))
        own.append(_rejected(judge, [base[i] for i in order[-OWN:]]))
        for name, demonstrations in new.items():
            alone[name].append(_rejected(judge, demonstrations))
            verdicts = judge.score_all(*zip(*demonstrations, strict=True))
            together[name].append(float(np.mean([not v.accepted for v in verdicts])))
    mean = lambda shares: {n: round(float(np.mean(s)), 3) for n, s in shares.items()}  # noqa: E731
    return {
        "own": round(float(np.mean(own)), 3),
        "most_own": max(own),
        "alone": mean(alone),
        "together": mean(together),
    }


def _rejected(judge: HarmJudge, demonstrations: list[Demonstration]) -> float:
    return float(np.mean([not judge.score(*pair).accepted for pair in demonstrations]))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tasks", nargs="+", default=TASKS, choices=TASKS)
    parser.add_argument("--part", nargs="+", default=["tuning"], choices=list(PARTS))
    return parser.parse_args()


if __name__ == "__main__":
    main()
