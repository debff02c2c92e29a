"""Demonstrations as plain arrays, whoever recorded them: datasets of ours, robomimic's HDF5 files.

Nothing here needs a simulator. What robomimic's files say less of than ours do is taken so:

- The state is made of the observations that robomimic's policies of low-dimensional states are
  given by default (``robot0_eef_pos``, ``robot0_eef_quat``, ``robot0_gripper_qpos``, ``object``);
  of all those that are no images, where there are none of a robot's (who calls a key ``object``
  may call the robot's ``joints``, which must not be left out). Entries are called by key and
  number, ``robot0_eef_pos_0``.
- Quaternions of a key (``..._quat``) keep to one side: q and -q are the same orientation, and
  robosuite's sign flips now and then. Those inside ``object`` have no names, and stay as they are.
- An operator is the smallest mask that a demonstration is in, but for those that split or thin out
  the data ("train", "20_percent", "better_valid") or sort it by outcome ("success", "kept").
"""

from __future__ import annotations

import dataclasses
import json
import re
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from demos.data.dataset import Dataset
from demos.data.index import Masks
from robolearn.errors import DataError, SpecError, nearest
from robolearn.types import ArraySpec, Spec

STATE, OBS, ACTIONS = "state", "obs", "actions"
DEMO = re.compile(r"demo_(\d+)")
OF_ROBOT, OBJECT = re.compile(r"robot\d+_(eef_pos|eef_quat|gripper_qpos)"), "object"
QUATERNION = re.compile(r"(.+_quat)_[0-3]")
NO_OPERATOR = re.compile(
    r"(.+_)?(train|valid|test|\d+_percent)|success|failure"
    r"|kept|rejected|failed|discarded|practice|undone"
)
MOST_NAMED = 6  # entries in a message


@dataclass(frozen=True)
class Demonstrations:
    """Demonstrations with their names; ``interface`` has one observation, "state"."""

    path: Path
    interface: Spec
    names: tuple[str, ...]  # "demo_12"
    operators: tuple[str, ...]  # "" where nobody knows
    masks: Masks
    states: tuple[np.ndarray, ...]  # [T, O] each
    actions: tuple[np.ndarray, ...]  # [T, A] each

    def __len__(self) -> int:
        return len(self.names)

    def only(self, names: Collection[str]) -> Demonstrations:
        """Give those with these names, in the order they were recorded."""
        rows = [i for i, name in enumerate(self.names) if name in names]
        each = ("names", "operators", "states", "actions")
        kept = {what: tuple(getattr(self, what)[i] for i in rows) for what in each}
        return dataclasses.replace(self, **kept)

    def by(self, operator: str) -> Demonstrations:
        """Give those of an operator, or else of a mask; DataError if there are none."""
        mine = [n for n, o in zip(self.names, self.operators, strict=True) if o == operator]
        if not mine and operator not in self.masks:
            known = {name for name in self.operators if name} | set(self.masks)
            close = nearest(operator, known) if known else ": it names none"
            raise DataError(f"{self.path} has no operator '{operator}'{close}")
        found = self.only(mine or self.masks[operator])
        if not len(found):
            raise DataError(
                f"{self.path}: none of these demonstrations is in the mask '{operator}'"
            )
        return found

    def entries(self, names: Sequence[str]) -> Demonstrations:
        """Give them with these entries of the state, in this order."""
        old = self.interface.observations[STATE]
        columns = [old.names.index(name) for name in names]
        units = tuple(old.units[i] for i in columns) if old.units else ()
        state = ArraySpec((len(columns),), old.dtype, tuple(names), units)
        interface = dataclasses.replace(self.interface, observations={STATE: state})
        states = tuple(s[:, columns] for s in self.states)
        return dataclasses.replace(self, interface=interface, states=states)


def read(
    path: str | Path, obs: Sequence[str] | None = None, success: bool | None = None
) -> Demonstrations:
    """Read a dataset of ours (a folder) or a robomimic HDF5 file.

    ``obs`` names the observations to take: groups of entries of our "state" ("robot0_eef_pos"), or
    robomimic's keys. ``success`` keeps the successful (or failed) ones where that is known. Raises
    DataError for what is not there, damaged, foreign or empty, SpecError for unknown entries.
    """
    path = Path(path)
    if not path.exists():
        siblings = [p.name for p in path.parent.glob("*")] if path.parent.is_dir() else []
        close = nearest(path.name, siblings)
        raise DataError(f"{path}: no such file or folder{close if 'mean' in close else ''}")
    return (_read_ours if path.is_dir() else _read_robomimic)(path, obs, success)


def _require_some(path: Path, names: Sequence[str], success: bool | None) -> None:
    if not names:
        outcome = "" if success is None else " successful" if success else " failed"
        raise DataError(f"{path} holds no{outcome} demonstrations")


def fitted(
    base: Demonstrations, new: Demonstrations, common: bool = False
) -> tuple[Demonstrations, Demonstrations]:
    """Give both with the same entries of the state in the same order.

    Raises SpecError, which names them, for entries that only one of them has, unless those that
    both have will do (``common``), with a warning; and for other actions or another control rate.
    """
    ours, theirs = base.interface, new.interface
    faults = _action_faults(ours.action, theirs.action)
    if ours.period_s and theirs.period_s and not np.isclose(ours.period_s, theirs.period_s):
        faults.append(f"{1 / theirs.period_s:g} Hz instead of {1 / ours.period_s:g} Hz")
    faults += _limit_faults(ours, theirs)
    mine, other = ours.observations[STATE], theirs.observations[STATE]
    shared, differing = (), []
    if mine.names and other.names:
        shared = tuple(name for name in mine.names if name in other.names)
        differing = [] if common and shared else _entry_faults(mine.names, other.names)
    elif mine.shape != other.shape:
        faults.append(f"states of {other.shape[0]} entries instead of {mine.shape[0]}")
    if faults := [*faults, *differing]:
        hint = "; common=true takes the entries that both have" if shared and differing else ""
        raise SpecError(f"{new.path} does not fit {base.path}: {'; '.join(faults)}{hint}")
    if not shared:
        return base, new
    if left_out := [name for name in (*mine.names, *other.names) if name not in shared]:
        warnings.warn(
            f"{base.path} and {new.path} are compared by {_listed(shared)}; left out are "
            f"{_listed(left_out)}",
            stacklevel=2,
        )
    base, new = base.entries(shared), new.entries(shared)
    quaternions = _quaternions(shared)
    states = tuple(_on_one_side(s, quaternions, base.states[0][0]) for s in new.states)
    return base, dataclasses.replace(new, states=states)


def _action_faults(ours: ArraySpec, theirs: ArraySpec) -> list[str]:
    if ours.shape != theirs.shape:
        return [f"actions of {theirs.shape[0]} entries instead of {ours.shape[0]}"]
    if ours.names and theirs.names and ours.names != theirs.names:
        return [f"actions {_listed(theirs.names)} instead of {_listed(ours.names)}"]
    if ours.scale and theirs.scale and ours.scale != theirs.scale:
        return ["actions of another scale"]
    return []


def _limit_faults(ours: Spec, theirs: Spec) -> list[str]:
    """Say where actions of both were brought to [-1, 1], but from other limits."""
    mine, other = (spec.controller.get("action_limits") for spec in (ours, theirs))
    if not mine or not other or np.array_equal(np.asarray(mine), np.asarray(other)):
        return []
    return [f"actions in [-1, 1] stood for {other} instead of {mine}: give limits=[low, high]"]


def _entry_faults(ours: Sequence[str], theirs: Sequence[str]) -> list[str]:
    missing = [name for name in ours if name not in theirs]
    extra = [name for name in theirs if name not in ours]
    sides = (("lacks", missing), ("has besides", extra))
    return [f"its state {verb} {_listed(names)}" for verb, names in sides if names]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


# -- datasets of ours ----------------------------------------------------------------------------


def _read_ours(path: Path, obs: Sequence[str] | None, success: bool | None) -> Demonstrations:
    dataset = Dataset.open(path)
    if STATE not in dataset.interface.observations:
        raise DataError(f"{path} has no observation '{STATE}': images alone cannot be compared")
    state = dataset.interface.observations[STATE]
    names = dataset.names(success=success)
    _require_some(path, names, success)
    found = [_plain(dataset, name) for name in names]
    demonstrations = Demonstrations(
        path,
        dataclasses.replace(dataset.interface, observations={STATE: state}),
        tuple(names),
        tuple(operator for _, _, operator in found),
        dataset.masks(),
        tuple(states for states, _, _ in found),
        tuple(actions for _, actions, _ in found),
    )
    if obs is None:
        return demonstrations
    columns = dict.fromkeys(int(i) for prefix in obs for i in state.index(prefix))
    return demonstrations.entries([state.names[i] for i in columns])


def _plain(dataset: Dataset, name: str) -> tuple[np.ndarray, np.ndarray, str]:
    episode = dataset.load(name)
    episode.require_finite(f"{dataset.path}: {name}")
    operator = str(episode.metadata.get("operator", ""))
    return episode.observations[STATE][:-1], episode.actions, operator


# -- robomimic's files ---------------------------------------------------------------------------


def _read_robomimic(path: Path, obs: Sequence[str] | None, success: bool | None) -> Demonstrations:
    with _opened(path) as file:
        data, masks = file.get("data"), _masks(file)
        if not isinstance(data, h5py.Group):
            raise DataError(f"{path} has no group 'data': it is no robomimic file")
        names = sorted(filter(DEMO.fullmatch, data), key=lambda name: int(name[5:]))
        if len(data) and not names:
            raise DataError(
                f"{path} holds no demonstrations that are called demo_0, demo_1, ..., but "
                f"{_listed(list(data))}"
            )
        if success is not None and {"success", "failure"} & set(masks):
            names = [n for n in names if n in masks.get("success" if success else "failure", ())]
        _require_some(path, names, success)
        keys = _keys(data[names[0]], obs, f"{path}: {names[0]}")
        found = [_parts(data[name], keys, f"{path}: {name}") for name in names]
        arguments = _env_args(data)
    widths = {name: array.shape[1] for name, array in found[0].items()}
    for name, parts in zip(names, found, strict=True):
        _require_fit(parts, widths, f"{path}: {name}")
    actions = tuple(parts.pop(ACTIONS) for parts in found)
    interface = _interface(arguments, widths)
    quaternions = _quaternions(interface.observations[STATE].names)
    states = [np.concatenate(list(parts.values()), axis=1) for parts in found]
    return Demonstrations(
        path,
        interface,
        tuple(names),
        tuple(operator_of(name, masks) for name in names),
        masks,
        tuple(_on_one_side(s, quaternions, states[0][0]) for s in states),
        actions,
    )


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    """Open a file for reading; every way in which that can fail becomes one line."""
    try:
        if not h5py.is_hdf5(path):
            raise DataError(f"{path} is not HDF5: give a robomimic file, or a dataset's folder")
        with h5py.File(path, "r") as file:
            yield file
    except DataError:
        raise
    except (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise DataError(f"{path} is damaged: {str(error).splitlines()[0]}") from error


def _masks(file: h5py.File) -> Masks:
    group = file.get("mask", {})
    return {name: [key.decode() for key in group[name][()]] for name in group}


def operator_of(name: str, masks: Masks) -> str:
    """Name the smallest mask that a demonstration is in and that says who it comes from."""
    mine = [m for m, names in masks.items() if name in names and not NO_OPERATOR.fullmatch(m)]
    return min(mine, key=lambda mask: (len(masks[mask]), mask), default="")


def _keys(demo: h5py.Group, obs: Sequence[str] | None, where: str) -> list[str]:
    """Choose observations of a demonstration: ``obs``, the usual ones, or all that are vectors."""
    if OBS not in demo:
        raise DataError(
            f"{where} has no observations (obs): robomimic's dataset_states_to_obs.py adds them"
        )
    vectors = [key for key, array in demo[OBS].items() if np.ndim(array) in (1, 2)]
    if obs is None:
        if not vectors:
            raise DataError(f"{where} has images only, which cannot be compared")
        return usual(vectors)
    for key in obs:
        if key in demo[OBS] and key not in vectors:
            raise DataError(f"{where}: obs/{key} has shape {demo[OBS][key].shape}: no vector")
        if key not in vectors:
            raise DataError(f"{where} has no obs/{key}{nearest(key, vectors)}")
    return list(dict.fromkeys(obs))


def usual(vectors: Sequence[str]) -> list[str]:
    """Choose, of observations that are vectors, robomimic's usual ones, or all if it has none."""
    if not any(map(OF_ROBOT.fullmatch, vectors)):
        return list(vectors)
    return [key for key in vectors if key == OBJECT or OF_ROBOT.fullmatch(key)]


def _parts(demo: h5py.Group, keys: Sequence[str], where: str) -> dict[str, np.ndarray]:
    """Read the observations [T, n], "obs/KEY", and the "actions" [T, A]."""
    parts = {}
    for name in (*(f"{OBS}/{key}" for key in keys), ACTIONS):
        if name not in demo:
            raise DataError(f"{where} has no {name}")
        array = np.asarray(demo[name][()], np.float64)
        parts[name] = array[:, None] if array.ndim == 1 else array
    return parts


def _require_fit(parts: Mapping[str, np.ndarray], widths: Mapping[str, int], where: str) -> None:
    """Raise DataError unless all have as many rows as actions, and the first one's columns."""
    steps = len(parts[ACTIONS])
    for name, array in parts.items():
        if array.shape != (steps, widths[name]) or not steps:
            right = (steps or "T", widths[name])
            raise DataError(f"{where}: {name} has shape {array.shape} instead of {right}")
        finite = np.isfinite(array).all(axis=1)
        if not finite.all():
            raise DataError(f"{where}: {name} is not finite at step {finite.argmin()}")


def _env_args(data: h5py.Group) -> dict[str, Any]:
    """Give robomimic's description of the environment; {} where there is none to be read."""
    try:
        found = json.loads(data.attrs["env_args"])
    except (KeyError, TypeError, ValueError):  # other tools leave it out
        return {}
    return found if isinstance(found, dict) else {}


def _interface(env_args: Mapping[str, Any], widths: Mapping[str, int]) -> Spec:
    keys = {name[len(OBS) + 1 :]: n for name, n in widths.items() if name != ACTIONS}
    names = tuple(f"{key}_{i}" for key, n in keys.items() for i in range(n))
    arguments = env_args.get("env_kwargs")
    rate_hz = arguments.get("control_freq") if isinstance(arguments, dict) else None
    return Spec(
        environment=str(env_args.get("env_name", "")),
        observations={STATE: ArraySpec((len(names),), "float64", names)},
        action=ArraySpec((widths[ACTIONS],), "float64"),
        period_s=1.0 / rate_hz if isinstance(rate_hz, int | float) and rate_hz > 0 else 0.0,
    )


# -- quaternions ---------------------------------------------------------------------------------


def _quaternions(names: Sequence[str]) -> list[slice]:
    """Find the columns of the quaternions among entries that are called by key and number."""
    keys = [m[1] if (m := QUATERNION.fullmatch(name)) else "" for name in names]
    starts = [i for i, key in enumerate(keys) if key and key not in keys[:i]]
    return [slice(i, i + 4) for i in starts if keys[i : i + 4] == [keys[i]] * 4]


def _on_one_side(
    states: np.ndarray, quaternions: Sequence[slice], reference: np.ndarray
) -> np.ndarray:
    """Turn quaternions of states [T, O] to that side of the one before, and of ``reference`` [O].

    The reference decides on the first.
    """
    turned = states.copy()
    for where in quaternions:
        q = states[:, where]
        before = np.concatenate([reference[None, where], q[:-1]])
        turns = np.where((q * before).sum(axis=1) < 0.0, -1.0, 1.0)
        turned[:, where] = q * np.cumprod(turns)[:, None]
    return turned
