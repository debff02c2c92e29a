"""How long the judge of harm takes on one core: to know a base, for a verdict, for a live step.

    python benchmarks/harm_times.py [--tasks square ...]

Prints a JSON line for each task, in milliseconds of one core's time, each the least of five, as
what else runs on the machine slows it down: ``know`` of ``HarmJudge.of`` on the base's
demonstrations; ``alone`` and ``together`` of a verdict on one of ten more; ``live`` of a step, 50th
and 99th percentile. Demonstrations are those of ``benchmarks/harm.py``'s first replicate, collected
if they are missing.
"""

import argparse
import json
import time
from collections.abc import Callable

import numpy as np
import torch
from harm import FOLDER, SEED, TASKS, study_of

from demos.study.replicate import BASE, HELD_OUT, Replicate, is_long
from robolearn.judging.demonstrations import Demonstration
from robolearn.judging.harm import HarmJudge
from robolearn.judging.live import LiveHarm

JUDGED = 10
REPEATED = 5


def main() -> None:
    """Print the times of each task."""
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tasks", nargs="+", default=TASKS, choices=TASKS)
    for task in parser.parse_args().tasks:
        study = Replicate(study_of(task), FOLDER / task, SEED, 0)
        for name in (BASE, HELD_OUT):
            study.demonstrate(name)
        base, new = (list(filter(is_long, study.demonstrations(n))) for n in (BASE, HELD_OUT))
        print(json.dumps({"task": task} | times(base, new[:JUDGED])), flush=True)


def times(base: list[Demonstration], new: list[Demonstration]) -> dict:
    """Give sizes, and times in milliseconds."""
    judge = HarmJudge.of(*zip(*base, strict=True))
    steps = [np.min([_live(judge, pair) for _ in range(REPEATED)], axis=0) for pair in new]
    p50, p99 = np.percentile(np.concatenate(steps), [50, 99])
    return {
        "base": len(base),
        "steps": float(np.median([len(actions) for _, actions in base])),
        "entries": base[0][0].shape[1],
        "know": _least(lambda: HarmJudge.of(*zip(*base, strict=True))),
        "alone": _least(lambda: [judge.score(*pair) for pair in new]) / len(new),
        "together": _least(lambda: judge.score_all(*zip(*new, strict=True))) / len(new),
        "live": {"p50": float(p50), "p99": float(p99)},
    }


def _live(judge: HarmJudge, pair: Demonstration) -> list[float]:
    live = LiveHarm(judge)
    return [_spent(lambda s=s, a=a: live.step(s, a)) for s, a in zip(*pair, strict=True)]


def _least(do: Callable[[], object]) -> float:
    return min(_spent(do) for _ in range(REPEATED))


def _spent(do: Callable[[], object]) -> float:
    """Give the milliseconds of a core that something takes."""
    begin = time.process_time()
    do()
    return 1e3 * (time.process_time() - begin)


if __name__ == "__main__":
    main()
