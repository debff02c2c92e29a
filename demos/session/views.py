"""Frames to whoever looks on: a mailbox each, bounded, which drops what is not fetched."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

from demos.session.contracts import Frame

Item = TypeVar("Item")


class Mailbox(Generic[Item]):
    """Keeps the latest ``capacity`` items for one reader; giving never waits."""

    def __init__(self, capacity: int) -> None:
        self._items: deque[Item] = deque(maxlen=capacity)
        self._news = threading.Condition()
        self.dropped, self.closed = 0, False

    def offer(self, item: Item) -> None:
        """Put an item in; the oldest makes room."""
        with self._news:
            if self.closed:
                return
            self.dropped += len(self._items) == self._items.maxlen
            self._items.append(item)
            self._news.notify()

    def take(self, timeout_s: float | None = None) -> Item | None:
        """Wait for the oldest item that is left; None when time is up, or it was closed."""
        with self._news:
            self._news.wait_for(lambda: self._items or self.closed, timeout_s)
            return self._items.popleft() if self._items else None

    def newest(self) -> Item | None:
        """Give the newest item and forget the others; None if there is none. Does not wait."""
        with self._news:
            item = self._items[-1] if self._items else None
            self._items.clear()
            return item

    def close(self) -> None:
        """Take no more; who waits gets None once it is empty."""
        with self._news:
            self.closed = True
            self._news.notify_all()


class Views:
    """All mailboxes of a session."""

    def __init__(self) -> None:
        self._boxes: list[Mailbox[Frame]] = []
        self._lock = threading.Lock()

    def subscribe(self, capacity: int = 2) -> Mailbox[Frame]:
        """Give a new mailbox; from any thread. It is forgotten once it is closed."""
        box: Mailbox[Frame] = Mailbox(capacity)
        with self._lock:
            self._boxes.append(box)
        return box

    def show(self, frame: Frame) -> None:
        """Give a frame to everybody."""
        with self._lock:
            self._boxes = [box for box in self._boxes if not box.closed]
            boxes = list(self._boxes)
        for box in boxes:
            box.offer(frame)

    def close(self) -> None:
        """Close all mailboxes: there will be no more frames."""
        with self._lock:
            for box in self._boxes:
                box.close()
