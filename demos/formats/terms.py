"""From what a file says of an episode to an Episode in our terms, and what was decided on the way.

- Every observation keeps its key, type and rows. Beside them stands "state", float32, which is made
  of some of them: robomimic's usual keys where some are a robot's, else all vectors.
- Entries are called as robosuite's adapter calls them (``robot0_eef_pos_x``), else by what the
  source calls them. A quaternion in "state" is wxyz, whatever its order was, and keeps to one side;
  three entries that are called an axis-angle become one.
- Actions are brought to [-1, 1] by the limits that the source or the user states. Where that, or
  float32, changes a bit, the record ``action_as_given`` [T, A] keeps what the file says.
- What nobody says is listed under ``not_told`` in the metadata: without rewards these are zeros;
  whether the task or the time was over ("terminated") is not told by an end alone;
  without an observation after the last action the last one stands twice; without an outcome a
  demonstration counts as one that succeeded, since it was given as one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from demos.data.arrays import usual
from demos.formats.contract import Reading, Told
from demos.formats.faults import one_line
from demos.formats.quaternions import on_one_side
from demos.formats.safe_names import require_names
from demos.formats.state import STATE, Part, part_of
from robolearn.errors import DataError, nearest
from robolearn.types import ArraySpec, Episode, Spec

OTHER_STATE = "state_as_given"  # what the source calls "state", where ours is another
AS_GIVEN = "action_as_given"
LIMITS = "action_limits"  # of a controller: what became -1 and 1
CHANGED = "actions"  # of the metadata's source: who had the actions changed
MOST_ENTRIES = 1 << 20  # of "state"
ROUNDING = 1e-6  # beyond a limit that is float32's doing


@dataclass(frozen=True)
class About:
    """What a format says of all its episodes."""

    where: str  # for messages: the path
    environment: str = ""
    period_s: float = 0.0
    robot: str = ""
    controller: dict[str, Any] = field(default_factory=dict)
    entries: Mapping[str, Sequence[str]] = field(default_factory=dict)  # key -> its entries' names
    action_names: tuple[str, ...] = ()
    limits: tuple[Any, Any] | None = None  # of actions, as the source states them
    who: str = ""  # says so: "its action_space"
    order: str = ""  # of quaternions whose entries have no names
    spec: Spec | None = None  # of the task itself, where the observations are its own


@dataclass(frozen=True)
class Terms:
    """How the episodes of one source are brought to our terms; made by ``settle``."""

    interface: Spec
    parts: tuple[Part, ...]
    low: np.ndarray | None  # [A] what becomes -1; None: actions stay
    high: np.ndarray | None  # [A] what becomes 1
    clip: bool
    reference: np.ndarray  # [O] on whose side quaternions are
    notes: tuple[str, ...]

    def episode(self, told: Told, where: str, images: bool = True) -> Episode:
        """Give the episode; DataError if it is not what the first one promised."""
        require_names(told.records, where)
        actions, given = self._actions(_rows_of(told.actions, where), where)
        steps, not_told = len(actions), list(_not_told(told))
        observations = {
            name: _completed(array, steps, f"{where}: {name}")
            for name, array in told.observations.items()
        }
        shown = {
            name: spec
            for name, spec in self.interface.observations.items()
            if images or len(spec.shape) < 3
        }
        observations = self._observed(observations, shown, where)
        return Episode(
            observations=observations,
            actions=actions,
            rewards=_rewards(told.rewards, steps, where),
            terminated=bool(told.terminated),
            truncated=bool(told.truncated if told.truncated is not None else not told.terminated),
            success=True if told.success is None else bool(told.success),
            states=told.states,
            reward_terms=told.reward_terms,
            metadata=told.metadata | ({"not_told": not_told} if not_told else {}),
            records=told.records | ({} if given is None else {AS_GIVEN: given}),
        )

    def _observed(
        self, given: Mapping[str, np.ndarray], shown: Mapping[str, ArraySpec], where: str
    ) -> dict[str, np.ndarray]:
        """Give the observations that the interface names, "state" put together."""
        found = {}
        for name, spec in shown.items():
            if name == STATE and self.parts:
                found[name] = self._state(given, where)
                continue
            name_there = STATE if name == OTHER_STATE and name not in given else name
            if name_there not in given:
                raise DataError(f"{where} has no observation '{name}', which others have")
            array = given[name_there]
            if array.shape[1:] != spec.shape or str(array.dtype) != spec.dtype:
                raise DataError(
                    f"{where}: {name} is {array.dtype} {array.shape[1:]} instead of {spec.dtype} "
                    f"{spec.shape}"
                )
            found[name] = array
        return found

    def _state(self, given: Mapping[str, np.ndarray], where: str) -> np.ndarray:
        columns, start = [], 0
        for part in self.parts:
            key = part.key
            if key not in given:
                raise DataError(f"{where} has no observation '{key}', which others have")
            flat = given[key].reshape(len(given[key]), -1)
            if flat.shape[1] <= max(part.columns):
                raise DataError(f"{where}: {key} has {flat.shape[1]} entries, others have more")
            stretch = part.rows(flat).astype(np.float32)
            for at in part.quaternions:
                reference = self.reference[start + at : start + at + 4]
                stretch[:, at : at + 4] = on_one_side(stretch[:, at : at + 4], reference)
            columns.append(stretch)
            start += len(part.names)
        return np.concatenate(columns, axis=1)

    def _actions(self, given: np.ndarray, where: str) -> tuple[np.ndarray, np.ndarray | None]:
        """Give the actions in [-1, 1], and as they came if that is not the same."""
        if given.shape[1:] != self.interface.action.shape:
            right = self.interface.action.shape[0]
            raise DataError(f"{where}: actions have {given.shape[1]} entries instead of {right}")
        scaled = given.astype(np.float64)
        if self.low is not None:
            half = (self.high - self.low) / 2
            middle = (self.high + self.low) / 2
            scaled = (scaled - middle) / np.where(half > 0, half, 1.0)
        beyond = ~(np.abs(scaled) <= 1.0 + ROUNDING)  # NaN, too
        if beyond.any() and not (self.clip and np.isfinite(scaled).all()):
            raise DataError(self._too_far(given, beyond, where))
        actions = np.clip(scaled, -1.0, 1.0).astype(np.float32)
        same = given.dtype.kind == "f" and np.array_equal(actions.astype(np.float64), given)
        return actions, None if same else given

    def _too_far(self, given: np.ndarray, beyond: np.ndarray, where: str) -> str:
        step, entry = np.argwhere(beyond)[0]
        value = given[step, entry]
        if not np.isfinite(value):
            return f"{where}: actions are not finite at step {step}"
        low, high = (-1, 1) if self.low is None else (self.low[entry], self.high[entry])
        return (
            f"{where}: action entry {entry} is {value:.4g} at step {step}, beyond [{low:g}, "
            f"{high:g}]: convert, judge and report take limits=[low, high] of them, or clip=true"
        )


def first_whole(names: Sequence[str], tell: Callable[[str], Told], where: str) -> Told:
    """Give the first episode that can be read, by which the terms of all are settled.

    Raises DataError, as the very first has it, if none can.
    """
    fault: DataError | None = None
    for name in names:
        try:
            with one_line(f"{where}: {name}"):
                told = tell(name)
                steps = len(_rows_of(told.actions, f"{where}: {name}"))
                for key, array in told.observations.items():
                    _completed(array, steps, f"{where}: {name}: {key}")
                return told
        except DataError as error:
            fault = fault or error
    raise fault or DataError(f"{where} holds no episodes")


def settle(told: Told, about: About, reading: Reading) -> Terms:
    """Decide, by an episode of a source, how all of them are brought to our terms.

    Raises DataError for names that could lead elsewhere, and for ``reading`` that asks for what is
    not there.
    """
    actions = _rows_of(told.actions, about.where)
    require_names(told.observations, about.where)
    order = reading.quaternions or about.order
    vectors = [key for key, a in told.observations.items() if _is_vector(a)]
    chosen = _chosen(reading, vectors, about.where)
    first = {key: told.observations[key].reshape(len(told.observations[key]), -1) for key in chosen}
    parts = tuple(
        part_of(key, rows.shape[1], tuple(map(str, about.entries.get(key, ()))), order)
        for key, rows in first.items()
    )
    low, high, note = _limits(reading, about, actions.shape[1])
    kept = dict(told.observations)
    itself = _is_itself(parts, kept, about)
    if not itself and STATE in kept:
        kept[OTHER_STATE] = kept.pop(STATE)
    observations = {}
    if parts:
        observations[STATE] = _state_of(parts, about.where)
    observations |= {
        key: ArraySpec(_completed(a, len(actions), f"{about.where}: {key}").shape[1:], str(a.dtype))
        for key, a in kept.items()
        if key != STATE
    }
    begin = [part.rows(first[part.key][:1])[0] for part in parts]
    reference = np.concatenate(begin).astype(np.float64) if begin else np.zeros(0)
    controller = dict(about.controller)
    if low is not None:
        controller[LIMITS] = [low.tolist(), high.tolist()]
    action = ArraySpec((actions.shape[1],), "float32", _names_for(about, actions.shape[1]))
    if about.spec is not None and about.spec.action.shape == action.shape:
        action = about.spec.action
    if about.spec is not None and STATE in about.spec.observations:
        observations[STATE] = about.spec.observations[STATE]
    interface = Spec(
        environment=about.environment,
        observations=observations,
        action=action,
        period_s=about.period_s,
        robot=about.robot,
        controller=controller,
    )
    return Terms(
        interface,
        () if itself else parts,
        low,
        high,
        reading.clip,
        reference,
        tuple(filter(None, [note, _choice(chosen, vectors), _turned(parts)])),
    )


def as_given(episode: Episode, format: str) -> np.ndarray:
    """Give the actions [T, A] for a file of a format: as they came, if ``is_as_given``."""
    given = episode.records.get(AS_GIVEN)
    return given if given is not None and is_as_given(episode, format) else episode.actions


def is_as_given(episode: Episode, format: str) -> bool:
    """Say whether a file of a format has an episode's actions as they came.

    It has if they came from such a file, and nobody asked for others by limits= or clip=.
    """
    source = episode.metadata.get("source")
    return isinstance(source, Mapping) and source.get("format") == format and CHANGED not in source


def _state_of(parts: Sequence[Part], where: str) -> ArraySpec:
    names = tuple(name for part in parts for name in part.names)
    if len(names) > MOST_ENTRIES:
        raise DataError(f"{where}: 'state' would have {len(names)} entries")
    return ArraySpec((len(names),), "float32", names if len(set(names)) == len(names) else ())


def _names_for(about: About, size: int) -> tuple[str, ...]:
    """Give the names of action entries, if there are as many as entries."""
    return tuple(about.action_names) if len(about.action_names) == size else ()


def _not_told(told: Told) -> list[str]:
    steps = len(told.actions)
    said = {
        "rewards": told.rewards is not None,
        "success": told.success is not None,
        "terminated": told.terminated is not None and told.truncated is not None,
        "the observation after the last action": all(
            len(a) > steps for a in told.observations.values()
        ),
    }
    return [what for what, is_said in said.items() if not is_said]


def _rows_of(actions: np.ndarray, where: str) -> np.ndarray:
    if actions.ndim == 1:
        actions = actions[:, None]
    if actions.ndim != 2 or not actions.size:
        raise DataError(f"{where}: actions have shape {actions.shape} instead of (T, A)")
    return actions


def _rewards(rewards: np.ndarray | None, steps: int, where: str) -> np.ndarray:
    if rewards is None:
        return np.zeros(steps, np.float32)
    if rewards.shape not in ((steps,), (steps, 1)):
        raise DataError(f"{where}: rewards have shape {rewards.shape} for {steps} actions")
    if not np.isfinite(rewards).all():
        raise DataError(f"{where}: rewards are not finite at step {_first_bad(rewards)}")
    return rewards.reshape(steps).astype(np.float32)


def _completed(array: np.ndarray, steps: int, where: str) -> np.ndarray:
    """Give T + 1 rows, the last one twice where the source has only T."""
    if array.ndim and len(array) == steps:
        array = np.concatenate([array, array[-1:]])
    if array.ndim == 0 or len(array) != steps + 1:
        raise DataError(f"{where} has shape {array.shape} for {steps} actions")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise DataError(f"{where} is not finite at step {_first_bad(array)}")
    return array[:, None] if array.ndim == 1 else array


def _first_bad(array: np.ndarray) -> int:
    return int((~np.isfinite(array.reshape(len(array), -1)).all(axis=1)).argmax())


def _is_vector(array: np.ndarray) -> bool:
    return array.ndim in (1, 2)


def _chosen(reading: Reading, vectors: Sequence[str], where: str) -> list[str]:
    if reading.obs is None:
        if STATE in vectors:
            return [STATE]
        return usual(vectors)
    for key in reading.obs:
        if key not in vectors:
            raise DataError(f"{where} has no vector '{key}'{nearest(key, vectors)}")
    return list(dict.fromkeys(reading.obs))


def _choice(chosen: Sequence[str], vectors: Sequence[str]) -> str:
    """Say what makes "state" up where that is a choice."""
    beside = [key for key in vectors if key not in chosen]
    if not chosen or not beside and len(chosen) == 1:
        return ""
    said = f"state: made of {', '.join(chosen)}"
    return said + (f"; beside it stays {', '.join(beside)}" if beside else "")


def _turned(parts: Sequence[Part]) -> str:
    """Say which rotations become quaternions."""
    turned = [name for part in parts for name in part.turned]
    return f"state: the axis-angle {', '.join(turned)} is a quaternion in it" if turned else ""


def _is_itself(parts: Sequence[Part], observations: Mapping[str, np.ndarray], about: About) -> bool:
    """Say whether "state" is the source's own "state", as it is.

    One with rotations is not, as they are turned to one side, unless it is the task's own.
    """
    if [part.key for part in parts] != [STATE]:
        return False
    if parts[0].quaternions and (about.spec is None or STATE not in about.spec.observations):
        return False
    columns, own = parts[0].columns, observations[STATE]
    return columns == tuple(range(len(columns))) and own.dtype == np.float32 and own.ndim == 2


def _limits(
    reading: Reading, about: About, size: int
) -> tuple[np.ndarray | None, np.ndarray | None, str]:
    stated, who = (reading.limits, "limits=") if reading.limits else (about.limits, about.who)
    if stated is None:
        return None, None, ""
    low, high = (_broadcast(limit, size, about.where) for limit in stated)
    if not (np.isfinite(low).all() and np.isfinite(high).all()) or (low > high).any():
        if reading.limits is None:
            return None, None, f"actions: {who} states no limits; they stay as they are"
        raise DataError(f"limits: {reading.limits[0]} must lie below {reading.limits[1]}")
    if (low == -1.0).all() and (high == 1.0).all():
        return None, None, ""
    said = f"[{', '.join(f'{x:.4g}' for x in low[:4])}{', ...' * (size > 4)}] to "
    said += f"[{', '.join(f'{x:.4g}' for x in high[:4])}{', ...' * (size > 4)}]"
    return low, high, f"actions: {who} says {said}; that is [-1, 1] here"


def _broadcast(limit: Any, size: int, where: str) -> np.ndarray:
    values = np.asarray(limit, np.float64).ravel()
    if values.size not in (1, size):
        raise DataError(f"{where}: {values.size} limits for {size} action entries")
    return np.broadcast_to(values, size).copy()
