"""A server of pages: aiohttp in a thread of its own, on this machine unless told otherwise.

Who may come in, what is served to a browser, and how many connections there may be.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import secrets
import socket
import threading
import warnings
from collections.abc import Callable, Mapping
from importlib import resources
from urllib.parse import urlsplit

from aiohttp import web

from demos.page.config import HERE, PORT, PageConfig
from demos.page.connections import Refused
from robolearn.errors import UserError

MOST_CONNECTIONS = 64  # of all kinds; a session that has no file left to open can save nothing
IDLE_S = 10.0  # that a connection may take to ask for something
ALIVE_S = 10.0  # between two pings; who does not answer in half of that is gone
TOKEN_BYTES = 12
ANY = ("0.0.0.0", "::")  # all addresses of this machine
ELSEWHERE = "192.0.2.1"  # an address for documentation, by which the way out is found
KINDS = {"html": "text/html", "js": "text/javascript", "css": "text/css"}
POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; connect-src 'self' ws://{host}; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
HEADERS = {
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


Files = Mapping[str, tuple[str, str]]
"""What is served: path -> (package, file in its ``static``)."""


class Server:
    """Serves files, and what a subclass adds; a context manager.

    Raises UserError, when entered, if it cannot listen there.
    """

    does = "steers"  # what somebody can do who knows the address

    def __init__(self, config: PageConfig, files: Files, longest: int) -> None:
        """Read the files; what is sent to it has ``longest`` characters at most."""
        self.config, self.token = config, secrets.token_urlsafe(TOKEN_BYTES)
        self.address, self.problem = "", ""
        self._longest = longest
        self._loop = asyncio.new_event_loop()
        self.ready = threading.Event()
        """Set once it listens, and ``address`` says where."""
        self._leave = asyncio.Event()
        self._thread = threading.Thread(target=self._work, name="page", daemon=True)
        self._files = {path: _read(*place) for path, place in files.items()}

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Add what is served beside the files; all paths begin with ``/{token}/``."""

    async def say_goodbye(self) -> None:
        """Tell those who are connected that it is over."""

    def __enter__(self) -> Server:
        if self.config.host not in HERE:
            warnings.warn(
                f"page: other machines reach it at {self.config.host}; who knows its address "
                f"{self.does}, and what is sent is not encrypted",
                stacklevel=2,
            )
        self._thread.start()
        self.ready.wait()
        if self.problem:
            self._thread.join()
            raise UserError(self.problem)
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._leave.set)
        self._thread.join()

    # the thread

    def _work(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self.ready.set()
            self._loop.close()

    async def _serve(self) -> None:
        app = web.Application(middlewares=[self._guard], client_max_size=self._longest)
        self.add_routes(app.router)
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
            await self.say_goodbye()
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

    async def accept(self, request: web.Request) -> web.WebSocketResponse:
        """Open a WebSocket, for a page of our own."""
        if request.headers.get("Origin") != f"http://{request.host}":
            raise web.HTTPForbidden(text="Only the page itself may connect.")
        opened = web.WebSocketResponse(
            max_msg_size=self._longest,
            compress=False,
            timeout=1.0,
            autoping=False,
            heartbeat=ALIVE_S,
        )  # fmt: skip
        await opened.prepare(request)
        return opened

    async def _file(self, request: web.Request) -> web.Response:
        found = self._files.get(request.match_info["file"])
        if found is None:
            raise web.HTTPNotFound(text="Nothing by this name.")
        body, kind = found
        return web.Response(body=body, content_type=kind, charset="utf-8")


def _this_machine() -> str:
    """Give the address of this machine in its network, or its name where it is in none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect((ELSEWHERE, 9))  # nothing is sent
        return probe.getsockname()[0]
    return socket.gethostname()


def _read(package: str, name: str) -> tuple[bytes, str]:
    body = (resources.files(package) / "static" / name).read_bytes()
    return body, KINDS[name.rpartition(".")[2]]
