"""The memory that a servo process shares with whoever decides: what is seen there, asked for here.

Every part has one writer and comes as a whole: its edition is odd while it is written, and who has
read of two editions reads again. Nobody waits for a writer longer than ``MOST_S``: one that was
killed in the middle leaves the edition odd for ever. Nothing here is a lock, so nothing that is
killed keeps one.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

MOST_S = 0.5  # how long a reader tries
WORDS = 400  # bytes of what is said


@dataclass(frozen=True)
class Layout:
    """What is shared of a robot with J joints."""

    joints: int
    measures: tuple[str, ...]  # quantities, Q: pos, vel ...
    arrays: tuple[tuple[str, tuple[int, ...], str], ...]  # of the observation, but joints

    @property
    def seen(self) -> np.dtype:
        """What the servo process shows; times are of ``time.monotonic``."""
        return np.dtype(
            [
                ("edition", np.int64),
                ("at_s", np.float64),  # when this was shown
                ("looked_s", np.float64),  # when it was last measured
                ("life_cycle", np.int64),
                ("stopped", np.bool_),
                ("silent", np.bool_),
                ("at_rest", np.bool_),
                ("success", np.bool_),
                ("stops", np.int64),
                ("heeded", np.int64),  # of the calls for a stop
                ("ticks", np.int64),
                ("missed", np.int64),
                ("measured", np.float64, (len(self.measures), self.joints)),
                ("commanded", np.float64, (self.joints,)),
                ("words", np.uint8, (WORDS,)),
                ("arrays", [(name, kind, shape) for name, shape, kind in self.arrays]),
            ],
            align=True,
        )

    @property
    def asked(self) -> np.dtype:
        """Where the arm shall go."""
        return np.dtype(
            [
                ("edition", np.int64),
                ("count", np.int64),  # how many targets there were
                ("at_s", np.float64),
                ("target", np.float64, (self.joints,)),
            ],
            align=True,
        )

    @property
    def called(self) -> np.dtype:
        """Calls for a stop: why, then how many; the number alone decides."""
        return np.dtype([("calls", np.int64), ("words", np.uint8, (WORDS,))], align=True)

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(kind.itemsize + 8 for kind in (self.seen, self.asked, self.called))


class Part:
    """A record that comes as a whole."""

    def __init__(self, record: np.ndarray) -> None:
        self._record, self._edition = record, record["edition"]

    @contextlib.contextmanager
    def writing(self) -> Iterator[np.ndarray]:
        """Give the record to write into; one that was left half written is whole afterwards."""
        odd = int(self._edition) | 1
        self._edition[...] = odd
        yield self._record
        self._edition[...] = odd + 1

    def read(self, take: Callable[[np.ndarray], Any]) -> Any:
        """Give what ``take`` copies of one edition; TimeoutError if none can be had."""
        ends_s = time.monotonic() + MOST_S
        while (taken := self.glimpse(take)) is None:
            if time.monotonic() > ends_s:
                raise TimeoutError
            time.sleep(1e-4)
        return taken

    def glimpse(self, take: Callable[[np.ndarray], Any]) -> Any:
        """Give what ``take`` copies, without waiting; None if it is being written."""
        before = int(self._edition)
        taken = take(self._record)
        return taken if before == int(self._edition) and before % 2 == 0 else None


class Board:
    """The shared memory, or any other buffer, as parts."""

    def __init__(self, layout: Layout, buffer: Any) -> None:
        records, offset = [], 0
        for kind in (layout.seen, layout.asked, layout.called):
            records.append(np.ndarray((), kind, buffer, offset))
            offset += -(-kind.itemsize // 8) * 8
        self.seen, self.asked = Part(records[0]), Part(records[1])
        self._called = records[2]

    @property
    def calls(self) -> int:
        """How often a stop was called for."""
        return int(self._called["calls"])

    @property
    def called_for(self) -> str:
        """Why, the last time."""
        return text(self._called["words"])

    def call(self, reason: str) -> int:
        """Call for a stop; give the number of the call. Not for two threads at a time."""
        put(self._called["words"], reason)
        self._called["calls"] += 1
        return self.calls


def put(words: np.ndarray, said: str) -> None:
    """Write text, as much of it as there is room for."""
    words[:] = np.frombuffer(said.encode()[:WORDS].ljust(WORDS, b"\0"), np.uint8)


def text(words: np.ndarray) -> str:
    """Read text."""
    return words.tobytes().rstrip(b"\0").decode(errors="replace")
