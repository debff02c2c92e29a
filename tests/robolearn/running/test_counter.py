import signal
import sys
import threading

import pytest

from robolearn.running import counter as counters
from robolearn.running.counter import Counter


def count(counter, n):
    with counter:
        for _ in range(n):
            counter.update()


def test_progress_is_plain_lines_where_there_is_no_terminal(capsys):
    count(Counter(3, "letters"), 3)
    count(Counter(), 2)
    assert capsys.readouterr().err == "letters: 3 of 3\nprogress: 2\n"


def test_progress_is_a_bar_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    count(Counter(3, "letters"), 3)
    assert "letters: 100%" in capsys.readouterr().err


def test_lines_are_shown_now_and_then(capsys, monkeypatch):
    monkeypatch.setattr(counters, "PLAIN_PERIOD_S", 0.0)
    count(Counter(2, "letters"), 2)
    assert capsys.readouterr().err == "letters: 1 of 2\nletters: 2 of 2\n"


def test_lines_with_a_unit_say_how_fast_it_goes_from_where_it_went_on(capsys, monkeypatch):
    clock = iter([0.0, 1.0, 2.0, 2.0, 5.0, 5.0, 5.0])
    monkeypatch.setattr(counters.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(counters, "PLAIN_PERIOD_S", 2.0)
    count(Counter(13, "pages", "pages", done=10), 3)  # after 1, 2 and 5 s
    assert capsys.readouterr().err == "pages: 12 of 13, 1 pages/s\npages: 13 of 13, 0 pages/s\n"


def test_a_ctrl_c_that_somebody_drops_comes_out_of_the_next_update():
    before, done = signal.getsignal(signal.SIGINT), []
    with pytest.raises(KeyboardInterrupt), Counter(3) as counter:
        for i in range(3):
            if i == 1:
                with pytest.raises(KeyboardInterrupt):  # dropped here
                    signal.raise_signal(signal.SIGINT)
            done.append(i)
            counter.update()
    assert done == [0, 1]
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_stays_whose_it_was():
    told = []
    before = signal.signal(signal.SIGINT, lambda number, frame: told.append(number))
    try:
        with Counter(1) as counter:
            signal.raise_signal(signal.SIGINT)
            counter.update()
    finally:
        signal.signal(signal.SIGINT, before)
    assert told == [signal.SIGINT]


def test_other_threads_count_too():
    counter = Counter(2)
    thread = threading.Thread(target=count, args=(counter, 2))
    thread.start()
    thread.join()
    assert counter.n == 2
