"""What is large and what is small in a dataset: told by some of its episodes, before all are read.

Which entries of "state" are the robot's own motion is told by their names: those of its hand's
position; else its joints'; else all entries count, each in units of its own spread.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from demos.formats.contract import Source
from robolearn.algos.waiting import values_of
from robolearn.errors import DataError
from robolearn.types import ArraySpec, Episode, Spec

STATE = "state"
SAMPLED = 64  # episodes
ROWS = 512  # of each of them
TINY = 1e-9
MOST_SKETCHES = 64 << 20  # bytes, of all episodes
LEAST_POINTS, MOST_POINTS = 2, 16  # of an episode's sketch
HAND = re.compile(r"(?:.*_)?(?:eef|ee|tcp|hand|tool)(?:_pos(?:ition)?)?_[xyz]")
JOINT = re.compile(r".*(?:joint|qpos).*|.*\.pos")
OF_GRIPPERS = re.compile(r".*(?:gripper|finger|jaw|claw).*", re.IGNORECASE)


@dataclass(frozen=True)
class Motion:
    """Which columns of what say how the robot moves."""

    what: str  # "hand", "joints", "state" or "actions"
    columns: np.ndarray  # [n]
    unit: str
    divided_by: np.ndarray  # [n]

    def of(self, episode: Episode) -> np.ndarray:
        """Give the path [T + 1, n], or [T, n] where actions stand in for it."""
        rows = episode.observations.get(STATE, episode.actions)
        return rows[:, self.columns].astype(np.float64) / self.divided_by


@dataclass(frozen=True)
class Scales:
    """What the measures of an episode are held against; made by ``settle``."""

    interface: Spec
    spread: np.ndarray  # [O] standard deviations of the entries of the state
    spread_of_actions: np.ndarray  # [A]
    motion: Motion
    grippers: dict[int, tuple[float, float]]  # entry of the action -> its two ends
    points: int  # of an episode's sketch

    @property
    def period_s(self) -> float:
        """Give the control period, or 0 where nobody knows it."""
        return self.interface.period_s

    @property
    def entries(self) -> tuple[str, ...]:
        """Name the entries of the state, by number where they have no names."""
        return _named(self.interface.observations.get(STATE), STATE, len(self.spread))

    @property
    def actions(self) -> tuple[str, ...]:
        """Name the entries of the action."""
        return _named(self.interface.action, "action", len(self.spread_of_actions))

    @property
    def cameras(self) -> list[str]:
        """Name the colour cameras."""
        seen = self.interface.observations.items()
        return [name for name, a in seen if len(a.shape) == 3 and a.dtype == "uint8"]


def settle(source: Source) -> Scales:
    """Look at up to 64 episodes, evenly spread over a dataset.

    Raises DataError if none of them can be read.
    """
    states, actions, error = [], [], None
    for i in np.unique(np.linspace(0, len(source.names) - 1, SAMPLED).astype(int)):
        try:
            episode = loaded(source, source.names[i], images=False)
        except DataError as found:
            error = found
            continue
        rows = np.unique(np.linspace(0, len(episode) - 1, ROWS).astype(int))
        states.append(episode.observations.get(STATE, np.zeros((len(episode), 0)))[rows])
        actions.append(episode.actions[rows])
    if error is not None and not states:
        raise DataError(f"none of the episodes that were tried can be read: {error}")
    every_state, every_action = np.concatenate(states), np.concatenate(actions)
    spread = every_state.astype(np.float64).std(axis=0)
    interface = source.interface
    return Scales(
        interface,
        spread,
        every_action.astype(np.float64).std(axis=0),
        _motion(interface, spread),
        _grippers(interface, every_action),
        _points(len(source.names), every_state.shape[1] + every_action.shape[1]),
    )


def loaded(source: Source, name: str, images: bool) -> Episode:
    """Read an episode whose values are finite; DataError for what is not.

    Without ``images`` it has none, also where a source reads them all the same.
    """
    episode = source.load(name, images=images)
    episode.require_finite(f"{source.path}: {name}")
    if images:
        return episode
    vectors = {key: a for key, a in episode.observations.items() if a.ndim < 3}
    return dataclasses.replace(episode, observations=vectors)


def _named(spec: ArraySpec | None, what: str, size: int) -> tuple[str, ...]:
    names = spec.names if spec is not None else ()
    return names or tuple(f"{what}_{i}" for i in range(size))


def _motion(interface: Spec, spread: np.ndarray) -> Motion:
    if not len(spread):
        size = interface.action.shape[0]
        return Motion("actions", np.arange(size), "", np.ones(size))
    names, units = interface.observations[STATE].names, interface.observations[STATE].units
    for what, unit, kind in (("hand", "m", HAND), ("joints", "", JOINT)):
        if found := [i for i, name in enumerate(names) if kind.fullmatch(name)]:
            stated = {units[i] for i in found} if units else {unit}
            unit = stated.pop() if len(stated) == 1 else ""
            return Motion(what, np.array(found), unit, np.ones(len(found)))
    moving = np.flatnonzero(spread > TINY)
    return Motion("state", moving, "sd", spread[moving])


def _grippers(interface: Spec, actions: np.ndarray) -> dict[int, tuple[float, float]]:
    """Find the entries that open and close: those called so, and those that take two values."""
    found = values_of(actions)
    for i, name in enumerate(interface.action.names):
        if OF_GRIPPERS.fullmatch(name):
            found[i] = (float(actions[:, i].min()), float(actions[:, i].max()))
    return found


def _points(episodes: int, entries: int) -> int:
    fit = MOST_SKETCHES // (max(episodes, 1) * max(entries, 1) * 4)
    return int(np.clip(fit, LEAST_POINTS, MOST_POINTS))


def at_points(rows: np.ndarray, points: int) -> np.ndarray:
    """Give rows [points, ...] at equal parts of a series [T, ...], its ends among them."""
    return rows[np.linspace(0, len(rows) - 1, points).round().astype(int)]


def quantiles(values: Sequence[float]) -> dict[str, float] | None:
    """Give the 5 %, 50 % and 95 % quantiles and the ends of what is known; None of nothing."""
    known = np.asarray([v for v in values if v is not None and np.isfinite(v)], np.float64)
    if not len(known):
        return None
    named = {"least": 0.0, "q05": 0.05, "median": 0.5, "q95": 0.95, "greatest": 1.0}
    return dict(zip(named, np.quantile(known, list(named.values())).tolist(), strict=True))
