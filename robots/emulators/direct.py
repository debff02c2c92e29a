"""The same stations without terminal, thread and waiting: time passes as bytes do.

For what would take days on a real clock, and for tests that must not depend on one.
"""

from __future__ import annotations

from collections.abc import Sequence

from robots.clocks import SimulatedClock
from robots.emulators.faults import Faults, Wire
from robots.emulators.line import Station

BYTE_S = 1e-5  # at 1 Mbaud, with start and stop bit


class Direct:
    """A serial port at whose other end a station answers at once; see ``servos.bus.DirectPort``."""

    def __init__(
        self,
        station: Station,
        clock: SimulatedClock,
        faults: Faults | None = None,
        timeout_s: float = 0.001,
    ) -> None:
        """Connect; a read for which there is nothing takes ``timeout_s``."""
        self.station, self.clock, self.wire = station, clock, Wire(faults or Faults())
        self.timeout_s = timeout_s
        self._coming = b""

    @property
    def in_waiting(self) -> int:
        """How many bytes have come."""
        return len(self._coming)

    def read(self, size: int) -> bytes:
        """Give up to so many of the bytes that have come; wait if there are none."""
        if not self._coming:
            self.clock.sleep(self.timeout_s)
            self.station.gap()
        given, self._coming = self._coming[:size], self._coming[size:]
        self.clock.sleep(BYTE_S * len(given))
        return given

    def write(self, data: Sequence[int]) -> int:
        """Have the servos hear bytes, and take their answers."""
        self.clock.sleep(BYTE_S * len(data))
        heard = self.wire.to_servos(bytes(data))
        self._coming += self.wire.to_host(self.station.hear(heard, None))
        return len(data)

    def flush(self) -> None:
        """Nothing is left to be sent."""

    def reset_input_buffer(self) -> None:
        """Forget what has come."""
        self._coming = b""

    def close(self) -> None:
        """Nothing needs to be let go of."""
