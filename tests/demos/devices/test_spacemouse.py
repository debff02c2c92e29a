import struct
import sys
import types

import pytest

from demos.devices.contracts import Button
from demos.devices.spacemouse import SpaceMouse, is_spacemouse, open_first
from robolearn.errors import UserError


class Mouse:
    """Stands for hidapi's device: gives the reports that it was given, then nothing."""

    def __init__(self):
        self.reports, self.closed, self.gone = [], False, False

    def send(self, kind, *values):
        self.reports.append(bytes([kind]) + struct.pack(f"<{len(values)}h", *values))

    def read(self, size):
        if self.gone:
            raise OSError("read error")
        return list(self.reports.pop(0)) if self.reports else []

    def close(self):
        self.closed = True


@pytest.fixture
def mouse():
    return Mouse()


@pytest.fixture
def source(mouse):
    source = SpaceMouse(lambda: mouse)
    source.open()
    yield source
    source.close()
    assert mouse.closed


def test_a_push_is_a_move_and_a_twist_a_turn(source, mouse):
    mouse.send(1, 0, -350, 0)  # away from the person
    signal = source.poll(1.0)
    assert signal.move == (1, 0, 0) and signal.engaged
    mouse.send(1, 0, 0, -175)
    mouse.send(2, 0, 0, -350)
    signal = source.poll(1.1)
    assert signal.move == (0, 0, 0.5) and signal.turn == (0, 0, 1)


def test_a_long_report_has_both(source, mouse):
    mouse.send(1, 350, 0, 0, 0, 0, 700)
    signal = source.poll(1.0)
    assert signal.move == (0, -1, 0) and signal.turn == (0, 0, -1)


def test_the_spring_lets_go(source, mouse):
    mouse.send(1, 350, 0, 0)
    source.poll(1.0)
    mouse.send(1, 10, 0, 0)
    assert not source.poll(1.1).engaged


def test_it_knows_only_as_long_as_it_hears(source, mouse):
    mouse.send(1, 350, 0, 0)
    assert source.poll(1.0).given_s == 1.0
    assert source.poll(1.5).given_s == 1.0


def test_buttons_count_when_they_go_down(source, mouse):
    mouse.reports += [bytes([3, 1]), bytes([3, 3]), bytes([3, 2])]
    assert source.poll(1.0).buttons == (Button.GRIP, Button.START)
    mouse.reports += [bytes([3, 0]), bytes([3, 1])]
    assert source.poll(1.0).buttons == (Button.GRIP,)


@pytest.mark.parametrize(
    "report", [b"\x01", b"\x02\x01", b"\x03", b"\x17\x00\x00", b"\x01\x00\x00"]
)
def test_strange_reports_mean_nothing(source, mouse, report):
    mouse.reports.append(report)
    signal = source.poll(1.0)
    assert not signal.engaged and not signal.buttons and not signal.lost


def test_one_that_is_pulled_out_is_lost(source, mouse):
    mouse.gone = True
    assert source.poll(1.0).lost


@pytest.mark.parametrize(
    ("vendor", "product", "found"),
    [(0x256F, 0xC635, True), (0x046D, 0xC62B, True), (0x046D, 0xC52B, False), (1, 0xC635, False)],
)
def test_it_is_known_by_its_maker(vendor, product, found):
    assert is_spacemouse({"vendor_id": vendor, "product_id": product}) is found


class Refusing:
    def open_path(self, path):
        raise OSError("open failed")


@pytest.mark.parametrize(
    ("there", "said"),
    [
        (None, "pip install hidapi"),
        ([], "none is connected"),
        ([{"vendor_id": 0x256F, "product_id": 1, "path": b"/dev/hidraw0"}], "udev rule .* 256f"),
    ],
)
def test_where_it_cannot_work_it_says_what_would(monkeypatch, there, said):
    fake = types.SimpleNamespace(enumerate=lambda: there, device=Refusing)
    monkeypatch.setitem(sys.modules, "hid", None if there is None else fake)
    with pytest.raises(UserError, match=said):
        open_first()
