"""Proximal policy optimisation: Schulman, Wolski, Dhariwal, Radford, Klimov (2017).

N environments are run for T steps; then the surrogate objective of the paper's Eq. (9)

    L = E_t [ L^CLIP_t - c1 L^VF_t + c2 S[pi](s_t) ],    r_t = pi(a_t | s_t) / pi_old(a_t | s_t)
    L^CLIP_t = min( r_t A_t, clip(r_t, 1 - epsilon, 1 + epsilon) A_t )              Eq. (7)
    L^VF_t   = ( V(s_t) - V^target_t )^2

is maximised by Adam, on minibatches, for some epochs; A_t is the generalised advantage estimate,
Eq. (11). "Proximal Policy Optimization Algorithms", arXiv:1707.06347. What the paper leaves open is
done as follows. Policy and values share a trunk, if nothing else is said; weights begin orthogonal;
observations are normalised by all that was seen; advantages are standardised over the rollout;
values are learnt in units of their returns (``ValueHead``); the step size may follow the divergence
from the old policy, as in Rudin et al., "Learning to Walk in Minutes Using Massively Parallel Deep
Reinforcement Learning" (CoRL 2021). Actions beyond [-1, 1] are clipped by whoever sends them, not
in pi.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from robolearn.errors import SpecError, UserError
from robolearn.networks.functional import (
    Gaussian,
    gae,
    gaussian_entropy,
    gaussian_kl,
    gaussian_log_probability,
    standardise,
)
from robolearn.networks.nets import (
    RunningNormaliser,
    ValueHead,
    elu_mlp,
    linear,
    load_optimiser_tensors,
    load_weights,
    optimiser_tensors,
)
from robolearn.rewards.base import Streams
from robolearn.settings import NumberOrAuto, Settings, Share, Widths
from robolearn.types import Observation, RewardStream, Spec

Info = dict[str, Tensor]
Rows = dict[str, Tensor]
FURTHEST_OBSERVATION = 10.0  # standard deviations
KL_OF_AN_ENTRY = 0.01  # nats
LEARNING_RATES = (1e-5, 1e-2)  # between which the step size may follow the divergence


@dataclass(frozen=True)
class PPOConfig(Settings):
    """Network and objective of ``PPO``. Raises UserError for a value out of range."""

    widths: Widths = (128, 128)
    """Hidden units of each layer."""
    value_widths: Widths | None = None
    """The same of a network of the values' own; None: they share the policy's layers."""
    initial_std: PositiveFloat = 1.0
    """Spread of the first actions, of which [-1, 1] are possible."""
    final_std: PositiveFloat | None = None
    """The most that it may be at the end of the training, if it shall get smaller on the way: what
    noise comes upon, the policy's mean does not do by itself."""
    wide: Share = 0.0
    """Share of the training for which it may be as large as ever, before it gets smaller."""
    gamma: Share = 0.99
    """Discount of a reward one step later."""
    lam: Share = 0.95
    """Lambda of the advantage estimate: 0 trusts the value function, 1 the rewards."""
    clip: PositiveFloat = 0.2
    """How far the probability ratio may pay, epsilon."""
    epochs: PositiveInt = 10
    """Passes over a rollout."""
    minibatch: PositiveInt = 256
    """Steps in a minibatch."""
    learning_rate: PositiveFloat = 3e-4
    """Step size of Adam; the first one, if it follows the divergence."""
    target_kl: NumberOrAuto = "auto"
    """Divergence between two policies, nats, that the step size aims at; "auto": 0.01 for each
    entry of an action, since it is a sum over them; None keeps the step size fixed."""
    final_kl: PositiveFloat | None = None
    """The same at the end of the training, if it shall change on the way, geometrically."""
    stop_kl: PositiveFloat | None = None
    """Multiple of the divergence aimed at, beyond which the epochs of an update end early; None:
    never."""
    value_weight: NonNegativeFloat = 0.5
    """Weight of the value loss, c1."""
    entropy_weight: NonNegativeFloat = 0.0
    """Weight of the entropy bonus, c2."""
    gradient_clip: PositiveFloat = 0.5
    """Largest norm of a gradient."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("final_kl", "stop_kl"):
            if getattr(self, name) is not None and self.target_kl is None:
                raise UserError(f"{name}: needs a target_kl")

    def most_std(self, progress: float) -> float | None:
        """Give how large the spread may be when this share of the training is over; None: any."""
        if self.final_std is None or progress <= self.wide:
            return None
        over = (progress - self.wide) / (1 - self.wide)
        return self.initial_std ** (1 - over) * self.final_std**over

    def aimed_kl(self, progress: float, entries: int) -> float | None:
        """Give the divergence to aim at when this share of the training is over.

        Actions have so many ``entries``.
        """
        first = KL_OF_AN_ENTRY * entries if self.target_kl == "auto" else self.target_kl
        if first is None or self.final_kl is None:
            return first
        return first ** (1 - progress) * self.final_kl**progress


class ActorCritic(nn.Module):
    """A Gaussian policy and K value estimates, on one trunk or on one each (``value_widths``)."""

    def __init__(
        self, inputs: int, actions: int, critics: int, config: PPOConfig, generator: torch.Generator
    ):
        super().__init__()
        self.normaliser = RunningNormaliser(inputs)
        self.trunk = elu_mlp(inputs, config.widths, generator)
        self.mean = linear(config.widths[-1], actions, 0.01, generator)
        self.log_std = nn.Parameter(torch.full((actions,), math.log(config.initial_std)))
        apart = config.value_widths
        self.value_trunk = elu_mlp(inputs, apart, generator) if apart else None
        self.value = ValueHead((apart or config.widths)[-1], critics, generator)

    def features(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """Give what the policy and the values see, [..., F] each, of s [..., O]."""
        normal = self.normaliser(state).clamp(-FURTHEST_OBSERVATION, FURTHEST_OBSERVATION)
        features = self.trunk(normal)
        return features, features if self.value_trunk is None else self.value_trunk(normal)

    def forward(self, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Give mean and log std [..., A] of pi(a | s), and normalised values [..., K]."""
        features, value_features = self.features(state)
        mean = self.mean(features)
        return mean, self.log_std.expand_as(mean), self.value(value_features)

    def values(self, state: Tensor) -> Tensor:
        """Give V(s) [..., K] in units of the rewards."""
        return self.value.values(self.features(state)[1])


def clipped_surrogate(ratio: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """Give L^CLIP, the mean of min(r A, clip(r, 1 - epsilon, 1 + epsilon) A)."""
    clipped = ratio.clamp(1 - clip, 1 + clip)
    return torch.minimum(ratio * advantage, clipped * advantage).mean()  # Eq. (7)


def learning_rate_for(kl: float, target: float, learning_rate: float) -> float:
    """Give a smaller step size where the policy moved too far, a larger one where not far enough.

    The factors are those of Rudin et al. (2021).
    """
    if kl > 2 * target:
        learning_rate /= 1.5
    elif kl < target / 2:
        learning_rate *= 1.5
    return min(max(learning_rate, LEARNING_RATES[0]), LEARNING_RATES[1])


class PPO:
    """A Gaussian policy improved on its own rollouts: a Policy, and a Learner that eats rollouts.

    A rollout is a mapping of tensors: "observations" and "next_observations", themselves mappings
    with "state" [T, N, O]; "actions" [T, N, A], as ``sample`` gave them; "rewards" [T, N];
    "terminated" and "ended" bool [T, N]. A next observation is the one that its action led to, also
    where the episode ended there. "progress", if it is there, is the share of the training that is
    over.
    """

    name = "ppo"
    eats = "rollouts"
    memoryless = True

    def __init__(
        self,
        interface: Spec,
        config: PPOConfig,
        seed: int = 0,
        device: str = "cpu",
        critics: int = 1,
        streams: Mapping[str, RewardStream] | None = None,
    ):
        """Draw the initial weights; SpecError if the interface has more than a "state".

        ``streams``, if there are any, take the place of the environment's own reward.
        """
        inputs, actions = _sizes(interface)
        self.streams = Streams(streams or {})
        self.interface, self.config, self.device = interface, config, torch.device(device)
        weight_seed, noise_seed = (int(s) for s in np.random.SeedSequence(seed).generate_state(2))
        self.noise = torch.Generator(self.device).manual_seed(noise_seed)
        weights = torch.Generator().manual_seed(weight_seed)
        self.network = ActorCritic(inputs, actions, critics, config, weights).to(self.device)
        self.optimiser = torch.optim.Adam(
            self.network.parameters(), lr=config.learning_rate, eps=1e-5, fused=True
        )

    # acting

    def reset(self, n: int) -> None:
        """Begin n episodes; there is no memory to forget."""

    @torch.inference_mode()
    def act(self, observation: Observation, explore: bool = False) -> np.ndarray:
        """Give the policy's mean, or a sample when exploring, float32 [N, A] in [-1, 1]."""
        if explore:
            return self.sample(observation).clip(-1.0, 1.0)
        return self._policy(observation)[0].clamp(-1.0, 1.0).cpu().numpy()

    @torch.inference_mode()
    def sample(self, observation: Observation) -> np.ndarray:
        """Draw actions float32 [N, A] of pi(a | s), which may lie beyond [-1, 1]."""
        mean, log_std = self._policy(observation)
        noise = torch.randn(mean.shape, generator=self.noise, device=self.device)
        return (mean + log_std.exp() * noise).cpu().numpy()

    def distribution(self, state: Tensor) -> Gaussian:
        """Give pi(. | s) of s [..., O]; gradients go through it."""
        mean, log_std, _ = self.network(state)
        return Gaussian(mean, log_std, squashed=False)

    def _policy(self, observation: Observation) -> tuple[Tensor, Tensor]:
        state = torch.as_tensor(observation["state"], dtype=torch.float32, device=self.device)
        pi = self.distribution(state)
        return pi.mean, pi.log_std

    # learning

    def update(self, rollout: Mapping[str, Any]) -> dict[str, float]:
        """Improve policy and values on one rollout; return the means of what was seen on the way.

        Streams learn first, and reward the rollout. The observations' scale moves last, so that the
        policy that acted is the one that is improved.
        """
        learnt = self.streams.learn(rollout)
        rows, info = self.prepare({**rollout, "rewards": self.rewards(rollout)})
        aim = self.config.aimed_kl(rollout.get("progress", 0.0), rollout["actions"].shape[-1])
        stop = self.config.stop_kl
        infos = []
        for _ in range(self.config.epochs):
            infos += [self._step(minibatch) for minibatch in self._minibatches(rows)]
            if stop is not None and self.divergence(rows) > stop * aim:
                break
        info |= {name: torch.stack([i[name] for i in infos]).mean() for name in infos[0]}
        info["kl"] = self.divergence(rows)
        scalars = {name: value.item() for name, value in info.items()}
        scalars["learning_rate"] = self._learning_rate
        if aim is not None:
            self._learning_rate = learning_rate_for(scalars["kl"], aim, self._learning_rate)
        self.network.normaliser.update(rollout["observations"]["state"])
        self._narrow(self.config.most_std(rollout.get("progress", 0.0)))
        return learnt | scalars

    @torch.no_grad()
    def _narrow(self, most: float | None) -> None:
        """Make the spread of actions no larger than that."""
        if most is not None:
            self.network.log_std.clamp_(max=math.log(most))

    def rewards(self, rollout: Mapping[str, Any]) -> Tensor:
        """Give what the streams reward a rollout with, in sum, [T, N]; without any, "rewards"."""
        return self.streams.reward(rollout)

    @torch.no_grad()
    def prepare(self, rollout: Mapping[str, Any]) -> tuple[Rows, Info]:
        """Give what the losses need, as rows [T * N, ...]: the old policy, A and V^target."""
        state, actions = rollout["observations"]["state"], rollout["actions"]
        mean, log_std, normalised = self.network(state)
        values = self.network.value.scale.inverse(normalised)  # [T, N, K], K = 1
        advantages = gae(
            rollout["rewards"][..., None], values,
            self.network.values(rollout["next_observations"]["state"]),
            rollout["terminated"], rollout["ended"], self.config.gamma, self.config.lam,
        )  # fmt: skip
        returns = advantages + values
        rows = {
            "state": state,
            "action": actions,
            "log_probability": gaussian_log_probability(actions, mean, log_std),
            "mean": mean,
            "log_std": log_std,
            "advantage": standardise(advantages, dim=(0, 1)).squeeze(-1),
            "target": self.network.value.follow(returns),
        }
        unexplained = advantages.var() / returns.var().clamp(min=1e-12)
        info = {"value": values.mean(), "explained_variance": 1 - unexplained}
        return {name: array.flatten(0, 1) for name, array in rows.items()}, info

    def _minibatches(self, rows: Rows) -> Iterator[Rows]:
        """Show all rows once, in a new order; an odd rest is left out."""
        size = len(rows["action"])
        count = min(self.config.minibatch, size)
        order = torch.randperm(size, generator=self.noise, device=self.device)
        for start in range(0, size - count + 1, count):
            index = order[start : start + count]
            yield {name: array[index] for name, array in rows.items()}

    def loss(self, rows: Rows) -> tuple[Tensor, Info]:
        """Give the negative of the objective, Eq. (9), on rows [B, ...]."""
        mean, log_std, value = self.network(rows["state"])
        log_ratio = gaussian_log_probability(rows["action"], mean, log_std)
        log_ratio = log_ratio - rows["log_probability"]
        surrogate = clipped_surrogate(log_ratio.exp(), rows["advantage"], self.config.clip)
        value_loss = (value - rows["target"]).square().mean()
        entropy = gaussian_entropy(log_std).mean()
        objective = (
            surrogate - self.config.value_weight * value_loss + self.config.entropy_weight * entropy
        )
        info = {
            "surrogate": surrogate,
            "value_loss": value_loss,
            "entropy": entropy,
            "clipped": (log_ratio.exp() - 1).abs().gt(self.config.clip).float().mean(),
            "std": log_std.exp().mean(),
        }
        return -objective, {name: scalar.detach() for name, scalar in info.items()}

    def _step(self, rows: Rows) -> Info:
        """Take one Adam step."""
        loss, info = self.loss(rows)
        self.optimiser.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.config.gradient_clip)
        self.optimiser.step()
        return info | {"gradient_norm": norm}

    @torch.no_grad()
    def divergence(self, rows: Rows) -> Tensor:
        """Give the mean KL(pi_old || pi) over the states of a rollout."""
        mean, log_std, _ = self.network(rows["state"])
        return gaussian_kl(rows["mean"], rows["log_std"], mean, log_std).mean()

    @property
    def _learning_rate(self) -> float:
        return self.optimiser.param_groups[0]["lr"]

    @_learning_rate.setter
    def _learning_rate(self, learning_rate: float) -> None:
        self.optimiser.param_groups[0]["lr"] = learning_rate

    # persistence

    def state_dict(self) -> dict[str, Tensor]:
        """Give weights and normalisers, and all that the streams remember, as tensors."""
        return {**self.network.state_dict(), **self.streams.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what ``state_dict`` gave; DataError if it is of other networks."""
        load_weights(self.network, self.streams.load_state_dict(state))

    def training_state(self) -> dict[str, Tensor]:
        """Give what continuing needs beside ``state_dict``: Adam, its step size, the noise."""
        rate = torch.tensor(self._learning_rate, dtype=torch.float64)
        adam = optimiser_tensors(self.optimiser)
        return {"noise": self.noise.get_state(), "learning_rate": rate, **adam}

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what ``training_state`` gave; training then goes on as if never interrupted."""
        self.noise.set_state(state["noise"].cpu())
        load_optimiser_tensors(self.optimiser, state)
        self._learning_rate = state["learning_rate"].item()


def _sizes(interface: Spec) -> tuple[int, int]:
    if set(interface.observations) != {"state"}:
        seen = ", ".join(sorted(interface.observations)) or "nothing"
        raise SpecError(f"PPO sees the 'state' only; this environment shows {seen}")
    return interface.observations["state"].shape[0], interface.action.shape[0]
