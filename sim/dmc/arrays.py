"""dm_control's tasks as formulas on arrays, so that a batch needs no Python for each environment.

The formulas are those of ``dm_control.suite``, for N environments at once: an array [N, k] for each
input. ``tolerance`` is the suite's own. To add a task, write a function that gives its observations
and its reward, and name it in ``TASKS``; the tests then compare it with dm_control's: observations
to the last bit, rewards to four units in the last place of 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import mujoco
import numpy as np
from dm_control.utils.rewards import tolerance

from sim.dmc.env import FATAL, DmcEnv
from sim.mujoco.arrays import TaskArrays
from sim.mujoco.task import Formula, Goal, MujocoTask, Quantity
from sim.mujoco.vector import MujocoVectorEnv

XX, XZ, ZZ = 0, 2, 8  # entries of a rotation matrix by rows
SPEED = "sensor:torso_subtreelinvel"  # of the centre of mass, m/s [3]


class Task(NamedTuple):
    """What a task shows, by dm_control's names, and its reward in [0, 1]."""

    observation: Mapping[str, Quantity]
    reward: Formula


def make_batch(template: DmcEnv, name: str, n: int, threads: int) -> MujocoVectorEnv:
    """Make N environments like ``template``, which is taken over, of a task that has formulas."""
    model, where = template.model, template.interface.environment
    observation, reward = TASKS[name](model)
    task = MujocoTask(
        observation=tuple(observation[key] for key in template.keys),
        reward={"task": reward},
        success=(Goal(reward, low=template.success_reward, high=np.inf),),
    )
    arrays = TaskArrays(task, model, template.data, where)
    return MujocoVectorEnv(template, arrays, n, threads, FATAL)


# ----------------------------------------------------------------------------------- locomotion


def walker(model: mujoco.MjModel, speed: float) -> Task:
    """Stand upright and walk at a speed, m/s; just stand, if it is 0."""

    def reward(pos: np.ndarray, mat: np.ndarray, velocity: np.ndarray) -> np.ndarray:
        standing = tolerance(pos[:, 2], (1.2, np.inf), margin=0.6)
        upright = (1 + mat[:, ZZ]) / 2
        stand = (3 * standing + upright) / 4
        if speed == 0:
            return stand
        return stand * (5 * faster(velocity[:, 0], speed, speed / 2, 0.5) + 1) / 6

    observation = {
        "orientations": Formula(("xmat",), lambda mats: planar(mats, 1, (XX, XZ))),
        "height": Formula(("body_pos:torso",), lambda pos: pos[:, 2]),
        "velocity": "qvel",
    }
    return Task(observation, Formula(("body_pos:torso", "body_mat:torso", SPEED), reward))


def cheetah(model: mujoco.MjModel) -> Task:
    """Run at 10 m/s."""
    return Task(
        {"position": Formula(("qpos",), all_but_first), "velocity": "qvel"},
        Formula((SPEED,), lambda velocity: faster(velocity[:, 0], 10, 10, 0)),
    )


def hopper(model: mujoco.MjModel, hop: bool) -> Task:
    """Stand with little control, or hop at 2 m/s."""
    height = "body_com:torso - body_com:foot"

    def hopping(height: np.ndarray, velocity: np.ndarray) -> np.ndarray:
        return tolerance(height[:, 2], (0.6, 2)) * faster(velocity[:, 0], 2, 1, 0.5)

    def standing(height: np.ndarray, ctrl: np.ndarray) -> np.ndarray:
        return tolerance(height[:, 2], (0.6, 2)) * little(ctrl)

    observation = {
        "position": Formula(("qpos",), all_but_first),
        "velocity": "qvel",
        "touch": Formula(("sensor:touch_toe", "sensor:touch_heel"), log_touch),
    }
    if hop:
        return Task(observation, Formula((height, SPEED), hopping))
    return Task(observation, Formula((height, "ctrl"), standing))


# ------------------------------------------------------------------------------- poles and arms


def cartpole(model: mujoco.MjModel, sparse: bool = False) -> Task:
    """Keep poles upright above the middle."""

    def smooth_reward(
        qpos: np.ndarray, qvel: np.ndarray, mats: np.ndarray, ctrl: np.ndarray
    ) -> np.ndarray:
        upright = ((planar(mats, 2, (ZZ,)) + 1) / 2).mean(1)
        centred = (1 + tolerance(qpos[:, 0], margin=2)) / 2
        small_velocity = (1 + tolerance(qvel[:, 1:], margin=5).min(1)) / 2
        return upright * little(ctrl) * small_velocity * centred

    def sparse_reward(qpos: np.ndarray, mats: np.ndarray) -> np.ndarray:
        in_bounds = tolerance(planar(mats, 2, (ZZ,)), (0.995, 1)).prod(1)
        return tolerance(qpos[:, 0], (-0.25, 0.25)) * in_bounds

    def position(qpos: np.ndarray, mats: np.ndarray) -> np.ndarray:
        return np.hstack([qpos[:, :1], planar(mats, 2, (ZZ, XZ))])

    observation = {"position": Formula(("qpos", "xmat"), position), "velocity": "qvel"}
    if sparse:
        return Task(observation, Formula(("qpos", "xmat"), sparse_reward))
    return Task(observation, Formula(("qpos", "qvel", "xmat", "ctrl"), smooth_reward))


def pendulum(model: mujoco.MjModel) -> Task:
    """Hold a pole within 8 degrees of upright."""
    upright = np.cos(np.deg2rad(8))
    return Task(
        {
            "orientation": Formula(("body_mat:pole",), lambda mat: mat[:, [ZZ, XZ]]),
            "velocity": "joint_vel:hinge",
        },
        Formula(("body_mat:pole",), lambda mat: tolerance(mat[:, ZZ], (upright, 1))),
    )


def acrobot(model: mujoco.MjModel, margin: float) -> Task:
    """Bring the tip to a target above; ``margin`` in metres, 0 for a sparse reward."""
    radius = model.site("target").size[0]
    return Task(
        {
            "orientations": Formula(
                ("body_mat:upper_arm", "body_mat:lower_arm"),
                lambda upper, lower: np.stack(
                    [upper[:, XZ], lower[:, XZ], upper[:, ZZ], lower[:, ZZ]], 1
                ),
            ),
            "velocity": "qvel",
        },
        Formula(
            ("site_pos:target - site_pos:tip",),
            lambda way: tolerance(length(way), (0, radius), margin=margin),
        ),
    )


def reacher(model: mujoco.MjModel) -> Task:
    """Bring the finger to a target on the plane."""
    radii = model.geom("target").size[0] + model.geom("finger").size[0]
    way = "geom_pos:target - geom_pos:finger"
    return Task(
        {
            "position": "qpos",
            "to_target": Formula((way,), lambda way: way[:, :2]),
            "velocity": "qvel",
        },
        Formula((way,), lambda way: tolerance(length(way[:, :2]), (0, radii))),
    )


def point_mass(model: mujoco.MjModel) -> Task:
    """Bring a mass to a target with little control."""
    size = model.geom("target").size[0]

    def reward(way: np.ndarray, ctrl: np.ndarray) -> np.ndarray:
        near = tolerance(length(way), (0, size), margin=size)
        return near * little(ctrl)

    return Task(
        {"position": "qpos", "velocity": "qvel"},
        Formula(("geom_pos:target - geom_pos:pointmass", "ctrl"), reward),
    )


def finger(model: mujoco.MjModel, turn: bool) -> Task:
    """Spin a body at 15 rad/s, or turn its tip into a target."""
    radius = model.site("target").size[0]
    tip, target = "sensor:tip - sensor:spinner", "sensor:target - sensor:spinner"

    def distance(tip: np.ndarray, target: np.ndarray) -> np.ndarray:
        return length((target - tip)[:, [0, 2]]) - radius

    def position(proximal: np.ndarray, distal: np.ndarray, tip: np.ndarray) -> np.ndarray:
        return np.hstack([proximal, distal, tip[:, [0, 2]]])

    joints = ("proximal", "distal", "hinge")
    velocities = tuple(f"sensor:{joint}_velocity" for joint in joints)
    observation = {
        "position": Formula(("sensor:proximal", "sensor:distal", tip), position),
        "velocity": Formula(velocities, lambda *v: np.hstack(v)),
        "touch": Formula(("sensor:touchtop", "sensor:touchbottom"), log_touch),
    }
    if not turn:
        spins = Formula(("sensor:hinge_velocity",), lambda speed: speed[:, 0] <= -15)
        return Task(observation, spins)
    observation |= {
        "target_position": Formula((target,), lambda target: target[:, [0, 2]]),
        "dist_to_target": Formula((tip, target), distance),
    }
    return Task(observation, Formula((tip, target), lambda *both: distance(*both) <= 0))


TASKS: dict[str, Callable[[mujoco.MjModel], Task]] = {
    "acrobot-swingup": partial(acrobot, margin=1),
    "acrobot-swingup_sparse": partial(acrobot, margin=0),
    "cartpole-balance": cartpole,
    "cartpole-balance_sparse": partial(cartpole, sparse=True),
    "cartpole-swingup": cartpole,
    "cartpole-swingup_sparse": partial(cartpole, sparse=True),
    "cartpole-two_poles": cartpole,
    "cartpole-three_poles": cartpole,
    "cheetah-run": cheetah,
    "finger-spin": partial(finger, turn=False),
    "finger-turn_easy": partial(finger, turn=True),
    "finger-turn_hard": partial(finger, turn=True),
    "hopper-hop": partial(hopper, hop=True),
    "hopper-stand": partial(hopper, hop=False),
    "pendulum-swingup": pendulum,
    "point_mass-easy": point_mass,
    "point_mass-hard": point_mass,
    "reacher-easy": reacher,
    "reacher-hard": reacher,
    "walker-run": partial(walker, speed=8),
    "walker-stand": partial(walker, speed=0),
    "walker-walk": partial(walker, speed=1),
}


# --------------------------------------------------------------------------- what tasks share


def faster(velocity: np.ndarray, speed: float, margin: float, value_at_margin: float) -> np.ndarray:
    """Give 1 for velocities [N] from ``speed`` on, less below it, linearly."""
    return tolerance(
        velocity, (speed, np.inf), margin, sigmoid="linear", value_at_margin=value_at_margin
    )


def little(ctrl: np.ndarray) -> np.ndarray:
    """Give 1 for controls [N, A] of 0, down to 0.8 for full controls."""
    return (4 + tolerance(ctrl, margin=1, sigmoid="quadratic", value_at_margin=0).mean(1)) / 5


def length(vectors: np.ndarray) -> np.ndarray:
    """Give the lengths [N] of vectors [N, k], rounded as ``np.linalg.norm`` of each alone.

    That is BLAS ``dot``, as here; ``norm(axis=1)`` is another loop, which rounds in another way on
    some processors. (On those without AVX the address of a 3-vector, too, decides how ``dot``
    rounds: only rewards, which are compared to rounding, take the lengths of such.)
    """
    vectors = np.ascontiguousarray(vectors)
    return np.sqrt(np.vecdot(vectors, vectors))


def planar(mats: np.ndarray, first: int, entries: tuple[int, ...]) -> np.ndarray:
    """Give entries of the rotation matrices of bodies [N, 9 * bodies] from ``first`` on."""
    return mats.reshape(len(mats), -1, 9)[:, first:, entries].reshape(len(mats), -1)


def all_but_first(qpos: np.ndarray) -> np.ndarray:
    """Leave out how far something has come."""
    return qpos[:, 1:]


def log_touch(*sensors: np.ndarray) -> np.ndarray:
    """Give the readings of touch sensors [N, 1] on a logarithmic scale."""
    return np.log1p(np.hstack(sensors))
