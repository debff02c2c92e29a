"""The memory of Dynamixel's X series, protocol 2.0, by address (maker's control tables).

The models of this series share one layout; ``MODELS`` says in what they differ. Up to address 63
it is EEPROM, which is refused while the torque is on.
"""

from dataclasses import dataclass

from robots.servos.registers import Register

STEPS_PER_TURN = 4096
BAUD_RATES = (9_600, 57_600, 115_200, 1_000_000, 2_000_000, 3_000_000, 4_000_000)
EEPROM_END = 64
STEPS_PER_VELOCITY = 0.229 / 60 * STEPS_PER_TURN  # steps/s in one unit of velocity, 0.229 rev/min
WATCHDOG_UNIT_S = 0.02
WATCHDOG_FIRED = 255  # read from bus_watchdog: no goals are taken until 0 is written
NO_SHADOW = 255  # a secondary number that is none
POSITION, EXTENDED_POSITION, CURRENT_BASED_POSITION = 3, 4, 5  # operating modes


@dataclass(frozen=True)
class Model:
    """In what a model differs: its number, and the initial values of registers."""

    number: int
    initial: dict[str, int]


MODELS = {
    "xl330-m077": Model(1190, {"velocity_limit": 1620, "current_limit": 1750}),
    "xl330-m288": Model(1200, {"velocity_limit": 445, "current_limit": 1750}),
    "xl430-w250": Model(1060, {"velocity_limit": 265, "temperature_limit": 72}),
    "xm430-w210": Model(1030, {"velocity_limit": 330, "temperature_limit": 80}),
    "xm430-w350": Model(1020, {"velocity_limit": 200, "temperature_limit": 80}),
    "xm540-w270": Model(1120, {"velocity_limit": 128, "temperature_limit": 80}),
}

REGISTERS = {
    "model_number": Register(0, 2, read_only=True),
    "model_information": Register(2, 4, read_only=True),
    "firmware_version": Register(6, 1, 46, read_only=True),
    "id": Register(7, 1, 1),
    "baud_rate": Register(8, 1, 1),
    "return_delay_time": Register(9, 1, 250),  # 2 us
    "drive_mode": Register(10, 1, 0),  # bit 0: the other direction
    "operating_mode": Register(11, 1, POSITION),
    "secondary_id": Register(12, 1, NO_SHADOW),
    "protocol_type": Register(13, 1, 2),
    "homing_offset": Register(20, 4, 0, signed=True),
    "moving_threshold": Register(24, 4, 10),
    "temperature_limit": Register(31, 1, 70),  # degrees C
    "max_voltage_limit": Register(32, 2, 160),  # 0.1 V
    "min_voltage_limit": Register(34, 2, 35),
    "pwm_limit": Register(36, 2, 885),
    "current_limit": Register(38, 2, 1193),
    "velocity_limit": Register(44, 4, 200),
    "max_position_limit": Register(48, 4, 4095),
    "min_position_limit": Register(52, 4, 0),
    "shutdown": Register(63, 1, 52),  # which hardware errors take the torque away
    "torque_enable": Register(64, 1, 0),
    "led": Register(65, 1, 0),
    "status_return_level": Register(68, 1, 2),  # 0: PING, 1: and READ, 2: all are answered
    "registered_instruction": Register(69, 1, 0, read_only=True),
    "hardware_error_status": Register(70, 1, 0, read_only=True),
    "velocity_i_gain": Register(76, 2, 1920),
    "velocity_p_gain": Register(78, 2, 100),
    "position_d_gain": Register(80, 2, 0),
    "position_i_gain": Register(82, 2, 0),
    "position_p_gain": Register(84, 2, 800),
    "bus_watchdog": Register(98, 1, 0),  # 20 ms each; 0: none
    "goal_pwm": Register(100, 2, 885, signed=True),
    "goal_current": Register(102, 2, 1193, signed=True),
    "goal_velocity": Register(104, 4, 0, signed=True),
    "profile_acceleration": Register(108, 4, 0),
    "profile_velocity": Register(112, 4, 0),  # 0: the most there is
    "goal_position": Register(116, 4, 0, signed=True),
    "realtime_tick": Register(120, 2, 0, read_only=True),  # ms, modulo 32768
    "moving": Register(122, 1, 0, read_only=True),
    "moving_status": Register(123, 1, 0, read_only=True),
    "present_pwm": Register(124, 2, 0, signed=True, read_only=True),
    "present_current": Register(126, 2, 0, signed=True, read_only=True),  # of XL430: load
    "present_velocity": Register(128, 4, 0, signed=True, read_only=True),
    "present_position": Register(132, 4, 0, signed=True, read_only=True),
    "velocity_trajectory": Register(136, 4, 0, signed=True, read_only=True),
    "position_trajectory": Register(140, 4, 0, signed=True, read_only=True),
    "present_input_voltage": Register(144, 2, 120, read_only=True),  # 0.1 V
    "present_temperature": Register(146, 1, 32, read_only=True),
}

ALARMS = {  # bits of ``hardware_error_status`` and of ``shutdown``
    1: "its voltage is outside its limits",
    4: "it is too hot",
    8: "its encoder is at fault",
    16: "it had an electrical shock or too little power",
    32: "it is overloaded",
}
VOLTAGE, HEAT, ENCODER, SHOCK, OVERLOAD = ALARMS
