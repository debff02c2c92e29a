from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.distributions import Independent, Normal

from robolearn.algos.ppo import PPO, PPOConfig, clipped_surrogate, learning_rate_for
from robolearn.errors import DataError, SpecError, UserError
from robolearn.loops import checkpoint
from robolearn.networks.functional import gae
from robolearn.types import ArraySpec, Learner, Spec

SMALL = PPOConfig(widths=(16,), minibatch=20, epochs=3)
T, N = 15, 4  # steps, environments
STATE, ACTION = 3, 2  # entries


pytestmark = pytest.mark.usefixtures("one_thread")


def interface(**cameras):
    observations = {"state": ArraySpec((STATE,))} | cameras
    return Spec("test/Point", observations, ArraySpec((ACTION,)), period_s=0.05)


def rollout(learner, seed=0, scale=1.0, steps=T):
    """Give a rollout of the learner's own actions through random states."""
    rng = np.random.default_rng(seed)
    states = rng.normal(size=(steps + 1, N, STATE)).astype(np.float32)
    reached = states[1:].copy()
    ended = rng.random((steps, N)) < 0.2
    reached[ended] = rng.normal(size=(ended.sum(), STATE))
    actions = np.stack([learner.sample({"state": state}) for state in states[:-1]])
    arrays = {
        "actions": actions,
        "rewards": (scale * (actions[..., 0] + states[1:, :, 0])).astype(np.float32),
        "terminated": ended & (rng.random((steps, N)) < 0.5),
        "ended": ended,
    }
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    tensors["observations"] = {"state": torch.from_numpy(states[:-1])}
    tensors["next_observations"] = {"state": torch.from_numpy(reached)}
    return tensors


def trained(seed=0, updates=3, scale=1.0, config=SMALL):
    learner = PPO(interface(), config, seed)
    infos = [learner.update(rollout(learner, i, scale)) for i in range(updates)]
    return learner, infos


def test_the_clipped_surrogate_by_hand():
    ratio = torch.tensor([0.5, 0.5, 1.1, 1.5, 1.5])
    advantage = torch.tensor([1.0, -1.0, 2.0, 1.0, -1.0])
    pessimistic = [0.5, -0.8, 2.2, 1.2, -1.5]
    expected = sum(pessimistic) / 5
    assert clipped_surrogate(ratio, advantage, 0.2).item() == pytest.approx(expected)


def test_the_loss_is_equation_9():
    learner, _ = trained(config=PPOConfig(widths=(16,), value_weight=0.7, entropy_weight=0.03))
    rows, _ = learner.prepare(rollout(learner, 5))
    rows["log_probability"] += 0.3 * torch.randn(T * N, generator=torch.Generator().manual_seed(0))
    mean, log_std, value = learner.network(rows["state"])
    pi = Independent(Normal(mean, log_std.exp()), 1)
    ratio = (pi.log_prob(rows["action"]) - rows["log_probability"]).exp()
    clip = torch.minimum(ratio * rows["advantage"], ratio.clamp(0.8, 1.2) * rows["advantage"])
    error = (value[:, 0] - rows["target"][:, 0]).square()
    expected = -(clip - 0.7 * error + 0.03 * pi.entropy()).mean()
    loss, info = learner.loss(rows)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(info["surrogate"], clip.mean().detach())
    torch.testing.assert_close(info["value_loss"], error.mean().detach())
    torch.testing.assert_close(info["entropy"], pi.entropy().mean().detach())
    torch.testing.assert_close(info["std"], pi.base_dist.stddev.mean().detach())
    assert 0 < info["clipped"].item() == pytest.approx(((ratio - 1).abs() > 0.2).float().mean())


def test_advantages_bootstrap_with_the_observation_that_was_reached():
    learner, _ = trained()
    data = rollout(learner, 5)
    values = learner.network.values(data["observations"]["state"])[..., 0]
    next_values = learner.network.values(data["next_observations"]["state"])[..., 0]
    expected = gae(
        data["rewards"], values, next_values, data["terminated"], data["ended"],
        SMALL.gamma, SMALL.lam,
    )  # fmt: skip
    rows, _ = learner.prepare(data)
    expected_rows = ((expected - expected.mean()) / expected.std(correction=0)).flatten()
    torch.testing.assert_close(rows["advantage"], expected_rows.detach(), rtol=1e-4, atol=1e-5)
    returns = learner.network.value.scale.inverse(rows["target"])[:, 0]
    torch.testing.assert_close(
        returns, (expected + values).flatten().detach(), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("scale", [0.05, 1.0])
def test_the_variance_that_values_explain(scale):
    learner, _ = trained(scale=scale)
    data = rollout(learner, 5, scale)
    values = learner.network.values(data["observations"]["state"]).detach()
    rows, info = learner.prepare(data)
    returns = learner.network.value.scale.inverse(rows["target"])
    explained = 1 - (returns - values.flatten(0, 1)).var() / returns.var()
    torch.testing.assert_close(info["explained_variance"], explained, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(info["value"], values.mean())


def test_nothing_is_left_to_explain_where_nothing_is_earned():
    learner = PPO(interface(), SMALL)
    _, info = learner.prepare(rollout(learner, scale=0.0))
    assert info["explained_variance"].item() == 1.0 and info["value"].item() == 0.0


class Watched(PPO):
    """Takes down what goes through the loss, and the divergences."""

    def __init__(self, config):
        super().__init__(interface(), config)
        self.seen, self.infos, self.kls = [], [], []

    def loss(self, rows):
        loss, info = super().loss(rows)
        self.seen.append(rows["state"])
        self.infos.append(info)
        return loss, info

    def divergence(self, rows):
        self.kls.append(super().divergence(rows))
        return self.kls[-1]


@pytest.mark.parametrize(
    ("steps", "minibatch", "sizes"),
    [
        (T, 20, [20] * 3),
        (T, 25, [25] * 2),
        (T - 1, 19, [19] * 2),  # the rest of 56 rows is one less than a minibatch
        (T, 59, [59]),
        (T, 60, [60]),
        (T, 99, [60]),
    ],
)
def test_an_epoch_shows_all_rows_once_in_a_new_order_but_for_an_odd_rest(steps, minibatch, sizes):
    learner = Watched(replace(SMALL, minibatch=minibatch, epochs=2))
    data = rollout(learner, steps=steps)
    learner.update(data)
    assert [len(rows) for rows in learner.seen] == 2 * sizes
    first, second = torch.cat(learner.seen).split(sum(sizes))
    states = {tuple(row) for row in data["observations"]["state"].flatten(0, 1).tolist()}
    for epoch in (first, second):
        shown = {tuple(row) for row in epoch.tolist()}
        assert len(shown) == sum(sizes) and shown <= states
    assert not torch.equal(first, second)


def test_what_an_update_tells_is_the_mean_of_its_steps():
    learner = Watched(SMALL)
    learner.update(rollout(learner))
    del learner.infos[:]
    told = learner.update(rollout(learner, 1))
    for name in ("surrogate", "value_loss", "entropy", "clipped", "std"):
        steps = [info[name].item() for info in learner.infos]
        assert len(steps) == 9 and told[name] == pytest.approx(np.mean(steps), rel=1e-4)
    assert told["kl"] == learner.kls[-1].item()
    alone = {"value", "explained_variance", "gradient_norm", "kl", "learning_rate"}
    assert told.keys() == {*learner.infos[0], *alone}


def test_epochs_end_where_the_divergence_is_beyond_its_multiple():
    whole = replace(SMALL, minibatch=T * N, learning_rate=3e-3)
    once = Watched(replace(whole, epochs=1))
    kl = once.update(rollout(once))["kl"]  # of the first epoch
    assert 1e-8 < kl < 0.1

    def epochs(**settings):
        learner = Watched(replace(whole, **settings))
        assert learner.update(rollout(learner))["kl"] > 0
        return len(learner.seen)

    assert epochs(stop_kl=None, target_kl=1e-3) == 3
    assert epochs(stop_kl=kl, target_kl=1e-3) == 1
    assert epochs(stop_kl=kl, target_kl=1.0) == 2  # the first is at that multiple, not beyond
    assert epochs(stop_kl=0.5 * kl, target_kl=1.0) == 1


def test_the_divergence_by_hand():
    learner, _ = trained()
    rows, _ = learner.prepare(rollout(learner, 5))
    rows["mean"] = rows["mean"] + torch.tensor([0.1, 0.0])
    expected = 0.1**2 / (2 * learner.network.log_std.detach()[0].exp() ** 2)
    torch.testing.assert_close(learner.divergence(rows), expected, rtol=1e-4, atol=0.0)


def test_gradients_are_no_longer_than_the_clip():
    learner = PPO(interface(), replace(SMALL, gradient_clip=1e-3))
    assert learner.update(rollout(learner))["gradient_norm"] > 1e-3
    squares = [p.grad.square().sum() for p in learner.network.parameters()]
    assert torch.stack(squares).sum().sqrt().item() == pytest.approx(1e-3, rel=1e-3)


def test_the_first_policy_has_the_spread_asked_for_and_hardly_sees_the_state():
    learner = PPO(interface(), replace(SMALL, initial_std=0.3))
    mean, log_std, value = learner.network(torch.ones(5, STATE))
    torch.testing.assert_close(log_std.detach(), torch.full((5, ACTION), 0.3).log())
    assert value.shape == (5, 1) and not value.any()
    sizes = torch.linalg.svdvals(learner.network.mean.weight.detach())
    torch.testing.assert_close(sizes, torch.full((ACTION,), 0.01))
    assert learner.optimiser.defaults["lr"] == SMALL.learning_rate
    assert learner.optimiser.defaults["eps"] == 1e-5


def test_observations_count_no_further_out_than_ten_standard_deviations():
    network = PPO(interface(), SMALL).network  # which has seen nothing, so that a unit is a spread
    for way in (-1.0, 1.0):
        near, edge, far = (
            network.features(torch.full((STATE,), way * x))[0] for x in (9.9, 10, 10.5)
        )
        assert torch.equal(edge, far) and not torch.equal(near, edge)


def test_the_policy_that_acted_is_the_one_that_is_improved():
    learner, _ = trained()
    data = rollout(learner, 5)
    rows, _ = learner.prepare(data)
    assert learner.divergence(rows).item() == pytest.approx(0.0, abs=1e-6)
    _, info = learner.loss(rows)
    assert info["clipped"].item() == 0.0
    assert learner.update(data)["kl"] > 0.0


def test_the_unit_of_the_rewards_does_not_matter():
    ours, theirs = trained()[0], trained(scale=1000.0)[0]
    for (name, one), other in zip(
        ours.network.named_parameters(), theirs.network.parameters(), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4, msg=name)
    state = torch.linspace(-1, 1, 5 * STATE).reshape(5, STATE)
    values = theirs.network.values(state)
    torch.testing.assert_close(values, 1000 * ours.network.values(state), rtol=1e-2, atol=1.0)


def test_better_actions_become_more_probable():
    learner = PPO(interface(), PPOConfig(widths=(16,), minibatch=60, learning_rate=3e-3))
    for i in range(30):
        learner.update(rollout(learner, i))  # the reward grows with the first entry
    action = learner.act({"state": np.zeros((1, STATE), np.float32)})[0]
    assert action[0] == 1.0 > abs(action[1])


def test_acts_as_a_policy_within_limits_and_samples_beyond():
    learner, _ = trained()
    assert isinstance(learner, Learner)
    assert (learner.name, learner.eats, learner.memoryless) == ("ppo", "rollouts", True)
    state = {"state": np.random.default_rng(0).normal(size=(500, STATE)).astype(np.float32)}
    assert learner.act(state).shape == (500, ACTION) and learner.act(state).dtype == np.float32
    np.testing.assert_array_equal(learner.act(state), learner.act(state))
    explored, drawn = learner.act(state, explore=True), learner.sample(state)
    assert np.abs(explored).max() == 1.0 < np.abs(drawn).max()
    deviation = drawn - learner.network(torch.from_numpy(state["state"]))[0].detach().numpy()
    std = learner.network.log_std.exp().detach().numpy()
    np.testing.assert_allclose(deviation.std(axis=0), std, rtol=0.1)


def test_a_sample_by_hand():
    learner, _ = trained()
    state = np.ones((2, STATE), np.float32)
    noise = torch.Generator()
    noise.set_state(learner.noise.get_state())
    mean, log_std, _ = learner.network(torch.from_numpy(state))
    expected = mean + log_std.exp() * torch.randn(2, ACTION, generator=noise)
    np.testing.assert_allclose(learner.sample({"state": state}), expected.detach(), rtol=1e-6)


def test_its_distribution_is_what_it_draws_from_and_gradients_reach_the_state():
    learner = PPO(interface(), SMALL)
    state = torch.randn(5, STATE, requires_grad=True)
    pi = learner.distribution(state)
    assert (pi.mean.shape, pi.log_std.shape, pi.squashed) == ((5, ACTION), (5, ACTION), False)
    pi.mean.sum().backward()
    assert state.grad.abs().sum() > 0
    np.testing.assert_array_equal(
        learner.act({"state": state.detach().numpy()}),
        learner.distribution(state).mean.detach().clamp(-1, 1).numpy(),
    )


def test_a_mean_beyond_the_limits_is_cut_off():
    learner = PPO(interface(), SMALL)
    learner.network.mean.bias.data[:] = torch.tensor([3.0, -3.0])
    assert learner.act({"state": np.zeros((1, STATE))}).tolist() == [[1.0, -1.0]]
    assert learner.act({"state": np.zeros((1, STATE))}).dtype == np.float32  # whatever the state's
    explored = learner.act({"state": np.zeros((99, STATE))}, explore=True)
    assert (explored.min(), explored.max()) == (-1.0, 1.0)


def test_it_computes_on_its_own_device_whatever_torch_takes_by_default():
    learner = PPO(interface(), SMALL)
    data = rollout(learner)
    with torch.device("meta"):  # on which nothing has a value
        assert np.isfinite(learner.sample({"state": np.zeros((2, STATE))})).all()
        assert np.isfinite(learner.update(data)["kl"])
    assert learner.device == torch.device("cpu")


def test_observations_are_normalised_by_all_that_was_seen():
    learner = PPO(interface(), SMALL)
    seen = [rollout(learner, i) for i in range(3)]
    for data in seen:
        learner.update(data)
    states = torch.cat([data["observations"]["state"].flatten(0, 1) for data in seen])
    torch.testing.assert_close(learner.network.normaliser.mean, states.mean(0))


def test_the_step_size_follows_the_divergence():
    assert learning_rate_for(0.021, 0.01, 3e-4) == pytest.approx(2e-4)
    assert learning_rate_for(0.004, 0.01, 2e-4) == pytest.approx(3e-4)
    for kl in (0.005, 0.012, 0.02):  # half and double are not beyond
        assert learning_rate_for(kl, 0.01, 2e-4) == 2e-4
    assert learning_rate_for(9.0, 0.01, 1e-5) == 1e-5 and learning_rate_for(0, 0.01, 1e-2) == 1e-2
    _, infos = trained(config=PPOConfig(widths=(16,), target_kl=1e-7))
    assert infos[1]["learning_rate"] == pytest.approx(infos[0]["learning_rate"] / 1.5)
    _, infos = trained(config=PPOConfig(widths=(16,), target_kl=None))
    assert infos[1]["learning_rate"] == infos[0]["learning_rate"] == SMALL.learning_rate


def test_the_divergence_aimed_at_may_change_on_the_way():
    config = PPOConfig(widths=(16,), target_kl=0.04, final_kl=0.01)
    assert [config.aimed_kl(share, 3) for share in (0, 0.5, 1)] == pytest.approx([0.04, 0.02, 0.01])
    assert PPOConfig(target_kl=0.04).aimed_kl(0.5, 3) == 0.04
    assert PPOConfig(target_kl=None).aimed_kl(0.5, 3) is None
    assert PPOConfig().aimed_kl(0.5, 3) == pytest.approx(0.03)  # a hundredth for each entry
    config = PPOConfig(final_kl=0.0075)
    assert [config.aimed_kl(share, 3) for share in (0, 0.5)] == pytest.approx([0.03, 0.015])
    rates = []
    for share in (0.0, 1.0):  # far apart, so that one is too high and the other too low to reach
        learner = PPO(interface(), PPOConfig(widths=(16,), target_kl=9.0, final_kl=1e-9))
        rates.append(learner.update(rollout(learner, 0) | {"progress": share})["learning_rate"])
        rates.append(learner.update(rollout(learner, 1) | {"progress": share})["learning_rate"])
    learner = PPO(interface(), PPOConfig(widths=(16,), target_kl=9.0, final_kl=1e-9))
    assert [learner.update(rollout(learner, i))["learning_rate"] for i in (0, 1)] == rates[:2]
    assert rates[1] == pytest.approx(1.5 * rates[0]) and rates[3] == pytest.approx(rates[2] / 1.5)


def test_the_seed_decides_everything():
    unseeded, zero = (PPO(interface(), SMALL, **seed).state_dict() for seed in ({}, {"seed": 0}))
    assert all(torch.equal(tensor, zero[name]) for name, tensor in unseeded.items())
    assert trained(0)[1] == trained(0)[1]
    assert trained(0)[1] != trained(1)[1]


def test_values_may_have_a_network_of_their_own():
    learner = PPO(interface(), replace(SMALL, widths=(16, 8), value_widths=(12, 5)))
    network = learner.network
    assert [f.shape[-1] for f in network.features(torch.ones(3, STATE))] == [8, 5]
    rows, _ = learner.prepare(rollout(learner))
    rows["target"] = rows["target"] + 1.0  # an error, as the first values are all zero
    value = network(rows["state"])[2]
    (value - rows["target"]).square().mean().backward()
    assert all(p.grad is None for p in network.trunk.parameters())
    assert network.value.linear.weight.grad.abs().sum() > 0
    before = [p.clone() for p in network.value_trunk.parameters()]
    learner.update(rollout(learner, 1))
    learner.update(rollout(learner, 2))  # at first the head is zero, and sends nothing back
    assert all(
        not torch.equal(a, b) for a, b in zip(before, network.value_trunk.parameters(), strict=True)
    )


@pytest.mark.parametrize("value_widths", [None, (12,)])
def test_a_checkpoint_acts_and_goes_on_the_same(tmp_path, value_widths):
    config = PPOConfig(widths=(16, 8), value_widths=value_widths, minibatch=20, target_kl=1e-7)
    learner, _ = trained(config=config)
    checkpoint.save(tmp_path / "ppo", learner, {"updates": 3})
    restored = checkpoint.load_learner(tmp_path / "ppo", interface())
    assert restored.learner.config == config and restored.counters == {"updates": 3}
    state = {"state": np.ones((2, STATE), np.float32)}
    np.testing.assert_array_equal(learner.act(state), restored.learner.act(state))
    next_infos = [one.update(rollout(one, 9)) for one in (learner, restored.learner)]
    assert next_infos[0] == next_infos[1]
    assert next_infos[0]["learning_rate"] < config.learning_rate


def test_the_spread_may_get_smaller_on_the_way():
    config = PPOConfig(widths=(16,), initial_std=1.0, final_std=0.25, wide=0.6)
    assert [config.most_std(share) for share in (0, 0.6)] == [None, None]
    assert [config.most_std(share) for share in (0.8, 1.0)] == pytest.approx([0.5, 0.25])
    assert PPOConfig().most_std(1.0) is None
    learner = PPO(interface(), config)
    for share, most in ((0.5, None), (0.8, 0.5), (1.0, 0.25)):
        learner.update(rollout(learner, 0) | {"progress": share})
        std = learner.network.log_std.detach().exp()
        assert (std > 0.7).all() if most is None else (std <= most + 1e-6).all()


def test_weights_of_another_network_are_refused():
    with pytest.raises(DataError, match="another network") as caught:
        PPO(interface(), PPOConfig(widths=(8,))).load_state_dict(trained()[0].state_dict())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("widths", ()), ("widths", (0,)), ("value_widths", (0,)), ("initial_std", 0.0),
        ("gamma", 1.1), ("lam", -0.1), ("clip", 0.0), ("epochs", 0), ("minibatch", 0),
        ("learning_rate", float("nan")),
        ("target_kl", 0.0), ("target_kl", "aut"), ("final_kl", 0.0), ("value_weight", -1.0),
        ("final_std", 0.0), ("wide", 1.5),
        ("entropy_weight", -1.0), ("gradient_clip", 0.0),
    ],
)  # fmt: skip
def test_settings_out_of_range_are_named(setting, value):
    with pytest.raises(UserError, match=f"^{setting}.* should "):
        PPOConfig(**{setting: value})


def test_a_last_divergence_needs_a_first_one():
    for name in ("final_kl", "stop_kl"):
        with pytest.raises(UserError, match=f"^{name}: needs a target_kl$"):
            PPOConfig(**{"target_kl": None, name: 0.01})


def test_cameras_are_refused_by_name():
    with pytest.raises(SpecError) as caught:
        PPO(interface(agentview=ArraySpec((84, 84, 3), "uint8")), SMALL)
    said = "PPO sees the 'state' only; this environment shows agentview, state"
    assert str(caught.value) == said
    with pytest.raises(SpecError, match="only; this environment shows nothing$"):
        PPO(Spec("test/Blind", {}, ArraySpec((ACTION,)), 0.05), SMALL)
