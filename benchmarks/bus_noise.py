"""How often a damaged answer passes for a position, and what a second answer is worth.

Six emulated servos swing at full speed while packets of both directions are damaged. Prints one
JSON line per maker and kind of damage:

    python benchmarks/bus_noise.py [--rounds 5000] [--corrupted 0.05]

``one_answer``: positions from answers of the right servo, length and range whose checksum is right;
``two_answers``: those that ``ServoBus.confirmed`` gives. Of each ``given``, ``wrong`` (by more than
3 steps, a quarter of a degree, from where the servo was meanwhile) and ``worst`` (in steps).
``missing`` is what was not given although every servo was there. Time is simulated: it passes as
bytes do at 1 Mbaud.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

from robots.clocks import SimulatedClock
from robots.emulators import dynamixel, feetech
from robots.emulators.direct import Direct
from robots.emulators.faults import WAYS, Faults, Way, Wire
from robots.servos.bus import Reading, ServoBus
from robots.servos.dynamixel import DynamixelBus
from robots.servos.feetech import FeetechBus

IDS = list(range(1, 7))
MAKERS = {
    "feetech": (FeetechBus, feetech.FeetechStation, feetech.Servo),
    "dynamixel": (DynamixelBus, dynamixel.DynamixelStation, dynamixel.Servo),
}
KINDS: dict[str, tuple[Way, ...]] = {"all": WAYS, "bits turned over": ("turn",)}
NEAR = 3  # steps
SWING = 25  # rounds until they turn back
Ask = Callable[[Sequence[int]], dict[int, Reading]]


def main() -> None:
    """Measure both makers, and all damage or the one that a sum is worst at."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5000, help="of asking six servos")
    parser.add_argument("--corrupted", type=float, default=0.05, help="share of packets")
    arguments = parser.parse_args()
    for maker in MAKERS:
        for kind, ways in KINDS.items():
            faults = Faults(corrupted=arguments.corrupted, ways=ways, seed=1)
            print(json.dumps(measure(maker, kind, faults, arguments.rounds)), flush=True)


def measure(maker: str, kind: str, faults: Faults, rounds: int) -> dict[str, Any]:
    """Ask in both ways, in turn, and hold what comes against the truth."""
    bus, servos, wire = prepare(maker, faults)
    ways: dict[str, Ask] = {"one_answer": bus.read, "two_answers": bus.confirmed}
    found = {way: {"given": 0, "wrong": 0, "worst": 0, "missing": 0} for way in ways}
    for i in range(rounds):
        if i % SWING == 0:
            way = 300 if i % (2 * SWING) else -300
            bus.aim({identity: 600 * identity + way for identity in IDS})
        for name, ask in ways.items():
            count(found[name], servos, ask)
        if sys.stderr.isatty():
            print(f"\r{maker}, {kind}: {i + 1} of {rounds}", end="", file=sys.stderr)
    about = {"maker": maker, "damage": kind, "corrupted": faults.corrupted, "rounds": rounds}
    return about | {"damaged_packets": wire.damaged, "refused": bus.refused} | found


def prepare(maker: str, faults: Faults) -> tuple[ServoBus, list[Any], Wire]:
    """Give a bus with six servos that have torque, and its line, disturbed from now on."""
    kind, station, servo = MAKERS[maker]
    clock = SimulatedClock()
    there = station([servo(identity, 600 * identity, clock=clock) for identity in IDS])
    port = Direct(there, clock)
    bus = kind(port, timeout_s=0.005, patience_s=1.0, clock=clock)
    bus.open()
    for identity in IDS:
        bus.set(identity, "torque_enable", 1)
    port.wire = Wire(faults)
    return bus, there.servos, port.wire


def count(found: dict[str, int], servos: list[Any], ask: Ask) -> None:
    """Ask once, and count what is wrong with the answers."""
    before, readings, after = positions(servos), ask(IDS), positions(servos)
    found["missing"] += len(IDS) - len(readings)
    for identity, reading in readings.items():
        low, high = sorted((before[identity], after[identity]))
        off = max(low - reading.position, reading.position - high, 0)
        found["given"] += 1
        found["wrong"] += off > NEAR
        found["worst"] = max(found["worst"], off)


def positions(servos: list[Any]) -> dict[int, int]:
    """Give the true positions of this moment."""
    for servo in servos:
        servo.update()
    return {servo.identity: servo.present for servo in servos}


if __name__ == "__main__":
    main()
