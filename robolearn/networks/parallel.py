"""Data-parallel training: processes that each see a part of every batch, and take one step.

::

    torchrun --nproc-per-node 2 -m robolearn infopower_offline

starts two, also on several machines (see torchrun's own documentation). Each draws batches and
noise of its own; the mean of their gradients, one exchange of one vector for each network, moves
all of them alike. The first process, rank 0, logs, keeps and judges.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from robolearn import torchrun


class Ranks:
    """The processes that train together: ``size`` of them, of which this is number ``rank``."""

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    @property
    def key(self) -> tuple[int, ...]:
        """Give what makes a seed this process's own; nothing where there is one only."""
        return (self.rank,) if self.size > 1 else ()

    def mean_(self, tensors: Sequence[Tensor]) -> None:
        """Put the mean over the processes in the place of each tensor."""
        if self.size == 1:
            return
        whole = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(whole)
        parts = (whole / self.size).split([tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def rows(self, tensor: Tensor) -> Tensor:
        """Give the rows of all processes, [B, ...] of each, as [size B, ...]."""
        if self.size == 1:
            return tensor
        parts = [torch.empty_like(tensor) for _ in range(self.size)]
        dist.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)

    def whole(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Give a batch of all processes' rows, but for what was observed."""
        return {name: self.rows(rows) for name, rows in batch.items() if name != "observations"}

    def noise_of_its_own(self, generator: torch.Generator) -> None:
        """Have each process but the first draw other numbers, which follow from the same state."""
        if self.rank:
            seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
            generator.manual_seed(seed + self.rank)


ALONE = Ranks()


@contextlib.contextmanager
def together(device: torch.device) -> Iterator[Ranks]:
    """Find the other processes, for as long as the block lasts: by nccl on GPUs, else by gloo."""
    if torchrun.size() == 1:
        yield ALONE
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size())
        dist.barrier()  # nobody leaves before all are done
    finally:
        dist.destroy_process_group()
