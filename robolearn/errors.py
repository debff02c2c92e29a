"""Errors that a user can cause: one line that says where, what, and what would be right."""

import difflib
from collections.abc import Iterable

KEPT = "what was finished is kept"  # says who is interrupted, unless it knows better


class UserError(ValueError):
    """Something the user can put right; the command line prints it as one line and exits with 2."""


class SpecError(UserError):
    """Two parts that are put together do not fit: keys, shapes, sizes, robot or controller."""


class OptionError(UserError):
    """An option that somebody does not know; ``option`` is its name."""

    def __init__(self, message: str, option: str = "") -> None:
        super().__init__(message)
        self.option = option


class DataError(UserError):
    """A dataset or episode is missing, empty, damaged, foreign or not finite."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which known name is meant: ``"; did you mean 'lr'?"``, or list what there is."""
    known = sorted(known)
    return close(name, known) or (f"; known: {', '.join(known)}" if known else "")


def close(name: str, known: Iterable[str]) -> str:
    """Say which known name is meant, as ``nearest`` does; nothing if none is like it."""
    found = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    return f"; did you mean '{found[0]}'?" if found else ""
