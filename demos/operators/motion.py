"""How an operator's hand moves: smooth functions of what is seen, and a trembling hand."""

import numpy as np

from demos.operators.scene import Scene, wrap
from demos.operators.tasks import Task

# The hand descends inside a funnel over its target: so far off (metres, yaw counted by a lever) it
# may be at the bottom, and so much higher it stays per metre beyond.
FUNNEL_M = 0.005
FUNNEL_SLOPE = 8.0
YAW_LEVER_M = 0.05
GATE_M = 0.03  # height error over which travel across fades out
CIRCLE_S = 0.4  # period of a fidgeting hand: about as long as the fingers take


def misalignment(offset_m: np.ndarray, turn_rad: float) -> float:
    """Say how far from above the target the hand is: metres, from offset [3] and yaw error."""
    return max(float(np.hypot(offset_m[0], offset_m[1])), YAW_LEVER_M * abs(turn_rad))


def glide(
    offset: np.ndarray, turn_rad: float, travel_m: float, *, sink_first: bool = False
) -> np.ndarray:
    """Give the displacement [3] that the hand wants, to go over the target and then down.

    ``offset`` [3] leads to the target, ``turn_rad`` is the yaw still to turn. Away from the target
    the hand stays ``travel_m`` above it: it goes across only once it is as high as that, and with
    ``sink_first`` only once it is as low as that.
    """
    excess = FUNNEL_SLOPE * (misalignment(offset, turn_rad) - FUNNEL_M)
    climb = offset[2] + float(np.clip(excess, 0.0, travel_m))
    gate = np.clip(1.0 - climb / GATE_M, 0.0, 1.0)
    if sink_first:
        too_high = -offset[2] - travel_m
        gate *= np.clip(1.0 - too_high / GATE_M, 0.0, 1.0)
    return np.array([gate * offset[0], gate * offset[1], climb])


def beside(start: np.ndarray, end: np.ndarray, task: Task, aside_m: float) -> np.ndarray:
    """Give the point [3] at ``end``'s height, ``aside_m`` sideways of the middle of a way.

    It lies on the arm's side of the way from ``start`` [3] to ``end`` [3], so that it is in reach,
    or at the border of the task's workspace if that comes first.
    """
    way, middle = end[:2] - start[:2], (start[:2] + end[:2]) / 2
    sideways = np.array([-way[1], way[0]]) / max(float(np.linalg.norm(way)), 1e-6)
    side = 1.0 if sideways @ (np.asarray(task.arm_xy_m) - middle) >= 0 else -1.0
    point = middle + side * aside_m * sideways
    if task.workspace_xy_m is not None:
        point = np.clip(point, *task.workspace_xy_m)
    return np.append(point, end[2])


def circling(time_s: float) -> np.ndarray:
    """Give the velocity [2] of a hand that goes in circles: of length 1, turning with time."""
    angle = 2 * np.pi * time_s / CIRCLE_S
    return np.array([np.cos(angle), np.sin(angle)])


def grasp_yaw(scene: Scene, task: Task, side: str) -> float:
    """Choose the hand's yaw for a grasp, unwrapped about the wrist's range.

    ``near`` is the one closest to the hand looking straight ahead; ``opposite`` is
    ``task.opposite_rad`` away from that, if the wrist can reach it.
    """
    near = wrap(scene.object_yaw, task.symmetry_rad) if task.symmetry_rad else 0.0
    if side == "near":
        return near
    centre = scene.wrist_centre
    candidates = (near + task.opposite_rad, near - task.opposite_rad)
    opposite = min(candidates, key=lambda yaw: abs(yaw - centre))
    return opposite if abs(opposite - centre) <= scene.wrist_reach else near


def goal_turn(scene: Scene, task: Task) -> float:
    """Give the least turn within the wrist's reach that makes the held object fit its goal."""
    if scene.goal.yaw_rad is None:
        return 0.0
    least = wrap(scene.goal.yaw_rad - scene.object_yaw, task.goal_symmetry_rad)
    other = least - np.copysign(task.goal_symmetry_rad, least)
    turned = scene.hand_yaw + least - scene.wrist_centre
    return least if abs(turned) <= scene.wrist_reach else other


class Tremor:
    """An Ornstein-Uhlenbeck process [6] with unit standard deviation, in steps of ``period_s``."""

    def __init__(self, time_s: float, period_s: float, rng: np.random.Generator) -> None:
        self._keep = float(np.exp(-period_s / time_s))
        self._rng = rng
        self._value = rng.standard_normal(6)

    def __call__(self) -> np.ndarray:
        """Take one step and give the value [6]."""
        fresh = np.sqrt(1.0 - self._keep**2) * self._rng.standard_normal(6)
        self._value = self._keep * self._value + fresh
        return self._value
