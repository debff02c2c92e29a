"""Demonstrations as plain arrays: checked at the edge, laid out for training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from robolearn.errors import DataError, SpecError
from robolearn.judging.limits import ROUNDING, ActionLimits
from robolearn.types import ArraySpec, Spec

RATES = frozenset("vel velp velr qvel velocity velocities linvel angvel speed".split())  # in a name
Demonstration = tuple[np.ndarray, np.ndarray]  # states [T, O], actions [T, A], float32


def paired(
    observations: Sequence[np.ndarray], actions: Sequence[np.ndarray]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pair each demonstration's observations with its actions; DataError if there are not both."""
    if len(observations) != len(actions):
        raise DataError(
            f"observations of {len(observations)} demonstrations, but actions of {len(actions)}"
        )
    return zip(observations, actions, strict=True)


def plain_interface(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> Spec:
    """Describe demonstrations without an environment; their entries are numbered.

    The sizes are those that most of them have, so that a single odd one is what does not fit.
    Raises SpecError if there is no [T, O], or no [T, A], among them.
    """
    observations, actions = zip(*pairs, strict=True)
    sizes = {"state": _usual_size("observations", "O", observations)}
    sizes["action"] = _usual_size("actions", "A", actions)
    state, action = (
        ArraySpec((size,), names=tuple(f"{name}_{i}" for i in range(size)))
        for name, size in sizes.items()
    )
    return Spec("arrays", {"state": state}, action, period_s=0.0)


def _usual_size(name: str, axis: str, arrays: Sequence[np.ndarray]) -> int:
    """Give how many entries a row has in most of these arrays; the first decides a tie."""
    shapes = [np.shape(array) for array in arrays]
    sizes = Counter(shape[1] for shape in shapes if len(shape) == 2)
    if not sizes:
        raise SpecError(
            f"demonstration 0: {name} have shape {shapes[0]} instead of [T, {axis}];"
            " a list of arrays is expected, one for each demonstration"
        )
    return sizes.most_common(1)[0][0]


def places_of(state: ArraySpec) -> np.ndarray:
    """Give the columns of a state that say where things are, not how fast they go.

    By units (m/s, rad/s) and names; all of them, if there is nothing else.
    """
    units, names = state.units or ("",) * state.shape[0], state.names or ("",) * state.shape[0]
    rates = [
        unit.endswith("/s") or bool(RATES.intersection(name.lower().replace(".", "_").split("_")))
        for unit, name in zip(units, names, strict=True)
    ]
    return np.arange(state.shape[0]) if all(rates) else np.flatnonzero(~np.array(rates))


def checked(
    observations: np.ndarray,
    actions: np.ndarray,
    interface: Spec,
    where: str = "demonstration",
    limits: ActionLimits | None = None,
) -> Demonstration:
    """Give states [T, O] and actions [T, A] as float32, once they are found sound.

    ``limits``, if there are some, bring the actions into [-1, 1]. Raises SpecError if the sizes
    are not the interface's; DataError if the lengths differ, there are no steps, values are not
    finite, or actions leave [-1, 1] (it names the first such step).
    """
    specs = {"observations": interface.observations["state"], "actions": interface.action}
    arrays = {"observations": np.asarray(observations), "actions": np.asarray(actions)}
    for name, array in arrays.items():
        if array.ndim != 2 or array.shape[1:] != specs[name].shape:
            raise SpecError(
                f"{where}: {name} have shape {array.shape} instead of [T, {specs[name].shape[0]}]"
            )
        finite = np.isfinite(array).all(axis=1)
        if not finite.all():
            raise DataError(f"{where}: {name} are not finite at step {finite.argmin()}")
    states, actions = arrays.values()
    if len(states) != len(actions) or len(actions) == 0:
        raise DataError(
            f"{where}: {len(states)} observations and {len(actions)} actions; it needs one of each"
            " for every step (without the observation after the last action)"
        )
    if limits is not None:
        actions = limits.scale(actions, where)
    outside = np.abs(actions).max(axis=1) > 1.0 + ROUNDING
    if outside.any():
        raise DataError(
            f"{where}: actions leave [-1, 1] at step {outside.argmax()}: scale them by their limits"
        )
    with np.errstate(over="ignore"):
        single = states.astype(np.float32)
    if not np.isfinite(single).all():
        raise DataError(f"{where}: observations are too large at step {_first_infinite(single)}")
    return single, actions.astype(np.float32)


def _first_infinite(states: np.ndarray) -> int:
    return int((~np.isfinite(states)).any(axis=1).argmax())


def transitions(demonstrations: Sequence[Demonstration]) -> dict[str, Any]:
    """Lay demonstrations out as ``train.offline`` wants them, numbered from 0 as episodes."""
    lengths = [len(actions) for _, actions in demonstrations]
    return {
        "observations": {"state": np.concatenate([states for states, _ in demonstrations])},
        "actions": np.concatenate([actions for _, actions in demonstrations]),
        "episode": np.repeat(np.arange(len(demonstrations)), lengths),
    }
