"""Strict configuration: YAML and ``key=value`` in, frozen dataclasses out, one-line errors.

Values are checked against the dataclass' annotations without coercion, except that an integer may
stand for a float and a list for a tuple. The YAML is that of ``strict_yaml``.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
import re
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pydantic

from robolearn.errors import UserError, nearest
from robolearn.running import strict_yaml
from robolearn.settings import said

CUT = "; is it cut? In a shell, quotes go around what has spaces, 'sweep.seed=[0, 1]'"
MANY = ("-m", "--multirun")  # Hydra's words for a sweep
STRICT = pydantic.ConfigDict(extra="forbid", allow_inf_nan=False)
Config = TypeVar("Config")
Keys = tuple[str | int, ...]


@dataclass(frozen=True)
class EnvConfig:
    """Which environment to make, by name, and the options that its adapter knows."""

    name: str
    """``robosuite/Lift``, ``dmc/walker-walk``, ``mujoco/PATH.xml``, ``gym/ID``; one's own
    ``module:function``, or a name that an installed package publishes."""
    options: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of ``sim.make``: ``{robot: Panda, horizon: 200}``."""


@dataclass(frozen=True)
class Source:
    """The raw values of one launch file and its overrides, which knows where each came from."""

    path: Path
    document: strict_yaml.Document  # overrides are put into its value
    places: dict[Keys, str]  # of overrides: ("bc", "width") -> "'bc.width=64'"

    @property
    def values(self) -> dict[str, Any]:
        """Give the raw values, overrides applied."""
        return self.document.value

    def where(self, keys: Keys) -> str:
        """Say where ``keys`` was written: ``'bc.width=64'`` or ``launch/lift.yaml:7``."""
        if (place := self.override(keys)) is not None:
            return place
        line = self.document.line(keys)
        inside = (place for k, place in self.places.items() if k[: len(keys)] == keys)
        if not line and (place := next(inside, None)):  # it made the section that it is in
            return place
        return f"{self.path}:{line}" if line else str(self.path)

    def override(self, keys: Keys) -> str | None:
        """Give the override that ``keys`` are from, or a part of; None if they are the file's."""
        above = (keys[:end] for end in range(len(keys), 0, -1))
        return next((self.places[some] for some in above if some in self.places), None)

    def changed(self, changes: Iterable[tuple[Keys, Any, str]]) -> Source:
        """Give a copy with other values, each for its keys and with the place that it is from."""
        document = dataclasses.replace(self.document, value=copy.deepcopy(self.values))
        copied = Source(self.path, document, dict(self.places))
        for keys, value, place in changes:
            _assign(copied.values, keys, copy.deepcopy(value), place)
            copied.places[keys] = place
        return copied


def read(path: Path, overrides: Sequence[str] = ()) -> Source:
    """Read a YAML mapping and put ``key=value`` overrides (dotted keys, YAML values) over it.

    Raises UserError for what is no YAML mapping, and for overrides that cannot be applied.
    """
    document = strict_yaml.parse(_text(path), str(path))
    if document.value is None:
        raise UserError(f"{path}: is empty; expected 'key: value' lines")
    if not isinstance(document.value, dict):
        raise UserError(f"{path}: expected 'key: value' lines")
    return Source(path, document, {}).changed(map(_parse_override, overrides))


def given(cls: type[Config], where: str, overrides: Sequence[str]) -> Config:
    """Make a ``cls`` of ``key=value`` arguments alone, for a command ``where`` without a file."""
    source = Source(Path(where), strict_yaml.Document({}, None), {})
    source = source.changed(map(_parse_override, overrides))
    return build(cls, source, source.values)


def build(
    cls: type[Config],
    source: Source,
    values: Mapping[str, Any],
    also_known: Iterable[str] = (),
) -> Config:
    """Make a ``cls`` of ``values`` (a part of ``source.values``).

    Raises UserError for the first unknown key, wrong type or missing key; ``also_known`` are names
    that may stand beside the dataclass' own and are offered when a key is misspelt. Of a section
    that is given in part the rest is what it would be if it were not given at all.
    """
    whole = completed(cls, values)
    try:  # as JSON: strict, and yet a list may stand for a tuple
        return _strict(cls).validate_json(json.dumps({"": whole}), strict=True)[""]
    except pydantic.ValidationError as error:
        raise UserError(_explain(error, cls, source, also_known)) from None


def completed(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Put into sections what a field's default has in them, where that is not their own default."""
    hints, whole = typing.get_type_hints(cls, include_extras=True), dict(values)
    for spec in dataclasses.fields(cls):
        if spec.name not in whole:
            continue
        value, annotation = whole[spec.name], hints[spec.name]
        if isinstance(value, Mapping) and {type(spec.default)} == set(_sections(annotation)):
            value = _unlike(spec.default) | value
        whole[spec.name] = _completed_in(annotation, value)
    return whole


def _completed_in(annotation: Any, value: Any) -> Any:
    """Complete the sections in a value, be they in a list or under names; of a choice none."""
    if dataclasses.is_dataclass(annotation):
        return completed(annotation, value) if isinstance(value, Mapping) else value
    inside = [one for one in typing.get_args(annotation) if next(_sections(one), None)]
    if len(inside) != 1:
        return value
    if typing.get_origin(annotation) is tuple:
        return [_completed_in(*inside, v) for v in value] if isinstance(value, list) else value
    if typing.get_origin(annotation) is dict:
        named = isinstance(value, Mapping)
        return {k: _completed_in(*inside, v) for k, v in value.items()} if named else value
    return _completed_in(*inside, value)


def _unlike(section: Any) -> dict[str, Any]:
    """Give the fields of a dataclass that are not as they are by default, as plain values."""
    defaults = {
        spec.name: spec.default if spec.default_factory is dataclasses.MISSING
        else spec.default_factory()
        for spec in dataclasses.fields(section)
    }  # fmt: skip
    changed = {k for k, default in defaults.items() if getattr(section, k) != default}
    return {k: value for k, value in plain(section).items() if k in changed}


def plain(config: Any) -> dict[str, Any]:
    """Turn a configuration dataclass into dicts, lists and scalars."""
    return _adapter(type(config)).dump_python(config, mode="json")


@functools.cache  # making it takes a thousand times as long as using it, and sweeps have many runs
def _adapter(cls: type) -> pydantic.TypeAdapter:
    return pydantic.TypeAdapter(cls)


@functools.cache
def _strict(cls: type) -> pydantic.TypeAdapter:
    """Give what checks a class, whose strictness comes from what is around it: hence the dict."""
    return pydantic.TypeAdapter(dict[str, cls], config=STRICT)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None


def _parse_override(override: str) -> tuple[Keys, Any, str]:
    """Give the keys, the value, and how it is cited."""
    name, equals, text = override.partition("=")
    keys, place = tuple(name.split(".")), f"'{override}'"
    if not equals or not all(keys):
        hint = "; many runs are 'sweep.seed=[0, 1]'" if name in MANY else ""
        raise UserError(
            f"{place}: expected key=value{hint}; `robolearn show LAUNCH` lists the keys"
        )
    try:
        return keys, strict_yaml.parse(text, place).value, place
    except UserError as error:
        is_cut = any(text.count(left) > text.count(right) for left, right in ("[]", "{}"))
        raise UserError(f"{error}{CUT}" if is_cut else str(error)) from None


def _assign(values: dict[str, Any], keys: Keys, value: Any, place: str) -> None:
    for depth, key in enumerate(keys[:-1], start=1):
        values = values.setdefault(key, {})
        if not isinstance(values, dict):
            raise UserError(f"{place}: {'.'.join(keys[:depth])} has no keys of its own")
    values[keys[-1]] = value


_UNKNOWN = "unexpected_keyword_argument"


def _explain(
    error: pydantic.ValidationError, cls: type, source: Source, also_known: Iterable[str]
) -> str:
    """Put the most telling fault into one line."""
    fault = max(error.errors(include_url=False), key=_telling)
    inside = fault["loc"][1:]  # without the dict around the dataclass
    keys = tuple(key for key in inside if "[" not in str(key))  # or a choice's annotation
    name = ".".join(map(str, keys))
    if fault["type"] == "missing" and isinstance(keys[-1], int):
        whole = ".".join(map(str, keys[:-1]))
        return f"{source.where(keys[:-1])}: {whole} lacks its entry {keys[-1] + 1}"
    if fault["type"] == "missing":
        return f"{source.where(keys[:-1])}: missing key '{name}'"
    if fault["type"] == _UNKNOWN:
        known = _known(cls, keys[:-1]) | (set(also_known) if len(keys) == 1 else set())
        return f"{source.where(keys)}: unknown key '{name}'{nearest(str(keys[-1]), known)}"
    if fault["type"] == "value_error":  # a UserError of a dataclass' own __post_init__
        return _placed(str(fault["ctx"]["error"]), cls, source, keys)
    if "dataclass" in fault["type"]:
        fault["msg"] = "should be 'key: value' lines"
    return f"{source.where(keys)}: {name} {said(fault)}{_many(source, keys, fault['input'])}"


def _many(source: Source, keys: Keys, value: Any) -> str:
    """Say how a list is swept, to who gives one in place of a value."""
    place, name = source.override(keys), ".".join(map(str, keys))
    items = value if isinstance(value, list) else str(value).split(",")
    if source.document.node is None or len(items) < 2 or not (place or "").startswith(f"'{name}="):
        return ""
    return f"; 'sweep.{name}=[{', '.join(map(str, items))}]' makes a run of each"


def _telling(fault: Mapping[str, Any]) -> tuple[bool, bool, int]:
    """Say how much a fault tells: a misspelt key also makes one that is missing, for instance."""
    named = fault["type"] != "literal_error" or isinstance(fault["input"], str)
    return fault["type"] == _UNKNOWN, named, len(fault["loc"])


def _placed(message: str, cls: type, source: Source, keys: Keys) -> str:
    """Say where a message of the section at ``keys`` belongs, which may begin with a setting."""
    setting = re.match(r"[\w.]*", message).group()
    inside = tuple(setting.split("."))
    if inside[0] in _known(cls, keys):
        return f"{source.where((*keys, *inside))}: {'.'.join(map(str, (*keys, message)))}"
    return f"{source.where(keys)}: {message}"


def _known(cls: type, keys: Keys) -> set[str]:
    """Name the fields of the section that ``keys`` lead to from ``cls``."""
    sections = [cls]
    for key in keys:
        hints = {k: hint for s in sections for k, hint in typing.get_type_hints(s).items()}
        if key in hints:  # else an index, or the key of a dict of sections
            sections = list(_sections(hints[key]))
    return {f.name for s in sections for f in dataclasses.fields(s)}


def _sections(annotation: Any) -> Iterator[type]:
    if dataclasses.is_dataclass(annotation):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _sections(argument)
