"""Would a policy wait for ever where a demonstrator waited?

A gripper switches, and the rest of the arm stands still while it does. Who rests with an open hand
before closing it shows a policy many steps at the same place that say "open", and few that say
"close". A policy gives what most of them say, so that nothing changes, and it says so again. Waits
sees such rests, those before a switch at the place of the switch:

    r_t    = |z_(t + 1) - z_t| / p(z_t),    rest_t = 1 if r_t < rho min(1, median r), else 0
    w_e    = sum_t rest_t exp(-|z_t - z_e|^2 / 2 (h / 4)^2),    t from the last switch to e
    W      = sum_e w_e / L                                      waits

e are the steps at which an entry of the action that only switches takes another value, z are
standardised states, p is the base's mean stride around a place, L its median length, and h the
width of the mean in progress lost (``progress.py``). The median over a demonstration is its own
pace: who is slow everywhere does not rest. A rest elsewhere, where the hand does not
switch, slows a policy down and does not stop it, as the mean command still leads on; so does who is
slow. W is 0 for who moves while closing the hand, and on tasks in which nothing switches.
``docs/harm.md`` says how this goes with the harm that was measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import PositiveFloat

from robolearn.algos.commands import switching
from robolearn.algos.progress import Progress, Sums
from robolearn.settings import ProperShare, Settings

TINY = 1e-9  # of a stride
DECIMALS = 3  # of an action: what differs by less is the same command


@dataclass(frozen=True)
class WaitingConfig(Settings):
    """How waits are measured. Raises UserError for a value out of range."""

    at_rest: ProperShare = 0.35
    """Share of the base's stride at a place, and of one's own usual pace, below which a step is a
    rest, rho."""
    bandwidth: PositiveFloat = 0.25
    """How near to the place of a switch a rest counts, in widths of the mean over states."""


@dataclass(frozen=True)
class Wait:
    """The rests before one switch."""

    entry: int  # of the action, that switches
    switch: int  # step at which it has its new value
    since: int  # step of the switch before, or 0
    rests: np.ndarray  # [switch - since], how much each step counts as a rest, 0 to 1

    @property
    def steps(self) -> float:
        """Give w_e."""
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
        self.columns = np.flatnonzero(switching(np.concatenate(actions)))
        self.width = config.bandwidth * progress.width
        self.of_base = [
            self.share(self.before_switches(z, progress.expected_at(z), a))
            for z, a in zip(map(progress.standardise, states), actions, strict=True)
        ]  # W of each

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
        own = min(1.0, float(np.median(paces))) if len(paces) else 1.0
        return paces < self.config.at_rest * own

    def near(self, z: np.ndarray, place: np.ndarray) -> np.ndarray:
        """Give how near [T] states z [T, O] are to one [O]: 1 is at the same place."""
        return np.exp(-np.square(z - place).sum(axis=1) / (2 * self.width**2))

    def share(self, waits: Sequence[Wait]) -> float:
        """Give W of a demonstration's waits."""
        return sum(wait.steps for wait in waits) / self.progress.length

    def _waits(self, rests: np.ndarray, z: np.ndarray, actions: np.ndarray) -> Iterator[Wait]:
        for entry in self.columns:
            since = 0
            for switch in switches(actions[:, entry]).tolist():
                before = slice(since, switch)
                near = self.near(z[before], z[switch])
                yield Wait(int(entry), switch, since, rests[before] * near)
                since = switch


def switches(commands: np.ndarray) -> np.ndarray:
    """Give the steps at which commands [T] are others than in the step before."""
    return 1 + np.flatnonzero(np.diff(np.round(commands, DECIMALS)))
