"""Rerun's page on this machine only, for who knows its token, and unable to reach anybody else.

The viewer in the browser reports its use to its maker, and no setting of its page turns that off.
So the page is handed on with a policy that the browser enforces: it may connect to this server and
to the data, to nobody else.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import secrets
import socketserver
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any

HOST = "127.0.0.1"
# By "rerun-final-length" the page says how much is loaded.
KEPT_HEADERS = ("Content-Type", "rerun-final-length")
FOREIGN_LINK = re.compile(rb"<link[^>]*https?://[^>]*>")  # no policy covers "preconnect"
TIMEOUT_S = 30.0


def policy(data_port: int) -> str:
    """Give the Content-Security-Policy of a page whose data comes from ``data_port``."""
    return "; ".join(
        [
            "default-src 'self'",
            f"connect-src 'self' http://{HOST}:{data_port}",
            "script-src 'self' 'unsafe-inline' 'wasm-unsafe-eval'",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "media-src 'self' data: blob:",
            "worker-src 'self' blob:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


class Page:
    """A server at ``address`` that hands on what Rerun's own server has at ``rerun_port``."""

    def __init__(self, rerun_port: int, data_port: int) -> None:
        """Serve from now on, in threads, at a free port; who does not know the token gets 403."""
        self._server = _Server((HOST, 0), _Handler)
        self._server.rerun_port, self._server.policy = rerun_port, policy(data_port)
        self._server.token = secrets.token_urlsafe(16)
        self.address = f"http://{HOST}:{self._server.server_address[1]}/{self._server.token}/"
        # Asked every 0.05 s whether it shall end: the default makes close() wait for half a second.
        serve = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        serve.start()

    def close(self) -> None:
        """End it; calling it again does nothing."""
        self._server.shutdown()
        self._server.server_close()


class _Server(socketserver.ThreadingTCPServer):
    """What the handlers need to know; http.server's own class looks up its name by DNS."""

    daemon_threads = True
    rerun_port: int
    policy: str
    token: str

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a browser that went away before it had asked."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        """Answer with a file of Rerun's server."""
        token, slash, name = self.path.partition("?")[0].removeprefix("/").partition("/")
        with contextlib.suppress(ConnectionError):  # the browser went away
            if not secrets.compare_digest(token.encode(), self.server.token.encode()):
                self.send_error(
                    HTTPStatus.FORBIDDEN, "the token in the address is missing or wrong"
                )
            elif not slash:  # a page there would look for its files beside the token
                self.send_error(HTTPStatus.NOT_FOUND, "the address ends with a slash")
            else:
                self._hand_on(name)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""

    def end_headers(self) -> None:
        """Add to every answer what keeps the page to itself."""
        self.send_header("Content-Security-Policy", self.server.policy)
        self.send_header("Referrer-Policy", "no-referrer")  # the address holds the token
        self.send_header("X-DNS-Prefetch-Control", "off")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def _hand_on(self, name: str) -> None:
        rerun = http.client.HTTPConnection(HOST, self.server.rerun_port, timeout=TIMEOUT_S)
        with contextlib.closing(rerun):
            try:
                rerun.request("GET", f"/{name}")
                answer = rerun.getresponse()
                body = answer.read()
            except UnicodeError:  # a path that is not ASCII: no file of Rerun's
                self.send_error(HTTPStatus.NOT_FOUND)
                return
            except (OSError, http.client.HTTPException):
                self.send_error(HTTPStatus.BAD_GATEWAY, "the viewer does not answer")
                return
        if answer.headers.get_content_type() == "text/html":
            body = FOREIGN_LINK.sub(b"", body)
        self.send_response(answer.status)
        for header in KEPT_HEADERS:
            if header in answer.headers:
                self.send_header(header, answer.headers[header])
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
