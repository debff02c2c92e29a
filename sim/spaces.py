"""From a Spec to gymnasium's spaces, and from a caller's action to one that can be applied."""

import gymnasium
import numpy as np

from robolearn.errors import DataError, SpecError
from robolearn.types import ArraySpec, Spec


def interface_spaces(interface: Spec) -> tuple[gymnasium.spaces.Dict, gymnasium.spaces.Box]:
    """Give the observation space and the action space that belong to an interface."""
    observations = {name: _box(spec) for name, spec in interface.observations.items()}
    action = gymnasium.spaces.Box(-1, 1, interface.action.shape, np.float32)
    return gymnasium.spaces.Dict(observations), action


def checked_action(action: np.ndarray, interface: Spec) -> np.ndarray:
    """Give the action as float64 [A], clipped to [-1, 1].

    Raises SpecError if its shape is wrong and DataError if an entry is not finite.
    """
    action = np.asarray(action, np.float64)
    where = interface.environment
    if action.shape != interface.action.shape:
        raise SpecError(
            f"{where}: action has shape {action.shape} instead of {interface.action.shape}"
        )
    if not np.isfinite(action).all():
        index = int(np.flatnonzero(~np.isfinite(action))[0])
        raise DataError(f"{where}: action[{index}] is {action[index]}, not a finite number")
    return np.clip(action, -1, 1)


def _box(spec: ArraySpec) -> gymnasium.spaces.Box:
    if spec.dtype == "uint8":
        return gymnasium.spaces.Box(0, 255, spec.shape, np.uint8)
    return gymnasium.spaces.Box(-np.inf, np.inf, spec.shape, np.dtype(spec.dtype))
