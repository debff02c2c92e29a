"""The page as a device: what counts, for how long, and what does not after a break."""

import numpy as np

from demos.devices.contracts import STILL, Button, Signal
from demos.devices.keys import KeyMap
from demos.devices.steering import Steered, Steering, SteeringConfig
from demos.page.messages import Message
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
