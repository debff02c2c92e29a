"""Arms of Dynamixel X servos, protocol 2.0 (``pip install dynamixel-sdk``): Koch and ViperX.

Joints and numbers are as LeRobot has them, and so are the Koch arms' calibration files. ViperX (six
joints: vx300s) turns in Interbotix's directions, which LeRobot's files do not say: it is to be
calibrated here. While a servo has torque its own watchdog stops it when nothing is heard on the bus
for 0.3 s, as when the program is killed.
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

    arm: Literal["koch", "koch_leader", "viperx"] = "koch"
    """Which one it is."""


def _make_bus(port: str | DirectPort, config: ServoArmConfig, clock: Clock) -> DynamixelBus:
    return DynamixelBus(port, 1_000_000, config.timeout_s, config.patience_s, clock)


@dataclass(frozen=True)
class Turns:
    """What turns a joint: its model, and between where in rad."""

    model: str
    lower: float
    upper: float
    drive_mode: int = 0
    shadow: int | None = None


def _arm(name: str, joints: Mapping[str, Turns], numbers: Mapping[str, int]) -> ArmKind:
    """Make a kind of arm of what turns its joints; ``numbers`` are those of the servos."""
    made = tuple(
        ArmServo(
            joint, numbers[joint], xseries.MODELS[by.model].number, by.lower, by.upper,
            xseries.MODELS[by.model].initial["velocity_limit"] * xseries.STEPS_PER_VELOCITY,
            gripper=joint == "gripper", settings=GRIPPER if joint == "gripper" else {},
            drive_mode=by.drive_mode, shadow=by.shadow,
        )
        for joint, by in joints.items()
    )  # fmt: skip
    models = {numbers[joint]: by.model for joint, by in joints.items()}
    pairs = {by.shadow: numbers[joint] for joint, by in joints.items() if by.shadow}

    def emulate(entries: Mapping[str, ServoCalibration], clock: Clock) -> DynamixelStation:
        servos = {
            entry.id: Servo(entry.id, _middle(entry), models[pairs.get(entry.id, entry.id)], clock)
            for entry in entries.values()
        }
        for shadow, of in pairs.items():
            servos[of].motor.couple(servos[shadow].motor)
        return DynamixelStation(servos.values())

    return ArmKind(
        name=name,
        servos=made,
        make_bus=_make_bus,
        emulate=emulate,
        settings={
            "operating_mode": xseries.EXTENDED_POSITION, "return_delay_time": 0,
            "secondary_id": xseries.NO_SHADOW,
        },
        limits_in_servo=False,
        folds=True,
        turns_in_servo=True,
    )  # fmt: skip


def _middle(entry: ServoCalibration) -> float:
    """Give where a motor is in the middle of its range."""
    middle = (entry.range_min + entry.range_max) / 2 - entry.homing_offset
    return -middle if entry.drive_mode else middle


SIX = {
    "shoulder_pan": 1, "shoulder_lift": 2, "elbow_flex": 3, "wrist_flex": 4, "wrist_roll": 5,
    "gripper": 6,
}  # fmt: skip
SMALL = {
    "shoulder_pan": (-1.9, 1.9), "shoulder_lift": (-1.9, 1.9), "elbow_flex": (-1.9, 1.9),
    "wrist_flex": (-1.9, 1.9), "wrist_roll": (-3.1, 3.1), "gripper": (0.0, 1.5),
}  # fmt: skip
BIG = {"shoulder_pan", "shoulder_lift"}
NINE = {
    "waist": 1, "shoulder": 2, "elbow": 4, "forearm_roll": 6, "wrist_angle": 7, "wrist_rotate": 8,
    "gripper": 9,
}  # fmt: skip
VIPERX = {
    "waist": Turns("xm540-w270", -3.1, 3.1),
    "shoulder": Turns("xm540-w270", -1.85, 1.26, 1, shadow=3),
    "elbow": Turns("xm540-w270", -1.76, 1.6, 1, shadow=5),
    "forearm_roll": Turns("xm540-w270", -3.1, 3.1),
    "wrist_angle": Turns("xm540-w270", -1.87, 2.23, 1),
    "wrist_rotate": Turns("xm430-w350", -3.1, 3.1),
    "gripper": Turns("xm430-w350", -0.6, 1.5),
}
ARMS = {
    "koch": _arm(
        "koch",
        {j: Turns("xl430-w250" if j in BIG else "xl330-m288", *ends) for j, ends in SMALL.items()},
        SIX,
    ),
    "koch_leader": _arm(
        "koch_leader", {joint: Turns("xl330-m077", *ends) for joint, ends in SMALL.items()}, SIX
    ),
    "viperx": _arm("viperx", VIPERX, NINE),
}


def dynamixel(
    config: DynamixelConfig,
    cameras: Mapping[str, Camera] | None = None,
    clock: Clock | None = None,
) -> ServoArm:
    """Make an arm of Dynamixel servos, which is not connected yet."""
    return ServoArm(ARMS[config.arm], config, cameras, clock)
