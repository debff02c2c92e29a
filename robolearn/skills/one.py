"""One skill of many as a policy of its own, pi(. | s) = pi(. | s, z) with a z that stays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robolearn.errors import UserError
from robolearn.loops import checkpoint
from robolearn.skills.env import skill_size, with_skill, without_skill
from robolearn.skills.frozen import DISCOVERY, nearest_skill
from robolearn.types import Observation, Spec


class OneSkill:
    """What a policy of skills does with one of them: a Policy, and a Victim if that one is."""

    memoryless = True

    def __init__(self, policy: Any, skill: Sequence[float]) -> None:
        """Use ``policy``, which sees z [Z] at the end of the state, with this z."""
        self.policy, self.name, self.eats = policy, policy.name, getattr(policy, "eats", None)
        self.interface = without_skill(policy.interface)
        self.skill = torch.as_tensor(skill, dtype=torch.float32)

    def reset(self, n: int) -> None:
        """Begin n episodes."""
        self.policy.reset(n)

    def act(self, observation: Observation, explore: bool = False) -> np.ndarray:
        """Choose actions float32 [N, A] for "state" [N, O], which shows no skill."""
        state = torch.as_tensor(observation["state"], dtype=torch.float32)
        return self.policy.act({"state": self._with_skill(state).numpy()}, explore)

    def distribution(self, state: Tensor) -> Any:
        """Give pi(. | s, z) of s [..., O]; gradients go through it."""
        return self.policy.distribution(self._with_skill(state))

    def _with_skill(self, state: Tensor) -> Tensor:
        z = self.skill.to(state).expand(*state.shape[:-1], -1)
        return torch.cat([state, z], dim=-1)


def load_one_skill(folder: Path, interface: Spec, numbers: Sequence[float] | None) -> OneSkill:
    """Read the policy of skills of a checkpoint, and have it carry out the one nearest to numbers.

    UserError unless there are so many of them as its skills have, and a skill is nearest.
    """
    size = skill_size(checkpoint.read_spec(folder))
    if numbers is None or len(numbers) != size:
        found = "" if numbers is None else f", not {len(numbers)}"
        raise UserError(f"{folder} has skills: skill should say which by {size} numbers{found}")
    learner = checkpoint.load_policy(folder, with_skill(interface, size))
    streams = getattr(learner, "streams", {})
    if DISCOVERY not in streams:
        raise UserError(f"skill: {folder} was trained without '{DISCOVERY}', so it has no skills")
    if not np.any(numbers):
        raise UserError("skill: no skill is nearest to zero")
    z = nearest_skill(streams[DISCOVERY], np.array([numbers]), size)[0]
    return OneSkill(learner, z)
