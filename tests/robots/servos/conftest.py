"""Emulated buses of both makers on a clock that is turned on by hand."""

from dataclasses import dataclass
from typing import Any

import pytest

from robots.clocks import SimulatedClock
from robots.emulators import dynamixel as dynamixels
from robots.emulators import feetech as feetechs
from robots.emulators.direct import Direct
from robots.emulators.faults import Faults
from robots.servos.bus import ServoBus
from robots.servos.dynamixel import DynamixelBus
from robots.servos.feetech import FeetechBus

IDS = list(range(1, 7))
MAKERS = {
    "feetech": (FeetechBus, feetechs.FeetechStation, feetechs.Servo),
    "dynamixel": (DynamixelBus, dynamixels.DynamixelStation, dynamixels.Servo),
}


@dataclass
class Bench:
    """Six servos, a bus that asks them, and the truth."""

    bus: ServoBus
    station: Any
    port: Direct
    clock: SimulatedClock

    def truth(self) -> dict[int, int]:
        """Give the true positions now."""
        for servo in self.station.servos:
            servo.update()
        return {servo.identity: servo.present for servo in self.station.servos}

    def off_by(self, ask) -> dict[int, int]:
        """Ask for positions; give by how many steps each is outside what was true meanwhile."""
        before = self.truth()
        found = ask(IDS)
        after = self.truth()
        return {
            i: max(
                min(before[i], after[i]) - reading.position,
                reading.position - max(before[i], after[i]),
                0,
            )
            for i, reading in found.items()
        }


@pytest.fixture(params=MAKERS)
def maker(request) -> str:
    """Both of them."""
    return request.param


@pytest.fixture
def bench():
    """Give what makes a bench of a maker, with faults."""

    def make(maker: str, faults: Faults | None = None) -> Bench:
        kind, station, servo = MAKERS[maker]
        clock = SimulatedClock()
        there = station([servo(identity, 600 * identity, clock=clock) for identity in IDS])
        port = Direct(there, clock, faults)
        bus = kind(port, timeout_s=0.005, patience_s=1.0, clock=clock)
        bus.open()
        return Bench(bus, there, port, clock)

    return make
