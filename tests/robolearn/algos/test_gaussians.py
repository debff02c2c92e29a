import numpy as np
import pytest
import torch

from robolearn.algos.bc import BCConfig, BehaviorCloning
from robolearn.algos.gaussians import GaussianClone, GaussianExpert
from robolearn.attack import Victim, require_victim
from robolearn.errors import UserError
from robolearn.state_attack import Budget
from robolearn.types import ArraySpec, Spec

SPEC = Spec("test/Point", {"state": ArraySpec((3,))}, ArraySpec((2,)), period_s=0.05)


def clone(members=3):
    return BehaviorCloning(SPEC, BCConfig(members=members, widths=(8,)))


class Halves:
    """Goes half as far as it sees."""

    memoryless = True

    def reset(self, n):
        pass

    def act(self, observation, explore=False):
        return observation["state"][:, :2] / 2


@pytest.mark.parametrize("squashed", [False, True])
def test_the_mode_is_what_the_policy_does(squashed):
    state = torch.randn(6, 3).clamp(-1.8, 1.8)
    for policy in (GaussianClone(clone(), 0.2, squashed), GaussianExpert(Halves(), 0.2, squashed)):
        pi = policy.distribution(state)
        assert isinstance(policy, Victim) and pi.squashed == squashed
        acted = policy.act({"state": state.numpy()})
        np.testing.assert_allclose(pi.mode.detach(), acted, atol=1e-5)
        torch.testing.assert_close(pi.log_std.exp(), torch.full((6, 2), 0.2))
        assert policy.distribution(state.reshape(2, 3, 3)).mean.shape == (2, 3, 2)


def test_gradients_go_through_a_clone_in_training_too_and_not_through_an_expert():
    learner = clone()
    learner.network.train()
    require_victim(GaussianClone(learner), Budget.unit(SPEC.observations["state"]))
    assert not learner.network.training  # no dropout in what is attacked
    with pytest.raises(UserError, match="no gradient"):
        require_victim(GaussianExpert(Halves()), Budget.unit(SPEC.observations["state"]))


def test_through_tanh_a_saturated_action_can_still_be_moved():
    learner, slopes = clone(members=1), {}
    last = learner.network["mlp"].layers[-2]
    last.bias.data += 5  # tanh(5) = .9999
    for squashed in (False, True):
        state = torch.zeros(1, 3, requires_grad=True)
        mean = GaussianClone(learner, 0.1, squashed).distribution(state).mean
        slopes[squashed] = torch.autograd.grad(mean.sum(), state)[0].norm().item()
    assert slopes[True] > 1000 * slopes[False] > 0


def test_a_fitted_spread_is_the_size_of_the_errors():
    learner, state = clone(), torch.randn(4000, 3)
    with torch.no_grad():
        action = GaussianClone(learner).distribution(state).mean
    action = action + torch.randn(4000, 2) * torch.tensor([0.3, 0.05])
    fitted = GaussianClone.fitted(learner, state, action)
    assert fitted.log_std.exp().tolist() == pytest.approx([0.3, 0.05], rel=0.1)


def test_means_may_be_kept_off_the_ends():
    pi = GaussianExpert(Halves(), limit=0.5).distribution(torch.tensor([[9.0, -9.0, 0.0]]))
    assert pi.mean.tolist() == [[0.5, -0.5]]
    assert torch.isfinite(
        GaussianExpert(Halves(), squashed=True).distribution(9 * torch.ones(3)).mean
    ).all()
    with pytest.raises(UserError, match=r"limit should be in \(0, 1\]"):
        GaussianExpert(Halves(), limit=0.0)


@pytest.mark.parametrize("std", [0.0, -1.0, float("nan"), [0.1, 0.2, 0.3]])
def test_a_spread_that_is_none_is_refused(std):
    with pytest.raises(UserError, match="^std"):
        GaussianClone(clone(), std)
