"""SA-RL and PA-AD: what they decide on, and points that they push the wrong way."""

import numpy as np
import pytest
import torch

from robolearn.algos.pa_ad import PAAD
from robolearn.algos.ppo import PPO, PPOConfig
from robolearn.algos.sa_rl import SARL
from robolearn.attack import Attacked
from robolearn.errors import SpecError, UserError
from robolearn.loops.evaluate import evaluate
from robolearn.loops.on_policy import OnlineConfig, online
from robolearn.perturbed import AdversaryEnv, Directed
from robolearn.state_attack import Budget, RandomPerturbation
from robolearn.types import ArraySpec

from .points import Points
from .victims import ACTION, SPEC, STATE, VICTIMS, Linear, budget, ppo, sac, states

ACTORS = pytest.mark.parametrize("actor", [SARL, PAAD])
NORMS = pytest.mark.parametrize("norm", ["linf", "l2"])


pytestmark = pytest.mark.usefixtures("one_thread")


def director(actor, seed=0, **config):
    interface = AdversaryEnv(Points(), actor).interface
    return PPO(interface, PPOConfig(widths=(32,), **config), seed)


# what is decided on


@ACTORS
@VICTIMS
@NORMS
def test_no_decision_leaves_the_budget(actor, make, norm):
    acts = actor(make(), budget(norm))
    generator = torch.Generator().manual_seed(0)
    for scale in (0.0, 1e-20, 1.0, 1e3, 1e20):
        decided = scale * torch.randn(200, *acts.action.shape, generator=generator)
        delta = acts(states(200), decided)
        assert torch.isfinite(delta).all()
        assert (acts.budget.measure(delta) <= 1 + 1e-5).all()


def test_sa_rl_decides_on_shares_of_the_entries_that_may_be_touched():
    one = Budget(ArraySpec((3,), names=("x", "y", "z")), "linf", torch.tensor([0.5, 0.0, 2.0]))
    acts = SARL(object(), one)  # of a victim nothing is asked
    assert acts.action == ArraySpec((2,), names=("x", "z"))
    delta = acts(torch.zeros(2, 3), torch.tensor([[1.0, -0.25], [3.0, 0.0]]))
    assert delta.tolist() == [[0.5, 0.0, -0.5], [0.5, 0.0, 0.0]]


@NORMS
def test_pa_ad_finds_the_optimum_of_a_linear_victim(norm):
    """No perturbation of the budget, drawn at its edge, moves the mean further along d."""
    victim, one = Linear(), budget(norm)
    state, d = states(20), torch.randn(20, ACTION, generator=torch.Generator().manual_seed(1))
    before = victim.distribution(state).mean

    def along(delta):
        return (d * (victim.distribution(state + delta).mean - before)).sum(dim=1)

    best = along(PAAD(victim, one)(state, d))
    generator = torch.Generator().manual_seed(2)
    for _ in range(300):
        assert (
            along(one.steepest(torch.randn(20, STATE, generator=generator))) <= best + 1e-5
        ).all()
    # By hand: the mean is (y - x, 0), the radii .5 and 1.
    length = 1.5 if norm == "linf" else 1.25**0.5
    torch.testing.assert_close(best, length * d[:, 0].abs(), atol=1e-5, rtol=1e-5)


def test_what_cannot_be_directed_is_refused():
    with pytest.raises(UserError, match="has no distribution"):
        PAAD(object(), budget())
    with pytest.raises(SpecError, match=r"sees a state \(5,\)"):
        PAAD(sac(entries=5), budget())

    class Remembers(Linear):
        memoryless = False

    with pytest.raises(UserError, match="not memoryless"):
        AdversaryEnv(Points(), SARL(Remembers(), budget()))
    other = Budget(ArraySpec((4,)), "linf", torch.ones(4))
    with pytest.raises(SpecError, match="test/Points shows a state"):
        AdversaryEnv(Points(), SARL(Linear(), other))


# the environment


@ACTORS
def test_an_adversary_sees_the_truth_and_the_victim_what_it_decides(actor):
    points, acts = Points(n=3), actor(Linear(), budget())
    envs, twin = AdversaryEnv(points, acts), Points(n=3)
    assert envs.interface.action == acts.action
    true, _ = envs.reset(seed=[4, 5, 6])
    twin.reset(seed=[4, 5, 6])
    rng = np.random.default_rng(0)
    for _ in range(40):
        decided = rng.uniform(-1, 1, (3, *acts.action.shape)).astype(np.float32)
        state = torch.from_numpy(true["state"].copy())
        seen = state + acts(state, torch.from_numpy(decided))
        sent = Linear().act({"state": seen.numpy()})
        true, rewards, *_, info = envs.step(decided)
        expected, reward, *_, other = twin.step(sent)
        np.testing.assert_array_equal(points.sent[-1], sent)
        np.testing.assert_array_equal(true["state"], expected["state"])
        np.testing.assert_array_equal(rewards, reward)
        np.testing.assert_array_equal(info["success"], other["success"])
    np.testing.assert_array_equal(envs.get_state(), twin.get_state())


@ACTORS
@pytest.mark.parametrize("make", [Linear, ppo])
def test_directed_perturbations_are_those_of_the_environment(actor, make):
    acts = actor(make(), budget())
    policy = director(acts)
    got = Directed(policy, acts)(states())
    decided = torch.from_numpy(policy.act({"state": states().numpy()}))
    torch.testing.assert_close(got, acts(states(), decided), atol=0, rtol=0)
    assert Directed(policy, acts).memoryless


# learning


def success(policy, n=16):
    return evaluate(Points(), policy, list(range(100, 100 + n)), 16).success


@ACTORS
def test_it_learns_to_push_points_to_the_other_side(actor):
    victim, one = Linear(), Budget(SPEC, "linf", torch.tensor([1.0, 1.2, 0.0]))
    acts = actor(victim, one)
    learner = director(acts, learning_rate=3e-3, minibatch=64)
    envs = AdversaryEnv(Points(), acts)
    online(learner, envs, OnlineConfig(steps=16 * 8 * 15, horizon=16), seed=0)
    assert success(victim) == 0
    assert success(Attacked(victim, RandomPerturbation(one), one)) == 0
    assert success(Attacked(victim, Directed(director(acts, seed=1), acts), one)) < 0.9
    assert success(Attacked(victim, Directed(learner, acts), one)) == 1
