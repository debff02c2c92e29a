"""Soft actor-critic: Haarnoja, Zhou, Hartikainen, Tucker, Ha, Tan, Kumar, Zhu, Gupta, Abbeel,
Levine (2018), with the temperature adjusted automatically.

From transitions (s, a, r, s') of a replay memory, by one step of Adam each, in the order of the
paper's Algorithm 1:

    J_Q(theta_k) = E[ ( Q_k(s, a) - y )^2 / 2 ]                                         Eq. (5)
                   y = r + gamma (1 - terminated) ( min_k Qbar_k(s', a') - alpha log pi(a' | s') )
    J_pi(phi)    = E[ alpha log pi(a | s) - min_k Q_k(s, a) ],    a ~ pi(. | s)         Eq. (9)
    J(alpha)     = E[ -alpha log pi(a | s) - alpha H ]                                  Eq. (18)

where a' ~ pi(. | s'), Qbar_k follows Q_k slowly, and H is the entropy aimed at. "Soft Actor-Critic
Algorithms and Applications", arXiv:1812.05905. pi is a Gaussian through tanh. The paper has two
critics; here there may be K, computed as one. What it leaves open is done as follows: log std is
bounded smoothly, the policy's weights begin orthogonal, those of the critics as torch's do.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Gt, Le, MinLen
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from robolearn.errors import SpecError
from robolearn.networks.functional import Gaussian, polyak
from robolearn.networks.nets import (
    EnsembleDot,
    EnsembleLinear,
    load_optimiser_tensors,
    load_weights,
    optimiser_tensors,
    relu_mlp,
)
from robolearn.rewards.base import Streams, Terms
from robolearn.settings import Settings, Share, Widths
from robolearn.types import Observation, RewardStream, Spec

Info = dict[str, Tensor]
LOG_STD = (-5.0, 2.0)  # between which it is bounded


@dataclass(frozen=True)
class SACConfig(Settings):
    """Networks and objectives of ``SAC``. Raises UserError for a value out of range."""

    widths: Widths = (256, 256)
    """Hidden units of each layer, of the policy and of every critic."""
    critics: PositiveInt = 2
    """Members of the ensemble, K, whose least value counts."""
    gamma: Share = 0.99
    """Discount of a reward one step later."""
    tau: Annotated[float, Gt(0), Le(1)] = 0.005
    """Share of the way that the target critics go towards the critics in an update."""
    learning_rate: PositiveFloat = 3e-4
    """Step size of Adam, for all three objectives."""
    initial_alpha: PositiveFloat = 0.1
    """First temperature: the weight of a nat of entropy against a unit of reward."""
    entropy_per_entry: float = -1.0
    """Entropy to aim at for each entry of an action, nats; they add up to H."""
    terms: dict[str, Annotated[dict[str, float], MinLen(1)]] = field(default_factory=dict)
    """Streams to be rewarded by, as sums of the environment's reward terms: name -> term -> factor.
    What they give is summed; none: the environment's own reward."""


class Policy(nn.Module):
    """pi(a | s), a Gaussian through tanh."""

    def __init__(
        self, inputs: int, actions: int, widths: Sequence[int], generator: torch.Generator
    ):
        super().__init__()
        self.layers = relu_mlp(inputs, 2 * actions, widths, generator)

    def forward(self, state: Tensor) -> Gaussian:
        """Give the distribution of a [..., A] for s [..., O]."""
        mean, spread = self.layers(state).chunk(2, dim=-1)
        middle, half = sum(LOG_STD) / 2, (LOG_STD[1] - LOG_STD[0]) / 2
        return Gaussian(mean, middle + half * torch.tanh(spread), squashed=True)


class Critics(nn.Module):
    """K functions Q_k(s, a), (linear, ReLU)*, weighted sum, computed as one; they do not mix."""

    def __init__(self, inputs: int, widths: Sequence[int], generators: Sequence[torch.Generator]):
        super().__init__()
        self.members = len(generators)
        sizes = zip([inputs, *widths], widths, strict=False)
        self.hidden = nn.ModuleList(
            EnsembleLinear(self.members, *size, generators) for size in sizes
        )
        self.last = EnsembleDot(self.members, widths[-1], generators)

    def forward(self, state: Tensor, action: Tensor) -> Tensor:
        """Give Q [K, B] of s [B, O] and a [B, A]."""
        return self.last(self._units(state, action)[-1])

    def _units(self, state: Tensor, action: Tensor) -> list[Tensor]:
        """Give the units [K, B, J] of every hidden layer."""
        x = torch.cat([state, action], dim=-1)
        units = [x.expand(self.members, *x.shape)]
        for layer in self.hidden:
            units.append(torch.relu_(layer(units[-1])))
        return units[1:]

    @torch.no_grad()
    def least(self, state: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Give min_k Q_k(s, a) [B] and its gradient by a [B, A].

        By the chain rule, from the last layer to the first, through the least critic of each row
        only: half the work of going back through two.
        """
        units = self._units(state, action)
        q, which = self.last(units[-1]).min(dim=0)
        first, *others = self.hidden
        slope = torch.empty_like(action)
        for k in range(self.members):
            rows = torch.nonzero(which == k).squeeze(1)
            back = self.last.weight[k] * (units[-1][k, rows] > 0)  # [rows, J]
            for layer, below in zip(others[::-1], units[-2::-1], strict=True):
                back = (back @ layer.weight[k].T) * (below[k, rows] > 0)
            slope[rows] = back @ first.weight[k, state.shape[-1] :].T
        return q, slope


class Networks(nn.Module):
    """All that SAC learns: policy, critics, their slow copies, and log alpha."""

    def __init__(self, inputs: int, actions: int, config: SACConfig, seed: int):
        super().__init__()
        seeds = np.random.SeedSequence(seed).generate_state(1 + config.critics).tolist()
        first, *others = (torch.Generator().manual_seed(s) for s in seeds)
        self.policy = Policy(inputs, actions, config.widths, first)
        self.critics = Critics(inputs + actions, config.widths, others)
        self.targets = Critics(inputs + actions, config.widths, others).requires_grad_(False)
        self.targets.load_state_dict(self.critics.state_dict())
        self.log_alpha = nn.Parameter(torch.tensor(math.log(config.initial_alpha)))


class SAC:
    """A squashed Gaussian policy improved on a replay: a Policy, and a Learner that eats replays.

    A batch is a mapping of tensors: "observations" and "next_observations", themselves mappings
    with "state" [B, O]; "actions" [B, A]; "rewards" [B]; "terminated" bool [B]. A next observation
    is the one that its action led to, also where the episode ended there.
    """

    name = "sac"
    eats = "replay"
    memoryless = True

    def __init__(
        self,
        interface: Spec,
        config: SACConfig,
        seed: int = 0,
        device: str = "cpu",
        streams: Mapping[str, RewardStream] | None = None,
    ):
        """Draw the initial weights; SpecError if the interface has more than a "state".

        ``streams`` of one's own take the place of those that the configuration describes.
        """
        inputs, actions = _sizes(interface)
        self.interface, self.config, self.device = interface, config, torch.device(device)
        described = {name: Terms(name, terms) for name, terms in config.terms.items()}
        self.streams = Streams(described if streams is None else streams)
        weight_seed, noise_seed = (int(s) for s in np.random.SeedSequence(seed).generate_state(2))
        self.noise = torch.Generator(self.device).manual_seed(noise_seed)
        self._draw = functools.partial(Networks, inputs, actions, config, weight_seed)
        self.network = self._draw().to(self.device)
        self.entropy_aim = config.entropy_per_entry * actions  # H
        self._critics = list(self.network.critics.parameters())
        self._targets = list(self.network.targets.parameters())
        self._actor = [*self.network.policy.parameters(), self.network.log_alpha]
        self.critic_optimiser = self._adam(self._critics)
        self.actor_optimiser = self._adam(self._actor)

    # acting

    def reset(self, n: int) -> None:
        """Begin n episodes; there is no memory to forget."""

    @torch.inference_mode()
    def act(self, observation: Observation, explore: bool = False) -> np.ndarray:
        """Give the policy's mode, or a sample when exploring, float32 [N, A] in [-1, 1]."""
        state = torch.as_tensor(observation["state"], dtype=torch.float32, device=self.device)
        pi = self.distribution(state)
        return (pi.sample(self.noise)[0] if explore else pi.mode).cpu().numpy()

    def distribution(self, state: Tensor) -> Gaussian:
        """Give pi(. | s) of s [..., O]; gradients go through it."""
        return self.network.policy(self.see(state))

    def see(self, state: Tensor) -> Tensor:
        """Give what the networks are told of s [..., O]."""
        return state

    def q(self, state: Tensor, action: Tensor) -> Tensor:
        """Give min_k Qbar_k(s, a) [B] of s [B, O] and a [B, A]."""
        return self.network.targets(self.see(state), action).amin(dim=0)

    # learning

    @torch.no_grad()
    def reward(self, batch: Mapping[str, Any]) -> Tensor:
        """Give what the streams reward transitions with, in sum, [B]; without any, "rewards"."""
        return self.streams.reward(batch)

    def update(self, batch: Mapping[str, Any]) -> dict[str, float]:
        """Improve critics, policy and temperature by one step each; give what was seen on it."""
        critic_loss, info = self.critic_loss(batch)
        _descend(critic_loss, self.critic_optimiser, self._critics)
        actor_loss, log_pi, seen = self.actor_loss(batch)
        _descend(actor_loss + self.alpha_loss(log_pi), self.actor_optimiser, self._actor)
        polyak(self._targets, self._critics, self.config.tau)
        info |= seen
        return dict(zip(info, torch.stack(list(info.values())).tolist(), strict=True))

    def begin_critics(self) -> None:
        """Forget what actions are worth, as what they are rewarded by is another from now on."""
        fresh = self._draw()
        self.network.critics.load_state_dict(fresh.critics.state_dict())
        self.network.targets.load_state_dict(fresh.targets.state_dict())
        self.critic_optimiser = self._adam(self._critics)

    def critic_loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, Info]:
        """Give the sum of all J_Q(theta_k), Eq. (5)."""
        state = self.see(batch["observations"]["state"])
        q = self.network.critics(state, batch["actions"])  # [K, B]
        loss = 0.5 * (q - self.target(batch)).square().mean(dim=1).sum()
        return loss, {"critic_loss": loss.detach(), "q": q.detach().mean()}

    @torch.no_grad()
    def target(self, batch: Mapping[str, Any]) -> Tensor:
        """Give y [B]; what time ended is worth what would have come, what terminated is not."""
        state = batch["next_observations"]["state"]
        action, log_pi = self.distribution(state).sample(self.noise)
        value = self.q(state, action) - self.alpha * log_pi  # Eq. (3)
        return batch["rewards"] + self.config.gamma * ~batch["terminated"] * value

    def actor_loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor, Info]:
        """Give J_pi(phi), Eq. (9), but for a constant, and log pi(a | s) [B].

        min_k Q_k(s, a) is replaced by what has the same gradient, its slope along a times a.
        """
        state = batch["observations"]["state"]
        action, log_pi = self.distribution(state).sample(self.noise)
        q, slope = self.network.critics.least(self.see(state), action.detach())
        alpha = self.alpha.detach()
        loss = (alpha * log_pi - (slope * action).sum(dim=-1)).mean()
        entropy = -log_pi.detach().mean()
        info = {"actor_loss": -alpha * entropy - q.mean(), "entropy": entropy, "alpha": alpha}
        return loss, log_pi, info

    def alpha_loss(self, log_pi: Tensor) -> Tensor:
        """Give J(alpha), Eq. (18)."""
        return -self.alpha * (log_pi.detach() + self.entropy_aim).mean()

    @property
    def alpha(self) -> Tensor:
        """Give the temperature."""
        return self.network.log_alpha.exp()

    # persistence

    def state_dict(self) -> dict[str, Tensor]:
        """Give weights, and all that the streams remember, as tensors."""
        return {**self.network.state_dict(), **self.streams.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what ``state_dict`` gave; DataError if it is of other networks."""
        load_weights(self.network, self.streams.load_state_dict(state))

    def training_state(self) -> dict[str, Tensor]:
        """Give what continuing needs beside ``state_dict``: both Adams, and the noise."""
        state = {"noise": self.noise.get_state()}
        for name, optimiser in self._optimisers():
            state |= {f"{name}/{k}": v for k, v in optimiser_tensors(optimiser).items()}
        return state

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what ``training_state`` gave; training then goes on as if never interrupted."""
        self.noise.set_state(state["noise"].cpu())
        for name, optimiser in self._optimisers():
            start = f"{name}/"
            own = {k.removeprefix(start): v for k, v in state.items() if k.startswith(start)}
            load_optimiser_tensors(optimiser, own)

    def _adam(self, parameters: list[nn.Parameter]) -> torch.optim.Adam:
        return torch.optim.Adam(parameters, lr=self.config.learning_rate, fused=True)

    def _optimisers(self) -> list[tuple[str, torch.optim.Optimizer]]:
        return [("critics", self.critic_optimiser), ("actor", self.actor_optimiser)]


def _descend(
    loss: Tensor, optimiser: torch.optim.Optimizer, parameters: Sequence[nn.Parameter]
) -> None:
    """Take one step; gradients of nothing but the ``parameters`` are computed."""
    optimiser.zero_grad()
    loss.backward(inputs=parameters)
    optimiser.step()


def _sizes(interface: Spec) -> tuple[int, int]:
    if set(interface.observations) != {"state"}:
        seen = ", ".join(sorted(interface.observations)) or "nothing"
        raise SpecError(f"SAC sees the 'state' only; this environment shows {seen}")
    return interface.observations["state"].shape[0], interface.action.shape[0]
