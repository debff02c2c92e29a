"""What a world model makes of an episode: as a picture, and for the viewer."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from robolearn.algos.dreamer import Dreamer
from robolearn.algos.infopower import InfoPower
from robolearn.loops.rollout import rollout
from robolearn.names import load
from robolearn.networks.rssm import Belief
from robolearn.running.run import Run
from robolearn.types import Environment, Episode
from robolearn.viz.strips import draw_strips

STEPS = 90  # of the episode that is shown
LOOKS = 15  # steps after which what is foreseen begins anew from what is believed
EVERY = 3  # steps from one image of the picture to the next
IMAGES = 16


def show(learner: Dreamer, env: Environment, run: Run) -> None:
    """Run an episode and show it, see ``draw_believed``."""
    if learner.decoder is not None:
        episode = rollout(env, learner, horizon=STEPS, seed=run.seed, settle_steps=STEPS)
        draw_believed(learner, episode, run)


def draw_believed(learner: Dreamer, episode: Episode, run: Run) -> None:
    """Draw ``believed.png`` of an episode's beginning; the viewer, if there is one, gets all of it.

    Strips: what was seen, what the states of the model hold of it, and what they foretold, less
    than LOOKS steps before. Nothing where the model cannot draw.
    """
    if learner.decoder is None:
        return
    strips = imagined(learner, episode)
    chosen = range(0, len(episode) + 1, EVERY)[:IMAGES]
    draw_strips({name: images[chosen] for name, images in strips.items()}, run.path("believed.png"))
    if run.viewer is not None:
        scores = _scores(learner, episode)
        load("robolearn.viz:replay_arrays")(
            run.viewer, learner.interface, strips, episode.actions, scores, "believed and foreseen"
        )


def imagined(learner: Dreamer, episode: Episode) -> dict[str, np.ndarray]:
    """Give what was seen, believed and foreseen, uint8 [T + 1, 64, 64, 3] for cameras in a row."""
    believed = learner.believe(sequence(learner, episode))
    seen = np.concatenate([episode.observations[c] for c in learner.cameras], axis=-2)
    return {
        "seen": seen,
        "believed": learner.draw(believed.features)[0],
        "foreseen": learner.draw(foreseen(learner, believed, episode.actions)),
    }


def sequence(learner: Dreamer, episode: Episode) -> dict[str, Any]:
    """Give an episode as a batch of one sequence [1, T + 1, ...]."""
    images = {c: torch.from_numpy(episode.observations[c])[None] for c in learner.cameras}
    actions = torch.from_numpy(np.pad(episode.actions, ((1, 0), (0, 0))))[None]
    first = torch.arange(actions.shape[1])[None] == 0
    device = learner.device
    return {
        "observations": images, "actions": actions.to(device), "is_first": first.to(device),
    }  # fmt: skip


def foreseen(learner: Dreamer, believed: Belief, actions: np.ndarray) -> torch.Tensor:
    """Give features [T + 1, F] of who believes [1, T + 1, ...], but looks at every LOOKSth only."""
    count = len(actions)
    starts = range(0, count + 1, LOOKS)
    padded = np.pad(actions, ((0, LOOKS * len(starts) - count), (0, 0)))
    blocks = torch.from_numpy(padded.reshape(len(starts), LOOKS, -1)).to(learner.device)
    begin = Belief(*(part[0, starts] for part in believed))
    ahead = learner.foresee(begin, blocks.movedim(1, 0)[: LOOKS - 1]).features
    return torch.cat([begin.features[None], ahead]).movedim(1, 0).flatten(0, 1)[: count + 1]


def _scores(learner: Dreamer, episode: Episode) -> list | None:
    """Give how much each step tells of its action, if the learner asks for that."""
    if not isinstance(learner, InfoPower):
        return None
    with torch.no_grad():
        z = learner.believe(sequence(learner, episode)).z[0]
        actions = torch.from_numpy(episode.actions).to(learner.device)
        log_q = learner.log_q(z[:-1], z[1:], actions).cpu().numpy()
    along = load("robolearn.viz:StepScores").along
    return along({"told of the action": log_q}, {}, np.zeros(len(log_q), bool))
