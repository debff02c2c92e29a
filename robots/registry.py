"""Robots by name: ours, and a user's own, "module:attribute"."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from robolearn.errors import OptionError, UserError, nearest
from robolearn.names import load, load_own
from robots.base import Camera, Clock, Robot

METHODS = (
    "connect", "calibrate", "configure", "activate", "get_observation", "send_action", "stop",
    "deactivate", "disconnect",
)  # fmt: skip
BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
FACTS = (
    "name", "joints", "life_cycle", "observation_features", "action_features", "is_connected",
    "is_calibrated", "measured_s",
)  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """How one of our robots is made, ``make(config, cameras, clock)``; for people, what it is."""

    config: str  # "module:Dataclass"
    make: str  # "module:function"
    about: str
    needs: str  # a device, or a package and a device


SIMULATED = ("twin", "two_twins")  # those that may live in another time than the machine's
ROBOTS = {
    "twin": Entry(
        "robots.twin:TwinConfig", "robots.twin:twin",
        "a simulated arm that behaves like hardware", "nothing",
    ),
    "two_twins": Entry(
        "robots.several:TwoTwinsConfig", "robots.several:two_twins",
        "two simulated desk arms as one robot", "nothing",
    ),
    "so101": Entry(
        "robots.drivers.arm_kind:ServoArmConfig", "robots.drivers.so101:so101",
        "SO-101 and SO-100, Feetech servos",
        "robolearn[feetech], a serial port; with port=emulated no arm",
    ),
    "dynamixel": Entry(
        "robots.drivers.dynamixel:DynamixelConfig", "robots.drivers.dynamixel:dynamixel",
        "Koch arms and ViperX, Dynamixel servos",
        "robolearn[dynamixel], a serial port; with port=emulated no arm",
    ),
    "franka": Entry(
        "robots.drivers.franka:FrankaConfig", "robots.drivers.franka:franka",
        "Panda and FR3 with the Franka Hand", "robolearn[franka], the arm's address",
    ),
    "ur": Entry(
        "robots.drivers.ur:UrConfig", "robots.drivers.ur:ur",
        "UR3e to UR30", "robolearn[ur], the controller's address",
    ),
    "lerobot": Entry(
        "robots.drivers.lerobot:LerobotConfig", "robots.drivers.lerobot:lerobot",
        "any robot of LeRobot", "lerobot, in a Python that it runs in",
    ),
    "remote": Entry(
        "robots.remote.client:RemoteConfig", "robots.remote.client:remote",
        "any of these, at another machine",
        "robolearn[remote], `robolearn robots serve` there, and its token",
    ),
}  # fmt: skip


def make_robot(
    name: str,
    options: Mapping[str, Any],
    cameras: Mapping[str, Camera] | None = None,
    clock: Clock | None = None,
) -> Robot:
    """Make the robot called ``name``; nothing is connected.

    One's own, "module:attribute", is called with the options, and with ``cameras`` and ``clock`` if
    it takes them. Raises UserError for an unknown name or option, and where the contract's parts
    are missing. What else one's own code raises comes out as it is.
    """
    where = f"robot '{name}'"
    if name in ROBOTS:
        kind = load(ROBOTS[name].config)
        known = [field.name for field in dataclasses.fields(kind)]
        for key in options:
            if key not in known:
                raise OptionError(f"{where}: unknown option '{key}'{nearest(key, known)}", key)
        try:
            config = kind(**options)
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
        return load(ROBOTS[name].make)(config, cameras, clock)
    if ":" not in name:
        raise UserError(f"{where}: unknown{nearest(name, ROBOTS)}; one's own is module:Class")
    return _own(name, dict(options), {"cameras": cameras, "clock": clock}, where)


def _own(name: str, options: dict[str, Any], parts: Mapping[str, Any], where: str) -> Robot:
    maker = load_own(name, where)
    if not callable(maker):
        raise UserError(f"{where}: must be a class, or a function that makes a robot")
    taken, takes_all = _taken(maker)
    for key in options:
        if key not in taken and not takes_all:
            known = [option for option in taken if option not in parts]
            raise OptionError(f"{where}: unknown option '{key}'{nearest(key, known)}", key)
    given = {key: value for key, value in parts.items() if key in taken and value is not None}
    try:
        inspect.signature(maker).bind(**options, **given)
    except TypeError as error:
        raise OptionError(f"{where}: {error}") from None
    robot = maker(**options, **given)
    missing = [part for part in (*METHODS, *FACTS) if not hasattr(robot, part)]
    if missing:
        raise UserError(
            f"{where}: {type(robot).__name__} has no {', '.join(missing)}; derive it from "
            "robots.base.Driver, which has all of them"
        )
    return robot


def _taken(maker: Any) -> tuple[list[str], bool]:
    """Name the options that a maker takes, and say whether it takes any other too.

    A class that passes what it does not know on to the one that it derives from takes that one's.
    """
    named: dict[str, None] = {}
    for one in _makers(maker):
        parameters = inspect.signature(one).parameters.values()
        named |= {p.name: None for p in parameters if p.kind in BY_NAME and p.name != "self"}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            return list(named), False
    return list(named), True


def _makers(maker: Any) -> Iterator[Any]:
    """Give what is called with the options, and what that may pass them on to."""
    if not isinstance(maker, type):
        yield maker
        return
    for kind in maker.__mro__[:-1]:
        if "__init__" in vars(kind):
            yield kind.__init__
