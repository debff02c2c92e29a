"""Exploration before anybody is asked: the unsupervised phase of PEBBLE (Lee et al., ICML 2021).

Until there is a label the reward is an estimate of how much a state adds to the entropy of those
that were seen, by its distance to the k-th nearest of M of them:

    r(s, a, s') = log( 1 + || (s' - s_k) / spread || )

The paper takes the logarithm of the distance itself, to all that was seen; 1 + keeps states that
were seen often from weighing without bound, and entries count in units of their spread. Entries
that hardly vary count in units of LEAST, and none by more than FURTHEST: what never moves in what
was seen would outweigh all else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robolearn.errors import DataError
from robolearn.rewards.preference import PreferenceReward
from robolearn.types import Observation

NEIGHBOURS = 5  # k
SEEN = 1_000  # states that a new one is held against, M
LEAST = 1e-4  # spread, in the entry's own unit (of metres, .1 mm); less is the noise of rounding
FURTHEST = 10.0  # spreads, from the mean


class Exploring:
    """Novelty until the first label, and then what is preferred: a RewardStream."""

    name = "preference"

    def __init__(self, preference: PreferenceReward):
        """Wrap the reward that is to be learnt; nothing was seen yet, and so all is worth alike."""
        self.preference = preference
        size = preference.interface.observations["state"].shape[0]
        self.seen = torch.zeros(SEEN, size, device=preference.device)

    def look(self, states: np.ndarray) -> None:
        """Hold new states against these from now on, [SEEN, O]."""
        self.seen = torch.as_tensor(states, dtype=torch.float32, device=self.preference.device)

    def _scaled(self, state: Tensor) -> Tensor:
        """Give s [B, O] in spreads from the mean: rounding loses distances of large numbers."""
        spread = self.seen.std(dim=0).clamp(min=LEAST)
        return ((state - self.seen.mean(dim=0)) / spread).clamp(-FURTHEST, FURTHEST)

    @torch.no_grad()
    def novelty(self, state: Tensor) -> Tensor:
        """Give r [...] of states s' [..., O] that were reached."""
        here = self._scaled(state.flatten(0, -2))
        distances = torch.cdist(here, self._scaled(self.seen))  # [B, M]
        return torch.log1p(distances.kthvalue(NEIGHBOURS, dim=1)[0]).reshape(state.shape[:-1])

    def reward(self, batch: Mapping[str, Any]) -> Tensor:
        """Give the reward [...] of transitions."""
        if self.preference.labels.given:
            return self.preference.reward(batch)
        return self.novelty(batch["next_observations"]["state"])

    def relabels(
        self, observations: Observation, actions: np.ndarray, next_observations: Observation
    ) -> np.ndarray:
        """Give the rewards [B] of arrays, as ``Replay.relabel`` asks for them."""
        if self.preference.labels.given:
            return self.preference.relabels(observations, actions, next_observations)
        state = torch.as_tensor(next_observations["state"], device=self.seen.device)
        return self.novelty(state).cpu().numpy()

    def update(self, batch: Mapping[str, Any]) -> dict[str, float]:
        """Learn nothing: transitions say nothing of what is preferred."""
        return {}

    def state_dict(self) -> dict[str, Tensor]:
        """Give what was seen, and all of the reward."""
        return {**self.preference.state_dict(), "seen": self.seen}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what ``state_dict`` gave; DataError if it is of another reward."""
        if "seen" not in state or state["seen"].shape != self.seen.shape:
            raise DataError("this reward did not explore, or in another environment")
        self.preference.load_state_dict({k: t for k, t in state.items() if k != "seen"})
        self.look(state["seen"].clone())
