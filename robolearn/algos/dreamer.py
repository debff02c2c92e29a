"""Dreamer: Hafner, Lillicrap, Ba, Norouzi, "Dream to Control: Learning Behaviors by Latent
Imagination" (ICLR 2020), with the balanced divergence of its successor (ICLR 2021).

A world model (``networks.rssm``) is learnt from sequences of images o_t, actions and rewards:

    J_model = E[ -log p(o_t | s_t) - log p(r_t | s_t) - log p(c_t | s_t)
                 + beta KL( q(s_t | .) || p(s_t | .) ) ]                                 Eq. (10)

with s_t = (h_t, z_t), unit Gaussians for images and rewards, and c_t: does the episode go on? From
some of the states that the model believes in, the policy acts in imagination for H steps, and

    R_t   = r_t + gamma c_t ( (1 - lambda) v(s_(t+1)) + lambda R_(t+1) )                 Eq. (6)
    J_pi  = -E[ w_t ( R_t + eta entropy ) ]   through actions and dynamics               Eq. (7)
    J_v   =  E[ w_t ( v(s_t) - R_t )^2 / 2 ],   w_t = prod of gamma c before t           Eq. (8)

where a slow copy of v stands in R_t. pi is a Gaussian through tanh. Two departures save time:
from some of the states is imagined, and some of the images are drawn. Two more keep policies from
a saturated tanh, where there is no gradient, before anything is known of the world: v is learnt and
R_t counted in units of the returns' own size, against which eta then has a meaning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from robolearn.errors import SpecError
from robolearn.networks.functional import Gaussian, balanced_kl, lambda_return, polyak
from robolearn.networks.images import SIZE, drawn
from robolearn.networks.nets import load_optimiser_tensors, load_weights, optimiser_tensors
from robolearn.networks.rssm import Belief, Filtered
from robolearn.networks.world import SIZES, Value, World, head, image_loss
from robolearn.settings import Settings, Share
from robolearn.types import Observation, Spec

Losses = dict[str, Tensor]
LOG_STD = (-2.0, 1.0)  # between which the policy's is bounded
UNIT_SHARE = 0.02  # of the way that the unit of the returns goes in an update
BACKDROP_EVERY = 4  # moments of a sequence of which one is counted in the mean of late images
GRADIENT_NORM = 100.0  # largest one, of each of the three objectives


@dataclass(frozen=True)
class DreamingConfig(Settings):
    """What all have that dream. Raises UserError for a value out of range."""

    size: Literal["small", "paper"] = "small"
    """Of networks, batches and sequences; "paper" is for a GPU."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of products in learning; weights, sums over them and losses are float32 ones. "bfloat16" is
    for a GPU, or a processor with instructions for it."""
    compiled: bool = False
    """Let torch compile encoder, decoder and sequences: minutes at first, for long runs."""
    backdrop: bool = False
    """Whether images are seen and drawn as what differs from the mean of late ones: for small
    robots before a scene that stays."""
    kl_balance: Share = 0.8
    """Share of its gradient that goes to the prior."""
    decoded: PositiveInt = 64
    """Moments whose images are drawn and compared, at most, in an update."""
    horizon: PositiveInt = 15
    """Imagined steps, H."""
    starts: PositiveInt = 128
    """Believed states from which is imagined, at most, in an update."""
    gamma: Share = 0.99
    """Discount of a reward one step later."""
    lam: Share = 0.95
    """Weight lambda of long returns against short ones."""
    entropy_weight: NonNegativeFloat = 3e-3
    """Weight eta of the policy's entropy, per nat, against returns in units of their size."""
    noise: NonNegativeFloat = 0.3
    """Spread of what is added to actions when exploring."""
    model_rate: PositiveFloat = 6e-4
    """Step size of Adam for the world model."""
    behaviour_rate: PositiveFloat = 3e-4
    """Step size of Adam for policy and value."""
    tau: Share = 0.02
    """Share of the way that the slow value goes towards the value in an update."""


@dataclass(frozen=True)
class DreamerConfig(DreamingConfig):
    """Networks and objectives of ``Dreamer``. Raises UserError for a value out of range."""

    kl_weight: NonNegativeFloat = 0.1
    """Weight beta of the divergence. With 1 a small robot's few pixels are learnt later: on
    cart-pole the loss of the reward was half as much again after 500 updates."""
    image_weight: NonNegativeFloat = 1.0
    """Weight of the images' loss: with 2 a pixel's counts as its squared error."""
    free_nats: NonNegativeFloat = 1.0
    """The divergence counts as much where it is less."""


class Dream(NamedTuple):
    """What was imagined in H steps from S states."""

    features: Tensor  # [H + 1, S, F]
    z: Tensor  # [H + 1, S, Z]
    actions: Tensor  # [H, S, A]
    log_pi: Tensor  # [H, S]


class Dreamer:
    """A policy learnt in imagination: a Policy with a memory, and a Learner that eats sequences.

    A batch is what ``loops.moments.Moments`` gives, as tensors [B, T, ...]. All images that an
    interface names are seen, and nothing else of it.
    """

    name = "dreamer"
    eats = "replay"
    contextual = True
    blind: ClassVar[bool] = False
    decodes: ClassVar[bool] = True
    ranks: Any = None  # networks.parallel.Ranks, where processes learn from parts of a batch

    def __init__(self, interface: Spec, config: DreamerConfig, seed: int = 0, device: str = "cpu"):
        """Draw the initial weights; SpecError for images that the encoder cannot take."""
        self.cameras = _cameras(interface)
        self.interface, self.config, self.device = interface, config, torch.device(device)
        self.sizes, self.actions = SIZES[config.size], interface.action.shape[0]
        weights, noise = (int(s) for s in np.random.SeedSequence(seed).generate_state(2))
        self.noise = torch.Generator(self.device).manual_seed(noise)
        self.network = self._networks(torch.Generator().manual_seed(weights)).to(self.device)
        self.world, self.policy = self.network["world"], self.network["policy"]
        self.value, self.slow_value = self.network["value"], self.network["slow_value"]
        self.slow_value.load_state_dict(self.value.state_dict())
        self.slow_value.requires_grad_(False)
        self._optimisers = {
            name: self._optimiser(name) for name in self.network if name != "slow_value"
        }
        self._memory: tuple[Belief, Tensor] | None = None  # and the last actions [N, A]
        if config.compiled:
            self._compile()

    def _compile(self) -> None:
        world = self.world
        for part in (world.encoder, world.decoder):
            if part is not None:
                part.compile()
        for name in ("filter", "predict"):
            setattr(world.rssm, name, torch.compile(getattr(world.rssm, name)))

    def _networks(self, generator: torch.Generator) -> nn.ModuleDict:
        sizes, channels = self.sizes, 3 * len(self.cameras)
        features = sizes.deterministic + sizes.stochastic
        parts = {
            "world": lambda: World(
                channels, self.actions, sizes, self.blind, self.decodes, self.config.backdrop
            ),
            "policy": lambda: head(features, 2 * self.actions, sizes.units),
            "value": lambda: Value(features, sizes.units),
            "slow_value": lambda: Value(features, sizes.units),
        }
        return nn.ModuleDict({name: drawn(build, generator) for name, build in parts.items()})

    def _optimiser(self, name: str) -> torch.optim.Optimizer:
        is_model = name in ("world", "decoder")
        rate = self.config.model_rate if is_model else self.config.behaviour_rate
        return torch.optim.Adam(self.network[name].parameters(), lr=rate)

    # acting

    def reset(self, n: int) -> None:
        """Begin n episodes; forget what was seen."""
        actions = torch.zeros(n, self.actions, device=self.device)
        self._memory = self.world.rssm.initial(n), actions

    def forget(self, ended: np.ndarray) -> None:
        """Forget the episodes of some rows, bool [N], the next action is another's first."""
        if self._memory is not None:
            belief, actions = self._memory
            rows = torch.as_tensor(ended, device=self.device)
            self._memory = self.world.rssm.forget(belief, rows), actions * ~rows[:, None]

    @torch.no_grad()
    def act(self, observation: Observation, explore: bool = False) -> np.ndarray:
        """Give the policy's mode, or a noisy sample when exploring, float32 [N, A] in [-1, 1]."""
        images = self.images({c: torch.as_tensor(observation[c]) for c in self.cameras})
        if self._memory is None or len(self._memory[1]) != len(images):
            self.reset(len(images))
        rssm, (belief, actions) = self.world.rssm, self._memory
        h, seen = rssm.see(belief, actions, rssm.code(self.world.code(images)))
        belief = Belief(h, seen.at(self._normal(seen.mean.shape)) if explore else seen.mean)
        pi = self.distribution(belief.features)
        if explore:
            action, _ = pi.sample(self.noise)
            action = (action + self.config.noise * self._normal(action.shape)).clamp(-1, 1)
        else:
            action = pi.mode
        self._memory = belief, action
        return action.cpu().numpy()

    def distribution(self, features: Tensor) -> Gaussian:
        """Give pi(. | s) for features [..., F]; gradients go through it."""
        mean, spread = self.policy(features).float().chunk(2, dim=-1)
        middle, half = sum(LOG_STD) / 2, (LOG_STD[1] - LOG_STD[0]) / 2
        return Gaussian(mean, middle + half * torch.tanh(spread), squashed=True)

    # learning

    @torch.no_grad()
    def reward(self, batch: Mapping[str, Any]) -> Tensor:
        """Give the environment's own reward [B]."""
        return batch["rewards"]

    def update(self, batch: Mapping[str, Any]) -> dict[str, float]:
        """Improve world model, policy and value by one step each; give every loss by its name."""
        info, believed = self.learn_world(batch)
        return info | as_floats(self.learn_behaviour(believed, batch["terminated"]))

    def learn_world(self, batch: Mapping[str, Any]) -> tuple[dict[str, float], Belief]:
        """Improve the world model alone by a step; give its losses, and the states believed in."""
        if self.world.backdrop is not None:
            mean_ = None if self.ranks is None else self.ranks.mean_
            some = {name: seen[:, ::BACKDROP_EVERY] for name, seen in batch["observations"].items()}
            self.world.backdrop.follow(self.images(some), mean_)
        with self._precisely():
            losses, filtered = self.world_losses(batch)
        scales = self.scales()
        assert losses.keys() == scales.keys()
        total = sum(scales[name] * loss for name, loss in losses.items())
        info = {f"{name}_loss": loss for name, loss in losses.items()}
        info["world_gradient"] = self._descend("world", total)
        return as_floats(info), filtered.belief.detach()

    def scales(self) -> dict[str, float]:
        """Give the weight of each of the world's losses."""
        weights = {"image": self.config.image_weight, "kl": self.config.kl_weight}
        return {"reward": 1.0, "going_on": 1.0} | weights

    def world_losses(self, batch: Mapping[str, Any]) -> tuple[Losses, Filtered]:
        """Give the terms of J_model, Eq. (10), and the states believed in."""
        images = self.images(batch["observations"])  # [B, T, C, 64, 64]
        filtered = self.filter(self.world.code(images), batch)
        features = filtered.belief.features
        some = chosen(images.shape[:2].numel(), self.config.decoded, self.noise)
        return {
            "image": self.drawing_loss(features, images, some),
            **self.told_losses(features, batch),
            "kl": self.kl_loss(filtered),
        }, filtered

    def drawing_loss(self, features: Tensor, images: Tensor, some: Tensor) -> Tensor:
        """Give -log p(o_t | s_t) of some of the moments [B T, ...], but for a constant."""
        drawn = self.world.drawn(self.decoder(features.flatten(0, 1)[some]))
        return image_loss(drawn, images.flatten(0, 1)[some])

    def filter(self, codes: Tensor, batch: Mapping[str, Any]) -> Filtered:
        """Follow sequences of codes e [B, T, E]."""
        noise = self._normal((*codes.shape[:2], self.sizes.stochastic))
        return self.world.rssm.filter(codes, batch["actions"], batch["is_first"], noise)

    @torch.no_grad()
    def believe(self, batch: Mapping[str, Any]) -> Belief:
        """Give the likeliest states [B, T, ...] along sequences; no rewards are needed."""
        codes = self.world.code(self.images(batch["observations"]))
        still = torch.zeros(*codes.shape[:2], self.sizes.stochastic, device=self.device)
        return self.world.rssm.filter(codes, batch["actions"], batch["is_first"], still).belief

    @torch.no_grad()
    def foresee(self, belief: Belief, actions: Tensor) -> Belief:
        """Give the likeliest states [K, N, ...] after each of the actions [K, N, A], unseen."""
        beliefs = []
        for action in actions:
            belief = self.world.rssm.predict(belief, action, torch.zeros_like(belief.z))
            beliefs.append(belief)
        return Belief(*(torch.stack(parts) for parts in zip(*beliefs, strict=True)))

    def told_losses(self, features: Tensor, batch: Mapping[str, Any]) -> Losses:
        """Give -log p(r_t | s_t), but for a constant, and -log p(c_t | s_t).

        Means over the moments that count: nothing led to the first one of an episode.
        """
        counts = (~batch["is_first"]).float()
        counts = counts / counts.sum().clamp(min=1)
        reward = self.world.reward(features).float().squeeze(-1)
        going_on = self.world.going_on(features).float().squeeze(-1)
        wrong = F.binary_cross_entropy_with_logits(
            going_on, (~batch["terminated"]).float(), reduction="none"
        )
        return {
            "reward": (counts * 0.5 * (reward - batch["rewards"]).square()).sum(),
            "going_on": (counts * wrong).sum(),
        }

    def kl_loss(self, filtered: Filtered) -> Tensor:
        """Give the balanced divergence, nats; what is below the free ones has no gradient."""
        kl = balanced_kl(filtered.posterior, filtered.prior, self.config.kl_balance).mean()
        return kl.clamp(min=self.config.free_nats)

    def learn_behaviour(self, believed: Belief, terminated: Tensor) -> Losses:
        """Improve policy and value in imagination, from some of the states [B, T, ...]."""
        starts, alive = self._starts(believed, terminated)
        with self._precisely():
            dream = self.imagine(starts)
            returns, weights = self.returns(dream, alive)
        unit, entropy = self.value.unit.clone(), -dream.log_pi
        policy_loss = -(weights * (returns / unit + self.config.entropy_weight * entropy)).mean()
        gradient = self._descend("policy", policy_loss)
        with self._precisely():
            value = self.value(dream.features[:-1].detach())  # [H, S]
        value_loss = (weights * 0.5 * ((value - returns.detach()) / unit).square()).mean()
        self._descend("value", value_loss)
        self._measure(returns.detach())
        polyak(self.slow_value.parameters(), self.value.parameters(), self.config.tau)
        return {
            "policy_loss": policy_loss, "policy_gradient": gradient, "value_loss": value_loss,
            "imagined_return": returns.mean(), "entropy": entropy.mean(), "unit": unit,
        }  # fmt: skip

    def _measure(self, returns: Tensor) -> None:
        """Have the values measured in the root of the mean square of late returns."""
        before, now = self.value.unit, returns.square().mean().sqrt()
        unit = (before + UNIT_SHARE * (now - before)).clamp(min=1.0)
        self.value.measure_in(unit)
        self.slow_value.measure_in(unit)

    def imagine(self, belief: Belief) -> Dream:
        """Act H steps from S states; smooth in the actions."""
        beliefs, actions, log_pis = [belief], [], []
        for _ in range(self.config.horizon):
            action, log_pi = self.distribution(belief.features.detach()).sample(self.noise)
            noise = self._normal(belief.z.shape)
            belief = self.world.rssm.predict(belief, action, noise)
            beliefs.append(belief)
            actions.append(action)
            log_pis.append(log_pi)
        features = torch.stack([b.features for b in beliefs])
        z = torch.stack([b.z for b in beliefs])
        return Dream(features, z, torch.stack(actions), torch.stack(log_pis))

    def returns(self, dream: Dream, alive: Tensor) -> tuple[Tensor, Tensor]:
        """Give R_t, Eq. (6), and w_t, both [H, S]; states that are not ``alive`` [S] weigh 0."""
        features = dream.features[1:]  # of what each step led to
        going_on = self.world.going_on(features).float().squeeze(-1)
        discounts = self.config.gamma * torch.sigmoid(going_on)
        values = self.slow_value(features)
        returns = lambda_return(self.imagined_rewards(dream), values, discounts, self.config.lam)
        before = torch.cat([alive.float()[None], discounts[:-1].detach()])
        return returns, before.cumprod(dim=0)

    def imagined_rewards(self, dream: Dream) -> Tensor:
        """Give the reward of every imagined step, [H, S]."""
        return self.world.reward(dream.features[1:]).float().squeeze(-1)

    # parts

    @property
    def decoder(self) -> nn.Module | None:
        """Give what draws images of states, if anything does."""
        return self.world.decoder

    @torch.no_grad()
    def draw(self, features: Tensor) -> np.ndarray:
        """Draw what states [..., F] look like, uint8 [..., 64, 64, 3] for each camera in turn.

        There must be a ``decoder``; cameras are beside each other.
        """
        images = self.world.drawn(self.decoder(features))
        images = ((images + 0.5) * 255).clamp(0, 255).round().byte()
        cameras = images.movedim(-3, -1).split(3, dim=-1)  # C x [..., 64, 64, 3]
        return torch.cat(cameras, dim=-2).cpu().numpy()

    def images(self, observations: Mapping[str, Tensor]) -> Tensor:
        """Give the cameras' images, uint8 [..., 64, 64, 3], as one [..., C, 64, 64] in +-1/2."""
        seen = [observations[camera].to(self.device) for camera in self.cameras]
        return torch.cat(seen, dim=-1).movedim(-1, -3).float().div_(255).sub_(0.5)

    def _starts(self, believed: Belief, terminated: Tensor) -> tuple[Belief, Tensor]:
        some = chosen(terminated.numel(), self.config.starts, self.noise)
        belief = Belief(*(part.flatten(0, 1)[some] for part in believed))
        return belief, ~terminated.flatten()[some]

    def _precisely(self) -> torch.autocast:
        is_short = self.config.precision == "bfloat16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=is_short)

    def _normal(self, shape: Sequence[int]) -> Tensor:
        return torch.randn(shape, generator=self.noise, device=self.device)

    def _descend(self, name: str, loss: Tensor) -> Tensor:
        """Take a step; only gradients of the weights called so are computed. Give their norm."""
        parameters = list(self.network[name].parameters())
        optimiser = self._optimisers[name]
        optimiser.zero_grad()
        loss.backward(inputs=parameters)
        if self.ranks is not None:
            self.ranks.mean_([p.grad for p in parameters if p.grad is not None])
        norm = nn.utils.clip_grad_norm_(parameters, GRADIENT_NORM)
        optimiser.step()
        return norm

    # persistence

    def state_dict(self) -> dict[str, Tensor]:
        """Give all weights."""
        return dict(self.network.state_dict())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what ``state_dict`` gave; DataError if it is of other networks."""
        load_weights(self.network, state)

    def training_state(self) -> dict[str, Tensor]:
        """Give what continuing needs beside ``state_dict``: the Adams, noise and memory."""
        state = {"noise": self.noise.get_state()}
        for name, optimiser in self._optimisers.items():
            state |= {f"{name}/{k}": v for k, v in optimiser_tensors(optimiser).items()}
        if self._memory is not None:
            (h, z), actions = self._memory
            state |= {"memory/h": h, "memory/z": z, "memory/actions": actions}
        return state

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what ``training_state`` gave; training then goes on as if never interrupted."""
        self.noise.set_state(state["noise"].cpu())
        for name, optimiser in self._optimisers.items():
            start = f"{name}/"
            own = {k.removeprefix(start): v for k, v in state.items() if k.startswith(start)}
            load_optimiser_tensors(optimiser, own)
        self._memory = None
        if "memory/h" in state:
            h, z, actions = (state[f"memory/{k}"].to(self.device) for k in ("h", "z", "actions"))
            self._memory = Belief(h, z), actions


def chosen(count: int, most: int, generator: torch.Generator) -> Tensor:
    """Draw so many of the numbers below ``count``, none twice, or all if there are fewer."""
    return torch.randperm(count, generator=generator, device=generator.device)[:most]


def as_floats(info: Losses) -> dict[str, float]:
    """Read off scalars, all at once."""
    return dict(zip(info, torch.stack([*info.values()]).detach().tolist(), strict=True))


def _cameras(interface: Spec) -> list[str]:
    """Name the images that can be seen; SpecError if there are none or they are of another size."""
    images = {
        name: spec.shape
        for name, spec in interface.observations.items()
        if spec.dtype == "uint8" and len(spec.shape) == 3
    }
    if not images:
        raise SpecError(
            f"{interface.environment}: no images to learn from; options: {{cameras: [NAME], "
            f"image_size: [{SIZE}, {SIZE}]}} would be right"
        )
    for name, (height, width, _) in images.items():
        if (height, width) != (SIZE, SIZE):
            raise SpecError(
                f"{interface.environment}: camera '{name}' has {height} x {width} pixels; the "
                f"encoder takes {SIZE} x {SIZE} (image_size: [{SIZE}, {SIZE}])"
            )
    return sorted(images)
