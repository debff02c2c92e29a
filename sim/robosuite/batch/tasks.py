"""Rewards and success of robosuite's tasks, computed for a whole batch from its arrays.

Each task repeats robosuite's formulas for N environments at once; the tests hold them against
robosuite's own. ``pairs`` are the sets of geoms whose contacts the task asks for, in the order of
``Frame.touching``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from sim.engine.robosuite import NotCovered
from sim.robosuite.batch.frame import Frame

REACH_SCALE = 10.0  # 1/m, of every reaching reward
GRASPED, LIFTED, HOVERED = 0.35, 0.5, 0.7  # stages of nut assembly and pick-and-place


class Result(NamedTuple):
    """Reward [N], success bool [N] and the reward's terms, each [N]."""

    reward: np.ndarray
    success: np.ndarray
    terms: dict[str, np.ndarray]


class Grasps:
    """Which geom sets say that a gripper holds something: both finger pads touch it."""

    def __init__(self, env: Any) -> None:
        self._env = env
        self.pairs: list[tuple[list[int], list[int]]] = []

    def touch(self, geoms: list[str], others: list[str]) -> int:
        """Ask for contacts between two sets of named geoms; give their column in ``touching``."""
        ids = self._env.sim.model.geom_name2id
        self.pairs.append(([ids(name) for name in geoms], [ids(name) for name in others]))
        return len(self.pairs) - 1

    def hold(self, grippers: Any, geoms: list[str]) -> list[tuple[int, int]]:
        """Ask whether any of the grippers holds any of the geoms; give columns for ``held``."""
        grippers = grippers.values() if isinstance(grippers, dict) else [grippers]
        pads = [(g.important_geoms["left_fingerpad"], g.important_geoms["right_fingerpad"])
                for g in grippers]  # fmt: skip
        return [(self.touch(left, geoms), self.touch(right, geoms)) for left, right in pads]


def held(frame: Frame, columns: list[tuple[int, int]]) -> np.ndarray:
    """Say for every environment whether a gripper holds what ``Grasps.hold`` was asked for."""
    pads = [frame.touching[:, left] & frame.touching[:, right] for left, right in columns]
    return np.any(pads, axis=0)


def closeness(distance: np.ndarray) -> np.ndarray:
    """Give robosuite's reaching reward, 1 at no distance (m) and 0 far away."""
    return 1 - np.tanh(REACH_SCALE * distance)


class Lift:
    """Lift a cube."""

    def __init__(self, env: Any) -> None:
        self._env, grasps = env, Grasps(env)
        self._columns = grasps.hold(env.robots[0].gripper, env.cube.contact_geoms)
        self.pairs = grasps.pairs
        self._hands = list(env.robots[0].eef_site_id.values())
        self._lifted = env.model.mujoco_arena.table_offset[2] + 0.04

    def __call__(self, frame: Frame) -> Result:
        """Evaluate a batch."""
        cube = frame.body_pos[:, self._env.cube_body_id]  # [N, 3]
        success = cube[:, 2] > self._lifted
        reach = closeness(_distance(frame, self._hands, cube))
        grasp = 0.25 * held(frame, self._columns)
        reward = np.where(success, 2.25, reach + grasp) * self._env.reward_scale / 2.25
        grasp = np.where(success, 0.25, grasp)
        return Result(reward, success, {"reach": reach, "grasp": grasp, "success": success * 1.0})


class Stack:
    """Stack cube A on cube B."""

    def __init__(self, env: Any) -> None:
        self._env, grasps = env, Grasps(env)
        self._columns = grasps.hold(env.robots[0].gripper, env.cubeA.contact_geoms)
        self._stacked = grasps.touch(env.cubeA.contact_geoms, env.cubeB.contact_geoms)
        self.pairs = grasps.pairs
        self._hands = list(env.robots[0].eef_site_id.values())

    def __call__(self, frame: Frame) -> Result:
        """Evaluate a batch."""
        a = frame.body_pos[:, self._env.cubeA_body_id]  # [N, 3]
        b = frame.body_pos[:, self._env.cubeB_body_id]
        grasped = held(frame, self._columns)
        reach = 0.25 * closeness(_distance(frame, self._hands, a)) + 0.25 * grasped
        aligned = 1 - np.tanh(np.linalg.norm(a[:, :2] - b[:, :2], axis=1))
        lift = np.where(a[:, 2] > self._env.table_offset[2] + 0.04, 1 + 0.5 * aligned, 0.0)
        stack = 2.0 * (~grasped & (lift > 0) & frame.touching[:, self._stacked])
        success = stack > 0
        reward = np.max([reach, lift, stack], axis=0) * self._env.reward_scale / 2
        terms = {"reach": reach, "lift": lift, "stack": stack, "success": success * 1.0}
        return Result(reward, success, terms)


class Door:
    """Open a door."""

    pairs = ()

    def __init__(self, env: Any) -> None:
        self._env = env
        self._hands = list(env.robots[0].eef_site_id.values())

    def __call__(self, frame: Frame) -> Result:
        """Evaluate a batch."""
        env = self._env
        success = frame.qpos[:, env.hinge_qpos_addr] > 0.3
        handle = frame.site_pos[:, env.door_handle_site_id]
        reward = 0.25 * closeness(_distance(frame, self._hands, handle))
        if env.use_latch:
            turned = np.abs(frame.qpos[:, env.handle_qpos_addr] / (0.5 * np.pi))
            reward = reward + np.clip(0.25 * turned, -0.25, 0.25)
        reward = np.where(success, 1.0, reward) * env.reward_scale
        return Result(reward, success, {"task": reward})


class TwoArmLift:
    """Lift a pot by its two handles."""

    def __init__(self, env: Any) -> None:
        self._env, grasps = env, Grasps(env)
        single = env.env_configuration == "single-robot"
        arms = env.robots[0].gripper
        grippers = (arms["right"], arms["left"]) if single else [r.gripper for r in env.robots]
        handles = (env.pot.handle0_geoms, env.pot.handle1_geoms)
        self._columns = [grasps.hold(g, h) for g, h in zip(grippers, handles, strict=True)]
        self.pairs = grasps.pairs
        self._hands = [site for robot in env.robots for site in robot.eef_site_id.values()]
        self._handles = (env.handle0_site_id, env.handle1_site_id)

    def __call__(self, frame: Frame) -> Result:
        """Evaluate a batch."""
        env = self._env
        _, x, y, _ = frame.body_quat[:, env.pot_body_id].T
        upright = 1 - 2 * (x**2 + y**2) >= np.cos(np.pi / 6)
        bottom = frame.site_pos[:, env.pot_center_id, 2] - env.pot.top_offset[2]
        elevation = bottom - frame.site_pos[:, env.table_top_id, 2]
        success = elevation > 0.10
        reward = 10.0 * upright * np.clip(elevation - 0.05, 0, 0.15)
        for hand, handle, columns in zip(self._hands, self._handles, self._columns, strict=True):
            reach = closeness(_distance(frame, [hand], frame.site_pos[:, handle]))
            reward = reward + 0.25 * held(frame, columns) + 0.5 * reach
        reward = np.where(success, 3.0 * upright, reward) * env.reward_scale / 3
        return Result(reward, success, {"task": reward})


class Sorting:
    """What nut assembly and pick-and-place share: bring objects, K in all, to their places.

    An object that is in its place, with the hand away from it, counts 1 and no longer takes part
    in the shaped reward, which is the best of four stages of the others.
    """

    def __init__(self, env: Any, objects: list[Any], bodies: list[int]) -> None:
        self._env, grasps = env, Grasps(env)
        self._columns = [
            grasps.hold(env.robots[0].gripper, one.contact_geoms) for one in objects
        ]  # fmt: skip
        self.pairs = grasps.pairs
        self._bodies = bodies
        self._hands = list(env.robots[0].eef_site_id.values())

    def evaluate(
        self,
        frame: Frame,
        placed: np.ndarray,
        grip: np.ndarray,
        height: float | np.ndarray,
        target: np.ndarray,
        above: np.ndarray,
    ) -> Result:
        """Evaluate a batch.

        ``placed`` [N, K] bool: the object is in its place; ``grip`` [N, K, 3] where to grip it;
        ``height`` to lift to (m); ``target`` [N, K, 2] or [K, 2] places; ``above`` [N, K] bool: the
        object is above its place already, so that lifting no longer counts.
        """
        centre = frame.body_pos[:, self._bodies]  # [N, K, 3]
        done = placed & (closeness(_distances(frame, self._hands, centre)) < 0.6)  # [N, K]
        success = done.any(axis=1) if self._env.single_object_mode else done.all(axis=1)
        active, some = ~done, ~done.all(axis=1)
        near = _least(_distances(frame, self._hands, grip), active)
        reach = np.where(some, 0.1 * closeness(near), 0.0)
        grasp = GRASPED * (self._holds(frame, active, 0) & self._holds(frame, active, 1))
        missing = _least(np.maximum(height - centre[:, :, 2], 0.0), active)
        lift = GRASPED + (1 - np.tanh(15.0 * missing)) * (LIFTED - GRASPED)
        lift = np.where(some & (grasp > 0), lift, 0.0)
        aim = closeness(np.linalg.norm(target - centre[:, :, :2], axis=2)) * (HOVERED - LIFTED)
        hover = np.where(active, np.where(above, LIFTED, lift[:, None]) + aim, 0.0).max(axis=1)
        stages = {"reach": reach, "grasp": grasp, "lift": lift, "hover": hover}
        reward = done.sum(axis=1) + np.max(list(stages.values()), axis=0)
        reward = reward * self._env.reward_scale
        if not self._env.single_object_mode:
            reward = reward / len(self._bodies)
        return Result(reward, success, {**stages, "success": success * 1.0})

    def _holds(self, frame: Frame, active: np.ndarray, pad: int) -> np.ndarray:
        """Say whether a finger pad touches any active object, bool [N]."""
        columns = [arms[0][pad] for arms in self._columns]
        return (frame.touching[:, columns] & active).any(axis=1)


class NutAssembly(Sorting):
    """Put nuts over their pegs."""

    def __init__(self, env: Any) -> None:
        super().__init__(env, env.nuts, [env.obj_body_id[nut.name] for nut in env.nuts])
        site = env.sim.model.site_name2id
        self._handles = [site(nut.important_sites["handle"]) for nut in env.nuts]
        pegs = (env.peg1_body_id, env.peg2_body_id)
        names = [nut.name.lower() for nut in env.nuts]
        kinds = [next(k for kind, k in env.nut_to_id.items() if kind in name) for name in names]
        self._aims = [pegs[kind] for kind in kinds]  # where the hover reward pulls each nut
        self._pegs = [pegs[min(k, 1)] for k in range(len(env.nuts))]  # where each nut counts

    def __call__(self, frame: Frame) -> Result:
        """Evaluate a batch."""
        env = self._env
        offset = frame.body_pos[:, self._bodies] - frame.body_pos[:, self._pegs]
        low = frame.body_pos[:, self._bodies, 2] < env.table_offset[2] + 0.05
        placed = (np.abs(offset[:, :, :2]) < 0.03).all(axis=2) & low
        height = frame.body_pos[:, env.table_body_id, 2, None] + 0.2
        target = frame.body_pos[:, self._aims, :2]
        grip = frame.site_pos[:, self._handles]
        return self.evaluate(frame, placed, grip, height, target, np.zeros_like(placed))


class PickPlace(Sorting):
    """Put objects into their bins."""

    def __init__(self, env: Any) -> None:
        super().__init__(env, env.objects, [env.obj_body_id[one.name] for one in env.objects])
        body = env.sim.model.body_name2id
        self._roots = [body(one.root_body) for one in env.objects]
        self._bins = [env.object_to_id[one.name.lower()] for one in env.objects]
        corner = np.array([env.bin2_pos[:2]] * len(env.objects), float)  # [K, 2]
        for k in range(len(env.objects)):
            corner[k] -= np.array([k in (0, 2), k < 2]) * env.bin_size[:2] / 2
        self._corner = corner

    def __call__(self, frame: Frame) -> Result:
        """Evaluate a batch."""
        env = self._env
        centre = frame.body_pos[:, self._bodies]
        inside = (self._corner < centre[:, :, :2]).all(axis=2)
        inside &= (centre[:, :, :2] < self._corner + env.bin_size[:2] / 2).all(axis=2)
        inside &= (env.bin2_pos[2] < centre[:, :, 2]) & (centre[:, :, 2] < env.bin2_pos[2] + 0.1)
        target = env.target_bin_placements[self._bins, :2]
        above = (np.abs(centre[:, :, :2] - target) < env.bin_size[:2] / 4).all(axis=2)
        grip = frame.body_pos[:, self._roots]
        return self.evaluate(frame, inside, grip, env.bin2_pos[2] + 0.25, target, above)


TASKS = {
    "Lift": Lift,
    "Stack": Stack,
    "Door": Door,
    "TwoArmLift": TwoArmLift,
    "NutAssembly": NutAssembly,
    "NutAssemblySquare": NutAssembly,
    "NutAssemblyRound": NutAssembly,
    "PickPlace": PickPlace,
    "PickPlaceCan": PickPlace,
    "PickPlaceBread": PickPlace,
    "PickPlaceCereal": PickPlace,
    "PickPlaceMilk": PickPlace,
}


def task_of(env: Any) -> Any:
    """Make the batch formulas of a robosuite environment; NotCovered if there are none."""
    name = type(env).__name__
    if name not in TASKS:
        raise NotCovered(f"the reward of {name}")
    if not env.reward_shaping:
        raise NotCovered("a sparse reward")
    if name != "TwoArmLift" and (len(env.robots) > 1 or len(env.robots[0].arms) > 1):
        raise NotCovered("several arms")
    return TASKS[name](env)


def _distance(frame: Frame, sites: list[int], point: np.ndarray) -> np.ndarray:
    """Give the distance [N] (m) from a point [N, 3] to the nearest of some sites."""
    return _distances(frame, sites, point[:, None])[:, 0]


def _distances(frame: Frame, sites: list[int], points: np.ndarray) -> np.ndarray:
    """Give the distances [N, K] (m) from points [N, K, 3] to the nearest of some sites."""
    offsets = points[:, :, None] - frame.site_pos[:, None, sites]  # [N, K, sites, 3]
    return np.linalg.norm(offsets, axis=3).min(axis=2)


def _least(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Give the least value [N] of those entries [N, K] that the mask lets through."""
    return np.where(mask, values, np.inf).min(axis=1)
