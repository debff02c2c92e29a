"""The page is handed on to who knows its token, with a policy, and without calls to other hosts."""

import contextlib
import http.server
import socket
import struct
import threading
import urllib.error
import urllib.request

import pytest

from robolearn.viz.page import Page

FILES = {
    "/": (
        "text/html",
        b'<link rel="icon" href="favicon.ico" />'
        b'<link\n rel="preconnect"\n href="https://fonts.example" crossorigin /><p>hello</p>',
    ),
    "/viewer.js": ("text/javascript", b'fetch("https://reports.example")'),
}


class Rerun(http.server.BaseHTTPRequestHandler):
    """A stand-in for Rerun's server."""

    def do_GET(self):
        kind, body = FILES.get(self.path, ("text/plain", b"not here"))
        self.send_response(200 if self.path in FILES else 404)
        self.send_header("Content-Type", kind)
        self.send_header("rerun-final-length", "5")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *arguments):
        pass


@pytest.fixture
def rerun():
    server = http.server.HTTPServer(("127.0.0.1", 0), Rerun)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


@pytest.fixture
def page(rerun):
    with contextlib.closing(Page(rerun, 4321)) as page:
        yield page


def get(address):
    """Give status, headers and body."""
    try:
        with urllib.request.urlopen(address, timeout=10) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def root(page):
    return page.address[: page.address.index("/", len("http://")) + 1]


def test_files_are_handed_on_as_they_are(page):
    status, headers, body = get(page.address + "viewer.js?v=1")
    assert (status, body) == (200, FILES["/viewer.js"][1])
    assert headers["Content-Type"] == "text/javascript" and headers["rerun-final-length"] == "5"
    assert get(page.address + "other")[0] == 404


def test_the_page_loses_its_links_to_other_hosts_only(page):
    _, headers, body = get(page.address + "?url=data")
    assert body == b'<link rel="icon" href="favicon.ico" /><p>hello</p>'
    assert int(headers["Content-Length"]) == len(body)


@pytest.mark.parametrize("path", ["", "viewer.js", "wrong/", "wrong/viewer.js", "%C3%A9/"])
def test_who_does_not_know_the_token_gets_nothing(page, path):
    status, headers, body = get(root(page) + path)
    assert status == 403 and b"token" in body
    assert headers["Content-Security-Policy"]


def ask(page, path):
    """Send a path as it is, which urllib would not; give the status."""
    port = int(page.address.split(":")[2].partition("/")[0])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"GET " + path + b" HTTP/1.0\r\n\r\n")
        return int(connection.makefile("rb").readline().split()[1])


def test_a_path_that_is_not_ascii_is_answered_without_a_traceback(page, capfd):
    token = page.address.split("/")[3].encode()
    assert ask(page, b"/\xc3\xa9/") == 403
    assert ask(page, b"/" + token + b"/\xc3\xa9.js") == 404
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("more", ["", "?url=data"])
def test_without_its_slash_the_address_is_no_page(page, more):
    """Links of a page there would lead beside the token."""
    status, _, body = get(page.address.removesuffix("/") + more)
    assert status == 404 and b"slash" in body


def test_a_browser_that_goes_away_before_it_asks_leaves_no_traceback(page, capfd):
    reset = struct.pack("ii", 1, 0)  # close() then resets the connection
    port = int(page.address.split(":")[2].partition("/")[0])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"GET ")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
    assert get(page.address)[0] == 200  # by then the other request is over
    page.close()
    assert capfd.readouterr().err == ""


def test_tokens_differ_and_are_long(rerun):
    with contextlib.closing(Page(rerun, 1)) as one, contextlib.closing(Page(rerun, 1)) as two:
        tokens = {page.address.split("/")[3] for page in (one, two)}
    assert len(tokens) == 2 and min(map(len, tokens)) >= 20


@pytest.mark.parametrize("path", ["", "viewer.js", "other"])
def test_every_answer_has_a_policy_that_names_this_server_and_the_data(page, path):
    _, headers, _ = get(page.address + path)
    rules = dict(rule.split(" ", 1) for rule in headers["Content-Security-Policy"].split("; "))
    assert rules["connect-src"] == "'self' http://127.0.0.1:4321"
    assert rules["default-src"] == "'self'"
    hosts = [
        word for rule in rules.values() for word in rule.split() if "//" in word or "*" in word
    ]
    assert hosts == ["http://127.0.0.1:4321"]
    assert headers["Referrer-Policy"] == "no-referrer"


def test_a_viewer_that_is_gone_is_said_to_be(rerun):
    with contextlib.closing(Page(1, 4321)) as page:  # nobody listens at port 1
        assert get(page.address)[0] == 502


def test_it_ends(rerun):
    page = Page(rerun, 4321)
    page.close()
    page.close()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(page.address, timeout=10)
