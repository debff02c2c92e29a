"""What a servo process shares: whole pictures, whoever is killed while he writes."""

import numpy as np
import pytest

from robots import board
from robots.board import Board, Layout

LAYOUT = Layout(2, ("pos",), (("front", (2, 3, 3), "uint8"),))


@pytest.fixture
def shared():
    return Board(LAYOUT, bytearray(LAYOUT.size))


def joints(seen):
    return seen["measured"][0].tolist()


def test_what_was_written_is_read(shared):
    with shared.seen.writing() as seen:
        seen["measured"][0] = 1.0, 2.0
        seen["arrays"]["front"][...] = 7
        board.put(seen["words"], "é" * 500)
    with shared.asked.writing() as asked:
        asked["target"] = 3.0, 4.0
    assert shared.call("the red button") == shared.calls == 1
    assert shared.seen.read(joints) == [1.0, 2.0]
    assert (shared.seen.read(lambda seen: seen["arrays"]["front"].copy()) == 7).all()
    assert shared.seen.read(lambda seen: board.text(seen["words"])) == "é" * 200
    assert shared.asked.read(lambda asked: asked["target"].tolist()) == [3.0, 4.0]
    assert shared.called_for == "the red button"


def test_half_a_picture_is_not_given_and_not_waited_for(shared, monkeypatch):
    monkeypatch.setattr(board, "MOST_S", 0.01)
    with pytest.raises(KeyboardInterrupt), shared.seen.writing() as seen:
        seen["measured"][0, 0] = 1.0
        raise KeyboardInterrupt
    assert shared.seen.glimpse(joints) is None
    with pytest.raises(TimeoutError):
        shared.seen.read(joints)
    with shared.seen.writing() as seen:  # whoever goes on makes it whole
        seen["measured"][0] = 3.0
    assert shared.seen.read(joints) == [3.0, 3.0]


def test_a_picture_that_changes_meanwhile_is_read_again(shared):
    def take(seen):
        first = float(seen["measured"][0, 0])
        if first == 0.0:
            with shared.seen.writing() as again:
                again["measured"][0] = 5.0
        return np.array([first, seen["measured"][0, 1]]).tolist()

    assert shared.seen.read(take) == [5.0, 5.0]
