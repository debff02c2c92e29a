"""A causal transformer: Radford, Wu, Child, Luan, Amodei, Sutskever, "Language Models are
Unsupervised Multitask Learners" (2019).

Every layer adds to what it is given, x <- x + attention(norm x), x <- x + mlp(norm x), and a token
attends to itself and to those before it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from robolearn.errors import UserError
from robolearn.networks.nets import Dropout

INITIAL_STD = 0.02


class CausalTransformer(nn.Module):
    """Layers of attention over tokens: [B, L, D] -> [B, L, D]."""

    def __init__(self, width: int, layers: int, heads: int, dropout: float, noise: torch.Generator):
        """Draw nothing yet (``draw_weights``); UserError if the heads do not share the width."""
        super().__init__()
        if width % heads:
            raise UserError(f"heads: {heads} do not divide a width of {width}")
        blocks = [Block(width, heads, dropout, noise) for _ in range(layers)]
        self.layers = nn.Sequential(*blocks, nn.LayerNorm(width))

    def forward(self, tokens: Tensor) -> Tensor:
        """Give what is known at every token."""
        return self.layers(tokens)


class Block(nn.Module):
    """One layer."""

    def __init__(self, width: int, heads: int, dropout: float, noise: torch.Generator):
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.attention = CausalAttention(width, heads)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )
        self.dropout = Dropout(dropout, noise)

    def forward(self, x: Tensor) -> Tensor:
        """Add attention, then what each token makes of it."""
        x = x + self.dropout(self.attention(self.norms[0](x)))
        return x + self.dropout(self.mlp(self.norms[1](x)))


class CausalAttention(nn.Module):
    """softmax(Q K^T / sqrt(d)) V of every head, over the present and earlier tokens.

    Written out, since the gradient of a gradient is asked for by who attacks a policy.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.into = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Mix tokens [B, L, D]."""
        q, k, v = self.into(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        scores = q @ k.mT / math.sqrt(q.shape[-1])  # [B, H, L, L]
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=x.device).triu(1)
        mixed = scores.masked_fill(later, -torch.inf).softmax(dim=-1) @ v  # [B, H, L, d]
        return self.out(mixed.transpose(1, 2).flatten(-2))


def draw_weights(module: nn.Module, generator: torch.Generator) -> None:
    """Draw the weights of maps and embeddings from a small normal; shifts are 0, gains 1."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            nn.init.normal_(part.weight, std=INITIAL_STD, generator=generator)
        if isinstance(part, nn.Linear):
            nn.init.zeros_(part.bias)
