"""Victims that are hard to attack, and attackers that know it: stage 4 of ``rat.py``.

    python benchmarks/rat_hardened.py [--tasks faucet-open ...] [--defences smooth ...]
                                      [--methods rat pgd] [--seeds 0 1 2] [--minutes 100]

The victims of ``rat.py``, cloned with a defence, at raw .1; a JSON line for each task, seed,
defence and method is appended to ``benchmarks/results/rat.jsonl``, ``stage`` 4. Attackers are
trained against the victim as it is. Defences:

- ``plain``: none, to compare with.
- ``smooth``, ``smoother``, ``lipschitz``: ``robolearn/algos/hard_bc.py``.
- ``adversarial``: RAT-ATLA for clones. The victim is attacked by RAT, what it saw is labelled with
  what the expert would do in the true states, it learns from that too, and so on by turns.
- ``predict``, ``hold``: ``robolearn/algos/detection.py``, at most 5% of clean episodes with an
  alarm; the attacker knows the detector (``Evading``), and descends on what raises none
  (``evades``: 2; rows without it kept within that afterwards, which attacks less).
- ``strict``: as ``predict``, with an alarm in up to half of the clean episodes: to act on what is
  predicted costs little.

Drawers are opened towards the intention that is within reach (see ``rat.py``), faucets towards the
expert.
"""

import argparse
import time
from dataclasses import dataclass

import numpy as np
import torch
from keep import short_commit
from rat import (
    CLONE,
    EPISODES,
    HORIZON,
    METHODS,
    MOVABLE,
    ROWS,
    STD,
    Scene,
    append_to,
    fit_to,
    known,
)

from robolearn.algos.bc import BehaviorCloning
from robolearn.algos.detection import DetectionConfig, Detector, Evading, Guarded
from robolearn.algos.gaussians import GaussianClone
from robolearn.algos.hard_bc import HardCloning, HardCloningConfig, HardeningConfig
from robolearn.algos.pgd import PGD
from robolearn.algos.rat import RAT, RATConfig
from robolearn.attack import Attacked, Perturbation, Victim
from robolearn.loops.attacking import CollectionConfig, attacking
from robolearn.loops.rollout import rollout

SIZE, UNIT = 0.1, "raw"
TASKS = {"faucet-open": "expert", "faucet-close": "expert", "drawer-open": "reachable"}
HARD = {  # in units of the inputs' spread, of which .1 raw is about .3 to 1
    name: HardCloningConfig.of(CLONE, HardeningConfig(**settings))
    for name, settings in {
        "smooth": {"smoothness": 0.3, "size": 0.3},
        "smoother": {"smoothness": 3.0, "size": 0.5},
        "lipschitz": {"lipschitz": 2.0},
    }.items()
}
DETECTION = {answer: DetectionConfig(answer=answer) for answer in ("predict", "hold")}
DETECTION["strict"] = DetectionConfig(answer="predict", false_alarm_rate=0.5)
DEFENCES = ("plain", *HARD, "adversarial", *DETECTION)
TURNS, TURN = 3, CollectionConfig(rounds=4)  # of attacker and victim, and of the attacker
CLEAN = 40  # episodes in each scene that a detector learns from


@dataclass
class Hardened(Scene):
    """A scene whose victim has a defence."""

    defence: str = "plain"

    @property
    def folder(self):
        """Where the victim is kept."""
        return super().folder / self.defence

    def learner(self) -> BehaviorCloning:
        """Make what the victim is learnt with."""
        if self.defence in HARD:
            return HardCloning(self.env.interface, HARD[self.defence], self.seed)
        return super().learner()

    def clone(self) -> tuple[BehaviorCloning, np.ndarray]:
        """Clone the teacher, and harden the clone by turns if that is the defence."""
        clone, states = super().clone()
        if self.defence == "adversarial":
            self._take_turns(clone, states)
        return clone, states

    def armed(self, clone: BehaviorCloning, states: np.ndarray) -> Victim:
        """Make a victim of a clone, with a detector if that is the defence."""
        victim = GaussianClone(clone, STD)
        if self.defence not in DETECTION:
            return victim
        seeds = np.random.SeedSequence([self.seed, 4]).generate_state(CLEAN).tolist()
        clean = []
        for env in (self.home, self.env):
            for seed in seeds:
                episode = rollout(env, victim, horizon=HORIZON, seed=seed)
                clean.append((episode.observations["state"], episode.actions))
        config = DETECTION[self.defence]
        return Guarded.of(victim, Detector.fit(self.env.interface, clean, config, self.seed))

    def knowing(self, perturbation: Perturbation, descends: bool = True) -> Perturbation:
        """Have a perturbation raise no alarm, and descend on what raises none."""
        if not isinstance(self.victim, Guarded):
            return perturbation
        aim = perturbation if isinstance(perturbation, PGD) else None
        if aim is None and descends:
            aim = PGD(self.victim, self.intention, self.budget(SIZE, UNIT))
        return Evading(perturbation, self.victim, aim)

    def _take_turns(self, clone: BehaviorCloning, states: np.ndarray) -> None:
        """Attack the clone, and have it learn what should have been done; and so on."""
        rng = np.random.default_rng([self.seed, 5])
        self.states = states
        budget = self.budget(SIZE, UNIT)
        table, wanted = [states], [self.teacher.act({"state": states})]
        for _ in range(TURNS):
            victim = GaussianClone(clone, STD)
            learner = RAT(victim, self.intention, budget, RATConfig(adversary_rate=1e-3), self.seed)
            attacked = Attacked(victim, learner, budget)
            rows = attacking(learner, self.env, attacked, TURN, HORIZON, rng)["state"]
            table.append((rows + learner(rows)).numpy())
            wanted.append(self.teacher.act({"state": rows.numpy()}))
            fit_to(clone, *(torch.from_numpy(np.concatenate(a)) for a in (table, wanted)), rng)


def main() -> None:
    """Measure what is missing."""
    torch.set_num_threads(1)
    arguments = _arguments()
    deadline = time.time() + 60 * arguments.minutes
    for seed in arguments.seeds:
        for task in arguments.tasks:
            for defence in arguments.defences:
                measure(task, seed, defence, arguments.methods, deadline)


def measure(task: str, seed: int, defence: str, methods: list[str], deadline: float) -> None:
    """Append the missing rows of a victim, as long as there is time."""
    fixed = {"stage": 4, "task": task, "behaviour": "opposite", "seed": seed, "defence": defence}
    evades = {"evades": 2} if defence in DETECTION else {}
    job = 4, task, seed, defence, evades.get("evades")
    there = known("stage", "task", "seed", "defence", "evades", "method", "least_movable")
    todo = [m for m in methods if (*job, m, MOVABLE.get(m)) not in there]
    if not todo or time.time() > deadline:
        return
    scene = Hardened.of(task, seed, TASKS[task])
    scene.defence = defence
    scene.prepare()
    for method in todo:
        found = scene.attack(method, scene.budget(SIZE, UNIT))
        about = {"method": method, "labels": 0, "intention": scene.wanted}
        about |= {"budget": SIZE, "unit": UNIT, "episodes": EPISODES}
        about |= {"least_movable": MOVABLE[method]} if method in MOVABLE else {}
        append_to(ROWS, fixed | evades | about | found | scene.rates | {"commit": short_commit()})


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--defences", nargs="+", default=list(DEFENCES), choices=list(DEFENCES))
    parser.add_argument("--methods", nargs="+", default=["rat", "pgd"], choices=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--minutes", type=float, default=100.0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
