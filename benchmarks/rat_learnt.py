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
itself, no combined collection); ``rat_cloned`` (the intention begins as the victim, not with
nothing); ``random``; ``sa_rl`` and ``pa_ad``, which earn the reward that is learnt from as many
labels. ``steps`` of a row are all control steps, also those in which the attacked victim of ``rat``
began episodes and those of its adversary's last training; the others take about as many in all. The
intention learns by SAC, those two by PPO (``learner``).

Settings of ``rat`` were chosen by opening drawers, ``opposite``, on seed 10. Rows of
``rat`` without a ``learner`` had an intention that PPO learnt, those without ``explored`` one that
began as the victim and did not look around before the first question, those without
``least_movable`` took fingers for movable at times, and made 200 updates in a last round of the
adversary, not 400 (``docs/attacks.md``).
"""

import argparse
import dataclasses
import json
import math
import time
from typing import Any

import torch
from keep import short_commit
from rat import EPISODES, FOLDER, HORIZON, LEARNT, MOVABLE, ROWS, STD, Scene, append_to, known

from robolearn.algos.intending import IntendingConfig
from robolearn.algos.ppo import PPOConfig
from robolearn.algos.rat import RATConfig
from robolearn.algos.sac import SACConfig
from robolearn.loops.attacking import CollectionConfig
from robolearn.loops.off_policy import OffPolicyConfig
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
TIMES = 30  # that is asked, at most
STEPS = 140_000  # control steps of an intention
RANDOM, EXPLORED = 8_000, 24_000  # of these, before the first question: drawn, and looking around
LEARNING = 28_000  # the last of these, after the last question
BESIDE, WIDE = 153_600, 0.6  # of who learns without one: as many in all; the share that explores
SIZE = 0.1
LAST = CollectionConfig()  # of rat's adversary, when the intention has learnt
FULL = IntendingConfig(learner="sac", latest=0.1)
INTENDING = {
    "rat": FULL,
    "rat_unweighted": dataclasses.replace(FULL, weighted=False),
    "rat_alone": dataclasses.replace(FULL, combined=False, latest=1.0),
    "rat_cloned": dataclasses.replace(FULL, cloning=1_500),
}
LEARNERS = dict.fromkeys(INTENDING, "sac") | {"sa_rl": "ppo", "pa_ad": "ppo"}
METHODS = (*INTENDING, "random", "sa_rl", "pa_ad")
Job = tuple[str, str, str, int, int]  # task, behaviour, method, seed, labels


def configuration(job: Job) -> AttackConfig:
    """Give what a job attacks, and how."""
    task, behaviour, method, _, labels = job
    home, options = LEARNT[task], {"horizon": HORIZON}
    env = EnvConfig(f"metaworld/{task}-v3", options)
    if behaviour == "manipulation":
        env = EnvConfig(f"metaworld/{home}-v3", options | {"hand_target": list(TARGETS[task])})
    learns = method in INTENDING
    steps, taken = (STEPS, 1) if learns else (BESIDE, ENVIRONMENTS * ROLLOUT)
    asking = steps - RANDOM - EXPLORED - LEARNING if learns else int(WIDE * steps)
    times = min(TIMES, asking // taken)  # who learns from rollouts is asked after one
    preferences = PreferencesConfig(
        every=asking // times, questions=math.ceil(labels / times), labels=labels,
        explore=EXPLORED if learns else 0,
        reward=PreferenceConfig(length=50 // HOLD, widths=(128, 128), actions=False, epochs=4),
    )  # fmt: skip
    return AttackConfig(
        env=env,
        victim=VictimConfig(str(scene(job).folder / "victim"), STD),
        home=EnvConfig(f"metaworld/{home}-v3", options),
        method="rat" if learns else method,
        preferences=None if method == "random" else preferences,
        intending=INTENDING.get(method, IntendingConfig()),
        budget=BudgetConfig(size=SIZE, unit="raw"),
        rat=RATConfig(adversary_rate=1e-3),
        collection=LAST,
        sac=SACConfig(gamma=0.95),
        replay=OffPolicyConfig(
            steps=steps, random_steps=RANDOM, updates_per_step=2.0, capacity=steps,
            log_steps=8_000, keep_replay=True,
        ),
        ppo=PPOConfig(initial_std=1.0, final_std=0.25, wide=WIDE, minibatch=128),
        training=OnlineConfig(steps=steps, horizon=ROLLOUT, checkpoint_updates=10),
        hold=HOLD,
        environments=ENVIRONMENTS,
        evaluation=EvaluationConfig(episodes=EPISODES, horizon=HORIZON),
    )  # fmt: skip


def scene(job: Job) -> Scene:
    """Give the scene whose victim a job attacks."""
    return Scene.of(job[0], job[3], "expert")


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
        "counted": HOLD,
        "learner": LEARNERS.get(method),
        "explored": EXPLORED if method in INTENDING else None,
        "least_movable": MOVABLE["rat"] if method in INTENDING else None,
    }
    row |= {"intention": "learnt", "budget": SIZE, "unit": "raw", "episodes": EPISODES}
    row |= {"steps": 0 if method == "random" else steps}
    row |= {"success": found["attacked"]["success"]}
    row |= {name: found[name]["success"] for name in ("control", "clean")}
    row["mirror_expert"] = found.get("intention", {}).get("success")
    row |= {"train_cpu_s": round(time.process_time() - begun, 1), "commit": short_commit()}
    if behaviour == "manipulation":
        row["target"] = TARGETS[task]
    append_to(ROWS, row)


def main() -> None:
    """Measure what is missing."""
    torch.set_num_threads(1)
    arguments = _arguments()
    deadline = time.time() + 60 * arguments.minutes
    names = ("stage", "task", "behaviour", "method", "seed", "asked", "counted", "learner",
             "explored", "least_movable")  # fmt: skip
    for seed in arguments.seeds:
        for behaviour in arguments.behaviours:
            for task in arguments.tasks:
                for method in arguments.methods:
                    job = (task, behaviour, method, seed, arguments.labels)
                    learnt = (EXPLORED, MOVABLE["rat"]) if method in INTENDING else (None, None)
                    of_now = (2, *job, HOLD, LEARNERS.get(method), *learnt)
                    if of_now not in known(*names) and time.time() < deadline:
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
