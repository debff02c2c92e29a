"""The networks of a world model: what is learnt of the world from images, and values of its states.

Their sizes go by one name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from robolearn.networks.images import SIZE, ConvDecoder, ConvEncoder
from robolearn.networks.rssm import RSSM

BACKDROP_SHARE = 0.002  # least weight of a batch in the mean of late images
SMALLEST_SPREAD = 1e-3  # of pixels, where black is -1/2 and white 1/2


class Sizes(NamedTuple):
    """Widths of the networks, and how much an update looks at."""

    depth: int  # channels after the first convolution
    deterministic: int  # H
    stochastic: int  # Z
    units: int  # of every hidden layer
    batch: int  # B, sequences
    length: int  # T, moments of a sequence


SIZES = {"small": Sizes(8, 128, 16, 128, 16, 16), "paper": Sizes(32, 200, 30, 300, 50, 50)}


class Backdrop(nn.Module):
    """The mean of late images [C, 64, 64], and how far pixels are from it: part of the weights.

    A robot is a few pixels before a scene that stays, which drowns them in the codes of networks
    that were not learnt yet. Without a first batch nothing is taken away.
    """

    mean: Tensor
    log_spread: Tensor  # [], of all pixels together
    batches: Tensor  # [], how many were seen

    def __init__(self, channels: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels, SIZE, SIZE))
        self.register_buffer("log_spread", torch.zeros(()))
        self.register_buffer("batches", torch.zeros(()))

    @torch.no_grad()
    def follow(self, images: Tensor, mean_: Callable[[Sequence[Tensor]], None] | None) -> None:
        """Take images [..., C, 64, 64] into account; ``mean_`` puts means over processes."""
        images = images.flatten(0, -4)
        share = max(1 / (self.batches.item() + 1), BACKDROP_SHARE)
        now = images.mean(dim=0)
        if mean_ is not None:
            mean_([now])
        self.mean.lerp_(now, share)
        square = (images - self.mean).square().mean()
        if mean_ is not None:
            mean_([square])
        spread = square.sqrt().clamp(min=SMALLEST_SPREAD)
        self.log_spread.copy_(torch.lerp(self.log_spread.exp(), spread, share).log())
        self.batches += 1

    def less(self, images: Tensor) -> Tensor:
        """Give how images differ from it, their spread 1 / 3 as that of pixels in [-1/2, 1/2]."""
        if not self.batches:
            return images
        scale = 1 / (3 * self.log_spread.exp().item())
        return torch.add(-scale * self.mean, images, alpha=scale)


class World(nn.Module):
    """What is learnt of the world: codes of images, states, and what can be told from them."""

    def __init__(
        self,
        channels: int,
        actions: int,
        sizes: Sizes,
        blind: bool,
        decodes: bool,
        backdrop: bool = False,
    ):
        super().__init__()
        self.backdrop = Backdrop(channels) if backdrop else None
        self.encoder = ConvEncoder(channels, sizes.depth)
        self.rssm = RSSM(
            actions, self.encoder.size, sizes.deterministic, sizes.stochastic, sizes.units, blind
        )
        features = sizes.deterministic + sizes.stochastic
        self.decoder = ConvDecoder(features, channels, sizes.depth) if decodes else None
        self.reward = head(features, 1, sizes.units)
        self.going_on = head(features, 1, sizes.units)

    def code(self, images: Tensor) -> Tensor:
        """Give codes e [..., E] of images [..., C, 64, 64]."""
        return self.encoder(images if self.backdrop is None else self.backdrop.less(images))

    def drawn(self, differences: Tensor) -> Tensor:
        """Give images, of a decoder's output [..., C, 64, 64]."""
        return differences if self.backdrop is None else self.backdrop.mean + differences


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
