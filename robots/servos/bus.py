"""Exchanges with several servos on one serial port, through their maker's package.

What comes back is checked for all that its maker's package leaves open: that it is an answer to
this question (older bytes are thrown away first), from this servo, of this length and in range. A
checksum alone does not do: Feetech's 8 bits pass one of some thirty packets with two bits turned
over. So a position counts only when two answers agree, as ``confirmed`` has it.
"""

from __future__ import annotations

import contextlib
import importlib
import termios
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any, ClassVar, Protocol

from robots.base import BusError, Clock, LostError, RobotError
from robots.servos.registers import Register

TRIES = 5  # of an exchange, before it has failed
SILENT = 4  # exchanges in a row without an answer, after which a servo is not asked any more
SLACK_STEPS = 2  # by which two answers about a servo at rest may differ
DISCARDED = 256  # bytes at a time, of what came unasked
SLACK_SPEED = 200.0  # steps/s by which the speed that it tells may be wrong,
SLACK_SHARE = 0.5  # and as a share of it


class DirectPort(Protocol):
    """A serial port without a terminal, as far as the makers' packages use one."""

    in_waiting: int

    def read(self, size: int) -> bytes: ...

    def write(self, data: Sequence[int]) -> int: ...

    def flush(self) -> None: ...

    def reset_input_buffer(self) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Reading:
    """What one answer says about a servo, in its own steps."""

    position: int
    velocity: float  # steps/s
    asked_s: float
    heard_s: float
    goal: int | None = None  # None: not in this answer
    torque: bool | None = None
    alarms: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """What one servo answered: bytes of its memory, and what it complains of."""

    data: bytes
    error: int
    asked_s: float
    heard_s: float


class ServoBus:
    """What both makers' buses have in common; subclasses say how their packages are called."""

    package: ClassVar[str]  # as pip knows it
    module: ClassVar[str]
    extra: ClassVar[str]  # of ours, that installs it
    registers: ClassVar[Mapping[str, Register]]
    moving: ClassVar[tuple[str, str]]  # first and last register of a short answer
    whole: ClassVar[tuple[str, str]]  # of one that says goal and torque too
    eeprom_end: ClassVar[int]
    steps_per_turn: ClassVar[int] = 4096
    top_speed: ClassVar[float] = 8000.0  # steps/s, which no servo reaches

    def __init__(
        self,
        port: str | DirectPort,
        baud_rate: int = 1_000_000,
        timeout_s: float = 0.02,
        patience_s: float = 0.1,
        clock: Clock = time.monotonic,
    ) -> None:
        """Prepare for a port; an answer has ``timeout_s``, positions of all ``patience_s``."""
        self._direct = None if isinstance(port, str) else port
        self.port = port if isinstance(port, str) else "a direct port"
        self.baud_rate, self.timeout_s = baud_rate, timeout_s
        self.patience_s, self.clock = patience_s, clock
        self.refused = 0  # sound answers that no other one agreed with
        self._sdk: Any = None
        self._handler: Any = None
        self._packets: Any = None

    def open(self) -> None:
        """Open the port for this program alone; RobotError that says what to do if it cannot be."""
        self._sdk = package(self.module, self.package, self.extra)
        self._packets = self._make_packets()
        self._handler = self._sdk.PortHandler(self.port)
        if self._direct is not None:
            self._handler.ser = self._direct
            self._handler.getCurrentTime = lambda: 1000 * self.clock()
            return
        try:
            opened = self._handler.setBaudRate(self.baud_rate)
            if opened:
                self._handler.ser.exclusive = True
                self._handler.ser.timeout = self.timeout_s / 8  # else it spins until bytes come
        except OSError as error:
            raise RobotError(f"{self.port}: {_why_not(error, self.port)}") from None
        if not opened:
            raise RobotError(f"{self.port}: {self.baud_rate} baud is not one that servos know")

    def close(self) -> None:
        """Close it; calling it again, or when it is lost, does nothing."""
        handler, self._handler = self._handler, None
        if handler is not None and handler.ser is not None:
            with contextlib.suppress(OSError, termios.error):
                handler.closePort()

    def models(self, ids: Iterable[int]) -> dict[int, int]:
        """Give the model number of every servo that answers."""
        found = {}
        for identity in ids:
            with contextlib.suppress(BusError):
                found[identity] = self.get(identity, "model_number")
        return found

    def get(self, identity: int, name: str) -> int:
        """Read a register; BusError if no two answers are the same."""
        register = self.registers[name]
        return register.decode(self._same_twice(identity, register.address, register.size, name))

    def _same_twice(self, identity: int, address: int, size: int, what: str) -> bytes:
        """Read bytes of memory until two answers are the same; BusError if none are."""
        seen, silent = set[bytes](), 0
        while silent < SILENT and len(seen) < TRIES:
            answer = self._ask([identity], address, size).get(identity)
            silent = 0 if answer is not None else silent + 1
            if answer is not None:
                if answer.data in seen:
                    return answer.data
                seen.add(answer.data)
        raise BusError(f"{self.port}: servo {identity} does not say its {what}")

    def set(self, identity: int, name: str, value: int) -> None:
        """Write a register and read it back; BusError if it does not become so."""
        register, silent = self.registers[name], 0
        for _ in range(TRIES):
            self._put(identity, register.address, register.encode(value))
            try:
                if self.get(identity, name) == value:
                    return
            except BusError:
                silent += 1
            if silent == 2:
                break
        raise BusError(f"{self.port}: servo {identity} does not take {name} = {value}")

    def aim(self, goals: Mapping[int, int]) -> None:
        """Send goal positions [steps] to servos by id, all at once; nobody answers to that."""
        register = self.registers["goal_position"]
        data = {identity: register.encode(goal) for identity, goal in goals.items()}
        with self._connection():
            self._put_all(register, data)

    def ensure(self, identity: int, settings: Mapping[str, int]) -> None:
        """Write the settings in the EEPROM that are not so already."""
        stored = self._same_twice(identity, 0, self.eeprom_end, "settings")
        wrong = {
            name: value
            for name, value in settings.items()
            if self.registers[name].within(stored, 0) != value
        }
        if wrong:
            self.unlock(identity)
        for name, value in wrong.items():
            self.set(identity, name, value)
        if wrong:
            self.lock(identity)

    def ready(self, ids: Iterable[int]) -> None:
        """Have servos take goals again that had stopped by themselves."""

    def rests(self, identity: int) -> bool:
        """Say whether a servo has stopped by itself and holds."""
        return False

    def enable(self, ids: Iterable[int]) -> None:
        """Give torque; the goals must be where the servos are."""
        for identity in ids:
            self.set(identity, "torque_enable", 1)

    def disable(self, ids: Iterable[int]) -> None:
        """Take the torque away from all, also if one does not answer; BusError then."""
        errors = []
        for identity in ids:
            try:
                self.set(identity, "torque_enable", 0)
            except BusError as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def reason(self, identity: int) -> str:
        """Say why a servo does not take goals; "" if it does."""
        if self.get(identity, "torque_enable") == 1:
            return ""
        return "has let go, as after a loss of power"

    def unlock(self, identity: int) -> None:
        """Make its EEPROM writable."""
        raise NotImplementedError

    def lock(self, identity: int) -> None:
        """Protect its EEPROM again, where that is done by hand."""

    def centring_offset(self, offset: int, position: int) -> int:
        """Give the homing offset with which ``position``, read with ``offset``, reads 2048."""
        raise NotImplementedError

    def read(self, ids: Sequence[int], whole: bool = False) -> dict[int, Reading]:
        """Ask servos once; give what the sound answers say, which may be none."""
        first, last = self.whole if whole else self.moving
        start, end = self.registers[first].address, self.registers[last].end
        answers = self._ask(ids, start, end - start)
        found = {identity: self._understand(a, start, whole) for identity, a in answers.items()}
        return {identity: reading for identity, reading in found.items() if reading is not None}

    def confirmed(self, ids: Sequence[int]) -> dict[int, Reading]:
        """Give positions on which two answers agree: the newer one, with goal and torque.

        Servos of which nothing trustworthy came in time are left out.
        """
        end_s = self.clock() + self.patience_s
        earlier: dict[int, Reading] = {}
        about: dict[int, Reading] = {}  # the newest that says goal and torque
        found: dict[int, Reading] = {}
        for attempt in range(2 * TRIES):
            asked = [identity for identity in ids if identity not in found]
            whole = any(identity not in about for identity in asked)
            alone = attempt > 2  # a silent servo may have silenced those behind it
            for group in [[identity] for identity in asked] if alone else [asked]:
                for identity, reading in self.read(group, whole).items():
                    about.update({identity: reading} if whole else {})
                    before, earlier[identity] = earlier.get(identity), reading
                    if before is not None and identity in about:
                        if agree(before, reading, self.top_speed):
                            found[identity] = _with(before, reading, about[identity])
                        else:
                            self.refused += 1
            if len(found) == len(ids) or self.clock() > end_s:
                break
        return found

    def _ask(self, ids: Sequence[int], address: int, size: int) -> dict[int, Answer]:
        """Ask for bytes of memory; give the answers of right id and length."""
        with self._connection():
            self._discard()
            asked_s = self.clock()
            if not self._send_question(ids, address, size):
                return {}
            self._handler.setPacketTimeoutMillis(1000 * self.timeout_s)
            answers = {}
            for identity in ids:
                data, result, error = self._packets.readRx(self._handler, identity, size)
                if result == self._sdk.COMM_SUCCESS and len(data) == size:
                    answers[identity] = Answer(bytes(data), error, asked_s, self.clock())
                elif result == self._sdk.COMM_RX_TIMEOUT:
                    break
            return answers

    def _discard(self) -> None:
        """Throw away what came unasked, until it is quiet."""
        serial = self._handler.ser
        while serial.in_waiting:
            while serial.read(DISCARDED):
                pass

    @contextlib.contextmanager
    def _connection(self) -> Iterator[None]:
        """Turn what a lost port raises into LostError."""
        if self._handler is None:
            raise LostError(f"{self.port}: it is closed")
        try:
            yield
        except (OSError, termios.error) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise LostError(f"{self.port}: unplugged? ({reason})") from None

    def _make_packets(self) -> Any:
        raise NotImplementedError

    def _send_question(self, ids: Sequence[int], address: int, size: int) -> bool:
        """Send what asks one servo or several for bytes of memory; whether it was sent."""
        raise NotImplementedError

    def _put(self, identity: int, address: int, data: bytes) -> None:
        """Write bytes of one servo's memory; what it answers is not waited for in vain."""
        with self._connection():
            self._discard()
            self._packets.writeTxRx(self._handler, identity, address, len(data), list(data))

    def _put_all(self, register: Register, data: Mapping[int, bytes]) -> None:
        """Write one register of several servos at once."""
        raise NotImplementedError

    def _understand(self, answer: Answer, start: int, whole: bool) -> Reading | None:
        """Read an answer's bytes; None for what no servo can mean."""
        raise NotImplementedError


def agree(earlier: Reading, later: Reading, top_speed: float) -> bool:
    """Whether both can be true: the way between is one that the servo can have gone in the time.

    Both answers speak of its speed, which may be wrong by half of it and has a little to spare.
    """
    shortest_s = max(0.0, later.asked_s - earlier.heard_s)
    longest_s = later.heard_s - earlier.asked_s
    speeds = (earlier.velocity, later.velocity)
    spare = SLACK_SPEED + SLACK_SHARE * max(map(abs, speeds))
    slowest, fastest = max(min(speeds) - spare, -top_speed), min(max(speeds) + spare, top_speed)
    low = min(slowest * shortest_s, slowest * longest_s) - SLACK_STEPS
    high = max(fastest * shortest_s, fastest * longest_s) + SLACK_STEPS
    return low <= later.position - earlier.position <= high


def package(module: str, name: str, extra: str) -> ModuleType:
    """Import a maker's package; RobotError that says how to install it if it is not there."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise RobotError(
            f"this needs the package {name}: pip install {name}, or 'robolearn[{extra}]'"
        ) from None


def ports() -> dict[str, str]:
    """Give the serial ports of this computer, and what is said to be at them."""
    listed: Callable[[], Any] = package("serial.tools.list_ports", "pyserial", "feetech").comports
    return {port.device: port.description for port in sorted(listed())}


def _with(earlier: Reading, later: Reading, about: Reading) -> Reading:
    """Give the later of two that agree; an alarm counts only if both sound it."""
    alarms = about.alarms if earlier.alarms and later.alarms else ()
    return replace(later, goal=about.goal, torque=about.torque, alarms=alarms)


def _why_not(error: OSError, port: str) -> str:
    """Say why a port does not open, and what helps."""
    text = str(error)
    if "exclusively lock" in text:
        return "another program has it open; close that one first"
    if error.errno == 13 or "Permission denied" in text:
        return "may not be opened; add yourself to its group: sudo usermod -aG dialout $USER"
    there = ", ".join(f"{name} ({what})" for name, what in ports().items())
    return f"there is no such serial port; {'there are: ' + there if there else 'there is none'}"
