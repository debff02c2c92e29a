"""From a Spec to gymnasium's spaces, and from a caller's action to one that can be applied."""

from collections.abc import Iterable, Mapping
from typing import Any

import gymnasium
import numpy as np

from robolearn.errors import DataError, SpecError
from robolearn.types import ArraySpec, Spec


class ActionRange:
    """Stretches an action [A] in [-1, 1] to low .. high; an infinite bound counts as 1."""

    def __init__(self, low: np.ndarray, high: np.ndarray) -> None:
        low = np.where(np.isfinite(low), low, -1.0).astype(np.float64)
        high = np.where(np.isfinite(high), high, 1.0).astype(np.float64)
        self.gain, self.offset = (high - low) / 2, (high + low) / 2

    def __call__(self, action: np.ndarray) -> np.ndarray:
        """Give the stretched action float64 [A]."""
        return self.offset + self.gain * action


class Columns:
    """Writes named arrays one after the other into a vector [O], whose places it finds once."""

    def __init__(self, keys: Iterable[str], values: Mapping[str, Any], vector: np.ndarray) -> None:
        self._places, start = [], 0
        for key in keys:
            shape, end = np.shape(values[key]), start + np.size(values[key])
            self._places.append((key, vector[start:end].reshape(shape)))
            start = end

    def write(self, values: Mapping[str, Any]) -> None:
        """Write arrays of the same names and shapes."""
        for key, place in self._places:
            place[...] = values[key]


def flat_names(key: str, value: np.ndarray) -> list[str]:
    """Name the entries of an array: ``key``, or ``key_0``, ``key_1`` ... if there are several."""
    size = np.size(value)
    return [key] if size == 1 else [f"{key}_{i}" for i in range(size)]


def interface_spaces(interface: Spec) -> tuple[gymnasium.spaces.Dict, gymnasium.spaces.Box]:
    """Give the observation space and the action space that belong to an interface."""
    observations = {name: _box(spec) for name, spec in interface.observations.items()}
    action = gymnasium.spaces.Box(-1, 1, interface.action.shape, np.float32)
    return gymnasium.spaces.Dict(observations), action


def float_array(values: Any, where: str, what: str) -> np.ndarray:
    """Give values as a float64 array; raise SpecError where they are no array of numbers."""
    try:
        return np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise SpecError(f"{where}: {what} must be an array of numbers") from None


def require_finite(values: np.ndarray, where: str, what: str) -> None:
    """Raise DataError for the first entry of an array that is not finite."""
    if not np.isfinite(values).all():
        place = tuple(np.argwhere(~np.isfinite(values))[0].tolist())
        entry = f"{what}[{', '.join(map(str, place))}]"
        raise DataError(f"{where}: {entry} is {values[place]}, not a finite number")


def checked_state(state: np.ndarray, size: int | None, where: str) -> np.ndarray:
    """Give the state as float64 [size]; any size will do for None.

    Raises SpecError if it is no array or its size is wrong, DataError if an entry is not finite.
    """
    state = np.ascontiguousarray(float_array(state, where, "state"))
    if size is not None and state.shape != (size,):
        raise SpecError(
            f"{where}: state has shape {state.shape} instead of ({size},): it belongs to another "
            "environment or to other options"
        )
    require_finite(state, where, "state")
    return state


def checked_action(action: np.ndarray, interface: Spec) -> np.ndarray:
    """Give the action as float64 [A], clipped to [-1, 1].

    Raises SpecError if it is no array or its shape is wrong, DataError if an entry is not finite.
    """
    where = interface.environment
    action = float_array(action, where, "action")
    if action.shape != interface.action.shape:
        raise SpecError(
            f"{where}: action has shape {action.shape} instead of {interface.action.shape}"
        )
    if all(-1 <= entry <= 1 for entry in action.tolist()):  # quicker than numpy for a few numbers
        return action.copy()
    require_finite(action, where, "action")
    return np.clip(action, -1, 1)


def _box(spec: ArraySpec) -> gymnasium.spaces.Box:
    if spec.dtype == "uint8":
        return gymnasium.spaces.Box(0, 255, spec.shape, np.uint8)
    if spec.dtype == "int32":  # segmentation: -1 is the background
        return gymnasium.spaces.Box(-1, np.iinfo(np.int32).max, spec.shape, np.int32)
    return gymnasium.spaces.Box(-np.inf, np.inf, spec.shape, np.dtype(spec.dtype))
