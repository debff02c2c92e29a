"""Clients that mean no good, or are broken: the server lives, stays small, and nothing moves."""

import contextlib
import gc
import json
import os
import socket
import struct
import threading
import time
import tracemalloc
from urllib.parse import urlsplit

import aiohttp
import numpy as np
import pytest

from demos.page import serving
from demos.page.messages import LONGEST
from demos.page.source import CLOSED

from .test_server import Drawn, Place, said, told

CONNECTIONS, MESSAGES = 200, 2000
SPARE = 400_000  # bytes by which memory may grow: caches, and what is not collected yet


class Wire:
    """A WebSocket without a library, which may say what no library would."""

    def __init__(self, place, what="control", upgrade=True):
        self.address = (urlsplit(place.origin).hostname, urlsplit(place.origin).port)
        self.socket = socket.create_connection(self.address, timeout=30)
        if upgrade:
            self.socket.sendall(
                f"GET /{place.page.token}/{what} HTTP/1.1\r\nHost: {self.address[0]}:"
                f"{self.address[1]}\r\nOrigin: {place.origin}\r\nConnection: Upgrade\r\n"
                "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
            )
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += self.socket.recv(1)
            assert head.startswith(b"HTTP/1.1 101"), head

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.socket.close()

    def send(self, data):
        """Send bytes; false if the other side has ended the connection."""
        with contextlib.suppress(ConnectionError):
            self.socket.sendall(data)
            return True
        return False

    def ends(self):
        """Wait until the server has ended the connection."""
        with contextlib.suppress(ConnectionError):
            while self.socket.recv(1 << 16):
                pass
        return True


def frame(payload, opcode=1, fin=1, reserved=0, mask=1, length=None):
    """Put a frame together; ``length`` is what it claims."""
    length = len(payload) if length is None else length
    head = bytes([fin << 7 | reserved << 4 | opcode])
    if length < 126:
        head += bytes([mask << 7 | length])
    elif length < 1 << 16:
        head += bytes([mask << 7 | 126]) + struct.pack(">H", length)
    else:
        head += bytes([mask << 7 | 127]) + struct.pack(">Q", length)
    return head + b"\0\0\0\0" * mask + payload


GOOD = said(1, 1, move=[1, 0, 0], engaged=True, buttons=["start"]).encode()
VALUES = [None, True, -1, 2**60, 1.5, "1", [], {}, [1, 0, 0], [[0], 0, 0], ["start"] * 9, 1e308,
          "start", ["explode"], [None] * 3, [1, 0, 1.01], {"n": 1}]  # fmt: skip


def wrong_value(rng):
    """Change one field to what it must not be."""
    message = json.loads(GOOD)
    field = rng.choice([*message, "more"])
    fits = {"n": [], "t": [-1, 1.5], "beat": [], "move": [[1, 0, 0]],
            "turn": [[1, 0, 0]], "engaged": [True], "buttons": [[]]}  # fmt: skip
    values = [value for value in VALUES if value not in fits.get(field, ())]
    message[field] = values[rng.integers(len(values))]
    return json.dumps(message).encode()


def bad(rng):
    """Draw something that no page says."""
    noise = rng.bytes(int(rng.integers(1, 400)))
    kinds = [
        lambda: frame(wrong_value(rng)),
        lambda: frame(GOOD[: rng.integers(0, len(GOOD))]),
        lambda: frame(GOOD.replace(b"[1,", rng.choice([b"[NaN,", b"[1e999,", b"[-2,", b"[[[["]))),
        lambda: frame(b"[" * LONGEST),
        lambda: frame(b"x" * int(10 ** rng.uniform(2.8, 5))),
        lambda: frame(noise, opcode=2),
        lambda: frame(b"\xff\xfe" + noise),  # no UTF-8
        lambda: frame(noise, opcode=int(rng.integers(3, 8))),
        lambda: frame(noise, opcode=int(rng.integers(9, 16)), fin=int(rng.integers(0, 2))),
        lambda: frame(noise[:100], opcode=9),  # a ping
        lambda: frame(GOOD, reserved=int(rng.integers(1, 8))),
        lambda: frame(noise, mask=0),
        lambda: frame(GOOD, opcode=0) + frame(b"", fin=1),
        lambda: frame(b"x" * 300, fin=0) + frame(b"x" * 300, opcode=0, fin=0) * 10,
        lambda: frame(noise, length=2 ** int(rng.integers(17, 63))),
        lambda: frame(b"\x00" * int(rng.integers(1, 2)), opcode=8),
        lambda: frame(struct.pack(">H", int(rng.integers(0, 999))), opcode=8),
        lambda: rng.bytes(64) + frame(b"x"),
    ]
    return kinds[rng.integers(len(kinds))]()


@contextlib.contextmanager
def still(source):
    """Look all the while that nobody moves or presses anything."""
    over, seen = threading.Event(), []

    def look():
        while not over.wait(0.001):
            signal = source.poll(time.monotonic())
            if signal.engaged or signal.buttons:
                seen.append(signal)

    watcher = threading.Thread(target=look)
    watcher.start()
    yield
    over.set()
    watcher.join()
    assert seen == []


@contextlib.contextmanager
def small(most=SPARE):
    """Look that no more memory is in use afterwards, and never much more."""
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        yield
        until_s = time.monotonic() + 30
        while tracemalloc.get_traced_memory()[0] - before > SPARE:
            assert time.monotonic() < until_s, tracemalloc.get_traced_memory()
            time.sleep(0.05)
            gc.collect()
        assert tracemalloc.get_traced_memory()[1] - before < most
    finally:
        tracemalloc.stop()


def assault(place, rng, connections, each, what="control"):
    for _ in range(connections):
        with Wire(place, what) as wire:
            for _ in range(each):
                if not wire.send(bad(rng)):
                    break
            with contextlib.suppress(OSError):  # it has ended already
                wire.socket.shutdown(socket.SHUT_WR)
            assert wire.ends()


def test_two_thousand_bad_messages_move_nothing_and_leave_nothing_behind(caplog):
    rng = np.random.default_rng(9)
    with Place() as place:
        assault(place, rng, 10, 10)  # what is made once
        with small(5_000_000), still(place.source):
            assault(place, rng, CONNECTIONS, MESSAGES // CONNECTIONS)
            assault(place, rng, CONNECTIONS // 10, 10, "pictures")
        assert place.lives()
        wires = [Wire(place) for _ in range(3)]
        for wire in wires:
            wire.send(frame(b"nonsense"))  # and never says goodbye
    gc.collect()
    assert not caplog.records  # no task is left behind


def test_an_endless_frame_is_not_kept():
    with Place() as place, small(20_000_000), Wire(place) as wire:
        piece = b"x" * (1 << 16)
        wire.send(frame(b"", length=1 << 62))
        sent = sum(wire.send(piece) for _ in range(1000))
        assert sent < 1000 and wire.ends()


def test_whoever_takes_no_pictures_costs_no_more_than_one_of_them():
    size = 1_000_000
    with Place(drawn=Drawn(size)) as place, contextlib.ExitStack() as stack:
        with small(40 * size):
            wires = [stack.enter_context(Wire(place, "pictures")) for _ in range(8)]
            for number in range(100):
                place.show(number)
                for wire in wires:
                    wire.send(frame(b"taken"))
                time.sleep(0.005)
            stack.close()
            place.page.feed.newest = None
            place.drawn.forget()
        assert place.lives()


@pytest.mark.parametrize("payload", [frame(b"taken"), frame(b"", opcode=9), frame(b"", opcode=10)])
def test_whoever_floods_the_pictures_is_dropped(payload):
    with Place() as place, Wire(place, "pictures") as wire:
        for _ in range(40):
            if not wire.send(payload * 100):
                break
        assert wire.ends() and place.lives()


def test_connections_that_ask_for_nothing_leave_files_for_the_session(tmp_path, monkeypatch):
    monkeypatch.setattr(serving, "IDLE_S", 1.0)
    files = len(os.listdir("/proc/self/fd"))
    with Place() as place, contextlib.ExitStack() as stack:
        wires = [stack.enter_context(Wire(place, upgrade=False)) for _ in range(CONNECTIONS)]
        assert all(wire.ends() for wire in wires[-50:])
        ours = len(os.listdir("/proc/self/fd")) - files - CONNECTIONS
        assert ours < serving.MOST_CONNECTIONS + 10
        assert all(wire.ends() for wire in wires)  # also those that were let in
        assert place.lives()


def test_half_a_request_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(serving, "IDLE_S", 0.2)
    with Place() as place, Wire(place, upgrade=False) as wire:
        wire.send(b"GET / HTTP/1.1\r\nHost: ")
        assert wire.ends() and place.lives()


def test_a_page_whose_machine_is_gone_makes_room(monkeypatch):
    monkeypatch.setattr(serving, "ALIVE_S", 0.2)
    with Place() as place:

        async def work(connect):
            page = await connect()
            await told(page, role="steers")
            while not page.closed:  # it hears, and answers no ping
                await page.receive(timeout=30)

        place.run(work, autoping=False)
        until_s = time.monotonic() + 30
        while place.source.poll(time.monotonic()).lost != CLOSED:
            assert time.monotonic() < until_s


def test_random_addresses_find_nothing():
    rng = np.random.default_rng(11)
    letters = np.array([*"abcXYZ019-_./%~?&=:@ "])
    with Place() as place, still(place.source):
        token = place.page.token

        def address():
            kind = rng.integers(3)
            if kind == 0:
                return "/" + "".join(rng.choice(letters, rng.integers(0, 60)))
            changed = list(token)
            changed[rng.integers(len(token))] = rng.choice([*"!aZ0"])
            guess = "".join(changed) if kind == 1 else token[: rng.integers(0, len(token))]
            return f"/{guess}/{rng.choice(['', 'control', 'pictures', 'page.js'])}"

        for _ in range(150):
            path = address()
            if path.startswith(f"/{token}/"):
                continue
            with Wire(place, upgrade=False) as wire:
                wire.send(f"GET {path} HTTP/1.1\r\nHost: {wire.address[0]}\r\n"
                          "Connection: close\r\n\r\n".encode())  # fmt: skip
                answer = wire.socket.recv(100)
            assert answer[9:12] in (b"404", b"400", b"403"), (path, answer)
        assert place.lives()


def test_random_origins_and_hosts_stay_outside():
    rng = np.random.default_rng(12)
    with Place() as place, still(place.source):
        true = urlsplit(place.origin)

        def origin():
            parts = [rng.choice(["http", "https", "ws", "file", ""]),
                     rng.choice([true.hostname, "localhost", "127.0.0.1.evil.example", "evil"]),
                     rng.choice([true.port, true.port + 1, 80])]  # fmt: skip
            return "{}://{}:{}".format(*parts) + rng.choice(["", "/", "#", " "])

        async def work(connect):
            refused = 0
            for _ in range(100):
                wrong = origin().strip()
                if wrong == place.origin:
                    continue
                with pytest.raises(aiohttp.WSServerHandshakeError) as error:
                    await connect(rng.choice(["control", "pictures"]), origin=wrong)
                assert error.value.status == 403
                refused += 1
            assert refused > 80

        place.run(work)
        assert place.lives()
