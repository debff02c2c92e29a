from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Independent, Normal, TanhTransform, TransformedDistribution

from robolearn.algos.sac import LOG_STD, SAC, SACConfig
from robolearn.errors import DataError, SpecError, UserError
from robolearn.loops import checkpoint
from robolearn.types import ArraySpec, Learner, Spec

SMALL = SACConfig(widths=(16, 12), learning_rate=3e-3)
B = 20  # transitions
STATE, ACTION = 3, 2  # entries


pytestmark = pytest.mark.usefixtures("one_thread")


def interface(**cameras):
    observations = {"state": ArraySpec((STATE,))} | cameras
    return Spec("test/Point", observations, ArraySpec((ACTION,)), period_s=0.05)


def batch(seed=0, size=B):
    """Give random transitions, of which some terminated; the reward is the first action."""
    rng = np.random.default_rng(seed)
    arrays = {
        "actions": rng.uniform(-1, 1, (size, ACTION)),
        "rewards": np.zeros(size),
        "terminated": rng.random(size) < 0.3,
    }
    arrays["rewards"] = arrays["actions"][:, 0]
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    tensors = {n: t if t.dtype == torch.bool else t.float() for n, t in tensors.items()}
    for when in ("observations", "next_observations"):
        tensors[when] = {"state": torch.from_numpy(rng.normal(size=(size, STATE))).float()}
    return tensors


def trained(seed=0, updates=3, config=SMALL):
    learner = SAC(interface(), config, seed)
    infos = [learner.update(batch(i)) for i in range(updates)]
    return learner, infos


def separate(critics, k):
    """Build critic k as an ordinary network of torch's own layers."""
    layers = []
    for hidden in critics.hidden:
        twin = nn.Linear(*hidden.weight.shape[1:])
        twin.weight.data, twin.bias.data = hidden.weight.data[k].T, hidden.bias.data[k, 0]
        layers += [twin, nn.ReLU()]
    last = nn.Linear(critics.last.weight.shape[-1], 1)
    last.weight.data, last.bias.data = critics.last.weight.data[k], critics.last.bias.data[k]
    return nn.Sequential(*layers, last)


def torchs(pi):
    """Give a distribution of ours as torch knows it."""
    gaussian = Independent(Normal(pi.mean.double(), pi.log_std.double().exp()), 1)
    return TransformedDistribution(gaussian, TanhTransform(cache_size=1))


def parameters(module):
    return {name: p.detach().clone() for name, p in module.named_parameters()}


@pytest.mark.parametrize(("critics", "widths"), [(1, (8,)), (2, (16, 12)), (5, (7, 6, 5))])
def test_the_critics_are_separate_networks_side_by_side(critics, widths):
    learner = SAC(interface(), SACConfig(widths=widths, critics=critics))
    rows = batch()
    q = learner.network.critics(rows["observations"]["state"], rows["actions"])
    x = torch.cat([rows["observations"]["state"], rows["actions"]], dim=1)
    assert q.shape == (critics, B)
    for k in range(critics):
        torch.testing.assert_close(q[k], separate(learner.network.critics, k)(x)[:, 0])
    others = SAC(interface(), SACConfig(widths=widths, critics=critics), seed=1).network.critics
    assert not torch.allclose(q, others(rows["observations"]["state"], rows["actions"]))
    assert len({tuple(member.tolist()) for member in q}) == critics


def test_their_first_weights_are_as_torchs():
    weights = SAC(interface(), SACConfig()).network.critics
    for layer, inputs in zip((*weights.hidden, weights.last), (5, 256, 256), strict=True):
        values = torch.cat([layer.weight.flatten(), layer.bias.flatten()]).abs()
        bound = inputs**-0.5
        assert 0.9 * bound < values.max() <= bound


@pytest.mark.parametrize(("critics", "widths"), [(1, (8,)), (2, (16, 12)), (3, (7, 6, 5))])
def test_the_slope_of_the_least_critic_is_that_of_autograd(critics, widths):
    learner = SAC(interface(), SACConfig(widths=widths, critics=critics))
    rows = batch(size=100)
    action = rows["actions"].clone().requires_grad_()
    least = learner.network.critics(rows["observations"]["state"], action).amin(dim=0)
    least.sum().backward()
    q, slope = learner.network.critics.least(rows["observations"]["state"], action.detach())
    torch.testing.assert_close(q, least.detach())
    torch.testing.assert_close(slope, action.grad)
    assert action.grad.abs().max() > 0 and not q.requires_grad


def drawn(learner, state):
    """Draw what the learner would draw next, without changing what it draws."""
    noise = torch.Generator()
    noise.set_state(learner.noise.get_state())
    action, _ = learner.distribution(state).sample(noise)
    pi = torchs(learner.distribution(state))
    return action, pi.log_prob(action.double().clamp(-1 + 1e-12, 1 - 1e-12)).float()


def test_the_target_by_hand():
    learner, _ = trained()
    rows = batch(9)
    state = rows["next_observations"]["state"]
    action, log_pi = drawn(learner, state)
    x = torch.cat([state, action], dim=1)
    q = [separate(learner.network.targets, k)(x)[:, 0] for k in range(2)]
    value = torch.minimum(*q) - learner.alpha * log_pi
    expected = torch.where(rows["terminated"], rows["rewards"], rows["rewards"] + 0.99 * value)
    target = learner.target(rows)
    torch.testing.assert_close(target, expected.detach(), rtol=1e-4, atol=1e-4)
    assert rows["terminated"].any() and not rows["terminated"].all()
    torch.testing.assert_close(target[rows["terminated"]], rows["rewards"][rows["terminated"]])


def test_the_loss_of_the_critics_is_equation_5():
    learner, _ = trained()
    rows, noise = batch(9), learner.noise.get_state()
    y = learner.target(rows)
    learner.noise.set_state(noise)
    x = torch.cat([rows["observations"]["state"], rows["actions"]], dim=1)
    q = [separate(learner.network.critics, k)(x)[:, 0] for k in range(2)]
    expected = sum(((one - y) ** 2 / 2).mean() for one in q)
    loss, info = learner.critic_loss(rows)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(info["critic_loss"], expected.detach())
    torch.testing.assert_close(info["q"], torch.stack(q).mean().detach())


def test_the_gradient_of_the_policy_is_that_of_equation_9():
    learner, _ = trained()
    rows, noise = batch(9), learner.noise.get_state()
    state, policy = rows["observations"]["state"], list(learner.network.policy.parameters())
    action, log_pi = learner.distribution(state).sample(learner.noise)
    q = learner.network.critics(state, action).amin(dim=0)
    objective = (learner.alpha.detach() * log_pi - q).mean()
    expected = torch.autograd.grad(objective, policy)
    learner.noise.set_state(noise)
    loss, found, info = learner.actor_loss(rows)
    for ours, theirs in zip(torch.autograd.grad(loss, policy), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(info["actor_loss"], objective.detach())
    torch.testing.assert_close(info["entropy"], -log_pi.mean().detach())
    torch.testing.assert_close(found, log_pi)
    assert info["alpha"] == learner.alpha


@pytest.mark.parametrize(("entropy", "way"), [(5.0, -1), (-5.0, 1)])
def test_the_temperature_rises_where_there_is_too_little_entropy(entropy, way):
    learner = SAC(interface(), replace(SMALL, initial_alpha=0.3))
    assert learner.alpha.item() == pytest.approx(0.3)
    loss = learner.alpha_loss(torch.full((B,), -entropy))
    aim = -1.0 * ACTION
    assert loss.item() == pytest.approx(0.3 * (entropy - aim))  # Eq. (18)
    (slope,) = torch.autograd.grad(loss, [learner.network.log_alpha])
    assert np.sign(-slope.item()) == way


def test_a_step_of_each_moves_its_own_and_the_targets_follow():
    learner, _ = trained()
    before = parameters(learner.network)
    rows = batch(9)
    learner.update(rows)
    after = parameters(learner.network)
    assert all(not torch.equal(before[n], after[n]) for n in before)
    for name in (n for n in before if n.startswith("targets")):
        latest = after[name.replace("targets", "critics")]
        expected = before[name] + SMALL.tau * (latest - before[name])
        torch.testing.assert_close(after[name], expected, msg=name)
    # the gradients that are left are each objective's own
    kept = [p.grad.clone() for p in learner.network.critics.parameters()]
    learner.actor_loss(rows)[0].backward()
    for grad, p in zip(kept, learner.network.critics.parameters(), strict=True):
        assert torch.equal(grad, p.grad)
    assert all(p.grad is None for p in learner.network.targets.parameters())


def test_critics_that_begin_anew_are_as_at_first_and_the_policy_stays():
    (learner, _), fresh = trained(), SAC(interface(), SMALL)
    policy = {k: v.clone() for k, v in learner.network.policy.state_dict().items()}
    last = [each.network.critics.last.weight for each in (learner, fresh)]
    assert not torch.equal(*last)
    learner.begin_critics()
    for name in ("critics", "targets"):
        at_first = getattr(fresh.network, name).state_dict()
        for key, value in getattr(learner.network, name).state_dict().items():
            assert torch.equal(value, at_first[key]), (name, key)
    assert all(torch.equal(v, policy[k]) for k, v in learner.network.policy.state_dict().items())
    assert not learner.critic_optimiser.state
    before = learner.network.critics.state_dict()["last.weight"].clone()
    learner.update(batch())
    assert not torch.equal(before, learner.network.critics.state_dict()["last.weight"])


def test_targets_begin_as_the_critics():
    network = SAC(interface(), SMALL).network
    for ours, theirs in zip(
        network.critics.parameters(), network.targets.parameters(), strict=True
    ):
        assert torch.equal(ours, theirs) and ours.data_ptr() != theirs.data_ptr()


def test_what_an_update_tells():
    _, infos = trained()
    assert infos[0].keys() == {"critic_loss", "q", "actor_loss", "entropy", "alpha"}
    assert all(isinstance(value, float) for value in infos[0].values())
    assert infos[0]["alpha"] == pytest.approx(SMALL.initial_alpha)


def test_better_actions_become_more_probable():
    learner = SAC(interface(), replace(SMALL, gamma=0.0, initial_alpha=0.01))
    for i in range(300):
        learner.update(batch(i, 64))  # the reward is the first entry
    actions = learner.act({"state": np.random.default_rng(0).normal(size=(20, STATE))})
    assert actions[:, 0].mean() > 0.8 > np.abs(actions[:, 1]).mean()


def test_acts_as_a_policy_within_limits():
    learner, _ = trained()
    assert isinstance(learner, Learner)
    assert (learner.name, learner.eats, learner.memoryless) == ("sac", "replay", True)
    state = {"state": np.random.default_rng(0).normal(size=(500, STATE))}
    acted = learner.act(state)
    assert acted.shape == (500, ACTION) and acted.dtype == np.float32
    np.testing.assert_array_equal(acted, learner.act(state))
    pi = learner.distribution(torch.from_numpy(state["state"]).float())
    np.testing.assert_array_equal(acted, torch.tanh(pi.mean).detach())
    explored = learner.act(state, explore=True)
    assert np.abs(explored).max() <= 1.0
    deviation = (
        np.arctanh(explored.astype(float).clip(-1 + 1e-9, 1 - 1e-9)) - pi.mean.detach().numpy()
    )
    spread = (deviation / pi.log_std.exp().detach().numpy()).std(axis=0)
    np.testing.assert_allclose(spread, 1.0, rtol=0.1)
    assert pi.squashed


def test_the_spread_is_bounded_smoothly():
    learner = SAC(interface(), SMALL)
    last = learner.network.policy.layers[-1]
    for way, edge in zip((-50.0, 50.0), LOG_STD, strict=True):
        last.bias.data[ACTION:] = way
        found = learner.distribution(torch.zeros(1, STATE)).log_std
        torch.testing.assert_close(found.detach(), torch.full((1, ACTION), edge))


def test_gradients_reach_the_observation():
    learner, _ = trained()
    state = torch.zeros(1, STATE, requires_grad=True)
    learner.distribution(state).mode.sum().backward()
    assert state.grad.abs().min() > 0


def test_the_seed_decides_everything():
    assert trained()[1] == trained()[1] != trained(seed=1)[1]


class Constant:
    """A stream with a memory of its own."""

    name = "constant"

    def __init__(self, value):
        self.value = torch.tensor(value)

    def reward(self, batch):
        return self.value.expand(len(batch["actions"]))

    def update(self, batch):
        return {}

    def state_dict(self):
        return {"value": self.value}

    def load_state_dict(self, state):
        self.value = state["value"]


def test_streams_are_summed():
    terms = {"near": {"close": 2.0, "still": 0.5}, "safe": {"hit": -1.0}}
    learner = SAC(interface(), replace(SMALL, terms=terms))
    rows = batch() | {
        "reward_terms": {
            n: torch.full((B,), v) for n, v in dict(close=1.0, still=4.0, hit=3.0).items()
        }
    }
    torch.testing.assert_close(learner.reward(rows), torch.full((B,), 2.0 + 2.0 - 3.0))
    torch.testing.assert_close(SAC(interface(), SMALL).reward(rows), rows["rewards"])
    own = SAC(interface(), SMALL, streams={"one": Constant(0.25), "two": Constant(0.5)})
    torch.testing.assert_close(own.reward(rows), torch.full((B,), 0.75))
    other = SAC(interface(), SMALL, streams={"one": Constant(0.0), "two": Constant(0.0)})
    other.load_state_dict(own.state_dict())
    torch.testing.assert_close(other.reward(rows), torch.full((B,), 0.75))
    with pytest.raises(SpecError, match="no reward term 'close'; did you mean 'closed'"):
        learner.reward(rows | {"reward_terms": {"closed": torch.zeros(B)}})


def test_a_checkpoint_goes_on_bit_for_bit(tmp_path):
    learner, _ = trained()
    checkpoint.save(tmp_path / "sac", learner, {"rounds": 3})
    restored = checkpoint.load_learner(tmp_path / "sac", interface()).learner
    assert restored.config == SMALL
    state = {"state": np.ones((1, STATE))}
    np.testing.assert_array_equal(learner.act(state), restored.act(state))
    for i in range(3):
        assert learner.update(batch(i)) == restored.update(batch(i))
    for name, weight in learner.state_dict().items():
        assert torch.equal(weight, restored.state_dict()[name]), name


def test_weights_of_another_network_are_refused():
    weights = SAC(interface(), replace(SMALL, critics=3)).state_dict()
    with pytest.raises(DataError, match="weights are of another network"):
        SAC(interface(), SMALL).load_state_dict(weights)


def test_it_computes_on_its_own_device_whatever_torch_takes_by_default():
    learner = SAC(interface(), SMALL)
    rows = batch()
    with torch.device("meta"):  # on which nothing has a value
        assert np.isfinite(learner.act({"state": np.zeros((2, STATE))}, explore=True)).all()
        assert np.isfinite(learner.update(rows)["q"])


def test_an_environment_with_cameras_is_refused():
    with pytest.raises(SpecError) as caught:
        SAC(interface(agentview=ArraySpec((84, 84, 3), "uint8")), SMALL)
    assert str(caught.value) == "SAC sees the 'state' only; this environment shows agentview, state"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"tau": 0.0}, "tau should be greater than 0"),
        ({"critics": 0}, "critics should be greater than 0"),
        ({"widths": ()}, "widths should have 1 or more entries"),
        ({"gamma": 1.5}, "gamma should be less than or equal to 1"),
        ({"initial_alpha": 0.0}, "initial_alpha should be greater than 0"),
    ],
)
def test_settings_out_of_range_are_named(settings, said):
    with pytest.raises(UserError, match=said):
        SACConfig(**settings)
