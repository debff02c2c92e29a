"""One of several processes that learn the same world model: takes a step on its part of a batch.

    torchrun --nproc-per-node 2 sharing.py FOLDER

Leaves weights and statistics, as they are then, in ``FOLDER/RANK.safetensors``.
"""

import sys
from pathlib import Path

import numpy as np
import safetensors.torch
import torch

from robolearn.algos.dreamer import Dreamer, DreamerConfig
from robolearn.algos.infopower import InfoPower, InfoPowerConfig
from robolearn.networks.parallel import together
from robolearn.types import ArraySpec, Spec

INTERFACE = Spec("test/Seen", {"eye": ArraySpec((64, 64, 3), "uint8")}, ArraySpec((2,)), 0.05)
SEQUENCES, MOMENTS = 4, 6
LEARNERS = {
    "dreamer": lambda: Dreamer(
        INTERFACE, DreamerConfig(free_nats=0.0, decoded=1000, backdrop=True)
    ),
    "infopower": lambda: InfoPower(INTERFACE, InfoPowerConfig()),
}


def batch():
    """Make sequences that all begin an episode, as tensors [B, T, ...]."""
    rng, shape = np.random.default_rng(0), (SEQUENCES, MOMENTS)
    first = np.zeros(shape, bool)
    first[:, 0] = True
    arrays = {
        "actions": rng.uniform(-1, 1, (*shape, 2)).astype(np.float32),
        "rewards": rng.uniform(size=shape).astype(np.float32),
        "terminated": np.zeros(shape, bool),
        "is_first": first,
    }
    images = rng.integers(0, 256, (*shape, 64, 64, 3)).astype(np.uint8)
    seen = {"observations": {"eye": torch.from_numpy(images)}}
    return seen | {name: torch.from_numpy(array) for name, array in arrays.items()}


def part(whole, rows):
    """Give some of the sequences."""
    return {k: part(v, rows) if isinstance(v, dict) else v[rows] for k, v in whole.items()}


def stepped(name, rows, ranks=None):
    """Take a step on some of the sequences; give the world model's tensors.

    There is no noise, and the step is along the gradient, so that it shows what that was.
    """
    learner = LEARNERS[name]()
    learner.ranks, learner._normal = ranks, torch.zeros
    world = learner.network["world"]
    learner._optimisers["world"] = torch.optim.SGD(world.parameters(), lr=1.0)
    learner.learn_world(part(batch(), rows))
    return {f"{name}.{k}": tensor.contiguous() for k, tensor in world.state_dict().items()}


def main() -> None:
    """Take the steps."""
    torch.set_num_threads(1)
    found = {}
    with together(torch.device("cpu")) as ranks:
        for name in LEARNERS:
            found |= stepped(name, slice(ranks.rank, None, ranks.size), ranks)
        generator = torch.Generator().manual_seed(3)
        ranks.noise_of_its_own(generator)
        found["noise"] = torch.randn(4, generator=generator)
    safetensors.torch.save_file(found, Path(sys.argv[1]) / f"{ranks.rank}.safetensors")


if __name__ == "__main__":
    main()
