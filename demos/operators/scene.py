"""What an operator sees at one moment, read by name from the state observation."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from demos.operators.tasks import Task
from robolearn.errors import SpecError
from robolearn.types import ArraySpec, Spec

# The Panda's last joint reaches 2.9 rad either way and stands at pi / 4 when the hand looks
# straight ahead, so the hand's yaw about the arm's bearing is limited to pi / 4 +- 2.9 rad. Keep
# a margin for the wrist's tilt.
WRIST_CENTRE_RAD = np.pi / 4
WRIST_REACH_RAD = 2.9 - 0.15


@dataclass(frozen=True)
class Scene:
    """Hand and object as seen: positions [3] in metres, rotation matrices [3, 3]."""

    hand: np.ndarray  # between the fingertips
    hand_rotation: np.ndarray  # x: along the palm, y: along the fingers' travel, z: approach
    opening_m: float  # between the fingers
    object: np.ndarray
    object_rotation: np.ndarray

    @property
    def object_yaw(self) -> float:
        """Direction of the object's x axis on the table, radians."""
        return _yaw(self.object_rotation)

    def tilt(self) -> np.ndarray:
        """Give the rotation vector [3] that would point the hand straight down."""
        return np.cross(self.hand_rotation[:, 2], [0.0, 0.0, -1.0])

    def grasp_point(self, task: Task, site: str) -> np.ndarray:
        """Give where on the object to grasp, in the world [3]."""
        return self.object + self.object_rotation @ np.asarray(task.grasp_sites[site])

    def wrist_centre(self, task: Task) -> float:
        """Give the hand's yaw in the middle of the wrist's range, here."""
        forward = self.hand[:2] - task.arm_xy_m
        return WRIST_CENTRE_RAD + float(np.arctan2(forward[1], forward[0]))

    def hand_yaw(self, task: Task) -> float:
        """Give the hand's yaw, unwrapped so that differences say which way the wrist can turn."""
        centre = self.wrist_centre(task)
        return centre + wrap(_yaw(self.hand_rotation) - centre, 2 * np.pi)


class Sight:
    """Reads Scenes from state vectors; raises SpecError where the state lacks something."""

    def __init__(self, interface: Spec, task: Task) -> None:
        state = interface.observations.get("state")
        if state is None:
            raise SpecError("a scripted operator needs the observation 'state'")
        self._hand = _columns(state, "robot0_eef_pos", 3)
        self._hand_quat = _columns(state, "robot0_eef_quat", 4)
        self._fingers = _columns(state, "robot0_gripper_qpos", 2)
        self._object = _columns(state, f"{task.object}_pos", 3)
        self._object_quat = _columns(state, f"{task.object}_quat", 4)

    def __call__(self, state: np.ndarray) -> Scene:
        """Read the Scene from one state vector [O]."""
        fingers = state[self._fingers]
        return Scene(
            hand=state[self._hand].astype(float),
            hand_rotation=_matrix(state[self._hand_quat]),
            opening_m=float(abs(fingers[0] - fingers[1])),
            object=state[self._object].astype(float),
            object_rotation=_matrix(state[self._object_quat]),
        )


def wrap(angle: float, period: float) -> float:
    """Give the angle's equal in [-period / 2, period / 2)."""
    return (angle + period / 2) % period - period / 2


def _columns(state: ArraySpec, name: str, size: int) -> np.ndarray:
    columns = state.index(name)
    if len(columns) != size:
        raise SpecError(f"the state has {len(columns)} entries '{name}' instead of {size}")
    return columns


def _matrix(quat_wxyz: np.ndarray) -> np.ndarray:
    return Rotation.from_quat(quat_wxyz[[1, 2, 3, 0]]).as_matrix()  # scipy: xyzw


def _yaw(rotation: np.ndarray) -> float:
    return float(np.arctan2(rotation[1, 0], rotation[0, 0]))
