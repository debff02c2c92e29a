"""Arms of Dynamixel X servos, protocol 2.0 (``pip install dynamixel-sdk``): the Koch arms.

Joints and numbers are as LeRobot has them, and so are calibration files. While a servo has torque
its own watchdog stops it when nothing is heard on the bus for 0.3 s, as when the program is killed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from robots.base import Camera, Clock
from robots.calibration import ServoCalibration
from robots.drivers.arm_kind import ArmKind, ArmServo, ServoArmConfig
from robots.drivers.servo_arm import ServoArm
from robots.emulators.dynamixel import DynamixelStation, Servo
from robots.servos import xseries
from robots.servos.bus import DirectPort
from robots.servos.dynamixel import DynamixelBus

GRIPPER = {"operating_mode": xseries.CURRENT_BASED_POSITION}  # it squeezes with limited current


@dataclass(frozen=True)
class DynamixelConfig(ServoArmConfig):
    """An arm of Dynamixel servos."""

    arm: Literal["koch", "koch_leader"] = "koch"
    """Which one it is."""


def _make_bus(port: str | DirectPort, config: ServoArmConfig, clock: Clock) -> DynamixelBus:
    return DynamixelBus(port, 1_000_000, config.timeout_s, config.patience_s, clock)


def _arm(
    name: str, servos: Mapping[str, tuple[str, float, float]], first: Mapping[str, int]
) -> ArmKind:
    """Make a kind of arm of joint -> (model, lower, upper) in rad; ``first`` are their numbers."""
    made = tuple(
        ArmServo(
            joint, first[joint], xseries.MODELS[model].number, lower, upper,
            gripper=joint == "gripper", settings=GRIPPER if joint == "gripper" else {},
        )
        for joint, (model, lower, upper) in servos.items()
    )  # fmt: skip
    models = {first[joint]: model for joint, (model, _, _) in servos.items()}

    def emulate(entries: Mapping[str, ServoCalibration], clock: Clock) -> DynamixelStation:
        return DynamixelStation(
            Servo(
                entry.id, (entry.range_min + entry.range_max) / 2 - entry.homing_offset,
                models[entry.id], clock,
            )
            for entry in entries.values()
        )  # fmt: skip

    fastest = max(
        xseries.MODELS[model].initial["velocity_limit"] for model, _, _ in servos.values()
    )
    return ArmKind(
        name=name,
        servos=made,
        make_bus=_make_bus,
        emulate=emulate,
        speed=fastest * xseries.STEPS_PER_VELOCITY,
        settings={"operating_mode": xseries.EXTENDED_POSITION, "return_delay_time": 0},
        limits_in_servo=False,
        folds=True,
        turns_in_servo=True,
    )


SIX = {
    "shoulder_pan": 1, "shoulder_lift": 2, "elbow_flex": 3, "wrist_flex": 4, "wrist_roll": 5,
    "gripper": 6,
}  # fmt: skip
SMALL = {
    "shoulder_pan": (-1.9, 1.9), "shoulder_lift": (-1.9, 1.9), "elbow_flex": (-1.9, 1.9),
    "wrist_flex": (-1.9, 1.9), "wrist_roll": (-3.1, 3.1), "gripper": (0.0, 1.5),
}  # fmt: skip
BIG = {"shoulder_pan", "shoulder_lift"}
ARMS = {
    "koch": _arm(
        "koch",
        {j: ("xl430-w250" if j in BIG else "xl330-m288", *ends) for j, ends in SMALL.items()},
        SIX,
    ),
    "koch_leader": _arm(
        "koch_leader", {joint: ("xl330-m077", *ends) for joint, ends in SMALL.items()}, SIX
    ),
}


def dynamixel(
    config: DynamixelConfig,
    cameras: Mapping[str, Camera] | None = None,
    clock: Clock | None = None,
) -> ServoArm:
    """Make an arm of Dynamixel servos, which is not connected yet."""
    return ServoArm(ARMS[config.arm], config, cameras, clock)
