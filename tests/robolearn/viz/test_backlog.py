"""Nothing that is put in is lost, the order is kept, and errors come out at the end."""

import threading

import pytest

from robolearn.viz.backlog import Backlog


def test_everything_is_handled_in_order_and_in_bulk():
    bulks = []
    backlog = Backlog(bulks.append, capacity=8, period_s=60.0)
    for i in range(100):
        backlog.put(i)
    backlog.close()
    assert sum(bulks, []) == list(range(100))
    assert len(bulks) < 100 and all(bulks)


def test_little_is_handled_after_the_period():
    handled = threading.Event()
    backlog = Backlog(lambda items: handled.set(), capacity=100, period_s=0.01)
    backlog.put(1)
    assert handled.wait(timeout=30)
    backlog.close()


def test_it_says_when_it_is_behind():
    busy, go = threading.Event(), threading.Event()
    backlog = Backlog(lambda items: busy.set() or go.wait(), capacity=8, period_s=60.0)
    for i in range(2):
        backlog.put(i)
    busy.wait()
    assert not backlog.is_behind
    for i in range(4):
        backlog.put(i)
    assert backlog.is_behind
    go.set()
    backlog.close()


def test_an_error_is_raised_by_close_and_holds_up_nobody():
    def fail(items):
        raise ValueError(f"cannot handle {items[0]}")

    backlog = Backlog(fail, capacity=4, period_s=0.01)
    for i in range(50):
        backlog.put(i)
    with pytest.raises(ValueError, match="cannot handle 0"):
        backlog.close()
    backlog.close()
    with pytest.raises(RuntimeError, match="closed"):
        backlog.put(1)
