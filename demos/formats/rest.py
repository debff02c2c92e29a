"""What a format has no place for, kept beside it: a round trip then loses nothing.

In HDF5 formats a group ``robolearn`` in each episode, and an attribute ``robolearn`` of the file;
in LeRobot's the file ``robolearn/rest.hdf5``. Their own readers do not look there. A mark over the
actions says to which episode it belongs: what was changed since is refused, not mixed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np

from demos.data.episode_file import to_json
from demos.formats import hdf5
from demos.formats.contract import Told
from demos.formats.safe_names import require_safe
from demos.formats.terms import as_given
from robolearn.errors import DataError, SpecError
from robolearn.types import Episode, Spec

GROUP = "robolearn"
VERSION = 1
FLAGS = ("terminated", "truncated", "success")
MARK = "belongs_to"
ACTIONS, STATES, TERMS, RECORDS = "actions", "states", "reward_terms", "records"
LAST, WHOLE = "last", "observations"


def describe(interface: Spec, env_options: Mapping[str, Any]) -> str:
    """Give the attribute of a whole file: the interface, and the environment's options."""
    said = {"version": VERSION, "interface": json.loads(interface.to_json())}
    return to_json(said | {"env_options": dict(env_options)})


def about(owner: h5py.Group, where: str) -> tuple[Spec, dict[str, Any]] | None:
    """Read that attribute; None where there is none, DataError where it is damaged."""
    text = hdf5.attribute(owner, GROUP)
    if text is None:
        return None
    try:
        said = json.loads(text)
        if said["version"] != VERSION:
            raise DataError(f"{where}: written by a later version ({GROUP} {said['version']})")
        interface = Spec.from_json(json.dumps(said["interface"]))
        for name in interface.observations:
            require_safe(name, where)
        return interface, dict(said["env_options"])
    except (ValueError, KeyError, TypeError, RecursionError, SpecError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{where}: the attribute {GROUP} is damaged: {error}") from None


def plain(name: str) -> str:
    """Give an observation's name without slashes, for those whose names have none."""
    return name.replace("/", "_")


def write(
    owner: h5py.Group,
    episode: Episode,
    format: str,
    last: bool = False,
    whole: tuple[str, ...] = (),
) -> None:
    """Write below ``owner`` what the format does not hold of an episode.

    States, reward terms, records, flags and metadata always; our actions where the format has them
    as they came; the observation after the last action if ``last``; all rows of the observations
    that ``whole`` names.
    """
    group = owner.create_group(GROUP)
    written = as_given(episode, format)
    if written is not episode.actions:
        group[ACTIONS] = episode.actions
    group.attrs[MARK] = mark(written)
    group.attrs["flags"] = [bool(getattr(episode, flag)) for flag in FLAGS]
    # as an array: an attribute holds 64 kB, and a model is longer
    group["metadata"] = np.frombuffer(to_json(episode.metadata).encode(), np.uint8)
    if episode.states is not None:
        group[STATES] = episode.states
    for name, array in episode.reward_terms.items():
        group[f"{TERMS}/{name}"] = array
    for name, array in episode.records.items():
        group[f"{RECORDS}/{name}"] = array
    for name, array in episode.observations.items():
        if name in whole:
            group[f"{WHOLE}/{name}"] = array
        elif last:
            group[f"{LAST}/{name}"] = array[-1:]


def mark(actions: np.ndarray) -> str:
    """Give a digest of actions [T, A] or [T], the same whichever type of float holds them."""
    rows = np.ascontiguousarray(actions.reshape(len(actions), -1), "<f8")
    return f"{len(rows)}-{hashlib.blake2b(rows.tobytes(), digest_size=16).hexdigest()}"


def require_belongs(group: h5py.Group, told: Told, where: str) -> None:
    """Raise DataError if what stands beside an episode is of another one, or it was changed since.

    Files of earlier versions have no mark; of those the outcome alone is compared.
    """
    said = hdf5.attribute(group, MARK)
    flags = dict(zip(FLAGS, np.ravel(group.attrs["flags"]), strict=False))
    outcome = told.success is None or told.success == bool(flags.get("success", told.success))
    if (said is None or said == mark(told.actions)) and outcome:
        return
    what = "the actions" if outcome else "success"
    raise DataError(
        f"{where}: {what} changed since this project wrote {GROUP} beside it: remove {GROUP} to "
        "read what the format itself holds"
    )


def whole(
    owner: h5py.Group, told: Told, interface: Spec, where: str, images: bool = True
) -> Episode:
    """Put an episode together from what the format told and what stands beside it."""
    group = hdf5.group(owner, GROUP, where)
    require_belongs(group, told, where)
    observations = _observations(group, told, interface, where, images)
    actions = hdf5.array(group, ACTIONS, where) if ACTIONS in group else told.actions
    flags = [bool(flag) for flag in np.ravel(group.attrs["flags"])]
    if len(flags) != len(FLAGS):
        raise DataError(f"{where}: {len(flags)} flags instead of {len(FLAGS)}")
    return Episode(
        observations=observations,
        actions=actions.reshape(len(actions), -1).astype(interface.action.dtype),
        rewards=np.asarray(told.rewards).reshape(-1).astype(np.float32),
        states=hdf5.array(group, STATES, where) if STATES in group else None,
        reward_terms=_below(group, TERMS, where),
        metadata=_metadata(group, where),
        records=_below(group, RECORDS, where),
        **dict(zip(FLAGS, flags, strict=True)),
    )


def _observations(
    group: h5py.Group, told: Told, interface: Spec, where: str, images: bool
) -> dict[str, np.ndarray]:
    found, last, kept = {}, _below(group, LAST, where), _below(group, WHOLE, where)
    for name, spec in interface.observations.items():
        if not images and len(spec.shape) > 2:
            continue
        given = told.observations.get(name, told.observations.get(plain(name)))
        array = kept.get(name, given)
        if array is None:
            raise DataError(f"{where} has no observation '{name}'")
        array = array.reshape(len(array), *spec.shape).astype(spec.dtype, copy=False)
        if name in last and len(array) == len(told.actions):
            array = np.concatenate([array, last[name].astype(spec.dtype, copy=False)])
        found[name] = array
    return found


def _below(group: h5py.Group, name: str, where: str) -> dict[str, np.ndarray]:
    return hdf5.arrays(hdf5.group(group, name, where), where) if name in group else {}


def _metadata(group: h5py.Group, where: str) -> dict[str, Any]:
    text = hdf5.array(group, "metadata", where).astype(np.uint8).tobytes()
    found = json.loads(text)
    if not isinstance(found, dict):
        raise DataError(f"{where}: its metadata are damaged")
    return found
