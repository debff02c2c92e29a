import numpy as np
import pytest

from demos.session.clock import RealClock, SimulatedClock, Ticker


@pytest.fixture
def clock():
    return SimulatedClock()


def worked(ticker, clock, *loads):
    """Tick, and work for so long after each tick; give when the ticks began."""
    began = []
    for load_s in loads:
        began.append(round(ticker.wait(), 6))
        clock.sleep_until(clock.now() + load_s)
    return began


def test_ticks_begin_on_a_grid(clock):
    ticker = Ticker(0.1, clock)
    assert worked(ticker, clock, 0.05, 0.09, 0.0, 0.02) == [0.1, 0.2, 0.3, 0.4]
    assert ticker.missed == 0 and ticker.ticks == 4


def test_a_late_one_is_a_miss_and_nothing_is_made_up_for(clock):
    ticker = Ticker(0.1, clock)
    assert worked(ticker, clock, 0.12, 0.05, 0.0) == [0.1, 0.22, 0.3]
    assert ticker.missed == 1


def test_deadlines_that_are_passed_over_count(clock):
    ticker = Ticker(0.1, clock)
    assert worked(ticker, clock, 0.35, 0.01, 0.0) == [0.1, 0.45, 0.5]
    assert ticker.missed == 3  # at 0.2, 0.3 and 0.4
    assert ticker.ticks == 3 and ticker.deadlines == 5
    assert ticker.measured()["missed_share"] == 0.6


def test_what_is_measured(clock):
    ticker = Ticker(0.1, clock)
    worked(ticker, clock, 0.12, 0.0, 0.0, 0.0, 0.0)
    found = ticker.measured()
    late_ms = [0, 20, 0, 0, 0]
    assert found["jitter_p50_ms"] == 0 and found["jitter_max_ms"] == pytest.approx(20)
    assert found["jitter_p99_ms"] == pytest.approx(np.percentile(late_ms, 99))
    assert found["measured_period_s"] == pytest.approx(0.1)
    assert found["ticks"] == 5 and found["deadlines"] == 5 and found["missed"] == 1
    assert found["missed_share"] == 0.2


def test_a_new_grid_forgets(clock):
    ticker = Ticker(0.1, clock)
    worked(ticker, clock, 0.35)
    ticker.restart()
    assert ticker.missed == ticker.ticks == ticker.deadlines == 0
    assert worked(ticker, clock, 0.0) == [0.55]


def test_the_real_clock_waits():
    clock = RealClock()
    at_s = clock.now() + 0.01
    clock.sleep_until(at_s)
    assert clock.now() >= at_s
    clock.sleep_until(at_s - 100)  # past: at once
