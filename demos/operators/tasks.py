"""What an operator knows about a task before it begins: where things stand and how to hold them.

Lengths in metres in the world frame of robosuite's scenes or of our tabletop, angles in radians.
The numbers are those of robosuite 1.5's models (``models/assets/arenas`` and
``models/assets/objects``) and of ``sim.tabletop.model``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import pi
from types import MappingProxyType
from typing import Any

from robolearn.errors import UserError, nearest


@dataclass(frozen=True)
class Task:
    """One pick (and place) task.

    object: name of the object in the observation (``<object>_pos``, ``<object>_quat``).
    grasp_sites: grasp points in the object's frame, by the names of ``styles.GRASP_SITES``.
    top_m: how far the object reaches above its grasp point.
    width_m: opening of the gripper that holds it.
    symmetry_rad: turning the hand by this gives an equally good grasp; 0 where any yaw does.
    opposite_rad: turn between a grasp and the grasp from the opposite side.
    goal_xy_m: where the object's centre shall go; None: nowhere but up.
    goal_z_m: height of the object's centre at which it is let go.
    goal_yaw_rad: yaw of the object at its goal; None where any does. The pegs stand at the edge of
        the Panda's reach: only with the handle towards the arm can the hand get there.
    clear_z_m: height of its centre at which it just clears what is in the way.
    arm_xy_m: where the arm stands.
    placement: start states wide enough that cloning a few dozen demonstrations is neither hopeless
        nor perfect, and in which the opposite grasp is within the wrist's reach; in the form that
        ``sim.make(..., placement=)`` takes (relative to the task's table or bin).
    tabletop: one of our tabletop, where every episode has its own goal, seen in the state. There
        ``goal_z_m`` is the height at rest: an object whose goal is higher stays in the hand.
    goal_symmetry_rad: the object looks the same after such a turn; 0 for any turn.
    workspace_xy_m: lower and upper corner of where the hand may be; None where the arm's reach
        is all that limits it.
    start_options: further options of ``sim.make`` that make the task one for an operator.
    leave_m: how far back towards the arm the hand goes as it leaves. Over a peg, an arm that rose
        straight up would stretch until its elbow locks.
    then: the task with the next object, which begins when the hand has let this one go and left.
    """

    object: str
    grasp_sites: Mapping[str, tuple[float, float, float]]
    top_m: float
    width_m: float
    symmetry_rad: float
    opposite_rad: float
    goal_xy_m: tuple[float, float] | None
    goal_z_m: float
    goal_yaw_rad: float | None
    clear_z_m: float
    arm_xy_m: tuple[float, float]
    placement: Mapping[str, Any]
    tabletop: bool = False
    goal_symmetry_rad: float = 2 * pi
    workspace_xy_m: tuple[tuple[float, float], tuple[float, float]] | None = None
    start_options: Mapping[str, Any] = field(default_factory=dict)
    leave_m: float = 0.0
    then: "Task | None" = None

    def turns(self) -> "tuple[Task, ...]":
        """List this task and those that follow it."""
        return (self, *(self.then.turns() if self.then else ()))

    def options(self) -> dict[str, Any]:
        """Give the options of ``sim.make`` for its start states, as launch files have them."""
        placement = {"placement": _plain(self.placement)} if self.placement else {}
        return placement | dict(self.start_options)


def _plain(placement: Mapping[str, Any]) -> dict[str, Any]:
    """Turn mappings into dicts and ranges into lists."""
    return {
        name: _plain(value) if isinstance(value, Mapping) else list(value)
        for name, value in placement.items()
    }


_ONE_OBJECT = MappingProxyType(
    {
        "Lift": Task(
            object="cube",
            grasp_sites={"middle": (0.0, 0.0, 0.0), "end": (0.0, 0.0, 0.012)},
            top_m=0.02,
            width_m=0.042,
            symmetry_rad=pi / 2,
            opposite_rad=pi / 2,
            goal_xy_m=None,
            goal_z_m=0.92,
            goal_yaw_rad=None,
            clear_z_m=0.92,
            arm_xy_m=(-0.56, 0.0),
            placement={
                "x_range_m": (-0.12, 0.12),
                "y_range_m": (-0.18, 0.18),
                "yaw_range_rad": (-pi / 4, pi / 4),
            },
        ),
        "PickPlaceCan": Task(
            object="Can",
            grasp_sites={"middle": (0.0, 0.0, 0.01), "end": (0.0, 0.0, 0.035)},
            top_m=0.05,
            width_m=0.05,
            symmetry_rad=0.0,
            opposite_rad=pi / 2,
            goal_xy_m=(0.145, 0.335),
            goal_z_m=0.905,
            goal_yaw_rad=None,
            clear_z_m=0.965,
            arm_xy_m=(-0.5, -0.1),
            placement={
                "x_range_m": (-0.14, 0.14),
                "y_range_m": (-0.19, 0.19),
                "yaw_range_rad": (-pi / 2, pi / 2),
            },
        ),
        "NutAssemblySquare": Task(
            object="SquareNut",
            grasp_sites={"middle": (0.056, 0.0, 0.0), "end": (0.07, 0.0, 0.0)},
            top_m=0.01,
            width_m=0.032,
            symmetry_rad=pi,
            opposite_rad=pi,
            goal_xy_m=(0.23, 0.1),
            goal_z_m=0.855,
            goal_yaw_rad=pi,
            clear_z_m=0.96,
            arm_xy_m=(-0.56, 0.0),
            placement={
                "x_range_m": (-0.06, 0.1),
                "y_range_m": (0.02, 0.28),
                "yaw_range_rad": (pi - 1.5, pi + 0.7),
            },
        ),
        "NutAssemblyRound": Task(
            object="RoundNut",
            grasp_sites={"middle": (0.062, 0.0, 0.0), "end": (0.075, 0.0, 0.0)},
            top_m=0.01,
            width_m=0.032,
            symmetry_rad=pi,
            opposite_rad=pi,
            goal_xy_m=(0.23, -0.1),
            goal_z_m=0.855,
            goal_yaw_rad=pi - 0.5,
            clear_z_m=0.96,
            arm_xy_m=(-0.56, 0.0),
            placement={
                "x_range_m": (-0.06, 0.1),
                "y_range_m": (-0.28, -0.02),
                "yaw_range_rad": (pi - 1.7, pi - 0.1),
            },
        ),
    }
)


def _on_the_tabletop(name: str, half_height_m: float, width_m: float, symmetry_rad: float) -> Task:
    """Describe an upright object on our tabletop; the hand grasps 25 mm below its top."""
    below_top_m = 0.025
    middle_m = half_height_m - below_top_m
    return Task(
        object=name,
        grasp_sites={"middle": (0.0, 0.0, middle_m), "end": (0.0, 0.0, middle_m + 0.012)},
        top_m=below_top_m,
        width_m=width_m,
        symmetry_rad=symmetry_rad,
        opposite_rad=pi / 2,
        goal_xy_m=None,
        goal_z_m=half_height_m,
        goal_yaw_rad=None,
        clear_z_m=half_height_m,
        arm_xy_m=(-0.5, 0.0),
        placement={},
        tabletop=True,
        goal_symmetry_rad=symmetry_rad,
        workspace_xy_m=((-0.19, -0.24), (0.19, 0.24)),
        start_options={"goal": "pose", "goal_height_m": 0.15, "horizon": 150},
    )


def _one_after_the_other(first: Task, second: Task) -> Task:
    placement = {task.object: task.placement for task in (first, second)}
    options = {"horizon": 900}  # a slow operator takes more than robosuite's 500
    return replace(first, placement=placement, start_options=options, leave_m=0.12, then=second)


TASKS = MappingProxyType(
    {
        **_ONE_OBJECT,
        "NutAssembly": _one_after_the_other(
            _ONE_OBJECT["NutAssemblySquare"], _ONE_OBJECT["NutAssemblyRound"]
        ),
        "tabletop/cube": _on_the_tabletop("cube", 0.025, 0.05, pi / 2),
        "tabletop/cylinder": _on_the_tabletop("cylinder", 0.04, 0.05, 0.0),
    }
)


def named_task(name: str) -> Task:
    """Look a task up in ``TASKS`` ("Lift", "robosuite/Lift"); raise UserError if unknown."""
    short = name.removeprefix("robosuite/")
    if short not in TASKS:
        raise UserError(f"no scripted operator for task '{name}'{nearest(short, TASKS)}")
    return TASKS[short]
