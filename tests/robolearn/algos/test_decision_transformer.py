import numpy as np
import pytest
import torch

from robolearn.algos.decision_transformer import DecisionTransformer, DecisionTransformerConfig
from robolearn.algos.gaussians import GaussianExpert
from robolearn.algos.pgd import divergence
from robolearn.algos.rat import RAT, RATConfig
from robolearn.errors import DataError, SpecError, UserError
from robolearn.loops import checkpoint
from robolearn.loops.sequences import Sequences, SequencesConfig, learning
from robolearn.networks.context import Context
from robolearn.state_attack import Budget
from robolearn.types import ArraySpec, Spec

STATE, ACTION, K = 3, 2, 4
SMALL = {"context": K, "width": 16, "layers": 2, "heads": 2, "dropout": 0.0, "longest": 16}
INTERFACE = Spec("test/Line", {"state": ArraySpec((STATE,))}, ArraySpec((ACTION,)), period_s=0.1)
EPISODE = 8  # steps


def make(seed=0, **changes):
    return DecisionTransformer(INTERFACE, DecisionTransformerConfig(**SMALL | changes), seed)


def restless(seed=0):
    """Give an untrained one whose weights are large, so that it heeds all that it sees."""
    learner = make(seed)
    with torch.no_grad():
        for weight in learner.sequence.parameters():
            if weight.ndim > 1:
                weight.mul_(15)
    return learner


def context(batch=2, length=K, seed=0):
    g = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(batch, length, *shape, generator=g)  # noqa: E731
    steps = torch.arange(length).expand(batch, length)
    return Context(draw(), draw(STATE), draw(ACTION).clamp(-1, 1), steps)


def moves(a, reward):
    """Give the columns of an episode on a line: x moves by a tenth of a steady action."""
    x = 0.1 * a * np.arange(EPISODE)
    states = np.stack([x, np.ones(EPISODE), np.zeros(EPISODE)], axis=1)
    actions = np.tile([a, 0.0], (EPISODE, 1))
    return states, actions, np.full(EPISODE, reward)


def line():
    """Give transitions of those who go right, rewarded by 1 a step, and left, rewarded by 0."""
    episodes = [moves(0.8, 1.0), moves(-0.8, 0.0)] * 3
    states, actions, rewards = (np.concatenate(columns) for columns in zip(*episodes, strict=True))
    return {
        "observations": {"state": states.astype(np.float32)},
        "actions": actions.astype(np.float32),
        "rewards": rewards,
        "episode": np.repeat(np.arange(6), EPISODE),
        "step": np.tile(np.arange(EPISODE), 6),
    }


def go(learner, target):
    """Let it act on the line; give the return, and what was to go before each step."""
    learner.ask(target)
    learner.reset(1)
    x, total, to_go = 0.0, 0.0, []
    for _ in range(EPISODE):
        to_go.append(learner.to_go.item())
        action = learner.act({"state": np.array([[x, 1.0, 0.0]], np.float32)})[0]
        x, total = x + 0.1 * action[0], total + (action[0] > 0)
    return total, to_go


@pytest.fixture(scope="module")
def learnt():
    learner = make(layers=1, learning_rate=3e-3, warmup=10)
    config = SequencesConfig(updates=120, batch=32)
    learning(learner, Sequences(line(), INTERFACE, K), config, seed=0)
    return learner


@pytest.mark.parametrize("part", Context._fields[:3])
@pytest.mark.parametrize("t", range(K))
def test_later_tokens_change_nothing_earlier(part, t):
    """Of a step's tokens, the action comes behind the state."""
    learner, before = restless(), context()
    changed = getattr(before, part).clone()
    changed[:, t] += 0.5
    first = t + 1 if part == "actions" else t
    with torch.no_grad():
        one, two = learner(before), learner(before._replace(**{part: changed}))
    torch.testing.assert_close(one[:, :first], two[:, :first], rtol=0, atol=1e-6)
    assert ((one - two)[:, first:].abs().amax(dim=-1) > 1e-3).all()


def test_acting_step_by_step_is_what_the_whole_sequence_says():
    learner = restless()
    learner.ask(3.0)
    learner.reset(2)
    states = context(2).states
    sent, to_go = [], []
    for t in range(K):
        to_go.append(learner.to_go)
        sent.append(torch.as_tensor(learner.act({"state": states[:, t].numpy()})))
    whole = context(2)._replace(
        returns=torch.stack(to_go, dim=1), states=states, actions=torch.stack(sent, dim=1)
    )
    with torch.no_grad():
        expected = learner._policy(learner(whole)).mode
    torch.testing.assert_close(torch.stack(sent, dim=1), expected, rtol=0, atol=1e-5)


def test_what_lies_behind_the_context_is_forgotten():
    learner, states = make(), context(2, 9).states
    learner.reset(2)
    for t in range(9):
        learner.act({"state": states[:, t].numpy()})
    assert learner.context.steps.tolist() == [[6, 7, 8]] * 2  # the present one is the last of K
    torch.testing.assert_close(learner.context.states, states[:, 6:])


def test_a_high_return_is_reached_if_it_is_asked_for_and_a_low_one(learnt):
    (high, counted), (low, still) = go(learnt, 8.0), go(learnt, 0.0)
    assert high == EPISODE and low == 0
    np.testing.assert_allclose(counted, 8.0 - np.arange(EPISODE), atol=1.0)  # r_t as expected
    np.testing.assert_allclose(still, 0.0, atol=1.0)


def test_the_best_return_of_the_data_is_asked_for_unless_told(learnt):
    assert learnt.network.best == EPISODE
    learnt.asked = None
    learnt.reset(1)
    assert learnt.to_go.tolist() == [EPISODE]
    assert make(target=2.5).to_go.tolist() == [2.5]


def test_the_spread_is_learnt_and_not_below_its_least(learnt):
    policy = learnt.distribution(torch.zeros(1, STATE))
    assert policy.log_std[0, 1].exp() < 0.5 < make()._policy(torch.zeros(16)).log_std.exp()[0]
    narrow = make(least_std=0.5)
    narrow.sequence.log_std.data.fill_(-9.0)
    std = narrow.distribution(torch.zeros(1, STATE)).log_std.exp()
    np.testing.assert_allclose(std.tolist(), [[0.5, 0.5]], rtol=1e-6)


def test_the_distribution_is_that_of_the_episode_it_is_in_with_gradients():
    learner = restless()
    learner.reset(1)
    fresh = learner.distribution(torch.zeros(5, STATE)).mean
    learner.act({"state": np.ones((1, STATE), np.float32)})
    state = torch.zeros(5, STATE, requires_grad=True)
    policy = learner.distribution(state)
    assert (policy.mean - fresh).abs().max() > 1e-3
    policy.mean.sum().backward()
    assert (state.grad.abs().amax(dim=1) > 0).all()
    np.testing.assert_allclose(
        policy.mode[:1].detach(),
        learner.act({"state": np.zeros((1, STATE), np.float32)}),
        atol=1e-6,
    )
    assert learner.distribution(torch.zeros(2, 3, STATE)).mean.shape == (2, 3, ACTION)
    learner.reset(4)
    with pytest.raises(SpecError, match="5 states in 4 episodes"):
        learner.distribution(state)


@pytest.mark.parametrize("length", [1, K])
def test_moments_of_many_episodes_are_what_it_was_in(length):
    states = context(2, 7).states
    learner = restless() if length == K else make(context=1)
    moments, expected = [], []
    learner.reset(2)
    for t in range(7):
        moments.append(learner.moment())
        expected.append(learner.distribution(states[:, t]).mean)
        learner.act({"state": states[:, t].numpy()})
    state = torch.cat([states[:, t] for t in range(7)]).requires_grad_()
    mean = learner.at(torch.cat(moments)).distribution(state).mean
    torch.testing.assert_close(mean, torch.cat(expected), rtol=0, atol=1e-5)
    assert torch.autograd.grad(mean.sum(), state)[0].abs().amax(dim=1).min() > 0


def test_an_adversary_learns_from_moments():
    victim = restless()
    budget = Budget(INTERFACE.observations["state"], "linf", torch.tensor([0.5, 0.5, 0.5]))
    aim = GaussianExpert(Right(), 0.5)
    rat = RAT(victim, aim, budget, RATConfig(widths=(16,), adversary_rate=1e-2))
    moments, states = [], context(1, EPISODE).states[0]
    for state in states:
        moments.append(victim.moment())
        victim.act({"state": state[None].numpy()})
    batch = {"observations": {"state": states}, "moments": torch.cat(moments)}
    seen = [rat.update(batch)["divergence"] for _ in range(60)]
    assert seen[-1] < 0.8 * seen[0]
    assert rat.victim is victim
    there = victim.at(batch["moments"])
    with torch.no_grad():
        after = divergence(there, states + rat(states), aim.distribution(states)).mean()
    assert after.item() < 0.8 * seen[0]


class Right:
    def reset(self, n):
        pass

    def act(self, observation, explore=False):
        return np.tile(np.array([[0.8, 0.0]], np.float32), (len(observation["state"]), 1))


def test_samples_stay_in_the_range_and_differ():
    learner, observation = make(), {"state": np.zeros((50, STATE), np.float32)}
    learner.reset(50)
    drawn = learner.act(observation, explore=True)
    assert np.abs(drawn).max() <= 1 and drawn.std() > 0.3


def test_a_checkpoint_acts_alike(learnt, tmp_path):
    learnt.asked = None
    checkpoint.save(tmp_path / "checkpoint", learnt)
    restored = checkpoint.load_policy(tmp_path / "checkpoint", INTERFACE)
    state = np.random.default_rng(0).normal(size=(6, 1, STATE)).astype(np.float32)
    learnt.reset(1)
    restored.reset(1)
    for one in state:
        np.testing.assert_array_equal(learnt.act({"state": one}), restored.act({"state": one}))


def test_what_does_not_fit_is_refused():
    camera = {"state": ArraySpec((3,)), "front": ArraySpec((8, 8, 3), "uint8")}
    with pytest.raises(SpecError, match="sees the 'state' only, not front, state"):
        DecisionTransformer(
            Spec("test", camera, ArraySpec((2,)), period_s=0.1), DecisionTransformerConfig()
        )
    with pytest.raises(UserError, match="heads: 3 do not divide a width of 16"):
        make(heads=3)
    with pytest.raises(DataError, match="every reward in the data is 0"):
        make().fit_scales(Sequences(line() | {"rewards": np.zeros(48)}, INTERFACE, K).scales())
