"""Registers: numbers to bytes and back, and the makers' own tables."""

import importlib

import pytest

from robots.servos import sts3215, xseries
from robots.servos.registers import Register


@pytest.mark.parametrize(
    ("register", "value", "data"),
    [
        (Register(56, 2, sign_bit=15), -3, b"\x03\x80"),
        (Register(60, 2, sign_bit=10), -1, b"\x01\x04"),
        (Register(31, 2, sign_bit=11), -2047, b"\xff\x0f"),
        (Register(132, 4, signed=True), -1, b"\xff\xff\xff\xff"),
        (Register(42, 2), 4095, b"\xff\x0f"),
    ],
)
def test_numbers_are_bytes_as_each_register_has_them(register, value, data):
    assert register.encode(value) == data
    assert register.decode(data) == value


def test_what_does_not_fit_is_refused():
    with pytest.raises(OverflowError):
        Register(31, 2, sign_bit=11).encode(2048)


def test_a_block_of_memory_is_read_from_its_start():
    assert Register(58, 2, sign_bit=15).within(b"\0\0\x05\x80", 56) == -5


@pytest.mark.parametrize("table", [sts3215.REGISTERS, xseries.REGISTERS])
def test_no_two_registers_overlap(table):
    ordered = sorted(table.values(), key=lambda register: register.address)
    for first, second in zip(ordered, ordered[1:], strict=False):
        assert first.end <= second.address


@pytest.mark.parametrize("model", xseries.MODELS)
def test_the_addresses_of_the_x_series_are_those_in_its_makers_package(model):
    tables = importlib.import_module("dynamixel_easy_sdk.control_table").ControlTable
    theirs = {
        name.lower().split("(")[0].replace(" ", "_"): (item.address, item.size)
        for name, item in tables.getControlTable(xseries.MODELS[model].number).items()
    }
    ours = {name: (r.address, r.size) for name, r in xseries.REGISTERS.items()}
    shared = ours.keys() & theirs.keys()
    assert {name: ours[name] for name in shared} == {name: theirs[name] for name in shared}
    assert shared >= {"goal_position", "present_position", "bus_watchdog", "hardware_error_status"}
