"""Registers of a servo's memory: where they are, and how their bytes are to be read.

All are little-endian. Negative numbers are two's complement at Dynamixel, and a sign bit beside
the size at Feetech, at another place for each register.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Register:
    """One register: ``sign_bit`` of one with sign and size, ``signed`` of two's complement."""

    address: int
    size: int
    initial: int = 0
    sign_bit: int | None = None
    signed: bool = False
    read_only: bool = False

    @property
    def end(self) -> int:
        """The address behind it."""
        return self.address + self.size

    def decode(self, data: bytes) -> int:
        """Give the number that ``size`` bytes stand for."""
        number = int.from_bytes(data, "little", signed=self.signed)
        if self.sign_bit is None or not number >> self.sign_bit & 1:
            return number
        return -(number & ~(1 << self.sign_bit))

    def encode(self, value: int) -> bytes:
        """Give the bytes of a number; OverflowError for one that does not fit."""
        if self.sign_bit is not None:
            if abs(value) >= 1 << self.sign_bit:
                raise OverflowError(f"{value} needs more than {self.sign_bit} bits")
            value = abs(value) | (value < 0) << self.sign_bit
        return int(value).to_bytes(self.size, "little", signed=self.signed)

    def within(self, block: bytes, start: int) -> int:
        """Give the number in a block of memory that was read from address ``start`` on."""
        return self.decode(block[self.address - start : self.end - start])
