"""A plane on which operators reach for the origin and close their fingers, each in their way."""

import numpy as np

from robolearn.types import ArraySpec, Spec

PERIOD_S = 0.1
INTERFACE = Spec(
    "plane",
    {"state": ArraySpec((3,), names=("hand_x", "hand_y", "fingers"))},
    ArraySpec((3,), names=("dx", "dy", "gripper")),
    period_s=PERIOD_S,
)


def reach(rng, speed=1.0, pause=0, side=1.0, closes_at=0.15):
    """Go round to a goal at the origin: states [T, 3], actions [T, 3] (the moves; the gripper)."""
    hand = np.array([1.0, 0.6 * side]) + 0.05 * rng.standard_normal(2)
    fingers, states, actions = 1.0, [], []
    while len(states) < 400 and (np.linalg.norm(hand) > 0.05 or fingers > 0.05):
        away = float(np.linalg.norm(hand))
        way = -hand + 0.8 * side * away * np.array([0.0, -1.0])  # first across, then along
        move = speed * min(1.0, 3.0 * away) * way / max(np.linalg.norm(way), 1e-6)
        move = move + 0.08 * speed * rng.standard_normal(2)
        if 20 <= len(states) < 20 + pause:
            move = 0.02 * rng.standard_normal(2)
        close = 1.0 if away < closes_at else -1.0
        states.append([*hand, fingers])
        actions.append([*np.clip(move, -1, 1), close])
        hand = hand + 0.04 * np.clip(move, -1, 1)
        fingers = float(np.clip(fingers - 0.2 * close, 0.0, 1.0))
    return np.array(states), np.array(actions)


def demonstrations(count, seed, **habits):
    rng = np.random.default_rng(seed)
    return [reach(rng, **habits) for _ in range(count)]


def waiting(count, seed, anywhere=False):
    """Wait with open fingers for 8 steps: where they close, or each somewhere else."""
    rng = np.random.default_rng(seed)
    pairs = []
    for states, actions in demonstrations(count, seed):
        closes = int(np.flatnonzero(actions[:, 2] > 0)[0])
        at = int(rng.integers(5, closes - 8)) if anywhere else closes
        rest = np.tile([0.0, 0.0, -1.0], (8, 1))
        s = np.concatenate([states[:at], np.tile(states[at], (8, 1)), states[at:]])
        pairs.append((s, np.concatenate([actions[:at], rest, actions[at:]])))
    return pairs


def unzipped(pairs):
    return [s for s, _ in pairs], [a for _, a in pairs]
