"""Messages of a page: what is no message, and what comes too late."""

import itertools
import json
import math

import numpy as np
import pytest

from demos.devices.contracts import Button
from demos.page.messages import LATE_S, LONGEST, UNHEARD_S, Link, parse

GOOD = {
    "n": 1, "t": 10.5, "beat": 3, "move": [1, 0, -0.5], "turn": [0, 0, 0], "engaged": True,
    "buttons": ["grip"],
}  # fmt: skip


def said(n=1, t_s=0.0, beat=1, **changes):
    return parse(json.dumps(GOOD | {"n": n, "t": 1000 * t_s, "beat": beat} | changes))


def test_a_message_is_read():
    message = parse(json.dumps(GOOD))
    assert (message.number, message.time_s, message.beat) == (1, 0.0105, 3)
    assert message.move == (1.0, 0.0, -0.5) and message.engaged
    assert message.buttons == (Button.GRIP,)


@pytest.mark.parametrize(
    "changes",
    [
        {"n": -1}, {"n": 1.5}, {"n": True}, {"n": 2**60}, {"t": "1"}, {"t": 10**400},
        {"beat": None}, {"move": [1, 0]}, {"move": [1, 0, 2]}, {"move": [1, 0, True]},
        {"move": "abc"},
        {"turn": [[0], 0, 0]}, {"engaged": 1}, {"buttons": "grip"}, {"buttons": ["explode"]},
        {"buttons": [["grip"]]}, {"buttons": ["grip"] * 9}, {"more": 1},
    ],
)  # fmt: skip
def test_what_is_no_message_says_so(changes):
    with pytest.raises(ValueError):
        parse(json.dumps(GOOD | changes))


@pytest.mark.parametrize(
    "text",
    ["", "nonsense", "[]", "3", "[" * LONGEST, json.dumps(GOOD).replace("10.5", "NaN"),
     json.dumps(GOOD).replace("10.5", "Infinity"), json.dumps(GOOD).replace("10.5", "1e999"),
     json.dumps(GOOD) + " " * LONGEST, json.dumps({**GOOD, "t": None})],
)  # fmt: skip
def test_what_is_no_json_says_so(text):
    with pytest.raises(ValueError):
        parse(text)


def test_noise_is_refused_or_read_but_does_no_more():
    """Random bytes, and good messages with random pieces put in, from one seed."""
    rng = np.random.default_rng(0)
    text, read = json.dumps(GOOD), 0
    for _ in range(3000):
        at, length = rng.integers(0, len(text)), rng.integers(0, 4)
        noise = "".join(map(chr, rng.choice([*range(32, 127), 0, 0xD800, 0x1F600], length)))
        try:
            message = parse(text[:at] + noise + text[at + rng.integers(0, 4) :])
        except ValueError:
            continue
        read += 1
        assert all(abs(value) <= 1 for value in (*message.move, *message.turn))
        assert set(message.buttons) <= set(Button)
    assert read > 10


def test_numbers_must_grow():
    link = Link()
    beat = link.beat(0.0)
    assert link.given_s(said(5, 0.0, beat), 0.01) is not None
    assert link.given_s(said(5, 0.0, beat), 0.01) is None
    assert link.given_s(said(4, 0.01, beat), 0.02) is None
    assert link.given_s(said(6, 0.02, beat), 0.03) is not None


def test_a_message_is_dated_by_the_quickest():
    link, apart_s = Link(), 1000.0
    link.beat(apart_s)
    assert link.given_s(said(1, 0.0), apart_s + 0.005) == pytest.approx(apart_s + 0.005)
    assert link.given_s(said(2, 0.1), apart_s + 0.145) == pytest.approx(apart_s + 0.105, abs=1e-3)
    assert link.given_s(said(3, 0.2), apart_s + 0.2 + LATE_S + 0.01) is None


@pytest.mark.parametrize("late_s", [0.3, 2.0])
def test_what_is_late_stays_too_late_for_minutes(late_s):
    link, beats = Link(), []
    for n in range(1, 6000):  # five minutes of messages
        now_s = n * 0.05
        delay_s = 0.002 if n < 100 else late_s
        beats.append(link.beat(now_s))
        known = beats[-1 - math.ceil((delay_s + 0.002) / 0.05)] if n > 1 else 0
        given_s = link.given_s(said(n, now_s - delay_s, known), now_s)
        assert (given_s is None) == (n == 1 or n >= 100)


@pytest.mark.parametrize("jump_s", [-3600.0, -2.0, -0.15, 2.0, 3600.0])
def test_a_clock_that_jumps_does_not_make_all_that_follows_late(jump_s):
    """As that of a laptop which slept with the page open: the beats tell that nothing is old."""
    link, rng, numbers = Link(), np.random.default_rng(0), itertools.count(1)
    beat, heard, ages_s = 0, 0, []
    for k in range(2000):
        now_s = 0.02 * k
        if k % 5 == 0:
            beat, heard = link.beat(now_s), beat  # which is known 0.1 s later
        clock_s = now_s + (jump_s if now_s > 20 else 0)
        arrives_s = now_s + rng.uniform(0.001, 0.01)
        given_s = link.given_s(said(next(numbers), clock_s + 5000, heard), arrives_s)
        if now_s > 1:
            ages_s.append(np.inf if given_s is None else arrives_s - given_s)
            assert given_s is None or given_s <= arrives_s
    ages_s = np.array(ages_s)
    assert np.isinf(ages_s).mean() < 0.01 and np.median(ages_s) < 0.02
    assert np.isfinite(ages_s[-100:]).all()


def test_clocks_that_go_apart_do_not_make_messages_late():
    link = Link()
    for n in range(1, 5000):
        now_s = n * 1.0
        assert link.given_s(said(n, now_s * (1 - 1e-4), link.beat(now_s)), now_s) is not None


def test_a_connection_that_is_slow_from_its_beginning_is_not_taken_for_a_quick_one():
    link = Link()
    heard = link.beat(0.0)
    assert link.given_s(said(1, 0.0, heard), UNHEARD_S - 0.1) is not None
    assert link.given_s(said(2, 0.2, heard), UNHEARD_S + 0.1) is None
    assert link.given_s(said(3, 0.3, beat=99), 0.7) is None  # which was never sent
