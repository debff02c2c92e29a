"""Policies that are attacked in tests; they see three entries, of which two may be touched."""

import pytest
import torch

from robolearn.algos.ppo import PPO, PPOConfig
from robolearn.algos.sac import SAC, SACConfig
from robolearn.networks.functional import Gaussian
from robolearn.state_attack import Budget
from robolearn.types import ArraySpec, Spec

STATE, ACTION = 3, 2
SPEC = ArraySpec((STATE,))


def interface(entries=STATE):
    state = ArraySpec((entries,))
    return Spec("test/Point", {"state": state}, ArraySpec((ACTION,)), period_s=0.05)


def sac(seed=0, entries=STATE):
    """Give a squashed policy that is far from constant."""
    learner = SAC(interface(entries), SACConfig(widths=(8,)), seed)
    learner.network.policy.layers[-1].weight.data *= 30
    return learner


def ppo(seed=0):
    learner = PPO(interface(), PPOConfig(widths=(8,)), seed)
    learner.network.mean.weight.data *= 100
    return learner


VICTIMS = pytest.mark.parametrize("make", [sac, ppo])


def budget(norm="linf", size=0.5):
    return Budget(SPEC, norm, torch.tensor([size, 2 * size, 0.0]))


def states(n=12, seed=0):
    return torch.randn(n, STATE, generator=torch.Generator().manual_seed(seed))


class Linear:
    """A linear Gaussian policy: goes to where the second entry says, on the first axis."""

    memoryless = True

    def reset(self, n):
        pass

    def distribution(self, state):
        mean = torch.stack([state[..., 1] - state[..., 0], 0 * state[..., 0]], dim=-1)
        return Gaussian(mean, torch.full_like(mean, -1.0), squashed=False)

    def act(self, observation, explore=False):
        state = torch.as_tensor(observation["state"], dtype=torch.float32)
        return self.distribution(state).mean.clamp(-1, 1).detach().numpy()
