"""An arm as MuJoCo has it: which joints of the model are the robot's, and where its hand is.

Positions [J] of the robot are in ``robots.base``'s units. A gripper's share of opening may stand
for several joints of the model (two fingers).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np

from robolearn.settings import Settings
from robots.base import Joint, Kind, RobotError

MODELS = Path(__file__).parent / "models"


@dataclass(frozen=True)
class Place:
    """One joint of the model that a joint of the robot moves: model = offset + gain * robot."""

    joint: int  # of the robot
    name: str  # in the model
    offset: float
    gain: float


class ArmModel:
    """A MuJoCo model, and the robot's joints in it."""

    def __init__(
        self,
        name: str,
        joints: Sequence[Joint],
        model: mujoco.MjModel,
        places: Sequence[Place],
        hands: Sequence[str],
        home: Sequence[float],
        joined: int = 1,
    ) -> None:
        """``hands`` are the sites between fingers, one for each arm; the first is ``hand``.

        ``home`` [J] is a pose in which nothing touches. Bodies of one arm that at most ``joined``
        joints separate cannot touch in any pose.
        """
        self.joined = joined
        self.name, self.joints, self.model = name, tuple(joints), model
        self.hands = [model.site(hand).id for hand in hands]
        self.hand = self.hands[0]
        self.home = np.array(home, np.float64)
        ids = [model.joint(place.name).id for place in places]
        self.joint_ids = np.array(ids)
        self.qpos_at, self.dof_at = model.jnt_qposadr[ids], model.jnt_dofadr[ids]
        self.of_joint = np.array([place.joint for place in places])
        self.offset = np.array([place.offset for place in places])
        self.gain = np.array([place.gain for place in places])
        found = [np.flatnonzero(self.of_joint == j) for j in range(len(self.joints))]
        self._first = np.array([where[0] for where in found])  # which of the places is read
        self._scratch = mujoco.MjData(model)
        self._scratch.qpos[:] = model.qpos0

    def to_model(self, positions: np.ndarray) -> np.ndarray:
        """Give the model's joints [P] for positions [J]."""
        return self.offset + self.gain * np.asarray(positions)[self.of_joint]

    def positions(self, data: mujoco.MjData) -> np.ndarray:
        """Read positions [J]."""
        values = (data.qpos[self.qpos_at] - self.offset) / self.gain
        return values[self._first]

    def velocities(self, data: mujoco.MjData) -> np.ndarray:
        """Read velocities [J]."""
        return (data.qvel[self.dof_at] / self.gain)[self._first]

    def put(self, data: mujoco.MjData, positions: np.ndarray) -> None:
        """Write positions [J], at rest."""
        data.qpos[self.qpos_at] = self.to_model(positions)
        data.qvel[self.dof_at] = 0.0

    def kinematics(self, positions: np.ndarray) -> mujoco.MjData:
        """Give poses of bodies and sites at positions [J], in a data that the next call changes."""
        data = self._scratch
        data.qpos[self.qpos_at] = self.to_model(positions)
        mujoco.mj_kinematics(self.model, data)
        return data

    def hand_pose(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Give the hand's position [3] (m) and rotation [3, 3] at positions [J]."""
        data = self.kinematics(positions)
        return data.site_xpos[self.hand].copy(), data.site_xmat[self.hand].reshape(3, 3).copy()

    def jacobian(self, positions: np.ndarray) -> np.ndarray:
        """Give how the hand moves [6, J], linear above angular, for each joint; grippers: zero."""
        data = self.kinematics(positions)
        mujoco.mj_comPos(self.model, data)
        linear, angular = np.zeros((2, 3, self.model.nv))
        mujoco.mj_jacSite(self.model, data, linear, angular, self.hand)
        full = np.concatenate([linear, angular])[:, self.dof_at] * self.gain
        moved = np.zeros((6, len(self.joints)))
        np.add.at(moved.T, self.of_joint, full.T)
        moved[:, [joint.kind is Kind.GRIPPER for joint in self.joints]] = 0.0
        return moved


DESK_ARM = MODELS / "desk_arm.xml"
DESK_HOME = (0, -0.3, 0.6, 0.7, 0, 0.5)


@dataclass(frozen=True)
class Stand(Settings):
    """Where an arm stands on a table that it shares with others."""

    at_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Of its base, in the world of all."""
    yaw_rad: float = 0.0
    """By how much it is turned, about the vertical, to the left."""


def desk_arm() -> ArmModel:
    """Give the desk arm of ``models/desk_arm.xml``, with the joints of an SO-101."""
    return _desk_arms("desk_arm", mujoco.MjModel.from_xml_path(str(DESK_ARM)), [""])


def desk_arms(stands: Mapping[str, Stand]) -> ArmModel:
    """Give several desk arms as one model; what each has begins with its name: ``left_hand``."""
    world = mujoco.MjSpec()
    for name, stand in stands.items():
        turned = [np.cos(stand.yaw_rad / 2), 0.0, 0.0, np.sin(stand.yaw_rad / 2)]
        frame = world.worldbody.add_frame(pos=stand.at_m, quat=turned)
        world.attach(mujoco.MjSpec.from_file(str(DESK_ARM)), prefix=f"{name}_", frame=frame)
    return _desk_arms("desk_arms", world.compile(), [f"{name}_" for name in stands])


def _desk_arms(name: str, model: mujoco.MjModel, prefixes: Sequence[str]) -> ArmModel:
    joints, places = [], []
    for j in range(model.njnt):
        joint, (low, high) = model.joint(j).name, model.jnt_range[j]
        if joint.endswith("gripper"):
            joints.append(Joint(joint, Kind.GRIPPER, 0, 1, 2.0, 15.0, 300.0, stroke_m=0.08))
            places.append(Place(j, joint, low, high - low))
        else:
            joints.append(Joint(joint, Kind.REVOLUTE, low, high, 4.0, 20.0, 400.0))
            places.append(Place(j, joint, 0.0, 1.0))
    hands = [f"{prefix}hand" for prefix in prefixes]
    return ArmModel(name, joints, model, places, hands, DESK_HOME * len(prefixes))


PANDA_LIMITS = (  # lower, upper (rad), velocity, acceleration, jerk: Franka's, per joint
    (-2.8973, 2.8973, 2.175, 15.0, 7500.0),
    (-1.7628, 1.7628, 2.175, 7.5, 3750.0),
    (-2.8973, 2.8973, 2.175, 10.0, 5000.0),
    (-3.0718, -0.0698, 2.175, 12.5, 6250.0),
    (-2.8973, 2.8973, 2.61, 15.0, 7500.0),
    (-0.0175, 3.7525, 2.61, 20.0, 10000.0),
    (-2.8973, 2.8973, 2.61, 20.0, 10000.0),
)
PANDA_HOME = (0, np.pi / 16, 0, -np.pi / 2 - np.pi / 3, 0, np.pi - 0.2, np.pi / 4, 1)
FINGER_M = 0.04  # how far each finger of the Panda's gripper goes


def panda(
    model: mujoco.MjModel, prefix: str = "robot0_", gripper: str = "gripper0_right_"
) -> ArmModel:
    """Give the Panda in a model of robosuite's.

    Raises RobotError where the model has no such arm.
    """
    names = [f"{prefix}joint{i + 1}" for i in range(7)]
    fingers = [f"{gripper}finger_joint{i}" for i in (1, 2)]
    there = {model.joint(i).name for i in range(model.njnt)}
    if not {*names, *fingers} <= there:
        raise RobotError("panda: this environment has no Panda with its own gripper")
    joints = [
        Joint(f"joint{i + 1}", Kind.REVOLUTE, *limits) for i, limits in enumerate(PANDA_LIMITS)
    ]
    joints.append(Joint("gripper", Kind.GRIPPER, 0, 1, 2.5, 25.0, 1000.0, stroke_m=2 * FINGER_M))
    places = [Place(i, name, 0.0, 1.0) for i, name in enumerate(names)]
    places += [Place(7, fingers[0], 0.0, FINGER_M), Place(7, fingers[1], 0.0, -FINGER_M)]
    return ArmModel("Panda", joints, model, places, [f"{gripper}grip_site"], PANDA_HOME, 2)


def home_positions(arm: ArmModel) -> Mapping[str, float]:
    """Give the home pose by the names of an action."""
    return {f"{j.name}.pos": float(v) for j, v in zip(arm.joints, arm.home, strict=True)}
