"""The section ``sweep`` of a launch file: lists of values by key, every combination a run.

::

    sweep:
      seed: [0, 1, 2]
      ppo.gamma: [0.97, 0.99]     # or nested, ppo: {gamma: [0.97, 0.99]}
      conditions:                 # settings with a name, dotted as on the command line
        usual: {}
        small: {ppo.widths: [32, 32], ppo.minibatch: 64}
      engine: local               # the settings of ``SweepConfig`` stand beside
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pydantic

from robolearn.comparing.conditions import short_names
from robolearn.errors import UserError, close
from robolearn.running import config as configuration
from robolearn.running import launch
from robolearn.settings import Settings

FIXED = ("out", "resume", "sweep", "provenance", "view", "threads")  # are no conditions
MOST_RUNS = 10_000
LONGEST_VALUE, LONGEST_NAME = 32, 200  # characters of a value in the name of a run, and of that
TAKEN = (  # what is called so in a sweep's folder is no run
    "launch", "logs", "ray", "sweep.yaml", "report.png", "report.html", "report.json",
    "tensorboard",
)  # fmt: skip
SEED, LABEL, CONDITIONS = ("seed",), ("label",), "conditions"
Keys = configuration.Keys


@dataclass(frozen=True)
class SweepConfig(Settings):
    """How the runs of a sweep are run."""

    engine: Literal["local", "ray"] = "local"
    """Where: processes of this machine, or tasks of a Ray cluster (extra ``ray``)."""
    at_once: pydantic.PositiveInt | None = None
    """How many at a time; None for as many as cores and memory have room for."""
    cpus: pydantic.PositiveInt = 1
    """Cores of a run, which it keeps to."""
    gpus: pydantic.NonNegativeFloat = 0.0
    """GPUs of a run, as Ray counts them; "local" gives out none."""
    memory_gb: pydantic.PositiveFloat = 1.5
    """Memory that a run may need; none begins with less than that left."""
    retries: pydantic.NonNegativeInt = 2
    """How often a run that died or failed goes on from its checkpoint; one that ended with a line
    of what would be right is not tried again."""
    address: str | None = None
    """Ray's cluster, ``HOST:6379`` or "auto"; None for one of its own on this machine."""
    score: str | None = None
    """The entry of ``summary.json`` that counts ("evaluation.return"); None for the usual one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.engine == "local" and self.address is not None:
            raise UserError("address: is for engine: ray")
        if self.engine == "local" and self.gpus:
            raise UserError("gpus: are given out by engine: ray alone")


@dataclass(frozen=True)
class Member:
    """One run of a sweep: its name, what makes it differ, and its checked launch file."""

    name: str
    changes: dict[str, Any]  # "ppo.gamma" -> 0.99
    launch: launch.Launch


@dataclass(frozen=True)
class Sweep:
    """A sweep whose every run has been checked."""

    name: str  # of the launch file
    config: SweepConfig
    asked: dict[str, Any]  # "ppo.gamma" -> [0.97, 0.99]; "conditions" -> their settings
    out: str | None
    members: tuple[Member, ...]

    def settings(self) -> dict[str, Any]:
        """Give the section as plain values, in the layout of a launch file."""
        return configuration.plain(self.config) | self.asked

    def fingerprint(self) -> str:
        """Give what its runs can be recognised by, whatever their results do not depend on."""
        same = [(member.name, _decisive(member.launch)) for member in self.members]
        return hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()[:8]


class _Option(NamedTuple):
    """One of the things that runs differ by."""

    word: str  # in the name of a run
    changes: list[tuple[Keys, Any, str]]  # ("ppo", "gamma"), 0.99, the place that it is from


@dataclass(frozen=True)
class _Axis:
    """A key of the sweep and its values, or the conditions that have a name."""

    written: Keys  # ("sweep", "ppo.gamma") or ("sweep", "ppo", "gamma")
    keys: Keys  # ("ppo", "gamma"); LABEL of conditions
    values: Any  # a list; of conditions their settings by name

    @property
    def name(self) -> str:
        return ".".join(map(str, self.keys))

    def options(self, source: configuration.Source, short: str) -> list[_Option]:
        """Give what a run may be; ``short`` is what the key is called in names of runs."""
        if isinstance(self.values, list):
            where = source.where(self.written)
            words = [f"{short}-{_word(value)}" for value in self.values]
            return [
                _Option(word, [(self.keys, value, where)])
                for word, value in zip(words, self.values, strict=True)
            ]
        return [_Option(_word(name), self._changes(source, name)) for name in self.values]

    def _changes(self, source: configuration.Source, name: str) -> list[tuple[Keys, Any, str]]:
        settings = self.values[name] or {}
        if not isinstance(settings, dict):
            where = source.where((*self.written, name))
            raise UserError(f"{where}: condition '{name}' should be 'key: value' lines")
        places = {key: source.where((*self.written, name, key)) for key in settings}
        for key, setting in settings.items():
            if lost := _lost(setting, source.values.get(key)):
                some = next(iter(setting), lost)
                where = source.where((*self.written, name, key, some))
                raise UserError(
                    f"{where}: {name}: {key} would lose the file's {lost}; '{key}.{some}: ...' "
                    "changes that alone"
                )
        changes = [(tuple(key.split(".")), settings[key], places[key]) for key in settings]
        return [(LABEL, name, source.where((*self.written, name))), *changes]


def _lost(section: Any, earlier: Any) -> str | None:
    """Name what a section lacks that it takes the place of; None if nothing."""
    if not isinstance(section, dict) or not isinstance(earlier, dict):
        return None
    return next((key for key in earlier if key not in section), None)


@dataclass(frozen=True)
class _Section:
    sweep: SweepConfig


def is_sweep(path: Path, overrides: Sequence[str]) -> bool:
    """Say whether a launch file, with its overrides, asks for many runs."""
    return configuration.read(path, overrides).values.get("sweep") is not None


def read(path: Path, overrides: Sequence[str] = ()) -> Sweep:
    """Read a launch file with a sweep, and check every run of it.

    Raises UserError, with its place, for the first thing that is wrong in the first run that it
    is wrong in.
    """
    source = configuration.read(path, overrides)
    section = source.values["sweep"]
    if not isinstance(section, dict):
        raise UserError(f"{source.where(('sweep',))}: sweep should be 'key: [values]' lines")
    known = {f.name for f in dataclasses.fields(SweepConfig)}
    settings = {key: value for key, value in section.items() if key in known}
    config = configuration.build(_Section, source, {"sweep": settings}).sweep
    lists = {key: value for key, value in section.items() if key not in known}
    axes = _overridden(list(_axes(lists, source, ("sweep",))), source)
    _require_sound(axes, source)
    out = source.values.get("out")
    base = source.changed([(("sweep",), None, source.where(("sweep",)))])
    members = tuple(_members(axes, source, base))
    _require_different(members, source.where(("sweep",)))
    for member in members:
        _require_of_many(member.launch.common, config, source)
    asked = {axis.name if axis.keys != LABEL else CONDITIONS: axis.values for axis in axes}
    return Sweep(path.stem, config, asked, out, members)


def _axes(section: Mapping[str, Any], source: configuration.Source, above: Keys) -> Iterator[_Axis]:
    for key, values in section.items():
        written = (*above, key)
        keys = tuple(part for one in written[1:] for part in str(one).split("."))
        if keys == (CONDITIONS,):
            if not isinstance(values, dict) or not values:
                where = source.where(written)
                raise UserError(f"{where}: sweep.conditions should be 'name: {{key: value}}' lines")
            yield _Axis(written, LABEL, values)
        elif isinstance(values, dict) and values:
            yield from _axes(values, source, written)
        elif isinstance(values, list) and values and all(keys):
            yield _Axis(written, keys, values)
        else:
            known = [f.name for f in dataclasses.fields(SweepConfig)] if len(written) == 2 else []
            raise UserError(
                f"{source.where(written)}: {'.'.join(map(str, written))} should be a list of "
                f"values, [a, b], not {values!r}{close(str(key), known)}"
            )


def _overridden(axes: Sequence[_Axis], source: configuration.Source) -> list[_Axis]:
    """Leave out lists of the file where the command line has one for the same key."""
    given = [a for a in axes if source.override(a.written)]
    replaced = {axis.keys for axis in given}
    return [axis for axis in axes if axis in given or axis.keys not in replaced]


def _require_sound(axes: Sequence[_Axis], source: configuration.Source) -> None:
    """Raise UserError for keys that cannot be swept, for what stands twice, for too many runs."""
    if not axes:
        raise UserError(f"{source.where(('sweep',))}: sweep has no list of values, 'seed: [0, 1]'")
    seen: set[Keys] = set()
    for axis in axes:
        places = {k: at for o in axis.options(source, "") for k, _, at in o.changes}
        for keys, where in places.items():
            name = ".".join(map(str, keys))
            if keys[0] in FIXED or (keys == LABEL and isinstance(axis.values, list)):
                hint = "; conditions have names" if keys == LABEL else ""
                raise UserError(f"{where}: '{name}' cannot be swept{hint}")
            if any(keys[: len(one)] == one[: len(keys)] for one in seen):  # or a part of it
                raise UserError(f"{where}: '{name}' stands twice")
        seen |= places.keys()
        counts = Counter(json.dumps(value, sort_keys=True) for value in axis.values)
        if twice := [value for value, count in counts.items() if count > 1]:
            where = source.where(axis.written)
            raise UserError(f"{where}: {axis.name}: {twice[0]} stands twice")
    if (count := math.prod(len(axis.values) for axis in axes)) > MOST_RUNS:
        raise UserError(
            f"{source.where(('sweep',))}: sweep has {count:,} runs; {MOST_RUNS:,} at most"
        )


def _members(
    axes: Sequence[_Axis], source: configuration.Source, base: configuration.Source
) -> Iterator[Member]:
    """Give every combination: all with one seed, then all with the next; the seed is named last."""
    names = short_names([axis.name for axis in axes])
    options = [axis.options(source, name) for axis, name in zip(axes, names, strict=True)]
    is_seed = [axis.keys == SEED for axis in axes]
    seed_first = sorted(range(len(axes)), key=lambda i: not is_seed[i])
    seed_last = sorted(range(len(axes)), key=lambda i: is_seed[i])
    taken = set(TAKEN)
    for combination in itertools.product(*(options[i] for i in seed_first)):
        chosen = dict(zip(seed_first, combination, strict=True))
        changes = [change for i in seed_last for change in chosen[i].changes]
        name = "_".join(chosen[i].word for i in seed_last)[:LONGEST_NAME]
        name = _unused(name, taken)
        told = {".".join(map(str, keys)): value for keys, value, _ in changes}
        yield Member(name, told, _checked(base, changes, name))


def _checked(
    base: configuration.Source, changes: Sequence[tuple[Keys, Any, str]], name: str
) -> launch.Launch:
    """Check a run; what its changes make of another line is said with its name."""
    try:
        return launch.checked(base.changed(changes))
    except UserError as error:
        if str(error).startswith(tuple(place for _, _, place in changes)):
            raise
        raise UserError(f"{error} (run {name})") from None


def _require_different(members: Iterable[Member], where: str) -> None:
    """Raise UserError, which begins with ``where``, for two that are the same, as 1 and 1.0 are."""
    seen: dict[str, str] = {}
    for member in members:
        settings = json.dumps(member.launch.settings(), sort_keys=True)
        if (other := seen.setdefault(settings, member.name)) != member.name:
            raise UserError(f"{where}: {other} and {member.name} are the same run")


def _require_of_many(
    common: launch.Common, config: SweepConfig, source: configuration.Source
) -> None:
    """Raise UserError for what belongs to single runs, or would have cores shared."""
    if common.threads > config.cpus:
        raise UserError(
            f"{source.where(('threads',))}: {common.threads} threads on sweep.cpus={config.cpus}; "
            f"sweep.cpus={common.threads} would be right"
        )
    if common.view == "live":
        raise UserError(f"{source.where(('view',))}: view=live is for a single run")
    if common.resume is not None:
        raise UserError(
            f"{source.where(('resume',))}: the same command goes on with a sweep, without resume="
        )


def _word(value: Any) -> str:
    """Write a value so that it can stand in the name of a folder."""
    text = value if isinstance(value, str) else json.dumps(value)
    return re.sub(r"[^\w.+-]+", "-", text).strip("-.")[:LONGEST_VALUE] or "empty"


def _unused(name: str, taken: set[str]) -> str:
    """Give the name, or the first with a number behind it that is not taken; take it."""
    numbered = (f"{name}_{i}" for i in itertools.count(2))
    found = name if name not in taken else next(n for n in numbered if n not in taken)
    taken.add(found)
    return found


def _decisive(checked: launch.Launch) -> dict[str, Any]:
    ignored: Iterable[str] = launch.CHANGEABLE | set(checked.verb.changeable)
    settings = launch.flat(checked.settings())
    decisive = {key: value for key, value in settings.items() if key not in ignored}
    return decisive | ({} if checked.common.label is None else {"label": checked.common.label})
