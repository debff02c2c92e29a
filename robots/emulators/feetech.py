"""A bus of STS3215 servos that are not there, byte by byte (Feetech's SCS protocol, STS memory).

A packet is ``FF FF id length instruction parameters checksum``; an answer has the servo's alarms in
place of the instruction. The checksum is the inverted sum of the bytes behind the header: 8 bits,
which many a damaged packet passes. A packet with a wrong one is not answered.

As far as the maker does not say otherwise, the harsher of two behaviours is taken: a servo that is
asked by SYNC_READ waits for those before it, and stays silent if one of them does; a goal position
gives torque by itself; torque without a new goal goes to the old one. Other operating modes than
position, and limited acceleration, are not emulated.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from robots.base import Clock
from robots.emulators.motor import Memory, Motor
from robots.servos import sts3215 as sts

PING, READ, WRITE, REG_WRITE, ACTION, SYNC_READ, SYNC_WRITE = 1, 2, 3, 4, 5, 0x82, 0x83
BROADCAST = 0xFE
HEADER = b"\xff\xff"
SHORTEST = 6  # bytes of a packet
MEMORY = 128


def packet(identity: int, kind: int, parameters: bytes = b"") -> bytes:
    """Give a packet; ``kind`` is an instruction, or an answer's alarms."""
    body = bytes((identity, len(parameters) + 2, kind)) + parameters
    return HEADER + body + bytes((checksum(body),))


def checksum(body: bytes) -> int:
    """Give the checksum of the bytes between the header and itself."""
    return ~sum(body) & 0xFF


class Servo:
    """One servo; ``motor`` is its mechanics, ``dropped`` makes it silent and powerless."""

    def __init__(
        self, identity: int, position: float = 2048, clock: Clock = time.monotonic
    ) -> None:
        self.motor = Motor(position)
        self.clock = clock
        self.dropped = False
        self.volts, self.celsius = 7.4, 30
        self._saved = Memory(sts.REGISTERS, MEMORY)  # what a loss of power leaves: the EEPROM
        self._saved["id"] = identity
        self.lose_power()

    def lose_power(self) -> None:
        """Begin anew from what was saved, without torque."""
        self.memory = Memory(sts.REGISTERS, MEMORY)
        self.memory.load(0, bytes(self._saved.bytes[: sts.EEPROM_END]))
        self._waiting: tuple[int, bytes] | None = None
        self._seen_s = self.clock()
        self._strained_s = 0.0  # how long it has been overloaded
        self._overloaded = False
        self.memory["goal_position"] = self.present

    @property
    def identity(self) -> int:
        """The number that it answers to."""
        return self.memory["id"]

    @property
    def baud_rate(self) -> int:
        """The speed at which it listens."""
        return sts.BAUD_RATES[self.memory["baud_rate"]]

    @property
    def present(self) -> int:
        """The position that it reports: within one turn, and its offset taken away."""
        raw = round(self.motor.position)
        return (raw - self.memory["homing_offset"]) % sts.STEPS_PER_TURN

    def update(self) -> None:
        """Let the time pass that has passed since the last call."""
        now_s = self.clock()
        passed_s, self._seen_s = now_s - self._seen_s, now_s
        if passed_s > 0:
            self.motor.turn(self._goal(), self._speed(), passed_s, now_s)
            self._strain(passed_s)

    def _show(self) -> None:
        """Write into its memory what it measures."""
        memory = self.memory
        memory["present_position"] = self.present
        memory["present_velocity"] = round(self.motor.velocity)
        memory["present_load"] = round(1000 * self.motor.load)
        memory["present_voltage"] = round(10 * self.volts)
        memory["present_temperature"] = self.celsius
        memory["moving"] = int(self.motor.velocity != 0)
        memory["registered"] = int(self._waiting is not None)
        memory["status"] = self._alarms()

    def _goal(self) -> float | None:
        """Give where its motor wants to go; None without torque."""
        memory = self.memory
        silenced = self._alarms() & memory["unloading_condition"]
        if self.dropped or memory["torque_enable"] != 1 or silenced or not memory["torque_limit"]:
            return None
        goal, low, high = (
            memory[name] for name in ("goal_position", "min_position_limit", "max_position_limit")
        )
        if low or high:
            goal = min(max(goal, low), high)
        return round(self.motor.position) + goal - self.present

    def _speed(self) -> float:
        wanted = abs(self.memory["goal_velocity"])
        return min(wanted, sts.SPEED_LIMIT) if wanted else sts.SPEED_LIMIT

    def _strain(self, passed_s: float) -> None:
        memory = self.memory
        strained = abs(self.motor.load) * 100 >= memory["overload_torque"]
        self._strained_s = self._strained_s + passed_s if strained else 0.0
        self._overloaded |= self._strained_s > memory["protection_time"] / 100

    def _alarms(self) -> int:
        memory = self.memory
        low, high = memory["min_voltage_limit"] / 10, memory["max_voltage_limit"] / 10
        alarms = 0 if low <= self.volts <= high else sts.VOLTAGE
        alarms |= sts.HEAT if self.celsius > memory["max_temperature_limit"] else 0
        return alarms | (sts.OVERLOAD if self._overloaded else 0)

    def read(self, address: int, size: int) -> bytes:
        """Give bytes of its memory."""
        self.update()
        self._show()
        return bytes(self.memory.bytes[address : address + size])

    def write(self, address: int, data: bytes) -> None:
        """Change its memory; what cannot be written stays."""
        self.update()
        for place, value in enumerate(data, address):
            if place < MEMORY and not self.memory.read_only(place, 1):
                self.memory.load(place, bytes((value,)))
                if place < sts.EEPROM_END and not self.memory["lock"]:
                    self._saved.load(place, bytes((value,)))
        written = range(address, address + len(data))
        if self.memory["torque_enable"] == sts.CENTRE_HERE:
            self._centre()
        elif sts.REGISTERS["goal_position"].address in written:
            self.memory["torque_enable"] = 1
        if not self.memory["torque_enable"]:
            self._strained_s, self._overloaded = 0.0, False  # letting go clears it

    def _centre(self) -> None:
        offset = (round(self.motor.position) - 2048 + 2048) % sts.STEPS_PER_TURN - 2048
        self.memory["homing_offset"] = self._saved["homing_offset"] = max(offset, -2047)
        self.memory["torque_enable"] = 0

    def keep(self, address: int, data: bytes) -> None:
        """Keep what REG_WRITE says until ACTION comes."""
        self._waiting = (address, data)

    def act(self) -> None:
        """Do what was kept."""
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            self.write(*waiting)

    def answer(self, parameters: bytes = b"") -> bytes:
        """Give its answer."""
        return packet(self.identity, self._alarms(), parameters)


class FeetechStation:
    """Servos on one line; they may be dropped, lose power and be changed while it runs."""

    def __init__(self, servos: Iterable[Servo]) -> None:
        self.servos = list(servos)
        self._heard = b""

    def __getitem__(self, identity: int) -> Servo:
        return next(servo for servo in self.servos if servo.identity == identity)

    def gap(self) -> None:
        """Forget an unfinished packet."""
        self._heard = b""

    def hear(self, data: bytes, baud_rate: int | None) -> list[bytes]:
        """Give the answers to what was heard."""
        self._heard += data
        listening = {
            servo.identity: servo
            for servo in self.servos
            if not servo.dropped and baud_rate in (None, servo.baud_rate)
        }
        answers: list[bytes] = []
        while (found := self._next()) is not None:
            answers += self._obey(found, listening)
        return answers

    def _next(self) -> bytes | None:
        """Take the next sound packet out of what was heard; None if none is complete."""
        while True:
            start = self._heard.find(HEADER)
            if start < 0:
                self._heard = self._heard[-1:]
                return None
            self._heard = self._heard[start:]
            if len(self._heard) < SHORTEST or len(self._heard) < self._heard[3] + 4:
                return None
            end = self._heard[3] + 4
            candidate = self._heard[:end]
            sound = end >= SHORTEST and checksum(candidate[2:-1]) == candidate[-1]
            self._heard = self._heard[end if sound else 1 :]
            if sound:
                return candidate

    def _obey(self, found: bytes, listening: Mapping[int, Servo]) -> list[bytes]:
        identity, instruction, parameters = found[2], found[4], found[5:-1]
        if identity == BROADCAST:
            return self._obey_all(instruction, parameters, listening)
        if identity not in listening:
            return []
        servo = listening[identity]
        servo.update()
        if instruction == PING:
            return [servo.answer()]
        if instruction == READ and len(parameters) == 2:
            return [servo.answer(servo.read(*parameters))]
        if instruction == WRITE and parameters:
            servo.write(parameters[0], parameters[1:])
        elif instruction == REG_WRITE and parameters:
            servo.keep(parameters[0], parameters[1:])
        elif instruction == ACTION:
            servo.act()
        else:
            return []
        return [servo.answer()] if servo.memory["response_status_level"] else []

    def _obey_all(
        self, instruction: int, parameters: bytes, listening: Mapping[int, Servo]
    ) -> list[bytes]:
        if instruction == PING:
            return [servo.answer() for servo in listening.values()]
        if instruction == ACTION:
            for servo in listening.values():
                servo.act()
        elif instruction == WRITE and parameters:
            for servo in listening.values():
                servo.write(parameters[0], parameters[1:])
        elif instruction == SYNC_WRITE and len(parameters) > 2:
            address, size = parameters[:2]
            for start in range(2, len(parameters) - size, size + 1):
                if parameters[start] in listening:
                    data = parameters[start + 1 : start + 1 + size]
                    listening[parameters[start]].write(address, data)
        elif instruction == SYNC_READ and len(parameters) > 2:
            return self._read_all(parameters, listening)
        return []

    def _read_all(self, parameters: bytes, listening: Mapping[int, Servo]) -> list[bytes]:
        answers = []
        for identity in parameters[2:]:
            if identity not in listening:
                break
            answers.append(listening[identity].answer(listening[identity].read(*parameters[:2])))
        return answers
