"""A replay memory of sequences: every observation is kept once, so that frames fit into it.

``Replay`` keeps what an action led to beside what came before it, which for images is twice the
memory. Here an environment is a column of moments: what was seen, and what had led to it. The last
moment of an episode, which no action follows, is one of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from robolearn.errors import DataError, UserError
from robolearn.loops.replay import Rows, flat, nested, require_memory
from robolearn.types import Spec


def memory_of(interface: Spec, moments: int) -> int:
    """Count the bytes of so many moments."""
    columns = _columns(interface).values()
    return moments * sum(math.prod(shape) * np.dtype(kind).itemsize for shape, kind in columns)


class Moments:
    """The last ``capacity`` moments of N environments that step together.

    What comes out are sequences of K = ``length`` successive moments of one environment, arrays
    [B, K, ...], across the ends of episodes: "observations", a mapping of names; "is_first" bool;
    "actions", "rewards" float32 and "terminated" bool, all three of the step that led to the
    moment, zero in the first of an episode.
    """

    def __init__(self, interface: Spec, capacity: int, environments: int, length: int):
        """Take the memory; UserError for less than a sequence, or more memory than there is."""
        self.rows, self.environments, self.length = capacity // environments, environments, length
        if self.rows < length:
            raise UserError(
                f"capacity: {capacity} moments of {environments} environments are no sequence of "
                f"{length}"
            )
        require_memory(memory_of(interface, capacity), capacity, "moments")
        kinds = _columns(interface)
        self._columns = {  # a row is a moment, a column an environment
            name: np.zeros((self.rows, environments, *shape), kind)
            for name, (shape, kind) in kinds.items()
        }
        self._led = {
            name: np.zeros((environments, *kinds[name][0]), kinds[name][1]) for name in LED
        }
        self._led["is_first"][:] = True
        self._next = np.zeros(environments, int)  # row that is written next
        self._filled = np.zeros(environments, int)  # rows that hold something

    def __len__(self) -> int:
        """Count the moments that it holds."""
        return int(self._filled.sum())

    @property
    def nbytes(self) -> int:
        """Count the bytes of all it can hold."""
        return sum(column.nbytes for column in self._columns.values())

    def add(self, step: Mapping[str, Any]) -> None:
        """Remember a step of all environments, arrays [N, ...], as ``Replay.add``."""
        every = np.arange(self.environments)
        self._write(every, flat({"observations": step["observations"]}))
        for name in ("actions", "rewards", "terminated"):
            self._led[name][:] = step[name]
        self._led["is_first"][:] = False
        ended = np.flatnonzero(step["ended"])
        if len(ended):
            last = flat({"observations": step["next_observations"]})
            self._write(ended, {name: array[ended] for name, array in last.items()})
            for name, array in self._led.items():
                array[ended] = name == "is_first"

    def sample(self, count: int, rng: np.random.Generator) -> Rows:
        """Draw sequences [B, K, ...] with replacement, all equally often; DataError for none."""
        starts = np.maximum(self._filled - self.length + 1, 0)  # [N]
        if not starts.any():
            raise DataError(f"the replay holds no {self.length} successive moments")
        drawn = rng.integers(starts.sum(), size=count)
        column = np.searchsorted(np.cumsum(starts), drawn, side="right")  # [B]
        begin = drawn - (np.cumsum(starts) - starts)[column]
        oldest = np.where(self._filled == self.rows, self._next, 0)[column]
        row = (oldest + begin)[:, None] + np.arange(self.length)  # [B, K]
        at = (row % self.rows) * self.environments + column[:, None]
        return nested(
            {
                name: np.take(array.reshape(-1, *array.shape[2:]), at, axis=0)
                for name, array in self._columns.items()
            }
        )

    def state_dict(self) -> dict[str, np.ndarray]:
        """Give all that is held, as arrays [T, N, ...], and how it goes on."""
        filled = self._filled.max()
        held = {name: column[:filled] for name, column in self._columns.items()}
        led = {f"led/{name}": array for name, array in self._led.items()}
        return held | led | {"next": self._next, "filled": self._filled}

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over what ``state_dict`` gave; DataError if it is of another replay."""
        own = {name: (column.shape[1:], column.dtype) for name, column in self._columns.items()}
        for name, (shape, kind) in own.items():
            if name not in state or state[name].shape[1:] != shape or state[name].dtype != kind:
                raise DataError(f"this replay is of another environment: {name}")
            if len(state[name]) > self.rows:
                raise DataError(f"this replay is of another capacity: {name}")
        self._next, self._filled = state["next"].copy(), state["filled"].copy()
        for name, array in self._led.items():
            array[:] = state[f"led/{name}"]
        for name, column in self._columns.items():
            column[: len(state[name])] = state[name]

    def _write(self, columns: np.ndarray, seen: Mapping[str, np.ndarray]) -> None:
        """Write a moment of some environments."""
        rows = self._next[columns]
        for name, array in seen.items():
            self._columns[name][rows, columns] = array
        for name, array in self._led.items():
            self._columns[name][rows, columns] = array[columns]
        self._next[columns] = (rows + 1) % self.rows
        self._filled[columns] = np.minimum(self._filled[columns] + 1, self.rows)


LED = ("actions", "rewards", "terminated", "is_first")  # beside what was seen


def _columns(interface: Spec) -> dict[str, tuple[tuple[int, ...], str]]:
    """Give the shape and type of what is kept of a moment, by flat names."""
    seen = {
        f"observations/{n}": (spec.shape, spec.dtype) for n, spec in interface.observations.items()
    }
    led = interface.action.shape, "float32"
    return seen | dict(zip(LED, (led, ((), "float32"), ((), "bool"), ((), "bool")), strict=True))
