"""robosuite's manipulation tasks as environments."""

import contextlib
import os
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

from robolearn.errors import UserError
from robolearn.types import ArraySpec, Observation, Spec
from sim.options import choose, parse, require_positive
from sim.physics import Physics, refresh
from sim.robosuite_memory import Memory, forget_cached_updates
from sim.robosuite_observation import StateReader

MODEL_SEED = 0  # what robosuite draws while it builds a model is the same in every environment


@dataclass(frozen=True)
class RobosuiteOptions:
    """Options of ``make("robosuite/TASK", ...)``."""

    robot: str | tuple[str, ...] = "Panda"
    """Name of an arm, or of two arms for a two-arm task."""
    controller: str | Mapping[str, Any] = "OSC_POSE"
    """Name of a part controller, or robosuite's settings for one."""
    horizon: int = 500
    """Control steps after which an episode is truncated."""
    control_hz: int = 20
    """Actions per second; must divide the 500 physics steps per second."""
    state: tuple[str, ...] | None = None
    """Observables of robosuite that make up ``"state"``; None for the task's default."""
    shaped_reward: bool = True
    """robosuite's shaped reward instead of the sparse one."""


def make(task: str, options: Mapping[str, Any]) -> "RobosuiteEnv":
    """Make robosuite's task of that name."""
    where = f"robosuite/{task}"
    choose(task, names(), where, "task")
    return RobosuiteEnv(task, parse(RobosuiteOptions, options, where))


def names() -> list[str]:
    """List robosuite's tasks."""
    return sorted(_robosuite().ALL_ENVIRONMENTS)


class RobosuiteEnv(gymnasium.Env):
    """One robosuite task with one or two arms."""

    metadata = {"render_modes": [], "render_fps": 20}

    def __init__(self, task: str, options: RobosuiteOptions) -> None:
        where = f"robosuite/{task}"
        require_positive(where, horizon=options.horizon, control_hz=options.control_hz)
        self._options = options
        self._env = _build(task, options)
        self._substeps = round(1 / (options.control_hz * self._env.model_timestep))
        self.model, self.data = self._env.sim.model._model, self._env.sim.data._data
        self._physics = Physics(self.model, self.data)
        self._physics.watch([lambda seed=seed: self._reset(seed) for seed in range(3)])
        self._reader = StateReader(self._env, options.state or DEFAULT_STATE, where)
        self._advance(np.zeros(self._env.action_dim))
        self._memory = Memory(self._env)
        self._reset(MODEL_SEED)
        size = self._env.action_dim
        self.interface = Spec(
            environment=where,
            observations={"state": self._reader.spec},
            action=ArraySpec((size,), "float32"),
            period_s=self._substeps * self._env.model_timestep,
            robot=options.robot if isinstance(options.robot, str) else "+".join(options.robot),
        )
        self.action_space = gymnasium.spaces.Box(-1, 1, (size,), np.float32)
        self.observation_space = gymnasium.spaces.Dict(
            {"state": gymnasium.spaces.Box(-np.inf, np.inf, self._reader.spec.shape, np.float32)}
        )

    @property
    def mujoco_state_size(self) -> int:
        """How many leading entries of a state are time, qpos and qvel."""
        return self._physics.mujoco_state_size

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode; see ``robolearn.types.Environment``."""
        super().reset(seed=seed)
        if options and "state" in options:
            return self.set_state(options["state"]), {}
        self._reset(int(self.np_random.integers(2**32)))
        return self._observe(), {}

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Apply an action for one control period; see ``robolearn.types.Environment``."""
        action = np.clip(np.asarray(action, np.float64), -1, 1)
        self._advance(action)
        refresh(self.model, self.data)
        self._env.timestep += 1
        reward = float(self._env.reward(action))
        success = bool(self._env._check_success())
        info = {"success": success, "is_success": success, "reward_terms": {"task": reward}}
        truncated = self._env.timestep >= self._options.horizon
        return self._observe(), reward, False, truncated, info

    def get_state(self) -> np.ndarray:
        """Give the state [S]: physics first, then robosuite's memory."""
        return np.concatenate([self._physics.get_state(), self._memory.get()])

    def set_state(self, state: np.ndarray) -> Observation:
        """Restore what ``get_state`` gave, bit for bit; return the observation there."""
        size = self._physics.size
        self._physics.set_state(state[:size])
        self._memory.set(state[size:])
        forget_cached_updates(self._env)
        return self._observe()

    def close(self) -> None:
        """Free the simulator."""

    def _observe(self) -> Observation:
        return {"state": self._reader.read()}

    def _reset(self, seed: int) -> None:
        with _global_randomness(seed):
            self._env.reset()
        refresh(self.model, self.data)
        forget_cached_updates(self._env)

    def _advance(self, action: np.ndarray) -> None:
        for i in range(self._substeps):
            self._env.sim.step1()
            self._env._pre_action(action, policy_step=i == 0)
            self._env.sim.step2()


DEFAULT_STATE = ("robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos", "object-state")


def _build(task: str, options: RobosuiteOptions) -> Any:
    from robosuite.controllers import load_part_controller_config
    from robosuite.controllers.composite.composite_controller_factory import (
        refactor_composite_controller_config,
    )

    part = load_part_controller_config(default_controller=options.controller)
    robots = [options.robot] if isinstance(options.robot, str) else list(options.robot)
    configs = [refactor_composite_controller_config(part, r, ["right"]) for r in robots]
    with _global_randomness(MODEL_SEED):
        return _robosuite().make(
            task,
            robots=robots,
            controller_configs=configs,
            has_renderer=False,
            has_offscreen_renderer=False,
            use_camera_obs=False,
            hard_reset=False,
            ignore_done=True,
            reward_shaping=options.shaped_reward,
            control_freq=options.control_hz,
            horizon=options.horizon,
            renderer="mujoco",
        )


def _robosuite() -> Any:
    """Import robosuite; it sets MUJOCO_GL for everybody, which is undone."""
    before = os.environ.get("MUJOCO_GL")
    import robosuite
    from robosuite.utils.log_utils import ROBOSUITE_DEFAULT_LOGGER

    ROBOSUITE_DEFAULT_LOGGER.setLevel("ERROR")
    if before is None:
        os.environ.pop("MUJOCO_GL", None)
    return robosuite


@contextlib.contextmanager
def _global_randomness(seed: int) -> Iterator[None]:
    """Seed the global generators, which robosuite draws from; put them back afterwards."""
    numpy_state, python_state = np.random.get_state(), random.getstate()  # noqa: NPY002
    np.random.seed(seed)  # noqa: NPY002
    random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(numpy_state)  # noqa: NPY002
        random.setstate(python_state)
