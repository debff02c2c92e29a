"""Work done behind a loop's back: a bounded queue, and a thread that takes what has piled up."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Backlog(Generic[Item]):
    """Hands items to ``handle``, in order and in bulk, in a thread of its own.

    An error in ``handle`` is raised by ``close``; items that come after it are thrown away, so that
    no loop waits for a thread that has given up.
    """

    def __init__(
        self, handle: Callable[[list[Item]], None], capacity: int, period_s: float
    ) -> None:
        """Call ``handle`` every ``period_s``, or sooner when a quarter of ``capacity`` waits."""
        self._handle = handle
        self._capacity = capacity
        self._period_s = period_s
        self._queue: queue.Queue[Item] = queue.Queue(capacity)
        self._wake, self._closing = threading.Event(), threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._work, name="backlog", daemon=True)
        self._thread.start()

    @property
    def is_behind(self) -> bool:
        """Whether half of the capacity is taken: time to leave out what can be left out."""
        return self._queue.qsize() >= self._capacity // 2

    def put(self, item: Item) -> None:
        """Add an item; waits only while the queue is full."""
        if self._closing.is_set():
            raise RuntimeError("it is closed")
        self._queue.put(item)
        if self._queue.qsize() >= self._capacity // 4:
            self._wake.set()

    def close(self) -> None:
        """Handle all that waits and end the thread; raise its error. Again: nothing."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._wake.set()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while not (self._closing.is_set() and self._queue.empty()):
            self._wake.wait(self._period_s)
            self._wake.clear()
            items = [self._queue.get() for _ in range(self._queue.qsize())]
            if items and self._error is None:
                try:
                    self._handle(items)
                except Exception as error:  # raised by close(), in the caller's thread
                    self._error = error
