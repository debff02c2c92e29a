"""The server: who may come in, what is refused, and that nothing which comes in harms it."""

import asyncio
import contextlib
import dataclasses
import json
import socket
import threading
import time
from urllib.parse import urlsplit

import aiohttp
import numpy as np
import pytest

from demos.devices.contracts import Button
from demos.devices.keys import KeyMap
from demos.page.config import PageConfig
from demos.page.connections import MOST_CLIENTS, MOST_MESSAGES
from demos.page.feed import LATE, Feed, pack
from demos.page.server import Page, plain
from demos.page.source import CLOSED, NOBODY, PageSource
from demos.session.contracts import Frame, Live, Phase, State, Status, Verdict
from demos.session.pictures import Pictures
from demos.session.views import Views
from robolearn.errors import UserError

STATUS = Status(Phase.TEACH, State.WAITING, operator="ann", task="lift", goal=3)


class Drawn:
    """Draws pictures of made-up bytes, as ``Pictured`` does of states."""

    lost = ""

    def __init__(self, size=9, beside=b""):
        self._image, self._beside, self._news = b"j" * size, beside, threading.Condition()
        self._latest, self.closed = None, False

    def offer(self, state, beside=None, frame=-1):
        with self._news:
            number = 1 + (self._latest.number if self._latest else 0)
            other = None if beside is None else self._beside
            self._latest = Pictures(number, {"front": self._image}, other)
            self._news.notify_all()

    def after(self, number, timeout_s):
        with self._news:
            self._news.wait_for(lambda: self._latest and self._latest.number > number, timeout_s)
            there = self._latest is not None and self._latest.number > number
            return self._latest if there else None

    def forget(self):
        self._image, self._latest = b"", None

    def close(self):
        self.closed = True


class Place:
    """A page that is served, and what its clients do."""

    def __init__(self, steers=True, drawn=None, **settings):
        self.source = PageSource(KeyMap.of({}), 0.05) if steers else None
        self.views, self.status = Views(), STATUS
        self.drawn = drawn or Drawn()
        feed = Feed(self.views, ("front",), lambda: self.drawn)
        config = PageConfig(**{"port": 0} | settings)
        self.page = Page(config, lambda: self.status, feed, self.source)

    def __enter__(self):
        self.page.__enter__()
        self.origin = self.page.address.rsplit("/", 2)[0]
        return self

    def __exit__(self, *error):
        self.page.__exit__(*error)

    def show(self, number):
        self.views.show(Frame(number, 0.0, {}, np.array([number]), None, self.status))

    def run(self, work, **options):
        """Do ``await work(connect)``; ``connect(what)`` opens a WebSocket of the page."""

        async def within():
            async with aiohttp.ClientSession() as session, contextlib.AsyncExitStack() as stack:

                async def connect(what="control", origin=self.origin, address=self.page.address):
                    headers = {} if origin is None else {"Origin": origin}
                    opening = session.ws_connect(
                        address + what, headers=headers, max_msg_size=0, **options
                    )
                    return await stack.enter_async_context(opening)

                return await work(connect)

        return asyncio.run(asyncio.wait_for(within(), 60))

    def lives(self):
        """Say whether somebody new is still told the status, and may press a button."""

        async def work(connect):
            page = await connect("control?client=new")
            word = await told(page)
            return word["status"]["operator"] == "ann"

        return self.run(work)


async def told(page, **wanted):
    """Give the next word with these values."""
    while True:
        word = await page.receive_json(timeout=30)
        if "hello" not in word and all(word.get(key) == value for key, value in wanted.items()):
            return word


def said(n, beat, **changes):
    return json.dumps(
        {"n": n, "t": 1000 * time.monotonic(), "beat": beat, "move": [0, 0, 0], "turn": [0, 0, 0],
         "engaged": False, "buttons": []} | changes
    )  # fmt: skip


@pytest.fixture
def place():
    with Place() as made:
        yield made


def heard(source, seconds=30.0):
    """Wait until a source has something, and give it."""
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        signal = source.poll(time.monotonic())
        if signal.engaged or signal.buttons:
            return signal
        time.sleep(0.001)
    raise AssertionError("nothing was heard")


def test_a_page_is_told_the_status_and_steers(place):
    async def work(connect):
        page = await connect()
        hello = (await page.receive_json())["hello"]
        assert hello["keys"]["w"] == ["move", 0, 1.0] and hello["keys"]["enter"] == [
            "press",
            "start",
        ]
        word = await told(page, role="steers")
        assert word["status"]["task"] == "lift" and word["status"]["state"] == "waiting"
        await page.send_str(said(1, word["beat"], move=[1, 0, 0], engaged=True, buttons=["start"]))
        signal = await asyncio.to_thread(heard, place.source)
        assert signal.buttons == (Button.START,) and signal.move == (1.0, 0.0, 0.0)
        place.status = Status(Phase.TEACH, State.RUNNING, operator="ann", task="lift", goal=3)
        while not (word := await told(page))["status"]:
            pass
        assert word["status"] == {"state": "running"}  # what has changed, and no more

    assert place.source.poll(0.0).lost == NOBODY
    place.run(work)
    until_s = time.monotonic() + 30
    while place.source.poll(time.monotonic()).lost != CLOSED:
        assert time.monotonic() < until_s


def test_the_page_itself_is_served_with_all_that_it_needs(place):
    async def work():
        async with aiohttp.ClientSession() as session:
            for file, piece in (
                ("", "page.js"),
                ("page.js", "hand.js"),
                ("common.css", "--ground"),
                ("style.css", ".stage"),
            ):
                async with session.get(place.page.address + file) as answer:
                    assert answer.status == 200 and piece in await answer.text()
                    assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
            for file in ("server.py", "..%2fserver.py", "%00"):
                async with session.get(place.page.address + file) as answer:
                    assert answer.status == 404

    asyncio.run(work())


def test_wrong_tokens_origins_and_names_stay_outside(place):
    port = urlsplit(place.origin).port
    true, token = place.page.address, place.page.token

    async def refused(connect, **wrong):
        for what in ("control", "pictures"):
            with pytest.raises(aiohttp.WSServerHandshakeError) as error:
                await connect(what, **wrong)
            assert error.value.status in (403, 404)

    async def work(connect):
        for origin in (None, "null", "http://evil.example", f"https://127.0.0.1:{port}",
                       f"http://127.0.0.1:{port + 1}", f"http://localhost:{port}"):  # fmt: skip
            await refused(connect, origin=origin)
        for wrong in ("", "x", token[:-1], token + "x", token.upper(), "%F0%28", "..", "a" * 3000):
            await refused(connect, address=true.replace(token, wrong))

    place.run(work)

    async def rebound():
        async with aiohttp.ClientSession() as session:
            async with session.get(true, headers={"Host": f"evil.example:{port}"}) as answer:
                assert answer.status == 403

    asyncio.run(rebound())
    assert place.source.poll(0.0).lost == NOBODY and place.lives()


def test_a_second_one_watches_until_the_first_has_gone(place):
    async def work(connect):
        first, second = await connect("control?client=a"), await connect("control?client=b")
        beat = (await told(first, role="steers"))["beat"]
        word = await told(second, role="watches", free=False)
        await second.send_str(said(1, word["beat"], buttons=["start"]))
        await second.send_str("take")
        await first.send_str(said(1, beat, buttons=["grip"]))
        assert (await asyncio.to_thread(heard, place.source)).buttons == (Button.GRIP,)
        await first.close()
        await told(second, role="watches", free=True)
        await second.send_str("take")
        await told(second, role="steers")

    place.run(work)


def test_a_page_that_comes_back_has_its_controls_again(place):
    async def work(connect):
        first = await connect("control?client=a")
        word = await told(first, role="steers")
        again = await connect("control?client=a")
        await told(again, role="steers")
        await first.send_str(said(1, word["beat"], buttons=["start"]))  # of the old one: nothing
        beat = (await told(first, role="watches"))["beat"]
        await first.send_str(said(2, beat, buttons=["start"]))
        beat = (await told(again))["beat"]
        await again.send_str(said(1, beat, buttons=["grip"]))
        assert (await asyncio.to_thread(heard, place.source)).buttons == (Button.GRIP,)

    place.run(work)


def test_a_page_beside_another_device_only_views():
    with Place(steers=False) as place:

        async def work(connect):
            page = await connect()
            word = await told(page)
            assert word["role"] == "watches" and not word["free"] and not word["page_steers"]
            await page.send_str("take")
            await page.send_str(said(1, word["beat"], buttons=["quit"]))
            assert (await told(page))["role"] == "watches"

        place.run(work)


def test_malformed_and_oversized_messages_end_their_connection_and_nothing_else(place):
    rng = np.random.default_rng(7)
    good = said(1, 1, move=[1, 0, 0], engaged=True)

    def bad(i):
        if i % 4 == 0:
            return rng.bytes(int(rng.integers(1, 300)))
        if i % 4 == 1:
            return "x" * int(10 ** rng.uniform(2.8, 6))
        if i % 4 == 2:
            return good[: rng.integers(0, len(good))]
        return json.dumps(json.loads(good) | {"move": [float(rng.uniform(1.01, 1e9)), 0, 0]})

    async def work(connect):
        for i in range(60):
            page = await connect()
            await told(page)
            data = bad(i)
            with contextlib.suppress(ConnectionError):
                await (page.send_str if isinstance(data, str) else page.send_bytes)(data)
            while not page.closed:
                await page.receive(timeout=30)
            assert page.close_code in (1006, 1008, 1009)
            assert not place.source.poll(time.monotonic()).engaged

    place.run(work)
    assert place.lives()


def test_bytes_that_are_no_http_do_no_harm(place):
    rng = np.random.default_rng(8)
    where = (urlsplit(place.origin).hostname, urlsplit(place.origin).port)
    for i in range(30):
        with socket.create_connection(where) as wire:
            head = f"GET /{place.page.token}/ HTTP/1.1\r\nHost: {where[0]}\r\n".encode()
            wire.sendall((head if i % 2 else b"") + rng.bytes(int(rng.integers(1, 20000))))
            if i % 3:
                wire.shutdown(socket.SHUT_WR)
    assert place.lives()


def test_whoever_sends_too_much_is_dropped(place):
    async def work(connect):
        page = await connect()
        word = await told(page, role="steers")
        with contextlib.suppress(ConnectionError):
            for n in range(20 * MOST_MESSAGES):
                await page.send_str(said(n, word["beat"]))
        while not page.closed:
            await page.receive(timeout=30)

    place.run(work)
    assert place.lives()


def test_more_than_so_many_are_told_so(place):
    async def work(connect):
        pages = [await connect(f"control?client={i}") for i in range(MOST_CLIENTS)]
        with pytest.raises(aiohttp.WSServerHandshakeError) as error:
            await connect()
        assert error.value.status == 503
        await pages[0].close()
        for _ in range(100):
            with contextlib.suppress(aiohttp.WSServerHandshakeError):
                return await connect()
            await asyncio.sleep(0.05)
        raise AssertionError("nobody else may come in")

    place.run(work)


def test_pictures_wait_for_whoever_is_slow_and_only_the_newest_is_kept(place):
    async def work(connect):
        slow, quick = await connect("pictures"), await connect("pictures")
        number = lambda data: int.from_bytes(data[:4], "big")  # noqa: E731
        seen, taken = 0, 0
        for i in range(200):
            place.show(i)
            with contextlib.suppress(TimeoutError):
                seen = number(await quick.receive_bytes(timeout=0.05))
                await quick.send_str("taken")
                taken += 1
            if taken >= 5:
                break
        first = number(await slow.receive_bytes(timeout=30))
        assert first < seen
        with pytest.raises(TimeoutError):
            await slow.receive_bytes(timeout=0.3)
        await slow.send_str("taken")

    place.run(work)


class Hanging(Drawn):
    """Draws the first state, and then nothing for a while."""

    hangs = False

    def offer(self, state, beside=None, frame=-1):
        if not self.hangs:
            super().offer(state, beside, frame)
            self._latest = dataclasses.replace(self._latest, number=int(state[0]))


def test_pictures_that_do_not_come_are_said_to_be_late_until_they_do(monkeypatch):
    monkeypatch.setattr("demos.page.feed.WAIT_S", 0.02)
    monkeypatch.setattr("demos.page.feed.LATE_S", 0.1)
    with Place(drawn=Hanging()) as place:

        async def work(connect):
            page = await connect("pictures")
            while not place.views._boxes:  # until they are drawn
                await asyncio.sleep(0.001)
            place.show(1)
            assert (await page.receive(timeout=30)).type is aiohttp.WSMsgType.BINARY
            await page.send_str("taken")
            await asyncio.sleep(0.3)
            assert place.page.feed.problem == ""  # nothing else is to be seen
            place.drawn.hangs = True
            place.show(2)
            assert json.loads(await page.receive_str(timeout=30)) == {"problem": LATE}
            place.drawn.hangs = False
            place.show(3)
            assert json.loads(await page.receive_str(timeout=30)) == {"problem": ""}
            assert (await page.receive(timeout=30)).type is aiohttp.WSMsgType.BINARY

        place.run(work)


def test_a_page_is_told_no_more_of_the_judge_than_it_shows():
    status = dataclasses.replace(STATUS, live=Live(1 / 3, "faster", {"M": 0.5}, {"L": 1.0}))
    assert plain(status)["live"] == {"level": 0.333, "words": "faster"}
    assert plain(STATUS)["live"] is None


def test_what_is_compared_comes_last_in_a_message_of_pictures():
    images = {"front": b"yours", "top": b"hand"}
    packed = pack(Pictures(7, images, b"theirs"), ("front", "top"))
    assert packed == b"\0\0\0\7\0\0\0\5yours\0\0\0\4hand\0\0\0\6theirs"
    assert pack(Pictures(7, images), ("top",)) == b"\0\0\0\7\0\0\0\4hand"


def test_a_picture_that_is_not_taken_does_not_hold_up_a_word():
    with Place(drawn=Drawn(50_000_000)) as place:

        async def work(connect):
            await connect("pictures")  # and never reads
            page = await connect()
            for number in range(20):
                place.show(number)
                await told(page)
            word = await told(page, role="steers")
            await page.send_str(said(1, word["beat"], buttons=["grip"]))
            assert (await asyncio.to_thread(heard, place.source)).buttons == (Button.GRIP,)

        place.run(work)


def test_a_number_that_is_none_is_told_as_nothing(place):
    live, verdict = Live(float("nan")), Verdict(False, float("inf"))
    place.status = dataclasses.replace(STATUS, live=live, verdict=verdict, strip=(0.5, np.inf))

    async def work(connect):
        page = await connect()
        await page.receive()
        status = json.loads(await page.receive_str(), parse_constant=pytest.fail)["status"]
        assert status["live"]["level"] is None and status["verdict"]["score"] is None
        assert status["strip"] == [0.5, None]

    place.run(work)


def test_the_end_is_said():
    place = Place().__enter__()

    async def work(connect):
        page = await connect()
        await told(page)
        await asyncio.to_thread(place.__exit__, None, None, None)
        assert (await told(page, over=True))["over"]

    place.run(work)


def test_other_machines_need_a_flag_and_get_a_warning():
    with pytest.raises(UserError, match="page.host: 0.0.0.0 lets other machines steer"):
        PageConfig(host="0.0.0.0")
    with pytest.warns(UserWarning, match="other machines reach it"):
        with Place(host="127.0.0.2", open_to_network=True) as place:
            assert place.lives()


def test_what_listens_everywhere_names_an_address_that_others_can_open():
    with pytest.warns(UserWarning, match="other machines reach it"):
        with Place(host="0.0.0.0", open_to_network=True) as place:
            assert urlsplit(place.page.address).hostname != "0.0.0.0"
            port = urlsplit(place.page.address).port
            place.page.address = f"http://127.0.0.1:{port}/{place.page.token}/"
            place.origin = f"http://127.0.0.1:{port}"
            assert place.lives()


def test_an_address_that_is_not_this_machines_is_one_line():
    with pytest.warns(UserWarning, match="other machines reach it"):
        with pytest.raises(UserError, match="page: cannot listen on 192.0.2.1: "):
            Place(host="192.0.2.1", open_to_network=True, port=None).__enter__()


def test_a_port_that_is_taken_is_one_line(place):
    port = urlsplit(place.origin).port
    with pytest.raises(UserError, match=f"page: cannot listen on 127.0.0.1:{port}: .*in use"):
        Place(port=port).__enter__()
