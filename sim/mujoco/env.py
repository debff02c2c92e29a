"""Somebody's own MJCF model, with a ``MujocoTask``, as an environment."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from robolearn.errors import UserError
from robolearn.types import ArraySpec, Observation, Spec
from sim.base.options import parse, require_positive, whole_number
from sim.base.physics import Physics, refresh
from sim.base.physics_env import PhysicsEnv
from sim.base.spaces import ActionRange, flat_names
from sim.mujoco.arrays import TaskArrays
from sim.mujoco.start import EpisodeStart
from sim.mujoco.task import MujocoTask, Quantity, task_from
from sim.rendering.images import CameraOptions, Images

AXES = ("x", "y", "z")


@dataclass(frozen=True)
class MujocoOptions(CameraOptions):
    """Options of ``make("mujoco/PATH.xml", ...)``."""

    task: MujocoTask | Mapping[str, Any] = field(default_factory=MujocoTask)
    """What is seen, rewarded, reached and drawn; a mapping (YAML) of its fields will do."""


def make(path: str, options: Mapping[str, Any]) -> "MujocoEnv":
    """Load the model of that path (relative to the working directory) with a task.

    Raises UserError for a missing or faulty file, an unknown option, quantity or name.
    """
    where = path if Path(path).is_absolute() else f"mujoco/{path}"
    parsed = parse(MujocoOptions, options, where)
    if not Path(path).is_file():
        raise UserError(f"{where}: no such file; the path is relative to {Path.cwd()}")
    try:
        model = mujoco.MjModel.from_xml_path(path)
    except ValueError as error:
        raise UserError(f"{where}: {' '.join(str(error).split())}") from None
    return MujocoEnv(model, task_from(parsed.task, where), parsed, f"mujoco/{path}", where)


def names() -> list[str]:
    """List nothing: any model file can be named."""
    return []


class MujocoEnv(PhysicsEnv):
    """One model with one task; see ``robolearn.types.Environment``.

    The action is the model's controls, [-1, 1] stretched to each actuator's ``ctrlrange`` (as it is
    where there is none). A state [S] is mjSTATE_INTEGRATION, the model entries that resets change,
    and the number of steps taken.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        task: MujocoTask,
        options: MujocoOptions,
        name: str,
        where: str,
    ) -> None:
        """Take a model and a task; ``name`` makes the environment again, errors begin with
        ``where``.
        """
        require_positive(where, control_hz=task.control_hz)
        whole_number(task.horizon, where, "horizon")
        self.model, self.data = model, mujoco.MjData(model)
        self.task, self.substeps = task, _substeps(model, task.control_hz, where)
        self._begin = EpisodeStart(task, model, self.data, where)
        self.physics = Physics(self.model, self.data)
        self.physics.watch([lambda seed=seed: self.restart(seed) for seed in range(3)])
        self.arrays = TaskArrays(task, model, self.data, where)
        self._readings = np.zeros((1, self.arrays.layout.width))
        self._steps = 0
        self._images = Images(model, self.data, options, where)
        self.action_range, action = _action_spec(model)
        interface = Spec(
            environment=name,
            observations={"state": _state_spec(task, self.arrays), **self._images.specs},
            action=action,
            period_s=self.substeps * model.opt.timestep,
        )
        self._present(interface, options.render_mode)

    @property
    def horizon(self) -> int:
        """Control steps after which an episode is truncated."""
        return self.task.horizon

    def restart(self, seed: int) -> None:
        """Begin the episode that a seed draws; show nothing."""
        self._begin(self.model, self.data, np.random.default_rng(seed))
        refresh(self.model, self.data)
        self._steps = 0

    def _step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        self.data.ctrl[:] = self.action_range(action)
        mujoco.mj_step(self.model, self.data, self.substeps)
        error = self.physics.divergence()
        refresh(self.model, self.data)
        self._steps += 1
        outcome = self.arrays.evaluate(self._read())
        success = bool(outcome.success[0])
        terms = {name: float(term[0]) for name, term in self.arrays.named(outcome.terms).items()}
        info = {"success": success, "is_success": success, "reward_terms": terms}
        if error:
            info["error"] = error
        truncated = self._steps >= self.horizon or bool(error)
        observation = self._with_images(outcome.observation)
        reward, terminated = float(outcome.reward[0]), bool(outcome.failure[0])
        return observation, reward, terminated, truncated, info

    def _observe(self) -> Observation:
        return self._with_images(self.arrays.evaluate(self._read()).observation)

    def _with_images(self, observation: np.ndarray) -> Observation:
        return {"state": observation[0], **self._images.observe()}

    def _read(self) -> np.ndarray:
        """Give what the task looks at, [1, Q]."""
        self.arrays.read(self.data, self._readings[0])
        self.arrays.call(self.model, self.data, self._readings[0])
        return self._readings


def _state_spec(task: MujocoTask, arrays: TaskArrays) -> ArraySpec:
    names: list[str] = []
    for i, (quantity, size) in enumerate(zip(task.observation, arrays.sizes, strict=True)):
        names += _entry_names(quantity, i, size)
    return ArraySpec((len(names),), "float32", tuple(names))


def _entry_names(quantity: Quantity, i: int, size: int) -> list[str]:
    """Name a quantity's entries: ``site_pos:tip`` becomes ``tip_pos_x`` ... ."""
    if not isinstance(quantity, str):
        return flat_names(f"term{i}", np.zeros(size))
    parts = (part.strip().rpartition(":") for part in quantity.split(" - "))
    labels = [f"{name}_{kind.rpartition('_')[2]}" if kind else name for kind, _, name in parts]
    label = "_minus_".join(labels)
    if size == 3 and "_pos" in label:
        return [f"{label}_{axis}" for axis in AXES]
    if size == 4 and "_quat" in label:
        return [f"{label}_{axis}" for axis in "wxyz"]
    return flat_names(label, np.zeros(size))


def _substeps(model: mujoco.MjModel, control_hz: float, where: str) -> int:
    exact = 1 / (control_hz * model.opt.timestep)
    if round(exact) < 1 or abs(exact - round(exact)) > 1e-6 * exact:
        raise UserError(
            f"{where}: control_hz={control_hz} is {exact:g} physics steps of "
            f"{model.opt.timestep} s per action; it must be a whole number"
        )
    return round(exact)


def _action_spec(model: mujoco.MjModel) -> tuple[ActionRange, ArraySpec]:
    limited = model.actuator_ctrllimited.astype(bool)
    low = np.where(limited, model.actuator_ctrlrange[:, 0], -1.0)
    high = np.where(limited, model.actuator_ctrlrange[:, 1], 1.0)
    action_range = ActionRange(low, high)
    names = tuple(model.actuator(i).name or f"actuator_{i}" for i in range(model.nu))
    scale = tuple(float(s) for s in action_range.gain)
    return action_range, ArraySpec((model.nu,), "float32", names, (), scale)
