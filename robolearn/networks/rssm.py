"""A recurrent state-space model: Hafner, Lillicrap, Fischer, Villegas, Ha, Lee, Davidson, "Learning
Latent Dynamics for Planning from Pixels" (ICML 2019), with a Gaussian stochastic part.

    h_t   = f(h_(t-1), z_(t-1), a_(t-1))       deterministic, a gated recurrent unit
    prior       p(z_t | h_t)                   what is expected before looking
    posterior   q(z_t | g_t, e_t)              with e_t, the code of the image

g_t is h_t or, in a model that is ``blind`` to the last action, f(h_(t-1), z_(t-1), 0): what z_t
tells of a_(t-1) is then only what can be seen of it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SMALLEST_STD = 0.1


class Belief(NamedTuple):
    """A state [..., H] and [..., Z]."""

    h: Tensor
    z: Tensor

    @property
    def features(self) -> Tensor:
        """Give what heads and policies see, [..., H + Z]."""
        return torch.cat([self.h, self.z], dim=-1)

    def detach(self) -> Belief:
        """Cut it off from how it came about."""
        return Belief(self.h.detach(), self.z.detach())


class Normal(NamedTuple):
    """Independent Gaussians [..., Z]."""

    mean: Tensor
    std: Tensor

    def at(self, noise: Tensor) -> Tensor:
        """Give the values that standard normal noise stands for; smooth in mean and std."""
        return self.mean + self.std * noise

    def detach(self) -> Normal:
        """Cut it off from how it came about."""
        return Normal(self.mean.detach(), self.std.detach())


class Filtered(NamedTuple):
    """What was believed along sequences, all [B, T, ...]."""

    belief: Belief
    posterior: Normal
    prior: Normal


class RSSM(nn.Module):
    """See the top of this file; H ``deterministic`` and Z ``stochastic`` entries."""

    def __init__(
        self, actions: int, codes: int, deterministic: int, stochastic: int, units: int, blind: bool
    ):
        super().__init__()
        self.sizes, self.actions, self.blind = (deterministic, stochastic), actions, blind
        self.enter = nn.Linear(stochastic + actions, units)
        self.cell = nn.GRUCell(units, deterministic)
        self.expect = nn.Sequential(
            nn.Linear(deterministic, units), nn.ELU(), nn.Linear(units, 2 * stochastic)
        )
        self.code = nn.Linear(codes, units)
        self.context = nn.Linear(deterministic, units)
        self.look = nn.Linear(units, 2 * stochastic)

    def initial(self, n: int) -> Belief:
        """Give what is believed before an episode's first moment: zeros, [N, ...]."""
        like = self.enter.weight
        return Belief(*(like.new_zeros(n, size) for size in self.sizes))

    def forget(self, belief: Belief, first: Tensor) -> Belief:
        """Begin anew in rows where a moment is the ``first`` of an episode, bool [N]."""
        keep = (~first)[:, None]
        return Belief(belief.h * keep, belief.z * keep)

    def recur(self, belief: Belief, action: Tensor) -> Tensor:
        """Give h_t [N, H] after an action [N, A]."""
        x = F.elu(self.enter(torch.cat([belief.z, action], dim=-1)))
        return self.cell(x, belief.h)

    def prior(self, h: Tensor) -> Normal:
        """Give p(z_t | h_t) for h [..., H]."""
        return _normal(self.expect(h))

    def posterior(self, g: Tensor, code: Tensor) -> Normal:
        """Give q(z_t | g_t, e_t) for g [..., H] and ``self.code(e)`` [..., units]."""
        return _normal(self.look(F.elu(self.context(g) + code)))

    def see(self, belief: Belief, action: Tensor, code: Tensor) -> tuple[Tensor, Normal]:
        """Give h_t [N, H] and the posterior after an action [N, A] and a look at what it led to."""
        h = self.recur(belief, action)
        g = self.recur(belief, torch.zeros_like(action)) if self.blind else h
        return h, self.posterior(g, code)

    def predict(self, belief: Belief, action: Tensor, noise: Tensor) -> Belief:
        """Give the next belief after an action [N, A], without looking; smooth in all of them."""
        h = self.recur(belief, action)
        return Belief(h, self.prior(h).at(noise))

    def filter(self, codes: Tensor, actions: Tensor, first: Tensor, noise: Tensor) -> Filtered:
        """Look at sequences: codes e [B, T, E], actions [B, T, A] that led to each moment.

        ``first`` bool [B, T] marks the first moments of episodes, ``noise`` is normal [B, T, Z].
        """
        codes = self.code(codes)
        belief, steps = self.initial(len(codes)), []
        for t in range(codes.shape[1]):
            belief = self.forget(belief, first[:, t])
            h, posterior = self.see(belief, actions[:, t] * ~first[:, t, None], codes[:, t])
            belief = Belief(h, posterior.at(noise[:, t]))
            steps.append((*belief, *posterior))
        h, z, mean, std = (torch.stack(parts, dim=1) for parts in zip(*steps, strict=True))
        return Filtered(Belief(h, z), Normal(mean, std), self.prior(h))


def _normal(parameters: Tensor) -> Normal:
    mean, spread = parameters.float().chunk(2, dim=-1)
    return Normal(mean, F.softplus(spread) + SMALLEST_STD)
