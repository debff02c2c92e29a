"""What makes policies hard to attack; the policy to clone jumps where x passes 0."""

import dataclasses

import numpy as np
import pytest
import torch

from robolearn.algos.bc import BehaviorCloning
from robolearn.algos.gaussians import GaussianClone
from robolearn.algos.hard_bc import HardCloning, HardCloningConfig, HardeningConfig
from robolearn.algos.hard_ppo import HardeningConfig as Term
from robolearn.algos.hard_ppo import HardPPO, HardPPOConfig
from robolearn.algos.ppo import PPO, PPOConfig
from robolearn.attack import require_victim
from robolearn.errors import UserError
from robolearn.loops import checkpoint
from robolearn.loops.offline import OfflineConfig, offline
from robolearn.networks.functional import gaussian_kl
from robolearn.state_attack import Budget, worst
from robolearn.types import ArraySpec, Spec

STATE = ArraySpec((3,), names=("x", "y", "fixed"))
INTERFACE = Spec("test/Plane", {"state": STATE}, ArraySpec((2,)), period_s=0.05)
CLONING = {"members": 2, "widths": (32, 32), "dropout": 0.0, "learning_rate": 3e-3}


def hard_cloning(**harden):
    return HardCloningConfig(**CLONING, harden=HardeningConfig(**harden))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_worst_of_a_plane_is_at_the_budgets_edge(norm):
    budget = Budget(STATE, norm, torch.tensor([0.3, 0.1, 0.0]))
    slope = torch.tensor([2.0, -1.0, 5.0])
    state = torch.randn(2, 5, 3, generator=generator())
    delta = worst(lambda seen: seen @ slope, state, budget, 3, generator())
    found, most = delta @ slope, (budget.steepest(slope[None]) @ slope).item()
    assert found.min() > 0.85 * most and found.max() <= most * (1 + 1e-6)
    assert budget.measure(delta).max() <= 1 + 1e-6


def test_the_worst_is_found_where_there_is_no_slope_at_first():
    """As with every divergence, whose minimum is where nothing is perturbed."""
    budget = Budget(STATE, "linf", torch.tensor([0.5, 0.5, 0.0]))
    state = torch.randn(40, 3, generator=generator())
    delta = worst(lambda seen: (seen - state).square().sum(-1), state, budget, 3, generator(1))
    torch.testing.assert_close(delta.abs(), torch.tensor([0.5, 0.5, 0.0]).expand(40, 3))


def wanted(state):
    actions = np.stack([np.tanh(8 * state[:, 0]), 0.5 * np.tanh(state[:, 1])], axis=1)
    return actions.astype(np.float32)


def clones(config, seed=0):
    rng = np.random.default_rng(seed)
    state = rng.normal(size=(1200, 3)).astype(np.float32)
    state[:, 2] = 1.0
    data = {
        "observations": {"state": state},
        "actions": wanted(state),
        "episode": np.repeat(np.arange(12), 100),
    }
    learner = HardCloning(INTERFACE, config)
    offline(learner, data, OfflineConfig(epochs=10, batch_size=64), seed=0)
    return learner, state


def swing(learner, state, size=0.3):
    """Give by how much the action can be moved, in the mean."""
    budget = Budget(STATE, "linf", torch.tensor([size, size, 0.0]))
    state = torch.as_tensor(state)
    learner.network.eval()
    with torch.no_grad():
        usual = learner(state)

    def moved(seen):
        return (learner(seen) - usual).square().mean(dim=-1)

    delta = worst(moved, state.expand(2, -1, -1), budget, 5, generator())
    with torch.no_grad():
        return moved(state + delta).sqrt().mean().item()


def test_smoothness_and_a_lipschitz_constant_make_actions_hard_to_move():
    plain, state = clones(HardCloningConfig(**CLONING))
    smooth, _ = clones(hard_cloning(smoothness=4.0))
    bounded, _ = clones(hard_cloning(lipschitz=0.7))
    loose = swing(plain, state)

    def error(learner):
        return np.square(learner.act({"state": state}) - wanted(state)).mean()

    assert error(plain) < 0.005
    assert swing(smooth, state) < 0.75 * loose and error(smooth) < 0.1
    assert swing(bounded, state) < 0.75 * loose and error(bounded) < 0.15


def test_no_pair_of_states_breaks_the_lipschitz_constant():
    learner, _ = clones(hard_cloning(lipschitz=1.5))
    one, other = torch.randn(2, 5000, 3, generator=generator())
    one[2500:] = other[2500:] + 0.01 * one[2500:]  # near pairs, too
    std = learner.network["normaliser"].std
    learner.network.eval()
    with torch.no_grad():
        change = (learner(one) - learner(other)).norm(dim=-1)
    ratio = change / ((one - other) / std).norm(dim=-1)
    assert 0.9 < ratio.max() <= 1.5 + 1e-4


def test_the_lipschitz_constant_holds_after_every_step():
    """Also where the policy has acted in between, so that norms are known that are old by then."""
    config = dataclasses.replace(hard_cloning(lipschitz=0.5), learning_rate=0.1)
    learner = HardCloning(INTERFACE, config)
    state = torch.randn(500, 3, generator=generator())
    batch = {"observations": {"state": state}, "actions": torch.sign(state[:, :2])}
    for _ in range(5):
        learner.act({"state": state.numpy()})
        for _ in range(5):
            learner.update(batch)
    learner.network.eval()
    with torch.no_grad():
        slope = (learner(state + 1e-2) - learner(state)).norm(dim=-1) / (1e-2 * 3**0.5)
    assert slope.max() <= 0.5 + 1e-3


def test_a_hard_clone_without_hardening_is_a_clone():
    config = HardCloningConfig(**CLONING)
    one, other = HardCloning(INTERFACE, config), BehaviorCloning(INTERFACE, config)
    state = {"state": np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)}
    np.testing.assert_array_equal(one.act(state), other.act(state))


def test_members_have_losses_and_gradients_of_their_own():
    config = hard_cloning(smoothness=1.0)
    batch = {
        "observations": {"state": torch.randn(2, 8, 3, generator=generator())},
        "actions": torch.zeros(2, 8, 2),
    }
    learner = HardCloning(INTERFACE, config)
    learner.fit_normaliser({"state": batch["observations"]["state"][0]})
    loss, info = learner.bc_loss(batch)
    loss.backward()
    whole = [p.grad[0].clone() for p in learner.network["mlp"].parameters()]
    assert info["hardness"] > 0
    again = HardCloning(INTERFACE, config)
    again.fit_normaliser({"state": batch["observations"]["state"][0]})
    batch["actions"][1] += 0.7  # the other member's data
    again.bc_loss(batch)[0].backward()
    for one, p in zip(whole, again.network["mlp"].parameters(), strict=True):
        torch.testing.assert_close(p.grad[0], one)


@pytest.mark.parametrize("lipschitz", [None, 2.0])
def test_hard_clones_are_kept_and_read_again(tmp_path, lipschitz):
    learner, state = clones(hard_cloning(lipschitz=lipschitz))
    checkpoint.save(tmp_path / "kept", learner, {"epoch": 1})
    again = checkpoint.load_learner(tmp_path / "kept", INTERFACE).learner
    np.testing.assert_array_equal(again.act({"state": state}), learner.act({"state": state}))
    batch = {"observations": {"state": torch.as_tensor(state[:64])}, "actions": torch.zeros(64, 2)}
    for one in (learner, again):
        one.update(batch)
    np.testing.assert_array_equal(again.act({"state": state}), learner.act({"state": state}))
    require_victim(GaussianClone(again), Budget.unit(STATE))


def hard_ppo(seed=0, q=None, gamma=0.99, **harden):
    config = PPOConfig(widths=(16,), minibatch=64, epochs=2, gamma=gamma)
    return HardPPO(INTERFACE, HardPPOConfig.of(config, Term(**harden)), seed, q=q)


def rollout(seed=0, steps=32, n=4):
    g = generator(seed)
    state = torch.randn(steps + 1, n, 3, generator=g)
    state[..., 2] = 1.0
    ended = torch.zeros(steps, n, dtype=torch.bool)
    return {
        "observations": {"state": state[:-1]},
        "next_observations": {"state": state[1:]},
        "actions": torch.randn(steps, n, 2, generator=g),
        "rewards": torch.randn(steps, n, generator=g),
        "terminated": ended,
        "ended": ended,
        "steps": torch.arange(steps)[:, None].expand(steps, n),
    }


def seasoned(**settings):
    """Give a learner that has seen which entries vary, and the rows of a rollout."""
    learner = hard_ppo(**settings)
    learner.update(rollout(1))
    rows, _ = learner.prepare(rollout(2))
    return learner, rows


def test_the_term_of_ppo_is_the_largest_divergence_within_reach():
    learner, rows = seasoned(size=0.5, steps=10, weight=3.0)
    std = learner.network.normaliser.std
    torch.testing.assert_close(learner.budget().radius, 0.5 * std * torch.tensor([1.0, 1.0, 0.0]))
    state = rows["state"]
    grid = torch.cartesian_prod(*[torch.linspace(-1, 1, 21)] * 2)
    deltas = torch.cat([grid, torch.zeros(len(grid), 1)], dim=1) * learner.budget().radius
    usual = learner.distribution(state[:, None])
    far = learner.distribution(state[:, None] + deltas)
    most = gaussian_kl(usual.mean, usual.log_std, far.mean, far.log_std).amax(dim=1)
    loss, info = learner.loss(rows)
    assert info["hardness"].item() == pytest.approx(most.mean().item(), rel=0.15)
    plain = PPO.loss(learner, rows)[0]
    assert loss.item() == pytest.approx(plain.item() + 3.0 * info["hardness"].item(), rel=1e-5)


def test_smoothness_makes_a_policy_of_ppo_smoother():
    smooth, loose = seasoned(weight=50.0), seasoned(weight=0.0)
    found = []
    for learner, rows in (smooth, loose):
        for _ in range(40):
            learner._step(rows)
        found.append(learner.loss(rows)[1]["hardness"].item())
    assert found[0] < 0.3 * found[1]


def test_far_from_an_episodes_begin_smoothness_counts_less():
    learner, rows = seasoned(discounted=True, gamma=0.9)
    expected = 0.9 ** torch.arange(32.0).repeat_interleave(4)
    torch.testing.assert_close(rows["hard"], expected)
    constant = rows | {"hard": torch.ones(128)}
    assert learner.loss(rows)[1]["hardness"] < learner.loss(constant)[1]["hardness"]


def test_the_worst_value_is_what_an_intention_can_hope_for():
    """It wants a large first entry of the action; the term has the policy keep that small."""

    def q(state, action):
        return action[:, 0]

    learner, rows = seasoned(term="worst value", q=q, weight=10.0, size=1.0)
    before = learner.loss(rows)[1]["hardness"].item()
    mean = learner.distribution(rows["state"]).mode[:, 0].clamp(-1, 1).mean().item()
    assert before > mean  # the best that perturbation can do
    for _ in range(40):
        learner._step(rows)
    assert learner.loss(rows)[1]["hardness"].item() < before - 0.01


def test_the_unit_of_the_worst_value_changes_nothing():
    def found(unit):
        q = lambda state, action: unit * action[:, 0]  # noqa: E731
        learner = hard_ppo(term="worst value", q=q, weight=10.0)
        learner.update(rollout(1))
        return learner.act({"state": rollout(2)["observations"]["state"][0].numpy()})

    np.testing.assert_array_equal(found(1.0), found(1024.0))


def test_the_worst_value_needs_one():
    with pytest.raises(UserError, match="'worst value' needs a Q"):
        hard_ppo(term="worst value").update(rollout())
