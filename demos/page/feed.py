"""Pictures for pages, and for Rerun: drawn only while somebody looks, by a process of their own.

Two threads, and neither is the control loop's: one gives states away to be drawn, the other waits
for pictures.
"""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable, Sequence

from demos.session.pictures import Pictured, Pictures
from demos.session.views import Views
from robolearn.errors import UserError

WAIT_S = 0.5  # after which the threads look whether they are still wanted
LATE_S = 1.0  # without a picture of what is to be seen, after which that is said
LATE = "the pictures are late: what is seen is not what is now"


class Feed:
    """The newest pictures of a session; ``on_news`` is called by a thread at each."""

    def __init__(
        self,
        views: Views,
        cameras: Sequence[str],
        make: Callable[[], Pictured],
        on_news: Callable[[], None] = lambda: None,
    ) -> None:
        self.cameras, self.on_news = tuple(cameras), on_news
        self.newest: Pictures | None = None
        self.problem = ""
        self._views, self._make = views, make
        self.ready = threading.Event()
        """Set once pictures can be drawn, or ``problem`` says why they cannot."""
        self._watchers, self._lock = 0, threading.Lock()
        self._offered = 0  # states that were given away, by which pictures are numbered
        self._ending = threading.Event()
        self._threads: list[threading.Thread] = []

    def join(self) -> None:
        """Say that one more looks; the first one has the drawing begin."""
        with self._lock:
            self._watchers += 1
            if not self._threads and self.cameras and not self._ending.is_set():
                self._start(self._work, "page pictures")

    def leave(self) -> None:
        """Say that one looks no more."""
        with self._lock:
            self._watchers -= 1

    def close(self) -> None:
        """Draw no more."""
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def _start(self, target: Callable[..., None], name: str, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self) -> None:
        """Make what draws, and give it states; the control loop waits for none of this."""
        try:
            pictured = self._make()
        except UserError as error:
            self.problem = f"no pictures: {error}"
            self.ready.set()
            self.on_news()
            return
        self.ready.set()
        box = self._views.subscribe(1)
        self._start(self._fetch, "page pictures, drawn", pictured)
        drawn = None, None
        while not self._ending.is_set() and not box.closed:
            frame = box.take(WAIT_S)
            if frame is None or frame.state is None or self._watchers == 0:
                continue
            if frame.state is not drawn[0] or frame.beside is not drawn[1]:
                drawn = frame.state, frame.beside
                self._offered += 1
                pictured.offer(*drawn, frame.number)
        box.close()
        self._ending.wait()
        pictured.close()

    def _fetch(self, pictured: Pictured) -> None:
        number, since_s = 0, time.monotonic()
        while not self._ending.is_set() and not pictured.lost:
            found = pictured.after(number, WAIT_S)
            if found is not None:
                number, self.newest, self.problem = found.number, found, ""
                self.on_news()
            if found is not None or self._offered <= number:  # there is nothing else to be seen
                since_s = time.monotonic()
            elif time.monotonic() - since_s > LATE_S:
                self.problem = LATE
                self.on_news()
        self.problem = pictured.lost and f"no pictures: {pictured.lost}"
        self.on_news()


def pack(pictures: Pictures, cameras: Sequence[str]) -> bytes:
    """Put pictures into one message: the number, then each camera's length and JPEG.

    What is to be seen beside the first one comes last, if there is anything.
    """
    images = [pictures.images[camera] for camera in cameras]
    images += [] if pictures.beside is None else [pictures.beside]
    parts = [part for image in images for part in (struct.pack(">I", len(image)), image)]
    return b"".join([struct.pack(">I", pictures.number), *parts])
