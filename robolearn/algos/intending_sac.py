"""RAT with an intention that SAC learns on a replay, beside its adversary (see ``intending.py``).

Its critics are the Q of the outer problem of ``rat.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from robolearn.algos.intending import Adversary, Intending, IntendingConfig
from robolearn.algos.sac import SAC
from robolearn.networks.nets import Normaliser
from robolearn.types import Spec

FURTHEST = 10.0  # spreads, of what the first states have: they are few, and may hardly differ


class ScaledSAC(SAC):
    """SAC on states in spreads of those that it was shown first, cut off at ten.

    They are metres, of which a hand moves a few hundredths, beside directions and openings.
    """

    def __init__(self, interface: Spec, *arguments: Any, **settings: Any):
        """Draw the initial weights, see ``SAC``."""
        super().__init__(interface, *arguments, **settings)
        size = interface.observations["state"].shape[0]
        self.network.add_module("normaliser", Normaliser(size).to(self.device))

    def see(self, state: Tensor) -> Tensor:
        """Give what the networks are told of s [..., O]."""
        return self.network.normaliser(state).clamp(-FURTHEST, FURTHEST)


class ReplayIntending(Intending):
    """An intention that SAC learns, whose critics say what its actions are worth."""

    eats = "replay"
    cloning = 0  # it begins with nothing, as in the paper
    intention: ScaledSAC

    def __init__(
        self, intention: ScaledSAC, adversary: Adversary, config: IntendingConfig, seed: int = 0
    ):
        """Say who learns what."""
        super().__init__(intention, adversary, config, seed)
        self.updates = 0
        self.reached: list[Tensor] = []  # since the adversary has learnt last

    def q(self, state: Tensor, action: Tensor) -> Tensor:
        """Give the least of the slow critics' values [B] of s [B, O] and a [B, A]."""
        return self.intention.q(state, action)

    def clone(self, states: Tensor) -> float:
        """Do the same, and take the scale of the intention's inputs from states [M, O], too."""
        self.intention.network.normaliser.fit(states)
        return super().clone(states)

    def _decide(self) -> list[nn.Parameter]:
        return list(self.intention.network.policy.parameters())

    def reward(self, batch: Mapping[str, Any]) -> Tensor:
        """Give what transitions [B] are remembered with; their states are where it got to."""
        self.reached.append(batch["observations"]["state"])
        return self.intention.reward(batch)

    def begin_critics(self) -> None:
        """Forget what actions are worth, as what they are rewarded by is another from now on."""
        self.intention.begin_critics()

    def update(self, batch: Mapping[str, Any]) -> dict[str, float]:
        """Improve the intention on a batch of a replay and, if it is due, the adversary."""
        found = self.intention.update(batch)
        self.updates += 1
        if self.updates % self.config.every:
            return found
        reached, self.reached = torch.cat(self.reached), []
        return found | self._attack(reached)

    # persistence

    def training_state(self) -> dict[str, Tensor]:
        """Give also when the adversary learns next, and where the intention got to until now."""
        reached = torch.cat([self.states[:0], *self.reached])
        return super().training_state() | {
            "updates": torch.tensor(self.updates), "reached": reached
        }  # fmt: skip

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what ``training_state`` gave."""
        super().load_training_state(state)
        self.updates, self.reached = int(state["updates"]), [state["reached"].clone()]
