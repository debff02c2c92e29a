"""A learner of one's own: gains of a spring, found by random search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pydantic import PositiveFloat

from robolearn.settings import Settings

if TYPE_CHECKING:
    from robolearn.types import Spec


@dataclass(frozen=True)
class SpringConfig(Settings):
    """Where the search looks."""

    spread: PositiveFloat = 1.0
    """Standard deviation of a change."""


class Spring:
    """Keeps the gains that earned more."""

    name = "spring"
    eats = "transitions"
    memoryless = True

    def __init__(self, interface: Spec, config: SpringConfig, seed: int = 0):
        self.interface, self.config = interface, config
        self.rng = np.random.default_rng(seed)
        self.best, self.gains = -np.inf, np.zeros(interface.observations["state"].shape)
        self.propose()

    def propose(self) -> None:
        self.tried = self.gains + self.config.spread * self.rng.normal(size=self.gains.shape)

    def reset(self, n: int) -> None:
        pass

    def act(self, observation: dict[str, np.ndarray], explore: bool = False) -> np.ndarray:
        gains = self.tried if explore else self.gains
        return (observation["state"] @ gains)[:, None].astype(np.float32)

    def update(self, batch: Mapping[str, Any]) -> dict[str, float]:
        reward = float(batch["reward"])
        if reward > self.best:
            self.best, self.gains = reward, self.tried
        self.propose()
        return {"reward": reward, "best": self.best}

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {"gains": torch.tensor(self.gains)}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        self.gains = state["gains"].numpy()

    def training_state(self) -> dict[str, torch.Tensor]:
        return {"best": torch.tensor(self.best)}

    def load_training_state(self, state: Mapping[str, torch.Tensor]) -> None:
        self.best = float(state["best"])


class Clone(Spring):
    """Has the name of one of the project's learners."""

    name = "bc"
