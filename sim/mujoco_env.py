"""Somebody's own MJCF model, with a ``MujocoTask``, as an environment."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium
import mujoco
import numpy as np

from robolearn.errors import UserError, nearest
from robolearn.types import ArraySpec, Observation, Spec
from sim.mujoco_task import MujocoTask, Quantity, apply_draw, sensed, task_from, value
from sim.options import parse, require_positive
from sim.physics import Physics, refresh
from sim.rendering import Cameras
from sim.spaces import ActionRange, checked_action, flat_names, interface_spaces

AXES = ("x", "y", "z")


@dataclass(frozen=True)
class MujocoOptions:
    """Options of ``make("mujoco/PATH.xml", ...)``."""

    task: MujocoTask | Mapping[str, Any] = field(default_factory=MujocoTask)
    """What is seen, rewarded, reached and drawn; a mapping (YAML) of its fields will do."""
    cameras: tuple[str, ...] = ()
    """Names of cameras that become observations; "free" looks at the whole model."""
    image_size: tuple[int, int] = (84, 84)
    """Height and width of the images, pixels."""
    fast_render: bool = True
    """Leave out shadows, reflections, multisampling and sky."""


def make(path: str, options: Mapping[str, Any]) -> "MujocoEnv":
    """Load the model of that path (relative to the working directory) with a task.

    Raises UserError for a missing or faulty file, an unknown option, quantity or name.
    """
    where = f"mujoco/{path}"
    parsed = parse(MujocoOptions, options, where)
    if not Path(path).is_file():
        raise UserError(f"{where}: no such file; the path is relative to {Path.cwd()}")
    try:
        model = mujoco.MjModel.from_xml_path(path)
    except ValueError as error:
        raise UserError(f"{where}: {' '.join(str(error).split())}") from None
    return MujocoEnv(model, task_from(parsed.task, where), parsed, where)


def names() -> list[str]:
    """List nothing: any model file can be named."""
    return []


class MujocoEnv(gymnasium.Env):
    """One model with one task; see ``robolearn.types.Environment``.

    The action is the model's controls, [-1, 1] stretched to each actuator's ``ctrlrange`` (as it is
    where there is none). A state [S] is mjSTATE_INTEGRATION, the model entries that resets change,
    and the number of steps taken.
    """

    metadata = {"render_modes": []}

    def __init__(
        self, model: mujoco.MjModel, task: MujocoTask, options: MujocoOptions, where: str
    ) -> None:
        require_positive(where, control_hz=task.control_hz, horizon=task.horizon)
        self.model, self.data = model, mujoco.MjData(model)
        self._task, self._where = task, where
        self._substeps = _substeps(model, task.control_hz, where)
        self._keyframe = _keyframe(model, task.keyframe, where)
        self._steps = 0
        self._observed = [self._sensed(quantity) for quantity in task.observation]
        self._rewards = {name: self._rule(goal) for name, goal in task.reward.items()}
        self._success, self._failure = self._all_of(task.success), self._all_of(task.failure)
        self._physics = Physics(self.model, self.data)
        self._physics.watch([lambda seed=seed: self._restart(seed) for seed in range(3)])
        self._cameras = Cameras(
            model, self.data, options.cameras, options.image_size, where, options.fast_render
        )
        self._action_range, action = _action_spec(model)
        self.interface = Spec(
            environment=where,
            observations={"state": self._state_spec(), **self._cameras.specs},
            action=action,
            period_s=self._substeps * model.opt.timestep,
        )
        self.observation_space, self.action_space = interface_spaces(self.interface)

    @property
    def mujoco_state_size(self) -> int:
        """How many leading entries of a state are time, qpos and qvel."""
        return self._physics.mujoco_state_size

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode; ``options={"state": state}`` begins it in a stored state [S]."""
        super().reset(seed=seed)
        if options and "state" in options:
            return self.set_state(options["state"]), {}
        self._restart(int(self.np_random.integers(2**32)))
        return self._observe(), {}

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Apply an action float32 [A] in [-1, 1] for one control period.

        ``info`` has "success", "is_success" (the same) and "reward_terms". Raises SpecError for an
        action of another shape and DataError for one that is not finite.
        """
        self.data.ctrl[:] = self._action_range(checked_action(action, self.interface))
        mujoco.mj_step(self.model, self.data, self._substeps)
        refresh(self.model, self.data)
        self._steps += 1
        terms = {name: rule(self.model, self.data) for name, rule in self._rewards.items()}
        success = bool(self._success(self.model, self.data))
        info = {"success": success, "is_success": success, "reward_terms": terms or {"task": 0.0}}
        terminated = bool(self._failure(self.model, self.data))
        truncated = self._steps >= self._task.horizon
        return self._observe(), float(sum(terms.values())), terminated, truncated, info

    def get_state(self) -> np.ndarray:
        """Give the state float64 [S] from which ``set_state`` restarts bit-exactly."""
        return np.append(self._physics.get_state(), self._steps)

    def set_state(self, state: np.ndarray) -> Observation:
        """Restore what ``get_state`` of an environment with the same options gave."""
        state = self._physics.checked(state, self._physics.size + 1)
        self._physics.set_state(state[:-1])
        self._steps = int(state[-1])
        return self._observe()

    def close(self) -> None:
        """Free the renderer; calling it again does nothing."""
        self._cameras.close()

    def _observe(self) -> Observation:
        values = [np.zeros(0), *(sense(self.model, self.data) for sense in self._observed)]
        return {"state": np.concatenate(values, dtype=np.float32), **self._cameras.render()}

    def _restart(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        if self._keyframe is None:
            mujoco.mj_resetData(self.model, self.data)
        else:
            mujoco.mj_resetDataKeyframe(self.model, self.data, self._keyframe)
        if callable(self._task.reset):
            self._task.reset(self.model, self.data, rng)
        else:
            for draw in self._task.reset:
                apply_draw(self.model, self.data, draw, rng, self._where)
        refresh(self.model, self.data)
        self._steps = 0

    def _sensed(self, quantity: Quantity):
        return sensed(self.model, self.data, quantity, self._where)

    def _rule(self, goal: Any):
        """Turn a goal or a function into a function (model, data) -> weighted value."""
        if callable(goal):
            return lambda model, data: float(goal(model, data))
        sense = self._sensed(goal.quantity)
        return lambda model, data: goal.weight * value(goal, sense(model, data))

    def _all_of(self, goals: Any):
        """Turn goals or a function into a function (model, data) -> bool."""
        if callable(goals):
            return goals
        sharp = [(goal, self._sensed(goal.quantity)) for goal in goals]
        return lambda model, data: (
            bool(sharp) and all(value(goal, sense(model, data)) == 1 for goal, sense in sharp)
        )

    def _state_spec(self) -> ArraySpec:
        names: list[str] = []
        for i, (quantity, sense) in enumerate(
            zip(self._task.observation, self._observed, strict=True)
        ):
            entry = sense(self.model, self.data)
            names += _entry_names(quantity if isinstance(quantity, str) else f"term{i}", entry)
        return ArraySpec((len(names),), "float32", tuple(names))


def _entry_names(quantity: str, entry: np.ndarray) -> list[str]:
    """Name a quantity's entries: ``site_pos:tip`` becomes ``tip_pos_x`` ... ."""
    parts = (part.strip().rpartition(":") for part in quantity.split(" - "))
    labels = [f"{name}_{kind.rpartition('_')[2]}" if kind else name for kind, _, name in parts]
    label = "_minus_".join(labels)
    if entry.size == 3 and "_pos" in label:
        return [f"{label}_{axis}" for axis in AXES]
    if entry.size == 4 and "_quat" in label:
        return [f"{label}_{axis}" for axis in "wxyz"]
    return flat_names(label, entry)


def _substeps(model: mujoco.MjModel, control_hz: float, where: str) -> int:
    exact = 1 / (control_hz * model.opt.timestep)
    if round(exact) < 1 or abs(exact - round(exact)) > 1e-6 * exact:
        raise UserError(
            f"{where}: control_hz={control_hz} is {exact:g} physics steps of "
            f"{model.opt.timestep} s per action; it must be a whole number"
        )
    return round(exact)


def _keyframe(model: mujoco.MjModel, name: str, where: str) -> int | None:
    known = [model.key(i).name for i in range(model.nkey)]
    if name and name not in known:
        raise UserError(f"{where}: no keyframe '{name}' in the model{nearest(name, known)}")
    return known.index(name) if name else None


def _action_spec(model: mujoco.MjModel) -> tuple[ActionRange, ArraySpec]:
    limited = model.actuator_ctrllimited.astype(bool)
    low = np.where(limited, model.actuator_ctrlrange[:, 0], -1.0)
    high = np.where(limited, model.actuator_ctrlrange[:, 1], 1.0)
    action_range = ActionRange(low, high)
    names = tuple(model.actuator(i).name or f"actuator_{i}" for i in range(model.nu))
    scale = tuple(float(s) for s in action_range.gain)
    return action_range, ArraySpec((model.nu,), "float32", names, (), scale)
