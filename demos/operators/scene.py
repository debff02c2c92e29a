"""What an operator sees at one moment, read by name from the state observation."""

from collections.abc import Callable
from dataclasses import dataclass, field

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
TABLETOP_REACH_RAD = np.pi / 2  # our tabletop's own limit about straight ahead
LIFTED_M = 0.1  # above the table, where that is all that is asked


@dataclass(frozen=True)
class Goal:
    """Where the object's centre shall go: metres, radians; None where any place or yaw will do."""

    xy_m: np.ndarray | tuple[float, float] | None
    z_m: float
    yaw_rad: float | None


@dataclass(frozen=True)
class Scene:
    """Hand and object as seen: positions [3] in metres, rotation matrices [3, 3]."""

    hand: np.ndarray  # between the fingertips
    hand_rotation: np.ndarray  # x: along the palm, y: along the fingers' travel, z: approach
    opening_m: float  # between the fingers
    object: np.ndarray
    object_rotation: np.ndarray
    goal: Goal
    wrist_centre: float  # the hand's yaw in the middle of the wrist's range, here
    wrist_reach: float  # and how far it turns from that
    ahead: np.ndarray = field(default_factory=lambda: np.zeros(3))  # of a target that it follows

    @property
    def object_yaw(self) -> float:
        """Direction of the object's x axis on the table, radians."""
        return _yaw(self.object_rotation)

    @property
    def hand_yaw(self) -> float:
        """The hand's yaw, unwrapped so that differences say which way the wrist can turn."""
        yaw = _yaw(self.hand_rotation)
        return self.wrist_centre + wrap(yaw - self.wrist_centre, 2 * np.pi)

    def tilt(self) -> np.ndarray:
        """Give the rotation vector [3] that would point the hand straight down."""
        x, y, _ = self.hand_rotation[:, 2]
        return np.array([-y, x, 0.0])  # its cross product with down

    def grasp_point(self, task: Task, site: str) -> np.ndarray:
        """Give where on the object to grasp, in the world [3]."""
        return self.object + self.object_rotation @ np.asarray(task.grasp_sites[site])


Sight = Callable[[np.ndarray], Scene]  # from a state [O]


class RobosuiteSight:
    """Reads Scenes from robosuite's states; raises SpecError where the state lacks something."""

    def __init__(self, interface: Spec, task: Task) -> None:
        state = _state(interface)
        self._hand = _columns(state, "robot0_eef_pos", 3)
        self._fingers = _columns(state, "robot0_gripper_qpos", 2)
        self._object = _columns(state, f"{task.object}_pos", 3)
        names = ("robot0_eef_quat", f"{task.object}_quat")
        self._quats = np.array([_columns(state, name, 4) for name in names])
        self._arm_xy_m = task.arm_xy_m
        self._goal = Goal(task.goal_xy_m, task.goal_z_m, task.goal_yaw_rad)

    def __call__(self, state: np.ndarray) -> Scene:
        """Read the Scene from one state vector [O]."""
        fingers = state[self._fingers]
        hand = state[self._hand].astype(float)
        forward = hand[:2] - self._arm_xy_m
        hand_rotation, object_rotation = _matrices(state[self._quats])
        return Scene(
            hand=hand,
            hand_rotation=hand_rotation,
            opening_m=float(abs(fingers[0] - fingers[1])),
            object=state[self._object].astype(float),
            object_rotation=object_rotation,
            goal=self._goal,
            wrist_centre=WRIST_CENTRE_RAD + float(np.arctan2(forward[1], forward[0])),
            wrist_reach=WRIST_REACH_RAD,
        )


class TabletopSight:
    """Reads Scenes from our tabletop's states; raises SpecError where the state lacks something.

    Without goals in the state the object shall go up, by ``LIFTED_M``.
    """

    def __init__(self, interface: Spec, task: Task) -> None:
        state, name = _state(interface), task.object
        self._hand = _columns(state, "hand_pos", 3)
        self._hand_yaw = [_columns(state, f"hand_yaw_{part}", 1)[0] for part in ("cos", "sin")]
        self._ahead = _columns(state, "hand_target", 3)
        self._opening = _columns(state, "gripper_opening", 1)[0]
        self._object = _columns(state, f"{name}_pos", 3)
        self._axes = [_columns(state, f"{name}_{axis}", 3) for axis in ("xaxis", "zaxis")]
        self._up = Goal(None, task.goal_z_m + LIFTED_M, None)
        self._goal, self._goal_yaw = None, None
        if f"goal_{name}_pos_x" in state.names:
            self._goal = _columns(state, f"goal_{name}_pos", 3)
        if f"goal_{name}_yaw_cos" in state.names and task.goal_symmetry_rad:
            self._goal_yaw = _columns(state, f"goal_{name}_yaw", 2)

    def __call__(self, state: np.ndarray) -> Scene:
        """Read the Scene from one state vector [O]."""
        cos, sin = (float(state[column]) for column in self._hand_yaw)
        xaxis, zaxis = (state[axis].astype(float) for axis in self._axes)
        return Scene(
            hand=state[self._hand].astype(float),
            hand_rotation=np.array([[cos, sin, 0.0], [sin, -cos, 0.0], [0.0, 0.0, -1.0]]),
            opening_m=float(state[self._opening]),
            object=state[self._object].astype(float),
            object_rotation=np.stack([xaxis, np.cross(zaxis, xaxis), zaxis], axis=1),
            goal=self._seen_goal(state),
            wrist_centre=0.0,
            wrist_reach=TABLETOP_REACH_RAD,
            ahead=state[self._ahead].astype(float),
        )

    def _seen_goal(self, state: np.ndarray) -> Goal:
        if self._goal is None:
            return self._up
        x, y, z = state[self._goal].astype(float)
        if self._goal_yaw is None:
            return Goal((x, y), z, None)
        cos, sin = state[self._goal_yaw]
        return Goal((x, y), z, float(np.arctan2(sin, cos)))


def wrap(angle: float, period: float) -> float:
    """Give the angle's equal in [-period / 2, period / 2)."""
    return (angle + period / 2) % period - period / 2


def _state(interface: Spec) -> ArraySpec:
    if "state" not in interface.observations:
        raise SpecError("a scripted operator needs the observation 'state'")
    return interface.observations["state"]


def _columns(state: ArraySpec, name: str, size: int) -> np.ndarray:
    columns = state.index(name)
    if len(columns) != size:
        raise SpecError(f"the state has {len(columns)} entries '{name}' instead of {size}")
    return columns


def _matrices(quats_wxyz: np.ndarray) -> np.ndarray:
    return Rotation.from_quat(quats_wxyz[:, [1, 2, 3, 0]]).as_matrix()  # scipy: xyzw


def _yaw(rotation: np.ndarray) -> float:
    return float(np.arctan2(rotation[1, 0], rotation[0, 0]))
