"""What numba lacks: a word to whoever waits some 15 s, and a cache that follows all sources."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba.core.event import Event, Listener, register


def source_digest(*folders: Path) -> str:
    """Give a hexadecimal digest of the Python files of folders.

    numba compares the file of a compiled function with its cache but not those that it calls: a
    digest of them all has to be part of the key.
    """
    paths = [path for folder in folders for path in sorted(folder.glob("*.py"))]
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in paths)).hexdigest()


def announce(function: Callable[..., Any], text: str) -> None:
    """Print a line on stderr when numba begins to compile a function; not if its cache has it."""
    register("numba:compile", _Announcer(function, text))


class _Announcer(Listener):
    def __init__(self, function: Callable[..., Any], text: str) -> None:
        self._function, self._text = function, text

    def on_start(self, event: Event) -> None:
        if event.data["dispatcher"] is self._function:
            print(self._text, file=sys.stderr, flush=True)

    def on_end(self, event: Event) -> None:
        """Say nothing: what follows shows that it is done."""
