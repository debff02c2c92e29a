"""The page as a device: what counts, for how long, and what does not after a break."""

import numpy as np
import pytest

from demos.devices.contracts import STILL, Button, Signal
from demos.devices.keys import KeyMap
from demos.devices.steering import Steered, Steering, SteeringConfig
from demos.page.messages import Link, Message
from demos.page.source import CLOSED, HOLD_S, NOBODY, SILENT, PageSource

from ..devices.hands import ARM, UPRIGHT

PERIOD_S = 0.05


def said(engaged=True, buttons=(), move=(1.0, 0.0, 0.0)) -> Message:
    return Message(1, 0.0, 1, move if engaged else STILL, STILL, engaged, buttons)


def source(connected=True) -> PageSource:
    made = PageSource(KeyMap.of({}), PERIOD_S)
    if connected:
        made.connect(0.0)
    return made


def test_nobody_is_there_before_somebody_comes():
    assert source(connected=False).poll(0.0) == Signal(lost=NOBODY)


def test_what_is_held_moves_and_letting_go_stops():
    page = source()
    page.hear(said(), 1.0, 1.0)
    assert page.poll(1.01).move == (1.0, 0.0, 0.0) and page.poll(1.02).engaged
    page.hear(said(engaged=False), 1.03, 1.03)
    assert not page.poll(1.03).engaged


def test_buttons_are_heard_once_and_forgotten_after_a_moment():
    page = source()
    page.hear(said(False, (Button.START, Button.GRIP)), 1.0, 1.0)
    assert page.poll(1.01).buttons == (Button.START, Button.GRIP)
    assert page.poll(1.02).buttons == ()
    page.hear(said(False, (Button.START,)), 2.0, 2.0)
    page.hear(said(False), 3.2, 3.2)
    assert page.poll(3.25).buttons == ()


def test_silence_counts_as_lost_and_a_word_ends_it():
    page = source()
    page.hear(said(False), 1.0, 1.0)
    assert page.poll(1.4).lost == "" and page.poll(1.6).lost == SILENT
    page.hear(said(False), 1.7, 1.7)
    assert page.poll(1.7).lost == ""


def test_nothing_that_was_said_before_a_break_is_done_after_it():
    page = source()
    page.hear(said(buttons=(Button.START,)), 1.0, 1.0)
    page.disconnect()
    page.hear(said(buttons=(Button.START,)), 1.0, 1.0)  # of a connection that is gone
    assert page.poll(1.01) == Signal(lost=CLOSED)
    page.connect(1.02)
    assert page.poll(1.02) == Signal()


def test_a_break_that_is_over_before_anybody_asks_is_told_of():
    page = source()
    page.hear(said(), 1.0, 1.0)
    assert page.poll(1.01).engaged
    page.disconnect()
    page.connect(1.02)  # by the same one, or another
    page.hear(said(buttons=(Button.START,)), 1.03, 1.03)
    assert page.poll(1.04) == Signal(lost=CLOSED)
    assert page.poll(1.05).buttons == (Button.START,)  # and what was pressed since counts
    page.connect(1.06)  # without a word of the old connection's end
    assert page.poll(1.07) == Signal(lost=CLOSED) and page.poll(1.08) == Signal()
    page.hear(said(), 1.1, 1.1)
    page.hear(said(), 1.65, 1.65)  # after a silence in which the loop stood still too
    assert page.poll(1.66) == Signal(lost=SILENT) and page.poll(1.67).engaged


def test_the_robot_is_told_to_stand_within_a_tenth_of_a_second_of_the_last_input():
    """Whatever the moment at which inputs end, and however the loop's ticks lie to it."""
    rng = np.random.default_rng(3)
    for _ in range(50):
        page = source()
        device = Steered(page, Steering(SteeringConfig(), ARM))
        last_s, phase_s = rng.uniform(0.5, 1.0), rng.uniform(0, PERIOD_S)
        for given_s in np.arange(0.0, last_s, 0.016):
            page.hear(said(), given_s, given_s)
        last_s = given_s
        ticks = last_s + phase_s + PERIOD_S * np.arange(10)
        moves = [bool(device.command(UPRIGHT, now_s).action[0]) for now_s in ticks]
        first_still_s = ticks[moves.index(False)]
        assert not any(moves[moves.index(False) :])
        assert first_still_s - last_s <= HOLD_S
        assert moves[0] or phase_s > 0.04


class Wire:
    """A page on a connection that something happens to, in simulated time.

    Each message moves by its own time, so that a command says which message it follows.
    """

    def __init__(self, fault, at_s, rng):
        self.fault, self.at_s, self.rng = fault, at_s, rng
        self.page, self.link = source(), Link()
        self.device = Steered(self.page, Steering(SteeringConfig(speed=1.0), ARM))
        self.under_way, self.said = [], {}

    def says(self, number, now_s):
        """Have the page say something, if it can; give when it arrives."""
        self.said[number] = now_s
        frozen = self.fault == "frozen" and self.at_s <= now_s < self.at_s + 1.5
        gone = self.fault in ("cut", "closed") and now_s >= self.at_s
        if frozen or gone:
            return
        delay_s = self.rng.uniform(0.001, 0.006)
        if self.fault == "delayed" and now_s >= self.at_s:
            delay_s += 2.0
        move = (number * 1e-4, 0.0, 0.0)
        buttons = (Button.GRIP,) if number % 10 == 0 else ()
        beat = self.link.beat(now_s)
        message = Message(number, now_s + 77.0, beat, move, STILL, True, buttons)
        self.under_way.append((now_s + delay_s, message))

    def arrives(self, now_s):
        """Take in what has come by now."""
        if self.fault == "closed" and now_s >= self.at_s:
            self.page.disconnect()
        for at_s, message in [item for item in self.under_way if item[0] <= now_s]:
            self.under_way.remove((at_s, message))
            given_s = self.link.given_s(message, at_s)
            if given_s is not None:
                self.page.hear(message, given_s, at_s)


@pytest.mark.parametrize("fault", ["cut", "frozen", "delayed", "closed"])
def test_whatever_happens_to_a_connection_no_old_command_is_done(fault):
    for seed in range(50):
        rng = np.random.default_rng(seed)
        wire = Wire(fault, rng.uniform(0.5, 1.0), rng)
        tick_s, number, moved = rng.uniform(0, PERIOD_S), 0, 0
        for now_s in np.arange(0.0, 4.0, 0.004):
            if now_s >= 0.016 * number:
                number += 1
                wire.says(number, now_s)
            wire.arrives(now_s)
            if now_s < tick_s:
                continue
            tick_s += PERIOD_S
            command = wire.device.command(UPRIGHT, now_s)
            follows = round(float(command.action[0]) * 1e4)
            if follows:
                moved += 1
                assert now_s + PERIOD_S - wire.said[follows] <= HOLD_S + 1e-9
            elif fault != "frozen" and now_s > wire.at_s + HOLD_S:
                assert not command.engaged
            assert not (fault != "frozen" and now_s > wire.at_s + 0.6 and not command.lost)
        assert moved >= 0.4 / PERIOD_S  # it did go, before
