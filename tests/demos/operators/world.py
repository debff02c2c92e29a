"""A world without physics for scripted operators: a hand, an object, and what happened."""

import dataclasses

import numpy as np

from demos.operators import STYLES, TASKS, Style, make_operator
from robolearn.types import ArraySpec, Spec

SCALE = (0.05, 0.05, 0.05, 0.5, 0.5, 0.5, 1.0)
PERIOD_S = 0.05
MOVED = 0.3  # share of a commanded displacement that the hand travels in one period
STARTS = {
    "Lift": (0.05, 0.1, 0.83, 0.3),
    "PickPlaceCan": (0.15, -0.3, 0.86, 0.0),
    "NutAssemblySquare": (0.02, 0.18, 0.83, np.pi - 0.6),
    "NutAssemblyRound": (0.02, -0.18, 0.83, np.pi - 0.9),
}


def interface_of(task: str, robot: str = "Panda", **sizes: int) -> Spec:
    """Give the interface of a task; ``sizes`` replaces the sizes of entries by name."""
    entries = {
        "robot0_eef_pos": 3, "robot0_eef_quat": 4, "robot0_gripper_qpos": 2,
        f"{TASKS[task].object}_pos": 3, f"{TASKS[task].object}_quat": 4,
    }  # fmt: skip
    names = tuple(f"{n}_{i}" for n, size in (entries | sizes).items() for i in range(size))
    return Spec(
        environment=f"robosuite/{task}",
        observations={"state": ArraySpec((len(names),), names=names)},
        action=ArraySpec((7,), scale=SCALE),
        period_s=PERIOD_S,
        robot=robot,
    )


class World:
    """A hand that points down, and an object that follows it while the closed hand holds it."""

    def __init__(self, task: str, slips: int = 0) -> None:
        self.task, self.slips = TASKS[task], slips
        *position, self.object_yaw = STARTS[task]
        self.object = np.array(position)
        self.floor_m = self.object[2]
        self.hand, self.yaw, self.opening_m = np.array([-0.1, 0.0, 1.01]), 0.0, 0.04
        self.held = False

    def observe(self) -> dict[str, np.ndarray]:
        """Give the observation as a batch of one."""
        turn, yaw = self.yaw / 2, self.object_yaw / 2
        hand_quat = [0.0, np.cos(turn), np.sin(turn), 0.0]  # half a turn about x, then the yaw
        fingers = [self.opening_m / 2, -self.opening_m / 2]
        object_quat = [np.cos(yaw), 0.0, 0.0, np.sin(yaw)]
        state = np.concatenate([self.hand, hand_quat, fingers, self.object, object_quat])
        return {"state": state[None].astype(np.float32)}

    def step(self, action: np.ndarray) -> None:
        """Move by a share of what is commanded."""
        shift, turn = MOVED * 0.05 * action[:3], MOVED * 0.5 * action[5]
        self._move_fingers(action[6])
        self.hand, self.yaw = self.hand + shift, self.yaw + turn
        if self.held:
            cos, sin = np.cos(turn), np.sin(turn)
            lever = self.object + shift - self.hand
            self.object = self.hand + np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]) @ lever
            self.object_yaw += turn
        else:
            self.object[2] = self.floor_m

    def _move_fingers(self, command: float) -> None:
        before_m = self.opening_m
        self.opening_m = float(np.clip(before_m - 0.008 * command, 0.0, 0.08))
        if command < 0:
            self.held = False
            self.slips -= int(self.slips and before_m < self.task.width_m <= self.opening_m)
        elif self.opening_m < self.task.width_m and self._around():
            self.held = self.held or self.slips == 0
        if self.held:
            self.opening_m = self.task.width_m

    def _around(self) -> bool:
        cos, sin = np.cos(self.object_yaw), np.sin(self.object_yaw)
        sites = np.array(list(self.task.grasp_sites.values()))
        points = self.object + sites @ np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
        return bool(np.linalg.norm(points - self.hand, axis=1).min() < 0.02)


@dataclasses.dataclass
class Trace:
    """What happened: per step the hand [T, 3], its yaw, its opening, held or not, the action."""

    hand: np.ndarray
    yaw: np.ndarray
    opening: np.ndarray
    held: np.ndarray
    actions: np.ndarray
    states: np.ndarray

    @property
    def grasped_at(self) -> int:
        """First step with the object in hand."""
        return int(self.held.argmax())


def demonstrate(
    task: str, style: str | Style, seed: int = 0, steps: int = 400, slips: int = 0
) -> Trace:
    """Let an operator act until it has let the object go, or has lifted it where that is all."""
    world = World(task, slips)
    operator = make_operator(task, style, interface_of(task), np.random.default_rng(seed))
    operator.reset(1)
    rows = []
    for _ in range(steps):
        observation = world.observe()
        action = operator.act(observation)[0]
        world.step(action)
        rows.append(
            (world.hand, world.yaw, world.opening_m, world.held, action, observation["state"][0])
        )
        if done(world):
            break
    else:
        raise AssertionError(f"{style} did not finish {task}")
    return Trace(*(np.array(column) for column in zip(*rows, strict=True)))


def done(world: World) -> bool:
    """Say whether the object is up, or let go at its goal."""
    if world.task.goal_xy_m is None:
        return world.object[2] > world.floor_m + 0.05
    there = np.linalg.norm(world.object[:2] - world.task.goal_xy_m) < 0.02
    return bool(there and not world.held)


def noiseless(name: str) -> Style:
    return dataclasses.replace(STYLES[name], noise=0.0)
