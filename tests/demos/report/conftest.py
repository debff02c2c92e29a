"""A hand that reaches and closes: operators with habits, to be found by the report."""

from __future__ import annotations

import numpy as np
import pytest

from demos.data.dataset import Dataset
from robolearn.types import ArraySpec, Episode, Spec

PERIOD_S = 0.1
REACH = Spec(
    "test/Reach",
    {
        "state": ArraySpec((3,), names=("eef_pos_x", "eef_pos_y", "fingers")),
        "front": ArraySpec((24, 32, 3), "uint8"),
    },
    ArraySpec((3,), names=("dx", "dy", "gripper")),
    PERIOD_S,
)


def reach(seed: int, speed: float = 1.0, pause: int = 0, side: float = 1.0, **about) -> Episode:
    """Go round to the origin and close the fingers; ``pause`` steps of rest in the middle."""
    rng = np.random.default_rng(seed)
    hand = np.array([1.0, 0.6 * side]) + 0.05 * rng.standard_normal(2)
    fingers, states, actions = 1.0, [], []
    while len(states) < 400 and (np.linalg.norm(hand) > 0.05 or fingers > 0.05):
        away = float(np.linalg.norm(hand))
        way = -hand + 0.8 * side * away * np.array([0.0, -1.0])
        move = speed * min(1.0, 3.0 * away) * way / max(np.linalg.norm(way), 1e-6)
        move = np.clip(move + 0.05 * speed * rng.standard_normal(2), -1.0, 1.0)
        if 20 <= len(states) < 20 + pause:
            move = np.zeros(2)
        close = 1.0 if away < 0.15 else -1.0
        states.append([*hand, fingers])
        actions.append([*move, close])
        hand = hand + 0.04 * move
        fingers = float(np.clip(fingers - 0.2 * close, 0.0, 1.0))
    return episode(np.array([*states, [*hand, fingers]]), np.array(actions), **about)


def episode(states: np.ndarray, actions: np.ndarray, **about) -> Episode:
    """Make an episode of states [T + 1, 3] and actions [T, 3] with a camera that sees the hand."""
    steps = len(actions)
    success, records = about.pop("success", True), about.pop("records", {})
    shown = about.pop("shown", range(steps + 1))  # the step whose image is seen at each
    frames = np.stack([picture(states[t]) for t in shown])
    return Episode(
        {"state": states.astype(np.float32), "front": frames},
        actions.astype(np.float32),
        np.zeros(steps, np.float32),
        terminated=success,
        truncated=not success,
        success=success,
        metadata=about,
        records=records,
    )


def picture(state: np.ndarray) -> np.ndarray:
    """Draw the hand as a bright square over grey [24, 32, 3]."""
    image = np.full((24, 32, 3), 90, np.uint8)
    x, y = (int(np.clip(20 * v + 6, 0, 20)) for v in state[:2])
    image[y : y + 4, x : x + 4] = 50 + int(600 * abs(state[0])) % 200
    return image


@pytest.fixture(scope="session")
def people(tmp_path_factory):
    """Give a dataset of 30: ann is at her best, bob waits, cid goes another way, two are copies."""
    path = tmp_path_factory.mktemp("report") / "people"
    dataset = Dataset.create(path, REACH)
    for seed in range(12):
        dataset.append(reach(seed, operator="ann"))
    for seed in range(8):
        dataset.append(reach(100 + seed, pause=15, operator="bob"))
    for seed in range(8):
        dataset.append(reach(200 + seed, side=-1.0, operator="cid", success=seed > 0))
    for seed in range(2):
        dataset.append(reach(seed, operator="dee"))
    dataset.flush()
    return path
