"""Formulas that methods share, as functions of tensors: Gaussian policies, advantage estimates."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from robolearn.errors import SpecError


@dataclass(frozen=True)
class Gaussian:
    """The distribution pi(. | s) of a policy: u ~ N(mean, diag(std)^2), and a = u or a = tanh(u).

    Gradients go through all of it.
    """

    mean: Tensor  # [..., A]
    log_std: Tensor  # [..., A]
    squashed: bool

    @property
    def mode(self) -> Tensor:
        """Give the action [..., A] that is sent without exploring."""
        return torch.tanh(self.mean) if self.squashed else self.mean

    def sample(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw actions a [..., A] that depend on mean and std smoothly; give log pi(a | s) too."""
        noise = torch.randn(self.mean.shape, generator=generator, device=self.mean.device)
        return self.at(noise)

    def at(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Give the actions a [..., A] that standard normal noise stands for, and log pi(a | s).

        With a = tanh(u) it is log N(u; mean, diag(std)^2) - sum_j log(1 - tanh(u_j)^2): Haarnoja
        et al., "Soft Actor-Critic Algorithms and Applications", appendix C.
        """
        u = self.mean + self.log_std.exp() * noise
        log_pi = -0.5 * noise.square() - self.log_std - 0.5 * math.log(2 * math.pi)
        if not self.squashed:
            return u, log_pi.sum(dim=-1)
        return torch.tanh(u), (log_pi - log_slope_of_tanh(u)).sum(dim=-1)

    def kl(self, other: Gaussian) -> Tensor:
        """Give what every entry of a adds to KL(self || other), nats [..., A].

        Exact also where both are squashed: tanh can be inverted, so the divergence is that of the
        Gaussians. SpecError if only one is, or if they have other numbers of entries.
        """
        entries = self.mean.shape[-1], other.mean.shape[-1]
        if entries[0] != entries[1]:
            raise SpecError("no divergence between actions of {} and {} entries".format(*entries))
        if self.squashed != other.squashed:
            raise SpecError("no finite divergence between a policy through tanh and one without it")
        return gaussian_kl_entries(self.mean, self.log_std, other.mean, other.log_std)


def gaussian_log_probability(x: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Give log N(x; mean, diag(std)^2), [..., A] -> [...].

    = sum_j [ -((x_j - mean_j) / std_j)^2 / 2 - log std_j - log(2 pi) / 2 ]
    """
    deviation = (x - mean) * torch.exp(-log_std)
    return (-0.5 * deviation.square() - log_std - 0.5 * math.log(2 * math.pi)).sum(dim=-1)


def log_slope_of_tanh(u: Tensor) -> Tensor:
    """Give log(1 - tanh(u)^2) = 2 (log 2 - u - log(1 + exp(-2 u))), [...] -> [...].

    In this form it is finite also where tanh(u) rounds to -1 or 1.
    """
    return 2 * (math.log(2) - u - F.softplus(-2 * u))


def gaussian_entropy(log_std: Tensor) -> Tensor:
    """Give the entropy of N(., diag(std)^2) in nats, [..., A] -> [...].

    = sum_j [ log std_j + (1 + log(2 pi)) / 2 ]
    """
    return (log_std + 0.5 * (1 + math.log(2 * math.pi))).sum(dim=-1)


def gaussian_kl(p_mean: Tensor, p_log_std: Tensor, q_mean: Tensor, q_log_std: Tensor) -> Tensor:
    """Give KL(p || q) of two diagonal Gaussians in nats, [..., A] -> [...]."""
    return gaussian_kl_entries(p_mean, p_log_std, q_mean, q_log_std).sum(dim=-1)


def gaussian_kl_entries(
    p_mean: Tensor, p_log_std: Tensor, q_mean: Tensor, q_log_std: Tensor
) -> Tensor:
    """Give what every entry adds to KL(p || q) of two diagonal Gaussians, nats [..., A].

    = log(std_q / std_p) + (std_p^2 + (mean_p - mean_q)^2) / (2 std_q^2) - 1/2
    """
    spread = p_log_std.mul(2).exp() + (p_mean - q_mean).square()
    return q_log_std - p_log_std + 0.5 * spread * torch.exp(-2 * q_log_std) - 0.5


def gae(
    rewards: Tensor,
    values: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    ended: Tensor,
    gamma: float,
    lam: float,
) -> Tensor:
    """Estimate the advantage of every action of a rollout, [T, N] or, for K rewards, [T, N, K].

        delta_t = r_t + gamma (1 - terminated_t) V(s_(t+1)) - V(s_t)
        A_t     = delta_t + gamma lam (1 - ended_t) A_(t+1),    A_T = 0

    Rewards, values V(s_t) and ``next_values`` V(s_(t+1)) have the shape of the result;
    ``terminated`` and ``ended`` (terminated or truncated) are bool [T, N]. Where an episode ended,
    s_(t+1) is its own last observation, not the first of the next one: truncation is bootstrapped,
    termination is not. Schulman et al., "High-Dimensional Continuous Control Using Generalized
    Advantage Estimation" (ICLR 2016), Eq. (12) and (16); A + V is the TD(lam) return.
    """
    per_reward = (..., *[None] * (rewards.ndim - terminated.ndim))
    bootstrapped = (~terminated)[per_reward].to(rewards.dtype)
    continued = (~ended)[per_reward].to(rewards.dtype)
    delta = rewards + gamma * bootstrapped * next_values - values
    advantages = torch.empty_like(delta)
    following = torch.zeros_like(delta[0])
    for t in reversed(range(len(delta))):
        following = delta[t] + gamma * lam * continued[t] * following
        advantages[t] = following
    return advantages


def lambda_return(rewards: Tensor, values: Tensor, discounts: Tensor, lam: float) -> Tensor:
    """Give the returns [H, ...] along imagined steps, of which the t-th is rewarded by r_t.

        R_t = r_t + discount_t ( (1 - lam) V_(t+1) + lam R_(t+1) ),    R_H = V_H

    ``values`` [H, ...] are V_(t+1), of what each step led to. Hafner, Lillicrap, Ba, Norouzi,
    "Dream to Control" (ICLR 2020), Eq. (6), in the recursive form. Gradients go through all of it.
    """
    following, returns = values[-1], []
    for t in reversed(range(len(rewards))):
        following = rewards[t] + discounts[t] * ((1 - lam) * values[t] + lam * following)
        returns.append(following)
    return torch.stack(returns[::-1])


def balanced_kl(
    posterior: tuple[Tensor, Tensor], prior: tuple[Tensor, Tensor], balance: float
) -> Tensor:
    """Give KL(posterior || prior) of diagonal Gaussians, (mean, std) [..., Z], in nats [...].

    Its gradient reaches the prior with the weight ``balance``, the posterior with the rest: Hafner,
    Lillicrap, Norouzi, Ba, "Mastering Atari with Discrete World Models" (ICLR 2021), Alg. 2.
    """

    def kl(post: tuple[Tensor, ...], pri: tuple[Tensor, ...]) -> Tensor:
        return gaussian_kl(post[0], post[1].log(), pri[0], pri[1].log())

    fixed_posterior, fixed_prior = (tuple(p.detach() for p in pair) for pair in (posterior, prior))
    return balance * kl(fixed_posterior, prior) + (1 - balance) * kl(posterior, fixed_prior)


def standardise(x: Tensor, dim: int | tuple[int, ...], epsilon: float = 1e-8) -> Tensor:
    """Bring x to zero mean and unit spread over ``dim``; what does not vary there becomes 0."""
    centred = x - x.mean(dim=dim, keepdim=True)
    return centred / centred.square().mean(dim=dim, keepdim=True).sqrt().clamp(min=epsilon)


@torch.no_grad()
def polyak(averages: Iterable[Tensor], latest: Iterable[Tensor], tau: float) -> None:
    """Move averages towards the latest values in place: average <- (1 - tau) average + tau latest.

    Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging" (1992).
    """
    torch._foreach_lerp_(list(averages), list(latest), tau)
