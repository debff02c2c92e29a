"""A world without physics for scripted operators: a hand, an object, and what happened."""

import dataclasses

import numpy as np

from demos.operators import STYLES, TASKS, Style, make_operator
from demos.operators.hands import TABLETOP_ENTRIES
from demos.operators.tasks import Task
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
TABLETOP_STARTS = {  # position and yaw, then the goal's
    "tabletop/cube": ((0.05, 0.1, 0.025, 0.3), (-0.05, -0.12, 0.025, -0.5)),
    "tabletop/cylinder": ((0.05, 0.1, 0.04, 0.3), (-0.05, -0.12, 0.04, 0.0)),
}
PARTS = {"NutAssembly": ("NutAssemblySquare", "NutAssemblyRound")}


def interface_of(task: str, robot: str = "Panda", **sizes: int) -> Spec:
    """Give the interface of a task; ``sizes`` replaces the sizes of entries by name."""
    known = TASKS[task]
    if known.tabletop:
        names = [f"hand_pos_{axis}" for axis in "xyz"] + ["hand_yaw_cos", "hand_yaw_sin"]
        names += [f"hand_target_{axis}" for axis in "xyz"] + ["gripper_opening"]
        for entry in ("pos", "xaxis", "zaxis"):
            names += [f"{known.object}_{entry}_{axis}" for axis in "xyz"]
        names += [f"goal_{known.object}_pos_{axis}" for axis in "xyz"]
        names += [f"goal_{known.object}_yaw_{part}" for part in ("cos", "sin")]
        action = ArraySpec((5,), names=TABLETOP_ENTRIES, scale=(0.05, 0.05, 0.05, 0.3, 1.0))
        return _spec(task, names, action, robot, period_s=0.1)
    entries = {"robot0_eef_pos": 3, "robot0_eef_quat": 4, "robot0_gripper_qpos": 2}
    for one in known.turns():
        entries |= {f"{one.object}_pos": 3, f"{one.object}_quat": 4}
    names = [f"{n}_{i}" for n, size in (entries | sizes).items() for i in range(size)]
    action = ArraySpec((7,), scale=SCALE)
    return _spec(f"robosuite/{task}", names, action, robot, PERIOD_S)


def _spec(task: str, names: list[str], action: ArraySpec, robot: str, period_s: float) -> Spec:
    return Spec(
        environment=task,
        observations={"state": ArraySpec((len(names),), names=tuple(names))},
        action=action,
        period_s=period_s,
        robot=robot,
    )


@dataclasses.dataclass
class Body:
    """An object on its floor."""

    task: Task
    position: np.ndarray
    yaw: float
    floor_m: float

    def turn(self, angle: float, centre: np.ndarray) -> None:
        """Turn about a vertical axis."""
        cos, sin = np.cos(angle), np.sin(angle)
        lever = self.position - centre
        self.position = centre + np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]) @ lever
        self.yaw += angle

    def off(self, hand: np.ndarray) -> float:
        """Give the distance from a hand to the nearest place for a grasp."""
        cos, sin = np.cos(self.yaw), np.sin(self.yaw)
        sites = np.array(list(self.task.grasp_sites.values()))
        points = self.position + sites @ np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
        return float(np.linalg.norm(points - hand, axis=1).min())


class World:
    """A hand that points down, and objects of which one follows it while the closed hand holds it.

    So often as ``slips`` says a closing hand misses.
    """

    def __init__(self, task: str, slips: int = 0) -> None:
        self.slips, self.held = slips, None
        starts = [STARTS[part] for part in PARTS.get(task, (task,))]
        self.bodies = [
            Body(one, np.array(position), yaw, position[2])
            for one, (*position, yaw) in zip(TASKS[task].turns(), starts, strict=True)
        ]
        self.hand, self.yaw, self.opening_m = np.array([-0.1, 0.0, 1.01]), 0.0, 0.04

    def observe(self) -> dict[str, np.ndarray]:
        """Give the observation as a batch of one."""
        turn = self.yaw / 2
        hand_quat = [0.0, np.cos(turn), np.sin(turn), 0.0]  # half a turn about x, then the yaw
        parts = [self.hand, hand_quat, [self.opening_m / 2, -self.opening_m / 2]]
        for body in self.bodies:
            parts += [body.position, [np.cos(body.yaw / 2), 0.0, 0.0, np.sin(body.yaw / 2)]]
        return {"state": np.concatenate(parts)[None].astype(np.float32)}

    def step(self, action: np.ndarray) -> None:
        """Move by a share of what is commanded."""
        shift, turn = MOVED * 0.05 * action[:3], MOVED * 0.5 * action[5]
        self._move_fingers(action[6])
        self.hand, self.yaw = self.hand + shift, self.yaw + turn
        for body in self.bodies:
            if body is self.held:
                body.position = body.position + shift
                body.turn(turn, self.hand)
            else:
                body.position[2] = body.floor_m

    def _move_fingers(self, command: float) -> None:
        before_m = self.opening_m
        self.opening_m = float(np.clip(before_m - 0.008 * command, 0.0, 0.08))
        body = min(self.bodies, key=lambda body: body.off(self.hand))
        if command < 0:
            self.held = None
            self.slips -= int(self.slips and before_m < body.task.width_m <= self.opening_m)
        elif self.opening_m < body.task.width_m and body.off(self.hand) < 0.02:
            self.held = self.held or (body if self.slips == 0 else None)
        if self.held:
            self.opening_m = self.held.task.width_m


class TabletopWorld(World):
    """The same at the tabletop, where the hand follows its target at once."""

    def __init__(self, task: str, slips: int = 0) -> None:
        self.slips, self.held = slips, None
        (*position, yaw), self.goal = TABLETOP_STARTS[task]
        self.bodies = [Body(TASKS[task], np.array(position), yaw, position[2])]
        self.hand, self.yaw, self.opening_m = np.array([-0.05, 0.0, 0.2]), 0.0, 0.08

    def observe(self) -> dict[str, np.ndarray]:
        """Give the observation as a batch of one."""
        body, (*goal, goal_yaw) = self.bodies[0], self.goal
        parts = [self.hand, _cos_sin(self.yaw), np.zeros(3), [self.opening_m], body.position]
        parts += [[*_cos_sin(body.yaw), 0.0], [0.0, 0.0, 1.0], goal, _cos_sin(goal_yaw)]
        return {"state": np.concatenate(parts)[None].astype(np.float32)}

    def step(self, action: np.ndarray) -> None:
        """Move by what is commanded."""
        share = np.array([1 / MOVED] * 3 + [0.0, 0.0, 0.3 / 0.5 / MOVED, 1.0])
        super().step(share * np.array([*action[:3], 0.0, 0.0, *action[3:]]))


def _cos_sin(yaw: float) -> list[float]:
    return [np.cos(yaw), np.sin(yaw)]


def world_of(task: str, slips: int = 0) -> World:
    """Make the world of a task."""
    return (TabletopWorld if TASKS[task].tabletop else World)(task, slips)


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
    task: str, style: str | Style, seed: int = 0, steps: int = 600, slips: int = 0
) -> Trace:
    """Let an operator act until it has let the object go, or has lifted it where that is all."""
    world = world_of(task, slips)
    operator = make_operator(task, style, interface_of(task), np.random.default_rng(seed))
    operator.reset(1)
    rows = []
    for _ in range(steps):
        observation = world.observe()
        action = operator.act(observation)[0]
        world.step(action)
        held, state = world.held is not None, observation["state"][0]
        rows.append((world.hand, world.yaw, world.opening_m, held, action, state))
        if done(world):
            break
    else:
        raise AssertionError(f"{style} did not finish {task}")
    return Trace(*(np.array(column) for column in zip(*rows, strict=True)))


def done(world: World) -> bool:
    """Say whether the object is up, or all are let go at their goals."""
    last, goals = world.bodies[-1], [body.task.goal_xy_m for body in world.bodies]
    if isinstance(world, TabletopWorld):
        goals = [world.goal[:2]]
    elif last.task.goal_xy_m is None:
        return last.position[2] > last.floor_m + 0.05
    ways = [body.position[:2] - goal for body, goal in zip(world.bodies, goals, strict=True)]
    return world.held is None and max(np.linalg.norm(ways, axis=1)) < 0.02


def noiseless(name: str) -> Style:
    return dataclasses.replace(STYLES[name], noise=0.0)
