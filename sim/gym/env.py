"""Any installed gymnasium environment with the project's contracts.

Observations are gathered in ``"state"`` and images (``ObservationReader``), actions stretched from
[-1, 1] (``action_decoder``). Success is what the environment reports as "success" or "is_success"
in its info, else False. Reward terms are its info's "reward_*" entries, else "task".

States can be read and set where nothing is hidden: in gymnasium's MuJoCo environments (bit-exactly;
their observation is computed again after the step, from up-to-date quantities) and in its classic
control. Elsewhere ``get_state`` and ``set_state`` raise UserError.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import mujoco
import numpy as np

from robolearn.errors import SpecError, UserError, nearest
from robolearn.types import Observation, Spec
from sim.base.options import parse, whole_number
from sim.base.physics import Physics, divergence, refresh
from sim.base.spaces import checked_action, interface_spaces
from sim.gym.spaces import ObservationReader, action_decoder
from sim.rendering.cameras import Cameras

CLASSIC_CONTROL = "gymnasium.envs.classic_control."
UNKNOWN_PERIOD_S = 0.0
OURS = "robolearn/"  # what IDs of the other adapters begin with


@dataclass(frozen=True)
class GymOptions:
    """Options of ``make("gym/ID", ...)``."""

    env_options: Mapping[str, Any] = field(default_factory=dict)
    """Keywords for the environment itself."""
    horizon: int | None = None
    """Steps after which an episode is truncated; None for what the environment registered."""
    cameras: tuple[str, ...] = ()
    """Names of cameras that become observations, or "NAME_segmentation" (see ``Cameras``); only
    for environments with a MuJoCo model."""
    image_size: tuple[int, int] = (84, 84)
    """Height and width of the images, pixels."""
    fast_render: bool = True
    """Leave out shadows, reflections, multisampling and sky."""


def make(name: str, options: Mapping[str, Any]) -> "GymEnv":
    """Make gymnasium's environment of that ID.

    Raises UserError for an unknown ID or option, and where a package is missing that it needs.
    """
    where = f"gym/{name}"
    parsed = parse(GymOptions, options, where)
    try:
        env = gymnasium.make(
            name, max_episode_steps=-1, disable_env_checker=True, **parsed.env_options
        )
    except (gymnasium.error.UnregisteredEnv, gymnasium.error.MissingArgument):
        raise UserError(f"{where}: no such environment{nearest(name, names())}") from None
    except (gymnasium.error.Error, ImportError, TypeError) as error:
        raise UserError(f"{where}: {' '.join(str(error).split())}") from None
    return GymEnv(env, parsed, where)


def names() -> list[str]:
    """List the IDs that others have registered with gymnasium."""
    return sorted(name for name in gymnasium.registry if not name.startswith(OURS))


class GymEnv(gymnasium.Env):
    """One gymnasium environment; see ``robolearn.types.Environment``."""

    metadata = {"render_modes": []}

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
        self._cameras = _cameras(self._access, options, where)
        images = self._cameras.specs if self._cameras else {}
        self.interface = Spec(
            environment=where,
            observations={**self._read.specs, **images},
            action=action,
            period_s=float(getattr(env.unwrapped, "dt", UNKNOWN_PERIOD_S)),
        )
        self.observation_space, self.action_space = interface_spaces(self.interface)

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

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode; ``options={"state": state}`` begins it in a stored state [S]."""
        super().reset(seed=seed)
        observation, _ = self._env.reset(seed=int(self.np_random.integers(2**31)))
        self._steps = 0
        if options and "state" in options:
            return self.set_state(options["state"]), {}
        return self._observe(observation), {}

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Apply an action float32 [A] in [-1, 1] for one step.

        ``info`` has "success", "is_success" (the same), "reward_terms" and what the environment
        itself reports, and "error" where the simulation diverged, which truncates the episode.
        Raises SpecError for an action of another shape and DataError for one that is not finite.
        """
        decoded = self._decode(checked_action(action, self.interface))
        self._warnings[:] = 0
        observation, reward, terminated, truncated, info = self._env.step(decoded)
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

    def get_state(self) -> np.ndarray:
        """Give the state float64 [S]; raise UserError where it is hidden."""
        return np.append(self._access.get(), self._steps)

    def set_state(self, state: np.ndarray) -> Observation:
        """Restore what ``get_state`` of an environment with the same options gave."""
        self._access.set(np.asarray(state, np.float64)[:-1])
        self._steps = int(state[-1])
        return self._observe(None)

    def close(self) -> None:
        """Free the simulator and the renderer; calling it again does nothing."""
        if self._cameras:
            self._cameras.close()
        self._env.close()

    def _observe(self, observation: Any) -> Observation:
        result = self._read(self._access.settle(observation))
        return {**result, **self._cameras.render()} if self._cameras else result


class _MujocoAccess:
    """State of gymnasium's own MuJoCo environments."""

    def __init__(self, env: gymnasium.Env) -> None:
        self._env = env.unwrapped
        self.physics = Physics(self._env.model, self._env.data)
        self.physics.watch([lambda seed=seed: env.reset(seed=seed) for seed in range(3)])
        self.mujoco_state_size = self.physics.mujoco_state_size

    def get(self) -> np.ndarray:
        return self.physics.get_state()

    def set(self, state: np.ndarray) -> None:
        self.physics.set_state(self.physics.checked(state, self.physics.size))

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
        self._size = np.size(self._env.state)

    def get(self) -> np.ndarray:
        return np.array(self._env.state, np.float64)

    def set(self, state: np.ndarray) -> None:
        if state.shape != (self._size,):
            raise SpecError(f"state has shape {state.shape} instead of ({self._size},)")
        self._env.state = state.copy()

    def settle(self, observation: Any) -> Any:
        self._env.state = self.get()
        observe = getattr(self._env, "_get_obs", getattr(self._env, "_get_ob", None))
        return observe() if observe else self._env.state


class _NoAccess:
    """An environment whose state is its own affair."""

    mujoco_state_size = 0

    def __init__(self, where: str) -> None:
        self._where = where

    def get(self) -> np.ndarray:
        raise UserError(f"{self._where}: the state of this environment cannot be read")

    def set(self, state: np.ndarray) -> None:
        raise UserError(f"{self._where}: the state of this environment cannot be set")

    def settle(self, observation: Any) -> Any:
        return observation


def _access(env: gymnasium.Env, where: str) -> _MujocoAccess | _ClassicAccess | _NoAccess:
    unwrapped = env.unwrapped
    if isinstance(getattr(unwrapped, "model", None), mujoco.MjModel) and _has(
        unwrapped, "_get_obs"
    ):
        return _MujocoAccess(env)
    if type(unwrapped).__module__.startswith(CLASSIC_CONTROL):
        return _ClassicAccess(env)
    return _NoAccess(where)


def _warnings(unwrapped: gymnasium.Env) -> np.ndarray:
    """Give a view of MuJoCo's counts of warnings [kinds]; zeros without MuJoCo."""
    data = getattr(unwrapped, "data", None)
    if isinstance(data, mujoco.MjData):
        return data.warning.number
    return np.zeros(mujoco.mjtWarning.mjNWARNING, np.int32)


def _has(owner: Any, name: str) -> bool:
    return callable(getattr(owner, name, None))


def _cameras(access: Any, options: GymOptions, where: str) -> Cameras | None:
    if not options.cameras:
        return None
    if not isinstance(access, _MujocoAccess):
        raise UserError(f"{where}: cameras need an environment with a MuJoCo model")
    return Cameras(
        access.physics.model, access.physics.data, options.cameras, options.image_size, where,
        options.fast_render,
    )  # fmt: skip
