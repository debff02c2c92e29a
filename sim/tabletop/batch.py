"""N tabletop episodes with the same objects, which step together.

The environments are made of this: ``sim.tabletop.env`` of one, ``sim.tabletop.vector`` of many.
"""

from __future__ import annotations

from concurrent.futures import Executor
from numbers import Real

import mujoco
import numpy as np

from robolearn.errors import SpecError, UserError
from robolearn.types import ArraySpec, Spec
from sim.base.options import choose, require_positive, whole_number
from sim.base.physics import INTEGRATION
from sim.base.spaces import float_array, require_finite
from sim.tabletop.model import ARM_JOINTS, KINDS, build, home_qpos
from sim.tabletop.physics import MOVE_M, PERIOD_S, ROBOT_JOINTS, TURN_RAD, TabletopPhysics
from sim.tabletop.start import closed_hand_with, open_hand_at
from sim.tabletop.state import Objects, observe, read_objects, state_spec
from sim.tabletop.task import GOALS, Outcome, TabletopOptions, Task

START_NOISE_RAD = 0.02  # of every joint of the arm
_POSE = 7  # entries of an object in qpos


def named(kinds: list[str]) -> tuple[tuple[str, str], ...]:
    """Give (name, kind) for each kind; a second cube is called cube2."""
    counts = [kinds[: i + 1].count(kind) for i, kind in enumerate(kinds)]
    numbers = ["" if count == 1 else str(count) for count in counts]
    return tuple((kind + number, kind) for kind, number in zip(kinds, numbers, strict=True))


class Tabletop:
    """N episodes; K objects with goals [N, K, 4] (x, y, z in metres, yaw) if the task has any.

    A state [S] is mjSTATE_INTEGRATION, the goals and the number of steps taken. ``seen`` is for
    a model that is rendered.
    """

    def __init__(self, kinds: list[str], options: TabletopOptions, n: int, seen: bool) -> None:
        self.where = "tabletop/" + "+".join(kinds)
        self.options, self.kinds = _checked(options, self.where), kinds
        objects = named(kinds)
        self.model = build(objects, seen)
        self.physics = TabletopPhysics(self.model, n)
        self.task = Task(kinds, options, self.model.jnt_range[:ARM_JOINTS])
        self.goals, self.steps = np.zeros((n, len(kinds), 4)), np.zeros(n, np.int64)
        self._size = mujoco.mj_stateSize(self.model, INTEGRATION)
        state = state_spec([name for name, _ in objects], options.goal, options.offsets)
        self.interface = Spec(self.where, {"state": state}, _action_spec(), PERIOD_S, "Panda")

    @property
    def objects(self) -> Objects:
        """The objects' poses and velocities now."""
        return read_objects(self.physics, len(self.kinds))

    @property
    def state_size(self) -> int:
        """Number of entries of a state."""
        return self._size + (self.goals[0].size if self.options.goal else 0) + 1

    def restart(self, i: int, rng: np.random.Generator) -> None:
        """Begin an episode in row i; objects, arm and goals are drawn."""
        data, count = self.physics.data[i], len(self.kinds)
        mujoco.mj_resetData(self.model, data)
        data.qpos[:] = home_qpos(self.model)
        data.qpos[:ARM_JOINTS] += rng.uniform(-START_NOISE_RAD, START_NOISE_RAD, ARM_JOINTS)
        poses = data.qpos[ROBOT_JOINTS:].reshape(count, _POSE)  # a view
        poses[:, :2] = self.task.draw_places(rng)
        half = rng.uniform(-np.pi, np.pi, count) / 2
        poses[:, 3], poses[:, 6] = np.cos(half), np.sin(half)
        data.ctrl[:] = data.qpos[:ROBOT_JOINTS]
        if self.options.goal:
            self.goals[i] = self.task.draw_goals(rng)
        self._approach(i, rng)
        self.steps[i] = 0
        self.physics.refresh(i)

    def _approach(self, i: int, rng: np.random.Generator) -> None:
        """Let a share of the episodes begin at an object."""
        near, held = self.options.near_share, self.options.held_share
        if not near + held:
            return  # and draw nothing
        share, k = rng.random(), rng.integers(len(self.kinds))
        data = self.physics.data[i]
        pose = data.qpos[ROBOT_JOINTS:].reshape(-1, _POSE)[k]  # a view
        begin = closed_hand_with if share < held else open_hand_at
        if share < near + held:
            begin(data, self.physics.arm, pose, KINDS[self.kinds[k]], rng)

    def step(self, actions: np.ndarray, rows: list[int], pool: Executor, threads: int) -> Outcome:
        """Move the episodes ``rows`` by one control period under actions float64 [N, 5]."""
        self.physics.move(actions, rows, pool, threads)
        self.steps[rows] += 1
        return self.task.outcome(self.physics, self.objects, self.goals)

    def observe(self) -> np.ndarray:
        """Give what is seen of every episode, float32 [N, O]."""
        options = self.options
        return observe(self.physics, self.objects, self.goals, options.goal, options.offsets)

    def set_goals(self, goals: np.ndarray, mask: np.ndarray | None = None) -> None:
        """Give the rows of ``mask`` [N] bool other goals [N, K, 4]; without one, all rows [K, 4].

        Raises SpecError if they do not fit, DataError if one is not finite; then none is changed.
        """
        goals = float_array(goals, self.where, "goals")
        right = self.goals.shape[1:] if mask is None else self.goals.shape
        if not self.options.goal or goals.shape != right:
            wanted = f"{right} (x, y, z, yaw)" if self.options.goal else "none"
            raise SpecError(f"{self.where}: goals have shape {goals.shape} instead of {wanted}")
        if mask is not None:
            goals = np.where(mask[:, None, None], goals, self.goals)
        require_finite(goals, self.where, "goals")
        self.goals[:] = goals

    def get_state(self, i: int) -> np.ndarray:
        """Give the state float64 [S] of row i."""
        physics = np.empty(self._size)
        mujoco.mj_getState(self.model, self.physics.data[i], physics, INTEGRATION)
        goals = self.goals[i].ravel() if self.options.goal else []
        return np.concatenate([physics, goals, [self.steps[i]]])

    def set_state(self, i: int, state: np.ndarray) -> None:
        """Restore in row i what ``get_state`` gave, a state that has been checked."""
        data = self.physics.data[i]
        mujoco.mj_resetData(self.model, data)
        mujoco.mj_setState(self.model, data, state[: self._size], INTEGRATION)
        if self.options.goal:
            self.goals[i] = state[self._size : -1].reshape(self.goals[i].shape)
        self.steps[i] = int(state[-1])
        self.physics.refresh(i)


def _checked(options: TabletopOptions, where: str) -> TabletopOptions:
    whole_number(options.horizon, where, "horizon")
    require_positive(where, force_limit_n=options.force_limit_n)
    shares = options.near_share, options.held_share
    if not all(isinstance(share, Real) for share in (*shares, options.goal_height_m)):
        raise UserError(f"{where}: near_share, held_share and goal_height_m must be numbers")
    if not options.goal_height_m >= 0:
        raise UserError(f"{where}: goal_height_m={options.goal_height_m} must be 0 or more")
    if min(shares) < 0 or sum(shares) > 1:
        raise UserError(f"{where}: near_share, held_share = {shares}: must be shares of all")
    if not isinstance(options.offsets, bool):
        raise UserError(f"{where}: offsets={options.offsets!r} must be true or false")
    if options.goal is not None:
        choose(options.goal, GOALS, where, "goal")
    return options


def _action_spec() -> ArraySpec:
    """Describe the moves of the hand's target; the gripper closes above a band and opens below."""
    return ArraySpec(
        (5,),
        "float32",
        ("hand_x", "hand_y", "hand_z", "hand_yaw", "gripper_close"),
        ("m", "m", "m", "rad", ""),
        (MOVE_M, MOVE_M, MOVE_M, TURN_RAD, 1.0),
    )
