"""RAT's three learners at once, on the rollouts of one of them: an intention by PPO, an adversary.

Bai, Liu, Du, Wen, Yang (AAAI 2025), where the intention learns by SAC. Here it is ``ppo.py`` on the
reward that preferences teach, and begins as a clone of the victim: what is wanted is looked for
around what the victim does, since an attack only gets there. The outer problem of ``rat.py`` asks
for Q, which PPO does not learn; it needs its gradient by the action alone, that of the advantage,

    min_phi  E[ ( A_phi(s, a) - delta )^2 ],    delta = r + gamma V(s') - V(s)

in units of the spread of delta. The adversary learns towards what the intention has become, on the
latest states that either of them has reached; entries of the action that cannot be moved there are
found anew with every rollout, and left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

import numpy as np
import torch
from annotated_types import Gt, Le
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from robolearn.algos.ppo import PPO
from robolearn.networks.nets import (
    load_optimiser_tensors,
    load_weights,
    optimiser_tensors,
    relu_mlp,
)
from robolearn.settings import Settings, Widths
from robolearn.types import Observation

CLONED = 256  # states in a step of cloning
SOME = 200  # states by which it is found what can be moved


@dataclass(frozen=True)
class IntendingConfig(Settings):
    """How an intention and the adversary are learnt together."""

    cloning: NonNegativeInt = 1_500
    """Steps of Adam in which the intention learns to do as the victim does, before all else; 0: it
    begins with nothing."""
    combined: bool = True
    """Whether the attacked victim begins the episodes that the intention learns from."""
    latest: Annotated[float, Gt(0), Le(1)] = 1.0
    """Share of an episode by which it has handed over, at the latest: H of h ~ U(0, H)."""
    weighted: bool = True
    """Whether the adversary weighs states, by the outer problem."""
    updates: PositiveInt = 20
    """Gradient steps of the adversary for each rollout."""
    batch: PositiveInt = 96
    """States in a step."""
    kept: PositiveInt = 20_000
    """States that the adversary learns from, the latest."""
    std: PositiveFloat = 0.1
    """Spread of the intention's actions, where the adversary compares them with the victim's."""
    value_widths: Widths = (128, 128)
    """Hidden units of each layer, of the advantage."""
    value_rate: PositiveFloat = 1e-3
    """Step size of its Adam."""


class Adversary(Protocol):
    """A ``RAT`` towards the intention."""

    victim: Any
    q: Callable[[Tensor, Tensor], Tensor] | None

    def fit_normaliser(self, observations: Mapping[str, Tensor]) -> None:
        """Take the scale of the inputs from "state" [M, O]."""

    def find_movable(self, observations: Mapping[str, Tensor]) -> np.ndarray:
        """Leave out the entries of the action that cannot be moved in "state" [B, O]."""

    def update(self, batch: Mapping[str, Any]) -> dict[str, float]:
        """Improve by one step on true states."""

    def state_dict(self) -> dict[str, Tensor]:
        """Give what was learnt."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take it over."""

    def training_state(self) -> dict[str, Tensor]:
        """Give what continuing needs beside it."""

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        """Take that over."""


class Advantage(nn.Module):
    """A_phi(s, a)."""

    def __init__(self, states: int, actions: int, widths: Widths, generator: torch.Generator):
        super().__init__()
        self.layers = relu_mlp(states + actions, 1, widths, generator)

    def forward(self, state: Tensor, action: Tensor) -> Tensor:
        """Give A [...] of s [..., O], of unit spread, and a [..., A]."""
        return self.layers(torch.cat([state, action], dim=-1)).squeeze(-1)


class Intending:
    """An intention that learns, and an adversary towards it: a Policy, and a Learner on rollouts.

    It acts as the intention does. ``begun()`` gives the states [M, O] that the attacked victim has
    reached of late, which the adversary learns from too.
    """

    name = "intending"
    eats = "rollouts"
    memoryless = True

    def __init__(
        self, intention: PPO, adversary: Adversary, config: IntendingConfig, seed: int = 0
    ):
        """Draw the initial weights of A_phi, by which the adversary weighs if it is to."""
        self.intention, self.adversary, self.config = intention, adversary, config
        self.interface, self.device = intention.interface, intention.device
        weights, numbers = np.random.SeedSequence([seed, 6]).generate_state(2).tolist()
        states = self.interface.observations["state"].shape[0]
        generator = torch.Generator().manual_seed(weights)
        self.advantage = Advantage(
            states, self.interface.action.shape[0], config.value_widths, generator
        )
        self.optimiser = torch.optim.Adam(self.advantage.parameters(), lr=config.value_rate)
        self.noise = torch.Generator().manual_seed(numbers)
        adversary.q = self.q if config.weighted else None
        self.states = torch.zeros(0, states)
        self.begun: Callable[[], np.ndarray] = lambda: np.zeros((0, states), np.float32)

    # acting

    def reset(self, n: int) -> None:
        """Begin n episodes."""
        self.intention.reset(n)

    def act(self, observation: Observation, explore: bool = False) -> np.ndarray:
        """Do what the intention does, float32 [N, A]."""
        return self.intention.act(observation, explore)

    def sample(self, observation: Observation) -> np.ndarray:
        """Draw the intention's actions float32 [N, A]."""
        return self.intention.sample(observation)

    def q(self, state: Tensor, action: Tensor) -> Tensor:
        """Give A_phi [B] of s [B, O] and a [B, A], which has Q's gradient by a."""
        return self.advantage(self.intention.network.normaliser(state), action)

    # learning

    def clone(self, states: Tensor) -> float:
        """Have the intention do in states [M, O] as the victim does; give the last squared error.

        The adversary takes the scale of its inputs from them, too.
        """
        network = self.intention.network
        network.normaliser.update(states)
        self.adversary.fit_normaliser({"state": states})
        with torch.no_grad():
            actions = self.adversary.victim.distribution(states).mode.clamp(-1, 1)
        parameters = [*network.trunk.parameters(), *network.mean.parameters()]
        optimiser, error = torch.optim.Adam(parameters, lr=1e-3), torch.zeros(())
        for _ in range(self.config.cloning):
            rows = torch.randint(len(states), (CLONED,), generator=self.noise)
            error = (network(states[rows])[0] - actions[rows]).square().mean()
            optimiser.zero_grad()
            error.backward(inputs=parameters)
            optimiser.step()
        return error.item()

    def update(self, rollout: Mapping[str, Any]) -> dict[str, float]:
        """Improve the intention on a rollout, then what is known of its actions, and the adversary.

        A rollout is what ``PPO`` learns from.
        """
        found = self._learn_advantage(rollout) if self.config.weighted else {}
        found |= self.intention.update(rollout)
        states = rollout["observations"]["state"].flatten(0, 1), torch.from_numpy(self.begun())
        self.states = torch.cat([self.states, *states])[-self.config.kept :]
        rows = torch.randint(len(self.states), (SOME,), generator=self.noise)
        self.adversary.find_movable({"state": self.states[rows]})
        for _ in range(self.config.updates):
            rows = torch.randint(len(self.states), (self.config.batch,), generator=self.noise)
            seen = self.adversary.update({"observations": {"state": self.states[rows]}})
        return found | {f"adversary/{name}": value for name, value in seen.items()}

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
        """Give what the intention, the adversary and the advantage have learnt, as tensors."""
        parts = {"intention": self.intention, "adversary": self.adversary, "value": self.advantage}
        return {f"{p}/{name}": t for p, o in parts.items() for name, t in o.state_dict().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what ``state_dict`` gave; DataError if it is of other networks."""
        self.intention.load_state_dict(_of(state, "intention"))
        self.adversary.load_state_dict(_of(state, "adversary"))
        load_weights(self.advantage, _of(state, "value"))

    def training_state(self) -> dict[str, Tensor]:
        """Give what continuing needs beside ``state_dict``."""
        state = {"noise": self.noise.get_state(), "states": self.states.clone()}
        state |= {f"intention/{k}": v for k, v in self.intention.training_state().items()}
        state |= {f"adversary/{k}": v for k, v in self.adversary.training_state().items()}
        return state | {f"value/{k}": v for k, v in optimiser_tensors(self.optimiser).items()}

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what ``training_state`` gave."""
        self.noise.set_state(state["noise"].cpu())
        self.states = state["states"].clone()
        self.intention.load_training_state(_of(state, "intention"))
        self.adversary.load_training_state(_of(state, "adversary"))
        load_optimiser_tensors(self.optimiser, _of(state, "value"))


def _of(state: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    start = f"{part}/"
    return {k.removeprefix(start): t for k, t in state.items() if k.startswith(start)}
