"""Would a policy wait for ever where a demonstrator waited?

A gripper switches, and the rest of the arm stands still while it does. Who rests with an open hand
before closing it shows a policy many steps at the same place that say "open", and few that say
"close". A policy gives what most of them say, so that nothing changes, and it says so again. Waits
sees such rests, those before a switch at the place of the switch:

    r_t    = |z_(t + 1) - z_t| / p(z_t)
    rest_t = 1 if r_t < rho min(1, upper quartile of r), else 0
    w_t    = rest_t exp(-|z_t - z_e|^2 / 2 (h / 4)^2)           e: the next switch
    W      = sum_t w_t / L                                      waits

z are standardised states, p is the base's mean stride around a place, L its median length, and h
the width of the mean in progress lost (``progress.py``). The quartile is a demonstration's own
pace, however long it rests: who is slow everywhere does not rest. An entry of the action switches
if the base's demonstrations give it two values, neither of them 0, which is rest; a switch is where
a command comes nearer to the other one. With several such entries the largest w_t counts.

A rest elsewhere, where the hand does not switch, slows a policy down and does not stop it, as the
mean command still leads on; so does who is slow. W is 0 for who moves while closing the hand, and
on tasks in which nothing switches: a gripper that is told any opening in between goes on closing a
little at the mean of "open" and "closed". ``docs/harm.md`` says how this goes with the harm that
was measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import PositiveFloat

from robolearn.algos.progress import Progress, Sums
from robolearn.settings import ProperShare, Settings

OWN = 0.75  # quantile of a demonstration's paces that is its own
TINY = 1e-9  # of a stride
DECIMALS = 3  # of an action: what differs by less is the same command


@dataclass(frozen=True)
class WaitingConfig(Settings):
    """How waits are measured. Raises UserError for a value out of range."""

    at_rest: ProperShare = 0.35
    """Share of the base's stride at a place, and of one's own pace, below which a step is a rest,
    rho."""
    bandwidth: PositiveFloat = 0.25
    """How near to the place of a switch a rest counts, in widths of the mean over states."""


@dataclass(frozen=True)
class Wait:
    """The rests before one switch."""

    entry: int  # of the action, that switches
    switch: int  # step at which it has its new value
    since: int  # step of the switch before, or 0
    rests: np.ndarray  # w [switch - since]

    @property
    def steps(self) -> float:
        """Give how many steps it lasts."""
        return float(self.rests.sum())


class Waits:
    """How fast the base goes where, and which entries of its actions switch."""

    def __init__(
        self,
        progress: Progress,
        states: Sequence[np.ndarray],
        actions: Sequence[np.ndarray],
        config: WaitingConfig,
    ):
        """Look at the base's demonstrations, states [T, O], those of ``progress``, and actions."""
        self.config, self.progress = config, progress
        self.values = values_of(np.concatenate(actions))
        self.width = config.bandwidth * progress.width
        self.of_base = [
            self.share(waiting(self.before_switches(z, progress.expected_at(z), a), len(a)))
            for z, a in zip(map(progress.standardise, states), actions, strict=True)
        ]  # W of each, by the pace of all, itself included

    def before_switches(self, z: np.ndarray, expected: Sums, actions: np.ndarray) -> list[Wait]:
        """Give the waits of a demonstration, one for each switch of its actions [T, A].

        ``expected`` are the base's sums at its standardised states z [T, O].
        """
        paces = self.paces(self.progress.strides(z)[:-1], expected)
        return list(self._waits(np.append(self.rests(paces), False), z, actions))

    def paces(self, strides: np.ndarray, expected: Sums) -> np.ndarray:
        """Give r [T] of strides [T], at the first T steps of which the base's sums are known."""
        return strides / np.maximum(expected.pace[: len(strides)], TINY)

    def rests(self, paces: np.ndarray) -> np.ndarray:
        """Say of a demonstration's r [T] whether they are rests."""
        own = min(1.0, float(np.quantile(paces, OWN))) if len(paces) else 1.0
        return paces < self.config.at_rest * own

    def near(self, z: np.ndarray, place: np.ndarray) -> np.ndarray:
        """Give how near [T] states z [T, O] are to one [O]: 1 is at the same place."""
        return np.exp(-np.square(z - place).sum(axis=1) / (2 * self.width**2))

    def share(self, waiting: np.ndarray) -> float:
        """Give W of a demonstration's w [T]."""
        return float(waiting.sum()) / self.progress.length

    def _waits(self, rests: np.ndarray, z: np.ndarray, actions: np.ndarray) -> Iterator[Wait]:
        for entry, signs in zip(self.values, signs_of(actions, self.values).T, strict=True):
            since = 0
            for switch in (1 + np.flatnonzero(np.diff(signs))).tolist():
                before = slice(since, switch)
                near = self.near(z[before], z[switch])
                yield Wait(entry, switch, since, rests[before] * near)
                since = switch


def values_of(actions: np.ndarray) -> dict[int, tuple[float, float]]:
    """Give, for each entry of actions [M, A] that takes two values and no others, these two.

    None of them is 0: that is rest, so that the other one is a key's that moves the arm.
    """
    values = [np.unique(np.round(column, DECIMALS)) for column in actions.T]
    switching = {i: v for i, v in enumerate(values) if len(v) == 2 and v.all()}
    return {i: (float(v[0]), float(v[1])) for i, v in switching.items()}


def signs_of(actions: np.ndarray, values: Mapping[int, tuple[float, float]]) -> np.ndarray:
    """Give which of its two values each entry that switches is nearer to: -1 or 1 [T, E].

    ``actions`` are [T, A], ``values`` the two of each of E of their entries.
    """
    middles = [sum(pair) / 2 for pair in values.values()]
    return np.where(actions[:, list(values)] > middles, 1.0, -1.0)


def waiting(waits: Sequence[Wait], steps: int) -> np.ndarray:
    """Give how much each step [T] is a wait for a switch, w."""
    found = np.zeros(steps)
    for wait in waits:
        before = slice(wait.since, wait.switch)
        found[before] = np.maximum(found[before], wait.rests)
    return found
