"""Attacks whose intention is learnt from a teacher's answers: stage 2 of ``rat.py``.

    python benchmarks/rat_learnt.py [--tasks faucet-open ...] [--behaviours opposite manipulation]
                                    [--methods rat random ...] [--labels 9000] [--seeds 0 1 2]
                                    [--minutes 100]

The victims of ``rat.py``, at raw .1; each row is a run of ``robolearn attack``, kept in
``runs/benchmarks/rat/learnt``, and one that was stopped goes on. The perfect teacher compares
pieces of 50 control steps by the environment's reward. Behaviours:

- ``opposite``: the task, of which the victim knows the opposite.
- ``manipulation``: the victim is at the task that it knows, and its hand is to be brought to a
  place that it does not go to (``TARGETS``), which the teacher judges by the distance.

Methods: ``rat``; ``rat_unweighted`` (h = 1); ``rat_alone`` (the intention begins its episodes
itself, no combined collection); ``rat_blank`` (the intention begins with nothing, not as the
victim); ``random``; ``sa_rl`` and ``pa_ad``, which earn the reward that is learnt from as many
labels. ``steps`` of a row are all control steps, also those in which the attacked victim of ``rat``
began episodes and those of its adversary's last training; the others take about as many.

Rows without ``counted`` are of earlier settings, where the reward of a decision counted once in
what the labels are about, not for each control step that it lasts. Those without a ``gamma``, or
with .99, took 300,000 control steps of the intention (opposite) or 150,000 (manipulation), and the
place for drawer-close was 20 cm aside; those with .9 took half as many, with questions 20 times and
a victim that handed over early. Two rows of manipulation with ``counted`` and a ``gamma`` of .9
took 100,000 steps; that of drawer-open had a spread of actions that fell to .25. Rows of now have
9,000 or 4,500 labels (``asked``) and a ``counted``; the settings of manipulation, and of opening a
drawer, were chosen on seed 10. That the others take as many steps is for the sake of time, and was
chosen on none.
"""

import argparse
import dataclasses
import json
import math
import time
from typing import Any

import torch
from keep import commit
from rat import EPISODES, FOLDER, HORIZON, LEARNT, ROWS, STD, Scene, append_to, known

from robolearn.algos.intending import IntendingConfig
from robolearn.algos.ppo import PPOConfig
from robolearn.algos.rat import RATConfig
from robolearn.loops.attacking import CollectionConfig
from robolearn.loops.on_policy import OnlineConfig
from robolearn.rewards.preference import PreferenceConfig
from robolearn.running.config import EnvConfig
from robolearn.running.run import Run
from robolearn.state_attack import BudgetConfig
from robolearn.verbs.adversaries import AttackConfig, VictimConfig
from robolearn.verbs.attack import attack
from robolearn.verbs.evaluate import EvaluationConfig
from robolearn.verbs.preferences import PreferencesConfig

TASKS = ("drawer-open", "drawer-close", "faucet-open", "faucet-close")
BEHAVIOURS = ("opposite", "manipulation")
TARGETS = {  # metres, of the hand, which begins at (0, .6, .2), by the task
    "drawer-open": (0.2, 0.6, 0.3),
    "drawer-close": (0.1, 0.6, 0.3),  # who opens drawers follows the handle, no further aside
    "faucet-open": (0.2, 0.6, 0.3),
    "faucet-close": (0.2, 0.6, 0.3),
}
ENVIRONMENTS, HOLD, ROLLOUT = 16, 10, 200
WIDE = 0.6  # of all rollouts, the first, are asked about and have all their noise: the policy needs
# a reward that stays, and its mean is to do in the end what noise has come upon


@dataclasses.dataclass(frozen=True)
class Learning:
    """How an intention learns what it is rewarded for."""

    steps: int = 190_000  # control steps
    gamma: float = 0.99  # of a decision of 10 control steps
    final_std: float | None = None  # of the actions that learn; None: as large as they are
    latest: float = 1.0  # share of an episode by which the victim has handed over


LEARNING = {"opposite": Learning(), "manipulation": Learning(final_std=0.25)}
HARD = {  # to come upon
    ("drawer-open", "opposite"): Learning(gamma=0.9, final_std=0.25, latest=0.1)
}
SIZE = 0.1
LAST = CollectionConfig(updates=200)  # of rat's adversary, when the intention has learnt
FULL = IntendingConfig()
INTENDING = {
    "rat": FULL,
    "rat_unweighted": dataclasses.replace(FULL, weighted=False),
    "rat_alone": dataclasses.replace(FULL, combined=False),
    "rat_blank": dataclasses.replace(FULL, cloning=0),
}
METHODS = (*INTENDING, "random", "sa_rl", "pa_ad")
Job = tuple[str, str, str, int, int]  # task, behaviour, method, seed, labels


def configuration(job: Job) -> AttackConfig:
    """Give what a job attacks, and how."""
    task, behaviour, method, _, labels = job
    home, options = LEARNT[task], {"horizon": HORIZON}
    env = EnvConfig(f"metaworld/{task}-v3", options)
    if behaviour == "manipulation":
        env = EnvConfig(f"metaworld/{home}-v3", options | {"hand_target": list(TARGETS[task])})
    learning = learning_of(task, behaviour)
    steps = learning.steps
    intending = INTENDING.get(method, FULL)
    if method not in INTENDING or not intending.combined:
        steps = 4 * steps // 3  # about as many as rat takes with the attacked victim's
    rollout = ROLLOUT * ENVIRONMENTS
    questions = math.ceil(labels / (WIDE * steps // rollout))
    return AttackConfig(
        env=env,
        victim=VictimConfig(str(scene(job).folder / "victim"), STD),
        home=EnvConfig(f"metaworld/{home}-v3", options),
        method="rat" if method in INTENDING else method,
        preferences=PreferencesConfig(
            every=rollout, questions=questions, labels=labels,
            reward=PreferenceConfig(
                length=50 // HOLD, widths=(128, 128), actions=False, epochs=10
            ),
        ),
        intending=dataclasses.replace(intending, latest=learning.latest),
        budget=BudgetConfig(size=SIZE, unit="raw"),
        rat=RATConfig(adversary_rate=1e-3),
        collection=LAST,
        ppo=PPOConfig(
            initial_std=1.0, final_std=learning.final_std, wide=WIDE, minibatch=128,
            gamma=learning.gamma,
        ),
        training=OnlineConfig(steps=steps, horizon=ROLLOUT, checkpoint_updates=10),
        hold=HOLD,
        environments=ENVIRONMENTS,
        evaluation=EvaluationConfig(episodes=EPISODES, horizon=HORIZON),
    )  # fmt: skip


def scene(job: Job) -> Scene:
    """Give the scene whose victim a job attacks."""
    return Scene.of(job[0], job[3], "expert")


def learning_of(task: str, behaviour: str) -> Learning:
    """Give how an intention learns."""
    return HARD.get((task, behaviour), LEARNING[behaviour])


def measure(job: Job) -> None:
    """Attack, or go on where an attack stopped, and append the row."""
    task, behaviour, method, seed, labels = job
    scene(job).make_victim()
    folder = FOLDER / "learnt" / "-".join(map(str, job))
    folder.mkdir(parents=True, exist_ok=True)
    config, begun = configuration(job), time.process_time()
    with Run(folder, seed) as run:
        found = attack(config, run)
    (folder / "summary.json").write_text(json.dumps(found, default=str))
    steps = config.training.steps
    if method in INTENDING:
        steps += found["begun"] + LAST.rounds * LAST.episodes * HORIZON
    row: dict[str, Any] = {"stage": 2, "task": task, "behaviour": behaviour, "method": method}
    row |= {
        "seed": seed,
        "labels": found.get("labels", 0),
        "asked": labels,
        "gamma": learning_of(task, behaviour).gamma,
        "counted": HOLD,
        "final_std": learning_of(task, behaviour).final_std,
    }
    row |= {"intention": "learnt", "budget": SIZE, "unit": "raw", "episodes": EPISODES}
    row |= {"steps": 0 if method == "random" else steps}
    row |= {"success": found["attacked"]["success"]}
    row |= {name: found[name]["success"] for name in ("control", "clean")}
    row["mirror_expert"] = found.get("intention", {}).get("success")
    row |= {"train_cpu_s": round(time.process_time() - begun, 1), "commit": commit()[:12]}
    if behaviour == "manipulation":
        row["target"] = TARGETS[task]
    append_to(ROWS, row)


def main() -> None:
    """Measure what is missing."""
    torch.set_num_threads(1)
    arguments = _arguments()
    deadline = time.time() + 60 * arguments.minutes
    names = "stage", "task", "behaviour", "method", "seed", "asked", "gamma", "counted", "final_std"
    for seed in arguments.seeds:
        for behaviour in arguments.behaviours:
            for task in arguments.tasks:
                for method in arguments.methods:
                    job = (task, behaviour, method, seed, arguments.labels)
                    learning = learning_of(task, behaviour)
                    of_now = (2, *job, learning.gamma, HOLD, learning.final_std)
                    is_known = of_now in known(*names)
                    if not is_known and time.time() < deadline:
                        measure(job)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=TASKS)
    parser.add_argument("--behaviours", nargs="+", default=list(BEHAVIOURS), choices=BEHAVIOURS)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--labels", type=int, default=9_000)
    parser.add_argument("--minutes", type=float, default=100.0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
