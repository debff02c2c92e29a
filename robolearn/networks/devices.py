"""Where networks compute: this machine's processor, or a GPU."""

from __future__ import annotations

from typing import Literal

import torch

from robolearn import torchrun
from robolearn.errors import UserError

Device = Literal["cpu", "cuda"]


def device_of(name: Device) -> str:
    """Give what torch calls a device; of processes that torchrun has started each has its own GPU.

    Raises UserError if torch sees no GPU, or fewer than there are processes on this machine.
    """
    if name == "cpu":
        return name
    if not torch.cuda.is_available():
        raise UserError("device: 'cuda': torch sees no GPU here; device=cpu would be right")
    number, count = torchrun.local_rank(), torch.cuda.device_count()
    if number >= count:
        raise UserError(
            f"device: 'cuda': torch sees {count} GPUs here; --nproc-per-node {count} would be right"
        )
    torch.cuda.set_device(number)
    return f"cuda:{number}"
