"""Devices by name, as a launch file has them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from demos.devices.contracts import Device, Source
from demos.devices.desktop import DesktopKeyboard
from demos.devices.gamepad import Gamepad
from demos.devices.keys import KeyMap
from demos.devices.leader import Leader, LeaderConfig
from demos.devices.spacemouse import SpaceMouse
from demos.devices.steering import Steered, Steering, SteeringConfig
from demos.devices.terminal import NO_TERMINAL, TerminalKeyboard
from robolearn.errors import UserError, nearest
from robolearn.names import load_own
from robolearn.types import Spec

SOURCES: dict[str, Callable[[KeyMap], Source]] = {
    "terminal": TerminalKeyboard,
    "desktop": DesktopKeyboard,
    "gamepad": lambda keys: Gamepad(),
    "spacemouse": lambda keys: SpaceMouse(),
}
WITH_KEYS = ("terminal", "desktop")  # devices that have keys for everything
LEADER = "leader"
MADE_BY_OTHERS = ("page",)  # sources that are given to ``make_device``


@dataclass(frozen=True)
class DeviceConfig(SteeringConfig):
    """What the person has in hand, and how it moves the robot."""

    kind: str = "terminal"
    """"terminal" or "desktop" (keyboards), "page" (a browser), "gamepad", "spacemouse", "leader"
    (another arm), or ``module:function`` of one's own, which makes a Device of
    ``(interface, config)``."""
    leader: LeaderConfig = LeaderConfig()
    """Of ``kind: leader``."""
    keys: dict[str, str] = field(default_factory=dict)
    """Other keys than usual, action: key; see ``demos.devices.keys``."""

    def __post_init__(self) -> None:
        super().__post_init__()
        KeyMap.of(self.keys)
        known = (*SOURCES, LEADER, *MADE_BY_OTHERS)
        if self.kind not in known and ":" not in self.kind:
            raise UserError(f"kind: unknown '{self.kind}'{nearest(self.kind, known)}")


def require_source(config: DeviceConfig) -> None:
    """Raise UserError where the person's hardware is not there; what is made of it comes later.

    So who lacks it need not wait for an environment first. Leaders and one's own say it later.
    """
    if config.kind == "terminal" and not sys.stdin.isatty():
        raise UserError(NO_TERMINAL)
    if config.kind in SOURCES and config.kind != "terminal":
        source = SOURCES[config.kind](KeyMap.of(config.keys))
        source.open()
        source.close()


def make_device(
    config: DeviceConfig,
    interface: Spec,
    camera_axes: np.ndarray | None = None,
    sources: dict[str, Source] | None = None,
) -> Device:
    """Make a device, which is not open yet; ``sources`` are some that are made already, by kind.

    Raises UserError for a frame that the interface does not have, or what ``load_own`` raises.
    """
    ready = dict(sources or {})
    if ":" in config.kind:
        return _own(config, interface)
    if config.kind == LEADER:
        return Leader(config.leader, interface)
    if config.kind in MADE_BY_OTHERS and config.kind not in ready:
        raise UserError(f"kind: '{config.kind}' works in the verb teleop only")
    source = ready.get(config.kind) or SOURCES[config.kind](KeyMap.of(config.keys))
    return Steered(source, Steering(config, interface, camera_axes))


def _own(config: DeviceConfig, interface: Spec) -> Any:
    make = load_own(config.kind, "device.kind")
    if not callable(make):
        raise UserError(f"device.kind: {config.kind} must be a function of (interface, config)")
    device = make(interface, config)
    lacking = [
        name
        for name in ("name", "help", "start_state", "open", "close", "reset", "command", "listen")
        if not hasattr(device, name)
    ]
    if lacking:
        raise UserError(f"device.kind: {config.kind} makes no Device: it lacks {lacking[0]}")
    return device
