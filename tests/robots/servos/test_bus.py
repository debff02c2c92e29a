"""Both makers' packages on a disturbed line: what is given is true, or nothing is."""

import itertools

import pytest

from robots.base import BusError
from robots.emulators.faults import Faults, Wire
from robots.emulators.feetech import checksum, packet
from robots.servos import bus as buses
from robots.servos.bus import Reading, agree

IDS = list(range(1, 7))
NEAR = 3  # steps: a quarter of a degree
NOISY = Faults(corrupted=0.05, lost=0.01, noise=0.02, late=0.01, seed=1)


def swing(bench, rounds, ask):
    """Have all servos go to and fro, and ask all the time; give the greatest errors."""
    worst = []
    for i in range(rounds):
        if i % 25 == 0:
            way = 150 if i % 50 else -150
            bench.bus.aim({identity: 600 * identity + way for identity in IDS})
        off = bench.off_by(ask)
        worst.append(max(off.values(), default=0))
    return worst


def moving(there, faults):
    """Give torque to all, and disturb the line from then on."""
    for identity in IDS:
        there.bus.set(identity, "torque_enable", 1)
    there.port.wire = Wire(faults)
    return there


def test_six_servos_are_moved_and_read_at_once(maker, bench):
    there = moving(bench(maker), Faults())
    there.bus.aim({identity: 1000 for identity in IDS})
    there.clock.sleep(3.0)
    assert {i: r.position for i, r in there.bus.confirmed(IDS).items()} == dict.fromkeys(IDS, 1000)


def test_with_5_percent_of_all_packets_damaged_no_wrong_position_is_given(maker, bench):
    there = moving(bench(maker), NOISY)
    worst = swing(there, 200, there.bus.confirmed)
    assert there.port.wire.damaged > 100
    assert max(worst) <= NEAR


def test_all_servos_are_heard_in_spite_of_the_noise(maker, bench):
    there = bench(maker, NOISY)
    assert all(set(there.bus.confirmed(IDS)) == set(IDS) for _ in range(100))


def test_a_checksum_of_8_bits_passes_many_with_two_bits_turned_over():
    sound = packet(1, 0, (2048).to_bytes(2, "little") + (100).to_bytes(2, "little"))
    bits = range(8 * 4, 8 * len(sound))  # what is behind header, id and length
    passed = 0
    for pair in itertools.combinations(bits, 2):
        damaged = bytearray(sound)
        for bit in pair:
            damaged[bit // 8] ^= 1 << bit % 8
        passed += checksum(damaged[2:-1]) == damaged[-1]
    assert passed == 41  # of 1128: 3.6%, where 256 equally likely sums would pass 0.4%


def test_what_the_checksum_passes_is_wrong_without_a_second_answer(bench):
    faults = Faults(corrupted=0.25, ways=("turn",), seed=3)
    alone = moving(bench("feetech"), faults)
    assert max(swing(alone, 500, alone.bus.read)) > 1000
    agreeing = moving(bench("feetech"), faults)
    assert max(swing(agreeing, 250, agreeing.bus.confirmed)) <= 20  # 6 ms at full speed
    assert agreeing.bus.refused > 0


def test_an_answer_to_an_older_question_is_not_taken_for_a_new_one(maker, bench):
    there = moving(bench(maker), Faults(late=0.3, seed=2))
    assert max(swing(there, 100, there.bus.confirmed)) <= NEAR


def test_a_servo_that_drops_out_is_left_out_and_the_others_are_not(maker, bench):
    there = bench(maker)
    there.station[3].dropped = True
    assert set(there.bus.confirmed(IDS)) == set(IDS) - {3}
    there.station[3].dropped = False
    assert set(there.bus.confirmed(IDS)) == set(IDS)


def test_what_is_written_is_read_back(maker, bench):
    there = bench(maker, Faults(corrupted=0.3, seed=4))
    there.bus.set(2, "goal_position", 1234)
    assert there.station[2].memory["goal_position"] == 1234
    there.station[2].dropped = True
    with pytest.raises(BusError, match="servo 2 does not take goal_position = 1"):
        there.bus.set(2, "goal_position", 1)


def test_models_are_those_of_the_servos_that_answer(maker, bench):
    there = bench(maker)
    there.station[6].dropped = True
    number = {"feetech": 777, "dynamixel": 1200}[maker]
    assert there.bus.models([*IDS, 9]) == dict.fromkeys(IDS[:-1], number)


def reading(position, velocity, at_s):
    return Reading(position, velocity, at_s, at_s + 0.001)


@pytest.mark.parametrize(
    ("later", "agreed"),
    [
        (reading(1002, 0, 0.003), True),  # 200 steps/s for up to 4 ms, and 2 steps
        (reading(1003, 0, 0.003), False),
        (reading(998, 0, 0.003), True),
        (reading(997, 0, 0.003), False),
        (reading(1008, 1000, 0.003), True),  # 1700 steps/s
        (reading(1009, 1000, 0.003), False),
        (reading(992, -1000, 0.003), True),
        (reading(1034, 9999, 0.003), True),  # no faster than any servo is
        (reading(1035, 9999, 0.003), False),
    ],
)
def test_two_answers_agree_if_the_servo_can_have_moved_so_far(later, agreed):
    assert agree(reading(1000, 0, 0.0), later, top_speed=8000) is agreed


def test_without_the_makers_package_one_line_says_how_to_install_it(monkeypatch):
    with pytest.raises(buses.RobotError, match=r"pip install feetech-servo-sdk, or 'robolearn\["):
        buses.package("scservo_sdk_that_is_not_there", "feetech-servo-sdk", "feetech")
