"""dm_control's suite as environments.

Physics, tasks and rewards are dm_control's. Observations, reward and termination are computed after
all sensors have been brought up to date; dm_control leaves those of forces, touch and accelerations
one physics step behind. The suite has no notion of success: a step succeeds when its reward, which
lies in [0, 1], reaches ``success_reward``.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np

from robolearn.errors import UserError, nearest
from robolearn.types import ArraySpec, Observation, Spec
from sim.base.options import as_tuple, choose, parse, whole_number
from sim.base.physics import Physics, divergence, refresh
from sim.base.physics_env import PhysicsEnv
from sim.base.spaces import ActionRange, Columns, flat_names, interface_spaces
from sim.rendering.gl import gl_environment
from sim.rendering.images import CameraOptions, Images

POSES_AND_VELOCITIES = mujoco.mjtStage.mjSTAGE_VEL  # dm_control's step leaves them up to date
ACCELERATIONS = mujoco.mjtStage.mjSTAGE_ACC  # what sensors of forces and touch need
FATAL = tuple(range(mujoco.mjtWarning.mjNWARNING))  # warnings that are errors in dm_control: all
MODEL_SEED = 0  # tasks that draw their model (lqr) draw the same in every environment


@dataclass(frozen=True)
class DmcOptions(CameraOptions):
    """Options of ``make("dmc/DOMAIN-TASK", ...)``."""

    horizon: int | None = None
    """Control steps after which an episode is truncated; None for the task's own time limit."""
    action_repeat: int = 1
    """Control steps of the task for which an action is held; together they are one control step
    here, and their rewards are added."""
    state: tuple[str, ...] | None = None
    """Observations of the task that make up ``"state"``; None for all."""
    success_reward: float = 0.9
    """A step whose reward is at least this is a success."""


def make(name: str, options: Mapping[str, Any]) -> "DmcEnv":
    """Make ``DOMAIN-TASK`` of the suite; raise UserError for an unknown task or option."""
    where = f"dmc/{name}"
    choose(name, names(), where, "task")
    return DmcEnv(name, parse(DmcOptions, options, where))


def names() -> list[str]:
    """List the suite's tasks, ``DOMAIN-TASK``."""
    return sorted(f"{domain}-{task}" for domain, task in _import_suite().ALL_TASKS)


class DmcEnv(PhysicsEnv):
    """One task of the suite; see ``robolearn.types.Environment``.

    ``model`` and ``data`` are MuJoCo's own, ``dm_physics`` is dm_control's view of them. A state
    [S] is mjSTATE_INTEGRATION, the model entries that resets change, and the number of steps taken.
    """

    def __init__(self, name: str, options: DmcOptions) -> None:
        where = f"dmc/{name}"
        domain, _, task = name.partition("-")
        self._name, self._options, self.success_reward = name, options, options.success_reward
        suite_env = _import_suite().load(domain, task, task_kwargs={"random": MODEL_SEED})
        self._task = suite_env.task
        self.substeps = round(suite_env.control_timestep() / suite_env.physics.timestep())
        self._repeat = whole_number(options.action_repeat, where, "action_repeat")
        self._limit = _limit(options.horizon, suite_env._step_limit, self._repeat, where)
        self._take(suite_env.physics)
        self.physics.watch([lambda seed=seed: self.restart(seed) for seed in range(3)])
        self.keys, state = _state_spec(self._observations(), options.state, where)
        self._images = self._new_images()
        self.action_range, action = _action_spec(suite_env.action_spec())
        interface = Spec(
            environment=where,
            observations={"state": state, **self._images.specs},
            action=action,
            period_s=self._repeat * suite_env.control_timestep(),
        )
        self._present(interface, options.render_mode)
        self.show_in(np.empty(state.shape, np.float32))

    @property
    def horizon(self) -> float:
        """Control steps after which an episode is truncated; infinite where nothing ends it."""
        return self._limit if np.isinf(self._limit) else -(-self._limit // self._repeat)

    def twin(self) -> "DmcEnv":
        """Make another environment like this, with the same model if resets leave that alone.

        A model weighs some 10 MB, and caches hold one better than many.
        """
        if self.physics.changes_model:
            return DmcEnv(self._name, self._options)
        twin = copy.copy(self)
        twin._np_random = None
        twin._task = copy.deepcopy(self._task)
        twin._take(self.dm_physics.copy(share_model=True))
        twin._images = twin._new_images()
        twin._begun = False
        twin.observation_space, twin.action_space = interface_spaces(self.interface)
        twin.show_in(np.empty_like(self._state))
        return twin

    def show_in(self, state: np.ndarray) -> None:
        """Write the state entries of observations into an array float32 [O] from now on."""
        self._state, self._columns = state, Columns(self.keys, self._observations(), state)

    def restart(self, seed: int) -> None:
        """Begin the episode that a seed draws; show nothing."""
        self._task._random = np.random.RandomState(seed)  # noqa: NPY002 (what the suite draws from)
        with self.dm_physics.reset_context():
            self._task.initialize_episode(self.dm_physics)
        refresh(self.model, self.data)
        self._steps = 0

    def _step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        reward, terminated, truncated, success, error = self.move(action)
        info = {"success": success, "is_success": success, "reward_terms": {"task": reward}}
        if error is not None:
            info["error"] = error
        return self._observation(), reward, terminated, truncated, info

    def move(self, action: np.ndarray) -> tuple[float, bool, bool, bool, str | None]:
        """Apply an action float64 [A] in [-1, 1] that has been checked; for loops over many.

        Writes the state entries where ``show_in`` says, renders nothing. Gives reward, terminated,
        truncated, success, and why the simulation cannot go on.
        """
        total = 0.0
        for _ in range(self._repeat):
            reward, terminated, truncated, error = self._hold(action)
            total += reward
            if terminated or truncated:
                break
        self._columns.write(self._observations())
        return total, terminated, truncated, reward >= self.success_reward, error

    def _hold(self, action: np.ndarray) -> tuple[float, bool, bool, str | None]:
        """Apply an action for a control step of the task; give the first three and the last."""
        task, physics = self._task, self.dm_physics
        task.before_step(self.action_range(action), physics)
        error = self._advance()
        task.after_step(physics)
        if self._lagging:
            refresh(self.model, self.data, done=POSES_AND_VELOCITIES)
        self._steps += 1
        reward = float(task.get_reward(physics))
        discount = task.get_termination(physics)
        terminated = discount is not None and discount == 0
        truncated = self._steps >= self._limit or (discount is not None and not terminated)
        if error is not None:
            terminated, truncated = False, True
        return reward, terminated, truncated, error

    def _free(self) -> None:
        self.dm_physics.free()

    def _take(self, physics: Any) -> None:
        self.dm_physics, self._steps = physics, 0
        self.model, self.data = physics.model.ptr, physics.data.ptr
        self.physics = Physics(self.model, self.data)
        self._warnings = self.data.warning.number  # [kinds], a view
        self._lagging = bool((self.model.sensor_needstage == ACCELERATIONS).any())

    def _new_images(self) -> Images:
        return Images(self.model, self.data, self._options, f"dmc/{self._name}")

    def _advance(self) -> str | None:
        """Run the physics steps of a control period; say what has gone wrong since the reset.

        As ``dm_physics.step`` does, whose own way to look for warnings takes half as long as a
        step of the cheetah.
        """
        self.dm_physics._step_with_up_to_date_position_velocity(self.substeps)
        return divergence(self._warnings, FATAL) if any(self._warnings.tobytes()) else None

    def _observe(self) -> Observation:
        self._columns.write(self._observations())
        return self._observation()

    def _observation(self) -> Observation:
        return {"state": self._state.copy(), **self._images.observe()}

    def _observations(self) -> dict[str, np.ndarray]:
        return self._task.get_observation(self.dm_physics)


def _limit(wanted: int | None, own: float, repeat: int, where: str) -> float:
    """Give the task's control steps after which an episode is truncated."""
    return own if wanted is None else repeat * whole_number(wanted, where, "horizon")


def _state_spec(
    values: Mapping[str, np.ndarray], keys: tuple[str, ...] | None, where: str
) -> tuple[list[str], ArraySpec]:
    keys = list(values) if keys is None else list(as_tuple(keys))
    for key in keys:
        if key not in values:
            raise UserError(f"{where}: unknown state entry '{key}'{nearest(key, values)}")
    entries = [name for key in keys for name in flat_names(key, values[key])]
    return keys, ArraySpec((len(entries),), "float32", tuple(entries))


def _action_spec(spec: Any) -> tuple[ActionRange, ArraySpec]:
    action_range = ActionRange(spec.minimum, spec.maximum)
    names = tuple((spec.name or "").split("\t"))
    if len(set(names)) != spec.shape[0] or not all(names):
        names = tuple(f"actuator_{i}" for i in range(spec.shape[0]))
    scale = tuple(float(s) for s in action_range.gain)
    return action_range, ArraySpec(spec.shape, "float32", names, (), scale)


def _import_suite() -> Any:
    with gl_environment():
        from dm_control import suite
    return suite
