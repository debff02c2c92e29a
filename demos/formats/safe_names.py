"""Names of observations and records: they become paths in files, and must not lead elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterable

from robolearn.errors import DataError

SAFE = re.compile(r"[\w.\- ]{1,128}(?:/[\w.\- ]{1,128}){0,8}")


def require_safe(name: str, where: str) -> None:
    """Raise DataError for a name that, as a path, could lead out of the folder it is used in."""
    parts = name.split("/")
    if not SAFE.fullmatch(name) or any(set(part) <= {".", " "} for part in parts):
        raise DataError(f"{where}: {name[:60]!r} is no name for an observation")


def require_names(names: Iterable[str], where: str) -> None:
    """Raise DataError for a name that is unsafe, or that others lie below, as "a" and "a/b"."""
    there = set(names)
    for name in there:
        require_safe(name, where)
        parts = name.split("/")
        if above := {"/".join(parts[:n]) for n in range(1, len(parts))} & there:
            raise DataError(f"{where}: {min(above)[:60]!r} is an array; {name[:60]!r} cannot be")
