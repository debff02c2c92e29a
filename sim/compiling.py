"""A word to whoever waits: numba compiles for some 15 s without one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from numba.core.event import Event, Listener, register


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
