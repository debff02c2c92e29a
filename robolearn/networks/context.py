"""What a policy that remembers steps has seen and done, as sequences and as rows of numbers."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Context(NamedTuple):
    """Steps of B sequences."""

    returns: Tensor  # [B, T], to go
    states: Tensor  # [B, T, O]
    actions: Tensor  # [B, T, A]
    steps: Tensor  # [B, T] int, t from 0

    def then(self, returns: Tensor, state: Tensor, action: Tensor, t: Tensor, most: int) -> Context:
        """Add a step [B], [B, O], [B, A], [B], and keep the ``most`` latest ones."""
        step = Context(returns[:, None], state[:, None], action[:, None], t[:, None])
        first = max(0, self.steps.shape[1] + 1 - most)
        joined = (torch.cat(pair, dim=1)[:, first:] for pair in zip(self, step, strict=True))
        return Context(*joined)

    def packed(self, returns: Tensor, t: int, most: int) -> Tensor:
        """Lay it out, of ``most`` steps at most, with R_t [B] and t of what comes next: [B, C]."""
        held = self.steps.shape[1]
        scalars = [torch.full_like(returns, number) for number in (t, held)]
        columns = [self.returns[..., None], self.states, self.actions]
        rows = [F.pad(column, (0, 0, 0, most - held)).flatten(1) for column in columns]
        return torch.cat([returns[:, None], *(one[:, None] for one in scalars), *rows], dim=1)


class Unpacked(NamedTuple):
    """Contexts that were ``packed``, each with places behind it, the first for the present step."""

    context: Context  # [B, K]; R_t is there already
    here: Tensor  # [B, K] bool: where the present step is

    @classmethod
    def of(cls, packed: Tensor, most: int, inputs: int, outputs: int) -> Unpacked:
        """Take apart what ``Context.packed`` gave, [B, C]; K is ``most`` + 1."""
        widths = (1, inputs, outputs)
        sizes = [1, 1, 1, *(most * width for width in widths)]
        to_go, t, held, *rows = packed.split(sizes, dim=1)
        parts = [row.unflatten(1, (most, width)) for row, width in zip(rows, widths, strict=True)]
        returns, states, actions = (F.pad(part, (0, 0, 0, 1)) for part in parts)
        places = torch.arange(most + 1, device=packed.device)
        here = places == held
        returns = torch.where(here, to_go, returns.squeeze(-1))
        return cls(Context(returns, states, actions, (t - held + places).long()), here)

    def at(self, state: Tensor) -> Context:
        """Put states [B, O] where the present is; what comes behind is for no one to look at."""
        states = torch.where(self.here[..., None], state[:, None], self.context.states)
        return self.context._replace(states=states)
