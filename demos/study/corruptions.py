"""Demonstrations spoilt on purpose, each in one way: what a judge should notice.

Frames of time are control steps. Actions are commanded motions (velocities: 0 is rest) or, if
``absolute``, commanded places (rest is to go on commanding where one is).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from robolearn.judging.demonstrations import Demonstration

LATE, FROZEN, PAUSE, EARLY = 10, 40, 40, 15  # steps


@dataclass(frozen=True)
class Spoiler:
    """What corruptions need to know of the actions."""

    gripper: int  # the entry that opens and closes
    absolute: bool = False

    def motion(self, actions: np.ndarray) -> np.ndarray:
        """Give the numbers of the entries that move, the one that moves most first."""
        entries = [j for j in range(actions.shape[1]) if j != self.gripper]
        moved = np.diff(actions, axis=0) if self.absolute else actions
        size = np.abs(moved[:, entries]).mean(axis=0)
        return np.array(entries)[np.argsort(-size)]


Corruption = Callable[[Spoiler, Demonstration, np.ndarray, np.random.Generator], Demonstration]


def mirrored(
    spoiler: Spoiler, pair: Demonstration, other: np.ndarray, rng: np.random.Generator
) -> Demonstration:
    """Reverse the entry that moves most; a place is mirrored about the mean."""
    return _mirror(spoiler, pair, spoiler.motion(pair[1])[0])


def mirrored_small(
    spoiler: Spoiler, pair: Demonstration, other: np.ndarray, rng: np.random.Generator
) -> Demonstration:
    """Reverse the entry that moves least."""
    return _mirror(spoiler, pair, spoiler.motion(pair[1])[-1])


def late(
    spoiler: Spoiler, pair: Demonstration, other: np.ndarray, rng: np.random.Generator
) -> Demonstration:
    """Delay all actions."""
    states, actions = pair
    steps = min(LATE, len(actions) - 1)
    return states, np.concatenate([np.repeat(actions[:1], steps, axis=0), actions[:-steps]])


def frozen(
    spoiler: Spoiler, pair: Demonstration, other: np.ndarray, rng: np.random.Generator
) -> Demonstration:
    """Repeat one action for a while, as a recorder that hangs would."""
    states, actions = pair[0], pair[1].copy()
    steps = min(FROZEN, len(actions) // 2)
    start = int(rng.integers(len(actions) - steps))
    actions[start : start + steps] = actions[start]
    return states, actions


def pause(
    spoiler: Spoiler, pair: Demonstration, other: np.ndarray, rng: np.random.Generator
) -> Demonstration:
    """Stand still for a while in the middle of the way."""
    states, actions = pair
    start = int(rng.integers(len(actions) // 10, len(actions) - len(actions) // 10))
    rest = actions[start].copy()
    if not spoiler.absolute:
        rest[spoiler.motion(actions)] = 0.0
    return tuple(
        np.concatenate([whole[:start], np.repeat(still[None], PAUSE, axis=0), whole[start:]])
        for whole, still in ((states, states[start]), (actions, rest))
    )


def half_speed(
    spoiler: Spoiler, pair: Demonstration, other: np.ndarray, rng: np.random.Generator
) -> Demonstration:
    """Take twice as long for the same path."""
    states, actions = pair
    times = np.arange(0, len(actions) - 0.5, 0.5)
    before = times.astype(int)
    after, share = np.minimum(before + 1, len(actions) - 1), (times % 1)[:, None]
    slow = actions[before].copy()
    motion = spoiler.motion(actions)
    if spoiler.absolute:
        between = (1 - share) * actions[before] + share * actions[after]
        slow[:, motion] = between[:, motion]
    else:
        slow[:, motion] /= 2
    return (1 - share) * states[before] + share * states[after], slow


def shuffled(
    spoiler: Spoiler, pair: Demonstration, other: np.ndarray, rng: np.random.Generator
) -> Demonstration:
    """Put the actions into another order."""
    return pair[0], rng.permutation(pair[1], axis=0)


def another(
    spoiler: Spoiler, pair: Demonstration, other: np.ndarray, rng: np.random.Generator
) -> Demonstration:
    """Take another demonstration's actions [T', A]; its last one is repeated, if it is shorter."""
    rows = np.minimum(np.arange(len(pair[1])), len(other) - 1)
    return pair[0], other[rows]


def gripper_early(
    spoiler: Spoiler, pair: Demonstration, other: np.ndarray, rng: np.random.Generator
) -> Demonstration:
    """Command the gripper too early."""
    states, actions = pair[0], pair[1].copy()
    rows = np.minimum(np.arange(len(actions)) + EARLY, len(actions) - 1)
    actions[:, spoiler.gripper] = actions[rows, spoiler.gripper]
    return states, actions


CORRUPTIONS: Mapping[str, Corruption] = {
    "one entry mirrored": mirrored,
    "a small entry mirrored": mirrored_small,
    "actions late": late,
    "actions frozen": frozen,
    "a pause": pause,
    "half the speed": half_speed,
    "actions shuffled": shuffled,
    "another's actions": another,
    "gripper early": gripper_early,
}


def _mirror(spoiler: Spoiler, pair: Demonstration, entry: int) -> Demonstration:
    states, actions = pair[0], pair[1].copy()
    about = actions[:, entry].mean() if spoiler.absolute else 0.0
    actions[:, entry] = np.clip(2 * about - actions[:, entry], -1.0, 1.0)
    return states, actions
