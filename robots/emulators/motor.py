"""The mechanics of an emulated servo, and its memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from robots.servos.registers import Register


@dataclass
class Motor:
    """A shaft that moves at a limited speed, in steps of its encoder, and not beyond its stops."""

    position: float
    lowest: float = -1e9
    highest: float = 1e9
    blocked: bool = False
    hand: Callable[[float], float] | None = None
    """Where somebody's hand has it at a time, as long as it has no torque."""
    partner: Motor | None = None
    """One that turns the same joint, from the other side; without torque either goes where the
    other is."""
    leads: bool = True  # whether a hand that moves the joint is said to this one
    driven: bool = False  # whether it has torque
    velocity: float = 0.0  # steps/s, over the last time that passed
    load: float = 0.0  # share of the torque, signed

    def couple(self, other: Motor) -> None:
        """Have another one turn the same joint, from the other side; hands move this one."""
        self.partner, other.partner, other.leads = other, self, False
        self._sum = other._sum = self.position + other.position

    def turn(self, goal: float | None, speed: float, passed_s: float, now_s: float) -> None:
        """Let time pass with a goal, or None without torque: then it stays, or a hand moves it."""
        if passed_s <= 0:
            return
        before, self.driven = self.position, goal is not None
        if goal is None and self.hand is not None:
            goal, speed = self.hand(now_s), math.inf
        elif goal is None and self.partner is not None and (self.partner.driven or not self.leads):
            goal, speed = self._sum - self.partner.position, math.inf
        wanted = self.position if goal is None else goal
        if not self.blocked:
            way = min(max(wanted - before, -speed * passed_s), speed * passed_s)
            self.position = min(max(before + way, self.lowest), self.highest)
        self.velocity = (self.position - before) / passed_s
        left = wanted - self.position
        stuck = abs(left) > 1 and self.velocity == 0 and speed > 0
        self.load = math.copysign(1.0, left) if stuck else 0.3 * self.velocity / max(speed, 1.0)


class Memory:
    """A servo's bytes, and its registers by name, which are the same numbers."""

    def __init__(self, registers: Mapping[str, Register], size: int) -> None:
        self.registers, self.bytes = registers, bytearray(size)
        self._values: dict[str, int] = {}
        for name, register in registers.items():
            self[name] = register.initial
        self._fixed = {
            address
            for register in registers.values()
            if register.read_only
            for address in range(register.address, register.end)
        }

    def __getitem__(self, name: str) -> int:
        return self._values[name]

    def __setitem__(self, name: str, value: int) -> None:
        if self._values.get(name) != value:
            register = self.registers[name]
            self.bytes[register.address : register.end] = register.encode(value)
            self._values[name] = value

    def load(self, address: int, data: bytes) -> None:
        """Change bytes, and the registers that they are in."""
        self.bytes[address : address + len(data)] = data
        for name in self.touched(address, len(data)):
            register = self.registers[name]
            self._values[name] = register.decode(self.bytes[register.address : register.end])

    def touched(self, address: int, size: int) -> list[str]:
        """Name the registers that these bytes are in."""
        return [
            name
            for name, register in self.registers.items()
            if register.address < address + size and address < register.end
        ]

    def read_only(self, address: int, size: int) -> bool:
        """Whether any of these bytes cannot be written."""
        return not self._fixed.isdisjoint(range(address, address + size))
