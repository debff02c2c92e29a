"""Keeping a second writer out, and Ctrl-C back until what is being written is whole."""

import contextlib
import fcntl
import signal
import threading
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other writers out, threads and processes, by a lock on the file ``path``.

    The system frees the lock when its holder dies, however it dies.
    """
    with open(path, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C back until the block is done, so that a finished episode reaches the disk."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGINT) is None:
        yield  # Python raises KeyboardInterrupt in the main thread only
        return
    held_back = []
    previous = signal.signal(signal.SIGINT, lambda number, frame: held_back.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
    if held_back:
        signal.raise_signal(signal.SIGINT)
