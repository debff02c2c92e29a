"""A 3Dconnexion SpaceMouse, by hidapi: it moves while its cap is pushed; a spring lets go.

Reports are: 1 translation, 2 rotation (or both in a long 1), int16 each, about 350 at the end; x to
the right, y towards the person, z down; 3 the buttons, one bit each.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Any

from demos.devices.contracts import Button, Help, Signal
from robolearn.errors import UserError

MAKERS = {0x256F: None, 0x046D: range(0xC603, 0xC62C)}  # USB vendor -> products, None for all
FULL, DEAD = 350.0, 0.08
BUTTONS = (Button.GRIP, Button.START)
HELP: Help = (
    ("cap", "push, pull, turn or tip it: the hand does the same"),
    ("left button", "open or close the gripper"),
    ("right button", "begin, go on, as proposed"),
)
MOST_REPORTS = 64  # read at a poll
INSTEAD = "or choose another device.kind"


def open_first() -> Any:
    """Open the first SpaceMouse; UserError if there is none, no hidapi, or no permission."""
    try:
        import hid
    except ImportError as error:
        raise UserError(
            f"device: spacemouse: needs hidapi ({error}): pip install hidapi, {INSTEAD}"
        ) from None
    found = [one for one in hid.enumerate() if is_spacemouse(one)]
    if not found:
        raise UserError(f"device: spacemouse: none is connected; connect one, {INSTEAD}")
    device = hid.device()
    try:
        device.open_path(found[0]["path"])
    except OSError:
        raise UserError(
            "device: spacemouse: it may not be read; allow it with a udev rule for hidraw devices "
            f"of vendor {found[0]['vendor_id']:04x}, {INSTEAD}"
        ) from None
    device.set_nonblocking(1)
    return device


def is_spacemouse(about: dict[str, Any]) -> bool:
    """Say whether hidapi describes a SpaceMouse."""
    if about["vendor_id"] not in MAKERS:
        return False
    products = MAKERS[about["vendor_id"]]
    return products is None or about["product_id"] in products


class SpaceMouse:
    """A Source that reads a SpaceMouse."""

    name, help = "spacemouse", HELP

    def __init__(self, open_device: Callable[[], Any] = open_first) -> None:
        self._open, self._device = open_device, None
        self._axes = [0.0] * 6
        self._bits, self._heard_s, self._lost = 0, 0.0, ""

    def open(self) -> None:
        """Find it; UserError if there is none."""
        self._device = self._open()

    def close(self) -> None:
        """Let go of it."""
        if self._device is not None:
            self._device.close()
            self._device = None

    def poll(self, now_s: float) -> Signal:
        """Give how far the cap is pushed, as of the last report: it sends some while it is."""
        buttons: list[Button] = []
        for report in self._reports():
            self._heard_s = now_s
            buttons += self._take(report)
        x, y, z, rx, ry, rz = (0.0 if abs(a) < DEAD else max(-1.0, min(a, 1.0)) for a in self._axes)
        move, turn = (-y, -x, -z), (-ry, -rx, -rz)
        engaged = any(move) or any(turn)
        given_s = self._heard_s if engaged else now_s
        return Signal(move, turn, engaged, given_s, tuple(buttons), self._lost)

    def _reports(self) -> Iterable[bytes]:
        for _ in range(MOST_REPORTS):
            try:
                report = self._device.read(16)
            except (OSError, ValueError):
                self._lost = "the SpaceMouse was disconnected"
                return
            if not report:
                return
            yield bytes(report)

    def _take(self, report: bytes) -> list[Button]:
        kind, body = report[0], report[1:]
        if kind in (1, 2):
            count = 6 if kind == 1 and len(body) >= 12 else 3
            if len(body) < 2 * count:
                return []
            first = 3 if kind == 2 else 0
            values = struct.unpack_from(f"<{count}h", body)
            self._axes[first : first + count] = [value / FULL for value in values]
        elif kind == 3 and body:
            went_down = body[0] & ~self._bits
            self._bits = body[0]
            return [button for i, button in enumerate(BUTTONS) if went_down >> i & 1]
        return []
