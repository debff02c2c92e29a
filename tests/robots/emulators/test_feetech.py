"""The emulated Feetech bus, as Feetech's own package sees it through a pseudo-terminal."""

import termios

import pytest
import scservo_sdk as sdk

from robots.clocks import SimulatedClock
from robots.emulators.faults import Faults, Wire
from robots.emulators.feetech import FeetechStation, Servo, checksum, packet
from robots.emulators.line import Line
from robots.servos import sts3215 as sts

IDS = list(range(1, 7))
GOAL, TORQUE, LOCK, PRESENT = 42, 40, 55, 56


@pytest.fixture
def clock():
    return SimulatedClock()


@pytest.fixture
def station(clock):
    return FeetechStation([Servo(i, 600 * i, clock) for i in IDS])


@pytest.fixture
def line(station):
    with Line(station) as line:
        yield line


@pytest.fixture
def bus(opened, line):
    return opened(sdk, line, 0)


def test_a_packet_is_as_in_the_makers_manual():
    assert packet(1, 1) == bytes.fromhex("ff ff 01 02 01 fb")  # ping of servo 1
    assert packet(1, 2, b"\x38\x02") == bytes.fromhex("ff ff 01 04 02 38 02 be")
    assert checksum(b"\x01\x04\x02\x38\x02") == 0xBE


def test_servos_answer_to_their_numbers(bus):
    port, packets = bus
    assert packets.ping(port, 3) == (sts.MODEL, sdk.COMM_SUCCESS, 0)
    port.setPacketTimeout = lambda length: port.setPacketTimeoutMillis(50)
    assert packets.ping(port, 7)[1] == sdk.COMM_RX_TIMEOUT


def test_several_servos_are_written_and_read_at_once(bus, clock):
    port, packets = bus
    write = sdk.GroupSyncWrite(port, packets, GOAL, 2)
    read = sdk.GroupSyncRead(port, packets, PRESENT, 4)
    for identity in IDS:
        assert write.addParam(identity, list((1000 + identity).to_bytes(2, "little")))
        assert read.addParam(identity)
    assert write.txPacket() == sdk.COMM_SUCCESS
    assert packets.ping(port, 1)[1] == sdk.COMM_SUCCESS  # by now the goals have been heard
    clock.sleep(2.0)
    assert read.txRxPacket() == sdk.COMM_SUCCESS
    assert [read.getData(i, PRESENT, 2) for i in IDS] == [1000 + i for i in IDS]


def test_they_move_with_finite_speed(bus, clock, station):
    port, packets = bus
    packets.write2ByteTxRx(port, 1, 46, 1000)  # steps/s
    packets.write2ByteTxRx(port, 1, GOAL, 2600)
    clock.sleep(0.5)
    assert packets.read2ByteTxRx(port, 1, PRESENT)[0] == 1100
    speed = packets.read2ByteTxRx(port, 1, 58)[0]
    assert sdk.SCS_TOHOST(speed, 15) == 1000
    packets.write2ByteTxRx(port, 1, GOAL, 600)
    clock.sleep(0.1)
    speed = packets.read2ByteTxRx(port, 1, 58)[0]
    assert sdk.SCS_TOHOST(speed, 15) == -1000


def test_a_goal_waits_for_action(bus, clock):
    port, packets = bus
    for identity in (1, 2):
        packets.regWriteTxRx(port, identity, GOAL, 2, [0xE8, 0x03])
    clock.sleep(2.0)
    assert packets.read2ByteTxRx(port, 2, PRESENT)[0] == 1200
    packets.action(port, sdk.BROADCAST_ID)
    packets.ping(port, 1)
    clock.sleep(2.0)
    assert [packets.read2ByteTxRx(port, i, PRESENT)[0] for i in (1, 2)] == [1000, 1000]


def test_without_torque_it_stays_and_a_goal_gives_torque(bus, clock, station):
    port, packets = bus
    packets.write2ByteTxRx(port, 1, GOAL, 2000)
    assert packets.read1ByteTxRx(port, 1, TORQUE)[0] == 1
    packets.write1ByteTxRx(port, 1, TORQUE, 0)
    clock.sleep(1.0)
    assert packets.read2ByteTxRx(port, 1, PRESENT)[0] == 600


def test_eeprom_lasts_only_if_it_was_unlocked(bus, station):
    port, packets = bus
    packets.write2ByteTxRx(port, 1, 9, 500)
    assert packets.read2ByteTxRx(port, 1, 9)[0] == 500
    station[1].lose_power()
    assert packets.read2ByteTxRx(port, 1, 9)[0] == 0
    packets.write1ByteTxRx(port, 1, LOCK, 0)
    packets.write2ByteTxRx(port, 1, 9, 500)
    station[1].lose_power()
    assert packets.read2ByteTxRx(port, 1, 9)[0] == 500
    assert packets.read1ByteTxRx(port, 1, TORQUE)[0] == 0


def test_an_offset_is_taken_away_within_one_turn_and_can_be_set_here(bus):
    port, packets = bus
    packets.write2ByteTxRx(port, 1, 31, sdk.SCS_TOSCS(-100, 11))
    assert packets.read2ByteTxRx(port, 1, PRESENT)[0] == 700
    packets.write2ByteTxRx(port, 1, 31, 700)
    assert packets.read2ByteTxRx(port, 1, PRESENT)[0] == 3996
    packets.write1ByteTxRx(port, 1, TORQUE, sts.CENTRE_HERE)
    assert packets.read2ByteTxRx(port, 1, PRESENT)[0] == 2048


def test_goals_are_kept_within_its_limits(bus, clock):
    port, packets = bus
    packets.write2ByteTxRx(port, 1, 11, 1500)
    packets.write2ByteTxRx(port, 1, GOAL, 3000)
    clock.sleep(3.0)
    assert packets.read2ByteTxRx(port, 1, PRESENT)[0] == 1500


def test_a_blocked_servo_reports_an_overload_and_gives_up(bus, clock, station):
    port, packets = bus
    station[1].motor.blocked = True
    packets.write2ByteTxRx(port, 1, GOAL, 3000)
    clock.sleep(1.0)
    assert packets.ping(port, 1)[2] == 0
    assert packets.read2ByteTxRx(port, 1, 60)[0] == 1000  # load
    clock.sleep(1.5)
    assert packets.ping(port, 1)[2] == sts.OVERLOAD
    station[1].motor.blocked = False
    clock.sleep(1.0)
    assert packets.read2ByteTxRx(port, 1, PRESENT)[0] == 600
    packets.write1ByteTxRx(port, 1, TORQUE, 0)
    assert packets.ping(port, 1)[2] == 0


def test_alarms_are_in_every_answer(bus, station):
    port, packets = bus
    station[2].volts, station[2].celsius = 12.0, 90
    assert packets.ping(port, 2)[2] == sts.VOLTAGE | sts.HEAT
    assert packets.read1ByteTxRx(port, 2, 65)[0] == sts.VOLTAGE | sts.HEAT


def test_a_servo_that_drops_out_comes_back_without_torque(bus, station):
    port, packets = bus
    packets.write1ByteTxRx(port, 4, TORQUE, 1)
    station[4].dropped = True
    port.setPacketTimeout = lambda length: port.setPacketTimeoutMillis(50)
    assert packets.ping(port, 4)[1] == sdk.COMM_RX_TIMEOUT
    station[4].dropped = False
    station[4].lose_power()
    port.setPacketTimeout = lambda length: port.setPacketTimeoutMillis(5000)
    assert packets.read1ByteTxRx(port, 4, TORQUE) == (0, sdk.COMM_SUCCESS, 0)


def test_at_another_speed_nobody_understands(bus, line):
    port, packets = bus
    port.setBaudRate(500_000)
    port.setPacketTimeout = lambda length: port.setPacketTimeoutMillis(50)
    assert packets.ping(port, 1)[1] == sdk.COMM_RX_TIMEOUT


def test_an_unplugged_line_fails_and_works_again_at_the_same_path(opened, line, station):
    port, packets = opened(sdk, line, 0)
    line.unplug()
    with pytest.raises((OSError, termios.error)):
        packets.ping(port, 1)
    line.plug()
    port, packets = opened(sdk, line, 0)
    assert packets.ping(port, 1)[1] == sdk.COMM_SUCCESS


def test_the_makers_package_alone_gives_an_old_position_for_a_new_one(opened, station, clock):
    """Why the driver asks servos itself: after a failed read ``getData`` gives older data."""
    with Line(station) as line:
        port, packets = opened(sdk, line, 0)
        read = sdk.GroupSyncRead(port, packets, PRESENT, 2)
        for identity in (1, 2):
            read.addParam(identity)
        assert read.txRxPacket() == sdk.COMM_SUCCESS
        station[1].dropped = True
        station[2].motor.position = 3000
        port.setPacketTimeout = lambda length: port.setPacketTimeoutMillis(50)
        port.setPacketTimeoutMillis(50)
        assert read.txRxPacket() != sdk.COMM_SUCCESS
        assert read.isAvailable(2, PRESENT, 2)
        assert read.getData(2, PRESENT, 2) == 1200


def test_damage_follows_from_the_seed():
    def carried(seed):
        wire = Wire(Faults(corrupted=0.5, lost=0.1, noise=0.2, late=0.2, seed=seed))
        return [wire.to_host([packet(1, 0, bytes((i,)))]) for i in range(50)], wire.damaged

    assert carried(1) == carried(1)
    assert carried(1) != carried(2)
    assert 15 < carried(1)[1] < 45
