"""Feetech's STS servos, through ``feetech-servo-sdk`` (its module is called ``scservo_sdk``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from robots.servos import sts3215
from robots.servos.bus import Answer, Reading, ServoBus
from robots.servos.registers import Register

NAMES = sts3215.REGISTERS


class FeetechBus(ServoBus):
    """A line of STS3215; positions are within one turn."""

    package, module, extra = "feetech-servo-sdk", "scservo_sdk", "feetech"
    registers = NAMES
    moving = ("present_position", "present_velocity")
    whole = ("torque_enable", "status")
    eeprom_end = sts3215.EEPROM_END

    def unlock(self, identity: int) -> None:
        """Have EEPROM writes last."""
        self.set(identity, "lock", 0)

    def lock(self, identity: int) -> None:
        """Have EEPROM writes forgotten with the power."""
        self.set(identity, "lock", 1)

    def centring_offset(self, offset: int, position: int) -> int:
        """Give an offset within what its 11 bits hold; the servo subtracts it."""
        turn = sts3215.STEPS_PER_TURN
        wanted = (offset + position - turn // 2 + turn // 2) % turn - turn // 2
        return max(wanted, 1 - turn // 2)

    def _make_packets(self) -> Any:
        return self._sdk.PacketHandler(0)  # 0: low byte first, as the STS series has it

    def _send_question(self, ids: Sequence[int], address: int, size: int) -> bool:
        if len(ids) == 1:
            result = self._packets.readTx(self._handler, ids[0], address, size)
        else:
            result = self._packets.syncReadTx(self._handler, address, size, list(ids), len(ids))
        return result == self._sdk.COMM_SUCCESS

    def _put_all(self, register: Register, data: Mapping[int, bytes]) -> None:
        flat = [byte for identity, value in data.items() for byte in (identity, *value)]
        self._packets.syncWriteTxOnly(
            self._handler, register.address, register.size, flat, len(flat)
        )

    def _understand(self, answer: Answer, start: int, whole: bool) -> Reading | None:
        position = NAMES["present_position"].within(answer.data, start)
        velocity = NAMES["present_velocity"].within(answer.data, start)
        if not 0 <= position < sts3215.STEPS_PER_TURN or abs(velocity) > self.top_speed:
            return None
        alarms = tuple(words for bit, words in sts3215.ALARMS.items() if answer.error & bit)
        goal = NAMES["goal_position"].within(answer.data, start) if whole else None
        torque = NAMES["torque_enable"].within(answer.data, start) == 1 if whole else None
        return Reading(position, velocity, answer.asked_s, answer.heard_s, goal, torque, alarms)
