from dataclasses import replace

import numpy as np
import pytest
import torch

from robolearn.algos.bc import BCConfig, BehaviorCloning
from robolearn.errors import DataError, SpecError, UserError
from robolearn.loops.offline import OfflineConfig, offline, search, validation_episodes
from robolearn.types import ArraySpec, Policy, Spec

SMALL = BCConfig(members=3, widths=(32,), dropout=0.1, learning_rate=3e-3)


pytestmark = pytest.mark.usefixtures("one_thread")


def interface(**cameras):
    observations = {"state": ArraySpec((3,))} | cameras
    return Spec("test/Point", observations, ArraySpec((2,)), period_s=0.05)


def expert(state):
    return np.tanh(np.stack([state[:, 0] - state[:, 1], 2.0 * state[:, 2]], axis=1))


def data(episodes=10, steps=40, seed=0):
    rng = np.random.default_rng(seed)
    state = rng.normal(size=(episodes * steps, 3)).astype(np.float32)
    return {
        "observations": {"state": state},
        "actions": expert(state).astype(np.float32),
        "episode": np.repeat(np.arange(episodes), steps),
    }


def test_it_learns():
    learner = BehaviorCloning(interface(), SMALL)
    fit = offline(learner, data(10), OfflineConfig(epochs=30, batch_size=32), seed=0)
    state = np.random.default_rng(9).normal(size=(200, 3)).astype(np.float32)
    error = np.square(learner.act({"state": state}) - expert(state)).mean()
    assert error < 0.02 < np.square(expert(state)).mean() / 10
    assert fit.validation_loss[0] > 4 * fit.best_validation_loss
    assert fit.best_validation_loss == pytest.approx(fit.validation_loss[fit.best_epoch - 1])


def test_no_epoch_begins_after_the_most_updates():
    """Of 360 transitions an epoch is 11 updates; what came before is as without a bound."""
    bounded = OfflineConfig(epochs=30, batch_size=32, most_updates=12)
    assert [bounded.epochs_of(n) for n in (360, 383, 384, 20, 32 * 400)] == [2, 2, 1, 12, 1]
    assert replace(bounded, epochs=1).epochs_of(360) == 1
    one, other = (BehaviorCloning(interface(), SMALL) for _ in range(2))
    fit = offline(one, data(10), bounded, seed=0)
    assert fit == offline(other, data(10), OfflineConfig(epochs=2, batch_size=32), seed=0)
    assert len(fit.loss) == 2
    for ours, theirs in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)


def test_weights_that_are_taken_over_give_the_same_actions():
    one, other = (BehaviorCloning(interface(), SMALL, seed) for seed in (0, 1))
    state = {"state": np.random.default_rng(2).normal(size=(5, 3)).astype(np.float32)}
    assert (one.act(state) != other.act(state)).any()
    other.load_state_dict(one.state_dict())
    np.testing.assert_array_equal(one.act(state), other.act(state))
    np.testing.assert_array_equal(one.act(state, explore=True), one.act(state))  # nothing is drawn


def test_acts_as_a_policy_with_the_members_mean_within_limits():
    learner = BehaviorCloning(interface(), SMALL)
    assert isinstance(learner, Policy)
    state = 10 * np.ones((4, 3), np.float32)
    action = learner.act({"state": state})
    assert action.shape == (4, 2) and action.dtype == np.float32 and np.abs(action).max() <= 1
    np.testing.assert_allclose(action, learner.predict(state).mean(axis=0))


def test_dropout_is_off_when_acting_right_after_training():
    learner = BehaviorCloning(interface(), BCConfig(members=2, widths=(32,), dropout=0.5))
    offline(learner, data(), OfflineConfig(epochs=1, validation_share=0.0), seed=0)
    state = np.ones((1, 3), np.float32)
    np.testing.assert_array_equal(learner.predict(state), learner.predict(state))


def test_the_seed_decides_everything_and_members_differ():
    def trained(seed):
        learner = BehaviorCloning(interface(), SMALL, seed)
        offline(learner, data(), OfflineConfig(epochs=2), seed)
        return learner.predict(np.ones((1, 3), np.float32))

    np.testing.assert_array_equal(trained(0), trained(0))
    assert not np.allclose(trained(0), trained(1))
    assert len(np.unique(trained(0)[:, 0, 0])) == SMALL.members


def test_loss_is_the_weighted_mean_squared_error():
    learner = BehaviorCloning(interface(), SMALL)
    learner.network.eval()
    state, actions, weight = torch.randn(5, 3), torch.rand(5, 2), torch.tensor([0.0, 2, 1, 1, 1])
    batch = {"observations": {"state": state}, "actions": actions, "weight": weight}
    predicted = learner.predict(state.numpy())
    expected = (weight.numpy() * np.square(predicted - actions.numpy()).mean(-1)).mean(1)
    loss, info = learner.bc_loss(batch)
    assert loss.item() == pytest.approx(expected.sum(), rel=1e-5)
    assert info["loss"] == pytest.approx(expected.mean(), rel=1e-5)


def test_what_an_update_tells_and_how_long_gradients_may_be():
    learner = BehaviorCloning(interface(), replace(SMALL, gradient_clip=1e-3))
    rows = data(1)
    batch = {
        "observations": {"state": torch.from_numpy(rows["observations"]["state"])},
        "actions": torch.from_numpy(rows["actions"]),
    }
    told = learner.update(batch)
    assert told.keys() == {"loss", "gradient_norm"} and learner.network.training
    gradients = [p.grad for p in learner.network["mlp"].parameters()]
    norms = torch.stack([g.flatten(1).square().sum(1) for g in gradients]).sum(0).sqrt()  # [K]
    assert norms.tolist() == pytest.approx([1e-3] * 3, rel=1e-2) and told["gradient_norm"] > 0.01
    assert learner.optimiser.param_groups[0]["lr"] == SMALL.learning_rate
    first = torch.stack([g.flatten(1).norm(dim=1) for g in gradients])
    learner.update(batch)
    second = torch.stack(
        [p.grad.flatten(1).norm(dim=1) for p in learner.network["mlp"].parameters()]
    )
    assert not torch.equal(first, second)
    assert second.square().sum(0).sqrt().tolist() == pytest.approx([1e-3] * 3, rel=1e-2)


def test_inputs_are_in_units_of_the_demonstrations_spread():
    learner = BehaviorCloning(interface(), SMALL)
    states = torch.tensor([[1.0, 10.0, 5.0], [3.0, 30.0, 5.0]])
    learner.fit_normaliser({"state": states})
    assert learner.network["normaliser"].mean.tolist() == [2.0, 20.0, 5.0]
    moved, unit = learner.predict(states.numpy()), torch.tensor([[-1.0, -1, 0], [1, 1, 0]])
    expected = learner.network["mlp"](unit).detach().numpy()
    np.testing.assert_allclose(moved, expected, rtol=1e-5, atol=1e-6)


def test_validation_is_the_error_by_member_without_dropout_or_gradient():
    learner = BehaviorCloning(interface(), BCConfig(members=3, widths=(32,), dropout=0.5))
    learner.network.train()
    state, actions = torch.randn(7, 3), torch.rand(7, 2)
    losses = learner.validate({"observations": {"state": state}, "actions": actions})
    assert not losses.requires_grad and losses.shape == (3,)
    error = np.square(learner.predict(state.numpy()) - actions.numpy()).mean((1, 2))
    np.testing.assert_allclose(losses.numpy(), error, rtol=1e-5)


def test_a_larger_ensemble_holds_the_smaller_one_and_shares_its_noise():
    two, three = (BehaviorCloning(interface(), replace(SMALL, members=n), seed=4) for n in (2, 3))
    ours, theirs = (learner.network["mlp"].layers[0].weight for learner in (two, three))
    assert torch.equal(ours, theirs[1:]) and not torch.equal(theirs[0], theirs[1])
    assert torch.equal(two.noise.get_state(), three.noise.get_state())
    unseeded = BehaviorCloning(interface(), replace(SMALL, members=2))
    zero = BehaviorCloning(interface(), replace(SMALL, members=2), seed=0)
    assert torch.equal(*(one.network["mlp"].layers[0].weight for one in (unseeded, zero)))


def test_what_it_is_to_loops_and_checkpoints():
    learner = BehaviorCloning(interface(), SMALL)
    assert (learner.name, learner.eats, learner.memoryless) == ("bc", "transitions", True)
    assert learner.device == torch.device("cpu")
    names = {"normaliser.mean", "normaliser.std", "mlp.layers.0.weight", "mlp.layers.0.bias"}
    assert names < learner.state_dict().keys()
    learner.keep_best(torch.tensor([0.5, 0.25, 1.0]))
    state = learner.training_state()
    assert {"noise", "best_loss", "best/layers.0.weight"} < state.keys()
    other = BehaviorCloning(interface(), SMALL, seed=1)
    other.load_training_state(state)
    assert other.best_loss.tolist() == [0.5, 0.25, 1.0] and other.best_loss is not learner.best_loss
    assert all(torch.equal(learner.best[name], p) for name, p in other.best.items())
    assert torch.equal(other.noise.get_state(), learner.noise.get_state())


def test_acting_computes_on_its_own_device_whatever_torch_takes_by_default():
    learner = BehaviorCloning(interface(), SMALL)
    with torch.device("meta"):  # on which nothing has a value
        assert np.isfinite(learner.act({"state": np.zeros((2, 3))})).all()
    exploring = learner.act({"state": np.ones((2, 3))}, explore=True)  # in double precision, too
    np.testing.assert_array_equal(exploring, learner.act({"state": np.ones((2, 3), np.float32)}))


def test_the_best_validation_weights_are_kept_for_each_member():
    learner = BehaviorCloning(interface(), SMALL)
    weights = learner.network["mlp"].layers[0].weight
    first = weights.detach().clone()
    learner.keep_best(torch.tensor([1.0, 1.0, 1.0]))
    with torch.no_grad():
        weights += 1.0
    learner.keep_best(torch.tensor([2.0, 0.5, 1.0]))  # only the second member got better
    assert learner.best_loss.tolist() == [1.0, 0.5, 1.0]
    learner.restore_best()
    torch.testing.assert_close(weights.detach()[0], first[0])
    torch.testing.assert_close(weights.detach()[1], first[1] + 1.0)
    torch.testing.assert_close(weights.detach()[2], first[2])


def test_transitions_of_weight_zero_do_not_matter():
    clean = data(6)
    spoilt = {
        "observations": {
            "state": np.concatenate([clean["observations"]["state"], np.ones((9, 3))])
        },
        "actions": np.concatenate([clean["actions"], np.full((9, 2), np.nan)]),
        "episode": np.concatenate([clean["episode"], np.full(9, 99)]),
        "weight": np.concatenate([np.full(len(clean["actions"]), 3.0), np.zeros(9)]),
    }
    states = []
    for rows in (clean, spoilt):
        learner = BehaviorCloning(interface(), SMALL)
        offline(learner, rows, OfflineConfig(epochs=2), seed=0)
        states.append(learner.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_validation_holds_out_whole_episodes():
    episode = np.repeat([3, 5, 8, 9], 10)
    assert len(validation_episodes(episode, 0.5, seed=0)) == 2
    assert len(validation_episodes(episode, 0.01, seed=0)) == 1
    assert set(validation_episodes(episode, 0.99, seed=0)) < {3, 5, 8, 9}
    assert len(validation_episodes(episode, 0.0, seed=0)) == 0


def test_search_prefers_the_network_that_can_learn():
    blind = BCConfig(members=2, widths=(1,), dropout=0.0, learning_rate=1e-5)
    chosen, config, fits = search(
        lambda c: BehaviorCloning(interface(), c),
        [blind, SMALL],
        data(),
        OfflineConfig(epochs=4),
        seed=0,
    )
    assert chosen is SMALL and config.epochs == fits[1].best_epoch


@pytest.mark.parametrize(
    ("spoil", "error", "words"),
    [
        (
            lambda d: d["actions"].__setitem__((7, 0), np.nan),
            DataError,
            "actions is not finite .*7",
        ),
        (lambda d: d["observations"]["state"].__setitem__((3, 1), np.inf), DataError, "state .*3"),
        (lambda d: d.update(actions=d["actions"][:, :1]), SpecError, r"actions .*\(1,\).*\(2,\)"),
        (lambda d: d.update(observations={}), SpecError, "no observation state"),
        (lambda d: d.update(actions=d["actions"][:0]), DataError, "no transitions"),
        (lambda d: d.update(weight=np.zeros(len(d["actions"]))), DataError, "weight 0"),
        (lambda d: d.update(episode=np.zeros(len(d["actions"]))), DataError, "too few"),
    ],
)
def test_bad_data_is_a_one_line_error(spoil, error, words):
    rows = data()
    spoil(rows)
    with pytest.raises(error, match=words) as caught:
        offline(BehaviorCloning(interface(), SMALL), rows, OfflineConfig(epochs=1), seed=0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "setting", "words"),
    [
        (BCConfig, {"members": 0}, "members should be greater than 0, not 0"),
        (BCConfig, {"widths": (64, 0)}, "widths.1 should be greater than 0"),
        (BCConfig, {"dropout": 1.0}, "dropout should be less than 1, not 1.0"),
        (BCConfig, {"learning_rate": float("nan")}, "learning_rate should .* not nan"),
        (OfflineConfig, {"epochs": 0}, "epochs should"),
        (OfflineConfig, {"batch_size": 0}, "batch_size should"),
        (OfflineConfig, {"validation_share": 1.0}, "validation_share should be less than 1"),
    ],
)
def test_settings_out_of_range_are_named(config, setting, words):
    with pytest.raises(UserError, match=words):
        config(**setting)


def test_cameras_are_refused_by_name():
    image = ArraySpec((84, 84, 3), "uint8")
    with pytest.raises(SpecError) as caught:
        BehaviorCloning(interface(agentview=image, eye=image), SMALL)
    assert str(caught.value) == (
        "behaviour cloning sees the 'state' only, not agentview, eye: make the environment or"
        " dataset without cameras"
    )


def test_an_interface_without_a_state_is_refused():
    with pytest.raises(SpecError) as caught:
        BehaviorCloning(Spec("test/Blind", {}, ArraySpec((2,)), period_s=0.05), SMALL)
    said = "behaviour cloning needs a 'state' observation, and there is none"
    assert str(caught.value) == said
