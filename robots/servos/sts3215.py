"""The memory of Feetech's STS3215, by address (maker's memory table of the STS series, firmware 3).

Names are LeRobot's, in lower case. Up to address 39 it is EEPROM: written while ``lock`` is 1 it
holds until power is lost only.
"""

from robots.servos.registers import Register

MODEL = 777
STEPS_PER_TURN = 4096
BAUD_RATES = (1_000_000, 500_000, 250_000, 128_000, 115_200, 76_800, 57_600, 38_400)
EEPROM_END = 40
CENTRE_HERE = 128  # written to torque_enable: the present position becomes 2048
SPEED_LIMIT = 3073  # steps/s without load: 45 turns a minute, at the voltage that it is made for

REGISTERS = {
    "firmware_major": Register(0, 1, 3, read_only=True),
    "firmware_minor": Register(1, 1, 10, read_only=True),
    "model_number": Register(3, 2, MODEL, read_only=True),
    "id": Register(5, 1, 1),
    "baud_rate": Register(6, 1, 0),
    "return_delay_time": Register(7, 1, 0),  # 2 us each
    "response_status_level": Register(8, 1, 1),  # 0: only PING and READ are answered
    "min_position_limit": Register(9, 2, 0),
    "max_position_limit": Register(11, 2, 4095),
    "max_temperature_limit": Register(13, 1, 70),  # degrees C
    "max_voltage_limit": Register(14, 1, 80),  # 0.1 V
    "min_voltage_limit": Register(15, 1, 40),
    "max_torque_limit": Register(16, 2, 1000),  # thousandths
    "phase": Register(18, 1, 12),
    "unloading_condition": Register(19, 1, 44),  # which alarms take the torque away
    "led_alarm_condition": Register(20, 1, 47),
    "p_coefficient": Register(21, 1, 32),
    "d_coefficient": Register(22, 1, 32),
    "i_coefficient": Register(23, 1, 0),
    "minimum_startup_force": Register(24, 2, 16),
    "cw_dead_zone": Register(26, 1, 1),
    "ccw_dead_zone": Register(27, 1, 1),
    "protection_current": Register(28, 2, 500),  # 6.5 mA
    "angular_resolution": Register(30, 1, 1),
    "homing_offset": Register(31, 2, 0, sign_bit=11),
    "operating_mode": Register(33, 1, 0),  # 0: position
    "protective_torque": Register(34, 1, 20),  # per cent, what is left after an overload
    "protection_time": Register(35, 1, 200),  # 10 ms
    "overload_torque": Register(36, 1, 80),  # per cent
    "torque_enable": Register(40, 1, 0),
    "acceleration": Register(41, 1, 0),  # 100 steps/s^2; 0: the most there is
    "goal_position": Register(42, 2, 0, sign_bit=15),
    "goal_time": Register(44, 2, 0),
    "goal_velocity": Register(46, 2, 0, sign_bit=15),  # steps/s; 0: the most there is
    "torque_limit": Register(48, 2, 1000),  # thousandths
    "lock": Register(55, 1, 1),
    "present_position": Register(56, 2, 0, sign_bit=15, read_only=True),
    "present_velocity": Register(58, 2, 0, sign_bit=15, read_only=True),  # steps/s
    "present_load": Register(60, 2, 0, sign_bit=10, read_only=True),  # thousandths
    "present_voltage": Register(62, 1, 74, read_only=True),  # 0.1 V
    "present_temperature": Register(63, 1, 30, read_only=True),
    "registered": Register(64, 1, 0, read_only=True),  # a REG_WRITE waits for ACTION
    "status": Register(65, 1, 0, read_only=True),  # alarms
    "moving": Register(66, 1, 0, read_only=True),
    "present_current": Register(69, 2, 0, sign_bit=15, read_only=True),  # 6.5 mA
}

ALARMS = {  # bits of ``status``, of ``unloading_condition`` and of every answer's error byte
    1: "its voltage is outside its limits",
    2: "its encoder is at fault",
    4: "it is too hot",
    8: "its current is too high",
    32: "it is overloaded",
}
VOLTAGE, ENCODER, HEAT, CURRENT, OVERLOAD = ALARMS
