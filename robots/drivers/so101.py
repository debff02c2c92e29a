"""The SO-101 arm, and SO-100: six Feetech STS3215 on one line (``pip install feetech-servo-sdk``).

Joints and numbers are as LeRobot has them, and so are calibration files. The leader arm has the
same servos with other gears; it is read and never activated.
"""

from __future__ import annotations

from collections.abc import Mapping

from robots.base import Camera, Clock
from robots.calibration import ServoCalibration
from robots.drivers.arm_kind import ArmKind, ArmServo, ServoArmConfig
from robots.drivers.servo_arm import ServoArm
from robots.emulators.feetech import FeetechStation, Servo
from robots.servos import sts3215
from robots.servos.bus import DirectPort
from robots.servos.feetech import FeetechBus

# What LeRobot found to work: softer than Feetech's own, which shakes, and half of the torque for a
# gripper that squeezes.
SOFT = {"p_coefficient": 16, "i_coefficient": 0, "d_coefficient": 32}
GRIPPER = {"max_torque_limit": 500, "protection_current": 250, "overload_torque": 25}


def _make_bus(port: str | DirectPort, config: ServoArmConfig, clock: Clock) -> FeetechBus:
    return FeetechBus(port, 1_000_000, config.timeout_s, config.patience_s, clock)


def _emulate(servos: Mapping[str, ServoCalibration], clock: Clock) -> FeetechStation:
    made = [
        Servo(servo.id, (servo.range_min + servo.range_max) / 2 + servo.homing_offset, clock)
        for servo in servos.values()
    ]
    return FeetechStation(made)


def _servo(joint: str, identity: int, lower: float, upper: float) -> ArmServo:
    return ArmServo(joint, identity, sts3215.MODEL, lower, upper, sts3215.SPEED_LIMIT)


SO101 = ArmKind(
    name="so101",
    servos=(
        _servo("shoulder_pan", 1, -1.92, 1.92),
        _servo("shoulder_lift", 2, -1.75, 1.75),
        _servo("elbow_flex", 3, -1.69, 1.69),
        _servo("wrist_flex", 4, -1.66, 1.66),
        _servo("wrist_roll", 5, -2.79, 2.79),
        ArmServo(
            "gripper",
            6,
            sts3215.MODEL,
            -0.17,
            1.75,
            sts3215.SPEED_LIMIT,
            gripper=True,
            settings=GRIPPER,
        ),
    ),
    make_bus=_make_bus,
    emulate=_emulate,
    settings={"operating_mode": 0, "return_delay_time": 0, "response_status_level": 1, **SOFT},
    limits_in_servo=True,
)


def so101(
    config: ServoArmConfig,
    cameras: Mapping[str, Camera] | None = None,
    clock: Clock | None = None,
) -> ServoArm:
    """Make an SO-101, which is not connected yet."""
    return ServoArm(SO101, config, cameras, clock)
