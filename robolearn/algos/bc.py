"""Behaviour cloning with an ensemble of deterministic networks.

Each of K networks f_k is fitted to the demonstrated actions of one data set D,

    minimise over f_k:  E_(s, a) ~ D  mean_j (f_k(s)_j - a_j)^2

and the policy is their mean. The members differ in their seeds only: initial weights, dropout
masks, order of the batches; where they disagree, the data say little (see ``compatibility.py``).
Networks and optimiser follow Gandhi, Karamcheti, Liao, Sadigh, "Eliciting Compatible Demonstrations
for Multi-Human Imitation Learning" (CoRL 2022).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from robolearn.errors import SpecError
from robolearn.networks.nets import (
    EnsembleMLP,
    Normaliser,
    clip_gradients,
    load_optimiser_tensors,
    load_weights,
    optimiser_tensors,
)
from robolearn.settings import Settings, ShareBelowOne
from robolearn.types import Observation, Spec

Batch = Mapping[str, Any]
Info = dict[str, float]


@dataclass(frozen=True)
class BCConfig(Settings):
    """Network and optimiser of ``BehaviorCloning``. Raises UserError for a value out of range."""

    members: PositiveInt = 5
    """Networks in the ensemble, K."""
    widths: tuple[PositiveInt, ...] = (1024, 1024)
    """Hidden units of each layer."""
    dropout: ShareBelowOne = 0.5
    """Share of hidden units switched off in training (never when acting or scoring)."""
    learning_rate: PositiveFloat = 1e-3
    """Step size of Adam."""
    gradient_clip: PositiveFloat = 10.0
    """Largest norm of one member's gradient."""


class BehaviorCloning:
    """An ensemble cloned from demonstrations: a Policy, and a Learner that eats transitions.

    A batch is a mapping of tensors: "observations", itself a mapping with "state" [B, O] or, one
    batch for each member, [K, B, O]; "actions" [B, A] or [K, B, A]; optionally "weight" [B] or
    [K, B], of mean 1.
    """

    name = "bc"
    eats = "transitions"
    memoryless = True

    def __init__(self, interface: Spec, config: BCConfig, seed: int = 0, device: str = "cpu"):
        """Draw the initial weights; SpecError if the interface has more than a "state"."""
        inputs, outputs = self.sizes(interface)
        self.interface, self.config, self.device = interface, config, torch.device(device)
        seeds = np.random.SeedSequence(seed).generate_state(config.members + 1)
        *weight_seeds, noise_seed = (int(s) for s in seeds[::-1])
        self.noise = torch.Generator(self.device).manual_seed(noise_seed)
        generators = [torch.Generator().manual_seed(s) for s in weight_seeds]
        mlp = self.build(inputs, outputs, generators)
        self.network = nn.ModuleDict({"normaliser": Normaliser(inputs), "mlp": mlp}).to(self.device)
        self.optimiser = torch.optim.Adam(mlp.parameters(), lr=config.learning_rate, fused=True)
        self.best_loss = torch.full((config.members,), torch.inf, device=self.device)  # [K]
        self.best = {name: p.detach().clone() for name, p in mlp.named_parameters()}

    def sizes(self, interface: Spec) -> tuple[int, int]:
        """Give the entries of state and action; SpecError for anything but a "state"."""
        cameras = sorted(set(interface.observations) - {"state"})
        if cameras:
            raise SpecError(
                f"behaviour cloning sees the 'state' only, not {', '.join(cameras)}:"
                " make the environment or dataset without cameras"
            )
        if "state" not in interface.observations:
            raise SpecError("behaviour cloning needs a 'state' observation, and there is none")
        return interface.observations["state"].shape[0], interface.action.shape[0]

    def build(self, inputs: int, outputs: int, generators: Sequence[torch.Generator]) -> nn.Module:
        """Make K networks [K, B, I] -> [K, B, J], whose parameters all have a leading axis K."""
        config = self.config
        return EnsembleMLP(inputs, outputs, config.widths, config.dropout, generators, self.noise)

    # acting

    def reset(self, n: int) -> None:
        """Begin n episodes; there is no memory to forget."""

    def act(self, observation: Observation, explore: bool = False) -> np.ndarray:
        """Give the members' mean action, float32 [N, A]; it is the same when exploring."""
        return self.predict(observation["state"]).mean(axis=0)

    def predict(self, state: np.ndarray) -> np.ndarray:
        """Give every member's action f_k(s), float32 [K, N, A], for states [N, O]."""
        if self.network.training:  # to ask is cheap, to tell every module again is not
            self.network.eval()  # dropout off
        with torch.inference_mode():
            return (
                self(torch.as_tensor(state, dtype=torch.float32, device=self.device)).cpu().numpy()
            )

    def __call__(self, state: Tensor) -> Tensor:
        """Give f_k(s) [K, B, A] for s [B, O] or [K, B, O]."""
        return self.actions({"state": state})

    def actions(self, observations: Mapping[str, Tensor]) -> Tensor:
        """Give f_k(s) [K, B, A] for what a batch has of "observations"."""
        return self.network["mlp"](self.network["normaliser"](observations["state"]))

    # learning

    def fit_normaliser(self, observations: Mapping[str, Tensor]) -> None:
        """Take the scale of the inputs from "state" [B, O]; call it once, before training."""
        self.network["normaliser"].fit(observations["state"])

    def bc_loss(self, batch: Batch) -> tuple[Tensor, Info]:
        """Sum the members' mean squared errors, so that each gets the gradient of its own."""
        loss = self.squared_error(batch).mean(dim=1)  # [K]
        return loss.sum(), {"loss": loss.mean().item()}

    def squared_error(self, batch: Batch) -> Tensor:
        """Give weight * mean_j (f_k(s)_j - a_j)^2 as [K, B]."""
        error = (self.actions(batch["observations"]) - batch["actions"]).square().mean(dim=-1)
        return error * batch["weight"] if "weight" in batch else error

    def update(self, batch: Batch) -> Info:
        """Take one Adam step; return the loss and the gradient norm, means over the members."""
        self.network.train()
        loss, info = self.bc_loss(batch)
        self.optimiser.zero_grad()
        loss.backward()
        norms = clip_gradients(self.network["mlp"], self.config.gradient_clip)
        self.optimiser.step()
        return info | {"gradient_norm": norms.mean().item()}

    def validate(self, batch: Batch) -> Tensor:
        """Give every member's error [K] on [B, ...] data, dropout off."""
        self.network.eval()
        with torch.inference_mode():
            return self.squared_error(batch).mean(dim=1)

    def keep_best(self, losses: Tensor) -> None:
        """Remember the weights of each member whose validation loss [K] is its best so far."""
        better = losses < self.best_loss
        self.best_loss = torch.where(better, losses, self.best_loss)
        for name, p in self.network["mlp"].named_parameters():
            self.best[name][better] = p.detach()[better]

    def restore_best(self) -> None:
        """Put each member's best weights back; it is not meant to be trained further."""
        with torch.no_grad():
            for name, p in self.network["mlp"].named_parameters():
                p.copy_(self.best[name])

    # persistence

    def state_dict(self) -> dict[str, Tensor]:
        """Give weights and normaliser as tensors."""
        return self.network.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what ``state_dict`` gave; DataError if it is of another network."""
        load_weights(self.network, state)

    def training_state(self) -> dict[str, Tensor]:
        """Give what continuing needs beside ``state_dict``: Adam, dropout noise, best weights."""
        state = {"noise": self.noise.get_state(), "best_loss": self.best_loss}
        state |= {f"best/{name}": p for name, p in self.best.items()}
        return state | optimiser_tensors(self.optimiser)

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what ``training_state`` gave; updates then go on as if never interrupted."""
        self.noise.set_state(state["noise"].cpu())
        self.best_loss = state["best_loss"].to(self.device).clone()
        for name, value in self.best.items():
            value.copy_(state[f"best/{name}"])
        load_optimiser_tensors(self.optimiser, state)
