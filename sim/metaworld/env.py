"""Meta-World's tasks as environments.

Physics, rewards, success and start states are Meta-World's; the motion of the hand, too: an action
moves the mocap body that pulls it. Different are:

- ``reset(seed=)`` alone determines an episode: the random vector (where the object stands, where
  its goal is) is drawn by Meta-World's own generator, from a seed that ours draws. An episode is
  the first that a fresh environment of Meta-World would begin; nothing of earlier ones is left.
- The first observation describes the state after the reset. Meta-World's own shows some objects
  where they stood before.
- An episode may be stepped on after its horizon, and a simulation that diverges ends it.

An observation is Meta-World's: a frame [18], the frame one step before, the goal. A frame has room
for two objects; its entries are the hand, the opening of the gripper and the objects' poses. Those
called ``zero_*`` are always 0: what is left of both frames where there is one object (14), and the
goal where it is hidden (3). So is the orientation in the tasks of windows and handles and in
drawer-close-v3. The four numbers of an orientation are in the task's own order: wxyz where it is a
body's, xyzw where it is a geom's.

Of Meta-World's cameras, corner, corner2, corner3 and corner4 are mounted upside down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from robolearn.errors import UserError
from robolearn.types import ArraySpec, Observation, Spec
from sim.base.options import choose, parse, whole_number
from sim.base.physics import Physics, refresh
from sim.base.physics_env import PhysicsEnv
from sim.metaworld.memory import Memory
from sim.rendering.images import CameraOptions, Images

INSTALL = "pip install --no-deps metaworld==3.1.1 imageio"  # it pins a mujoco that is not ours
FRAME = 18  # entries of a frame
OBJECT = 7  # of them, those of an object: position, orientation
NEAR_M = 0.05  # from where on a hand is where it is to be
PROBES = 3  # resets that are compared to find what a state is made of


@dataclass(frozen=True)
class MetaworldOptions(CameraOptions):
    """Options of ``make("metaworld/TASK", ...)``."""

    horizon: int = 500
    """Control steps after which an episode is truncated."""
    partially_observable: bool = False
    """Hide the goal, as Meta-World's benchmarks of meta-learning (ML1 to ML45) do; those of one or
    many tasks (MT1 to MT50) show it. Its experts need it."""
    hand_target: tuple[float, float, float] | None = None
    """A place in metres to which the hand is to be brought, in place of the task: the reward is its
    distance, negated, and success is being within 5 cm of it. Nothing that is seen changes."""


def make(task: str, options: Mapping[str, Any]) -> MetaworldEnv:
    """Make Meta-World's task of that name.

    Raises UserError for an unknown task or option, and if Meta-World is not installed.
    """
    where = f"metaworld/{task}"
    tasks = _tasks(where)
    choose(task, tasks, where, "task")
    return MetaworldEnv(tasks[task], parse(MetaworldOptions, options, where), where)


def names() -> list[str]:
    """List Meta-World's tasks; raise UserError if it is not installed."""
    return sorted(_tasks("metaworld"))


class MetaworldEnv(PhysicsEnv):
    """One task of Meta-World; see ``robolearn.types.Environment``.

    ``model`` and ``data`` are MuJoCo's own. A state [S] is mjSTATE_INTEGRATION (the mocap pose is
    in it), the model entries that resets change, Meta-World's memory (the goal and the random
    vector are in it), the frame one step before and the number of steps taken.
    """

    def __init__(self, task: Callable[[], Any], options: MetaworldOptions, where: str) -> None:
        self.horizon = whole_number(options.horizon, where, "horizon")
        if not isinstance(options.partially_observable, bool):
            value = options.partially_observable
            raise UserError(f"{where}: partially_observable={value!r} must be true or false")
        self._target = _place(options.hand_target, where)
        self._env = env = _fresh(task, options.partially_observable)
        self._steps, self._before = 0, np.zeros(FRAME)
        self.model, self.data, self.substeps = env.model, env.data, env.frame_skip
        self.physics = Physics(self.model, self.data)
        self.physics.watch([lambda seed=seed: self._draw(seed) for seed in range(PROBES)])
        self._memory = Memory(env, self._changes())
        self._draw(0)
        self._begin = self.physics.get_state(), self._memory.get()
        self._images = Images(self.model, self.data, options, where)
        interface = Spec(
            environment=where,
            observations={"state": self._state_spec(), **self._images.specs},
            action=_action_spec(env.action_scale),
            period_s=env.dt,
            robot="Sawyer",
            controller={"type": "mocap"},
        )
        self._present(interface, options.render_mode)

    @property
    def _own_state_size(self) -> int:
        return self.physics.size + self._memory.size + FRAME + 1

    def restart(self, seed: int) -> None:
        """Begin the episode that a seed draws; show nothing."""
        physics, memory = self._begin
        self.physics.set_state(physics)
        self._memory.set(memory)
        self._draw(seed)
        self._steps, self._before = 0, self._frame()
        self._env._prev_obs = self._before

    def _draw(self, seed: int) -> None:
        self._env.seed(seed)
        self._env.reset()
        refresh(self.model, self.data)

    def _changes(self) -> Iterator[Callable[[], object]]:
        """Give resets and steps; they show what changes in an episode and from one to the next."""
        action = np.random.default_rng(0).uniform(-1, 1, 4)
        for seed in range(PROBES):
            yield lambda seed=seed: self._draw(seed)
            yield lambda: self._env.step(action)

    def _step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Do what ``step`` says; ``info`` also has what Meta-World reports."""
        seen, reward, _, _, info = self._env.step(action)
        self._steps += 1
        self._before = seen[FRAME : 2 * FRAME]
        error = self.physics.divergence()
        if error:  # what was computed may not be finite; MuJoCo has begun anew
            refresh(self.model, self.data)
            seen, reward = self._seen(), 0.0
            self._env._prev_obs = self._frame()
        reward, success = self._judged(seen, float(reward), bool(info["success"]))
        info |= {"success": success, "is_success": success, "reward_terms": {"task": reward}}
        if error:
            info["error"] = error
        truncated = self._steps >= self.horizon or bool(error)
        return self._shown(seen), reward, False, truncated, info

    def _judged(self, seen: np.ndarray, reward: float, success: bool) -> tuple[float, bool]:
        """Give reward and success, the task's or those of bringing the hand somewhere."""
        if self._target is None:
            return reward, success
        distance = float(np.linalg.norm(seen[:3] - self._target))
        return -distance, distance < NEAR_M

    def _get_state(self) -> np.ndarray:
        parts = self.physics.get_state(), self._memory.get(), self._before, [self._steps]
        return np.concatenate(parts)

    def _set_state(self, state: np.ndarray) -> Observation:
        ends = np.cumsum([self.physics.size, self._memory.size, FRAME])
        physics, memory, before, steps = np.split(state, ends)
        self.physics.set_state(physics)
        self._memory.set(memory)
        self._before, self._steps = before, int(steps[0])
        self._env._prev_obs = self._frame()
        return self._observe()

    def _observe(self) -> Observation:
        return self._shown(self._seen())

    def _shown(self, seen: np.ndarray) -> Observation:
        return {"state": seen.astype(np.float32), **self._images.observe()}

    def _seen(self) -> np.ndarray:
        """Compute the observation [39] as Meta-World's step does, which leaves it in bounds."""
        env = self._env
        goal = np.zeros(3) if env._partially_observable else env._get_pos_goal()
        bounds = env.sawyer_observation_space
        return np.clip(np.hstack([self._frame(), self._before, goal]), bounds.low, bounds.high)

    def _frame(self) -> np.ndarray:
        return self._env._get_curr_obs_combined_no_goal()

    def _state_spec(self) -> ArraySpec:
        objects = len(self._env._get_quat_objects()) // 4
        zeros = (f"zero_{i}" for i in range(FRAME + 3))
        now, before = (list(_frame_names(prefix, objects, zeros)) for prefix in ("", "previous_"))
        hidden = self._env._partially_observable
        goal = [next(zeros) if hidden else f"goal_{axis}" for axis in "xyz"]
        names = tuple(now + before + goal)
        units = tuple("m" if name[-2:] in ("_x", "_y", "_z") else "" for name in names)
        return ArraySpec((len(names),), "float32", names, units)


def _place(place: Any, where: str) -> np.ndarray | None:
    """Give a place [3] in metres, or None; UserError for anything else."""
    if place is None:
        return None
    try:
        found = np.array(place, np.float64)
    except (TypeError, ValueError):
        found = np.zeros(0)
    if found.shape != (3,) or not np.isfinite(found).all():
        raise UserError(f"{where}: hand_target={place!r} must be three numbers, x, y and z in m")
    return found


def _frame_names(prefix: str, objects: int, zeros: Iterator[str]) -> Iterator[str]:
    yield from (f"{prefix}hand_{axis}" for axis in "xyz")
    yield f"{prefix}gripper_opening"  # 0 closed, 1 wide open
    for name in ("object", "object2")[:objects]:
        yield from (f"{prefix}{name}_{axis}" for axis in "xyz")
        yield from (f"{prefix}{name}_quat_{i}" for i in range(4))
    for _ in range(2 - objects):
        yield from (next(zeros) for _ in range(OBJECT))


def _action_spec(scale_m: float) -> ArraySpec:
    """Describe how far the mocap body moves, and what the fingers are told: 1 closes them."""
    return ArraySpec(
        (4,),
        "float32",
        ("hand_x", "hand_y", "hand_z", "gripper_close"),
        ("m", "m", "m", ""),
        (scale_m, scale_m, scale_m, 1.0),
    )


def _fresh(task: Callable[[], Any], partially_observable: bool) -> Any:
    """Make Meta-World's environment: it draws from its own generator and refuses no step."""
    env = task()
    env._partially_observable = partially_observable
    vars(env).pop("sawyer_observation_space", None)  # it was computed for the other case
    env.seeded_rand_vec, env._freeze_rand_vec, env._set_task_called = True, False, True
    env.max_path_length = float("inf")
    return env


def _tasks(where: str) -> Mapping[str, Callable[[], Any]]:
    """Give Meta-World's tasks by name."""
    try:
        from metaworld.env_dict import ALL_V3_ENVIRONMENTS
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "metaworld":
            raise
        raise UserError(f"{where}: needs metaworld: {INSTALL}") from None
    return ALL_V3_ENVIRONMENTS
