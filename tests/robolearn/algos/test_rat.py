"""RAT: equations by brute force, and a point that is steered to the other side."""

import numpy as np
import pytest
import torch

from robolearn.algos.pgd import PGD
from robolearn.algos.rat import RAT, RATConfig
from robolearn.attack import Attacked, Handover
from robolearn.errors import DataError, SpecError, UserError
from robolearn.loops.rollout import rollout
from robolearn.networks.functional import Gaussian
from robolearn.state_attack import Budget, BudgetConfig, RandomPerturbation
from robolearn.types import Learner

from .victims import ACTION, SPEC, STATE, VICTIMS, Linear, budget, interface, ppo, sac, states

SMALL = RATConfig(widths=(8,), inner_rate=0.05, mu=0.3)


pytestmark = pytest.mark.usefixtures("one_thread")


def squares(state, action):
    """A Q that is known in closed form."""
    return -(action - state[:, :ACTION].tanh()).square().sum(dim=-1)


def attack(make, norm="linf", q=squares, seed=0, config=SMALL):
    victim, intention = make(1), make(2)
    rat = RAT(victim, intention, budget(norm), config, seed, q)
    rat.adversary.layers[-1].weight.data *= 20  # off the point where it does nothing
    rat.weighting.layers[-1].weight.data *= 100
    return rat


# equations


@VICTIMS
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_weights_gradient_is_that_of_the_unrolled_inner_step(make, norm):
    """Central differences of J_o(alpha - eta grad J(alpha; h)) by h(s), state by state, float64."""
    rat = attack(make, norm)
    for module in (rat.network, rat.victim.network, rat.intention.network):
        module.double()
    state = states(6).double()
    with torch.no_grad():
        aim = rat.intention.distribution(state)
    noise_state = rat.noise.get_state()
    h = rat.weighting(state).detach()
    f = rat.influence(h, state, aim)

    rat.noise.set_state(noise_state)
    noise = torch.randn(len(state), ACTION, generator=rat.noise)

    def unrolled(weights):
        alpha = {k: p.detach().clone().requires_grad_() for k, p in rat._alpha.items()}
        loss = (weights * rat.divergence(alpha, state, aim)).mean()
        slopes = torch.autograd.grad(loss, list(alpha.values()))
        eta = rat.config.inner_rate
        ahead = {k: p - eta * g for (k, p), g in zip(alpha.items(), slopes, strict=True)}
        return rat.objective(ahead, state, noise).item()

    step = 1e-4
    for i in range(len(state)):
        up, down = h.clone(), h.clone()
        up[i] += step
        down[i] -= step
        slope = (unrolled(up) - unrolled(down)) / (2 * step)
        assert f[i].item() / len(state) == pytest.approx(slope, rel=1e-4, abs=1e-9)
    assert f.abs().min() > 1e-6 and f.std() > 0.1 * f.abs().mean()  # one number per state

    rat.noise.set_state(noise_state)
    got = torch.autograd.grad(rat.outer_loss(state, aim), list(rat._omega.values()))
    (f * rat.weighting(state)).mean().backward(inputs=list(rat._omega.values()))
    for ours, parameter in zip(got, rat._omega.values(), strict=True):
        torch.testing.assert_close(ours, parameter.grad)


@VICTIMS
def test_the_inner_objective_by_hand(make):
    rat = attack(make)
    rat.network.movable[1] = False
    state = states()
    with torch.no_grad():
        aim = rat.intention.distribution(state)
        loss, info = rat.inner_loss(state, aim)
        pi = rat.victim.distribution(state + rat(state))
        h = 2 * torch.sigmoid(rat.weighting.layers(state)[:, 0])
    entries = torch.distributions.kl_divergence(
        torch.distributions.Normal(pi.mean, pi.log_std.exp()),
        torch.distributions.Normal(aim.mean, aim.log_std.exp()),
    )
    assert loss.item() == pytest.approx((h * entries[:, 0]).mean().item(), rel=1e-5)
    assert info["divergence"] == pytest.approx(entries[:, 0].mean().item(), rel=1e-5)
    assert 0 < h.min() and h.max() < 2 and h.std() > 0.01


def test_the_outer_objective_by_hand():
    rat, state, noise = attack(ppo), states(), torch.randn(12, ACTION)
    with torch.no_grad():
        got = rat.objective(rat._alpha, state, noise)
        pi = rat.victim.distribution(state + rat(state))
        action = pi.mean + pi.log_std.exp() * noise
        density = torch.distributions.Normal(pi.mean, pi.log_std.exp()).log_prob(action).sum(dim=1)
        expected = (0.3 * density - squares(state, action.clamp(-1, 1))).mean()
    assert got.item() == pytest.approx(expected.item(), rel=1e-5)


@VICTIMS
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_adversary_stays_within_the_budget_however_far_it_is_trained(make, norm):
    rat = attack(make, norm)
    for scale in (1.0, 1e3, 1e10):
        rat.adversary.layers[-1].weight.data *= scale
        assert (rat.budget.measure(rat(states(200))) <= 1 + 1e-5).all()


def test_at_first_it_does_next_to_nothing_and_weighs_all_alike():
    rat = RAT(sac(1), sac(2), budget(), RATConfig(), q=squares)
    assert rat(states()).abs().max() < 0.05
    torch.testing.assert_close(rat.weighting(states()), torch.ones(12), atol=0.05, rtol=0)


# learning


@VICTIMS
def test_an_update_moves_adversary_and_weighting_and_nothing_else(make):
    rat = attack(make)
    others = [rat.victim.network, rat.intention.network]
    kept = [{k: v.clone() for k, v in m.state_dict().items()} for m in others]
    before = {k: v.clone() for k, v in rat.state_dict().items()}
    assert isinstance(rat, Learner)
    info = rat.update({"observations": {"state": states()}})
    assert set(info) == {"divergence", "weight_spread"}
    moved = {k for k, v in rat.state_dict().items() if not torch.equal(v, before[k])}
    assert moved == {k for k, _ in rat.network.named_parameters()}
    for module, weights in zip(others, kept, strict=True):
        assert all(torch.equal(v, weights[k]) for k, v in module.state_dict().items())
        assert all(p.grad is None for p in module.parameters())


def test_steps_get_smaller_with_progress():
    moved = []
    for progress in (0.0, 0.5, 1.0):
        rat = attack(sac)
        before = [p.detach().clone() for p in rat.network.parameters()]
        rat.update({"observations": {"state": states()}, "progress": progress})
        pairs = zip(rat.network.parameters(), before, strict=True)
        moved.append(sum((p - old).abs().sum().item() for p, old in pairs))
    assert moved[1] == pytest.approx(moved[0] / 2, rel=1e-2)
    assert moved[0] > 0 and moved[2] == 0


def test_without_a_q_all_states_weigh_alike():
    rat = attack(sac, q=None)
    before = rat.weighting(states()).detach()
    info = rat.update({"observations": {"state": states()}})
    torch.testing.assert_close(rat.weighting(states()).detach(), before, atol=0, rtol=0)
    assert before.std() > 0.01 and info["weight_spread"] == 0


def test_states_far_from_the_first_ones_count_as_far_and_no_further():
    rat = attack(sac)
    rat.fit_normaliser({"state": 1e-3 * states()})
    for module in (rat.adversary, rat.weighting):
        near, far, further = (module(scale * states().sign()) for scale in (5e-3, 1.0, 1e3))
        torch.testing.assert_close(far, further, atol=0, rtol=0)
        assert not torch.allclose(near, far)


def test_the_weighting_improves_what_is_aimed_at():
    """With D that leads away from Q on half of the states, h falls there."""

    class Split(torch.nn.Module):
        """Intends the opposite of what Q values, where the third entry is positive."""

        def distribution(self, state):
            sign = 1 - 2 * (state[..., 2:] > 0).float()
            mean = sign * torch.ones(*state.shape[:-1], ACTION)
            return Gaussian(mean, torch.zeros_like(mean), squashed=False)

    config = RATConfig(widths=(32,), weight_rate=1e-2, inner_rate=1.0, mu=0.0)
    rat = RAT(Linear(), Split(), budget(), config, q=lambda s, a: a.sum(dim=-1))
    for i in range(60):
        rat.update({"observations": {"state": states(64, i)}})
    bad = states(500)[:, 2] > 0
    h = rat.weighting(states(500)).detach()
    assert h[bad].mean() < h[~bad].mean() - 0.3


@VICTIMS
def test_a_checkpoint_goes_on_the_same(make):
    rat, other = attack(make), attack(make, seed=5)
    batch = {"observations": {"state": states()}}
    rat.find_movable({"state": states()})
    rat.update(batch)
    other.load_state_dict(rat.state_dict())
    other.load_training_state({k: v.clone() for k, v in rat.training_state().items()})
    assert rat.update(batch) == other.update(batch)
    assert all(torch.equal(v, other.state_dict()[k]) for k, v in rat.state_dict().items())
    wider = RAT(make(1), make(2), budget(), RATConfig(widths=(9,)))
    with pytest.raises(DataError, match="another network"):
        wider.load_state_dict(rat.state_dict())


def test_what_cannot_be_attacked_or_intended_is_refused():
    with pytest.raises(UserError, match="victim 'object': has no distribution"):
        RAT(object(), sac(), budget(), SMALL)
    with pytest.raises(SpecError, match=r"intention 'sac' sees a state \(5,\)"):
        RAT(sac(), sac(entries=5), budget(), SMALL)
    with pytest.raises(SpecError, match="through tanh"):
        RAT(sac(), ppo(), budget(), SMALL).update({"observations": {"state": states()}})
    with pytest.raises(UserError, match="mu should be"):
        RATConfig(mu=-1.0)


def test_entries_that_cannot_be_moved_are_left_out():
    class Stuck(Linear):
        """Its second entry does not depend on anything that may be touched."""

        def distribution(self, state):
            pi = super().distribution(state)
            mean = torch.stack([pi.mean[..., 0], 1 + 1e-3 * state[..., 0]], dim=-1)
            return Gaussian(mean, pi.log_std, pi.squashed)

    class Left(Linear):
        def distribution(self, state):
            mean = -torch.ones(*state.shape[:-1], ACTION)
            return Gaussian(mean, torch.zeros_like(mean), squashed=False)

    rat = RAT(Stuck(), Left(), budget(), SMALL)
    assert rat.find_movable({"state": states(50)}).tolist() == [True, False]
    assert (
        RAT(Stuck(), Stuck(), budget(), SMALL).find_movable({"state": states(50)}).all()
    )  # no distance
    info = rat.update({"observations": {"state": states()}})
    assert info["divergence"] < 10


# a point is steered


class GoesLeft(Linear):
    """The intention: to where the second entry says with the other sign."""

    def distribution(self, state):
        return super().distribution(state * torch.tensor([1.0, -1.0, 1.0]))


class Line:
    """A point on a line, and its goal at 1: state (x, 1, 0); success at x <= -.8, the far side."""

    interface = interface()

    def reset(self, *, seed=None, options=None):
        self.x = np.random.default_rng(seed).uniform(-0.3, 0.3)
        return self._observe(), {}

    def step(self, action):
        self.x += 0.2 * float(action[0])
        info = {"success": self.x <= -0.8, "reward_terms": {}}
        return self._observe(), self.x, False, False, info

    def get_state(self):
        return np.array([self.x])

    def _observe(self):
        return {"state": np.array([self.x, 1.0, 0.0], np.float32)}


def success(policy, n=8):
    return np.mean([rollout(Line(), policy, horizon=20, seed=s).success for s in range(n)])


def test_a_point_that_goes_right_is_steered_to_the_left():
    """As RAT collects: the perturbed victim for a while, then the intention."""
    data = np.random.default_rng(0).uniform(-1, 1, (100, STATE)).astype(np.float32)
    config = BudgetConfig(size=1.2, unit="raw")
    one = Budget.of(config, SPEC, data, mask=np.array([True, True, False]))
    victim, intention = Linear(), GoesLeft()
    rates = RATConfig(widths=(32,), adversary_rate=3e-3, weight_rate=3e-3, inner_rate=0.01)
    rat = RAT(victim, intention, one, rates, q=lambda s, a: -(a[:, 0] + 1).square())
    rng, seen = np.random.default_rng(0), []
    for round_ in range(4):
        collector = Handover(Attacked(victim, rat, one), intention, 20, rng)
        seen += [rollout(Line(), collector, horizon=20, seed=round_).observations["state"]]
        table = torch.from_numpy(np.concatenate(seen))
        for _ in range(50):
            index = torch.from_numpy(rng.integers(len(table), size=64))
            rat.update({"observations": {"state": table[index]}})
    assert success(victim) == 0 and success(intention) == 1
    assert success(Attacked(victim, RandomPerturbation(one), one)) == 0
    assert success(Attacked(victim, rat, one)) == success(rat) == 1
    assert success(Attacked(victim, PGD(victim, intention, one), one), n=2) == 1
