"""Meta-World's own scripted experts as operators.

There is one for each of its tasks, and it has no style: it goes where its task's file says, at up
to full speed, and draws nothing.
"""

from __future__ import annotations

import warnings

import numpy as np

from robolearn.errors import SpecError, UserError, nearest
from robolearn.types import Observation, Spec

PREFIX = "metaworld/"
EXPERT = "expert"  # the only operator
CLIPPED = r"Constant\(s\) may be too high"  # what Meta-World warns of at nearly every step


class Expert:
    """Policy of Meta-World's expert for one task; it needs to see the goal, SpecError if not."""

    memoryless = True  # what is to be done follows from what is seen

    def __init__(self, task: str, interface: Spec) -> None:
        from metaworld.policies import ENV_POLICY_MAP

        if task not in ENV_POLICY_MAP:
            raise UserError(f"no expert for task '{task}'{nearest(task, ENV_POLICY_MAP)}")
        names = interface.observations["state"].names
        if "goal_x" not in names or interface.action.shape != (4,):
            raise SpecError(
                f"{PREFIX}{task}: the expert needs Meta-World's observation with the goal "
                "(partially_observable: false), and its action"
            )
        self._expert = ENV_POLICY_MAP[task]()

    def reset(self, n: int) -> None:
        """Begin n episodes; there is nothing to forget."""

    def act(self, observation: Observation, explore: bool = False) -> np.ndarray:
        """Choose actions float32 [N, 4] for ``"state"`` [N, 39]."""
        states = observation["state"].astype(np.float64)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=CLIPPED)
            actions = np.stack([self._expert.get_action(state) for state in states])
        return np.clip(actions, -1, 1).astype(np.float32)


def require_expert(task: str, name: object) -> None:
    """Raise UserError unless an operator's name is that of the expert."""
    if name != EXPERT:
        raise UserError(f"{task}: unknown operator '{name}'; Meta-World's tasks have one: {EXPERT}")
