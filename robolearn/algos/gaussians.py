"""Policies without a distribution, made Gaussian: pi(. | s) = N(a(s), diag(std)^2).

a(s) is what the policy does. Attacks compare distributions; of a cloned or a scripted policy only
the action is known, and the spread is chosen, or fitted to the errors on demonstrations.

With ``squashed`` the same action is the mode of a Gaussian through tanh, N(artanh a(s), ...). Near
the ends of the range, where tanh lets next to no gradient through, that undoes the tanh: a
saturated action can then still be moved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from robolearn.algos.bc import BehaviorCloning
from robolearn.errors import UserError
from robolearn.networks.functional import Gaussian
from robolearn.types import Observation, Policy

FURTHEST = 1 - 1e-6  # from where on an action counts as the end of the range
SMALLEST_STD = 1e-3


class GaussianClone:
    """An ensemble of behaviour cloning as a Gaussian around its members' mean; gradients pass."""

    memoryless = True

    def __init__(
        self, learner: BehaviorCloning, std: float | Sequence[float] = 0.1, squashed: bool = False
    ) -> None:
        """Take std of each entry of the action (of artanh a if squashed), one or [A]."""
        self.learner, self.squashed, self.name = learner, squashed, learner.name
        self.interface = learner.interface
        self.log_std = _log_std(std, learner.interface.action.shape[0]).to(learner.device)

    @classmethod
    def fitted(
        cls, learner: BehaviorCloning, state: Tensor, action: Tensor, squashed: bool = False
    ) -> GaussianClone:
        """Take the root of the mean squared error on demonstrations [M, O], [M, A] as std."""
        unfitted = cls(learner, squashed=squashed)
        with torch.no_grad():
            error = unfitted.distribution(state).mean - _unbounded(action, squashed)
        std = error.square().mean(dim=0).sqrt().clamp(min=SMALLEST_STD)
        return cls(learner, std.tolist(), squashed)

    def reset(self, n: int) -> None:
        """Begin n episodes; there is nothing to forget."""

    def act(self, observation: Observation, explore: bool = False) -> np.ndarray:
        """Give the members' mean action, float32 [N, A]; it is the same when exploring."""
        return self.learner.act(observation)

    def distribution(self, seen: Tensor | Mapping[str, Tensor]) -> Gaussian:
        """Give pi(. | s) of s [..., O], or of observations name -> [B, ...] with images."""
        if self.learner.network.training:
            self.learner.network.eval()  # dropout off
        if isinstance(seen, Mapping):
            action = self.learner.actions(seen).mean(dim=0)
        else:
            rows = seen.reshape(-1, seen.shape[-1])
            action = self.learner(rows).mean(dim=0).reshape(*seen.shape[:-1], -1)
        mean = _unbounded(action, self.squashed)
        return Gaussian(mean, self.log_std.expand_as(mean), self.squashed)


class GaussianExpert:
    """Any policy, a scripted one too, as a Gaussian; no gradients pass."""

    def __init__(
        self,
        policy: Policy,
        std: float | Sequence[float] = 0.1,
        squashed: bool = False,
        limit: float = 1.0,
    ) -> None:
        """Take std as ``GaussianClone`` does; means are cut off at +-limit, of which 1 is all."""
        if not 0 < limit <= 1:
            raise UserError(f"limit should be in (0, 1], not {limit}")
        self.policy, self.squashed, self.limit = policy, squashed, limit
        self.std, self.memoryless = std, getattr(policy, "memoryless", False)
        self.eats = getattr(policy, "eats", None)
        if hasattr(policy, "interface"):
            self.interface = policy.interface

    def reset(self, n: int) -> None:
        """Begin n episodes."""
        self.policy.reset(n)

    def act(self, observation: Observation, explore: bool = False) -> np.ndarray:
        """Do what the policy does, float32 [N, A]."""
        return self.policy.act(observation, explore)

    def distribution(self, seen: Tensor | Mapping[str, Tensor]) -> Gaussian:
        """Give pi(. | s) of s [..., O], or of observations name -> [B, ...] with images."""
        if isinstance(seen, Mapping):
            action = self._act({name: array.numpy() for name, array in seen.items()})
        else:
            rows = seen.detach().cpu().numpy().reshape(-1, seen.shape[-1])
            action = self._act({"state": rows}).to(seen).reshape(*seen.shape[:-1], -1)
        mean = _unbounded(action, self.squashed)
        log_std = _log_std(self.std, mean.shape[-1]).to(mean)
        return Gaussian(mean, log_std.expand_as(mean), self.squashed)

    def _act(self, observation: Observation) -> Tensor:
        return torch.as_tensor(self.policy.act(observation)).clamp(-self.limit, self.limit)


def _unbounded(action: Tensor, squashed: bool) -> Tensor:
    """Give the mean whose mode is the action."""
    return torch.atanh(action.clamp(-FURTHEST, FURTHEST)) if squashed else action


def _log_std(std: float | Sequence[float], actions: int) -> Tensor:
    """Give log std [A] of one std or one for each entry; UserError if it is not positive."""
    given = torch.as_tensor(std, dtype=torch.float32)
    if given.shape not in ((), (actions,)):
        raise UserError(f"std of shape {tuple(given.shape)} for {actions} entries of an action")
    if not ((given > 0) & torch.isfinite(given)).all():
        raise UserError(f"std should be greater than 0 and finite, not {std}")
    return given.expand(actions).log()
