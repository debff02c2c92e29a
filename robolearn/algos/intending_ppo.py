"""RAT with an intention that PPO learns on rollouts, beside its adversary (see ``intending.py``).

The outer problem of ``rat.py`` asks for Q, which PPO does not learn. Its gradient by the action is
all that is needed, and is that of the advantage,

    min_phi  E[ ( A_phi(s, a) - delta )^2 ],    delta = r + gamma V(s') - V(s)

in units of the spread of delta.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robolearn.algos.intending import Adversary, Intending, IntendingConfig, of_part
from robolearn.algos.ppo import PPO
from robolearn.networks.nets import (
    load_optimiser_tensors,
    load_weights,
    optimiser_tensors,
    relu_mlp,
)
from robolearn.settings import Widths
from robolearn.types import Observation


class Advantage(nn.Module):
    """A_phi(s, a)."""

    def __init__(self, states: int, actions: int, widths: Widths, generator: torch.Generator):
        super().__init__()
        self.layers = relu_mlp(states + actions, 1, widths, generator)

    def forward(self, state: Tensor, action: Tensor) -> Tensor:
        """Give A [...] of s [..., O], of unit spread, and a [..., A]."""
        return self.layers(torch.cat([state, action], dim=-1)).squeeze(-1)


class RolloutIntending(Intending):
    """An intention that PPO learns; what its actions are worth is learnt beside it."""

    eats = "rollouts"
    cloning = 1_500
    intention: PPO

    def __init__(
        self, intention: PPO, adversary: Adversary, config: IntendingConfig, seed: int = 0
    ):
        """Draw the initial weights of A_phi."""
        super().__init__(intention, adversary, config, seed)
        self.advantage = Advantage(
            self.states.shape[1], self.interface.action.shape[0], config.value_widths,
            torch.Generator().manual_seed(self.weights),
        )  # fmt: skip
        self.optimiser = torch.optim.Adam(self.advantage.parameters(), lr=config.value_rate)

    def sample(self, observation: Observation) -> np.ndarray:
        """Draw the intention's actions float32 [N, A]."""
        return self.intention.sample(observation)

    def q(self, state: Tensor, action: Tensor) -> Tensor:
        """Give A_phi [B] of s [B, O] and a [B, A]."""
        return self.advantage(self.intention.network.normaliser(state), action)

    def clone(self, states: Tensor) -> float:
        """Do the same, and take the scale of the intention's inputs from states [M, O], too."""
        self.intention.network.normaliser.update(states)
        return super().clone(states)

    def _decide(self) -> list[nn.Parameter]:
        network = self.intention.network
        return [*network.trunk.parameters(), *network.mean.parameters()]

    def update(self, rollout: Mapping[str, Any]) -> dict[str, float]:
        """Improve the intention on a rollout, then what is known of its actions, and the adversary.

        A rollout is what ``PPO`` learns from.
        """
        found = self._learn_advantage(rollout) if self.config.weighted else {}
        found |= self.intention.update(rollout)
        return found | self._attack(rollout["observations"]["state"].flatten(0, 1))

    def _learn_advantage(self, rollout: Mapping[str, Any]) -> dict[str, float]:
        """Learn A_phi on a rollout, all of which is shown once."""
        state, action = rollout["observations"]["state"], rollout["actions"].clamp(-1, 1)
        network, config = self.intention.network, self.intention.config
        with torch.no_grad():
            following = network.values(rollout["next_observations"]["state"]).squeeze(-1)
            following = config.gamma * ~rollout["terminated"] * following
            delta = self.intention.rewards(rollout) + following - network.values(state).squeeze(-1)
            delta = (delta / delta.std().clamp(min=1e-6)).flatten()
            state = network.normaliser(state).flatten(0, 1)
        action, losses = action.flatten(0, 1), []
        for rows in torch.randperm(len(delta), generator=self.noise).split(config.minibatch):
            loss = (self.advantage(state[rows], action[rows]) - delta[rows]).square().mean()
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
            losses.append(loss.detach())
        return {"advantage_loss": torch.stack(losses).mean().item()}

    # persistence

    def state_dict(self) -> dict[str, Tensor]:
        """Give also what the advantage has learnt."""
        value = self.advantage.state_dict()
        return super().state_dict() | {f"value/{name}": t for name, t in value.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what ``state_dict`` gave; DataError if it is of other networks."""
        super().load_state_dict(state)
        load_weights(self.advantage, of_part(state, "value"))

    def training_state(self) -> dict[str, Tensor]:
        """Give also the memory of the advantage's Adam."""
        memory = optimiser_tensors(self.optimiser)
        return super().training_state() | {f"value/{k}": v for k, v in memory.items()}

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what ``training_state`` gave."""
        super().load_training_state(state)
        load_optimiser_tensors(self.optimiser, of_part(state, "value"))
