"""Small encoders of camera images: convolutions, and where in the image each channel is strongest.

Finn, Tan, Duan, Darrell, Levine, Abbeel, "Deep Spatial Autoencoders for Visuomotor Learning" (ICRA
2016). Random crops in training, and the central one otherwise, are those of Laskin et al.,
"Reinforcement Learning with Augmented Data" (NeurIPS 2020).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HALF_RANGE = 127.5  # of a pixel


class EnsembleConv(nn.Module):
    """K convolutions: [K, B, C, H, W] -> [K, B, D, H', W'], initialised as ``nn.Conv2d`` is."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int,
        generators: Sequence[torch.Generator],
    ):
        super().__init__()
        self.stride, members = stride, len(generators)
        bound = 1.0 / (kernel * math.sqrt(inputs))
        self.weight = nn.Parameter(torch.empty(members, outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.empty(members, outputs))
        for k, generator in enumerate(generators):
            nn.init.uniform_(self.weight.data[k], -bound, bound, generator=generator)
            nn.init.uniform_(self.bias.data[k], -bound, bound, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """Apply member k to x[k]."""
        each = zip(x, self.weight, self.bias, strict=True)
        return torch.stack([F.conv2d(one, w, b, self.stride) for one, w, b in each])


class KeypointEncoder(nn.Module):
    """K encoders: images uint8 [K, B, H, W, 3] -> points [K, B, 2 P], each in [-1, 1].

    Convolutions with ReLU, of which the first two halve the image; then P maps, of each of which
    the spatial softmax gives the expected position.
    """

    def __init__(self, channels: Sequence[int], points: int, generators: Sequence[torch.Generator]):
        super().__init__()
        layers: list[nn.Module] = []
        for i, (below, above) in enumerate(zip([3, *channels], channels, strict=False)):
            layers += [EnsembleConv(below, above, *_kernel_and_stride(i), generators), nn.ReLU()]
        self.layers = nn.Sequential(*layers, EnsembleConv(channels[-1], points, 1, 1, generators))

    def forward(self, images: Tensor) -> Tensor:
        """Give the points of images, whose pixels are normalised here."""
        x = images.movedim(-1, -3).float() / HALF_RANGE - 1.0  # [K, B, 3, H, W]
        return spatial_softmax(self.layers(x))


def least_size(layers: int) -> int:
    """Give the pixels that a ``KeypointEncoder`` of so many convolutions needs each way."""
    size = 1
    for i in reversed(range(layers)):
        kernel, stride = _kernel_and_stride(i)
        size = (size - 1) * stride + kernel
    return size


def _kernel_and_stride(i: int) -> tuple[int, int]:
    return (5, 2) if i == 0 else (3, 2) if i == 1 else (3, 1)


def spatial_softmax(maps: Tensor) -> Tensor:
    """Give the expected positions [..., 2 P], x of all and y of all, in maps [..., P, H, W]."""
    height, width = maps.shape[-2:]
    share = maps.flatten(-2).softmax(dim=-1).unflatten(-1, (height, width))
    x = torch.linspace(-1.0, 1.0, width, device=maps.device)
    y = torch.linspace(-1.0, 1.0, height, device=maps.device)
    return torch.cat([(share.sum(dim=-2) * x).sum(dim=-1), (share.sum(dim=-1) * y).sum(dim=-1)], -1)


def cropped_size(size: Sequence[int], share: float) -> tuple[int, int]:
    """Give height and width of a crop that keeps a share of each, at least a pixel."""
    height, width = (max(1, round(share * n)) for n in size)
    return height, width


def centre_crop(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Cut the middle [..., h, w, C] out of images [..., H, W, C]."""
    top, left = ((n - m) // 2 for n, m in zip(images.shape[-3:-1], size, strict=True))
    return images[..., top : top + size[0], left : left + size[1], :]


def random_crop(images: Tensor, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Cut a piece [..., h, w, C] out of each of images [..., H, W, C], drawn for each by itself."""
    flat = images.flatten(0, -4)  # [M, H, W, C]
    rows, columns = (
        _places(len(flat), whole, part, generator)
        for whole, part in zip(flat.shape[1:3], size, strict=True)
    )
    which = torch.arange(len(flat), device=images.device)[:, None, None]
    return flat[which, rows[:, :, None], columns[:, None, :]].unflatten(0, images.shape[:-3])


def _places(n: int, whole: int, part: int, generator: torch.Generator) -> Tensor:
    """Draw ``part`` neighbours of ``whole`` for each of n: [n, part]."""
    device = generator.device
    start = torch.randint(whole - part + 1, (n, 1), generator=generator, device=device)
    return start + torch.arange(part, device=device)
