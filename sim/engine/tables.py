"""The tables that the compiled control step works on: constants, memory and goals per arm.

They are structured arrays, which compiled code takes by address: one row per arm, one row per
gripper actuator. J is MAX_JOINTS; entries beyond an arm's own joints or commands are never read.
"""

from __future__ import annotations

import numpy as np

MAX_JOINTS = 7  # of one arm; robosuite's arms have 6 or 7

OSC, JOINT_POSITION, JOINT_VELOCITY, JOINT_TORQUE = range(4)  # ARM "kind"
FIXED, VARIABLE, VARIABLE_KP = range(3)  # ARM "impedance"
COPY, SIGN, VALUE, CONSTANT = range(4)  # GRIPPER "rule"

_entries = (np.float64, (MAX_JOINTS,))
_indices = (np.int64, (MAX_JOINTS,))

ARM = np.dtype(
    [
        ("kind", np.int64),  # OSC, JOINT_POSITION, JOINT_VELOCITY or JOINT_TORQUE
        ("joints", np.int64),  # number of them
        ("qpos", *_indices),
        ("dof", *_indices),
        ("actuator", *_indices),
        ("site", np.int64),  # the hand's
        ("base_site", np.int64),  # the arm's base
        ("base_moves", np.int64),  # 0 or 1, as all flags here
        ("command", np.int64),  # where the arm's command starts in the action
        ("command_size", np.int64),  # entries of it that are no gains
        (
            "impedance",
            np.int64,
        ),  # FIXED, VARIABLE (damping, kp, command), VARIABLE_KP (kp, command)
        ("delta", np.int64),  # goals are relative to the current position
        ("base_frame", np.int64),  # goals are in the frame of the arm's base, else the world's
        ("orientation", np.int64),  # the command has a rotation
        ("uncouple", np.int64),  # position and orientation apart
        ("fast", np.int64),  # torques right to rounding, not to the last bit
        ("input_low", *_entries),
        ("input_high", *_entries),
        ("input_middle", *_entries),
        ("output_scale", *_entries),
        ("output_middle", *_entries),
        ("goal_low", *_entries),  # limits of the goal
        ("goal_high", *_entries),
        ("kp", *_entries),
        ("ki", *_entries),
        ("kd", *_entries),
        ("kp_low", *_entries),
        ("kp_high", *_entries),
        ("damping_low", *_entries),
        ("damping_high", *_entries),
        ("torque_low", *_entries),  # limits inside the controller (N m)
        ("torque_high", *_entries),
        ("ctrl_low", *_entries),  # limits of the actuators
        ("ctrl_high", *_entries),
    ]
)

GRIPPER = np.dtype(
    [
        ("actuator", np.int64),
        ("source", np.int64),  # entry of the action that it follows
        ("rule", np.int64),  # COPY, integrate its SIGN, integrate its VALUE, or CONSTANT
        ("gain", np.float64),  # change per control step and unit, or the constant
        ("scaled", np.int64),  # whether the seven below apply
        ("input_low", np.float64),
        ("input_high", np.float64),
        ("input_middle", np.float64),
        ("output_scale", np.float64),
        ("output_middle", np.float64),
        ("weight", np.float64),  # from [-1, 1] to the actuator's range
        ("bias", np.float64),
        ("ctrl_low", np.float64),
        ("ctrl_high", np.float64),
    ]
)

ARM_MEMORY = np.dtype(
    [
        ("initial_joint", *_entries),  # where the null space pulls to (rad)
        ("last_error", *_entries),  # this and the rest are JOINT_VELOCITY's (rad/s)
        ("summed_error", *_entries),
        ("changes", np.float64, (5, MAX_JOINTS)),  # ring buffer of the last error differences
        ("newest", np.float64),  # its newest entry
        ("filled", np.float64),  # its entries in use
        ("saturated", np.float64),  # 0 or 1
    ]
)

GOAL = np.dtype(
    [
        ("base_pos", np.float64, (3,)),  # of the arm (m), as the goal was last looked at from there
        ("base_rotation", np.float64, (3, 3)),
        ("position", np.float64, (3,)),  # of the hand (m)
        ("rotation", np.float64, (3, 3)),
        ("world_position", np.float64, (3,)),  # the same in the world's frame
        ("world_rotation", np.float64, (3, 3)),
        ("joint", *_entries),  # joint positions, velocities or torques; for OSC the scaled command
        ("kp", *_entries),
        ("kd", *_entries),
    ]
)


class Memory:
    """What outlives a control step, as one vector float64 [M] and as tables that are views of it.

    Write into ``vector``, never replace it.
    """

    def __init__(self, arms: int, actuators: int) -> None:
        size = arms * ARM_MEMORY.itemsize // 8
        self.vector = np.zeros(size + actuators)
        self.arms = self.vector[:size].view(ARM_MEMORY)  # [P]
        self.openings = self.vector[size:]  # [G] the grippers' integrated commands
