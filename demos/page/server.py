"""The page of a session, served: who steers, what is said, and the pictures.

Two WebSockets a page: one for what is said and the state, one for pictures, so that a slow picture
does not delay a word. Whoever is slow gets less: each client has one task that sends the newest and
waits until it is taken. What comes in goes into one slot (``PageSource``) and is not queued.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

from demos.devices import gamepad
from demos.devices.keys import AXES
from demos.page.config import PageConfig
from demos.page.connections import MOST_CLIENTS, SLOW_S, Flow, drop
from demos.page.feed import Feed
from demos.page.gallery import Gallery
from demos.page.messages import LONGEST, Link, parse
from demos.page.serving import Server
from demos.page.source import PageSource
from demos.session.contracts import Status, as_json

BEAT_S = 0.1  # between two words to a page
GONE_S = 3.0  # of silence, after which another page may have the controls
FILES = {
    "": ("demos.page", "index.html"),
    "page.js": ("demos.page", "page.js"),
    "hand.js": ("demos.page", "hand.js"),
    "common.css": ("demos.page", "common.css"),
    "style.css": ("demos.page", "style.css"),
}


@dataclass(eq=False)
class Client:
    """One page that is connected."""

    socket: web.WebSocketResponse
    name: str  # which it gave itself: a page that comes back is known by it
    wants: bool  # the controls
    link: Link = field(default_factory=Link)
    flow: Flow = field(default_factory=Flow)
    heard_s: float = 0.0
    told: dict[str, Any] = field(default_factory=dict)  # the status as it knows it


class Page(Server):
    """Serves the page while a session runs; a context manager.

    ``status`` gives the session's, ``source`` is the page as a device, None where something else
    steers. Raises UserError, when entered, if it cannot listen there.
    """

    def __init__(
        self,
        config: PageConfig,
        status: Callable[[], Status],
        feed: Feed,
        source: PageSource | None = None,
    ) -> None:
        super().__init__(config, FILES, LONGEST)
        self.feed = feed
        self._status, self._source = status, source
        self._clients: list[Client] = []
        self._holder: Client | None = None
        self._gallery = Gallery(feed, self._loop)

    def __enter__(self) -> Page:
        self.feed.on_news = self._gallery.announce
        super().__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self.feed.close()

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Add both channels."""
        router.add_get("/{token}/control", self._control)
        router.add_get("/{token}/pictures", self._pictures)

    async def say_goodbye(self) -> None:
        """Tell all clients that the session is over."""
        for client in list(self._clients):
            with contextlib.suppress(ConnectionError, TimeoutError):
                await asyncio.wait_for(self._tell(client, over=True), BEAT_S)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(client.socket.close(code=1001, message=b"over"), BEAT_S)

    # what is said

    async def _control(self, request: web.Request) -> web.StreamResponse:
        if len(self._clients) >= MOST_CLIENTS:
            raise web.HTTPServiceUnavailable(text="Too many look on.")
        socket = await self.accept(request)
        query = request.query
        client = Client(socket, query.get("client", "")[:40], "watch" not in query)
        self._clients.append(client)
        self._give_controls(client)
        telling = asyncio.ensure_future(self._keep_telling(client, request))
        try:
            async for message in socket:
                why = self._hear(client, message)
                if why:
                    await socket.close(code=1008, message=why.encode()[:100])
        finally:
            self._clients.remove(client)
            self._take_controls(client)
            telling.cancel()
            await asyncio.wait([telling])
        return socket

    def _give_controls(self, client: Client) -> None:
        """Let a client have the controls if it wants them and they are free, or were its own."""
        if self._source is None or not client.wants:
            return
        now_s, holder = time.monotonic(), self._holder
        mine = holder is not None and client.name and holder.name == client.name
        if holder is None or mine or now_s - holder.heard_s > GONE_S:
            self._holder, client.heard_s = client, now_s
            self._source.connect(now_s)

    def _take_controls(self, client: Client) -> None:
        if self._holder is client:
            self._holder = None
            self._source.disconnect()

    def _hear(self, client: Client, message: Any) -> str:
        """Take in what a client says; give what is wrong with it, "" if nothing is."""
        now_s = time.monotonic()
        if client.flow.is_flood(now_s):
            return "too many messages"
        if message.type is WSMsgType.PONG:
            return ""
        if message.type is not WSMsgType.TEXT:
            return "not text"
        if message.data == "take":
            client.wants = True
            self._give_controls(client)
            return ""
        try:
            said = parse(message.data)
        except ValueError as error:
            return str(error)
        given_s = client.link.given_s(said, now_s)
        if given_s is not None and client is self._holder:
            client.heard_s = now_s
            self._source.hear(said, given_s, now_s)
        return ""

    async def _keep_telling(self, client: Client, request: web.Request) -> None:
        """Tell a client the newest, again and again; drop it if it takes nothing."""
        try:
            await client.socket.send_str(json.dumps({"hello": self._about()}))
            while not client.socket.closed:
                await asyncio.wait_for(self._tell(client), SLOW_S)
                await asyncio.sleep(BEAT_S)
        except (ConnectionError, TimeoutError):
            drop(request)

    def _about(self) -> dict[str, Any]:
        keys = {} if self._source is None else self._source.keys.actions
        return {
            "keys": {key: _meaning(action) for key, action in keys.items()},
            "gamepad": gamepad.BUTTONS,
            "dead": gamepad.DEAD,
            "cameras": self.feed.cameras,
        }

    async def _tell(self, client: Client, over: bool = False) -> None:
        """Send a beat, the role, and what of the status has changed."""
        now = plain(self._status())
        changed = {key: value for key, value in now.items() if client.told.get(key, ()) != value}
        client.told = now
        role = "steers" if client is self._holder else "watches"
        free = self._source is not None and self._holder is None
        word = {
            "beat": client.link.beat(time.monotonic()),
            "role": role,
            "free": free,
            "page_steers": self._source is not None,
            "status": changed,
        }
        if over:
            word["over"] = True
        await client.socket.send_str(json.dumps(word))

    async def _pictures(self, request: web.Request) -> web.StreamResponse:
        if self._gallery.full:
            raise web.HTTPServiceUnavailable(text="Too many look on.")
        socket = await self.accept(request)
        await self._gallery.show(socket, request)
        return socket


def plain(status: Status) -> dict[str, Any]:
    """Give a status as a page has it: short numbers, and no more decimals than are seen.

    A number that is none becomes None: JSON has no word for it.
    """
    values = _finite(as_json(status))
    if (live := values["live"]) is not None:
        level = live["level"]
        values["live"] = {"level": level and round(level, 3), "words": live["words"]}
    values["strip"] = [level and round(level, 2) for level in values["strip"]]
    values["time_s"], values["speed"] = round(values["time_s"], 2), round(values["speed"], 2)
    return values


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _meaning(action: str) -> list[Any]:
    """Say what a key does: ["move", axis, sign], ["turn", axis, sign] or ["press", button]."""
    if action not in AXES:
        return ["press", action]
    turns, axis, sign = AXES[action]
    return ["turn" if turns else "move", axis, sign]
