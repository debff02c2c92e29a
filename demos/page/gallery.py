"""The channel of the pictures: each client is sent the newest, as often as it takes them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time

from aiohttp import WSMsgType, web

from demos.page.connections import MOST_CLIENTS, SLOW_S, Flow, drop
from demos.page.feed import Feed, pack


class Gallery:
    """Shows a feed to clients; but for ``announce`` all of it runs in the server's loop."""

    def __init__(self, feed: Feed, loop: asyncio.AbstractEventLoop) -> None:
        self._feed, self._loop = feed, loop
        self._looking: set[asyncio.Event] = set()  # one of each client, set when there is news

    @property
    def full(self) -> bool:
        """Say whether nobody more may look."""
        return len(self._looking) >= MOST_CLIENTS

    def announce(self) -> None:
        """Have the clients look for new pictures; from any thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is there to look
            self._loop.call_soon_threadsafe(self._announce)

    def _announce(self) -> None:
        for news in self._looking:
            news.set()

    async def show(self, socket: web.WebSocketResponse, request: web.Request) -> None:
        """Show a client pictures until it leaves; each text from it says that it took the last."""
        taken, news = asyncio.Event(), asyncio.Event()
        taken.set()
        news.set()
        self._looking.add(news)
        self._feed.join()
        showing = asyncio.ensure_future(self._keep_showing(socket, taken, news, request))
        try:
            flow = Flow()
            async for message in socket:
                if flow.is_flood(time.monotonic()):
                    await socket.close(code=1008, message=b"too many messages")
                if message.type is WSMsgType.TEXT:
                    taken.set()
        finally:
            self._looking.discard(news)
            self._feed.leave()
            showing.cancel()
            await asyncio.wait([showing])

    async def _keep_showing(
        self,
        socket: web.WebSocketResponse,
        taken: asyncio.Event,
        news: asyncio.Event,
        request: web.Request,
    ) -> None:
        """Send the newest pictures, each time that the client has taken the last ones."""
        sent, said = 0, ""
        try:
            while not socket.closed:
                await taken.wait()
                await news.wait()
                news.clear()
                pictures, problem = self._feed.newest, self._feed.problem
                if problem != said:
                    said = problem
                    await socket.send_str(json.dumps({"problem": problem}))
                if pictures is not None and pictures.number > sent:
                    taken.clear()
                    sent, data = pictures.number, pack(pictures, self._feed.cameras)
                    await asyncio.wait_for(socket.send_bytes(data), SLOW_S)
        except (ConnectionError, TimeoutError):
            drop(request)
