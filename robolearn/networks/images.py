"""Networks for images of 64 x 64 pixels: Ha and Schmidhuber's, as in PlaNet and Dreamer."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

SIZE = 64  # pixels, height and width
Module = TypeVar("Module", bound=nn.Module)


class ConvEncoder(nn.Module):
    """Four convolutions with ReLU: [..., C, 64, 64] -> codes e [..., 32 depth]."""

    def __init__(self, channels: int, depth: int):
        super().__init__()
        widths = [channels, depth, 2 * depth, 4 * depth, 8 * depth]
        layers: list[nn.Module] = []
        for below, above in zip(widths, widths[1:], strict=False):
            layers += [nn.Conv2d(below, above, kernel_size=4, stride=2), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.size = 32 * depth

    def forward(self, image: Tensor) -> Tensor:
        """Give the codes e [..., E] of images [..., C, 64, 64]."""
        return self.layers(image.flatten(0, -4)).unflatten(0, image.shape[:-3])


class ConvDecoder(nn.Module):
    """Four transposed convolutions: features [..., F] -> images [..., C, 64, 64]."""

    def __init__(self, features: int, channels: int, depth: int):
        super().__init__()
        widths = [32 * depth, 4 * depth, 2 * depth, depth, channels]
        self.first = nn.Linear(features, widths[0])
        layers: list[nn.Module] = []
        for below, above, kernel in zip(widths, widths[1:], (5, 5, 6, 6), strict=False):
            layers += [nn.ConvTranspose2d(below, above, kernel, stride=2), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, features: Tensor) -> Tensor:
        """Give the mean of the images [..., C, 64, 64], in [-1/2, 1/2] about."""
        x = self.first(features.flatten(0, -2))[..., None, None]
        x = x.contiguous(memory_format=torch.channels_last)
        return self.layers(x).unflatten(0, features.shape[:-1])


def drawn(build: Callable[[], Module], generator: torch.Generator) -> Module:
    """Build a network whose first weights a generator draws, and nothing else.

    Those of (transposed) convolutions and affine maps are Glorot's, recurrent ones orthogonal,
    shifts and buffers zero.
    """
    with torch.device("meta"):
        network = build()
    network.to_empty(device="cpu")
    for name, weight in network.named_parameters():
        if weight.ndim == 1:
            nn.init.zeros_(weight)
        elif name.endswith("weight_hh"):
            for gate in weight.data.split(weight.shape[1]):
                nn.init.orthogonal_(gate, generator=generator)
        else:
            _glorot(weight, generator)
    for buffer in network.buffers():
        nn.init.zeros_(buffer)
    return network.to(memory_format=torch.channels_last)  # a quarter faster on a processor


def _glorot(weight: Tensor, generator: torch.Generator) -> None:
    """Draw uniformly, so that signals keep their size forwards and backwards (Glorot 2010)."""
    places = math.prod(weight.shape[2:])  # of a kernel
    bound = math.sqrt(6.0 / (places * (weight.shape[0] + weight.shape[1])))
    nn.init.uniform_(weight, -bound, bound, generator=generator)
