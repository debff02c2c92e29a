"""What a Meta-World environment remembers outside MuJoCo: goal, random vector, margins of rewards.

These are attributes, other ones in every task. Those that matter are found as ``sim.base.physics``
finds the entries of a model: whatever resets and steps change. Arrays that are views of MuJoCo's
own (where a body is) are left out: they follow the state by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

KEPT_BY_THE_ADAPTER = (
    "curr_path_length",
    "num_resets",
    "_prev_obs",
    "prev_obs",
    "_last_stable_obs",
)


class Slot(NamedTuple):
    """One attribute, and what its values look like."""

    name: str
    template: Any  # a value: bool, int, float or array


class Memory:
    """Reads and writes what one environment remembers as one vector float64 [M].

    Every attribute takes an entry that says whether it is there (1) or None (0), and its values.
    """

    def __init__(self, env: Any, changes: Iterable[Callable[[], object]]) -> None:
        """Make every change, resets and steps, and look for attributes that are not constant."""
        snapshots = []
        for change in changes:
            change()
            snapshots.append(_numbers(env))
        self._env, self._slots = env, []
        for name in sorted(set().union(*snapshots)):
            values = [snapshot.get(name) for snapshot in snapshots]
            if any(not np.array_equal(value, values[0]) for value in values):
                self._slots.append(Slot(name, next(v for v in values if v is not None)))
        self.size = sum(1 + np.size(slot.template) for slot in self._slots)

    @property
    def names(self) -> tuple[str, ...]:
        """What is remembered."""
        return tuple(slot.name for slot in self._slots)

    def get(self) -> np.ndarray:
        """Give the memory [M]."""
        memory, start = np.zeros(self.size), 0
        for name, template in self._slots:
            end = start + 1 + np.size(template)
            value = getattr(self._env, name, None)
            if value is not None:
                memory[start], memory[start + 1 : end] = 1, np.ravel(value)
            start = end
        return memory

    def set(self, memory: np.ndarray) -> None:
        """Restore what ``get`` gave."""
        start = 0
        for name, template in self._slots:
            end = start + 1 + np.size(template)
            there, values = memory[start], memory[start + 1 : end]
            setattr(self._env, name, _like(template, values) if there else None)
            start = end


def _numbers(env: Any) -> dict[str, Any]:
    """Give copies of the attributes that are numbers, or arrays of its own."""
    return {
        name: np.copy(value) if isinstance(value, np.ndarray) else value
        for name, value in vars(env).items()
        if name not in KEPT_BY_THE_ADAPTER and _is_own_number(value)
    }


def _is_own_number(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "fiub" and _root(value).flags.owndata
    return isinstance(value, bool | int | float | np.number)


def _root(array: np.ndarray) -> np.ndarray:
    """Give the array of which this one is a view; MuJoCo's do not own what they show."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _like(template: Any, values: np.ndarray) -> Any:
    if isinstance(template, np.ndarray):
        return values.reshape(template.shape).astype(template.dtype)
    return type(template)(values[0])
