"""robosuite's manipulation tasks as environments.

The physics, the controllers, the rewards and the start states are robosuite's. Different are:

- Observations, reward and success describe the state after the step. robosuite computes them from
  poses and contacts of one physics step earlier.
- ``reset(seed=)`` alone determines an episode (``sim.robosuite.random``). What robosuite draws
  while it builds a model (the edge of Lift's cube, the hammer's handle) is the same in every
  environment, so that a state fits every one of them.
- One step from a reset equals one step from the same state restored (``forget_cached_updates``).
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from robolearn.errors import UserError
from robolearn.types import Observation, Spec
from sim.base.options import as_tuple, choose, parse, require_positive, whole_number
from sim.base.physics import Physics, refresh
from sim.base.physics_env import PhysicsEnv
from sim.engine.loop import ENGINES, ControlLoop
from sim.rendering.gl import DEVICE, gl_environment
from sim.rendering.images import CameraOptions, Images
from sim.robosuite.controllers import action_map, controller_config, describe
from sim.robosuite.memory import Memory, forget_cached_updates
from sim.robosuite.observation import StateReader, default_keys
from sim.robosuite.random import seeded, separate
from sim.robosuite.robots import repaired_models, robot_names
from sim.robosuite.tasks import (
    RewardTerms,
    choose_object,
    held_still,
    name_object,
    place,
    put_away,
    take_over_choice,
)

MODEL_SEED = 0
COLLISION_GROUP = 0  # robosuite draws visual geoms, of group 1
NO_SHAPED_REWARD = ("TwoArmTransport",)  # robosuite has none and gives no reward when asked for it


@dataclass(frozen=True)
class RobosuiteOptions(CameraOptions):
    """Options of ``make("robosuite/TASK", ...)``."""

    robot: str | tuple[str, ...] = "Panda"
    """Name of an arm; for a two-arm task a pair, or one robot with two arms. One name of a
    one-armed robot stands for two of them there."""
    controller: str | Mapping[str, Any] = "OSC_POSE"
    """Name of a part controller for the arms, settings that differ from its default
    (``{"type": "OSC_POSE", "kp": 300}``), or a composite configuration with ``body_parts``."""
    horizon: int = 500
    """Control steps after which an episode is truncated."""
    control_hz: int = 20
    """Actions per second; must divide the 500 physics steps per second."""
    state: tuple[str, ...] | None = None
    """robosuite's observables that make up ``"state"``; None for the task's default."""
    placement: Mapping[str, Any] | None = None
    """Range of start states of the object: ``x_range_m``, ``y_range_m``, ``yaw_range_rad``, each
    (low, high). NutAssembly takes one for each nut: ``{"SquareNut": {...}, "RoundNut": {...}}``."""
    shaped_reward: bool = True
    """robosuite's shaped reward instead of the sparse one."""
    engine: str = "compiled"
    """The control loop: "compiled" (robosuite's states to the last bit), "fast" (to rounding; and
    objects that the task has put out of the scene stay there, where they cost nothing, instead of
    falling to the floor) or "robosuite". Controllers that the first two do not cover are run by
    robosuite's."""


def make(task: str, options: Mapping[str, Any]) -> "RobosuiteEnv":
    """Make robosuite's task of that name; raise UserError for an unknown task or option."""
    where = f"robosuite/{task}"
    choose(task, names(), where, "task")
    return RobosuiteEnv(task, parse(RobosuiteOptions, options, where))


def names() -> list[str]:
    """List robosuite's tasks."""
    _import_robosuite()
    from robosuite.environments.base import REGISTERED_ENVS

    return sorted(REGISTERED_ENVS)


class RobosuiteEnv(PhysicsEnv):
    """One robosuite task; see ``robolearn.types.Environment``.

    ``model`` and ``data`` are MuJoCo's own. A state [S] is mjSTATE_INTEGRATION, the model entries
    that resets change, and robosuite's memory.
    """

    def __init__(self, task: str, options: RobosuiteOptions) -> None:
        where = f"robosuite/{task}"
        self.horizon = options.horizon
        config, self._env = _build(task, options, where)
        self.model, self.data = self._env.sim.model._model, self._env.sim.data._data
        self.physics = Physics(self.model, self.data)
        self.physics.watch([lambda seed=seed: self.restart(seed) for seed in range(3)])
        keys = default_keys(self._env) if options.state is None else as_tuple(options.state)
        self._reader = StateReader(self._env, keys, where)
        self._images = Images(self.model, self.data, options, where, (COLLISION_GROUP,))
        self._terms = RewardTerms(self._env)
        self._action = action_map(self._env)
        engine = choose(options.engine, ENGINES, where, "engine")
        self._loop = ControlLoop(self._env, engine)
        self._loop.step(np.zeros(self._env.action_dim))
        self._memory = Memory(self._env)
        self.restart(MODEL_SEED)
        interface = Spec(
            environment=where,
            observations={"state": self._reader.spec, **self._images.specs},
            action=self._action.spec,
            period_s=1 / options.control_hz,
            robot="+".join(self._env.robot_names),
            controller=describe(config, self._env, options.control_hz),
        )
        self._present(interface, options.render_mode)

    @property
    def _own_state_size(self) -> int:
        return self.physics.size + self._memory.size

    def restart(self, seed: int) -> None:
        """Begin the episode that a seed draws; show nothing."""
        with seeded(seed) as generators:
            choose_object(self._env, generators.numpy)
            self._env.reset()
        refresh(self.model, self.data)
        forget_cached_updates(self._env)

    def success(self) -> bool:
        """Say whether the task is done in the present state."""
        return bool(self._env._check_success())

    def _step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        robosuite_action = self._action(action)
        self._loop.step(robosuite_action)
        error = self.physics.divergence()
        refresh(self.model, self.data)
        self._env.timestep += 1
        reward, _, _ = self._env._post_action(robosuite_action)
        success = self.success()
        terms = self._terms(float(reward), success)
        info = {"success": success, "is_success": success, "reward_terms": terms}
        if error:
            info["error"] = error
        truncated = self._env.timestep >= self.horizon or bool(error)
        return self._observe(), float(reward), False, truncated, info

    def _get_state(self) -> np.ndarray:
        return np.concatenate([self.physics.get_state(), self._memory.get()])

    def _set_state(self, state: np.ndarray) -> Observation:
        self.physics.set_state(state[: self.physics.size])
        self._memory.set(state[self.physics.size :])
        name_object(self._env)
        forget_cached_updates(self._env)
        return self._observe()

    def _free(self) -> None:
        # It refers to itself: only so is its model freed at once. Its own ``close`` would have all
        # that the process holds looked through, a quarter of a second where torch is loaded.
        vars(self._env).clear()

    def _observe(self) -> Observation:
        return {"state": self._reader.read(), **self._images.observe()}


def _build(task: str, options: RobosuiteOptions, where: str) -> tuple[dict[str, Any], Any]:
    """Make robosuite's environment; give it and the controller settings of its first robot."""
    robosuite = _import_robosuite()
    whole_number(options.horizon, where, "horizon")
    require_positive(where, control_hz=options.control_hz)
    _require_whole_substeps(options.control_hz, where)
    robots = robot_names(task, options.robot, where)
    configs = [controller_config(options.controller, robot, where) for robot in robots]
    with seeded(MODEL_SEED), repaired_models():
        env = robosuite.make(
            task,
            robots=robots,
            controller_configs=configs,
            has_renderer=False,
            has_offscreen_renderer=False,
            use_camera_obs=False,
            hard_reset=False,
            ignore_done=True,
            reward_shaping=options.shaped_reward and task not in NO_SHAPED_REWARD,
            control_freq=options.control_hz,
            horizon=options.horizon,
            renderer="mujoco",
        )
    take_over_choice(env)
    if options.engine == "fast":
        _hold_still(env, put_away(env))
    if options.placement is not None:
        place(env, options.placement, where)
    return configs[0], env


def _hold_still(env: Any, bodies: list[str]) -> None:
    """Build the model again, with bodies that neither fall nor touch anything."""
    if not bodies:
        return
    env.set_xml_processor(lambda xml: held_still(xml, bodies))
    with seeded(MODEL_SEED):
        env.hard_reset = True
        env.reset()
        env.hard_reset = False


def _require_whole_substeps(control_hz: int, where: str) -> None:
    from robosuite import macros

    rate = round(1 / macros.SIMULATION_TIMESTEP)
    if rate % control_hz:
        divisors = [n for n in range(1, rate + 1) if rate % n == 0]
        close = min(divisors, key=lambda n: abs(n - control_hz))
        raise UserError(
            f"{where}: control_hz={control_hz} must divide {rate} physics steps a second; "
            f"the nearest that does is {close}"
        )


def _import_robosuite() -> Any:
    """Import robosuite without what it logs: parts that nobody asked for are missing."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with gl_environment(hidden=(DEVICE,)):  # which it compares with CUDA's numbers
            import robosuite
    finally:
        logging.disable(level)
    robosuite.utils.log_utils.ROBOSUITE_DEFAULT_LOGGER.setLevel(logging.ERROR)
    separate()
    return robosuite
