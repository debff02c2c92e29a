"""Being told to end: what SIGTERM, and a terminal that goes away, do to a program that holds much.

By default both end it at once, and nothing is closed.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

ENDING = (signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def handled(
    handler: Callable[[int, Any], None], kinds: Sequence[signal.Signals] = ENDING
) -> Iterator[None]:
    """Have ``handler(number, frame)`` called in place of the end, in the main thread.

    In another thread nothing is changed: only the main one may say that.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = [signal.signal(kind, handler) for kind in kinds]
    try:
        yield
    finally:
        for kind, earlier in zip(kinds, before, strict=True):
            signal.signal(kind, earlier)


def as_interrupts() -> contextlib.AbstractContextManager[None]:
    """Have the first do what Ctrl-C does; others, which groups of processes get, do no more."""
    return handled(_interrupt_once)


def _interrupt_once(number: int, frame: Any) -> None:
    for kind in ENDING:
        signal.signal(kind, signal.SIG_IGN)
    raise KeyboardInterrupt
