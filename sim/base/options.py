"""Options of an adapter: a frozen dataclass, filled from keywords or from YAML."""

import dataclasses
import operator
from collections.abc import Mapping
from numbers import Real
from typing import Any, TypeVar

from robolearn.errors import OptionError, UserError, nearest

RENDER_MODE = "rgb_array"  # the one there is
Options = TypeVar("Options")


def parse(kind: type[Options], options: Mapping[str, Any], where: str) -> Options:
    """Make ``kind`` from a mapping; lists become tuples.

    Raises UserError for an unknown key, and for an unknown ``render_mode``: making an environment
    can take seconds, and what is half made is not closed.
    """
    known = [field.name for field in dataclasses.fields(kind)]
    for key in options:
        if key not in known:
            raise OptionError(f"{where}: unknown option '{key}'{nearest(key, known)}", key)
    if options.get("render_mode") is not None:
        choose(options["render_mode"], (RENDER_MODE,), where, "render_mode")
    return kind(**{key: _frozen(value) for key, value in options.items()})


def choose(value: str, known: Any, where: str, what: str) -> str:
    """Return ``value`` if it is one of ``known``, else raise a UserError with the nearest name."""
    known = [str(name) for name in known]
    if not isinstance(value, str) or value not in known:
        raise UserError(f"{where}: unknown {what} '{value}'{nearest(str(value), known)}")
    return value


def require_positive(where: str, **values: float) -> None:
    """Raise UserError for the first value that is not above zero."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, Real) or not value > 0:
            raise UserError(f"{where}: {name}={value!r} must be a number above 0")


def whole_number(value: Any, where: str, name: str, least: int = 1) -> int:
    """Give a whole number of Python or numpy as an int; raise UserError for any other value."""
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if isinstance(value, bool) or number < least:
        raise UserError(f"{where}: {name}={value!r} must be a whole number, {least} or more")
    return number


def require_names(where: str, **values: Any) -> None:
    """Raise UserError for the first value that is neither a name nor a sequence of names."""
    for name, value in values.items():
        if isinstance(value, str):
            continue
        if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
            raise UserError(f"{where}: {name}={value!r} must be a name or a list of names")


def require_mapping(where: str, **values: Any) -> None:
    """Raise UserError for the first value that is not a mapping."""
    for name, value in values.items():
        if not isinstance(value, Mapping):
            raise UserError(f"{where}: {name}={value!r} must be a mapping of names to values")


def reset_options(options: Any, known: tuple[str, ...], where: str) -> Mapping[str, Any]:
    """Give the options of a reset, of which None are none; UserError unless they are known ones."""
    options = {} if options is None else options
    require_mapping(where, options=options)
    for key in options:
        choose(key, known, where, "reset option")
    return options


def as_tuple(names: str | tuple[str, ...]) -> tuple[str, ...]:
    """Take one name for a tuple of one."""
    return (names,) if isinstance(names, str) else tuple(names)


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
