"""Another robot's motion, recorded when it is first asked for."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from robolearn.errors import UserError
from robolearn.names import load
from sim.distractors.clips import Frames

DEFAULT = "dmc/cheetah-run"
CLIPS, FRAMES = 6, 100
INERTIA = 0.8  # how much of an action is that of the step before


def record_clips(name: str, side: int, where: str) -> list[Callable[[], Frames]]:
    """List what gives the frames of each recording of an environment's first camera.

    UserError for a name that makes no environment with a MuJoCo model.
    """
    env = load("sim:make")(name)
    try:
        if not hasattr(env, "model"):
            raise UserError(f"{where}: agent:{name}: no environment with a MuJoCo model")
        camera = env.model.camera(0).name if env.model.ncam else "free"
    finally:
        env.close()
    return [functools.partial(_record, name, camera, side, seed) for seed in range(CLIPS)]


@functools.lru_cache(maxsize=2 * CLIPS)
def _record(name: str, camera: str, side: int, seed: int) -> Frames:
    """Let the robot move at random, but smoothly, from a seed."""
    env = load("sim:make")(name, cameras=(camera,), image_size=(side, side))
    rng, frames = np.random.default_rng(seed), []
    observation, _ = env.reset(seed=seed)
    action = np.zeros(env.interface.action.shape, np.float32)
    while len(frames) < FRAMES:
        frames.append(observation[camera])
        action = INERTIA * action + (1 - INERTIA) * rng.normal(0, 2, action.shape)
        observation, _, terminated, truncated, _ = env.step(np.clip(action, -1, 1))
        if terminated or truncated:
            observation, _ = env.reset()
    env.close()
    return np.stack(frames)
