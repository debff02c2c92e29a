"""A scripted operator: a demonstrator with a style, who sees and acts as a person would.

What it does is nearly a function of what it sees, so that a policy without memory can learn it: it
reaches, grasps, carries and releases, and which of these it is at shows in the positions and in the
opening of the hand. It remembers only that stage, its pauses, whether it has made its detour, and
the drift of its tremor.
"""

from dataclasses import dataclass
from enum import Enum

import numpy as np

from demos.operators.motion import (
    Tremor,
    beside,
    circling,
    glide,
    goal_turn,
    grasp_yaw,
    misalignment,
)
from demos.operators.scene import Scene, Sight
from demos.operators.styles import Style
from demos.operators.tasks import Task
from robolearn.errors import SpecError
from robolearn.types import Observation, Spec

OPEN, CLOSE = -1.0, 1.0
AT_GRASP_M = 0.012  # near enough to close the hand
AT_GOAL_M = 0.02  # near enough to let go
SLIPPED_M = 0.04  # so far from the grasp point the object is no longer in the hand
FIRM_M = 0.006  # more closed than the object's width plus this: the fingers touch it
EMPTY_M = 0.012  # more closed than the object's width less this: the fingers hold nothing
AT_DETOUR_M = 0.03  # near enough to the point beside the way to go on
LOWERED_M = 0.01  # so close above its goal the object may drop
TURN_SHARE = 0.8  # of the cruise speed: largest norm of the commanded rotation
REST_TREMOR = 0.25  # share of the tremor that is left at rest


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
    stage: Stage = Stage.REACH
    stage_steps: int = 0
    rest_steps: int = 0
    detour: np.ndarray | None = None  # the point beside the way [3], from the first step on
    detoured: bool = False


@dataclass(frozen=True)
class Intent:
    """What the operator wants now: displacement [3] metres, turn about the vertical, gripper."""

    offset: np.ndarray
    turn_rad: float
    gripper: float


class ScriptedOperator:
    """Policy of one operator for one task; batched over independent episodes.

    Needs the operational-space controller (a hand displacement [3], a rotation vector [3] and the
    gripper) and, in ``"state"``, the hand's, the fingers' and the object's pose; SpecError if not.
    """

    def __init__(self, task: Task, style: Style, interface: Spec, rng: np.random.Generator) -> None:
        if interface.robot not in ("", "Panda"):
            raise SpecError(f"scripted operators know the hand of Panda, not {interface.robot}")
        if interface.action.shape != (7,) or len(interface.action.scale) != 7:
            raise SpecError(
                "a scripted operator needs 7 action entries with their scale: "
                "displacement, rotation vector, gripper"
            )
        self._task, self._style, self._rng = task, style, rng
        self._sight = Sight(interface, task)
        self._scale = np.asarray(interface.action.scale[:6])
        self._period_s = interface.period_s
        self._minds: list[Mind] = []

    def reset(self, n: int) -> None:
        """Begin n episodes at once."""
        self._minds = [
            Mind(Tremor(self._style.noise_time_s, self._period_s, self._rng)) for _ in range(n)
        ]

    def act(self, observation: Observation, explore: bool = False) -> np.ndarray:
        """Choose actions float32 [N, 7]; the tremor is part of the operator, ``explore`` is not."""
        pairs = zip(self._minds, observation["state"], strict=True)
        return np.stack([self._move(mind, self._sight(state)) for mind, state in pairs])

    def _move(self, mind: Mind, scene: Scene) -> np.ndarray:
        self._think(mind, scene)
        intent = self._intent(mind, scene)
        if mind.rest_steps > 0:
            mind.rest_steps -= 1
            closed = mind.stage in (Stage.CARRY, Stage.RELEASE)
            intent = Intent(np.zeros(3), 0.0, CLOSE if closed else OPEN)
        action = self._command(intent, scene, mind.tremor())
        if self._style.fidget and self._waits_for_fingers(mind.stage, scene):
            action[:2] += self._style.fidget * circling(mind.stage_steps * self._period_s)
        return np.clip(action, -1.0, 1.0).astype(np.float32)

    def _think(self, mind: Mind, scene: Scene) -> None:
        """Go on to the next stage, or stop for a moment."""
        stage = self._next_stage(mind.stage, scene)
        mind.stage_steps += 1
        if stage is not mind.stage:
            mind.stage, mind.stage_steps = stage, 0
            mind.rest_steps = self._rest_steps(stage)
        elif mind.rest_steps == 0 and self._hesitates(stage):
            mind.rest_steps = round(self._style.hesitation_s / self._period_s)

    def _hesitates(self, stage: Stage) -> bool:
        """Draw whether to stop now; a style that never does draws nothing."""
        rate = self._style.hesitations_hz
        if rate == 0 or stage in (Stage.GRASP, Stage.RELEASE):
            return False
        return bool(self._rng.random() < 1.0 - np.exp(-rate * self._period_s))

    def _waits_for_fingers(self, stage: Stage, scene: Scene) -> bool:
        return stage is Stage.GRASP or (stage is Stage.RELEASE and self._holds(scene))

    def _rest_steps(self, stage: Stage) -> int:
        if stage in (Stage.GRASP, Stage.CARRY, Stage.RELEASE):
            return round(self._style.pause_s / self._period_s)
        return 0

    def _next_stage(self, stage: Stage, scene: Scene) -> Stage:
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

    def _intent(self, mind: Mind, scene: Scene) -> Intent:
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

    def _reach(self, mind: Mind, scene: Scene) -> Intent:
        offset, turn = self._to_grasp(scene)
        travel_m = self._task.top_m + self._approach_m
        if self._style.detour_m and not mind.detoured:
            if mind.detour is None:
                above = scene.hand + offset + np.array([0.0, 0.0, travel_m])
                arm_xy_m = self._task.arm_xy_m
                mind.detour = beside(scene.hand, above, arm_xy_m, self._style.detour_m)
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
        return point - scene.hand, yaw - scene.hand_yaw(self._task)

    def _to_goal(self, scene: Scene) -> np.ndarray:
        """Give the way of the object's centre to its goal [3]."""
        goal_xy = scene.object[:2] if self._task.goal_xy_m is None else self._task.goal_xy_m
        return np.array([*goal_xy, self._task.goal_z_m]) - scene.object

    def _retreat(self, scene: Scene) -> np.ndarray:
        """Give the way straight up and out [3], once the fingers have let go."""
        if self._holds(scene):
            return np.zeros(3)
        height = self._height_over(scene)
        return np.array([0.0, 0.0, self._task.top_m + self._style.high_approach_m - height])

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
        if self._task.goal_xy_m is None:
            return False
        offset = self._to_goal(scene)
        low = -offset[2] < LOWERED_M + self._style.early_m
        return misalignment(offset, 0.0) < AT_GOAL_M and low

    def _clear(self, scene: Scene) -> bool:
        return self._height_over(scene) > self._task.top_m + self._style.correction_m

    def _command(self, intent: Intent, scene: Scene, tremor: np.ndarray) -> np.ndarray:
        """Turn an intent into an action [7], not yet clipped: proportional, up to cruise speed."""
        speed, gain = self._style.speed, self._style.gain
        rotation = scene.tilt() + np.array([0.0, 0.0, intent.turn_rad])
        translate = _at_most(gain * intent.offset / self._scale[:3], speed)
        rotate = _at_most(gain * rotation / self._scale[3:], TURN_SHARE * speed)
        effort = float(np.linalg.norm(translate)) / speed
        shake = self._style.noise * (REST_TREMOR + (1.0 - REST_TREMOR) * effort) * tremor
        action = np.array([*translate, *rotate, intent.gripper])
        action[:6] += shake
        return action


def _at_most(vector: np.ndarray, norm: float) -> np.ndarray:
    """Shorten the vector to ``norm`` if it is longer."""
    length = float(np.linalg.norm(vector))
    return vector if length <= norm else vector * (norm / length)
