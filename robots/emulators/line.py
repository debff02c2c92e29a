"""A serial line without a device: a pseudo-terminal, and a thread in which a station answers.

A program opens ``path`` as it opens /dev/ttyACM0. Pulling the plug makes its reads and writes fail
as those of a USB adapter do; after plugging in again, the same path leads to a new terminal.
"""

from __future__ import annotations

import os
import select
import tempfile
import termios
import threading
import tty
from pathlib import Path
from typing import Protocol, Self

from robots.emulators.faults import Faults, Wire

GAP_S = 0.005  # of silence, after which servos give up an unfinished packet
CHUNK = 4096


class Station(Protocol):
    """What is at the other end: servos that hear every byte."""

    def hear(self, data: bytes, baud_rate: int | None) -> list[bytes]:
        """Give the answers to what was heard; the baud rate is the host's, None if unknown."""

    def gap(self) -> None:
        """Forget an unfinished packet: the line has been silent."""


class Line:
    """The line; ``with`` it, or ``close`` it, to end its thread."""

    def __init__(self, station: Station, faults: Faults | None = None) -> None:
        """Plug it in; ``station`` is then touched by the line's thread, under ``lock``."""
        self.station, self.wire = station, Wire(faults or Faults())
        self.lock = threading.Lock()
        self.instructions = 0  # how often the host was heard
        self._folder = tempfile.TemporaryDirectory(prefix="servo-bus-")
        self.path = str(Path(self._folder.name) / "port")
        self._thread: threading.Thread | None = None
        self.plug()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def plugged(self) -> bool:
        """Whether the path leads to a terminal."""
        return self._thread is not None

    def plug(self) -> None:
        """Plug it in, at the same path."""
        if self.plugged:
            return
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        Path(self.path).unlink(missing_ok=True)
        Path(self.path).symlink_to(os.ttyname(self._slave))
        self._wake, self._waker = os.pipe()
        self._thread = threading.Thread(target=self._run, name="servo bus", daemon=True)
        self._thread.start()

    def unplug(self) -> None:
        """Pull the plug: whoever has it open gets errors, and the path is gone."""
        if self._thread is None:
            return
        os.write(self._waker, b"x")
        self._thread.join()
        self._thread = None
        Path(self.path).unlink()
        for descriptor in (self._master, self._slave, self._wake, self._waker):
            os.close(descriptor)

    def close(self) -> None:
        """End it; calling it again does nothing."""
        self.unplug()
        self._folder.cleanup()

    def _run(self) -> None:
        unfinished = False
        while True:
            ready, _, _ = select.select(
                [self._master, self._wake], [], [], GAP_S if unfinished else None
            )
            if self._wake in ready:
                return
            with self.lock:
                if ready:
                    heard = self.wire.to_servos(os.read(self._master, CHUNK))
                    self.instructions += 1
                    answer = self.wire.to_host(self.station.hear(heard, self._baud_rate()))
                else:
                    self.station.gap()
            unfinished = bool(ready)
            if ready and answer:
                os.write(self._master, answer)

    def _baud_rate(self) -> int | None:
        """Give the baud rate that the host has set on its side of the terminal."""
        return BAUD_RATES.get(termios.tcgetattr(self._master)[5])


BAUD_RATES = {
    getattr(termios, name): int(name[1:])
    for name in dir(termios)
    if name[0] == "B" and name[1:].isdigit() and int(name[1:]) > 0
}
