"""Connections that must not cost more than they may: who floods, who is too many, who takes
nothing.
"""

from __future__ import annotations

import asyncio

from aiohttp import web

SLOW_S = 5.0  # after which a client that takes nothing is dropped
MOST_CLIENTS = 16  # connections of each kind
MOST_MESSAGES = 250  # that a client may send in a second


class Flow:
    """Counts the messages of a connection, of any kind."""

    def __init__(self) -> None:
        self._second, self._count = 0, 0

    def is_flood(self, now_s: float) -> bool:
        """Count a message; say whether there are too many in this second."""
        if int(now_s) != self._second:
            self._second, self._count = int(now_s), 0
        self._count += 1
        return self._count > MOST_MESSAGES


class Refused(asyncio.Protocol):
    """A connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """End it before anything is read."""
        transport.abort()


def drop(request: web.Request) -> None:
    """End a connection at once; what it has not taken is forgotten."""
    if request.transport is not None:
        request.transport.abort()
