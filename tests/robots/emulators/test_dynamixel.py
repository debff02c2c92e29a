"""The emulated Dynamixel bus, as Robotis' own package sees it through a pseudo-terminal."""

import dynamixel_sdk as sdk
import pytest

from robots.clocks import SimulatedClock
from robots.emulators.dynamixel import (
    ALERT,
    BAD_ACCESS,
    BAD_CRC,
    BAD_INSTRUCTION,
    BAD_LENGTH,
    BAD_LIMIT,
    BAD_RANGE,
    PING,
    REG_WRITE,
    WRITE,
    DynamixelStation,
    Servo,
    crc16,
    packet,
)
from robots.emulators.line import Line
from robots.servos import xseries

IDS = list(range(1, 7))
MODE, SECONDARY, TORQUE, ERRORS, WATCHDOG, GOAL = 11, 12, 64, 70, 98, 116
VELOCITY, PRESENT = 128, 132
OK = (sdk.COMM_SUCCESS, 0)


@pytest.fixture
def clock():
    return SimulatedClock()


@pytest.fixture
def station(clock):
    return DynamixelStation([Servo(i, 600 * i, clock=clock) for i in IDS])


@pytest.fixture
def bus(opened, station):
    with Line(station) as line:
        yield opened(sdk, line, 2.0)


def test_a_packet_is_as_in_the_makers_manual():
    assert packet(1, 1) == bytes.fromhex("ff ff fd 00 01 03 00 01 19 4e")  # ping of servo 1
    read = bytes.fromhex("ff ff fd 00 01 07 00 02 84 00 04 00 1d 15")  # present position of 1
    assert packet(1, 2, bytes.fromhex("84 00 04 00")) == read
    assert crc16(read[:-2]) == 0x151D


def test_servos_answer_to_their_numbers(bus):
    port, packets = bus
    assert packets.ping(port, 3) == (1200, *OK)
    port.setPacketTimeout = lambda length: port.setPacketTimeoutMillis(50)
    assert packets.ping(port, 7)[1] == sdk.COMM_RX_TIMEOUT


def add_all(group, *address_and_size, ids=IDS):
    for identity in ids:
        assert group.addParam(identity, *address_and_size)
    return group


@pytest.mark.parametrize("how", ["sync", "fast sync", "bulk", "fast bulk"])
def test_several_servos_are_written_and_read_at_once(bus, clock, how):
    port, packets = bus
    ids = IDS[:3] if how == "fast bulk" else IDS  # there the package takes a length of 4 for an id
    for identity in ids:
        assert packets.write1ByteTxRx(port, identity, TORQUE, 1) == OK
    goals = {identity: (1000 + identity).to_bytes(4, "little") for identity in ids}
    write = sdk.GroupSyncWrite(port, packets, GOAL, 4)
    if "bulk" in how:
        write = sdk.GroupBulkWrite(port, packets)
    for identity, data in goals.items():
        where = (GOAL, 4) if "bulk" in how else ()
        assert write.addParam(identity, *where, list(data))
    assert write.txPacket() == sdk.COMM_SUCCESS
    assert packets.ping(port, 1)[1] == sdk.COMM_SUCCESS  # by now the goals have been heard
    clock.sleep(2.0)
    if "bulk" in how:
        read = add_all(sdk.GroupBulkRead(port, packets), PRESENT, 4, ids=ids)
        result = read.fastBulkRead() if how == "fast bulk" else read.txRxPacket()
    else:
        read = add_all(sdk.GroupSyncRead(port, packets, PRESENT, 4))
        result = read.fastSyncRead() if how == "fast sync" else read.txRxPacket()
    assert result == sdk.COMM_SUCCESS
    assert [read.getData(i, PRESENT, 4) for i in ids] == [1000 + i for i in ids]


def test_a_header_in_the_data_is_stuffed(bus, station):
    port, packets = bus
    packets.write1ByteTxRx(port, 1, MODE, xseries.EXTENDED_POSITION)
    station[1].motor.position = -131073  # FF FF FD FF
    data, *result = packets.readTxRx(port, 1, PRESENT, 4)
    assert tuple(result) == OK
    assert bytes(data) == bytes.fromhex("ff ff fd ff")


def test_they_move_with_finite_speed(bus, clock):
    port, packets = bus
    packets.write1ByteTxRx(port, 1, TORQUE, 1)
    packets.write4ByteTxRx(port, 1, 112, 64)  # 64 x 0.229 rev/min: 1000.5 steps/s
    packets.write4ByteTxRx(port, 1, GOAL, 2600)
    clock.sleep(0.5)
    assert packets.read4ByteTxRx(port, 1, PRESENT)[0] == 1100
    assert packets.read4ByteTxRx(port, 1, VELOCITY)[0] == 64


def test_mistakes_have_numbers(bus):
    port, packets = bus
    assert packets.write4ByteTxRx(port, 1, GOAL, 5000) == (0, BAD_LIMIT)
    assert packets.write2ByteTxRx(port, 1, GOAL, 500) == (0, BAD_LENGTH)
    assert packets.write4ByteTxRx(port, 1, PRESENT, 500) == (0, BAD_ACCESS)
    assert packets.write1ByteTxRx(port, 1, TORQUE, 1) == OK
    assert packets.write1ByteTxRx(port, 1, MODE, 4) == (0, BAD_ACCESS)
    assert packets.factoryReset(port, 1, 0xFF) == (0, BAD_INSTRUCTION)


def test_a_wrong_crc_is_complained_of_and_nothing_is_done(station):
    damaged = bytearray(packet(1, 3, bytes.fromhex("40 00 01")))  # torque on
    damaged[-1] ^= 1
    (answer,) = station.hear(bytes(damaged), None)
    assert answer == packet(1, 0x55, bytes((BAD_CRC,)))
    assert station[1].memory["torque_enable"] == 0


def test_an_unfinished_packet_is_forgotten_after_a_gap(station):
    whole = packet(1, 1)
    assert station.hear(whole[:6], None) == []
    assert len(station.hear(whole[6:], None)) == 1
    station.hear(whole[:6], None)
    station.gap()
    assert station.hear(whole[6:], None) == []
    assert len(station.hear(whole, None)) == 1


def test_when_nobody_speaks_its_watchdog_stops_it(bus, clock):
    port, packets = bus
    packets.write1ByteTxRx(port, 1, TORQUE, 1)
    packets.write4ByteTxRx(port, 1, 112, 64)
    packets.write1ByteTxRx(port, 1, WATCHDOG, 10)  # 0.2 s
    packets.write4ByteTxRx(port, 1, GOAL, 2600)
    clock.sleep(1.0)
    assert packets.read4ByteTxRx(port, 1, PRESENT)[0] == 800
    assert packets.read1ByteTxRx(port, 1, WATCHDOG)[0] == xseries.WATCHDOG_FIRED
    assert packets.write4ByteTxRx(port, 1, GOAL, 700) == (0, BAD_RANGE)
    packets.write1ByteTxRx(port, 1, WATCHDOG, 0)
    assert packets.write4ByteTxRx(port, 1, GOAL, 700) == OK


def test_an_overload_takes_the_torque_and_a_reboot_clears_it(bus, station):
    port, packets = bus
    packets.write1ByteTxRx(port, 2, TORQUE, 1)
    station[2].overload()
    assert packets.ping(port, 2)[2] == ALERT
    assert packets.read1ByteTxRx(port, 2, ERRORS)[0] == xseries.OVERLOAD
    assert packets.read1ByteTxRx(port, 2, TORQUE)[0] == 0
    assert packets.reboot(port, 2) == OK
    assert packets.ping(port, 2)[2] == 0


def test_turns_are_forgotten_without_power_and_the_offset_is_not(bus, station):
    port, packets = bus
    packets.write1ByteTxRx(port, 1, MODE, xseries.EXTENDED_POSITION)
    packets.write4ByteTxRx(port, 1, 20, 100)
    station[1].motor.position = 5000
    assert packets.read4ByteTxRx(port, 1, PRESENT)[0] == 5100
    station[1].lose_power()
    assert packets.read4ByteTxRx(port, 1, PRESENT)[0] == 1004
    packets.write1ByteTxRx(port, 1, 10, 1)  # the other direction
    assert packets.read4ByteTxRx(port, 1, PRESENT)[0] == 2**32 - 904 + 100


def test_a_shadow_obeys_what_is_said_to_another_and_does_not_answer(bus, station):
    port, packets = bus
    assert packets.write1ByteTxRx(port, 2, SECONDARY, 1) == OK
    port.clearPort()
    assert packets.write1ByteTxRx(port, 1, TORQUE, 1) == OK and port.ser.in_waiting == 0
    assert packets.write4ByteTxRx(port, 1, GOAL, 900) == OK
    for identity, torque, goal in ((1, 1, 900), (2, 1, 900), (3, 0, 1800)):
        assert packets.read1ByteTxRx(port, identity, TORQUE)[0] == torque
        assert packets.read4ByteTxRx(port, identity, GOAL)[0] == goal
    assert packets.write4ByteTxRx(port, 2, GOAL, 950) == OK  # its own number goes on
    assert packets.read4ByteTxRx(port, 1, GOAL)[0] == 900
    station[1].dropped = True
    packets.write4ByteTxOnly(port, 1, GOAL, 800)
    assert packets.read4ByteTxRx(port, 2, GOAL)[0] == 800


def test_a_shadows_eeprom_is_written_by_its_own_number_only(bus, station):
    port, packets = bus
    packets.write1ByteTxRx(port, 2, SECONDARY, 1)
    assert packets.write1ByteTxRx(port, 1, MODE, xseries.EXTENDED_POSITION) == OK
    assert [station[i].memory["operating_mode"] for i in (1, 2)] == [4, 3]
    for secondary in (253, 255):  # none
        packets.write1ByteTxRx(port, 2, SECONDARY, secondary)
        packets.write1ByteTxRx(port, 1, TORQUE, 1)
        assert station[2].memory["torque_enable"] == 0


@pytest.mark.parametrize(("told", "goal"), [([1], 900), ([1, 2], 950), ([2, 1], 950)])
def test_of_several_goals_a_shadow_takes_its_own(bus, told, goal):
    port, packets = bus
    packets.write1ByteTxRx(port, 2, SECONDARY, 1)
    write = sdk.GroupSyncWrite(port, packets, GOAL, 4)
    for identity in told:
        assert write.addParam(identity, list((850 + 50 * identity).to_bytes(4, "little")))
    assert write.txPacket() == sdk.COMM_SUCCESS
    assert packets.read4ByteTxRx(port, 2, GOAL)[0] == goal


def test_who_asks_a_shadow_by_its_secondary_number_hears_nothing(opened, station):
    with Line(station) as line:
        port, packets = opened(sdk, line, 2.0, patient_ms=50)
        packets.write1ByteTxRx(port, 2, SECONDARY, 100)
        assert packets.read1ByteTxRx(port, 100, TORQUE)[1] == sdk.COMM_RX_TIMEOUT


@pytest.mark.parametrize("instruction", [WRITE, REG_WRITE])
def test_who_is_told_to_write_and_not_where_goes_on(station, instruction):
    station[2].write(SECONDARY, b"\x01")
    assert len(station.hear(packet(1, instruction), None)) == 1
    assert len(station.hear(packet(2, PING), None)) == 1
