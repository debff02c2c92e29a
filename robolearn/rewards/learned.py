"""What learned rewards for skill discovery share: their training, scales and memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robolearn.errors import DataError, require_in_range
from robolearn.nets import elu_mlp, linear, load_optimiser_tensors, optimiser_tensors
from robolearn.rewards.pose import PoseScale, entries_of, poses
from robolearn.types import Spec

Info = dict[str, Tensor]


@dataclass(frozen=True)
class SkillConfig:
    """What all learned rewards need. Raises UserError for a value out of range."""

    entries: tuple[str, ...] = ("cube_pos",)
    """Names of the entries of "state" that skills are about, P numbers in all."""
    skills: int = 3
    """Entries of z, Z: dimensions of a direction, or number of skills where z is one-hot."""
    widths: tuple[int, ...] = (64, 64)
    """Hidden units of each layer."""
    smallest_spread: float | None = 0.005
    """Poses are measured in units of their spread in all data so far, but of this at least, so that
    5 mm up count like 10 cm aside until objects are lifted; None: in their own units, as in LSD."""
    learning_rate: float = 1e-3
    """Step size of Adam."""
    steps: int = 32
    """Adam steps in an update."""
    minibatch: int = 512
    """Transitions in a step, drawn with replacement from the batch."""

    def __post_init__(self) -> None:
        require_in_range(
            self,
            entries=bool(self.entries),
            skills=self.skills >= 1,
            widths=bool(self.widths) and all(width >= 1 for width in self.widths),
            smallest_spread=self.smallest_spread is None or self.smallest_spread > 0.0,
            learning_rate=self.learning_rate > 0.0,
            steps=self.steps >= 1,
            minibatch=self.minibatch >= 1,
        )


class SkillReward:
    """What the methods share: Adam steps on their ``loss``, and all that going on with it needs.

    A batch is a mapping of tensors: "observations" and "next_observations", themselves mappings
    with "state" [..., O], and "skills" [..., Z]; any leading axes will do. Below, x and x' [B, P]
    are poses in units of their spread.
    """

    def __init__(self, interface: Spec, config: Any, seed: int = 0, device: str = "cpu"):
        """Draw the initial weights; SpecError if the interface lacks an entry."""
        self.config, self.device = config, torch.device(device)
        self.dimensions = config.skills
        self.index = entries_of(interface, config.entries).to(device)
        weight_seed, noise_seed = (int(s) for s in np.random.SeedSequence(seed).generate_state(2))
        self.noise = torch.Generator(self.device).manual_seed(noise_seed)
        self.scale = PoseScale(len(self.index), config.smallest_spread)
        parts = self.build(len(self.index), torch.Generator().manual_seed(weight_seed))
        self.network = nn.ModuleDict({"scale": self.scale, **parts}).to(self.device)
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=config.learning_rate)

    def build(self, inputs: int, generator: torch.Generator) -> dict[str, nn.Module]:
        """Make the networks that the method trains, for poses of P = ``inputs`` numbers."""
        raise NotImplementedError

    def loss(self, x: Tensor, next_x: Tensor, z: Tensor) -> tuple[Tensor, Info]:
        """Give what an Adam step makes smaller, and scalars to log."""
        raise NotImplementedError

    def update(self, batch: Mapping[str, Any]) -> dict[str, float]:
        """Take in a batch: first its spread, then Adam steps; return the means of the scalars.

        A reward asked for after it is that of the new network.
        """
        pose, next_pose = (p.flatten(0, -2) for p in poses(batch, self.index))
        z = batch["skills"].flatten(0, -2)
        self.scale.update(pose)
        x, next_x = self.scale(pose), self.scale(next_pose)
        size = (self.config.steps, self.config.minibatch)
        chosen = torch.randint(len(x), size, generator=self.noise, device=self.device)
        infos = [self._step(x[rows], next_x[rows], z[rows]) for rows in chosen]
        return {name: torch.stack([i[name] for i in infos]).mean().item() for name in infos[0]}

    def _step(self, x: Tensor, next_x: Tensor, z: Tensor) -> Info:
        loss, info = self.loss(x, next_x, z)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return {name: scalar.detach() for name, scalar in info.items()}

    def state_dict(self) -> dict[str, Tensor]:
        """Give networks, spread, optimiser and noise: all that an update depends on."""
        noise = {"noise": self.noise.get_state()}
        return {**self.network.state_dict(), **optimiser_tensors(self.optimiser), **noise}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what ``state_dict`` gave; DataError if it is of another network."""
        try:
            self.network.load_state_dict({k: state[k] for k in self.network.state_dict()})
        except (KeyError, RuntimeError) as error:
            fault = str(error).splitlines()[-1].strip()
            raise DataError(f"this reward is of another network: {fault}") from error
        load_optimiser_tensors(self.optimiser, state)
        self.noise.set_state(state["noise"].cpu())


def mlp(inputs: int, config: SkillConfig, outputs: int, generator: torch.Generator) -> nn.Module:
    """Make (linear, ELU)*, linear: [..., inputs] -> [..., outputs]."""
    last = linear(config.widths[-1], outputs, 1.0, generator)
    return nn.Sequential(*elu_mlp(inputs, config.widths, generator), last)
