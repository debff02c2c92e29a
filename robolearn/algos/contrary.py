"""Who commands the opposite of what the base commands around there, for too long?

A gripper is open or closed, and where it switches a policy has to tell two places apart that lie
side by side. Who is slow there, trembles, or comes to the object by another way gives many steps
that say "open" among the base's that say "closed", or the other way round: the policy then switches
far from the object, or not at all. Contrary commands counts them:

    m(z) = sum_j w_j g_j / sum_j w_j,   w_j = exp(-|z - z_j|^2 / 2 (b h)^2)
    x_t  = max(0, -g_t m(z_t)) (e if early else 1)       how contrary a command is, 0 to 1
    X    = sum_t x_t / L                                 contrary commands

g is an entry of the action that takes two values, as -1 and 1 (``waiting.py`` says which do), z_j
and g_j are the base's states and commands, L is its median length and h the width of the mean in
progress lost (``progress.py``), which is too narrow here: b is 1.75. A command is early if the last
switch is nearer in time than the next: fingers that close before the base's do are on their way all
the same, so e is a half. With several such entries the largest x_t counts. The base has some X
itself, as it comes near to its own switches too; what harms is to have a third as much again, or
more. Each of its demonstrations is held against the others.

Waits (``waiting.py``) are rests at the very place of a switch; whoever has many contrary commands
need not rest. ``docs/harm.md`` says how this goes with the harm that was measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import PositiveFloat

from robolearn.algos.progress import Progress
from robolearn.algos.waiting import signs_of
from robolearn.settings import Settings, Share


@dataclass(frozen=True)
class ContraryConfig(Settings):
    """How contrary commands are measured. Raises UserError for a value out of range."""

    bandwidth: PositiveFloat = 1.75
    """Width of the mean of the base's commands, b, in widths of the mean in progress lost."""
    early: Share = 0.5
    """How much a command counts that comes earlier than the base's, e; a late one counts 1."""


class Contrary:
    """What the base commands where, of entries that switch."""

    def __init__(
        self,
        progress: Progress,
        states: Sequence[np.ndarray],
        actions: Sequence[np.ndarray],
        values: Mapping[int, tuple[float, float]],
        config: ContraryConfig,
    ) -> None:
        """Look at the base's demonstrations, states [T, O], those of ``progress``, and actions.

        ``values`` are the two values of each entry that switches.
        """
        self.progress, self.values = progress, dict(values)
        self.width, self._early = config.bandwidth * progress.width, config.early
        self._base = signs_of(np.concatenate(actions), self.values)  # g [M, E]
        self.of_base = [
            self.along(progress.standardise(s), a, without=i)
            for i, (s, a) in enumerate(zip(states, actions, strict=True))
        ]  # x [T, E] of each

    def along(self, z: np.ndarray, actions: np.ndarray, without: int | None = None) -> np.ndarray:
        """Give x [T, E] of a demonstration's standardised states z [T, O] and actions [T, A].

        ``without`` leaves one of the base's demonstrations out of what it is held against.
        """
        return self.of(signs_of(actions, self.values), self.around(z, without))

    def around(self, z: np.ndarray, without: int | None = None) -> np.ndarray:
        """Give m [T, E], what the base commands around standardised states z [T, O]."""
        return self.progress.mean_around(z, self._base, self.width, without)

    def of(self, signs: np.ndarray, around: np.ndarray) -> np.ndarray:
        """Give x [T, E] of commands g [T, E] and m [T, E]."""
        weights = np.where(early(signs), self._early, 1.0)
        return weights * np.maximum(0.0, -signs * around)

    def share(self, contrary: np.ndarray) -> float:
        """Give X of a demonstration's x [T, E]."""
        return float(most(contrary).sum()) / self.progress.length


def most(contrary: np.ndarray) -> np.ndarray:
    """Give how contrary each step [T] is, by its most contrary entry, of x [T, E]."""
    return contrary.max(axis=1, initial=0.0)


def early(signs: np.ndarray) -> np.ndarray:
    """Say of commands [T, E], -1 or 1, whether the last switch is nearer in time than the next."""
    steps = np.arange(len(signs))[:, None]
    switches = np.diff(signs, axis=0, prepend=signs[:1]) != 0
    last = np.maximum.accumulate(np.where(switches, steps, -np.inf))
    coming = np.where(switches, steps, np.inf)[::-1]
    following = np.append(
        np.minimum.accumulate(coming)[::-1][1:], np.full((1, signs.shape[1]), np.inf), 0
    )
    return steps - last < following - steps
