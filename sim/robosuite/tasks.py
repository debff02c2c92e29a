"""What differs from task to task in robosuite: start states, choice of object, reward terms."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np

from robolearn.errors import UserError
from sim.base.options import choose, require_mapping

# Task -> name of the sampler of the object to move; None where the task has only one sampler.
PLACEMENT_SAMPLERS = {
    "Door": None,
    "Lift": None,
    "NutAssemblyRound": "RoundNutSampler",
    "NutAssemblySquare": "SquareNutSampler",
    "PickPlace": "CollisionObjectSampler",
    "PickPlaceBread": "CollisionObjectSampler",
    "PickPlaceCan": "CollisionObjectSampler",
    "PickPlaceCereal": "CollisionObjectSampler",
    "PickPlaceMilk": "CollisionObjectSampler",
    "PickPlaceSingle": "CollisionObjectSampler",
    "Stack": None,
    "TwoArmHandover": None,
    "TwoArmLift": None,
}
# Tasks with several objects to move -> name of an object in the observation -> its sampler.
OBJECT_SAMPLERS = {
    "NutAssembly": {"SquareNut": "SquareNutSampler", "RoundNut": "RoundNutSampler"},
}
PLACEMENT_KEYS = {"x_range_m": "x_range", "y_range_m": "y_range", "yaw_range_rad": "rotation"}
# Prefix of a task -> names of what its ``staged_rewards`` returns.
STAGES = {
    "NutAssembly": ("reach", "grasp", "lift", "hover"),
    "PickPlace": ("reach", "grasp", "lift", "hover"),
    "Stack": ("reach", "lift", "stack"),
}
CHOICES = {"NutAssemblySingle": ("nut_id", "nuts"), "PickPlaceSingle": ("object_id", "objects")}


def place(env: Any, placement: Mapping[str, Any], where: str) -> None:
    """Set the range of start states of the object to move.

    ``x_range_m`` and ``y_range_m`` (low, high) are where its centre may lie, relative to the
    table's or the bin's centre; ``yaw_range_rad`` (low, high) is its turn about the vertical. Other
    objects that the task has put out of the scene no longer keep it from a place. Tasks with
    several objects to move take such ranges by an object's name, for as many as one likes.
    """
    task = type(env).__name__
    if task not in PLACEMENT_SAMPLERS and task not in OBJECT_SAMPLERS:
        raise UserError(f"{where}: placement is not offered; {task} has its own start states")
    require_mapping(where, placement=placement)
    initializer = env.placement_initializer
    if task in OBJECT_SAMPLERS:
        samplers = OBJECT_SAMPLERS[task]
        for name, ranges in placement.items():
            choose(name, samplers, where, "object in placement")
            require_mapping(where, **{f"placement {name}": ranges})
            _place_one(initializer.samplers[samplers[name]], ranges, where, f"placement {name}")
        return
    name = PLACEMENT_SAMPLERS[task]
    sampler = initializer if name is None else initializer.samplers[name]
    _place_one(sampler, placement, where, "placement")
    if getattr(env, "single_object_mode", 0):
        for one in initializer.samplers.values():
            one.ensure_valid_placement = False


def _place_one(sampler: Any, ranges: Mapping[str, Any], where: str, what: str) -> None:
    """Set the ranges of one object's sampler; ``what`` names them in errors."""
    for key, bounds in ranges.items():
        choose(key, PLACEMENT_KEYS, where, f"{what} key")
        if not _is_range(bounds):
            raise UserError(f"{where}: {what} {key}={bounds!r} must be (low, high)")
    for key, bounds in ranges.items():
        setattr(sampler, PLACEMENT_KEYS[key], tuple(float(b) for b in bounds))
    sampler.ensure_object_boundary_in_range = False


def _is_range(bounds: Any) -> bool:
    return (
        isinstance(bounds, list | tuple | np.ndarray)
        and len(bounds) == 2
        and all(isinstance(bound, Real) for bound in bounds)
        and bounds[0] <= bounds[1]
    )


def take_over_choice(env: Any) -> None:
    """Make ``choose_object``, not robosuite, decide which object is used.

    robosuite draws it from a set of strings, whose order differs between processes: the seed alone
    would not determine the episode.
    """
    env.chooses_object = type(env).__name__ in CHOICES
    if env.chooses_object:
        env.single_object_mode = 2  # use the object that ``nut_id`` or ``object_id`` says


def choose_object(env: Any, generator: np.random.RandomState) -> None:
    """Draw the object to be used, for tasks that use any of several."""
    if env.chooses_object:
        attribute, objects = CHOICES[type(env).__name__]
        setattr(env, attribute, int(generator.randint(len(getattr(env, objects)))))


def name_object(env: Any) -> None:
    """Tell robosuite which object is used, after its number has been restored."""
    if env.chooses_object:
        attribute, objects = CHOICES[type(env).__name__]
        env.obj_to_use = getattr(env, objects)[getattr(env, attribute)].name


def put_away(env: Any) -> list[str]:
    """List the bodies of the objects that this task takes out of the scene at every reset."""
    if getattr(env, "single_object_mode", 0) != 2 or env.chooses_object:
        return []
    nuts = hasattr(env, "nuts")
    objects, used = (env.nuts, env.nut_id) if nuts else (env.objects, env.object_id)
    return [one.root_body for i, one in enumerate(objects) if i != used]


def held_still(xml: str, bodies: list[str]) -> str:
    """Edit a model so that these bodies stay where they are put: no weight, no contacts."""
    root = ElementTree.fromstring(xml)
    for body in root.iter("body"):
        if body.get("name") in bodies:
            for part in body.iter("body"):
                part.set("gravcomp", "1")
            for geom in body.iter("geom"):
                geom.set("contype", "0")
                geom.set("conaffinity", "0")
    return ElementTree.tostring(root, encoding="unicode")


class RewardTerms:
    """Names the pieces of a task's shaped reward, where robosuite tells them.

    The pieces are overheard while robosuite computes its reward, and cost nothing. Tasks that keep
    theirs to themselves, and sparse rewards, have the one term "task".
    """

    def __init__(self, env: Any) -> None:
        self._env = env
        task = type(env).__name__
        self._names = next((n for prefix, n in STAGES.items() if task.startswith(prefix)), ())
        if not env.reward_shaping:
            self._names = ()
        if self._names:
            self._staged_rewards, env.staged_rewards = env.staged_rewards, self._overhear
        self._stages: tuple[float, ...] = ()

    def __call__(self, reward: float, success: bool) -> dict[str, float]:
        """Give the terms of the reward that was computed last."""
        if type(self._env).__name__ == "Lift" and self._env.reward_shaping:
            return self._lift(reward, success)
        if not self._names:
            return {"task": reward}
        stages = map(float, self._stages)
        return {**dict(zip(self._names, stages, strict=True)), "success": float(success)}

    def _overhear(self) -> tuple[float, ...]:
        self._stages = self._staged_rewards()
        return self._stages

    def _lift(self, reward: float, success: bool) -> dict[str, float]:
        """Split Lift's reward, (reach + grasp) / 2.25 before success, with grasp 0 or 0.25."""
        env = self._env
        distance = env._gripper_to_target(
            env.robots[0].gripper, env.cube.root_body, "body", return_distance=True
        )
        reach = float(1 - np.tanh(10 * distance))
        grasp = 0.25 if success or reward * 2.25 / env.reward_scale - reach > 0.125 else 0.0
        return {"reach": reach, "grasp": grasp, "success": float(success)}
