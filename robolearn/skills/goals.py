"""Policies that use frozen skills for positions of objects: along a path, or to their goals.

All of them choose at every step the skill that points at the goal: ``robolearn.skills.frozen``.
Skills do not know how to be done, so an object that is near enough is left alone: the hand opens
and goes up. The same helps where a skill got stuck: it then begins anew from above.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Le, MinLen
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from robolearn.errors import UserError, nearest
from robolearn.settings import Settings
from robolearn.skills.frozen import FrozenSkills, goals_of
from robolearn.skills.rearrangement import PlannerConfig, plan
from robolearn.types import Observation, Spec


@dataclass(frozen=True)
class LeaveConfig(Settings):
    """When an object is left alone, and how. Raises UserError for a value out of range."""

    near_m: PositiveFloat = 0.03
    """Distance from its goal within which an object is well placed."""
    patience_steps: PositiveInt = 30
    """Control steps without that, after which it is left for a new attempt."""
    steps: NonNegativeInt = 8
    """Control steps that leaving takes."""
    action: dict[str, Annotated[float, Ge(-1), Le(1)]] = field(
        default_factory=lambda: {"hand_z": 1.0, "gripper_close": -1.0}
    )
    """Entries of the action that leave it, each in [-1, 1]; the others are 0."""

    def vector(self, interface: Spec) -> np.ndarray:
        """Give the action [A]; UserError for an entry that it does not have."""
        names, vector = interface.action.names, np.zeros(interface.action.shape, np.float32)
        for name, entry in self.action.items():
            if name not in names:
                raise UserError(f"leave.action: no entry '{name}'{nearest(name, names)}")
            vector[names.index(name)] = entry
        return vector


class Towards:
    """Moves an object towards goals, and leaves it."""

    def __init__(self, skills: FrozenSkills, interface: Spec, config: LeaveConfig):
        self._skills, self.config = skills, config
        self.leave = config.vector(interface)  # [A]

    def place(self, observation: Observation, name: str) -> np.ndarray:
        """Give the object's positions [N, 3], metres."""
        return observation["state"][:, self._skills.view(name).position]

    def distance(self, observation: Observation, goal: np.ndarray, name: str) -> np.ndarray:
        """Give its distance [N] from ``goal`` [N, 3], metres, as far as skills can tell."""
        return self._skills.distance(observation, goal, name)

    def act(self, observation: Observation, goal: np.ndarray, name: str) -> np.ndarray:
        """Choose actions float32 [N, A] that move it to ``goal`` [N, 3]."""
        return self._skills.act(observation, self._skills.towards(observation, goal, name), name)


# following


@dataclass(frozen=True)
class PathConfig(Settings):
    """Where an object shall be when. Raises UserError for a value out of range."""

    waypoints: Literal["circle"] | Annotated[tuple[tuple[float, float, float], ...], MinLen(2)] = (
        "circle"
    )
    """Corners x, y, z of the path, metres above the centre of the table; or a shape with a name."""
    centre_m: tuple[float, float, float] = (0.0, 0.0, 0.025)
    """Middle of a shape with a name."""
    radius_m: PositiveFloat = 0.1
    """Its size."""
    speed_m_s: PositiveFloat = 0.05
    """How fast the goal goes along the path."""
    wait_s: NonNegativeFloat = 3.0
    """How long it stays at the beginning, for the hand to come and the object to be brought."""
    still_m: NonNegativeFloat = 0.02
    """Distance from the goal within which the hand stays where it is: skills would run past it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.waypoints != "circle" and len(set(self.waypoints)) < 2:
            raise UserError(f"waypoints: {self.waypoints} is a path without length")

    def corners(self) -> np.ndarray:
        """Give the path's corners [M, 3], metres."""
        if self.waypoints != "circle":
            return np.array(self.waypoints)
        angle = np.linspace(0, 2 * np.pi, 65)
        circle = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
        return self.centre_m + self.radius_m * circle

    def goals(self, period_s: float) -> np.ndarray:
        """Give the goal at every control step, [T, 3]; the last one stays."""
        corners = self.corners()
        along = np.concatenate([[0], np.linalg.norm(np.diff(corners, axis=0), axis=1).cumsum()])
        steps = int(np.ceil(along[-1] / (self.speed_m_s * period_s)))
        way = np.minimum(np.arange(1 + steps) * self.speed_m_s * period_s, along[-1])
        moving = np.stack([np.interp(way, along, axis) for axis in corners.T], axis=1)
        return np.concatenate([np.repeat(moving[:1], self.waiting(period_s), axis=0), moving])

    def waiting(self, period_s: float) -> int:
        """Count the control steps before the goal moves."""
        return round(self.wait_s / period_s)


class Follow:
    """Moves an object after a goal that moves, [T, 3]; see ``robolearn.types.Policy``."""

    def __init__(self, towards: Towards, name: str, goals: np.ndarray, still_m: float):
        self._towards, self._name = towards, name
        self._goals, self._still_m = goals, still_m

    def reset(self, n: int) -> None:
        """Begin n episodes at once."""
        self._t, self._lost = 0, np.zeros(n, int)  # control steps since it was near

    def act(self, observation: Observation, explore: bool = False) -> np.ndarray:
        """Choose actions float32 [N, A]."""
        goal, config = self._goals[min(self._t, len(self._goals) - 1)], self._towards.config
        distance = self._towards.distance(observation, goal, self._name)
        self._lost = np.where(distance < config.near_m, 0, self._lost + 1)
        self._lost[self._lost > config.patience_steps + config.steps] = 0
        self._t += 1
        stuck = self._lost > config.patience_steps
        moves = self._towards.act(observation, goal, self._name)
        moves[distance < self._still_m] = 0.0
        return np.where(stuck[:, None], self._towards.leave, moves)


# rearranging


class Rearrange:
    """Brings one object to its goal, or several one after the other; see ``types.Policy``.

    The plan is made anew after every move, from where the objects really are. One episode at a
    time.
    """

    def __init__(self, towards: Towards, interface: Spec, planner: PlannerConfig):
        """SpecError unless the state shows goals."""
        self._towards, self._config, self._planner = towards, towards.config, planner
        self._goals = goals_of(interface)

    def reset(self, n: int) -> None:
        """Begin an episode; there is one at a time."""
        if n != 1:
            raise ValueError(f"{n} episodes at once: a plan is for one")
        self._move: tuple[str, np.ndarray] | None = None  # an object and its goal [3]
        self._patience = self._leaving = 0
        self.moves: list[str] = []  # the objects that were moved, for whoever asks

    def act(self, observation: Observation, explore: bool = False) -> np.ndarray:
        """Choose an action float32 [1, A]."""
        if self._move is not None and self._is_over(observation):
            self._move, self._leaving = None, self._config.steps
        if self._move is None and self._leaving == 0:
            self._begin(observation)
        if self._move is None:
            self._leaving = max(0, self._leaving - 1)
            return self._towards.leave[None]
        self._patience -= 1
        name, goal = self._move
        return self._towards.act(observation, goal, name)

    def _is_over(self, observation: Observation) -> bool:
        name, goal = self._move
        distance = self._towards.distance(observation, goal, name)[0]
        return self._patience == 0 or distance < self._config.near_m

    def _begin(self, observation: Observation) -> None:
        """Take the first move of a new plan, if there is still something to do."""
        names = list(self._goals)
        places = np.stack([self._towards.place(observation, name)[0] for name in names])
        goals = np.stack([observation["state"][0, columns] for columns in self._goals.values()])
        moves = plan(places[:, :2], goals[:, :2], self._planner)
        if moves:
            index, place = moves[0]
            self._move = names[index], np.append(place, goals[index, 2])
            self._patience = self._config.patience_steps
            self.moves.append(names[index])
