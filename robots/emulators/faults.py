"""What goes wrong on a wire, drawn from a seed: damaged, lost and late packets, stray bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, get_args

import numpy as np
from annotated_types import MinLen

from robolearn.settings import Settings, Share

Way = Literal["turn", "replace", "lose", "add", "cut"]
WAYS: tuple[Way, ...] = get_args(Way)


@dataclass(frozen=True)
class Faults(Settings):
    """How often something happens to a packet."""

    corrupted: Share = 0.0
    """Of packets in either direction, damaged in one of these ways."""
    ways: Annotated[tuple[Way, ...], MinLen(1)] = WAYS
    """One to three bits turned over, up to four bytes replaced, one lost, one added, cut off."""
    lost: Share = 0.0
    """Of packets in either direction that never arrive."""
    noise: Share = 0.0
    """Of answers, before which stray bytes are heard."""
    late: Share = 0.0
    """Of answers that are heard only after the next instruction, when they are old."""
    seed: int = 0
    """Of all these draws."""


class Wire:
    """Carries packets, and does to them what the faults say; ``damaged`` counts what it spoilt."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.damaged = 0
        self._rng = np.random.default_rng(faults.seed)
        self._held: list[bytes] = []

    def to_servos(self, data: bytes) -> bytes:
        """Give what the servos hear of an instruction."""
        return self._carry(data)

    def to_host(self, packets: list[bytes]) -> bytes:
        """Give what the host hears, in place of the packets that the servos sent."""
        heard, self._held = self._held, []
        for packet in packets:
            carried = self._carry(packet)
            if self._happens(self.faults.noise):
                carried = self._rng.bytes(int(self._rng.integers(1, 5))) + carried
            late = self._happens(self.faults.late)
            (self._held if late else heard).append(carried)
        return b"".join(heard)

    def _carry(self, packet: bytes) -> bytes:
        if self._happens(self.faults.lost):
            self.damaged += 1
            return b""
        if self._happens(self.faults.corrupted):
            self.damaged += 1
            return corrupt(packet, self._rng, self.faults.ways)
        return packet

    def _happens(self, share: float) -> bool:
        return share > 0 and bool(self._rng.random() < share)


def corrupt(packet: bytes, rng: np.random.Generator, ways: Sequence[Way] = WAYS) -> bytes:
    """Damage a packet in one of these ways, so that it is another one afterwards."""
    while True:
        damaged = DAMAGE[ways[rng.integers(len(ways))]](packet, rng)
        if damaged != packet:
            return damaged


def turn_bits(packet: bytes, rng: np.random.Generator) -> bytes:
    """Turn over one to three bits at different places."""
    damaged = bytearray(packet)
    for bit in rng.choice(8 * len(packet), int(rng.integers(1, 4)), replace=False):
        damaged[bit // 8] ^= 1 << int(bit % 8)
    return bytes(damaged)


def replace_bytes(packet: bytes, rng: np.random.Generator) -> bytes:
    """Put random bytes in place of one to four that follow each other."""
    size = min(len(packet), int(rng.integers(1, 5)))
    start = int(rng.integers(len(packet) - size + 1))
    return packet[:start] + rng.bytes(size) + packet[start + size :]


def lose_byte(packet: bytes, rng: np.random.Generator) -> bytes:
    """Leave a byte out."""
    place = int(rng.integers(len(packet)))
    return packet[:place] + packet[place + 1 :]


def add_byte(packet: bytes, rng: np.random.Generator) -> bytes:
    """Put a random byte in between."""
    place = int(rng.integers(len(packet) + 1))
    return packet[:place] + rng.bytes(1) + packet[place:]


def cut_off(packet: bytes, rng: np.random.Generator) -> bytes:
    """Keep the beginning only."""
    return packet[: int(rng.integers(len(packet)))]


DAMAGE: dict[Way, Callable[[bytes, np.random.Generator], bytes]] = {
    "turn": turn_bits,
    "replace": replace_bytes,
    "lose": lose_byte,
    "add": add_byte,
    "cut": cut_off,
}
