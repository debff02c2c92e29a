"""Any installed gymnasium environment with the project's contracts.

Observations are gathered in ``"state"`` and images (``ObservationReader``), actions stretched from
[-1, 1] (``action_decoder``). Success is what the environment reports as "success" or "is_success"
in its info, else False. Reward terms are its info's "reward_*" entries, else "task".

States can be read and set where nothing is hidden: in gymnasium's MuJoCo environments (bit-exactly;
their observation is computed again after the step, from up-to-date quantities) and in its classic
control. Elsewhere ``get_state`` and ``set_state`` raise UserError.

Environments with a MuJoCo model are rendered as all others of this project; the rest draw
themselves.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import mujoco
import numpy as np

from robolearn.errors import UserError, nearest
from robolearn.types import ArraySpec, Observation, Spec
from sim.base.env import OURS, Env, Renderer
from sim.base.options import RENDER_MODE, parse, require_mapping, whole_number
from sim.base.physics import Physics, divergence, refresh
from sim.gym.spaces import ObservationReader, action_decoder
from sim.rendering.images import CameraOptions, Images

CLASSIC_CONTROL = "gymnasium.envs.classic_control."
UNKNOWN_PERIOD_S = 0.0
SAID_BY = {"render_mode": "render_mode", "max_episode_steps": "horizon"}  # options of ours
UNKNOWN_FPS = 30  # gymnasium's own, of videos of environments that do not say


@dataclass(frozen=True)
class GymOptions(CameraOptions):
    """Options of ``make("gym/ID", ...)``.

    Cameras, of what is observed and of ``render``, and their sizes are for environments with a
    MuJoCo model.
    """

    env_options: Mapping[str, Any] = field(default_factory=dict)
    """Keywords for the environment itself."""
    horizon: int | None = None
    """Steps after which an episode is truncated; None for what the environment registered."""


def make(name: str, options: Mapping[str, Any]) -> "GymEnv":
    """Make gymnasium's environment of that ID.

    Raises UserError for an unknown ID or option, and where a package is missing that it needs.
    """
    where = f"gym/{name}"
    _require_theirs(name, where)
    parsed = parse(GymOptions, options, where)
    require_mapping(where, env_options=parsed.env_options)
    for theirs, ours in SAID_BY.items():
        if theirs in parsed.env_options:
            raise UserError(f"{where}: '{theirs}' is no env_options but an option itself, {ours}=")
    env = _make(name, parsed.env_options, where)
    if parsed.render_mode == RENDER_MODE and not _has_model(env):
        if not _render_modes(env):
            raise UserError(f"{where}: this environment draws no images")
        env.close()  # some prepare themselves to draw when they are made
        env = _make(name, {**parsed.env_options, "render_mode": RENDER_MODE}, where)
    return GymEnv(env, parsed, where)


def _require_theirs(name: str, where: str) -> None:
    """Refuse an ID of the other adapters; gymnasium takes MODULE:ID too."""
    own_id = name.rpartition(":")[2]
    if own_id.startswith(OURS):
        spec = gymnasium.registry.get(own_id)
        own = "ADAPTER/TASK" if spec is None else spec.kwargs.get("environment", "mujoco/PATH.xml")
        raise UserError(f"{where}: make this one by its own name, {own}")


def _make(name: str, options: Mapping[str, Any], where: str) -> gymnasium.Env:
    try:
        return gymnasium.make(name, max_episode_steps=-1, disable_env_checker=True, **options)
    except (gymnasium.error.UnregisteredEnv, gymnasium.error.MissingArgument):
        raise UserError(f"{where}: no such environment{nearest(name, names())}") from None
    except (gymnasium.error.Error, ImportError, TypeError) as error:
        raise UserError(f"{where}: {' '.join(str(error).split())}") from None


def names() -> list[str]:
    """List the IDs that others have registered with gymnasium."""
    return sorted(name for name in gymnasium.registry if not name.startswith(OURS))


class GymEnv(Env):
    """One gymnasium environment; see ``robolearn.types.Environment``."""

    def __init__(self, env: gymnasium.Env, options: GymOptions, where: str) -> None:
        self._env = env
        registered = gymnasium.spec(env.spec.id).max_episode_steps
        if options.horizon is None:
            self.horizon = registered or float("inf")
        else:
            self.horizon = whole_number(options.horizon, where, "horizon")
        self._steps = 0
        self._access = _access(env, where)
        self._warnings = _warnings(env.unwrapped)
        self._read = ObservationReader(env.observation_space, where)
        action, self._decode = action_decoder(env.action_space, where)
        self._images, seen = _images(env, self._access, options, where)
        interface = Spec(
            environment=where,
            observations={**self._read.specs, **seen},
            action=action,
            period_s=float(getattr(env.unwrapped, "dt", UNKNOWN_PERIOD_S)),
        )
        fps = env.metadata.get("render_fps", UNKNOWN_FPS)
        self.metadata = {"render_modes": _render_modes(env), "render_fps": fps}
        self._present(interface, options.render_mode)

    @property
    def model(self) -> mujoco.MjModel:
        """MuJoCo's model, of environments that have one."""
        return self._env.unwrapped.model

    @property
    def data(self) -> mujoco.MjData:
        """MuJoCo's data, of environments that have a model."""
        return self._env.unwrapped.data

    @property
    def mujoco_state_size(self) -> int:
        """How many leading entries of a state are time, qpos and qvel; 0 without MuJoCo."""
        return self._access.mujoco_state_size

    @property
    def _own_state_size(self) -> int | None:
        return None if self._access.size is None else self._access.size + 1

    def _begin_episode(self) -> Observation:
        observation, _ = self._env.reset(seed=int(self.np_random.integers(2**31)))
        self._steps = 0
        return self._observe(observation)

    def _step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Do what ``step`` says; ``info`` also has what the environment itself reports."""
        self._warnings[:] = 0
        observation, reward, terminated, truncated, info = self._env.step(self._decode(action))
        self._steps += 1
        terms = {k: float(v) for k, v in info.items() if k.startswith("reward_")}
        success = bool(info.get("success", info.get("is_success", False)))
        info = {
            **info,
            "success": success,
            "is_success": success,
            "reward_terms": terms or {"task": float(reward)},
        }
        error = divergence(self._warnings)
        if error:
            info["error"] = error
        truncated = bool(truncated or error) or self._steps >= self.horizon
        return self._observe(observation), float(reward), bool(terminated), truncated, info

    def _get_state(self) -> np.ndarray:
        return np.append(self._access.get(), self._steps)

    def _set_state(self, state: np.ndarray) -> Observation:
        self._access.set(state[:-1])
        self._steps = int(state[-1])
        return self._observe(None)

    def _free(self) -> None:
        self._env.close()

    def _observe(self, observation: Any) -> Observation:
        return {**self._read(self._access.settle(observation)), **self._images.observe()}


class _SelfDrawn:
    """What an environment without a model draws: itself, for people."""

    backdrop = None

    def __init__(self, env: gymnasium.Env, where: str) -> None:
        self._env, self._where = env, where

    def observe(self) -> Observation:
        return {}

    def show(self) -> np.ndarray:
        try:
            return np.asarray(self._env.render(), np.uint8)
        except gymnasium.error.DependencyNotInstalled as error:
            raise UserError(f"{self._where}: {' '.join(str(error).split())}") from None

    def close(self) -> None:
        """Leave that to the environment."""


class _MujocoAccess:
    """State of gymnasium's own MuJoCo environments."""

    def __init__(self, env: gymnasium.Env) -> None:
        self._env = env.unwrapped
        self.physics = Physics(self._env.model, self._env.data)
        self.physics.watch([lambda seed=seed: env.reset(seed=seed) for seed in range(3)])
        self.mujoco_state_size, self.size = self.physics.mujoco_state_size, self.physics.size

    def get(self) -> np.ndarray:
        return self.physics.get_state()

    def set(self, state: np.ndarray) -> None:
        self.physics.set_state(state)

    def settle(self, observation: Any) -> Any:
        """Bring all that follows from the state up to date, and observe that.

        gymnasium's contact forces (``cfrc_ext``) need MuJoCo's post-constraint pass as well.
        """
        refresh(self._env.model, self._env.data)
        mujoco.mj_rnePostConstraint(self._env.model, self._env.data)
        return self._env._get_obs()


class _ClassicAccess:
    """State of classic control: ``env.state``, always float64, so that a restart is exact."""

    mujoco_state_size = 0

    def __init__(self, env: gymnasium.Env) -> None:
        self._env = env.unwrapped
        env.reset(seed=0)
        self.size = np.size(self._env.state)

    def get(self) -> np.ndarray:
        return np.array(self._env.state, np.float64)

    def set(self, state: np.ndarray) -> None:
        self._env.state = state.copy()
        if hasattr(self._env, "steps_beyond_terminated"):  # a pole that has fallen stands again
            self._env.steps_beyond_terminated = None

    def settle(self, observation: Any) -> Any:
        self._env.state = self.get()
        observe = getattr(self._env, "_get_obs", getattr(self._env, "_get_ob", None))
        return observe() if observe else self._env.state


class _NoAccess:
    """An environment whose state is its own affair."""

    mujoco_state_size, size = 0, None

    def __init__(self, where: str) -> None:
        self._where = where

    def get(self) -> np.ndarray:
        raise UserError(f"{self._where}: the state of this environment cannot be read")

    def set(self, state: np.ndarray) -> None:
        raise UserError(f"{self._where}: the state of this environment cannot be set")

    def settle(self, observation: Any) -> Any:
        return observation


def _access(env: gymnasium.Env, where: str) -> _MujocoAccess | _ClassicAccess | _NoAccess:
    if _has_model(env):
        return _MujocoAccess(env)
    if type(env.unwrapped).__module__.startswith(CLASSIC_CONTROL):
        return _ClassicAccess(env)
    return _NoAccess(where)


def _warnings(unwrapped: gymnasium.Env) -> np.ndarray:
    """Give a view of MuJoCo's counts of warnings [kinds]; zeros without MuJoCo."""
    data = getattr(unwrapped, "data", None)
    if isinstance(data, mujoco.MjData):
        return data.warning.number
    return np.zeros(mujoco.mjtWarning.mjNWARNING, np.int32)


def _has_model(env: gymnasium.Env) -> bool:
    unwrapped = env.unwrapped
    model = isinstance(getattr(unwrapped, "model", None), mujoco.MjModel)
    return model and callable(getattr(unwrapped, "_get_obs", None))


def _render_modes(env: gymnasium.Env) -> list[str]:
    there = _has_model(env) or RENDER_MODE in env.metadata.get("render_modes", ())
    return [RENDER_MODE] if there else []


def _images(
    env: gymnasium.Env, access: Any, options: GymOptions, where: str
) -> tuple[Renderer, dict[str, ArraySpec]]:
    """Give what draws, and what of it is observed; raise UserError for what cannot be drawn."""
    if isinstance(access, _MujocoAccess):
        images = Images(access.physics.model, access.physics.data, options, where)
        return images, images.specs
    for what in ("cameras need", "distractors need", "render_camera needs", "render_size needs"):
        if getattr(options, what.split()[0]):
            raise UserError(f"{where}: {what} an environment with a MuJoCo model")
    return _SelfDrawn(env, where), {}
