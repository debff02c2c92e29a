"""The networks of a world model: what is learnt of the world from images, and values of its states.

Their sizes go by one name.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from robolearn.networks.images import ConvDecoder, ConvEncoder
from robolearn.networks.rssm import RSSM


class Sizes(NamedTuple):
    """Widths of the networks, and how much an update looks at."""

    depth: int  # channels after the first convolution
    deterministic: int  # H
    stochastic: int  # Z
    units: int  # of every hidden layer
    batch: int  # B, sequences
    length: int  # T, moments of a sequence


SIZES = {"small": Sizes(8, 128, 16, 128, 16, 16), "paper": Sizes(32, 200, 30, 300, 50, 50)}


class World(nn.Module):
    """What is learnt of the world: codes of images, states, and what can be told from them."""

    def __init__(self, channels: int, actions: int, sizes: Sizes, blind: bool, decodes: bool):
        super().__init__()
        self.encoder = ConvEncoder(channels, sizes.depth)
        self.rssm = RSSM(
            actions, self.encoder.size, sizes.deterministic, sizes.stochastic, sizes.units, blind
        )
        features = sizes.deterministic + sizes.stochastic
        self.decoder = ConvDecoder(features, channels, sizes.depth) if decodes else None
        self.reward = head(features, 1, sizes.units)
        self.going_on = head(features, 1, sizes.units)


class Value(nn.Module):
    """v(s) in a unit of the returns, which may change without a change of v."""

    log_unit: Tensor

    def __init__(self, features: int, units: int):
        super().__init__()
        self.body = head(features, 1, units)
        self.register_buffer("log_unit", torch.zeros(()))

    @property
    def unit(self) -> Tensor:
        """Give the unit, []."""
        return self.log_unit.exp()

    def forward(self, features: Tensor) -> Tensor:
        """Give v [...] for features [..., F]."""
        return self.unit * self.body(features).float().squeeze(-1)

    @torch.no_grad()
    def measure_in(self, unit: Tensor) -> None:
        """Take another unit; all values stay as they are (van Hasselt et al., PopArt, 2016)."""
        for weight in self.body[-1].parameters():
            weight.mul_(self.unit / unit)
        self.log_unit.copy_(unit.log())


def head(inputs: int, outputs: int, units: int) -> nn.Sequential:
    """Make (linear, ELU) twice, linear: [..., I] -> [..., J]."""
    return nn.Sequential(
        nn.Linear(inputs, units), nn.ELU(), nn.Linear(units, units), nn.ELU(),
        nn.Linear(units, outputs),
    )  # fmt: skip


def image_loss(mean: Tensor, images: Tensor) -> Tensor:
    """Give -log p(o | s) for a unit Gaussian, but for a constant: [M, C, 64, 64] -> []."""
    return 0.5 * (mean.float() - images).square().flatten(1).sum(dim=-1).mean()
