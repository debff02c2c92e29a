"""The page under faults: what stands between, what is made of a log, and one fault of each kind."""

import asyncio
import time

import numpy as np
import pytest
from page_faults import NUMBER, Asked, Proxy, judged, measure, speak

from demos.devices.contracts import Command

from ..demos.session.people import Wire

PERIOD_S = 0.05


def through(work):
    """Do ``await work(proxy, reader, writer)`` with an echo at the other end."""

    async def within():
        async def echo(reader, writer):
            while data := await reader.read(100):
                writer.write(data)
            writer.close()

        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        async with Proxy(server.sockets[0].getsockname()[1]) as proxy:
            ends = await asyncio.open_connection("127.0.0.1", proxy.port)
            await asyncio.wait_for(work(proxy, *ends), 30)
        server.close()

    asyncio.run(within())


def test_what_goes_through_the_proxy_is_delayed_held_up_or_cut():
    async def work(proxy, reader, writer):
        writer.write(b"a")
        assert await reader.readexactly(1) == b"a"
        proxy.delay_s = [0.1, 0.1]
        began_s = time.monotonic()
        writer.write(b"b")
        await asyncio.sleep(0.02)
        proxy.delay_s = [0.0, 0.0]
        writer.write(b"c")  # comes after b all the same
        assert await reader.readexactly(2) == b"bc"
        assert time.monotonic() - began_s >= 0.1
        proxy.flows.clear()
        writer.write(b"d")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.1)
        proxy.flows.set()
        assert await reader.readexactly(1) == b"d"
        proxy.cut()
        with pytest.raises(ConnectionError):
            assert await reader.read(1)

    through(work)


def log_of(engaged, lost=(), unasked=()):
    """Make up a log at 20 Hz: each message is 10 ms old, those in ``unasked`` 300 ms."""
    log, sent = [], {}
    for k, moves in enumerate(engaged):
        at_s, number = 100 + PERIOD_S * k, k + 1
        sent[number] = at_s - (0.3 if k in unasked else 0.01)
        action = np.array([number * NUMBER if moves else 0.0], np.float32)
        given_s = at_s - 0.01 if moves else log[-1].command.given_s
        command = Command(action, bool(moves), given_s, lost="gone" if k in lost else "")
        log.append(Asked(at_s, at_s, number if moves else 0, command))
    steps = [asked for asked in log if not asked.pauses]
    records = {
        "engaged": np.array([asked.command.engaged for asked in steps]),
        "input_s": np.array([asked.command.given_s for asked in steps]) - 100,
        "sent_s": np.array([asked.at_s for asked in steps]) + 0.001 - 100,
    }
    return log, records, sent


def test_a_log_is_judged_by_what_the_session_recorded():
    fault = {"at_s": 100.12, "asked_s": 100.33, "problem": "gone", "went_on": True}
    log, records, sent = log_of([1, 1, 1, 1, 0, 0, 0, 1], lost=[6])
    row = judged(log, records, {"faults": [fault], "sent": sent}, PERIOD_S)
    assert row["still_worst_ms"] == pytest.approx(61, abs=0.1) and row["over_100"] == 0
    assert row["late_worst_ms"] == pytest.approx(1, abs=0.1)
    assert (row["paused"], row["unasked"], row["old"], row["went_on"]) == (1, 0, 0, 1)

    log, records, sent = log_of([1, 1, 1, 1, 1, 1, 0, 0, 1], lost=[6], unasked=[4])
    fault["asked_s"] = 100.5
    row = judged(log, records, {"faults": [fault], "sent": sent}, PERIOD_S)
    assert row["still_worst_ms"] == pytest.approx(60, abs=0.1)
    assert (row["paused"], row["unasked"], row["old"]) == (1, 1, 1)


@pytest.mark.parametrize("fault", ["cut", "held up"])
def test_a_fault_stops_it_and_it_goes_on_when_asked(fault):
    row = measure(Wire(), fault, 1, 0, speak)
    assert (row["times"], row["paused"], row["went_on"]) == (1, 1, 1)
    assert row["old"] == row["unasked"] == 0
