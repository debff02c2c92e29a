"""How a person with a style handles one object: reach, grasp, carry, release, or back off.

What is wanted at each of these stages is a function of what is seen; which comes next, too.
"""

from dataclasses import dataclass
from enum import Enum

import numpy as np

from demos.operators.motion import Tremor, beside, glide, goal_turn, grasp_yaw, misalignment
from demos.operators.scene import Scene
from demos.operators.styles import Style
from demos.operators.tasks import Task

OPEN, CLOSE = -1.0, 1.0
AT_GRASP_M = 0.012  # near enough to close the hand
AT_GOAL_M = 0.02  # near enough to let go
SLIPPED_M = 0.04  # so far from the grasp point the object is no longer in the hand
FIRM_M = 0.006  # more closed than the object's width plus this: the fingers touch it
EMPTY_M = 0.012  # more closed than the object's width less this: the fingers hold nothing
AT_DETOUR_M = 0.03  # near enough to the point beside the way to go on
LOWERED_M = 0.01  # so close above its goal the object may drop


class Stage(Enum):
    """What the operator is at."""

    REACH = "reach"
    GRASP = "grasp"
    CARRY = "carry"
    RELEASE = "release"
    BACK_OFF = "back off"


@dataclass
class Mind:
    """What an operator remembers during one episode."""

    tremor: Tremor
    turn: int = 0  # whose turn it is, of the task's objects
    stage: Stage = Stage.REACH
    stage_steps: int = 0
    rest_steps: int = 0
    detour: np.ndarray | None = None  # the point beside the way [3], from the first step on
    detoured: bool = False

    def begin_turn(self, turn: int) -> None:
        """Turn to another object, as if nothing had been done yet."""
        self.turn, self.stage, self.stage_steps, self.rest_steps = turn, Stage.REACH, 0, 0
        self.detour, self.detoured = None, False


@dataclass(frozen=True)
class Intent:
    """What the operator wants now: displacement [3] metres, turn about the vertical, gripper."""

    offset: np.ndarray
    turn_rad: float
    gripper: float


class Handling:
    """One object and one style: what to want, and when a stage is over."""

    def __init__(self, task: Task, style: Style) -> None:
        self._task, self._style = task, style

    def next_stage(self, stage: Stage, scene: Scene) -> Stage:
        """Say what comes after ``stage``, from what is seen."""
        match stage:
            case Stage.REACH if self._at_grasp(scene):
                return Stage.GRASP
            case Stage.GRASP | Stage.CARRY if self._empty_handed(scene):
                return Stage.BACK_OFF
            case Stage.GRASP if self._holds(scene):
                return Stage.CARRY
            case Stage.CARRY if self._at_goal(scene):
                return Stage.RELEASE
            case Stage.RELEASE | Stage.BACK_OFF if self._clear(scene) and not self._at_goal(scene):
                return Stage.REACH
        return stage

    def finished(self, stage: Stage, scene: Scene) -> bool:
        """Say whether the object is at its goal and the hand has let it go and left."""
        return stage is Stage.RELEASE and self._clear(scene) and self._at_goal(scene)

    def intent(self, mind: Mind, scene: Scene) -> Intent:
        """Say what is wanted now; the first call on the way to the object fixes the detour."""
        match mind.stage:
            case Stage.REACH:
                return self._reach(mind, scene)
            case Stage.GRASP:
                return Intent(*self._to_grasp(scene), CLOSE)
            case Stage.CARRY:
                turn = goal_turn(scene, self._task)
                travel_m = self._task.clear_z_m - self._task.goal_z_m
                travel_m += self._style.transport_height_m
                return Intent(glide(self._to_goal(scene), turn, travel_m), turn, CLOSE)
        return Intent(self._retreat(scene), 0.0, OPEN)

    def waits_for_fingers(self, stage: Stage, scene: Scene) -> bool:
        """Say whether the hand would rest until the fingers have closed or opened."""
        return stage is Stage.GRASP or (stage is Stage.RELEASE and self._holds(scene))

    def _reach(self, mind: Mind, scene: Scene) -> Intent:
        offset, turn = self._to_grasp(scene)
        travel_m = self._task.top_m + self._approach_m
        if self._style.detour_m and not mind.detoured:
            if mind.detour is None:
                above = scene.hand + offset + np.array([0.0, 0.0, travel_m])
                mind.detour = beside(scene.hand, above, self._task, self._style.detour_m)
            aside = mind.detour - scene.hand
            mind.detoured = float(np.hypot(aside[0], aside[1])) < AT_DETOUR_M
            if not mind.detoured:
                return Intent(aside, turn, OPEN)
        sink_first = self._style.order == "down_then_across"
        return Intent(glide(offset, turn, travel_m, sink_first=sink_first), turn, OPEN)

    @property
    def _approach_m(self) -> float:
        if self._style.order == "across_then_down":
            return self._style.high_approach_m
        return self._style.low_approach_m

    def _to_grasp(self, scene: Scene) -> tuple[np.ndarray, float]:
        """Give the way to the grasp: displacement [3] and turn."""
        point = scene.grasp_point(self._task, self._style.grasp_site)
        yaw = grasp_yaw(scene, self._task, self._style.grasp_side)
        return point - scene.hand, yaw - scene.hand_yaw

    def _to_goal(self, scene: Scene) -> np.ndarray:
        """Give the way of the object's centre to its goal [3]."""
        goal_xy = scene.object[:2] if scene.goal.xy_m is None else scene.goal.xy_m
        return np.array([*goal_xy, scene.goal.z_m]) - scene.object

    def _retreat(self, scene: Scene) -> np.ndarray:
        """Give the way up and out [3], once the fingers have let go."""
        if self._holds(scene):
            return np.zeros(3)
        height = self._height_over(scene)
        up_m = self._task.top_m + self._style.high_approach_m - height
        return np.array([*self._back(scene), up_m])

    def _back(self, scene: Scene) -> np.ndarray:
        """Give the way back towards the arm [2], where straight up would stretch it too far."""
        if self._task.leave_m == 0:
            return np.zeros(2)
        site = self._task.grasp_sites[self._style.grasp_site]
        left_m = np.hypot(*(scene.hand - scene.object)[:2]) - np.hypot(*site[:2])
        to_arm = self._task.arm_xy_m - scene.hand[:2]
        return to_arm / np.linalg.norm(to_arm) * max(self._task.leave_m - left_m, 0.0)

    def _height_over(self, scene: Scene) -> float:
        point = scene.grasp_point(self._task, self._style.grasp_site)
        return float(scene.hand[2] - point[2])

    def _holds(self, scene: Scene) -> bool:
        """Say whether the fingers touch what is between them, if anything is."""
        return scene.opening_m < self._task.width_m + FIRM_M

    def _at_grasp(self, scene: Scene) -> bool:
        offset, turn = self._to_grasp(scene)
        near = abs(offset[2]) < AT_GRASP_M + self._style.early_m
        return misalignment(offset, turn) < AT_GRASP_M and near

    def _empty_handed(self, scene: Scene) -> bool:
        offset, _ = self._to_grasp(scene)
        slipped = float(np.linalg.norm(offset)) > SLIPPED_M
        return slipped or scene.opening_m < self._task.width_m - EMPTY_M

    def _at_goal(self, scene: Scene) -> bool:
        if scene.goal.xy_m is None or self._in_the_air(scene):
            return False
        offset = self._to_goal(scene)
        low = -offset[2] < LOWERED_M + self._style.early_m
        return misalignment(offset, 0.0) < AT_GOAL_M and low

    def _in_the_air(self, scene: Scene) -> bool:
        """Say whether the goal is one at which an object stays in the hand."""
        return self._task.tabletop and scene.goal.z_m > self._task.goal_z_m + LOWERED_M

    def _clear(self, scene: Scene) -> bool:
        return self._height_over(scene) > self._task.top_m + self._style.correction_m
