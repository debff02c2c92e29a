"""World models from images: does Dreamer learn, what do states hold with videos behind, and what is
that worth to a policy?

    python benchmarks/infopower.py --stage 1 [--tasks cartpole-balance ...] [--seeds 0 1 2]
                                   [--decisions 24000]
    python benchmarks/infopower.py --stage 2 --videos FOLDER [--tasks walker-walk ...]
                                   [--methods dreamer ...] [--seeds 0 1 2] [--updates 3000]
    python benchmarks/infopower.py --stage 3 [--videos FOLDER] [--tasks walker-stand ...]
                                   [--methods dreamer ...] [--seeds 0 1 2] --decisions 24000
    python benchmarks/infopower.py --stage 4 --videos FOLDER [--updates 200]

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

Stage 3, control: policies that are learnt before videos, all of the frame but the robot and what
the task needs (``KEEP``), and act before others, by every method for as many decisions and updates;
without ``--videos`` before the task's own scene. Settings are the launch files'; ``OWN`` are those
of Dreamer, which has no constraint and draws images.

Stage 4, ``launch/infopower_walker_stand_paper.yaml`` on a processor: its first updates alone.
"""

import argparse
import json
import os
import time
from pathlib import Path

from keep import gather
from swept import commit, runs_of, training_s

from robolearn.comparing.scores import read_summary
from robolearn.running import launch
from robolearn.viz.curves import read_curve

ROWS = Path(__file__).parent / "results" / "infopower.jsonl"
FROM_STATES = {"cartpole-balance": 999.0, "cartpole-swingup": 790.1, "cheetah-run": 322.5}
CAMERAS = {"walker-walk": "side", "walker-stand": "side", "cheetah-run": "side",
           "cartpole-swingup": "lookatcart", "cartpole-balance": "lookatcart",
           "finger-spin": "cam0"}  # fmt: skip
REPEAT = 2  # steps of the task in a decision, stage 2
REPEATS = {"walker-stand": 2, "cheetah-run": 4, "cartpole-balance": 4, "cartpole-swingup": 4,
           "finger-spin": 2}  # stage 3 # fmt: skip
KEEP = {"walker-walk": ["floor"], "cheetah-run": ["ground"]}  # moves as the robot travels
OWN = {"kl_weight": 1.1, "kl_balance": 0.91, "image_weight": 2.0}
PPO_STEPS = (20_000, 100_000)  # decisions after which policies that know the state act
NO_INVERSE = ("infopower.inverse_weight=0.0", "infopower.bonus_weight=0.0")
CONTRASTIVE = (*NO_INVERSE, "infopower.constrained=false", "infopower.nats=5")  # as Dreamer's KL
METHODS = {
    "dreamer": tuple(f"dreamer.{key}={value}" for key, value in OWN.items()),
    "c_dreamer": CONTRASTIVE,
    "infopower": (),
    "infopower_nce": ("infopower.bound=nce",),
    "infopower_leaking": ("infopower.leaking=true",),
    "infopower_unconstrained": ("infopower.constrained=false",),
    "infopower_no_inverse": NO_INVERSE,
    "infopower_no_bonus": ("infopower.bonus_weight=0.0",),
    "c_dreamer_nce": ("infopower.bound=nce", *CONTRASTIVE),
}


def main() -> None:
    """Measure what is missing."""
    arguments = _arguments()
    deadline = time.time() + 60 * arguments.minutes
    for fixed, line, read in STAGES[arguments.stage](arguments):
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
                line += (f"training.steps={arguments.decisions}",)
            steps = launch.read(launch.find(line[0]), line[1:]).settings()["training"]["steps"]
            fixed["decisions"] = steps
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
                options = (f"learner={kind(method)}", *METHODS[method])
                options += (f"updates={arguments.updates}",)
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
            f"options.distractors.keep={json.dumps(KEEP.get(task, []))}",
        )
    ]  # fmt: skip
    return ("infopower_offline", *where, f"actors={json.dumps(actors)}", *options)


def knowing(task: str, steps: int) -> str:
    """Train PPO from states for so many decisions, unless that was done; give its run."""
    line = ("ppo_walker", f"env.name=dmc/{task}", f"env.options.action_repeat={REPEAT}",
            f"training.steps={steps}", "training.horizon=500", "evaluation=null")  # fmt: skip
    ((_, directory),) = runs_of(line, f"infopower/ppo-{task}-{steps}", seed=[0])
    return str(directory)


def control(arguments: argparse.Namespace):
    """Give the runs that learn a policy, as ``clean``."""
    for seed in arguments.seeds:
        for task in arguments.tasks or ["walker-stand"]:
            for method in arguments.methods:
                fixed = {"stage": 3, "task": task, "method": method, "seed": seed,
                         "before": "videos" if arguments.videos else "its own scene",
                         "decisions": arguments.decisions}  # fmt: skip
                line = controlled(task, method, arguments.videos, arguments.decisions)
                yield fixed, lambda line=line: line, acted


def controlled(task: str, method: str, videos: str | None, decisions: int) -> tuple[str, ...]:
    """Give the line of a run that learns a policy."""
    learner = kind(method)
    behind, unseen = {}, {}
    if videos is not None:
        kept = {"video": videos, "keep": KEEP.get(task, [])}
        behind, unseen = {"distractors": kept}, {"distractors": kept | {"part": "evaluation"}}
    horizon = 1000 // REPEATS[task]
    return (
        f"{learner}_{task.replace('-', '_')}",
        *METHODS[method],
        f"{learner}.backdrop={json.dumps(videos is None)}",
        f"env={scene(task, behind)}", f"evaluated_in={scene(task, unseen)}",
        f"training.steps={decisions}",
        f"evaluation={{episodes: 10, horizon: {horizon}}}",
    )  # fmt: skip


def beginning(arguments: argparse.Namespace):
    """Give the runs of the paper's size that stop after some updates, as ``clean``."""
    updates, launched = arguments.updates, "infopower_walker_stand_paper"
    settings = launch.read(launch.find(launched)).settings()
    training = settings["training"]  # the random steps end with an update
    steps = training["random_steps"] + round(updates / training["updates_per_step"])
    steps -= settings["environments"]
    line = (
        launched, "device=cpu", "infopower.compiled=false", f"training.steps={steps}",
        f"training.capacity={steps}", "training.log_steps=50",
        "evaluation=null", "evaluated_in=null",
        f"env.options.distractors.video={arguments.videos}",
    )  # fmt: skip
    for seed in arguments.seeds:
        fixed = {"stage": 4, "task": "walker-stand", "method": "infopower", "seed": seed,
                 "updates": updates}  # fmt: skip
        yield fixed, lambda: line, begun


def begun(directory: Path) -> dict:
    """Say where the losses are, and how long it took."""
    return rounded({"losses": read_summary(directory)["losses"], "wall_s": training_s(directory)})


def scene(task: str, options: dict) -> str:
    """Give an environment's settings, as a line has them."""
    common = {"cameras": [CAMERAS[task]], "image_size": [64, 64], "action_repeat": REPEATS[task]}
    return json.dumps({"name": f"dmc/{task}", "options": common | options})


def kind(method: str) -> str:
    """Name the learner that a method is a configuration of."""
    return "dreamer" if method == "dreamer" else "infopower"


def acted(directory: Path) -> dict:
    """Say what a policy came to, and what its model was like in the end."""
    found = read_summary(directory)
    return rounded(
        {
            "return": found["evaluation"]["return"],
            "return_interval": found["evaluation"]["return_interval"],
            "losses": found["losses"],
            "wall_s": training_s(directory),
        }
    )


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


STAGES = {1: clean, 2: fixed_data, 3: control, 4: beginning}


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
    parser.add_argument("--stage", type=int, choices=list(STAGES), required=True)
    parser.add_argument("--tasks", nargs="+", choices=sorted({*FROM_STATES, *CAMERAS}))
    parser.add_argument("--methods", nargs="+", choices=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--videos", help="a folder of videos, stages 2 to 4")
    parser.add_argument("--decisions", type=int, help="to learn from, stages 1 and 3")
    parser.add_argument("--updates", type=int, help="3000 of stage 2, 200 of stage 4")
    parser.add_argument("--minutes", type=float, default=100.0)
    arguments = parser.parse_args()
    if arguments.updates is None:
        arguments.updates = 200 if arguments.stage == 4 else 3000
    known = {1: FROM_STATES, 2: CAMERAS, 3: REPEATS, 4: ("walker-stand",)}[arguments.stage]
    for task in arguments.tasks or ():
        if task not in known:
            parser.error(f"stage {arguments.stage}: no task {task}; {', '.join(known)}")
    if arguments.stage in (1, 4) and arguments.methods:
        parser.error(f"stage {arguments.stage}: no --methods, there is one")
    arguments.methods = arguments.methods or list(METHODS)[:3]
    if arguments.stage in (2, 4) and not arguments.videos:
        parser.error(f"stage {arguments.stage}: --videos FOLDER is needed")
    if arguments.stage == 3 and not arguments.decisions:
        parser.error("stage 3: --decisions N is needed")
    return arguments


if __name__ == "__main__":
    main()
