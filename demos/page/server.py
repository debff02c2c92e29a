"""The page's server: aiohttp in a thread of its own, on this machine unless told otherwise.

Two WebSockets a page: one for what is said and the state, one for pictures, so that a slow picture
does not delay a word. Whoever is slow gets less: each client has one task that sends the newest and
waits until it is taken. What comes in goes into one slot (``PageSource``) and is not queued.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import math
import secrets
import socket
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

from aiohttp import WSMsgType, web

from demos.devices import gamepad
from demos.devices.keys import AXES
from demos.page.config import HERE, PORT, PageConfig
from demos.page.connections import MOST_CLIENTS, SLOW_S, Flow, Refused, drop
from demos.page.feed import Feed
from demos.page.gallery import Gallery
from demos.page.messages import LONGEST, Link, parse
from demos.page.source import PageSource
from demos.session.contracts import Status, as_json
from robolearn.errors import UserError

BEAT_S = 0.1  # between two words to a page
GONE_S = 3.0  # of silence, after which another page may have the controls
MOST_CONNECTIONS = 64  # of all kinds; a session that has no file left to open can save nothing
IDLE_S = 10.0  # that a connection may take to ask for something
ALIVE_S = 10.0  # between two pings; who does not answer in half of that is gone
TOKEN_BYTES = 12
ANY = ("0.0.0.0", "::")  # all addresses of this machine
ELSEWHERE = "192.0.2.1"  # an address for documentation, by which the way out is found
FILES = {
    "": ("index.html", "text/html"),
    "page.js": ("page.js", "text/javascript"),
    "hand.js": ("hand.js", "text/javascript"),
    "style.css": ("style.css", "text/css"),
}
POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; connect-src 'self' ws://{host}; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
HEADERS = {
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
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


class Page:
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
        self.config, self.feed, self.token = config, feed, secrets.token_urlsafe(TOKEN_BYTES)
        self.address, self.problem = "", ""
        self._status, self._source = status, source
        self._clients: list[Client] = []
        self._holder: Client | None = None
        self._loop = asyncio.new_event_loop()
        self._gallery = Gallery(feed, self._loop)
        self.ready = threading.Event()
        """Set once it listens, and ``address`` says where."""
        self._leave = asyncio.Event()
        self._thread = threading.Thread(target=self._work, name="page", daemon=True)
        self._files = _read_files()

    def __enter__(self) -> Page:
        if self.config.host not in HERE:
            warnings.warn(
                f"page: other machines reach it at {self.config.host}; who knows its address "
                "steers, and what is sent is not encrypted",
                stacklevel=2,
            )
        self.feed.on_news = self._gallery.announce
        self._thread.start()
        self.ready.wait()
        if self.problem:
            self._thread.join()
            raise UserError(self.problem)
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._leave.set)
        self._thread.join()
        self.feed.close()

    # the thread

    def _work(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self.ready.set()
            self._loop.close()

    async def _serve(self) -> None:
        app = web.Application(middlewares=[self._guard], client_max_size=LONGEST)
        app.router.add_get("/{token}/control", self._control)
        app.router.add_get("/{token}/pictures", self._pictures)
        app.router.add_get("/{token}/{file:[a-z.]*}", self._file)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, keepalive_timeout=IDLE_S)
        await runner.setup()
        try:
            listening = await self._listen(runner)
        except OSError as error:
            port = "" if self.config.port is None else f":{self.config.port}"
            where = f"{self.config.host}{port}"
            self.problem = f"page: cannot listen on {where}: {error.strerror or error}"
        else:
            self.ready.set()
            await self._leave.wait()
            listening.close()
            await self._say_goodbye()
            for connection in runner.server.connections:
                if connection.transport is not None:
                    connection.transport.abort()  # nobody is waited for
        await runner.cleanup()

    async def _listen(self, runner: web.AppRunner) -> asyncio.Server:
        coming = 0  # connections that are accepted, and not yet among the server's

        def arrived() -> None:
            nonlocal coming
            coming -= 1

        def protocol() -> asyncio.BaseProtocol:
            nonlocal coming
            full = len(runner.server.connections) + coming >= MOST_CONNECTIONS
            coming += 1  # it is among them two turns of the loop later
            self._loop.call_soon(self._loop.call_soon, arrived)
            return Refused() if full else runner.server()

        wanted = self.config.port
        for port in (PORT, 0) if wanted is None else (wanted,):
            try:
                listening = await self._loop.create_server(protocol, self.config.host, port)
                break
            except OSError as error:
                if port != PORT or wanted is not None or error.errno != errno.EADDRINUSE:
                    raise
        port = listening.sockets[0].getsockname()[1]
        host = _this_machine() if self.config.host in ANY else self.config.host
        host = f"[{host}]" if ":" in host else host
        self.address = f"http://{host}:{port}/{self.token}/"
        return listening

    async def _say_goodbye(self) -> None:
        for client in list(self._clients):
            with contextlib.suppress(ConnectionError, TimeoutError):
                await asyncio.wait_for(self._tell(client, over=True), BEAT_S)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(client.socket.close(code=1001, message=b"over"), BEAT_S)

    # who may come in

    @web.middleware
    async def _guard(self, request: web.Request, handler: Callable) -> web.StreamResponse:
        """Let in who knows the token, by a name of this machine, and with a page of our own."""
        token = request.match_info.get("token", "")
        if not secrets.compare_digest(token.encode(errors="replace"), self.token.encode()):
            raise web.HTTPNotFound(text="No page: the address is the whole one that was printed.")
        if not self._is_ours(request.host):
            raise web.HTTPForbidden(text="No page by this name of the machine.")
        response = await handler(request)
        if not response.prepared:
            response.headers.update(HEADERS)
            response.headers["Content-Security-Policy"] = POLICY.format(host=request.host)
        return response

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname
        except ValueError:
            return False
        return self.config.open_to_network or name in (*HERE, self.config.host)

    async def _accept(self, request: web.Request, longest: int) -> web.WebSocketResponse:
        if request.headers.get("Origin") != f"http://{request.host}":
            raise web.HTTPForbidden(text="Only the page itself may connect.")
        socket = web.WebSocketResponse(
            max_msg_size=longest, compress=False, timeout=1.0, autoping=False, heartbeat=ALIVE_S
        )
        await socket.prepare(request)
        return socket

    async def _file(self, request: web.Request) -> web.Response:
        found = self._files.get(request.match_info["file"])
        if found is None:
            raise web.HTTPNotFound(text="Nothing by this name.")
        body, kind = found
        return web.Response(body=body, content_type=kind, charset="utf-8")

    # what is said

    async def _control(self, request: web.Request) -> web.StreamResponse:
        if len(self._clients) >= MOST_CLIENTS:
            raise web.HTTPServiceUnavailable(text="Too many look on.")
        socket = await self._accept(request, LONGEST)
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
        socket = await self._accept(request, LONGEST)
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


def _this_machine() -> str:
    """Give the address of this machine in its network, or its name where it is in none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect((ELSEWHERE, 9))  # nothing is sent
        return probe.getsockname()[0]
    return socket.gethostname()


def _read_files() -> dict[str, tuple[bytes, str]]:
    folder = resources.files("demos.page") / "static"
    return {path: ((folder / name).read_bytes(), kind) for path, (name, kind) in FILES.items()}
