"""A reward learnt from preferences: the equations by hand, and what it learns."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from robolearn.algos.ppo import PPO, PPOConfig
from robolearn.algos.sac import SAC, SACConfig
from robolearn.errors import DataError, SpecError, UserError
from robolearn.loops import checkpoint
from robolearn.loops.replay import Replay
from robolearn.rewards import preference
from robolearn.rewards.labels import Answer, Question
from robolearn.rewards.preference import PreferenceConfig, PreferenceReward
from robolearn.rewards.teachers import Teacher
from robolearn.types import ArraySpec, RewardStream, Spec

STATE, ACTION, LENGTH = 3, 2, 4
NETWORK = PPOConfig(widths=(8,), minibatch=12)
SPEC = Spec("toy", {"state": ArraySpec((STATE,))}, ArraySpec((ACTION,)), 0.1)
SMALL = PreferenceConfig(
    widths=(16, 8),
    length=LENGTH,
    capacity=40,
    minibatch=8,
    epochs=3,
    enough=1.0,
    learning_rate=3e-3,
)


pytestmark = pytest.mark.usefixtures("one_thread")


def segments(count, seed=0, length=LENGTH, scale=1.0):
    """Draw walks whose steps depend on each other; ``scale`` is the unit of each state entry."""
    rng = np.random.default_rng(seed)
    state = rng.normal(size=(count, length, STATE))
    for t in range(1, length):
        state[:, t] = 0.9 * state[:, t - 1] + 0.44 * state[:, t]
    action = rng.uniform(-1, 1, (count, length, ACTION))
    return {
        "observations": {"state": (scale * state).astype(np.float32)},
        "actions": action.astype(np.float32),
    }


def tensors(rows):
    return {
        "observations": {"state": torch.from_numpy(rows["observations"]["state"])},
        "actions": torch.from_numpy(rows["actions"]),
    }


def inputs(rows):
    """Give x [B / 2, 2, L, I] of segments that follow each other."""
    x = np.concatenate([rows["observations"]["state"], rows["actions"]], axis=-1)
    return torch.from_numpy(x).unflatten(0, (-1, 2))


def linear_judge(segment):
    """Give true rewards that are linear in what is seen and done."""
    state, action = segment["observations"]["state"], segment["actions"]
    return state @ np.array([1.0, -100.0, 0.05]) + action @ np.array([0.5, 0.0])


def taught(reward, count=12, seed=0, judge=linear_judge):
    teacher = Teacher(seed=seed, judge=judge)
    for asked in reward.questions(segments(reward.segments_for(count), seed), count):
        reward.remember(asked, teacher.answer(asked))
    return reward


def separate(network, k):
    """Build member k as an ordinary network of torch's own layers."""
    layers = []
    for hidden in network.hidden:
        twin = nn.Linear(*hidden.weight.shape[1:])
        twin.weight.data, twin.bias.data = hidden.weight.data[k].T, hidden.bias.data[k, 0]
        layers += [twin, nn.LeakyReLU()]
    last = nn.Linear(network.last.weight.shape[-1], 1)
    last.weight.data, last.bias.data = network.last.weight.data[k], network.last.bias.data[k]
    return nn.Sequential(*layers, last, nn.Tanh())


# the equations


def test_it_is_a_reward_stream_of_any_leading_axes_between_minus_one_and_one(monkeypatch):
    reward = taught(PreferenceReward(SPEC, SMALL))
    assert isinstance(reward, RewardStream)
    rows = tensors(segments(5, scale=100.0))
    found = reward.reward(rows)
    assert found.shape == (5, LENGTH) and found.abs().max() <= 1 and not found.requires_grad
    one = {
        "observations": {"state": rows["observations"]["state"][2]},
        "actions": rows["actions"][2],
    }
    torch.testing.assert_close(reward.reward(one), found[2])
    assert reward.update(rows) == {}
    monkeypatch.setattr(preference, "CHUNK", 7)
    torch.testing.assert_close(reward.reward(rows), found)


def test_actions_are_judged_as_they_were_sent():
    reward, rows = PreferenceReward(SPEC, SMALL), tensors(segments(5))
    wild = rows | {"actions": 5 * rows["actions"]}
    sent = rows | {"actions": (5 * rows["actions"]).clamp(-1, 1)}
    torch.testing.assert_close(reward.reward(wild), reward.reward(sent))
    assert not torch.allclose(reward.reward(wild), reward.reward(rows))


@pytest.mark.parametrize("members", [1, 3])
def test_the_ensemble_is_separate_networks_side_by_side(members):
    reward = taught(PreferenceReward(SPEC, replace(SMALL, members=members)))
    reward.learn()
    x = inputs(segments(10, seed=5))
    scaled = reward.network.normaliser(x)
    odds = reward.log_odds(x)
    assert odds.shape == (members, 5)
    means = []
    for k in range(members):
        r = separate(reward.network, k)(scaled).squeeze(-1)  # [B, 2, L]
        means.append(r)
        torch.testing.assert_close(odds[k], (r[:, 0] - r[:, 1]).sum(dim=-1), atol=1e-5, rtol=1e-4)
    rewards = reward.reward(tensors(segments(10, seed=5))).unflatten(0, (5, 2))
    torch.testing.assert_close(rewards, torch.stack(means).mean(dim=0), atol=1e-6, rtol=1e-4)


def test_members_learn_as_if_each_were_alone():
    whole = taught(PreferenceReward(SPEC, SMALL))
    x, y = inputs(segments(8, seed=2)), torch.tensor([1.0, 0.0, 0.5, 1.0])
    own = x.expand(3, *x.shape)
    loss, _ = whole.loss(own, y.expand(3, 4), torch.ones(3, 4))
    loss.backward()
    for k in range(3):
        twin = separate(whole.network, k)
        returns = twin(whole.network.normaliser(x)).squeeze(-1).sum(dim=-1)
        p = torch.sigmoid(returns[:, 0] - returns[:, 1])
        (-(y * p.log() + (1 - y) * (1 - p).log()).mean()).backward()
        first = whole.network.hidden[0].weight.grad[k]
        torch.testing.assert_close(first, twin[0].weight.grad.T, atol=1e-6, rtol=1e-4)
        torch.testing.assert_close(
            whole.network.last.bias.grad[k], twin[-2].bias.grad, atol=1e-6, rtol=1e-4
        )


def test_members_begin_and_go_differently_and_not_by_how_many_there_are():
    three, one = (PreferenceReward(SPEC, replace(SMALL, members=k), seed=3) for k in (3, 1))
    weights = three.network.hidden[0].weight
    assert not torch.equal(weights[0], weights[1])
    torch.testing.assert_close(weights[:1], one.network.hidden[0].weight)
    for reward in (three, one):
        taught(reward)
    orders = torch.cat(three._minibatches(), dim=1)
    assert orders.shape == (3, 12) and len({tuple(order.tolist()) for order in orders}) == 3
    assert all(sorted(order.tolist()) == list(range(12)) for order in orders)
    assert torch.equal(orders[:1], torch.cat(one._minibatches(), dim=1))


def linear_member(weight):
    """Make a reward of one member that is tanh(leaky(w . x)) in two actions, without a scale."""
    reward = PreferenceReward(SPEC, replace(SMALL, members=1, widths=(1,), length=2))
    network = reward.network
    with torch.no_grad():
        network.hidden[0].weight.copy_(torch.tensor([0.0, 0.0, 0.0, *weight])[None, :, None])
        network.hidden[0].bias.zero_()
        network.last.weight.fill_(1.0)
        network.last.bias.zero_()
    return reward


@pytest.mark.parametrize(("y", "w"), [(1.0, 1.0), (0.0, 1.0), (0.5, 1.0), (1.0, 0.25)])
def test_loss_and_gradient_of_a_pair_by_hand(y, w):
    reward = linear_member([0.3, 0.2])
    first, second = np.array([[0.5, 0.1], [0.9, 0.4]]), np.array([[0.2, 0.6], [0.1, 0.3]])
    x = torch.zeros(1, 1, 2, 2, 5)
    x[0, 0, 0, :, 3:], x[0, 0, 1, :, 3:] = torch.tensor(first), torch.tensor(second)
    loss, odds = reward.loss(x, torch.tensor([[y]]), torch.tensor([[w]]))
    loss.backward()
    r1, r2 = np.tanh(first @ [0.3, 0.2]), np.tanh(second @ [0.3, 0.2])
    p = np.exp(r1.sum()) / (np.exp(r1.sum()) + np.exp(r2.sum()))
    assert odds.item() == pytest.approx(r1.sum() - r2.sum(), abs=1e-6)
    assert loss.item() == pytest.approx(-w * (y * np.log(p) + (1 - y) * np.log(1 - p)), abs=1e-6)
    slope = (1 - r1**2) @ first - (1 - r2**2) @ second  # of R(x1) - R(x2) by the weights
    found = reward.network.hidden[0].weight.grad[0, 3:, 0].numpy()
    np.testing.assert_allclose(found, w * (p - y) * slope, atol=1e-6)


def test_the_reward_of_a_decision_counts_for_each_control_step_that_it_lasts():
    once, held = (PreferenceReward(SPEC, SMALL, hold=hold) for hold in (1, 10))
    x = inputs(segments(10, seed=5))
    torch.testing.assert_close(held.log_odds(x), 10 * once.log_odds(x))
    rows = tensors(segments(10, seed=5))
    torch.testing.assert_close(held.reward(rows), once.reward(rows))


def test_equal_labels_pull_returns_together_and_decided_ones_apart():
    apart = {}
    for answer in (Answer.EQUAL, Answer.FIRST):
        reward = PreferenceReward(SPEC, replace(SMALL, epochs=60))
        rows = segments(12, seed=4)
        for i in range(6):
            reward.remember(Question(*(one(rows, i + 6 * side) for side in (0, 1))), answer)
        before = reward.log_odds(reward._pairs(torch.arange(6))).abs().mean()
        reward.learn()
        odds = reward.log_odds(reward._pairs(torch.arange(6)))
        apart[answer] = (before.item(), odds.abs().mean().item(), odds.min().item())
    assert apart[Answer.EQUAL][1] < 0.2 * apart[Answer.EQUAL][0]
    assert apart[Answer.FIRST][2] > 0.0  # all members are right about all, and learning stopped


def one(rows, i):
    return {
        "observations": {"state": rows["observations"]["state"][i]},
        "actions": rows["actions"][i],
    }


def test_strength_is_how_well_a_label_agrees_with_the_ensemble():
    reward = taught(PreferenceReward(SPEC, replace(SMALL, strength=0.8, epochs=40)))
    reward.learn()
    reward.labels.add(*contradicted(reward))
    reward.remember(Question(one(segments(1), 0), one(segments(1), 0)), Answer.EQUAL)
    w, y = reward.strength(), torch.from_numpy(reward.labels.y)
    p = torch.sigmoid(reward.log_odds(reward._pairs(torch.arange(len(y))))).mean(dim=0)
    g = torch.where(y == 1, p, torch.where(y == 0, 1 - p, 1 - (p - 0.5).abs()))
    torch.testing.assert_close(w, 0.2 + 0.8 * g / g.mean())
    assert w.mean().item() == pytest.approx(1.0, abs=1e-5)
    assert w.argmin() == len(y) - 2  # the label that all contradict
    reward.config = replace(reward.config, strength=0.0)
    assert (reward.strength() == 1).all()


def contradicted(reward):
    """Give the question that the ensemble is surest of, with the wrong answer."""
    states, actions, y = reward.labels.states, reward.labels.actions, reward.labels.y
    odds = reward.log_odds(reward._pairs(torch.arange(len(y)))).mean(dim=0)
    i = int(odds.abs().argmax())
    pair = ({"observations": {"state": states[i, j]}, "actions": actions[i, j]} for j in (0, 1))
    return Question(*pair), Answer.SECOND if odds[i] > 0 else Answer.FIRST


# asking


def test_disagreement_is_the_variance_of_the_members_preferences():
    reward, rows = PreferenceReward(SPEC, SMALL), segments(20)
    p = torch.sigmoid(reward.log_odds(inputs(rows)))
    expected = ((p - p.mean(dim=0)) ** 2).mean(dim=0)
    np.testing.assert_allclose(reward.disagreement(rows), expected.numpy(force=True), rtol=1e-4)


def test_the_pair_that_is_made_uncertain_is_asked_about():
    reward = PreferenceReward(SPEC, replace(SMALL, sampling="disagreement"))
    with torch.no_grad():  # members differ in what they think of the first entry, in nothing else
        for layer in (*reward.network.hidden, reward.network.last):
            layer.weight.copy_(layer.weight[:1].clone().expand_as(layer.weight))
            layer.bias.copy_(layer.bias[:1].clone().expand_as(layer.bias))
        reward.network.hidden[0].weight[:, 0] = torch.linspace(-1.0, 1.0, 3)[:, None]
    rows = segments(40)
    rows["observations"]["state"][..., 0] = 0.0
    rows["observations"]["state"][14, :, 0] = 2.0  # the eighth pair
    asked = reward.questions(rows, 1)
    np.testing.assert_array_equal(asked[0].first["actions"], rows["actions"][14])
    np.testing.assert_array_equal(asked[0].second["actions"], rows["actions"][15])
    uncertain = reward.disagreement(rows)
    assert uncertain[7] > 1e-3 and np.delete(uncertain, 7).max() < 1e-9


def test_uniform_questions_are_those_that_were_drawn():
    reward = PreferenceReward(SPEC, replace(SMALL, sampling="uniform"))
    assert reward.segments_for(6) == 12
    assert PreferenceReward(SPEC, SMALL).segments_for(6) == 120
    rows = segments(12) | {"task_rewards": np.arange(12 * LENGTH).reshape(12, LENGTH)}
    asked = reward.questions(rows, 6)
    for i, q in enumerate(asked):
        np.testing.assert_array_equal(q.first["task_rewards"], rows["task_rewards"][2 * i])
        np.testing.assert_array_equal(q.second["task_rewards"], rows["task_rewards"][2 * i + 1])
    with pytest.raises(DataError, match="7 questions need 14 segments, not 12"):
        reward.questions(rows, 7)


# learning


def test_a_linear_reward_is_recovered_from_200_labels():
    unit = np.array([1.0, 0.01, 10.0])  # entries count alike, in units of their own
    config = PreferenceConfig(
        widths=(64, 64), learning_rate=1e-3, minibatch=32, length=20, sampling="uniform"
    )
    reward, teacher = PreferenceReward(SPEC, config), Teacher(judge=linear_judge)
    for asked in reward.questions(segments(400, length=20, scale=unit), 200):
        assert reward.remember(asked, teacher.answer(asked))
    info = reward.learn()
    held_out = segments(40, seed=1, length=20, scale=unit)
    found = reward.reward(tensors(held_out)).numpy()
    assert spearmanr(linear_judge(held_out).ravel(), found.ravel()).statistic > 0.9
    assert info["labels"] == 200 and info["accuracy"] > 0.9 and info["epochs"] <= 50


def test_learning_stops_when_enough_is_known_and_says_what_was_seen():
    reward = taught(PreferenceReward(SPEC, replace(SMALL, epochs=500, enough=0.9)))
    info = reward.learn()
    assert 0.9 <= info["accuracy"] <= 1 and 1 <= info["epochs"] < 500
    assert info["epochs"] > 1 and 0 < info["loss"] < np.log(2)
    equal = PreferenceReward(SPEC, SMALL)
    rows = segments(2)
    equal.remember(Question(one(rows, 0), one(rows, 1)), Answer.EQUAL)
    assert equal.learn()["epochs"] == 3  # nothing there to be right about
    with pytest.raises(DataError, match="no labels"):
        PreferenceReward(SPEC, SMALL).learn()


def test_who_cannot_tell_changes_nothing():
    reward, rows = PreferenceReward(SPEC, SMALL), segments(2)
    before = {name: tensor.clone() for name, tensor in reward.state_dict().items()}
    assert not reward.remember(Question(one(rows, 0), one(rows, 1)), Answer.CANNOT_TELL)
    for name, tensor in reward.state_dict().items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.parametrize("seed", range(5))
def test_relabelling_is_as_if_it_had_been_rewarded_so_from_the_start(seed):
    rng = np.random.default_rng(seed)
    n, capacity, count = (int(rng.integers(*b)) for b in ((1, 4), (8, 40), (4, 60)))
    reward = taught(PreferenceReward(SPEC, SMALL, seed), seed=seed)
    reward.learn()
    replay, rebuilt = Replay(SPEC, capacity, n), Replay(SPEC, capacity, n)
    for _ in range(count):
        state, action = rng.normal(size=(2, n, STATE)), rng.uniform(-1, 1, (n, ACTION))
        state, action = state.astype(np.float32), action.astype(np.float32)
        ended = rng.random(n) < 0.2
        step = {
            "observations": {"state": state[0]}, "next_observations": {"state": state[1]},
            "actions": action, "rewards": rng.normal(size=n), "terminated": ended, "ended": ended,
        }  # fmt: skip
        replay.add(step)
        own = reward.reward(tensors({"observations": step["observations"], "actions": action}))
        rebuilt.add(step | {"rewards": own.numpy()})
    replay.relabel(reward.relabels, chunk=int(rng.integers(1, 12)))
    found, expected = (r.state_dict() for r in (replay, rebuilt))
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, atol=1e-6, err_msg=name)


def test_sac_is_rewarded_by_it_and_remembers_it(tmp_path):
    reward = taught(PreferenceReward(SPEC, SMALL))
    reward.learn()
    learner = SAC(SPEC, SACConfig(widths=(8,)), streams={"preference": reward})
    rows = {"rewards": torch.zeros(5)} | {
        k: v[:, 0] if k == "actions" else {"state": v["state"][:, 0]}
        for k, v in tensors(segments(5)).items()
    }
    torch.testing.assert_close(learner.reward(rows), reward.reward(rows))
    checkpoint.save(tmp_path / "checkpoint", learner, {})
    weights = checkpoint.read_tensors(tmp_path / "checkpoint" / "weights.safetensors")
    other = PreferenceReward(SPEC, SMALL, seed=1)
    fresh = SAC(SPEC, SACConfig(widths=(8,)), streams={"preference": other})
    fresh.load_state_dict(weights)
    torch.testing.assert_close(fresh.reward(rows), learner.reward(rows), rtol=0, atol=0)


def test_ppo_is_rewarded_by_it_and_remembers_it():
    reward = taught(PreferenceReward(SPEC, SMALL))
    reward.learn()
    rollout = tensors(segments(6)) | {
        "rewards": torch.zeros(6, LENGTH),
        "terminated": torch.zeros(6, LENGTH, dtype=bool),
        "ended": torch.zeros(6, LENGTH, dtype=bool),
    }
    rollout["next_observations"] = rollout["observations"]
    learner, told = PPO(SPEC, NETWORK, streams={"preference": reward}), PPO(SPEC, NETWORK)
    info = learner.update(rollout)
    assert info == told.update({**rollout, "rewards": reward.reward(rollout)})
    assert info != PPO(SPEC, NETWORK).update(rollout)
    fresh = PPO(SPEC, NETWORK, 1, streams={"preference": PreferenceReward(SPEC, SMALL, 1)})
    fresh.load_state_dict(learner.state_dict())
    assert torch.equal(fresh.rewards(rollout), reward.reward(rollout))
    PPO(SPEC, NETWORK).load_state_dict(learner.state_dict())  # who only acts needs no reward


# persistence


def test_what_was_stored_goes_on_as_what_was_not(tmp_path):
    whole = taught(PreferenceReward(SPEC, replace(SMALL, strength=0.5), seed=1), 30)
    whole.learn()
    checkpoint.write_tensors(tmp_path / "reward.safetensors", whole.state_dict())
    stored = PreferenceReward(SPEC, replace(SMALL, strength=0.5), seed=2)
    stored.load_state_dict(checkpoint.read_tensors(tmp_path / "reward.safetensors"))
    infos = [taught(reward, 20, seed=7).learn() for reward in (whole, stored)]
    assert infos[0] == infos[1] and infos[0]["labels"] == 40
    assert whole.labels.given == 50
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, stored.state_dict()[name]), name


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"members": 2}, "not of 2 members"),
        ({"widths": (16, 9)}, "of another network"),
        ({"length": LENGTH + 1}, "these labels are of another"),
    ],
)
def test_what_is_of_another_ensemble_is_refused(other, said):
    state = taught(PreferenceReward(SPEC, SMALL)).state_dict()
    with pytest.raises(DataError, match=said):
        PreferenceReward(SPEC, replace(SMALL, **other)).load_state_dict(state)


def test_what_it_cannot_see_and_settings_out_of_range_are_refused():
    blind = replace(SPEC, observations={"eye": ArraySpec((4, 4, 3), "uint8")})
    with pytest.raises(SpecError, match="shows eye"):
        PreferenceReward(blind, SMALL)
    for wrong in ({"members": 0}, {"sampling": "entropy"}, {"strength": 1.5}, {"enough": -1}):
        with pytest.raises(UserError, match=next(iter(wrong))):
            replace(SMALL, **wrong)


def test_a_reward_of_the_state_alone_does_not_look_at_what_was_done():
    reward = PreferenceReward(SPEC, replace(SMALL, actions=False))
    one, other = segments(40), segments(40)
    other["actions"] = -other["actions"]
    for i in range(0, 40, 2):
        question = Question(preference.row(one, i), preference.row(one, i + 1))
        reward.remember(question, Answer.FIRST if i % 3 else Answer.SECOND)
    reward.learn()
    torch.testing.assert_close(reward.reward(tensors(one)), reward.reward(tensors(other)))
    np.testing.assert_array_equal(reward.disagreement(one), reward.disagreement(other))
    other["observations"]["state"] += 1
    assert (reward.reward(tensors(one)) != reward.reward(tensors(other))).any()
