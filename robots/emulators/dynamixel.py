"""A bus of Dynamixel X servos that are not there, byte by byte (protocol 2.0).

A packet is ``FF FF FD 00 id length instruction parameters crc``, the length and the CRC-16 of two
bytes each; behind every ``FF FF FD`` in the parameters another ``FD`` is stuffed. An answer is
instruction 0x55 and begins with an error: a number for what is wrong with the instruction, and the
highest bit while ``hardware_error_status`` is not 0.

As far as the maker does not say otherwise, the harsher of two behaviours is taken: a servo that is
asked together with others waits for those before it, and stays silent if one of them does.
Emulated are the position modes, with limited speed but not acceleration, the bus watchdog, a second
number, and all instructions but FACTORY_RESET, CLEAR and CONTROL_TABLE_BACKUP.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable, Iterator, Mapping

from robots.base import Clock
from robots.emulators.motor import Memory, Motor
from robots.servos import xseries

PING, READ, WRITE, REG_WRITE, ACTION, REBOOT, STATUS = 1, 2, 3, 4, 5, 8, 0x55
SYNC_READ, SYNC_WRITE, FAST_SYNC_READ = 0x82, 0x83, 0x8A
BULK_READ, BULK_WRITE, FAST_BULK_READ = 0x92, 0x93, 0x9A
BROADCAST = 0xFE
HEADER = b"\xff\xff\xfd"
STUFFED = HEADER + b"\xfd"
SHORTEST = 10  # bytes of a packet
MEMORY = 256
BAD_INSTRUCTION, BAD_CRC, BAD_RANGE, BAD_LENGTH, BAD_LIMIT, BAD_ACCESS = 2, 3, 4, 5, 6, 7
ALERT = 0x80
LAST_SHADOW = 252  # a larger secondary number is none
GOALS = frozenset(("goal_pwm", "goal_current", "goal_velocity", "goal_position"))


def crc16(data: bytes, start: int = 0) -> int:
    """Give the CRC of protocol 2.0: polynomial x^16 + x^15 + x^2 + 1, nothing turned round."""
    crc, table = start, _crc_table()
    for byte in data:
        crc = (crc << 8 ^ table[crc >> 8 ^ byte]) & 0xFFFF
    return crc


@functools.cache
def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte << 8
        for _ in range(8):
            crc = crc << 1 ^ 0x8005 if crc & 0x8000 else crc << 1
        table.append(crc & 0xFFFF)
    return tuple(table)


def packet(identity: int, kind: int, parameters: bytes = b"") -> bytes:
    """Give a packet, stuffed; ``kind`` is an instruction."""
    body = (bytes((kind,)) + parameters).replace(HEADER, STUFFED)
    whole = HEADER + bytes((0, identity)) + (len(body) + 2).to_bytes(2, "little") + body
    return whole + crc16(whole).to_bytes(2, "little")


class Servo:
    """One servo; ``motor`` is its mechanics, ``dropped`` makes it silent and powerless."""

    def __init__(
        self,
        identity: int,
        position: float = 2048,
        model: str = "xl330-m288",
        clock: Clock = time.monotonic,
    ) -> None:
        self.motor, self.model, self.clock = Motor(position), xseries.MODELS[model], clock
        self.dropped = False
        self.volts, self.celsius = 5.0 if model.startswith("xl330") else 12.0, 32
        self._saved = self._fresh_memory()
        for name, value in {"id": identity, "baud_rate": 3}.items():
            self._saved[name] = value
        self.lose_power()

    def _fresh_memory(self) -> Memory:
        memory = Memory(xseries.REGISTERS, MEMORY)
        for name, value in {"model_number": self.model.number, **self.model.initial}.items():
            memory[name] = value
        return memory

    def lose_power(self) -> None:
        """Begin anew from the EEPROM, without torque and errors; a reboot does the same."""
        self.memory = self._fresh_memory()
        self.memory.load(0, bytes(self._saved.bytes[: xseries.EEPROM_END]))
        for goal, limit in {"goal_pwm": "pwm_limit", "goal_current": "current_limit"}.items():
            self.memory[goal] = self.memory[limit]
        self._waiting: tuple[int, bytes] | None = None
        self._seen_s = self._spoken_to_s = self.clock()
        self._turns = round(self.motor.position) // xseries.STEPS_PER_TURN  # forgotten turns
        self.memory["goal_position"] = self.present

    @property
    def identity(self) -> int:
        """The number that it answers to."""
        return self.memory["id"]

    def shadows(self, identity: int) -> bool:
        """Whether it obeys what is said to another servo, by its secondary number; it is silent."""
        return identity == self.memory["secondary_id"] <= LAST_SHADOW and identity != self.identity

    @property
    def baud_rate(self) -> int:
        """The speed at which it listens."""
        return xseries.BAUD_RATES[self.memory["baud_rate"]]

    @property
    def _direction(self) -> int:
        return -1 if self.memory["drive_mode"] & 1 else 1

    @property
    def present(self) -> int:
        """The position that it reports."""
        raw = round(self.motor.position) - self._turns * xseries.STEPS_PER_TURN
        return self._direction * raw + self.memory["homing_offset"]

    def spoken_to(self) -> None:
        """Note that an instruction was heard, which the watchdog waits for."""
        self.update()
        self._spoken_to_s = self.clock()

    def update(self) -> None:
        """Let the time pass that has passed since the last call."""
        now_s = self.clock()
        memory, passed_s = self.memory, now_s - self._seen_s
        begun_s, self._seen_s = self._seen_s, now_s
        watchdog = memory["bus_watchdog"]
        if 0 < watchdog < xseries.WATCHDOG_FIRED and memory["torque_enable"]:
            end_s = self._spoken_to_s + watchdog * xseries.WATCHDOG_UNIT_S
            if now_s > end_s:
                self.motor.turn(self._goal(), self._speed(), end_s - begun_s, end_s)
                memory["bus_watchdog"] = xseries.WATCHDOG_FIRED
                passed_s = now_s - max(end_s, begun_s)
        self.motor.turn(self._goal(), self._speed(), passed_s, now_s)
        memory["hardware_error_status"] = self._errors()
        if self._errors() & memory["shutdown"]:
            memory["torque_enable"] = 0

    def _show(self) -> None:
        """Write into its memory what it measures."""
        memory = self.memory
        velocity = round(self._direction * self.motor.velocity / xseries.STEPS_PER_VELOCITY)
        shown = {
            "present_position": self.present,
            "present_velocity": velocity,
            "present_current": round(self._direction * self.motor.load * memory["current_limit"]),
            "present_pwm": round(self._direction * self.motor.load * memory["pwm_limit"]),
            "present_input_voltage": round(10 * self.volts),
            "present_temperature": self.celsius,
            "position_trajectory": self.present,
            "moving": int(abs(velocity) >= memory["moving_threshold"]),
            "realtime_tick": int(1000 * self._seen_s) % 32768,
            "registered_instruction": int(self._waiting is not None),
        }
        for name, value in shown.items():
            memory[name] = value

    def _errors(self) -> int:
        """Give the hardware errors; but for the voltage they stay until a reboot."""
        memory = self.memory
        errors = memory["hardware_error_status"] & ~xseries.VOLTAGE
        low, high = memory["min_voltage_limit"] / 10, memory["max_voltage_limit"] / 10
        errors |= 0 if low <= self.volts <= high else xseries.VOLTAGE
        return errors | (xseries.HEAT if self.celsius > memory["temperature_limit"] else 0)

    def overload(self) -> None:
        """Have it notice an overload, as after seconds of pushing against something."""
        self.memory["hardware_error_status"] |= xseries.OVERLOAD
        self.update()

    def _goal(self) -> float | None:
        """Give where its motor wants to go; None without torque."""
        memory = self.memory
        if self.dropped or not memory["torque_enable"]:
            return None
        if memory["bus_watchdog"] == xseries.WATCHDOG_FIRED:
            return self.motor.position
        way = memory["goal_position"] - self.present
        return round(self.motor.position) + self._direction * way

    def _speed(self) -> float:
        wanted = self.memory["profile_velocity"] or self.memory["velocity_limit"]
        return min(wanted, self.memory["velocity_limit"]) * xseries.STEPS_PER_VELOCITY

    def read(self, address: int, size: int) -> bytes:
        """Give bytes of its memory."""
        self.update()
        self._show()
        return bytes(self.memory.bytes[address : address + size]).ljust(size, b"\0")

    def write(self, address: int, data: bytes) -> int:
        """Change its memory; give the number of the error, 0 for none."""
        self.update()
        memory, end = self.memory, address + len(data)
        touched = memory.touched(address, len(data))
        saved = address < xseries.EEPROM_END
        if memory.read_only(address, len(data)) or (saved and memory["torque_enable"]):
            return BAD_ACCESS
        if memory["bus_watchdog"] == xseries.WATCHDOG_FIRED and not GOALS.isdisjoint(touched):
            return BAD_RANGE
        for name in touched:
            register = xseries.REGISTERS[name]
            if register.address < address or end < register.end:
                return BAD_LENGTH
            value = register.decode(data[register.address - address :][: register.size])
            if name == "goal_position" and not self._allows(value):
                return BAD_LIMIT
        memory.load(address, data)
        if saved:
            self._saved.load(address, data)
        return 0

    def _allows(self, goal: int) -> bool:
        memory = self.memory
        if memory["operating_mode"] != xseries.POSITION:
            return abs(goal) <= 1_048_575
        return memory["min_position_limit"] <= goal <= memory["max_position_limit"]

    def keep(self, address: int, data: bytes) -> None:
        """Keep what REG_WRITE says until ACTION comes."""
        self._waiting = (address, data)

    def act(self) -> None:
        """Do what was kept."""
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            self.write(*waiting)

    def error_byte(self, error: int = 0) -> int:
        """Give an answer's error: a number, and the alert."""
        return error | (ALERT if self.memory["hardware_error_status"] else 0)

    def answer(self, parameters: bytes = b"", error: int = 0) -> bytes:
        """Give its answer."""
        return packet(self.identity, STATUS, bytes((self.error_byte(error),)) + parameters)


class DynamixelStation:
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
            identity, body, sound = found
            if sound:
                answers += self._obey(identity, body[0], body[1:], listening)
            elif identity in listening:
                answers.append(listening[identity].answer(error=BAD_CRC))
        return answers

    def _next(self) -> tuple[int, bytes, bool] | None:
        """Take the next packet out of what was heard: id, unstuffed body, whether it is sound."""
        while True:
            start = self._heard.find(HEADER + b"\0")
            if start < 0:
                self._heard = self._heard[-3:]
                return None
            self._heard = self._heard[start:]
            end = 7 + int.from_bytes(self._heard[5:7], "little")
            if len(self._heard) < SHORTEST or len(self._heard) < end:
                return None
            if end < SHORTEST:
                self._heard = self._heard[1:]
                continue
            found, self._heard = self._heard[:end], self._heard[end:]
            sound = crc16(found[:-2]) == int.from_bytes(found[-2:], "little")
            return found[4], found[7:-2].replace(STUFFED, HEADER), sound

    def _obey(
        self, identity: int, instruction: int, parameters: bytes, listening: Mapping[int, Servo]
    ) -> list[bytes]:
        for servo in listening.values():
            servo.spoken_to()
        if identity == BROADCAST:
            return self._obey_all(instruction, parameters, listening)
        if instruction in (WRITE, REG_WRITE, ACTION, REBOOT):
            for shadow in _shadows(identity, listening):
                if instruction in (ACTION, REBOOT) or _address(parameters) >= xseries.EEPROM_END:
                    _do(shadow, instruction, parameters)
        if identity not in listening:
            return []
        servo = listening[identity]
        if instruction == PING:
            number = servo.model.number.to_bytes(2, "little")
            return [servo.answer(number + bytes((servo.memory["firmware_version"],)))]
        if instruction == READ:
            answers = [servo.answer(servo.read(*words(parameters[:4])))]
            return answers if servo.memory["status_return_level"] else []
        error = _do(servo, instruction, parameters)
        return [servo.answer(error=error)] if servo.memory["status_return_level"] == 2 else []

    def _obey_all(
        self, instruction: int, parameters: bytes, listening: Mapping[int, Servo]
    ) -> list[bytes]:
        if instruction == PING:
            return [
                answer
                for identity in sorted(listening)
                for answer in self._obey(identity, PING, b"", listening)
            ]
        if instruction == ACTION:
            for servo in listening.values():
                servo.act()
        elif instruction in (SYNC_WRITE, BULK_WRITE):
            entries = list(writes(instruction, parameters))
            meant = {identity for identity, _, _ in entries}
            for identity, address, data in entries:
                for shadow in _shadows(identity, listening):
                    if shadow.identity not in meant and address >= xseries.EEPROM_END:
                        shadow.write(address, data)
                if identity in listening:
                    listening[identity].write(address, data)
        elif instruction in (SYNC_READ, BULK_READ, FAST_SYNC_READ, FAST_BULK_READ):
            asked = reads(instruction, parameters)
            if instruction in (FAST_SYNC_READ, FAST_BULK_READ):
                return self._answer_as_one(asked, listening)
            return self._answer_in_turn(asked, listening)
        return []

    def _answer_in_turn(
        self, asked: Iterable[tuple[int, int, int]], listening: Mapping[int, Servo]
    ) -> list[bytes]:
        answers = []
        for identity, address, size in asked:
            if identity not in listening:
                break
            answers.append(listening[identity].answer(listening[identity].read(address, size)))
        return answers

    def _answer_as_one(
        self, asked: list[tuple[int, int, int]], listening: Mapping[int, Servo]
    ) -> list[bytes]:
        """Give the one packet to which every servo adds its part; nothing is stuffed in it."""
        length = 1 + sum(size + 4 for _, _, size in asked)
        whole = HEADER + bytes((0, BROADCAST)) + length.to_bytes(2, "little") + bytes((STATUS,))
        for identity, address, size in asked:
            if identity not in listening:
                break
            servo = listening[identity]
            data = servo.read(address, size)
            whole += bytes((servo.error_byte(), identity)) + data
            whole += crc16(whole).to_bytes(2, "little")
        return [whole]


def _shadows(identity: int, listening: Mapping[int, Servo]) -> list[Servo]:
    """Give the servos that obey what is said to one, beside that one."""
    return [servo for servo in listening.values() if servo.shadows(identity)]


def _do(servo: Servo, instruction: int, parameters: bytes) -> int:
    """Have a servo do what it is told; give the number of the error, 0 for none."""
    if instruction == WRITE:
        return servo.write(_address(parameters), parameters[2:])
    if instruction == REG_WRITE:
        servo.keep(_address(parameters), parameters[2:])
    elif instruction == ACTION:
        servo.act()
    elif instruction == REBOOT:
        servo.lose_power()
    else:
        return BAD_INSTRUCTION
    return 0


def _address(parameters: bytes) -> int:
    """Give where in its memory a servo is to write; 0 if that is not said."""
    return words(parameters[:2])[0] if len(parameters) >= 2 else 0


def words(data: bytes) -> tuple[int, ...]:
    """Give the numbers of two bytes each."""
    return tuple(int.from_bytes(data[i : i + 2], "little") for i in range(0, len(data) - 1, 2))


def reads(instruction: int, parameters: bytes) -> list[tuple[int, int, int]]:
    """Give what a SYNC_READ or BULK_READ asks for: id, address, size."""
    if instruction in (SYNC_READ, FAST_SYNC_READ):
        address, size = words(parameters[:4])
        return [(identity, address, size) for identity in parameters[4:]]
    return [
        (parameters[i], *words(parameters[i + 1 : i + 5])) for i in range(0, len(parameters) - 4, 5)
    ]


def writes(instruction: int, parameters: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Give what a SYNC_WRITE or BULK_WRITE wants: id, address, data."""
    if instruction == SYNC_WRITE:
        address, size = words(parameters[:4])
        for i in range(4, len(parameters) - size, size + 1):
            yield parameters[i], address, parameters[i + 1 : i + 1 + size]
        return
    i = 0
    while i + 5 <= len(parameters):
        address, size = words(parameters[i + 1 : i + 5])
        yield parameters[i], address, parameters[i + 5 : i + 5 + size]
        i += 5 + size
