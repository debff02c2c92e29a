"""What shows how far something is: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from typing import Any, Self

from robolearn import signals

PLAIN_PERIOD_S = 10.0


class Counter:
    """Counts what is done, as a context manager with ``n`` and ``update(n=1)``.

    It begins at ``done``. Lines say how many a second there were since the last one, if they have
    a ``unit``; where it is silent nothing is shown. A Ctrl-C whose KeyboardInterrupt somebody
    dropped, as libraries do in callbacks of compiled code, comes out of the next ``update``.
    """

    def __init__(
        self,
        total: int | None = None,
        label: str = "",
        unit: str = "",
        done: int = 0,
        is_silent: bool = False,
    ) -> None:
        self._shown = _Nothing(done) if is_silent else _shown(total, label, unit, done)
        self._closing = contextlib.ExitStack()
        self._is_interrupted = False

    @property
    def n(self) -> int:
        """Say how many are done."""
        return self._shown.n

    def __enter__(self) -> Self:
        self._closing.enter_context(self._shown)
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            kinds = (signal.SIGINT,)
            self._closing.enter_context(signals.handled(self._interrupt, kinds))
        return self

    def __exit__(self, *error: Any) -> None:
        self._closing.close()

    def update(self, n: int = 1) -> None:
        """Count n more; KeyboardInterrupt if there was one that did not come through."""
        self._shown.update(n)
        if self._is_interrupted:
            raise KeyboardInterrupt

    def _interrupt(self, number: int, frame: Any) -> None:
        self._is_interrupted = True
        raise KeyboardInterrupt


def _shown(total: int | None, label: str, unit: str, done: int) -> Any:
    if not sys.stderr.isatty():
        return _PlainLines(total, label, unit, done)
    from tqdm import tqdm

    return tqdm(total=total, desc=label, unit=unit or "it", initial=done)


class _Nothing:
    """Counts."""

    def __init__(self, done: int) -> None:
        self.n = done

    def __enter__(self) -> _Nothing:
        return self

    def __exit__(self, *error: Any) -> None:
        pass

    def update(self, n: int = 1) -> None:
        """Count n more."""
        self.n += n


class _PlainLines:
    """A line now and then: how many of how many."""

    def __init__(self, total: int | None, label: str, unit: str, done: int):
        self.label, self.of = label or "progress", "" if total is None else f" of {total}"
        self.unit = unit
        self.n = self.shown = done
        self.last_s = time.monotonic()

    def __enter__(self) -> _PlainLines:
        return self

    def __exit__(self, *error: Any) -> None:
        if self.n != self.shown:
            self._show()

    def update(self, n: int = 1) -> None:
        """Count n more."""
        self.n += n
        if time.monotonic() >= self.last_s + PLAIN_PERIOD_S:
            self._show()

    def _show(self) -> None:
        now = time.monotonic()
        rate = f", {(self.n - self.shown) / (now - self.last_s):.0f} {self.unit}/s"
        line = f"{self.label}: {self.n}{self.of}{rate if self.unit else ''}"
        print(line, file=sys.stderr, flush=True)
        self.shown, self.last_s = self.n, now
