"""A replay memory: the latest transitions of a batch of environments, as arrays of a fixed size.

Rows are steps and columns are environments, so that an episode is a piece of a column. Steps go
round: the oldest one is overwritten. All memory is asked for at the start, and how much that is can
be told before. An observation keeps its type: a camera's pixels take a byte each.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from robolearn.errors import DataError, UserError
from robolearn.types import ArraySpec, Observation, Spec

Rows = dict[str, Any]
Reward = Callable[[Observation, np.ndarray, Observation], np.ndarray]
"""(observations name -> [B, ...], actions [B, A], next_observations) -> rewards [B]."""

CHUNK = 8192  # transitions that a reward is asked about at once


def memory_of(
    interface: Spec, transitions: int, extra: Mapping[str, ArraySpec] | None = None
) -> int:
    """Count the bytes of so many transitions."""
    columns = _columns(interface, extra or {}).values()
    return transitions * sum(math.prod(shape) * np.dtype(kind).itemsize for shape, kind in columns)


class Replay:
    """The last ``capacity`` transitions of N environments that step together.

    What comes out is a mapping of arrays [B, ...] or, for segments, [B, K, ...]: "observations" and
    "next_observations", themselves mappings of names, "actions", "rewards" float32, "terminated"
    and "ended" bool. A next observation is the one that its action led to, also where the episode
    ended there; "terminated" alone says that nothing comes after it, "ended" also that time ran
    out.

    ``extra`` are further arrays of a transition, by names, that are kept as they are added:
    "task_rewards", of shape (), is what the environment itself gave, which relabelling leaves.
    """

    def __init__(
        self,
        interface: Spec,
        capacity: int,
        environments: int = 1,
        extra: Mapping[str, ArraySpec] | None = None,
    ):
        """Take the memory; UserError for less than a step, or more memory than there is."""
        self.steps, self.environments = capacity // environments, environments  # T, N
        if self.steps < 1:
            raise UserError(f"capacity: {capacity} transitions for {environments} environments")
        extra = extra or {}
        require_memory(memory_of(interface, capacity, extra), capacity, "transitions")
        self._columns = {
            name: np.zeros((self.steps, environments, *shape), kind)
            for name, (shape, kind) in _columns(interface, extra).items()
        }
        self._next = 0  # row that is written next
        self._filled = 0  # rows that hold something

    def __len__(self) -> int:
        """Count the transitions that it holds."""
        return self._filled * self.environments

    @property
    def room(self) -> int:
        """Count the transitions that it can hold."""
        return self.steps * self.environments

    @property
    def nbytes(self) -> int:
        """Count the bytes of all it can hold."""
        return sum(column.nbytes for column in self._columns.values())

    def add(self, step: Mapping[str, Any]) -> None:
        """Remember a step of all environments: arrays [N, ...] under the names that come out."""
        row, before = self._next, (self._next - 1) % self.steps
        for name, array in flat(step).items():
            if name in self._columns:
                self._columns[name][row] = array
        age = self._columns["age"]
        if self._filled == 0:
            age[row] = 0
        else:
            age[row] = np.where(self._columns["ended"][before], 0, age[before] + 1)
        self._next = (row + 1) % self.steps
        self._filled = min(self._filled + 1, self.steps)

    # what comes out

    def sample(self, count: int, rng: np.random.Generator) -> Rows:
        """Draw transitions [B, ...] with replacement; DataError if there are none."""
        if self._filled == 0:
            raise DataError("the replay is empty")
        return self._take(rng.integers(len(self), size=count))

    def segments(self, count: int, length: int, rng: np.random.Generator) -> Rows:
        """Draw pieces [B, K, ...] of K = ``length`` successive steps of one episode each.

        All pieces that there are come with the same probability, with replacement. DataError if
        there is none.
        """
        last = self._last_steps(length)
        if not len(last):
            raise DataError(f"the replay holds no {length} successive steps of an episode")
        last = rng.choice(last, count)[:, None]  # [B, 1], as row * N + column
        back = np.arange(length - 1, -1, -1) * self.environments  # [K]
        return self._take((last - back) % self.room)

    def holds(self, length: int) -> bool:
        """Say whether there is a piece of so many successive steps of an episode."""
        return len(self._last_steps(length)) > 0

    def _last_steps(self, length: int) -> np.ndarray:
        """Give the places, row * N + column, at which a piece of so many steps can end."""
        age = self._columns["age"][: self._filled]
        oldest = self._next if self._filled == self.steps else 0
        order = (np.arange(self._filled) - oldest) % self.steps  # of the rows, by time
        whole = (age >= length - 1) & (order >= length - 1)[:, None]
        return np.flatnonzero(whole)

    def _take(self, index: np.ndarray) -> Rows:
        taken = {
            name: np.take(column.reshape(-1, *column.shape[2:]), index, axis=0)
            for name, column in self._columns.items()
            if name != "age"
        }
        return nested(taken)

    # rewards

    def relabel(self, reward: Reward, chunk: int = CHUNK) -> None:
        """Replace all rewards by those that a function gives, asked about chunks of transitions.

        Raises DataError, and changes nothing, for rewards of another shape or that are not finite.
        """
        rewards = np.empty(len(self), np.float32)
        for start in range(0, len(self), chunk):
            index = np.arange(start, min(start + chunk, len(self)))
            rows = self._take(index)
            found = reward(rows["observations"], rows["actions"], rows["next_observations"])
            rewards[index] = _checked(found, len(index))
        self._columns["rewards"].reshape(-1)[: len(self)] = rewards

    # persistence

    def state_dict(self) -> dict[str, np.ndarray]:
        """Give all that is held, as arrays [T, N, ...] and the place of the next row."""
        held = {name: column[: self._filled] for name, column in self._columns.items()}
        return held | {"next": np.array(self._next)}

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over what ``state_dict`` gave; DataError if it is of another replay."""
        for name, column in self._columns.items():
            if name not in state or state[name].shape[1:] != column.shape[1:]:
                raise DataError(f"this replay is of another environment: {name}")
            if state[name].dtype != column.dtype or len(state[name]) > self.steps:
                raise DataError(f"this replay is of another environment or capacity: {name}")
        self._filled, self._next = len(state["age"]), int(state["next"])
        for name, column in self._columns.items():
            column[: self._filled] = state[name]


def _columns(
    interface: Spec, extra: Mapping[str, ArraySpec]
) -> dict[str, tuple[tuple[int, ...], str]]:
    """Give the shape and type of what is kept of a transition, by flat names."""
    observations = {
        f"{when}/{name}": (spec.shape, spec.dtype)
        for when in ("observations", "next_observations")
        for name, spec in interface.observations.items()
    }
    always = {
        "actions": (interface.action.shape, "float32"),
        "rewards": ((), "float32"),
        "terminated": ((), "bool"),
        "ended": ((), "bool"),
        "age": ((), "int32"),  # steps of the same episode that came before and were remembered
    }
    further = {name: (spec.shape, spec.dtype) for name, spec in extra.items()}
    return observations | further | always


def require_memory(needed: int, capacity: int, what: str) -> None:
    """Raise UserError if a capacity, of so many bytes, is more than this machine has."""
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > there:
        enough = capacity * there // needed // 2
        raise UserError(
            f"capacity: {capacity:,} {what} take {needed / 1e9:.1f} GB, this machine has "
            f"{there / 1e9:.1f} GB; {enough:,} would take half of that"
        )


def _checked(rewards: np.ndarray, count: int) -> np.ndarray:
    rewards = np.asarray(rewards)
    if rewards.shape != (count,):
        raise DataError(f"rewards have shape {rewards.shape} for {count} transitions")
    if not np.isfinite(rewards).all():
        raise DataError("a reward is not finite")
    return rewards


def flat(step: Mapping[str, Any], prefix: str = "") -> dict[str, np.ndarray]:
    """Give the arrays of nested mappings under names with a slash."""
    found: dict[str, np.ndarray] = {}
    for name, value in step.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}/")
        else:
            found[prefix + name] = value
    return found


def nested(arrays: Mapping[str, np.ndarray]) -> Rows:
    """Undo ``flat`` for names of two parts."""
    nested: Rows = {}
    for name, array in arrays.items():
        first, _, rest = name.partition("/")
        if rest:
            nested.setdefault(first, {})[rest] = array
        else:
            nested[first] = array
    return nested
