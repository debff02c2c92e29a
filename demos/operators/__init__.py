"""Scripted operators: demonstrators with a style, for Lift, PickPlaceCan and the nut assemblies.

Meta-World's tasks have experts of their own, without styles (``demos.operators.metaworld``), and
so has robosuite's Door (``demos.operators.door``).
"""

import numpy as np

from demos.operators.door import TASK as DOOR
from demos.operators.door import make_door, require_door
from demos.operators.feedback import pointed_trait
from demos.operators.metaworld import PREFIX, Expert, require_expert
from demos.operators.scripted import ScriptedOperator
from demos.operators.styles import STYLES, TRAITS, Style, changed, differing_traits, named_style
from demos.operators.tasks import TASKS, named_task
from robolearn.types import Policy, Spec

__all__ = [
    "STYLES",
    "TASKS",
    "TRAITS",
    "Style",
    "changed",
    "differing_traits",
    "make_operator",
    "pointed_trait",
    "require_operator",
]


def require_operator(task: str, name: str) -> None:
    """Raise UserError unless there is an operator of that name for an environment's task."""
    if task.startswith(PREFIX):
        require_expert(task, name)
    elif task == DOOR:
        require_door(name)
    else:
        named_style(name)


def make_operator(
    task: str, style: str | Style, interface: Spec, rng: np.random.Generator
) -> Policy:
    """Make the operator with this style (or the style of this name) for a task of ``TASKS``.

    For ``metaworld/TASK`` make Meta-World's "expert", for ``robosuite/Door`` what "open"s it or
    "wait"s above its handle. ``interface`` is the environment's; the
    tremor is drawn from ``rng``. Raises UserError for an unknown task or style, SpecError where the
    interface lacks what an operator needs.
    """
    if task.startswith(PREFIX):
        require_expert(task, style)
        return Expert(task.removeprefix(PREFIX), interface)
    if task == DOOR:
        return make_door(style, interface)
    chosen = style if isinstance(style, Style) else named_style(style)
    return ScriptedOperator(named_task(task), chosen, interface, rng)
