"""What a tabletop episode rewards, forbids and asks for, for N episodes as arrays.

**Reward terms.** ``reach`` is 1 - tanh(10 d), d the distance from the hand to the nearest object.
VIOLATIONS are 1 in a step in which they happen, else 0:

- ``table_force``: the largest force on the table within the step is above ``force_limit_n``
- ``joint_limits``: a joint is within 0.05 rad of its limit
- ``workspace``: the hand is more than 1 cm outside. A target that is clipped is no violation.
- ``thrown``: an object is beyond the table's edge; this ends the episode (``terminated``)
- ``self_collision``: the hand touched the arm

With a goal there are ``goal_position``, 1 - tanh(5 d), and for poses ``goal_yaw``, 1 - error / pi,
both means over the objects. The reward is the sum of the terms, violations taken as negative.

**Success.** With a goal: every object is within 5 cm of it, and within 15 degrees for poses (a cube
looks the same after a quarter turn, a cylinder after any turn). Without a goal: an object is 5 cm
above its place on the table.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim.rendering.images import CameraOptions
from sim.tabletop.model import ARM_JOINTS, KINDS, TABLE_HALF_M
from sim.tabletop.physics import WORKSPACE_HIGH_M, WORKSPACE_LOW_M, TabletopPhysics
from sim.tabletop.state import Objects

VIOLATIONS = ("table_force", "joint_limits", "workspace", "thrown", "self_collision")
GOALS = ("position", "pose")
DRAWN_M = np.array([0.15, 0.2])  # objects and goals are drawn within this of the table's centre
APART_M = 0.12  # between two objects, and between two goals
JOINT_MARGIN_RAD, WORKSPACE_MARGIN_M = 0.05, 0.01
NEAR_M, NEAR_RAD, LIFTED_M = 0.05, np.deg2rad(15), 0.05


@dataclass(frozen=True)
class TabletopOptions(CameraOptions):
    """Options of ``make("tabletop/OBJECTS", ...)``.

    Its cameras: front, side, top, eye_in_hand, robotview, free.
    """

    goal: str | None = None
    """None, "position" (where every object should be) or "pose" (its yaw too)."""
    goal_height_m: float = 0.0
    """Goals are drawn up to this far above the table; 0 for goals on it."""
    offsets: bool = False
    """Whether the state also says how far objects are from the hand and goals from objects."""
    force_limit_n: float = 30.0
    """Force on the table above which a step violates ``table_force``."""
    horizon: int = 50
    """Control steps of 0.1 s after which an episode is truncated."""
    near_share: float = 0.0
    """Share of the episodes that begin with the open hand around an object, or right above it."""
    held_share: float = 0.0
    """Share of the episodes that begin with an object in the hand, on the table or above."""


@dataclass(frozen=True)
class Outcome:
    """What the last step gave in each of N episodes."""

    reward: np.ndarray  # [N] float64
    thrown: np.ndarray  # [N] bool
    success: np.ndarray  # [N] bool
    terms: dict[str, np.ndarray]  # name -> [N]


class Task:
    """Rewards and goals for K objects of these kinds."""

    def __init__(self, kinds: list[str], options: TabletopOptions, joint_range: np.ndarray) -> None:
        self._options = options
        self._half_heights = np.array([KINDS[kind].half_height_m for kind in kinds])  # [K]
        self._symmetries = np.array([KINDS[kind].symmetry for kind in kinds])  # [K]
        self._joint_low = joint_range[:, 0] + JOINT_MARGIN_RAD
        self._joint_high = joint_range[:, 1] - JOINT_MARGIN_RAD

    def outcome(self, physics: TabletopPhysics, objects: Objects, goals: np.ndarray) -> Outcome:
        """Judge the last step; ``goals`` [N, K, 4] are x, y, z and yaw."""
        from_hand = objects.pos - physics.hand_pos[:, None]
        distance = np.linalg.norm(from_hand, axis=-1).min(1)
        terms = {"reach": 1 - np.tanh(10 * distance)}
        success = (objects.pos[..., 2] - self._half_heights > LIFTED_M).any(1)
        if self._options.goal is not None:
            away = np.linalg.norm(objects.pos - goals[..., :3], axis=-1)  # [N, K]
            terms["goal_position"] = (1 - np.tanh(5 * away)).mean(1)
            success = (away < NEAR_M).all(1)
        if self._options.goal == "pose":
            error = self.yaw_error(objects, goals[..., 3])
            terms["goal_yaw"] = (1 - error / np.pi).mean(1)
            success &= (error < NEAR_RAD).all(1)
        violations = self._violations(physics, objects)
        reward = sum(terms.values()) - sum(violations.values())
        return Outcome(reward, violations["thrown"] > 0, success, terms | violations)

    def yaw_error(self, objects: Objects, yaw: np.ndarray) -> np.ndarray:
        """Give the angle [N, K] to goals [N, K], at most pi and 0 for what looks the same."""
        # Of an object that lies on its side the x axis may be upright; its y axis then is not.
        level = np.abs(objects.xaxis[..., 2:]) < 0.7
        axis = np.where(level, objects.xaxis, objects.yaxis)
        folds = np.maximum(self._symmetries, 1)
        turn = folds * (np.arctan2(axis[..., 1], axis[..., 0]) - yaw)
        error = np.abs(np.arctan2(np.sin(turn), np.cos(turn))) / folds
        return np.where(self._symmetries > 0, error, 0.0)

    def draw_places(self, rng: np.random.Generator) -> np.ndarray:
        """Draw a place on the table [K, 2] for every object, not too near to each other."""
        while True:
            places = rng.uniform(-DRAWN_M, DRAWN_M, (len(self._half_heights), 2))
            gaps = np.linalg.norm(places[:, None] - places, axis=-1)
            if (gaps[np.triu_indices(len(places), 1)] > APART_M).all():
                return places

    def draw_goals(self, rng: np.random.Generator) -> np.ndarray:
        """Draw goals [K, 4]; yaws within the angle after which the object looks the same."""
        heights = self._half_heights + rng.uniform(0, self._options.goal_height_m)
        yaws = rng.uniform(-np.pi, np.pi, len(heights)) / np.maximum(self._symmetries, 1)
        yaws[self._symmetries == 0] = 0.0
        return np.column_stack([self.draw_places(rng), heights, yaws])

    def _violations(self, physics: TabletopPhysics, objects: Objects) -> dict[str, np.ndarray]:
        joints = physics.qpos[:, :ARM_JOINTS]
        low, high = WORKSPACE_LOW_M - WORKSPACE_MARGIN_M, WORKSPACE_HIGH_M + WORKSPACE_MARGIN_M
        found = (
            physics.force > self._options.force_limit_n,
            ((joints < self._joint_low) | (joints > self._joint_high)).any(1),
            ((physics.hand_pos < low) | (physics.hand_pos > high)).any(1),
            (np.abs(objects.pos[..., :2]) > TABLE_HALF_M).any((1, 2)),
            physics.touch > 0,
        )
        return {name: one.astype(float) for name, one in zip(VIOLATIONS, found, strict=True)}
