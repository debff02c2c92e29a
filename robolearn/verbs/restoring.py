"""Policies of earlier runs, for verbs that need one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Tensor

from robolearn.algos.gaussians import GaussianExpert
from robolearn.attack import Sight
from robolearn.errors import UserError
from robolearn.loops import checkpoint
from robolearn.loops.parts import STATE, Sighted, shown
from robolearn.running.launch import maker_of_run
from robolearn.skills.env import skill_size, without_skill
from robolearn.skills.one import load_one_skill
from robolearn.types import Policy, Spec


def restored(path: str, role: str, interface: Spec) -> Policy:
    """Read the policy of a checkpoint; UserError that begins with its role if there is none."""
    return checkpoint.load_policy(_folder(path, role), interface)


def restored_one(path: str, role: str, interface: Spec, skill: Sequence[float] | None) -> Policy:
    """Do the same; of a policy of skills, give the one that is nearest to ``skill``.

    UserError that begins with its role, too, for a policy whose skills are not like that.
    """
    folder = _folder(path, role)
    if skill_size(checkpoint.read_spec(folder)):
        try:
            return load_one_skill(folder, interface, skill)
        except UserError as error:
            raise UserError(f"{role}: {error}") from None
    if skill is not None:
        raise UserError(f"{role}: skill: {folder} has no skills")
    return restored(path, role, interface)


def shown_to(path: str, role: str, interface: Spec) -> Spec:
    """Give what the policy of a checkpoint sees of what an environment shows; skills are none."""
    return shown(interface, without_skill(checkpoint.read_spec(_folder(path, role))))


def _folder(path: str, role: str) -> Path:
    folder = checkpoint.newest(Path(path))
    if not checkpoint.exists(folder):
        raise UserError(f"{role}: no checkpoint in {path}{maker_of_run(path)}")
    return folder


def value_of(intention: Policy | None) -> Callable[[Sight, Tensor], Tensor] | None:
    """Give Q(s, a) of an intention, if there is one and it has critics of a state; else None.

    Of one that is shown a part of all that is seen, s may be all of it.
    """
    sight = intention.policy if isinstance(intention, GaussianExpert) else intention
    policy = sight.policy if isinstance(sight, Sighted) else sight
    critics = getattr(getattr(policy, "network", None), "targets", None)
    if critics is None:
        return None

    def value(true: Sight, action: Tensor) -> Tensor:
        """Give the least of the critics' values [B]."""
        seen = {STATE: true} if isinstance(true, Tensor) else true
        if isinstance(sight, Sighted):
            seen = sight.take(seen)
        return critics(seen[STATE], action).amin(dim=0)

    return value
