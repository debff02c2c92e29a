"""Learned rewards for skill discovery: what pi(a | s, z) earns for showing which skill z it is at.

Skills are about the pose o of an object, some named entries of "state", not about the robot's own
joints. z is drawn once an episode; the reward of a step sees o, the next pose o' and z.

``LSD`` (Park, Choi, Kim, Lee, Kim, "Lipschitz-constrained Unsupervised Skill Discovery", ICLR 2022)

    r = (phi(o') - phi(o)) . z,    phi from    max E[ r ]   with   |phi(x) - phi(y)| <= |x - y|

``METRA`` (Park, Rybkin, Levine, "METRA: Scalable Unsupervised RL with Metric-Aware Abstraction",
ICLR 2024), or CSD if its distance is "rarity" (Park, Lee, Lee, Abbeel, "Controllability-Aware
Unsupervised Skill Discovery", ICML 2023)

    r as above,    phi from    max E[ r ]   with   |phi(o') - phi(o)| <= d(o, o')
    METRA:  d = 1, a step in time
    CSD:    d^2 = (o' - o - mu)^T Sigma^-1 (o' - o - mu),   N(mu(o), Sigma(o)) fitted to o' - o

by gradient descent on phi and on the multiplier lambda. |.|^2 is a sum over the entries of z; the
code published with METRA takes their mean, under which |phi(o') - phi(o)| may reach sqrt(Z).

``DIAYN`` (Eysenbach, Gupta, Ibarz, Levine, "Diversity is All You Need", ICLR 2019)

    r = log q(z | o') - log p(z)    Eq. (3),    q from    max E[ log q(z | o') ],   z one-hot

A direction in which nothing has moved yet, such as up before the first grasp, gives E[ r ] no
gradient. Three settings can make it count: ``smallest_spread`` (units in which small motion is
large), ``identity`` (a part of phi that needs no data) and ``distance`` (rare motion may be far).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from robolearn.networks.functional import gaussian_log_probability
from robolearn.rewards.base import (
    Directed,
    Info,
    SkillConfig,
    SkillReward,
    along,
    displacement,
    mlp,
    one_hot,
    poses,
)
from robolearn.settings import ShareBelowOne


class Phi(nn.Module):
    """phi(x) = c x + (1 - c) f(x), with x cut off or filled up with zeros to Z entries."""

    def __init__(self, f: nn.Module, identity: float):
        super().__init__()
        self.f, self.identity = f, identity

    def forward(self, x: Tensor) -> Tensor:
        """Give phi [..., Z] of x [..., P]."""
        f = self.f(x)
        if self.identity == 0.0:
            return f
        x = F.pad(x, (0, f.shape[-1] - x.shape[-1]))  # a negative pad cuts off
        return self.identity * x + (1 - self.identity) * f


# LSD


@dataclass(frozen=True)
class LSDConfig(SkillConfig):
    """Settings of ``LSD``. Raises UserError for a value out of range."""

    identity: ShareBelowOne = 0.0
    """Share c of phi that is the pose itself: the slope that a direction without data keeps."""


class UnitSpectralNorm(nn.Module):
    """A weight divided by its largest singular value, so that its map is 1-Lipschitz.

    Exact, not by power iteration, whose estimate is too low while it converges; ELU is 1-Lipschitz
    too, and so is what is made of both.
    """

    def forward(self, weight: Tensor) -> Tensor:
        """Give W / sigma(W) [J, I]."""
        return weight / torch.linalg.matrix_norm(weight, ord=2)


class LSD(Directed, SkillReward):
    """Reward for motion along z, as a 1-Lipschitz phi of the pose measures it."""

    name = "lsd"

    def build(self, inputs: int, generator: torch.Generator) -> dict[str, nn.Module]:
        """Make phi with spectral normalisation."""
        f = mlp(inputs, self.config, self.config.skills, generator)
        for layer in f:
            if isinstance(layer, nn.Linear):
                parametrize.register_parametrization(layer, "weight", UnitSpectralNorm())
        return {"phi": Phi(f, self.config.identity)}

    @torch.no_grad()
    def phi(self, pose: Tensor) -> Tensor:
        """Give phi(o) [..., Z] of o [..., P]."""
        return self.network["phi"](self.scale(pose))

    def loss(self, x: Tensor, next_x: Tensor, z: Tensor) -> tuple[Tensor, Info]:
        """Give -E[ r ]."""
        change = displacement(self.network["phi"], x, next_x)  # [B, Z]
        reward = along(change, z).mean()
        return -reward, {"reward": reward, "change": change.norm(dim=-1).mean()}


# METRA and CSD


@dataclass(frozen=True)
class METRAConfig(SkillConfig):
    """Settings of ``METRA``. Raises UserError for a value out of range."""

    identity: ShareBelowOne = 0.0
    """Share c of phi that is the pose itself: the slope that a direction without data keeps."""
    distance: Literal["time", "rarity"] = "time"
    """What bounds a step of phi: 1 (METRA), or how unusual the motion is (CSD)."""
    initial_lambda: PositiveFloat = 30.0
    """First weight of the constraint."""
    slack: NonNegativeFloat = 1e-3
    """Most that a constraint which holds is credited with, epsilon."""
    smallest_step: PositiveFloat = 0.05
    """Least standard deviation of a step's motion in CSD, in units of the pose's spread."""


class Time(nn.Module):
    """METRA's bound: two poses that follow each other are 1 apart, wherever they are."""

    def forward(self, x: Tensor, next_x: Tensor) -> Tensor:
        """Give d^2 [B]."""
        return torch.ones_like(x[:, 0])

    def loss(self, x: Tensor, next_x: Tensor) -> Tensor:
        """Give 0: there is nothing to fit."""
        return x.new_zeros(())


class Rarity(nn.Module):
    """CSD's bound: motion is as long as it is unlikely under N(mu(x), diag(sigma(x))^2).

    Sigma is divided by its geometric mean, as in the authors' code: the bound compares directions
    and says nothing of the whole length.
    """

    def __init__(self, motion: nn.Module, smallest_step: float):
        super().__init__()
        self.motion, self.smallest_step = motion, smallest_step

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Give mu and log sigma [B, P] of x' - x."""
        mean, spread = self.motion(x).chunk(2, dim=-1)
        return mean, torch.log(self.smallest_step + F.softplus(spread))

    def forward(self, x: Tensor, next_x: Tensor) -> Tensor:
        """Give d^2 [B], without a gradient."""
        with torch.no_grad():
            mean, log_std = self.moments(x)
            relative = torch.exp(log_std - log_std.mean(dim=-1, keepdim=True))
            return ((next_x - x - mean) / relative).square().sum(dim=-1)

    def loss(self, x: Tensor, next_x: Tensor) -> Tensor:
        """Give -E[ log q(x' | x) ]."""
        return -gaussian_log_probability(next_x - x, *self.moments(x)).mean()


class Multiplier(nn.Module):
    """lambda > 0, the price of breaking a constraint; it rises as long as it is broken."""

    def __init__(self, initial: float):
        super().__init__()
        self.log = nn.Parameter(torch.tensor(math.log(initial)))

    def forward(self) -> Tensor:
        """Give lambda."""
        return self.log.exp()

    def loss(self, margin: Tensor) -> Tensor:
        """Give log(lambda) E[margin], which falls with lambda where margins [B] are positive."""
        return self.log * margin.detach().mean()


class METRA(Directed, SkillReward):
    """Reward for motion along z, as a phi measures it whose steps are bounded by a distance."""

    name = "metra"

    def build(self, inputs: int, generator: torch.Generator) -> dict[str, nn.Module]:
        """Make phi, lambda, and the distance."""
        config = self.config
        f = mlp(inputs, config, config.skills, generator)
        if config.distance == "time":
            distance = Time()
        else:
            distance = Rarity(mlp(inputs, config, 2 * inputs, generator), config.smallest_step)
        multiplier = Multiplier(config.initial_lambda)
        return {"phi": Phi(f, config.identity), "lambda": multiplier, "distance": distance}

    @torch.no_grad()
    def phi(self, pose: Tensor) -> Tensor:
        """Give phi(o) [..., Z] of o [..., P]."""
        return self.network["phi"](self.scale(pose))

    def loss(self, x: Tensor, next_x: Tensor, z: Tensor) -> tuple[Tensor, Info]:
        """Give -E[ r + lambda min(epsilon, d^2 - |change|^2) ] for phi, and what moves the rest."""
        price, distance = self.network["lambda"], self.network["distance"]
        change = displacement(self.network["phi"], x, next_x)  # [B, Z]
        squared = change.square().sum(dim=-1)  # a sum: a mean would allow |change| = sqrt(Z)
        margin = (distance(x, next_x) - squared).clamp(max=self.config.slack)
        reward = along(change, z).mean()
        objective = reward + price().detach() * margin.mean()
        loss = -objective + price.loss(margin) + distance.loss(x, next_x)
        info = {"reward": reward, "change": squared.sqrt().mean(), "margin": margin.mean()}
        return loss, info | {"lambda": price()}


# DIAYN


class DIAYN(SkillReward):
    """Reward for poses that tell one of Z skills from the others."""

    name = "diayn"

    def build(self, inputs: int, generator: torch.Generator) -> dict[str, nn.Module]:
        """Make the discriminator's logits."""
        return {"q": mlp(inputs, self.config, self.config.skills, generator)}

    def sample_skills(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw one-hot z [n, Z] of p(z) = 1 / Z."""
        return one_hot(n, self.config.skills, generator)

    @torch.no_grad()
    def reward(self, batch: Mapping[str, Any]) -> Tensor:
        """Give r [...], which is log Z at most, in nats."""
        _, next_pose = poses(batch, self.index)
        log_q = self.log_q(self.scale(next_pose), batch["skills"])
        return log_q + math.log(self.config.skills)  # Eq. (3)

    def log_q(self, x: Tensor, z: Tensor) -> Tensor:
        """Give log q(z | x) [...]."""
        return along(F.log_softmax(self.network["q"](x), dim=-1), z)

    def loss(self, x: Tensor, next_x: Tensor, z: Tensor) -> tuple[Tensor, Info]:
        """Give -E[ log q(z | x') ]."""
        log_q = self.log_q(next_x, z).mean()
        return -log_q, {"log_q": log_q, "reward": log_q + math.log(self.config.skills)}
