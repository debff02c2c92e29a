"""What robosuite remembers outside MuJoCo: controllers, grippers, step counter, task flags."""

from collections.abc import Iterator
from typing import Any

import numpy as np

# Per controller class, the attributes that outlive a control step. All others are constants, or are
# set by the next action, or are read from the simulator when ``new_update`` is set.
CONTROLLER_MEMORY = {
    # goals count where an action moves the last goal; origins where the base moves (they lag)
    "OperationalSpaceController": (
        "goal_pos", "goal_ori", "initial_joint", "origin_pos", "origin_ori",
    ),
    "InverseKinematicsController": ("reference_target_orn", "initial_joint"),
    "JointPositionController": (),
    "JointVelocityController": ("last_err", "summed_err", "saturated"),
    "JointTorqueController": (),
    "SimpleGripController": (),
    "MobileBaseJointVelocityController": ("init_pos", "init_ori"),
}  # fmt: skip
INTERPOLATORS = ("interpolator", "interpolator_pos", "interpolator_ori")
TASK_MEMORY = ("nut_id", "object_id", "collisions", "f_excess")
RING_BUFFER = ("buf", "ptr", "_size")

Slot = tuple[Any, str]  # an object and the name of one of its attributes


class Memory:
    """Reads and writes robosuite's memory as one vector float64 [M].

    Controllers are made anew at every reset, so the slots are looked up each time. Their shapes and
    types are those that ``env`` has after a first control step: a gripper's ``current_action`` is
    one zero before it and one value per finger after it.
    """

    def __init__(self, env: Any) -> None:
        self._env = env
        self._templates = [getattr(owner, name) for owner, name in _slots(env)]
        self.size = sum(np.size(template) for template in self._templates)

    def get(self) -> np.ndarray:
        """Give the memory [M]."""
        memory = np.empty(self.size)
        start = 0
        for template, (owner, name) in zip(self._templates, _slots(self._env), strict=True):
            value = np.broadcast_to(getattr(owner, name), np.shape(template))
            memory[start : start + value.size] = value.ravel()
            start += value.size
        return memory

    def set(self, memory: np.ndarray) -> None:
        """Restore what ``get`` gave."""
        start = 0
        for template, (owner, name) in zip(self._templates, _slots(self._env), strict=True):
            values = memory[start : start + np.size(template)]
            setattr(owner, name, _like(template, values))
            start += len(values)


def forget_cached_updates(env: Any) -> None:
    """Make every controller read the simulator again at its next use.

    A controller reads poses, Jacobian and mass matrix when it is made, which is in the middle of
    robosuite's reset (before the fingers and the objects are in place), and keeps them for its
    first control step. With ``new_update`` set, as it is after every control step, the first step
    after a reset is the same as after any restored state.
    """
    for robot in env.robots:
        for controller in robot.part_controllers.values():
            controller.new_update = True


def _slots(env: Any) -> Iterator[Slot]:
    yield env, "timestep"
    for name in TASK_MEMORY:
        if hasattr(env, name):
            yield env, name
    for robot in env.robots:
        for controller in robot.part_controllers.values():
            yield from _controller_slots(controller)
        for gripper in robot.gripper.values():
            yield gripper, "current_action"
    if hasattr(env, "wiped_markers"):
        yield from _wipe_slots(env)


def _controller_slots(controller: Any) -> Iterator[Slot]:
    for name in CONTROLLER_MEMORY[type(controller).__name__]:
        yield controller, name
    for name in INTERPOLATORS:
        interpolator = getattr(controller, name, None)
        if interpolator is not None:
            yield from ((interpolator, n) for n in ("start", "goal", "step"))
    if hasattr(controller, "derr_buf"):
        yield from ((controller.derr_buf, name) for name in RING_BUFFER)


def _wipe_slots(env: Any) -> Iterator[Slot]:
    """Wipe rewards low forces and accelerations, which the robot remembers from earlier steps."""
    robot = env.robots[0]
    for arm in robot.arms:
        yield robot.recent_ee_forcetorques[arm], "current"
        yield robot.recent_ee_acc[arm], "current"
        yield from ((robot.recent_ee_vel_buffer[arm], name) for name in RING_BUFFER)
    yield _WipeFlags(env), "wiped"
    yield _WipeFlags(env), "force_bias"


class _WipeFlags:
    """Wipe's lists and dicts as arrays."""

    def __init__(self, env: Any) -> None:
        self._env = env

    @property
    def wiped(self) -> np.ndarray:
        """Which markers are wiped, bool [markers]."""
        return np.array(
            [m in self._env.wiped_markers for m in self._env.model.mujoco_arena.markers]
        )

    @wiped.setter
    def wiped(self, wiped: np.ndarray) -> None:
        markers = self._env.model.mujoco_arena.markers
        self._env.wiped_markers = [m for m, w in zip(markers, wiped, strict=True) if w]
        model = self._env.sim.model
        for marker, is_wiped in zip(markers, wiped, strict=True):
            model.geom_rgba[model.geom_name2id(marker.visual_geoms[0])][3] = 0 if is_wiped else 1

    @property
    def force_bias(self) -> np.ndarray:
        """Force at each hand when the episode began, N, [arms, 3]."""
        return np.stack([self._env.ee_force_bias[arm] for arm in self._env.robots[0].arms])

    @force_bias.setter
    def force_bias(self, bias: np.ndarray) -> None:
        self._env.ee_force_bias = dict(zip(self._env.robots[0].arms, bias, strict=True))


def _like(template: Any, values: np.ndarray) -> Any:
    if isinstance(template, np.ndarray):
        return values.reshape(template.shape).astype(template.dtype)
    return type(template)(values[0])
