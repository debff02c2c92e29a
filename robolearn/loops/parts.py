"""A part of what there is to see: some of the observations, some entries of the state, by name.

So a policy can be learnt from cameras and the robot's own joints where the demonstrations, and the
environment that it is evaluated in, also say where the objects are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from robolearn.attack import distribution_of, has_distribution
from robolearn.errors import SpecError, nearest
from robolearn.types import ArraySpec, Chunking, Observation, Policy, Spec

STATE = "state"


def part_of(interface: Spec, names: Sequence[str]) -> Spec:
    """Give the interface with these observations only; SpecError for one that is not there.

    A name is "state", a camera, or one of the state's entries (or of a group, "robot0_eef_pos").
    The entries keep their order.
    """
    known, chosen, entries = interface.observations, {}, set()
    for name in names:
        if _is_one(name, known):
            chosen[name] = known[name]
        else:
            entries |= set(_entries(known, name).tolist())
    if entries and STATE not in chosen:
        chosen[STATE] = _columns(known[STATE], sorted(entries))
    ordered = {name: chosen[name] for name in known if name in chosen}
    return dataclasses.replace(interface, observations=ordered)


def _is_one(name: str, known: Mapping[str, ArraySpec]) -> bool:
    """Say whether it names an observation; vectors beside "state" are entries of it."""
    return name in known and (name == STATE or len(known[name].shape) > 1)


def _entries(known: Mapping[str, ArraySpec], name: str) -> np.ndarray:
    state = known.get(STATE, ArraySpec((0,)))
    try:
        return state.index(name)
    except SpecError:
        groups = {entry.rpartition("_")[0] or entry for entry in state.names}
        cameras = [key for key in known if _is_one(key, known)]
        raise SpecError(f"no '{name}'{nearest(name, [*cameras, *sorted(groups)])}") from None


def _columns(array: ArraySpec, columns: Sequence[int]) -> ArraySpec:
    def some(values: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(values[i] for i in columns) if values else ()

    return ArraySpec(
        (len(columns),), array.dtype, some(array.names), some(array.units), some(array.scale)
    )


def shown(whole: Spec, part: Spec) -> Spec:
    """Give what an environment shows of what a policy sees, if all of that is there by name.

    Else the whole interface, of which ``Spec.require`` says what does not fit.
    """
    ours, theirs = whole.observations, part.observations
    if not theirs.keys() <= ours.keys():
        return whole
    observations = {name: ours[name] for name in theirs}
    wanted, state = theirs.get(STATE, ArraySpec(())), ours.get(STATE, ArraySpec(()))
    if wanted.names and set(wanted.names) < set(state.names):
        columns = [state.names.index(name) for name in wanted.names]
        observations[STATE] = _columns(state, columns)
    return dataclasses.replace(whole, observations=observations)


def taker(whole: Spec, part: Spec) -> Callable[[Mapping[str, np.ndarray]], Observation]:
    """Give what takes the part out of observations of the whole, name -> [..., O]."""
    columns = None
    if STATE in part.observations and part.observations[STATE] != whole.observations[STATE]:
        names = whole.observations[STATE].names
        columns = [names.index(name) for name in part.observations[STATE].names]

    def take(observations: Mapping[str, np.ndarray]) -> Observation:
        taken = {name: observations[name] for name in part.observations}
        if columns is not None:
            taken[STATE] = taken[STATE][..., columns]
        return taken

    return take


class Sighted:
    """A Policy that sees a part of what an environment shows."""

    def __init__(self, policy: Policy, whole: Spec, part: Spec):
        """Show ``policy`` only what is in ``part``, of observations as ``whole`` has them."""
        self.policy, self.take = policy, taker(whole, part)
        self.memoryless = getattr(policy, "memoryless", False)
        self.eats = getattr(policy, "eats", None)
        self.name = getattr(policy, "name", type(policy).__name__)

    def reset(self, n: int) -> None:
        """Begin n episodes at once."""
        self.policy.reset(n)

    def act(self, observation: Observation, explore: bool = False) -> np.ndarray:
        """Choose actions float32 [N, A] by the part of ``observation`` that is seen."""
        return self.policy.act(self.take(observation), explore)


class SightedChunking(Sighted):
    """One that gives chunks of actions, too."""

    def act_chunk(self, observation: Observation, explore: bool = False) -> np.ndarray:
        """Choose actions float32 [N, H, A] by the part of ``observation`` that is seen."""
        return self.policy.act_chunk(self.take(observation), explore)


class SightedVictim(Sighted):
    """One with a distribution, of all that the environment shows, or of its state."""

    def __init__(self, policy: Policy, whole: Spec, part: Spec):
        super().__init__(policy, whole, part)
        self.interface = whole
        self.contextual = getattr(policy, "contextual", False)

    def distribution(self, seen: Any) -> Any:
        """Give pi(. | o) of observations name -> [B, ...], or of states [..., O]."""
        observation = seen if isinstance(seen, Mapping) else {STATE: seen}
        return distribution_of(self.policy, self.take(observation))


def sighted(policy: Policy, whole: Spec, part: Spec) -> Policy:
    """Give the policy, wrapped if what it sees is not the whole."""
    if part.observations == whole.observations:
        return policy
    if isinstance(policy, Chunking):
        return SightedChunking(policy, whole, part)
    kind = SightedVictim if has_distribution(policy) else Sighted
    return kind(policy, whole, part)
