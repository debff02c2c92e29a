"""What somebody who may touch a camera's image can do to a clone that lifts a cube by it.

    python benchmarks/rat_pixels.py [--demonstrations 50] [--epochs 20] [--sizes 4 8]
                                    [--methods random pgd rat] [--episodes 10] [--seed 0]

The clone of ``launch/bc_lift_pixels.yaml``, one network instead of three; the hand's camera may be
touched by so many grey levels (L_inf), the robot's own pose and fingers, which it sees too, not.
The intention is to stay where one is. It appends a JSON line for each method and size to
``benchmarks/results/rat_pixels.jsonl``, and gathers them in ``rat_pixels.json``: the share of
episodes in which the cube is lifted (``success``), the same without an attack (``control``), and
the returns. Run and clone are kept in ``runs/benchmarks/rat_pixels``; what is in the file is not
measured again.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from keep import gather, short_commit
from rat import append_to

from robolearn.__main__ import main as robolearn
from robolearn.types import Observation, Spec

FOLDER = Path("runs/benchmarks/rat_pixels")
ROWS = Path(__file__).parent / "results" / "rat_pixels.jsonl"
OPTIONS = "{robot: Panda, horizon: 200, engine: fast, cameras: [robot0_eye_in_hand]}"
KEYS = ("method", "size", "seed", "demonstrations", "epochs")


class Stays:
    """An intention: no motion, and open fingers."""

    memoryless = True

    def __init__(self, interface: Spec, rng: np.random.Generator) -> None:
        self._action = np.zeros(interface.action.shape, np.float32)
        self._action[-1] = -1.0

    def reset(self, n: int) -> None:
        """Begin n episodes."""

    def act(self, observation: Observation, explore: bool = False) -> np.ndarray:
        """Give the same action to all, float32 [N, A]."""
        return np.tile(self._action, (len(next(iter(observation.values()))), 1))


def main() -> None:
    """Clone, attack, and append what is missing."""
    torch.set_num_threads(1)
    arguments = _arguments()
    fixed = {"seed": arguments.seed, "demonstrations": arguments.demonstrations}
    fixed |= {"epochs": arguments.epochs}
    victim = FOLDER / f"clone-{'-'.join(map(str, fixed.values()))}"
    if not (victim / "summary.json").exists():
        _clone(victim, fixed)
    for method in arguments.methods:
        for size in arguments.sizes:
            row = {"method": method, "size": size} | fixed
            if tuple(row.values()) not in _known():
                row |= _attack(victim, method, size, arguments.episodes, arguments.seed)
                append_to(ROWS, row | {"commit": short_commit()})
    gather(ROWS)


def _clone(out: Path, about: dict[str, int]) -> None:
    _run(
        "bc_lift_pixels", f"dataset={FOLDER}/{about['demonstrations']}",
        f"recording.episodes={about['demonstrations']}", f"training.epochs={about['epochs']}",
        "bc.members=1", "evaluation=null", f"seed={about['seed']}", f"out={out}",
    )  # fmt: skip


def _attack(victim: Path, method: str, size: float, episodes: int, seed: int) -> dict:
    out = victim / f"{method}-{size:g}"
    _run(
        "rat_metaworld", f"method={method}", f"victim.checkpoint={victim}", "home=null",
        f"env={{name: robosuite/Lift, options: {OPTIONS}}}", f"images={{size: {size}}}",
        "intention={policy: 'rat_pixels:Stays'}", "pgd={steps: 5, step: 0.4}",
        "rat.widths=[256,32]", "collection={rounds: 6, episodes: 2, updates: 150, batch: 32}",
        f"evaluation={{episodes: {episodes}, horizon: 200}}", f"seed={seed}", f"out={out}",
    )  # fmt: skip
    found = json.loads((out / "summary.json").read_text())
    row = {"episodes": episodes}
    for name, key in (("attacked", ""), ("control", "control_")):
        row |= {f"{key}{what}": found[name][what] for what in ("success", "interval", "return")}
    return row


def _run(*line: str) -> None:
    if robolearn(line):
        raise SystemExit(" ".join(line))


def _known() -> set[tuple]:
    lines = ROWS.read_text().splitlines() if ROWS.exists() else []
    return {tuple(json.loads(line)[key] for key in KEYS) for line in lines}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--demonstrations", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--sizes", nargs="+", type=float, default=[4.0, 8.0])
    parser.add_argument("--methods", nargs="+", default=["random", "pgd", "rat"])
    parser.add_argument("--episodes", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
