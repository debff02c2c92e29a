"""InfoPower: Bharadhwaj, Babaeizadeh, Erhan, Levine, "Information Prioritization through
Empowerment in Visual Model-based RL" (ICLR 2022).

Dreamer's world model, but it does not draw images: it keeps of them first what can be controlled,

    max  sum_t I(o_t; z_t)      subject to      sum_t C_t >= c0
    C_t = -KL( q(z_t | .) || p(z_t | .) ) + log q(a_(t-1) | z_t, z_(t-1)) + log q(r_t | s_t)

as the saddle point of L = I + lambda (C - c0), lambda >= 0: the model climbs L, lambda descends it,
log lambda by a step of its own for each update. The divergence is balanced; what a nat of it costs
the posterior is what L says, and the prior follows the faster. I is bounded from below by a critic
f(z, e) = z' W e + u(z) + v(e) of states and codes, with e of the same pair and of others in the
batch, in which the same episodes and backgrounds occur:

    InfoNCE   E[ f(z, e) - log mean_j exp f(z, e_j) ]          never above log of the batch
    NWJ       E[ f(z, e) ] - E[ exp(f(z, e_j) - 1) ],  j other pairs

What a policy imagines is rewarded in addition by k (log q(a | z', z) - log pi(a | s)), clipped.

What goes in must not contain the answer. The action a_(t-1) is in h_t, and by q(z_t | h_t, e_t) in
z_t: the posterior is therefore ``blind`` to it (``networks.rssm``), and the inverse model sees the
stochastic parts alone. The terms of C have different sizes: each is in units of its own, the
distance from knowing nothing to knowing all that can be known, so that c0 is their sum of shares.
What is told beyond its aim makes up for no divergence: lambda's step counts it up to there. Who
knows nothing of an action or a reward takes it for a Gaussian with the mean and spread of late.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor, nn
from torch.nn import functional as F

from robolearn.algos.dreamer import Dream, Dreamer, DreamingConfig, Losses, as_floats, chosen
from robolearn.errors import UserError
from robolearn.networks.functional import balanced_kl, gaussian_entropy, gaussian_log_probability
from robolearn.networks.images import ConvDecoder, drawn
from robolearn.networks.nets import RunningNormaliser
from robolearn.networks.rssm import Belief, Filtered
from robolearn.networks.world import Sizes, World, head
from robolearn.settings import Share
from robolearn.types import Spec

LARGEST_LOGIT = 20.0  # of a critic: NWJ takes its exponential
SMALLEST_STD = 0.1  # of what is told of an action: caps log q
SMALLEST_REWARD_STD = 0.1  # as of one reward of 1 in a hundred; rarer ones are in units of this
LATE_SHARE = 0.01  # least weight of a batch in the spread of actions and rewards
LARGEST_LOG_MULTIPLIER = 3.0


@dataclass(frozen=True)
class InfoPowerConfig(DreamingConfig):
    """What ``InfoPower`` adds to Dreamer. Raises UserError for a value out of range.

    C-Dreamer, the contrastive variant without a constraint and without empowerment: constrained
    false, inverse_weight 0 and bonus_weight 0.
    """

    bound: Literal["nce", "nwj"] = "nwj"
    """Which bound of I(o; z)."""
    inverse_weight: NonNegativeFloat = 15.0
    """Weight of what the states tell of the action, in C; 0: they need not tell anything. A nat
    that is told must not count less than the nats of divergence that it takes to store it."""
    reward_weight: NonNegativeFloat = 1.0
    """Weight of what they tell of the reward, in C."""
    bonus_weight: NonNegativeFloat = 0.1
    """Weight k of empowerment in the imagined return, per nat."""
    bonus_clip: PositiveFloat = 2.0
    """Largest empowerment that counts, either way, nats for each entry of an action."""
    constrained: bool = True
    """Whether lambda is learnt; else it is 1."""
    multiplier_rate: PositiveFloat = 3e-3
    """How much log lambda changes in an update, for each unit of C - c0."""
    nats: PositiveFloat = 15.0
    """Divergence that counts as 1 in C. With 3 the walker's states held nothing (one seed): a nat,
    by which the bound gains 1 at most, cost lambda / 3; after 500 updates there was half of one."""
    inverse_aim: Share = 0.1
    """Share of what could be told of the action that is aimed at. Of the walker's, who knows the
    true state before and after tells .19."""
    reward_aim: Share = 0.8
    """Share of the reward's variance that is aimed at."""
    draws: bool = False
    """Whether a decoder is learnt beside, for people to look at: it changes nothing else."""
    leaking: bool = False
    """Whether the posterior knows the last action, as in the paper: an ablation."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kl_balance == 1:
            raise UserError("kl_balance: with 1 a divergence costs the posterior nothing")
        if self.decoded != DreamingConfig.decoded and not self.draws:
            raise UserError("decoded: nothing is drawn unless draws is true")


class Critic(nn.Module):
    """f(z, e) = z' W e + u(z) + v(e), of all pairs of a batch."""

    def __init__(self, codes: int, sizes: Sizes):
        super().__init__()
        self.key = nn.Linear(codes, sizes.stochastic)  # W e
        self.of_state = head(sizes.stochastic, 1, sizes.units)
        self.of_key = head(sizes.stochastic, 1, sizes.units)  # v(e), by what W leaves of e

    def forward(self, z: Tensor, codes: Tensor) -> Tensor:
        """Give logits [M, M] of states [M, Z], rows, and codes [M, E], columns."""
        keys = self.key(codes)
        return z @ keys.T + self.of_state(z) + self.of_key(keys).T


class Multiplier(nn.Module):
    """lambda, between e^-3 and e^3."""

    def __init__(self) -> None:
        super().__init__()
        self.log = nn.Parameter(torch.zeros(1))

    def forward(self) -> Tensor:
        """Give it, []."""
        most = LARGEST_LOG_MULTIPLIER
        return torch.exp(most * torch.tanh(self.log[0] / most))


class Critics(nn.Module):
    """What InfoPower learns of the world beside states: critic, inverse model.

    And how actions and rewards are spread, as buffers.
    """

    def __init__(self, codes: int, actions: int, sizes: Sizes):
        super().__init__()
        self.critic = Critic(codes, sizes)
        self.inverse = head(2 * sizes.stochastic, 2 * actions, sizes.units)
        self.acted = RunningNormaliser(actions, LATE_SHARE)
        self.rewarded = RunningNormaliser(1, LATE_SHARE)

    def follow(self, batch: Mapping[str, Any]) -> None:
        """Take actions and rewards within episodes into account."""
        within = ~batch["is_first"]
        if within.any():
            self.acted.update(batch["actions"][within])
            self.rewarded.update(batch["rewards"][within][:, None])

    @property
    def guess(self) -> Tensor:
        """Give -log q of the best Gaussian that sees nothing, [], nats."""
        return gaussian_entropy(self.acted.variance.clamp(min=SMALLEST_STD**2).sqrt().log())

    @property
    def reward_variance(self) -> Tensor:
        """Give the variance [] that counts as 1, of which the smallest is that of rare rewards."""
        return self.rewarded.variance[0].clamp(min=SMALLEST_REWARD_STD**2)


class InfoPower(Dreamer):
    """Dreamer whose states keep what can be controlled, predicted and is rewarded."""

    name = "infopower"
    decodes: ClassVar[bool] = False

    def __init__(
        self, interface: Spec, config: InfoPowerConfig, seed: int = 0, device: str = "cpu"
    ):
        """Draw the initial weights; SpecError for images that the encoder cannot take."""
        super().__init__(interface, config, seed, device)
        lots = int(np.random.SeedSequence(seed).generate_state(3)[2])  # the others are Dreamer's
        self.lots = torch.Generator(self.device).manual_seed(lots)
        self.bonus = torch.zeros((), device=self.device)

    @property
    def blind(self) -> bool:
        """Say whether the posterior is blind to the last action."""
        return not self.config.leaking

    def _networks(self, generator: torch.Generator) -> nn.ModuleDict:
        networks = super()._networks(generator)
        world: World = networks["world"]
        critics = drawn(lambda: Critics(world.encoder.size, self.actions, self.sizes), generator)
        world.add_module("critics", critics)
        if self.config.draws:
            features = self.sizes.deterministic + self.sizes.stochastic
            channels, depth = 3 * len(self.cameras), self.sizes.depth
            build = functools.partial(ConvDecoder, features, channels, depth)
            networks["decoder"] = drawn(build, generator)
        networks["multiplier"] = Multiplier()
        return networks

    def _optimiser(self, name: str) -> torch.optim.Optimizer:
        if name != "multiplier":
            return super()._optimiser(name)
        return torch.optim.SGD(self.network[name].parameters(), lr=self.config.multiplier_rate)

    # what is learnt

    def learn_world(self, batch: Mapping[str, Any]) -> tuple[dict[str, float], Belief]:
        """Improve the world model, then lambda; tell also how far log q is from its cap.

        ``slack`` is C - c0, ``inverse_share`` what is told of the action, of all that could be.
        """
        self.world.critics.follow(batch if self.ranks is None else self.ranks.whole(batch))
        info, believed = super().learn_world(batch)
        terms = (torch.tensor(info[f"{name}_loss"]) for name in ("kl", "inverse", "reward"))
        kl, inverse, reward = (term.to(self.device) for term in terms)
        slack, share = self.slack(kl, inverse, reward), self.inverse_share(inverse)
        info |= {"slack": slack.item(), "multiplier": self.multiplier.item()}
        info |= {"inverse_to_cap": info["inverse_loss"] + self.actions * log_cap()}
        info["inverse_share"] = share.item()
        if self.config.constrained:
            self._descend("multiplier", slack * self.network["multiplier"].log.sum())
        if self.decoder is not None:
            images = self.images(batch["observations"])
            loss = self.learn_to_draw(believed.features, images, self.lots)
            info |= as_floats({"image_loss": loss})
        return info, believed

    @property
    def decoder(self) -> nn.Module | None:
        """Give what draws images of states, if anything does."""
        return self.network["decoder"] if self.config.draws else None

    def learn_to_draw(self, features: Tensor, images: Tensor, lots: torch.Generator) -> Tensor:
        """Improve the decoder alone by a step, from states that nobody changes; give its loss.

        The moments are drawn by lots of its own, so that all else is learnt as without it.
        """
        some = chosen(images.shape[:2].numel(), self.config.decoded, lots)
        with self._precisely():
            loss = self.drawing_loss(features, images, some)
        self._descend("decoder", loss)
        return loss

    def scales(self) -> dict[str, float]:
        """Give the weight of each of the world's losses: lambda, and units, where they are in C.

        Of the divergence the posterior's share is balanced away, so that it costs what L says.
        """
        config, multiplier = self.config, self.multiplier.item()
        return {
            "information": 1.0,
            "kl": multiplier / config.nats / (1 - config.kl_balance),
            "inverse": multiplier * config.inverse_weight / self.knowable.item(),
            "reward": multiplier * config.reward_weight,
            "going_on": 1.0,
        }

    def world_losses(self, batch: Mapping[str, Any]) -> tuple[Losses, Filtered]:
        """Give the terms of -L, each by itself, and the states believed in."""
        codes = self.world.code(self.images(batch["observations"]))  # [B, T, E]
        filtered = self.filter(codes, batch)
        kl = balanced_kl(filtered.posterior, filtered.prior, self.config.kl_balance).mean()
        inverse = -self.told_of_action(filtered.belief.z, batch)
        told = self.told_losses(filtered.belief.features, batch)
        told["reward"] = told["reward"] / (0.5 * self.world.critics.reward_variance)
        information = self.information(filtered.belief.z, codes)
        return {"information": -information, "kl": kl, "inverse": inverse, **told}, filtered

    def information(self, z: Tensor, codes: Tensor) -> Tensor:
        """Give a bound of I(o_t; z_t) from states [B, T, Z] and codes [B, T, E], nats."""
        with torch.autocast(self.device.type, enabled=False):  # exponentials of long numbers
            pairs = z.flatten(0, 1).float(), codes.flatten(0, 1).float()
            logits = self.world.critics.critic(*pairs)  # [M, M]; pairs on the diagonal
            return info_nce(logits) if self.config.bound == "nce" else nwj(logits)

    def told_of_action(self, z: Tensor, batch: Mapping[str, Any]) -> Tensor:
        """Give the mean of log q(a_(t-1) | z_t, z_(t-1)) over the steps within episodes, nats."""
        within = ~batch["is_first"][:, 1:]  # [B, T - 1]
        log_q = self.log_q(z[:, :-1], z[:, 1:], batch["actions"][:, 1:])
        return (log_q * within).sum() / within.sum().clamp(min=1)

    def log_q(self, before: Tensor, after: Tensor, action: Tensor) -> Tensor:
        """Give log q(a | z', z) [...] for z, z' [..., Z] and a [..., A]."""
        parameters = self.world.critics.inverse(torch.cat([after, before], dim=-1))
        mean, spread = parameters.float().chunk(2, dim=-1)
        std = F.softplus(spread) + SMALLEST_STD
        return gaussian_log_probability(action, torch.tanh(mean), std.log())

    def slack(self, kl: Tensor, inverse: Tensor, reward: Tensor) -> Tensor:
        """Give C - c0 in units of the terms, what is told counted up to its aim; positive: met."""
        config, of_action = self.config, self.inverse_share(inverse)
        of_action = (of_action - config.inverse_aim).clamp(max=0)
        of_reward = (1 - reward - config.reward_aim).clamp(max=0)
        told = config.inverse_weight * of_action + config.reward_weight * of_reward
        return 1 - kl / config.nats + told

    @property
    def knowable(self) -> Tensor:
        """Give the distance [] from the best Gaussian that sees nothing to the cap, nats."""
        return self.world.critics.guess + self.actions * log_cap()

    def inverse_share(self, inverse: Tensor) -> Tensor:
        """Give the share [] of ``knowable`` that is told of actions at this loss; 0: nothing."""
        return (self.world.critics.guess - inverse) / self.knowable

    @property
    def multiplier(self) -> Tensor:
        """Give lambda [], between e^-3 and e^3."""
        if not self.config.constrained:
            return torch.ones((), device=self.device)
        return self.network["multiplier"]()

    def imagined_rewards(self, dream: Dream) -> Tensor:
        """Give the reward of every imagined step with its empowerment, [H, S]."""
        reward = super().imagined_rewards(dream)
        if self.config.bonus_weight == 0:
            return reward
        log_q = self.log_q(dream.z[:-1], dream.z[1:], dream.actions)
        most = self.actions * self.config.bonus_clip
        bonus = self.config.bonus_weight * (log_q - dream.log_pi).clamp(-most, most)
        self.bonus = bonus.mean().detach()
        return reward + bonus

    def learn_behaviour(self, believed: Belief, terminated: Tensor) -> Losses:
        """Improve policy and value in imagination; tell also the mean bonus of a step there."""
        losses = super().learn_behaviour(believed, terminated)
        return losses | {"bonus": self.bonus}

    # persistence

    def training_state(self) -> dict[str, Tensor]:
        """Give what continuing needs beside ``state_dict``: Dreamer's, and the decoder's lots."""
        return super().training_state() | {"lots": self.lots.get_state()}

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what ``training_state`` gave; training then goes on as if never interrupted."""
        super().load_training_state(state)
        self.lots.set_state(state["lots"].cpu())


def log_cap() -> float:
    """Give the most that log q can be for an entry of an action, nats: 1.38."""
    return -math.log(SMALLEST_STD * math.sqrt(2 * math.pi))


def info_nce(logits: Tensor) -> Tensor:
    """Give InfoNCE for critics f(x_i, y_j) [M, M] whose pairs stand on the diagonal, nats.

    Van den Oord, Li, Vinyals, "Representation Learning with Contrastive Predictive Coding" (2018);
    at most log M.
    """
    pairs = logits.diagonal() - logits.logsumexp(dim=1)
    return pairs.mean() + math.log(len(logits))


def nwj(logits: Tensor) -> Tensor:
    """Give the bound of Nguyen, Wainwright and Jordan (2010) for critics [M, M], nats.

    Computed from logits that are clipped: it takes their exponential.
    """
    logits = logits.clamp(-LARGEST_LOGIT, LARGEST_LOGIT)
    count = len(logits)
    others = logits.masked_fill(
        torch.eye(count, dtype=torch.bool, device=logits.device), -torch.inf
    )
    product = torch.exp(others.flatten().logsumexp(dim=0) - math.log(count * (count - 1)) - 1)
    return logits.diagonal().mean() - product
