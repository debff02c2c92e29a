"""What numba lacks: a word to whoever waits, and a cache that follows all sources."""

from __future__ import annotations

import contextlib
import hashlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from numba.core.event import Event, Listener, install_listener, register

ONCE = "once; it may take minutes"


def source_digest(*folders: Path) -> str:
    """Give a hexadecimal digest of the Python files of folders.

    numba compares the file of a compiled function with its cache but not those that it calls: a
    digest of them all has to be part of the key.
    """
    paths = [path for folder in folders for path in sorted(folder.glob("*.py"))]
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in paths)).hexdigest()


def announce(function: Callable[..., Any], what: str) -> None:
    """Say ``what`` is compiled on stderr when numba begins with it; not if its cache has it."""
    register("numba:compile", _Announcer(what, function))


@contextlib.contextmanager
def announcing(what: str) -> Iterator[None]:
    """Say ``what`` is compiled on stderr when numba first begins to compile anything meanwhile."""
    with install_listener("numba:compile", _Announcer(what)):
        yield


class _Announcer(Listener):
    def __init__(self, what: str, function: Callable[..., Any] | None = None) -> None:
        self._what, self._function, self._said = what, function, False

    def on_start(self, event: Event) -> None:
        if not self._said and self._function in (None, event.data["dispatcher"]):
            self._said = True
            print(f"compiling {self._what} ({ONCE})", file=sys.stderr, flush=True)

    def on_end(self, event: Event) -> None:
        """Say nothing: what follows shows that it is done."""
