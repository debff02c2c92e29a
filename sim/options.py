"""Options of an adapter: a frozen dataclass, filled from keywords or from YAML."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from robolearn.errors import UserError, nearest

Options = TypeVar("Options")


def parse(kind: type[Options], options: Mapping[str, Any], where: str) -> Options:
    """Make ``kind`` from a mapping; lists become tuples, an unknown key is a UserError."""
    known = [field.name for field in dataclasses.fields(kind)]
    for key in options:
        if key not in known:
            raise UserError(f"{where}: unknown option '{key}'{nearest(key, known)}")
    return kind(**{key: _frozen(value) for key, value in options.items()})


def choose(value: str, known: Any, where: str, what: str) -> str:
    """Return ``value`` if it is one of ``known``, else raise a UserError with the nearest name."""
    known = [str(name) for name in known]
    if value not in known:
        raise UserError(f"{where}: unknown {what} '{value}'{nearest(str(value), known)}")
    return value


def require_positive(where: str, **values: float) -> None:
    """Raise UserError for the first value that is not above zero."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            raise UserError(f"{where}: {name}={value!r} must be a number above 0")


def as_tuple(names: str | tuple[str, ...]) -> tuple[str, ...]:
    """Take one name for a tuple of one."""
    return (names,) if isinstance(names, str) else tuple(names)


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
