"""A toy world: an object at "cube_pos", which a hand moves along its skill."""

import pytest
import torch

from robolearn.types import ArraySpec, Spec

NAMES = ("hand_x", "cube_pos_x", "cube_pos_y", "cube_pos_z")


@pytest.fixture
def interface() -> Spec:
    return Spec("toy", {"state": ArraySpec((4,), names=NAMES)}, ArraySpec((2,)), 0.1)


@pytest.fixture
def transitions():
    """Give ``make(stream, seed)``: a batch [T, N] of pushes; ``skill`` of a step is in metres.

    The object starts about 10 cm from the origin, goes aside and up with z as far as ``along`` (m)
    says, and at random as far as ``noise`` says.
    """

    def make(stream, seed=0, along=(0.02, 0.02, 0.0), noise=(0.01, 0.01, 1e-4), shape=(20, 64)):
        generator = torch.Generator().manual_seed(seed)
        z = stream.sample_skills(shape[1], generator)
        way = torch.nn.functional.pad(z, (0, 3 - z.shape[1]))[:, :3]  # also of one-hot skills
        steps = way * torch.tensor(along)
        steps = steps + torch.tensor(noise) * torch.randn(*shape, 3, generator=generator)
        start = torch.tensor([0.1, 0.1, 0.0]) * torch.randn(shape[1], 3, generator=generator)
        path = start + torch.cat([torch.zeros(1, shape[1], 3), steps.cumsum(0)])
        hand = torch.randn(shape[0] + 1, shape[1], 1, generator=generator)
        state = torch.cat([hand, path], dim=-1)
        return {
            "observations": {"state": state[:-1]},
            "next_observations": {"state": state[1:]},
            "skills": z.expand(shape[0], *z.shape),
        }

    return make
