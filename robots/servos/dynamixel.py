"""Dynamixel's X servos, protocol 2.0, through ``dynamixel-sdk``.

Its FAST reads are not used: the SDK does not take the stuffed bytes out of their answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from robots.servos import xseries
from robots.servos.bus import Answer, Reading, ServoBus
from robots.servos.registers import Register

NAMES = xseries.REGISTERS
ALERT = 0x80
FURTHEST = 1_048_575  # steps, of several turns


class DynamixelBus(ServoBus):
    """A line of X servos; a whole answer goes from the torque to the position."""

    package, module, extra = "dynamixel-sdk", "dynamixel_sdk", "dynamixel"
    registers = NAMES
    moving = ("present_velocity", "present_position")
    whole = ("torque_enable", "present_position")
    eeprom_end = xseries.EEPROM_END
    watchdog_s = 0.3
    """Without an instruction for so long, a servo with torque stops by itself and holds."""

    def unlock(self, identity: int) -> None:
        """Take the torque away, without which the EEPROM is refused."""
        self.set(identity, "torque_enable", 0)

    def ready(self, ids: Iterable[int]) -> None:
        """Clear the watchdogs that have fired; first the torque, or they went to older goals."""
        for identity in filter(self.rests, ids):
            self.set(identity, "torque_enable", 0)
            self.set(identity, "bus_watchdog", 0)

    def rests(self, identity: int) -> bool:
        """Say whether a servo has stopped by itself and holds."""
        return self.get(identity, "bus_watchdog") == xseries.WATCHDOG_FIRED

    def enable(self, ids: Iterable[int]) -> None:
        """Give torque, and have the servo watch over the bus from then on."""
        super().enable(ids)
        for identity in ids:
            self.set(identity, "bus_watchdog", round(self.watchdog_s / xseries.WATCHDOG_UNIT_S))

    def reason(self, identity: int) -> str:
        """Say why a servo does not take goals; "" if it does."""
        if self.rests(identity):
            return f"has stopped by itself, since nothing was heard for {self.watchdog_s} s"
        return super().reason(identity)

    def centring_offset(self, offset: int, position: int) -> int:
        """Give an offset; the servo adds it."""
        return offset + xseries.STEPS_PER_TURN // 2 - position

    def _make_packets(self) -> Any:
        return self._sdk.PacketHandler(2.0)

    def _send_question(self, ids: Sequence[int], address: int, size: int) -> bool:
        if len(ids) == 1:
            result = self._packets.readTx(self._handler, ids[0], address, size)
        else:
            result = self._packets.syncReadTx(
                self._handler, address, size, list(ids), len(ids), False
            )
        return result == self._sdk.COMM_SUCCESS

    def _put_all(self, register: Register, data: Mapping[int, bytes]) -> None:
        flat = [byte for identity, value in data.items() for byte in (identity, *value)]
        self._packets.syncWriteTxOnly(
            self._handler, register.address, register.size, flat, len(flat)
        )

    def _understand(self, answer: Answer, start: int, whole: bool) -> Reading | None:
        position = NAMES["present_position"].within(answer.data, start)
        units = NAMES["present_velocity"].within(answer.data, start)
        velocity = units * xseries.STEPS_PER_VELOCITY
        if abs(position) > FURTHEST or abs(velocity) > self.top_speed or answer.error & ~ALERT:
            return None
        alarms: tuple[str, ...] = ("a hardware error",) if answer.error & ALERT else ()
        if whole:
            errors = NAMES["hardware_error_status"].within(answer.data, start)
            alarms = tuple(words for bit, words in xseries.ALARMS.items() if errors & bit)
        goal = NAMES["goal_position"].within(answer.data, start) if whole else None
        torque = bool(NAMES["torque_enable"].within(answer.data, start)) if whole else None
        return Reading(position, velocity, answer.asked_s, answer.heard_s, goal, torque, alarms)
