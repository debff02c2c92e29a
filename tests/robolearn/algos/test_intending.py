"""An intention and an adversary that learn together, on points that are to be on the far side."""

import dataclasses

import numpy as np
import pytest
import torch

from robolearn.algos.gaussians import GaussianExpert
from robolearn.algos.intending import IntendingConfig
from robolearn.algos.intending_ppo import RolloutIntending
from robolearn.algos.intending_sac import ReplayIntending, ScaledSAC
from robolearn.algos.ppo import PPO, PPOConfig
from robolearn.algos.rat import RAT, RATConfig
from robolearn.algos.sac import SACConfig
from robolearn.attack import Attacked
from robolearn.errors import UserError
from robolearn.loops import checkpoint
from robolearn.loops.evaluate import evaluate
from robolearn.loops.handing_over import HandedOver
from robolearn.loops.off_policy import OffPolicyConfig, off_policy
from robolearn.loops.on_policy import OnlineConfig, online
from robolearn.loops.replay import Replay

from .points import Points
from .victims import ACTION, Linear, budget, interface, states

SMALL = IntendingConfig(cloning=300, updates=5, batch=32, kept=200, value_widths=(16,))


pytestmark = pytest.mark.usefixtures("one_thread")


def learner(config=SMALL, size=0.5, **ppo):
    intention = PPO(interface(), PPOConfig(widths=(16,), minibatch=64, **ppo), 0)
    rat = RATConfig(widths=(16,), adversary_rate=3e-3)
    adversary = RAT(Linear(), GaussianExpert(intention), budget(size=size), rat, 0)
    return RolloutIntending(intention, adversary, config, 0)


def on_replay(config=SMALL, size=0.5, **sac):
    intention = ScaledSAC(interface(), SACConfig(widths=(16,), **sac), 0)
    rat = RATConfig(widths=(16,), adversary_rate=3e-3)
    adversary = RAT(Linear(), GaussianExpert(intention), budget(size=size), rat, 0)
    return ReplayIntending(intention, adversary, config, 0)


def rollout(t=8, n=4, seed=0):
    rng = np.random.default_rng(seed)
    arrays = {"state": rng.normal(size=(2, t, n, 3)), "actions": rng.uniform(-1, 1, (t, n, ACTION))}
    state, action = (torch.tensor(a, dtype=torch.float32) for a in arrays.values())
    ended = torch.zeros(t, n, dtype=torch.bool)
    ended[-1] = True
    return {
        "observations": {"state": state[0]}, "next_observations": {"state": state[1]},
        "actions": action, "rewards": -action[..., 0].square() + action[..., 1],
        "terminated": torch.zeros_like(ended), "ended": ended,
    }  # fmt: skip


def test_it_begins_by_doing_what_the_victim_does():
    one, seen = learner(), states(200)
    error = one.clone(seen)
    assert error < 0.1
    acted = one.act({"state": seen.numpy()})
    wanted = Linear().act({"state": seen.numpy()})
    assert np.abs(acted - wanted).mean() < 0.2
    assert learner(dataclasses.replace(SMALL, cloning=0)).clone(seen) == 0.0
    unsaid = dataclasses.replace(SMALL, cloning=None)
    assert 0 < learner(unsaid).clone(seen) < error  # by more steps
    assert on_replay(unsaid).clone(seen) == 0.0  # it begins with nothing


def test_the_advantages_gradient_is_that_of_the_reward_by_the_action():
    """Without a future Q is the reward, -a0^2 + a1, in units of the spread of r - V."""
    one = learner(gamma=0.0)
    many = rollout(200, 16)
    with torch.no_grad():
        values = one.intention.network.values(many["observations"]["state"]).squeeze(-1)
    spread = (many["rewards"] - values).std()
    for _ in range(60):
        one._learn_advantage(many)
    action = torch.tensor([[-0.6, 0.0], [0.0, 0.5], [0.6, -0.5]], requires_grad=True)
    one.q(torch.zeros(3, 3), action).sum().backward()
    expected = torch.stack([-2 * action[:, 0], torch.ones(3)], dim=1) / spread
    torch.testing.assert_close(action.grad, expected.detach(), atol=0.35, rtol=0)


def test_it_remembers_the_latest_states_of_both():
    one = learner()
    one.clone(states(50))
    one.begun = lambda: np.full((7, 3), 9.0, np.float32)
    one.update(rollout())
    assert one.states.shape == (32 + 7, 3) and (one.states[-7:] == 9).all()
    for seed in range(6):
        one.update(rollout(seed=seed))
    assert one.states.shape == (200, 3)


def test_entries_that_cannot_be_moved_are_left_out():
    class Saturated(Linear):
        def distribution(self, state):
            found = super().distribution(state)
            still = torch.cat([found.mean[..., :1], torch.ones_like(found.mean[..., 1:])], dim=-1)
            return dataclasses.replace(found, mean=still)

    one = learner()
    one.clone(states(50))
    one.adversary.victim = Saturated()
    one.update(rollout())
    assert one.adversary.network.movable.tolist() == [True, False]


def batch(n=32, seed=0):
    taken = rollout(1, n, seed)
    rows = {k: v[0] for k, v in taken.items() if isinstance(v, torch.Tensor)}
    states = {k: {"state": taken[k]["state"][0]} for k in ("observations", "next_observations")}
    return rows | states


def test_on_a_replay_the_critics_say_what_actions_are_worth():
    one = on_replay()
    assert one.clone(states(200)) < 0.1
    state, action = states(4), torch.zeros(4, ACTION)
    network = one.intention.network
    seen = (state - states(200).mean(dim=0)) / states(200).std(dim=0, correction=0)
    worth = network.targets(seen, action).amin(dim=0)
    far = one.intention.see(1e6 * state)
    assert far.abs().max() == 10
    torch.testing.assert_close(one.q(state, action), worth)
    assert one.adversary.q == one.q
    assert on_replay(dataclasses.replace(SMALL, weighted=False)).adversary.q is None


def test_on_a_replay_the_critics_can_begin_anew():
    one, fresh = on_replay(SMALL), on_replay(SMALL)
    one.update(batch(seed=0))
    last = [each.intention.network.critics.last.weight for each in (one, fresh)]
    assert not torch.equal(*last)
    one.begin_critics()
    assert torch.equal(*last)


def test_nobody_hands_over_late_where_nobody_hands_over():
    with pytest.raises(UserError, match="latest: nobody hands over unless combined is true"):
        IntendingConfig(latest=0.5, combined=False)


def test_on_a_replay_the_adversary_learns_every_now_and_then_where_both_got_to():
    one = on_replay(dataclasses.replace(SMALL, every=3))
    one.clone(states(50))
    one.begun = lambda: np.full((7, 3), 9.0, np.float32)
    found = []
    for seed in range(6):
        remembered = batch(4, seed) | {"reward_terms": {}}
        assert torch.equal(one.reward(remembered), remembered["rewards"])
        found.append("adversary/divergence" in one.update(batch(seed=seed)))
    assert found == [False, False, True, False, False, True]
    assert one.states.shape == (2 * (3 * 4 + 7), 3)
    assert torch.equal(one.states[:4], batch(4, 0)["observations"]["state"])


def test_on_a_replay_going_on_is_as_if_never_stopped(tmp_path):
    config = dataclasses.replace(SMALL, every=3)
    one, other = on_replay(config), on_replay(config)
    one.clone(states(50))
    for seed in range(4):
        one.reward(batch(4, seed))
        one.update(batch(seed=seed))
    checkpoint.save(tmp_path / "kept", one, {"updates": 4})
    assert checkpoint.go_on(tmp_path / "kept", other) == {"updates": 4}
    for seed in range(4, 6):
        assert one.update(batch(seed=seed)) == other.update(batch(seed=seed))
    for name, tensor in one.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], tensor, rtol=0, atol=0)


@pytest.mark.parametrize("weighted", [True, False])
def test_going_on_is_as_if_never_stopped(tmp_path, weighted):
    config = dataclasses.replace(SMALL, weighted=weighted)
    one, other = learner(config), learner(config)
    one.clone(states(50))
    one.update(rollout())
    checkpoint.save(tmp_path / "kept", one, {"updates": 1})
    assert checkpoint.go_on(tmp_path / "kept", other) == {"updates": 1}
    assert one.update(rollout(seed=1)) == other.update(rollout(seed=1))
    for name, tensor in one.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], tensor, rtol=0, atol=0)
    moved = one.adversary.weighting.layers[-1].weight
    fresh = learner(config).adversary.weighting.layers[-1].weight
    assert bool((moved != fresh).any()) == weighted


@pytest.mark.parametrize("kind", ["rollouts", "replay"])
def test_points_are_made_to_go_to_the_far_side(kind):
    """The victim goes to 1; whoever is wanted at -.8 is rewarded by -x. It gets there attacked."""
    config = dataclasses.replace(SMALL, weighted=False, every=100)
    one = learner(config, 1.5, initial_std=0.5) if kind == "rollouts" else on_replay(config, 1.5)
    one.clone(0.5 * states(200) + torch.tensor([0.0, 1.0, 0.0]))
    attacked = Attacked(Linear(), one.adversary, one.adversary.budget)
    env = HandedOver(Points(), attacked)
    one.begun = env.begun
    if kind == "rollouts":
        online(one, env, OnlineConfig(steps=4_000, horizon=16), seed=3)
    else:
        length = OffPolicyConfig(steps=1_600, random_steps=200, batch=64, capacity=2_000)
        off_policy(one, env, length, 3, Replay(env.interface, 2_000, env.num_envs))
    seeds = list(range(10))
    assert evaluate(Points(), Linear(), seeds, 16).success == 0
    assert evaluate(Points(), one, seeds, 16).success >= 0.9
    assert evaluate(Points(), attacked, seeds, 16).success >= 0.9
