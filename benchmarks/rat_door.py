"""Why a victim that unlocks a door cannot be made to lock it as the expert does.

    python benchmarks/rat_door.py [seed]

Draws ``docs/rat_door.png``: how high the hand is above the lock, over its distance from it, of the
intention and of the victim that RAT attacks towards it (raw .1), for Meta-World's expert and for
the intention of ``benchmarks/rat.py`` that makes no detours. Prints for each the distance of the
attacked victim's actions from the intended ones (mean squares of each entry, over its episodes).
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rat import HORIZON, Scene, rat

from robolearn.attack import Attacked, Perturbation
from robolearn.loops.rollout import rollout
from robolearn.types import Policy

PICTURE = Path(__file__).parents[1] / "docs" / "rat_door.png"
EPISODES = 5


def main(seed: int) -> None:
    """Train both attacks, and draw."""
    torch.set_num_threads(1)
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    columns = figure.subplots(1, 2, sharex=True, sharey=True)
    for axes, wanted in zip(columns, ("expert", "reachable"), strict=True):
        scene = Scene.of("door-lock", seed, wanted)
        scene.prepare()
        budget = scene.budget(0.1, "raw")
        perturbation = rat(scene, budget)
        print(json.dumps({"intention": wanted} | draw(axes, scene, perturbation)), flush=True)
        axes.set_title(f"intention: {wanted}", loc="left", fontsize=10)
        axes.set_xlabel("distance from the lock, level, m")
    columns[0].set_ylabel("height above the lock, m")
    columns[0].legend(fontsize=8)
    figure.savefig(PICTURE, dpi=110)


def draw(axes: Axes, scene: Scene, perturbation: Perturbation) -> dict:
    """Draw the ways of the intention and of the attacked victim; give how far they are apart."""
    budget = scene.budget(0.1, "raw")
    attacked = Attacked(scene.victim, perturbation, budget)
    states, successes = [], 0
    for policy, colour, label in (
        (scene.intention, "#8a8a8a", "intention"),
        (scene.victim, "#2e86ab", "victim, not attacked"),
        (attacked, "#c8553d", "victim, attacked"),
    ):
        for seed in range(EPISODES):
            way, success = _way(scene, policy, seed)
            level = np.linalg.norm(way[:, :2] - way[:, 4:6], axis=1)
            axes.plot(level, way[:, 2] - way[:, 6], color=colour, label=label if not seed else "")
            if policy is attacked:
                states.append(way)
                successes += success
    seen = torch.from_numpy(np.concatenate(states))
    done = torch.as_tensor(attacked.act({"state": seen.numpy()}))
    apart = (done - scene.intention.distribution(seen).mean).square().mean(dim=0)
    return {"apart": [round(x, 3) for x in apart.tolist()], "success": successes / EPISODES}


def _way(scene: Scene, policy: Policy, seed: int) -> tuple[np.ndarray, bool]:
    episode = rollout(scene.env, policy, horizon=HORIZON, seed=seed)
    return episode.observations["state"], episode.success


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
