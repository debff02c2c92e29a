"""In which order, and by which detours, objects on a table are brought to their goals.

An arrangement says at which spot each object is: where it was found, at its goal, or at one of a
few places to put it aside. One move brings one object to a spot that is free, at the cost

    |from - to| + move_m + blocked_m * (number of objects on the straight way)        in metres

and A* finds the cheapest moves to an arrangement with all objects at their goals (Hart, Nilsson and
Raphael 1968). Nothing else is needed: that a goal must be freed first, that a cycle needs somebody
put aside, and that a way around others is worth another order, all follow.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from pydantic import NonNegativeFloat, PositiveFloat

from robolearn.errors import UserError
from robolearn.settings import Settings

Arrangement = tuple[int, ...]  # [K], the spot of each object


@dataclass(frozen=True)
class PlannerConfig(Settings):
    """Distances and costs of ``plan``. Raises UserError for a value out of range."""

    placed_m: PositiveFloat = 0.045
    """An object as near to its goal need not be moved; no move is shorter."""
    clearance_m: PositiveFloat = 0.08
    """Distance between two objects' centres, below which they are in each other's way."""
    move_m: PositiveFloat = 0.2
    """Cost of every move: to reach for another object."""
    blocked_m: NonNegativeFloat = 0.2
    """Cost of every object on the way."""
    low_m: tuple[float, float] = (-0.15, -0.2)
    """Least x and y of the places to put something aside."""
    high_m: tuple[float, float] = (0.15, 0.2)
    """Greatest x and y."""
    spacing_m: PositiveFloat = 0.1
    """Distance between two such places."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if any(low > high for low, high in zip(self.low_m, self.high_m, strict=True)):
            raise UserError(f"low_m: {self.low_m} is above high_m, {self.high_m}")

    def places(self) -> np.ndarray:
        """Give the places [M, 2] to put something aside: a grid."""
        axes = [
            np.linspace(low, high, 1 + round((high - low) / self.spacing_m))
            for low, high in zip(self.low_m, self.high_m, strict=True)
        ]
        return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)


class Move(NamedTuple):
    """One object, and the place [2] to bring it to."""

    index: int
    place: np.ndarray


def plan(places: np.ndarray, goals: np.ndarray, config: PlannerConfig) -> list[Move]:
    """Find the cheapest moves from ``places`` [K, 2] to ``goals`` [K, 2], metres.

    Raises UserError if there are none: two goals are in each other's way.
    """
    table = _Table(places, goals, config)
    start = tuple(range(len(places)))
    costs, before = {start: 0.0}, {}
    waiting = [(table.remaining(start), start)]
    while waiting:
        _, here = heapq.heappop(waiting)
        if table.remaining(here) == 0.0:
            return list(table.moves(_way(before, here)))
        for there, cost in table.steps(here):
            total = costs[here] + cost
            if total < costs.get(there, np.inf):
                costs[there], before[there] = total, here
                heapq.heappush(waiting, (total + table.remaining(there), there))
    raise UserError(f"no plan: goals are less than clearance_m = {config.clearance_m} apart")


def _way(before: dict[Arrangement, Arrangement], last: Arrangement) -> list[Arrangement]:
    way = [last]
    while way[-1] in before:
        way.append(before[way[-1]])
    return way[::-1]


class _Table:
    """Spots, and what it costs to go from one to another; spot i < K is where object i was found,
    spot K + i its goal, and any object may be put aside at those from 2 K on.
    """

    def __init__(self, places: np.ndarray, goals: np.ndarray, config: PlannerConfig):
        self.config, self.count = config, len(places)
        self.spots = np.concatenate([places, goals, config.places()])  # [S, 2]
        self.distance = np.linalg.norm(self.spots[:, None] - self.spots, axis=-1)  # [S, S]

    def remaining(self, here: Arrangement) -> float:
        """Give the least that is still to pay: straight ways, nothing between; 0 at the end."""
        near = self.config.placed_m
        ways = [self.distance[spot, self.count + k] - near for k, spot in enumerate(here)]
        return sum(way + self.config.move_m for way in ways if way >= 0.0)

    def steps(self, here: Arrangement) -> Iterator[tuple[Arrangement, float]]:
        """Give all arrangements that one move leads to, with its cost."""
        for k, origin in enumerate(here):
            others = [spot for i, spot in enumerate(here) if i != k]
            for spot in (self.count + k, *range(2 * self.count, len(self.spots))):
                far = self.distance[origin, spot] >= self.config.placed_m
                if far and self._is_free(spot, others):
                    yield (*here[:k], spot, *here[k + 1 :]), self._cost(origin, spot, others)

    def moves(self, way: list[Arrangement]) -> Iterator[Move]:
        """Say what happens between the arrangements on the way."""
        for here, there in itertools.pairwise(way):
            moved = next(k for k in range(self.count) if here[k] != there[k])
            yield Move(moved, self.spots[there[moved]])

    def _is_free(self, spot: int, others: list[int]) -> bool:
        return all(self.distance[spot, other] >= self.config.clearance_m for other in others)

    def _cost(self, origin: int, spot: int, others: list[int]) -> float:
        ends = self.spots[origin], self.spots[spot]
        gaps = [distance_to_segment(self.spots[other], *ends) for other in others]
        blocked = sum(gap < self.config.clearance_m for gap in gaps)
        return self.distance[origin, spot] + self.config.move_m + self.config.blocked_m * blocked


def distance_to_segment(point: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """Give the distance from a point [D] to the straight line between a and b [D]."""
    way = b - a
    share = np.clip((point - a) @ way / max(way @ way, 1e-12), 0.0, 1.0)
    return float(np.linalg.norm(point - a - share * way))
