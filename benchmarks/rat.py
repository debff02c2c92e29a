"""Attacks on what a policy sees: how often it does the opposite of what it has learnt.

    python benchmarks/rat.py [--tasks drawer-open ...] [--methods rat pgd ...] [--seeds 0 1 2]
                             [--budgets 0.1] [--unit raw] [--intention expert]
                             [--minutes 100]

Stage 1, the intention is known: for each of six tasks of Meta-World a victim is cloned from the
scripted expert of the opposite task, on the scenes of both, and attacked where the task is to be
done; the intention is the task's own expert. It appends a JSON line for each task, seed, method and
budget to ``benchmarks/results/rat.jsonl``: the share of successes at the task (``success``), the
same without an attack (``control``) and of the intention itself (``mirror_expert``), and the
victim's at what it has learnt (``clean``). With ``--intention reachable`` the intention is not
Meta-World's expert, but a policy that does without what no perturbation of the budget makes the
victim do: its fingers stay as the victim's do, and it makes no detours. What is in there is not
measured again; after ``--minutes`` no new job begins. Victims are kept in ``runs/benchmarks/rat``.

Only entries of the observation that vary may be touched.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from keep import short_commit

from demos.operators.metaworld import Expert
from robolearn.algos.bc import BCConfig, BehaviorCloning
from robolearn.algos.gaussians import GaussianClone, GaussianExpert
from robolearn.algos.pa_ad import PAAD
from robolearn.algos.pgd import PGD, PGDConfig
from robolearn.algos.ppo import PPO, PPOConfig
from robolearn.algos.rat import RAT, RATConfig
from robolearn.algos.sa_rl import SARL
from robolearn.attack import (
    Attacked,
    Handover,
    Perturbation,
    Victim,
)
from robolearn.loops import checkpoint
from robolearn.loops.attacking import CollectionConfig, attacking
from robolearn.loops.evaluate import evaluate, evaluation_seeds
from robolearn.loops.on_policy import OnlineConfig, online
from robolearn.loops.rollout import rollout
from robolearn.perturbed import AdversaryEnv, Directed
from robolearn.state_attack import Budget, BudgetConfig, RandomPerturbation
from robolearn.types import Environment, Observation, Policy
from sim import make, make_vec

FOLDER = Path("runs/benchmarks/rat")
ROWS = Path(__file__).parent / "results" / "rat.jsonl"
OPPOSITES = (("door-lock", "door-unlock"), ("drawer-open", "drawer-close"),
             ("faucet-open", "faucet-close"))  # fmt: skip
LEARNT = {a: b for pair in OPPOSITES for a, b in (pair, pair[::-1])}  # task -> what victims know
EPISODES = 50
HORIZON = 200
STD = 0.1  # of both policies' actions
CLONE = BCConfig(members=1, widths=(256, 256), dropout=0.0)
SHOWN, CORRECTED = 10, 5  # episodes in each scene: of the expert, of the clone in a round of DAgger
FITS = 3  # the last two after a round of DAgger each
FIT_STEPS, FIT_BATCH = 1000, 256
ENVIRONMENTS, PPO_STEPS = 8, 100_000  # of sa_rl and pa_ad: control steps, of rat 9,600 at most
COLLECTION = CollectionConfig()  # of RAT
MOVABLE = {"rat": RATConfig().least_movable}  # by method; of rows without it .05


class Reaches:
    """Scripted policy of a hand whose fingers stay closed, as those of these victims do."""

    memoryless = True

    def __init__(self, velocity: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> None:
        self.velocity = velocity  # of hand and object, where they are: [3], [3] -> [3]

    def reset(self, n: int) -> None:
        """Begin n episodes; there is nothing to forget."""

    def act(self, observation: Observation, explore: bool = False) -> np.ndarray:
        """Choose actions float32 [N, 4] for "state" [N, 39]."""
        states = observation["state"].astype(np.float64)
        moves = [np.clip(self.velocity(s[:3], s[4:7]), -1, 1) for s in states]
        return np.concatenate([moves, np.ones((len(states), 1))], axis=1).astype(np.float32)


def lock(hand: np.ndarray, bolt: np.ndarray) -> np.ndarray:
    """Go over the lock, with a hand's breadth between them, and push it down."""
    bolt = bolt - [0.02, 0.02, 0.0]
    if np.linalg.norm((hand - bolt)[:2]) > 0.02:
        low = hand[2] < bolt[2] - 0.05
        return 25 * (np.array([0.0, -0.1, 0.1]) if low else bolt + [0.0, 0.0, 0.05] - hand)
    return 25 * (bolt - (0.0 if abs(hand[2] - bolt[2]) > 0.02 else [0.1, 0.0, 0.1]) - hand)


def pull(hand: np.ndarray, handle: np.ndarray) -> np.ndarray:
    """Reach behind the handle of a drawer from above, and pull."""
    behind = handle - [0.0, 0.0, 0.02]
    if np.linalg.norm((hand - behind)[:2]) > 0.04:
        return 4 * (behind + [0.0, 0.0, 0.3] - hand)
    if abs(hand[2] - behind[2]) > 0.03:
        return 4 * (behind - hand)
    return 50 * (behind - [0.0, 0.06, 0.0] - hand)


REACHABLE = {"door-lock": lock, "drawer-open": pull}


@dataclass
class Scene:
    """A task, the victim that knows its opposite, and what the victim has seen."""

    task: str
    seed: int
    env: Environment  # of the task
    home: Environment  # of its opposite
    intention: GaussianExpert
    teacher: Expert  # of the opposite
    wanted: str  # "expert" | "reachable"

    @classmethod
    def of(cls, task: str, seed: int, intention: str) -> "Scene":
        """Make the environments and experts."""
        env, home = (make(f"metaworld/{n}-v3", horizon=HORIZON) for n in (task, LEARNT[task]))
        reachable = intention == "reachable"
        expert = Reaches(REACHABLE[task]) if reachable else Expert(f"{task}-v3", env.interface)
        teacher = Expert(f"{LEARNT[task]}-v3", home.interface)
        return cls(task, seed, env, home, GaussianExpert(expert, STD), teacher, intention)

    @property
    def folder(self) -> Path:
        """Where the victim is kept."""
        return FOLDER / self.task / str(self.seed)

    def prepare(self) -> None:
        """Clone the victim and measure it, or read what an earlier call left."""
        self.make_victim()
        if not (self.folder / "rates.json").exists():
            (self.folder / "rates.json").write_text(json.dumps(self._rates(self.victim)))
        self.rates = json.loads((self.folder / "rates.json").read_text())
        self.rates["mirror_expert"] = self.success(self.env, self.intention)

    def make_victim(self) -> None:
        """Clone the victim, or read what an earlier call left."""
        folder = self.folder
        if not (folder / "states.npy").exists():
            clone, states = self.clone()
            checkpoint.save(folder / "victim", clone)
            np.save(folder / "states.npy", states)
        clone = checkpoint.load_policy(folder / "victim", self.env.interface)
        self.states = np.load(folder / "states.npy")
        self.victim = self.armed(clone, self.states)

    def learner(self) -> BehaviorCloning:
        """Make what the victim is learnt with."""
        return BehaviorCloning(self.env.interface, CLONE, self.seed)

    def armed(self, clone: BehaviorCloning, states: np.ndarray) -> Victim:
        """Make a victim of a clone, which has seen states [M, O]."""
        return GaussianClone(clone, STD)

    def knowing(self, perturbation: Perturbation, descends: bool = True) -> Perturbation:
        """Have a perturbation heed what it knows of the victim's defence."""
        return perturbation

    def clone(self) -> tuple[BehaviorCloning, np.ndarray]:
        """Clone the teacher with two rounds of DAgger; give the clone and its states [M, O]."""
        clone = self.learner()
        rng, table, actions = np.random.default_rng(self.seed), [], []
        for fit in range(FITS):
            actor, episodes = (clone, CORRECTED) if fit else (self.teacher, SHOWN)
            for env in (self.home, self.env):
                for _ in range(episodes):
                    table.append(seen(env, actor, int(rng.integers(2**31))))
                    actions.append(self.teacher.act({"state": table[-1]}))
            states, wanted = (torch.from_numpy(np.concatenate(a)) for a in (table, actions))
            if not fit:
                clone.fit_normaliser({"state": states})
            fit_to(clone, states, wanted, rng)
        return clone, states.numpy()

    def _rates(self, victim: Policy) -> dict[str, float]:
        return {
            "clean": self.success(self.home, victim),
            "control": self.success(self.env, victim),
        }

    def success(self, env: Environment, policy: Policy) -> float:
        """Give the share of successes."""
        return evaluate(env, policy, evaluation_seeds(self.seed, EPISODES), HORIZON).success

    def budget(self, size: float, unit: str) -> Budget:
        """Give the budget, in units of what the victim has seen."""
        config = BudgetConfig(size=size, unit=unit)
        return Budget.of(config, self.env.interface.observations["state"], self.states)

    def attack(self, method: str, budget: Budget) -> dict:
        """Make the perturbation, and give the success of the victim that it is shown to."""
        begun = time.process_time()
        perturbation = self.knowing(METHODS[method](self, budget))
        trained_s = round(time.process_time() - begun, 1)
        attacked = Attacked(self.victim, perturbation, budget)
        return {"success": self.success(self.env, attacked), "train_cpu_s": trained_s}


def fit_to(
    clone: BehaviorCloning,
    states: torch.Tensor,
    actions: torch.Tensor,
    rng: np.random.Generator,
) -> None:
    """Improve a clone on states [M, O] and actions [M, A]."""
    for _ in range(FIT_STEPS):
        i = torch.from_numpy(rng.integers(len(states), size=FIT_BATCH))
        clone.update({"observations": {"state": states[i]}, "actions": actions[i]})


def seen(env: Environment, policy: Policy, seed: int) -> np.ndarray:
    """Give the states [T, O] in which a policy acted in one episode."""
    return rollout(env, policy, horizon=HORIZON, seed=seed).observations["state"][:-1]


def noise(scene: Scene, budget: Budget) -> Perturbation:
    """Give random perturbations."""
    return RandomPerturbation(budget)


def pgd(scene: Scene, budget: Budget) -> Perturbation:
    """Give descent on the divergence, state by state."""
    return PGD(scene.victim, scene.intention, budget, PGDConfig(steps=10, step=0.2))


def rat(scene: Scene, budget: Budget) -> Perturbation:
    """Train RAT's adversary on states that the attacked victim and the intention reach."""
    config = RATConfig(adversary_rate=1e-3)
    learner = RAT(scene.victim, scene.intention, budget, config, scene.seed)
    rng = np.random.default_rng(scene.seed)
    attacked = Attacked(scene.victim, scene.knowing(learner, descends=False), budget)
    collector = Handover(attacked, scene.intention, HORIZON, rng)
    attacking(learner, scene.env, collector, COLLECTION, HORIZON, rng)
    return learner


def sa_rl(scene: Scene, budget: Budget) -> Perturbation:
    """Learn perturbations from the task's own reward."""
    return reinforced(scene, SARL(scene.victim, budget))


def pa_ad(scene: Scene, budget: Budget) -> Perturbation:
    """Learn directions of the victim's action from the task's own reward."""
    return reinforced(scene, PAAD(scene.victim, budget))


def reinforced(scene: Scene, actor: SARL | PAAD) -> Perturbation:
    """Let PPO learn what an actor shall carry out."""
    with closing(make_vec(f"metaworld/{scene.task}-v3", ENVIRONMENTS, horizon=HORIZON)) as envs:
        env = AdversaryEnv(envs, actor)
        policy = PPO(env.interface, PPOConfig(), scene.seed)
        online(policy, env, OnlineConfig(steps=PPO_STEPS, horizon=HORIZON), scene.seed)
    return Directed(policy, actor)


METHODS = {"random": noise, "pgd": pgd, "rat": rat, "sa_rl": sa_rl, "pa_ad": pa_ad}


def main() -> None:
    """Measure what is missing."""
    torch.set_num_threads(1)
    arguments = _arguments()
    deadline = time.time() + 60 * arguments.minutes
    tasks = arguments.tasks if arguments.intention == "expert" else REACHABLE
    scenes = [(task, seed) for seed in arguments.seeds for task in tasks]
    for task, seed in scenes:
        jobs = [(m, b, MOVABLE.get(m)) for b in arguments.budgets for m in arguments.methods]
        fixed = task, seed, arguments.unit, arguments.intention
        there = known("stage", "task", "seed", "unit", "intention", "method", "budget",
                      "least_movable")  # fmt: skip
        todo = [job for job in jobs if (1, *fixed, *job) not in there]
        if todo and time.time() < deadline:
            measure(Scene.of(task, seed, arguments.intention), todo, arguments.unit, deadline)


def measure(
    scene: Scene, jobs: list[tuple[str, float, float | None]], unit: str, deadline: float
) -> None:
    """Append the rows of these methods and budgets, as long as there is time."""
    scene.prepare()
    for method, size, movable in jobs:
        if time.time() < deadline:
            fixed = {"stage": 1, "task": scene.task, "behaviour": "opposite"}
            fixed |= {"method": method, "seed": scene.seed, "labels": 0, "intention": scene.wanted}
            fixed |= {"budget": size, "unit": unit, "episodes": EPISODES}
            fixed |= {} if movable is None else {"least_movable": movable}
            found = scene.attack(method, scene.budget(size, unit))
            append_to(ROWS, fixed | found | scene.rates | {"commit": short_commit()})


def known(*names: str) -> set[tuple]:
    """Give these values of the rows that are there, None where one is not."""
    lines = ROWS.read_text().splitlines() if ROWS.exists() else []
    return {tuple(json.loads(line).get(name) for name in names) for line in lines}


def append_to(path: Path, row: dict) -> None:
    """Add a row, in one piece, and show it."""
    line = json.dumps(row)
    print(line, flush=True)
    with path.open("ab", buffering=0) as file:
        file.write(line.encode() + b"\n")
        os.fsync(file.fileno())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tasks", nargs="+", default=list(LEARNT), choices=list(LEARNT))
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--budgets", nargs="+", type=float, default=[0.1])
    parser.add_argument("--unit", default="raw", choices=["raw", "std"])
    parser.add_argument("--intention", default="expert", choices=["expert", "reachable"])
    parser.add_argument("--minutes", type=float, default=100.0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
