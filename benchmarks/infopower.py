"""World models from images: does Dreamer learn, and what do states hold with videos behind?

    python benchmarks/infopower.py --stage 1 [--tasks cartpole-balance ...] [--seeds 0 1 2]
                                   [--decisions 24000]
    python benchmarks/infopower.py --stage 2 --videos FOLDER [--tasks walker-walk ...]
                                   [--methods dreamer ...] [--seeds 0 1 2] [--updates 3000]

Appends a JSON line to ``benchmarks/results/infopower.jsonl`` for each task, method and seed, and
gathers them in ``infopower.json``; what is in there is not measured again, and after ``--minutes``
nothing new begins. One run after the other, one core; runs are kept in
``runs/benchmarks/infopower``.

Stage 1, clean images: ``launch/dreamer_TASK.yaml``, as long as it says or for ``--decisions``.
``return`` is the mean over 10 whole episodes without exploring, ``from_states`` what SAC (cart-pole
swing-up, ``sac.jsonl``) or PPO reach (of the cheetah the mean of three seeds, ``ppo.json``).

Stage 2, fixed data with videos behind: ``launch/infopower_offline.yaml`` with every method and the
same recorded episodes, of random actions and of PPO from states after two lengths of training.
What is measured: ``robolearn.verbs.represent.judge``; unseen are videos that no one learnt from.
"""

import argparse
import json
import os
import time
from pathlib import Path

from keep import gather
from swept import commit, runs_of, training_s

from robolearn.comparing.scores import read_summary
from robolearn.viz.curves import read_curve

ROWS = Path(__file__).parent / "results" / "infopower.jsonl"
FROM_STATES = {"cartpole-balance": 999.0, "cartpole-swingup": 790.1, "cheetah-run": 322.5}
CAMERAS = {"walker-walk": "side", "cheetah-run": "side", "cartpole-swingup": "fixed",
           "finger-spin": "cam0"}  # fmt: skip
REPEAT = 2  # steps of the task in a decision, stage 2
PPO_STEPS = (20_000, 100_000)  # decisions after which policies that know the state act
NO_INVERSE = ("infopower.inverse_weight=0.0", "infopower.bonus_weight=0.0")
METHODS = {
    "dreamer": ("learner=dreamer",),
    "c_dreamer": NO_INVERSE,
    "infopower": (),
    "infopower_nce": ("infopower.bound=nce",),
    "infopower_leaking": ("infopower.leaking=true",),
    "infopower_unconstrained": ("infopower.constrained=false",),
    "c_dreamer_nce": ("infopower.bound=nce", *NO_INVERSE),
}


def main() -> None:
    """Measure what is missing."""
    arguments = _arguments()
    deadline = time.time() + 60 * arguments.minutes
    for fixed, line, read in {1: clean, 2: fixed_data}[arguments.stage](arguments):
        if missing(fixed) and time.time() < deadline:
            name = "-".join(str(value) for value in fixed.values())
            for _, directory in runs_of(line(), f"infopower/{name}", seed=[fixed["seed"]]):
                append(fixed | read(directory) | {"commit": commit(directory)})
    gather(ROWS)


def clean(arguments: argparse.Namespace):
    """Give the runs of Dreamer on clean images: what fixes a row, a line, what reads its result."""
    for seed in arguments.seeds:
        for task in arguments.tasks or FROM_STATES:
            fixed = {"stage": 1, "task": task, "method": "dreamer", "seed": seed}
            line = (f"dreamer_{task.replace('-', '_')}",)
            if arguments.decisions is not None:
                fixed["decisions"] = arguments.decisions
                line += (f"training.steps={arguments.decisions}",)
            yield fixed, lambda line=line: line, lambda found, task=task: clean_row(task, found)


def clean_row(task: str, directory: Path) -> dict:
    """Say what a run came to."""
    found = read_summary(directory)
    return {
        "decisions": found["steps"],
        "return": round(found["evaluation"]["return"], 1),
        "from_states": FROM_STATES[task],
        "wall_s": training_s(directory),
    }


def fixed_data(arguments: argparse.Namespace):
    """Give the runs on recorded episodes, as ``clean``; policies are trained when they are due."""
    for task in arguments.tasks or ["walker-walk"]:
        for seed in arguments.seeds:
            for method in arguments.methods:
                fixed = {"stage": 2, "task": task, "method": method, "seed": seed,
                         "updates": arguments.updates}  # fmt: skip
                options = (*METHODS[method], f"updates={arguments.updates}")
                yield (
                    fixed,
                    lambda task=task, options=options: offline(task, arguments.videos, options),
                    represented,
                )


def offline(task: str, videos: str, options: tuple[str, ...]) -> tuple[str, ...]:
    """Give the line of a run, once the policies are there that act in its episodes."""
    actors = [knowing(task, steps) for steps in PPO_STEPS]
    where = [
        f"{env}.{entry}"
        for env in ("env", "judged_in")
        for entry in (
            f"name=dmc/{task}", f"options.cameras=[{CAMERAS[task]}]",
            f"options.action_repeat={REPEAT}", f"options.distractors.video={videos}",
        )
    ]  # fmt: skip
    return ("infopower_offline", *where, f"actors={json.dumps(actors)}", *options)


def knowing(task: str, steps: int) -> str:
    """Train PPO from states for so many decisions, unless that was done; give its run."""
    line = ("ppo_walker", f"env.name=dmc/{task}", f"env.options.action_repeat={REPEAT}",
            f"training.steps={steps}", "training.horizon=500", "evaluation=null")  # fmt: skip
    ((_, directory),) = runs_of(line, f"infopower/ppo-{task}-{steps}", seed=[0])
    return str(directory)


def represented(directory: Path) -> dict:
    """Say what the states of a model hold."""
    found = read_summary(directory)
    _, times = read_curve(directory / "metrics.jsonl", "time_s")
    return rounded(found) | {"wall_s": round(float(times[-1] - times[0]), 1)}


def rounded(found: object) -> object:
    """Round all numbers of a summary."""
    if isinstance(found, dict):
        return {key: rounded(value) for key, value in found.items()}
    return round(found, 3) if isinstance(found, float) else found


def missing(fixed: dict) -> bool:
    """Say whether there is no row with these entries."""
    lines = ROWS.read_text().splitlines() if ROWS.exists() else []
    return not any(fixed.items() <= json.loads(line).items() for line in lines)


def append(row: dict) -> None:
    """Add a row, in one piece, and show it."""
    line = json.dumps(row)
    print(line, flush=True)
    with ROWS.open("ab", buffering=0) as file:
        file.write(line.encode() + b"\n")
        os.fsync(file.fileno())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stage", type=int, choices=[1, 2], required=True)
    parser.add_argument("--tasks", nargs="+", choices=sorted({*FROM_STATES, *CAMERAS}))
    parser.add_argument("--methods", nargs="+", default=list(METHODS)[:3], choices=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--videos", help="a folder of videos, stage 2")
    parser.add_argument("--decisions", type=int, help="to learn from, stage 1")
    parser.add_argument("--updates", type=int, default=3000)
    parser.add_argument("--minutes", type=float, default=100.0)
    arguments = parser.parse_args()
    if arguments.stage == 2 and not arguments.videos:
        parser.error("stage 2: --videos FOLDER is needed")
    return arguments


if __name__ == "__main__":
    main()
