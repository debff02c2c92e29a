"""A small task definition for somebody's own MJCF model.

A task names physical quantities and says what is seen, what is rewarded, when it has succeeded or
failed and what a reset draws. Everything can be written in YAML; where that is not enough, a plain
function takes the place of a string or a rule.

A **quantity** is a string:

- ``time``, ``qpos``, ``qvel``, ``act``, ``ctrl``, ``xmat``: that array of MuJoCo's data, flat
- ``joint_pos:NAME``, ``joint_vel:NAME``: position and velocity of a joint (rad or m, per second)
- ``body_pos:NAME``, ``geom_pos:NAME``, ``site_pos:NAME``: position in the world, m, [3]
- ``body_quat:NAME``: orientation in the world, wxyz, [4]
- ``body_mat:NAME``: the same as a matrix, by rows, [9]
- ``body_com:NAME``: position of the body's own centre of mass, m, [3]
- ``sensor:NAME``: reading of a sensor
- ``A - B``: the difference of two of these

or a ``Formula`` of such strings, or a plain function ``(model, data) -> array``. In a batch
(``sim.make_vec``) strings and formulas are evaluated for all environments at once. A plain function
is called for each, holds the interpreter's lock, and has MuJoCo compute accelerations and forces a
second time, since it may read them: use one where nothing else will do.

Example, in YAML::

    control_hz: 20
    observation: [joint_pos:hinge, joint_vel:hinge, "site_pos:tip - site_pos:target"]
    reward:
      near: {quantity: "site_pos:tip - site_pos:target", high: 0.02, margin: 0.3}
      still: {quantity: joint_vel:hinge, margin: 1.0, weight: 0.1}
    success: [{quantity: "site_pos:tip - site_pos:target", high: 0.02}]
    reset: [{quantity: joint_pos:hinge, low: -1.0, high: 1.0}]
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from numbers import Real
from typing import Any

import mujoco
import numpy as np

from robolearn.errors import UserError, nearest
from sim.base.options import parse, require_mapping
from sim.engine.segments import Segment, part

Sensed = Callable[[mujoco.MjModel, mujoco.MjData], Any]

ARRAYS = ("time", "qpos", "qvel", "act", "ctrl", "xmat")
# kind -> (what mujoco calls the element, attribute of its view of the data, array of the data)
NAMED = {
    "joint_pos": ("joint", "qpos", "qpos"),
    "joint_vel": ("joint", "qvel", "qvel"),
    "body_pos": ("body", "xpos", "xpos"),
    "body_quat": ("body", "xquat", "xquat"),
    "body_mat": ("body", "xmat", "xmat"),
    "body_com": ("body", "xipos", "xipos"),
    "geom_pos": ("geom", "xpos", "geom_xpos"),
    "site_pos": ("site", "xpos", "site_xpos"),
    "sensor": ("sensor", "data", "sensordata"),
}


@dataclass(frozen=True)
class Formula:
    """A quantity computed from others, for N environments at once.

    ``Formula(("joint_pos:hinge",), np.cos)`` is the cosine of an angle.
    """

    inputs: tuple[str, ...]
    """Quantities that the function is given, in order."""
    function: Callable[..., np.ndarray]
    """Takes one array [N, k] for each input; gives [N], or [N, m] for m entries."""


Quantity = str | Formula | Sensed


@dataclass(frozen=True)
class Goal:
    """Where a quantity should be: a rule for a reward, a success or a failure.

    The *size* of a quantity is its value if it has one entry, else its Euclidean norm.
    """

    quantity: Quantity
    """What is looked at."""
    low: float = 0.0
    """Smallest size that counts as there."""
    high: float = 0.0
    """Largest size that counts as there."""
    margin: float = 0.0
    """Distance outside the bounds at which the value has fallen from 1 to 0.1; 0 for a step."""
    weight: float = 1.0
    """Factor of the value in the reward."""


@dataclass(frozen=True)
class Draw:
    """What a reset draws: each entry of the quantity uniformly from ``low`` to ``high``.

    ``joint_pos:NAME``, ``joint_vel:NAME``, or ``body_pos:NAME`` of a body on a free joint (its
    place) or of a fixed or mocap body (its place in its parent).
    """

    quantity: str
    """What is set."""
    low: float | tuple[float, ...]
    """Lower bound, for all entries or one for each."""
    high: float | tuple[float, ...]
    """Upper bound, for all entries or one for each."""


@dataclass(frozen=True)
class MujocoTask:
    """What to do with a model: see the module's text for quantities, and an example."""

    control_hz: float = 20.0
    """Actions per second; a control step must be a whole number of physics steps."""
    horizon: int = 500
    """Control steps after which an episode is truncated."""
    observation: tuple[Quantity, ...] = ("qpos", "qvel")
    """Quantities that make up ``"state"``, in order."""
    reward: Mapping[str, Goal | Formula | Sensed] = field(default_factory=dict)
    """Named terms; the reward is their sum. A formula or a function gives the term's value."""
    success: tuple[Goal, ...] | Formula | Sensed = ()
    """The task has succeeded while all of these hold; never, if there are none."""
    failure: tuple[Goal, ...] | Formula | Sensed = ()
    """The episode ends (``terminated``) as soon as all of these hold."""
    keyframe: str = ""
    """Keyframe of the model that an episode starts from; none for the model's own pose."""
    reset: (
        tuple[Draw, ...] | Callable[[mujoco.MjModel, mujoco.MjData, np.random.Generator], None]
    ) = ()
    """What is drawn for each episode after that."""


def task_from(values: MujocoTask | Mapping[str, Any], where: str) -> MujocoTask:
    """Make a task from what YAML gives.

    Raises UserError for unknown or missing keys, for values of another kind than their annotations
    say, and for what is no mapping.
    """
    if not isinstance(values, MujocoTask | Mapping):
        raise UserError(f"{where}: task={values!r} must be a mapping of its keys, not a file")
    task = values if isinstance(values, MujocoTask) else _parsed(values, where)
    _require_kinds(task, where)
    return task


def named_segment(model: mujoco.MjModel, data: mujoco.MjData, quantity: str, where: str) -> Segment:
    """Find ``KIND:NAME`` in the data; raise UserError for an unknown kind or name."""
    kind, _, name = quantity.partition(":")
    if kind not in NAMED:
        raise UserError(f"{where}: unknown quantity '{quantity}'{nearest(kind, [*ARRAYS, *NAMED])}")
    element, attribute, array = NAMED[kind]
    count = {"joint": model.njnt, "body": model.nbody, "geom": model.ngeom}.get(
        element, model.nsite if element == "site" else model.nsensor
    )
    known = [getattr(model, element)(i).name for i in range(count)]
    if name not in known:
        raise UserError(f"{where}: no {element} '{name}' in the model{nearest(name, known)}")
    return part(data, array, getattr(getattr(data, element)(name), attribute))


def _parsed(values: Mapping[str, Any], where: str) -> MujocoTask:
    values = dict(values)
    for name, kind in {"success": Goal, "failure": Goal, "reset": Draw}.items():
        if isinstance(values.get(name), list | tuple):
            values[name] = [_rule(kind, v, f"{where}: {name}") for v in values[name]]
    if isinstance(values.get("reward"), Mapping):
        terms = values["reward"].items()
        values["reward"] = {k: _rule(Goal, v, f"{where}: reward {k}") for k, v in terms}
    return parse(MujocoTask, values, f"{where}: task")


def _rule(kind: type, values: Any, where: str) -> Any:
    if not isinstance(values, Mapping):
        return values
    known = {f.name: f.default for f in fields(kind)}
    missing = [k for k, default in known.items() if default is MISSING and k not in values]
    if missing and values.keys() <= known.keys():  # else one is misspelt
        raise UserError(f"{where}: missing option '{missing[0]}'")
    return parse(kind, values, where)


def _require_kinds(task: MujocoTask, where: str) -> None:
    """Raise UserError for the first value that is not of the kind that its annotation says."""
    for quantity in _listed(task.observation, f"{where}: observation"):
        _require_quantity(quantity, f"{where}: observation")
    require_mapping(where, reward=task.reward)
    for name, term in task.reward.items():
        _require_goal(term, f"{where}: reward {name}")
    for name in ("success", "failure"):
        rules = getattr(task, name)
        for rule in () if _is_function(rules) else _listed(rules, f"{where}: {name}"):
            _require_goal(rule, f"{where}: {name}")
    for draw in () if callable(task.reset) else _listed(task.reset, f"{where}: reset"):
        if not isinstance(draw, Draw) or not isinstance(draw.quantity, str):
            raise UserError(f"{where}: reset: {draw!r} must say what is drawn: quantity, low, high")
        for name in ("low", "high"):
            for bound in np.ravel(np.array(getattr(draw, name), object)):
                _require_number(bound, f"{where}: reset {draw.quantity}: {name}")
    if not isinstance(task.keyframe, str):
        raise UserError(f"{where}: keyframe={task.keyframe!r} must be a name")


def _listed(values: Any, where: str) -> Sequence[Any]:
    if not isinstance(values, list | tuple):
        raise UserError(f"{where}: {values!r} must be a list, [a, b]")
    return values


def _require_goal(rule: Any, where: str) -> None:
    if not isinstance(rule, Goal):
        _require_quantity(rule, where)
        return
    _require_quantity(rule.quantity, where)
    for name in ("low", "high", "margin", "weight"):
        _require_number(getattr(rule, name), f"{where}: {name}")


def _require_quantity(quantity: Any, where: str) -> None:
    if not isinstance(quantity, str) and not _is_function(quantity):
        raise UserError(f"{where}: {quantity!r} must be a quantity, such as joint_pos:NAME")


def _require_number(value: Any, where: str) -> None:
    if isinstance(value, bool) or not isinstance(value, Real) or value != value:
        raise UserError(f"{where}={value!r} must be a number")


def _is_function(value: Any) -> bool:
    return callable(value) or isinstance(value, Formula)
