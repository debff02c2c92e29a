import math

import pytest
import torch

from robolearn.errors import SpecError
from robolearn.rewards.base import (
    Metric,
    MetricConfig,
    PoseScale,
    SkillConfig,
    SkillReward,
    Streams,
    Terms,
    directions,
    entries_of,
    mlp,
    one_hot,
)
from robolearn.types import RewardStream


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("size", [2, 3])
def test_directions_have_length_one_and_no_preferred_way(size):
    z = directions(20_000, size, generator())
    torch.testing.assert_close(z.norm(dim=-1), torch.ones(20_000))
    assert z.mean(dim=0).abs().max() < 0.02
    torch.testing.assert_close(z.T @ z / 20_000, torch.eye(size) / size, atol=0.02, rtol=0.0)


def test_one_hot_skills_are_equally_likely():
    z = one_hot(20_000, 4, generator())
    assert z.dtype == torch.float32 and set(z.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(z.sum(dim=-1), torch.ones(20_000))
    torch.testing.assert_close(z.mean(dim=0), torch.full((4,), 0.25), atol=0.02, rtol=0.0)


def test_skills_come_from_the_generator_alone():
    torch.testing.assert_close(directions(5, 3, generator(1)), directions(5, 3, generator(1)))
    assert not torch.equal(directions(5, 3, generator(1)), directions(5, 3, generator(2)))


def test_skills_are_drawn_where_the_generator_is():
    with torch.device("meta"):  # torch's default, on which nothing has a value
        for draw in (directions, one_hot):
            assert draw(5, 3, generator()).device.type == "cpu"


def test_one_hot_skills_have_an_entry_for_those_that_did_not_come_up():
    assert {one_hot(1, 9, generator(seed)).shape for seed in range(9)} == {(1, 9)}


def test_entries_are_found_by_name_in_the_order_asked_for(interface):
    assert entries_of(interface, ("cube_pos",)).tolist() == [1, 2, 3]
    assert entries_of(interface, ("cube_pos_z", "hand_x")).tolist() == [3, 0]
    with pytest.raises(SpecError, match="no entry 'cup'"):
        entries_of(interface, ("cup",))


def test_poses_are_measured_in_spreads_but_in_no_smaller_unit_than_the_floor():
    scale = PoseScale(2, smallest_spread=0.005)
    scale.update(torch.tensor([[-0.1, 0.3], [0.1, 0.3]]))
    spread = 0.1 * math.sqrt(math.pi / 2)
    torch.testing.assert_close(scale.spread, torch.tensor([spread, 0.005]))
    there = scale(torch.tensor([0.2, 0.31]))
    torch.testing.assert_close(there, torch.tensor([0.2 / spread, 2.0]), atol=1e-4, rtol=0.0)


def test_the_spread_is_a_gaussians_standard_deviation_and_hardly_feels_what_fell():
    scale = PoseScale(1, smallest_spread=1e-4)
    for seed in range(4):
        scale.update(0.1 * torch.randn(5000, 1, generator=generator(seed)))
    assert scale.spread.item() == pytest.approx(0.1, rel=0.02)
    scale.update(torch.full((200, 1), -1.0))  # 1%, of which the standard deviation would be 0.14
    assert scale.spread.item() < 0.12


def test_poses_stay_in_their_own_units_without_a_floor():
    scale = PoseScale(2, smallest_spread=None)
    scale.update(torch.tensor([[-0.1, 0.3], [0.1, 0.3]]))
    torch.testing.assert_close(scale(torch.tensor([0.2, 0.31])), torch.tensor([0.2, 0.01]))


class Nearest(SkillReward):
    """Learns a point; its loss is the mean distance to it. It takes down what it is shown."""

    def build(self, inputs, generator):
        self.shown, self.losses = [], []
        return {"point": torch.nn.Linear(1, inputs, bias=False)}

    def loss(self, x, next_x, z):
        self.shown.append((x, next_x, z))
        loss = (x - self.network["point"].weight[:, 0]).norm(dim=-1).mean()
        self.losses.append(loss.item())
        return loss, {"loss": loss}


def paths(rows=40):
    """Give a batch [4, rows / 4] whose poses, next poses and skills have a row's number in them."""
    number = torch.arange(1.0, rows + 1).reshape(4, -1, 1)
    here = torch.cat([torch.zeros_like(number), number, -number, 2 * number], dim=-1)
    skills = number.expand(-1, -1, 3)
    return {
        "observations": {"state": here},
        "next_observations": {"state": here + 0.5},
        "skills": skills,
    }


@pytest.mark.parametrize(("steps", "minibatch"), [(1, 7), (5, 100)])
def test_an_update_takes_so_many_steps_on_so_many_rows(interface, steps, minibatch):
    learner = Nearest(interface, SkillConfig(steps=steps, minibatch=minibatch))
    told = learner.update(paths())
    assert len(learner.shown) == steps and told == pytest.approx(
        {"loss": sum(learner.losses) / steps}
    )
    unit, centre = learner.scale.spread, learner.scale.centre.mean
    assert centre.tolist() == pytest.approx([20.5, -20.5, 41.0])  # the batch counts at once
    for x, next_x, z in learner.shown:
        assert x.shape == next_x.shape == z.shape == (minibatch, 3)
        torch.testing.assert_close(x * unit + centre, z * torch.tensor([1.0, -1.0, 2.0]))
        torch.testing.assert_close(next_x - x, (0.5 / unit).expand_as(x), rtol=1e-3, atol=1e-4)
    numbers = torch.cat([z[:, 0] for *_, z in learner.shown])
    assert 1 <= numbers.min() and numbers.max() <= 40
    if len(numbers) == 500:
        assert len(numbers.unique()) == 40  # drawn from all, with replacement


def test_an_update_computes_where_its_networks_are(interface):
    learner, batch = Nearest(interface, SkillConfig(steps=2)), paths()
    with torch.device("meta"):  # torch's default, on which nothing has a value
        assert math.isfinite(learner.update(batch)["loss"])
    assert learner.device == torch.device("cpu")


def test_a_learned_reward_is_remembered_under_names_that_stay(interface):
    learner = Nearest(interface, SkillConfig(learning_rate=0.02))
    learner.update(paths())
    names = {
        "scale.centre.mean",
        "scale.distance.mean",
        "point.weight",
        "optimiser/0/step",
        "noise",
    }
    assert names <= learner.state_dict().keys()
    assert learner.optimiser.param_groups[0]["lr"] == 0.02


def test_the_networks_of_rewards_end_in_an_orthogonal_map():
    layers = mlp(3, SkillConfig(widths=(8, 6)), 4, generator())
    assert [type(layer).__name__ for layer in layers] == ["Linear", "ELU"] * 2 + ["Linear"]
    sizes = [
        torch.linalg.svdvals(layer.weight.detach()) for layer in layers if hasattr(layer, "weight")
    ]
    for found, (count, gain) in zip(sizes, ((3, 2**0.5), (6, 2**0.5), (4, 1.0)), strict=True):
        torch.testing.assert_close(found, torch.full((count,), gain))
    drawn = mlp(3, SkillConfig(widths=(8, 6)), 4, generator())
    assert torch.equal(layers[-1].weight, drawn[-1].weight)


def move(by, z, start=(0.5, 0.1, 0.2, 0.3)):
    state = torch.tensor([start])
    return {
        "observations": {"state": state},
        "next_observations": {"state": state + torch.tensor([by])},
        "skills": torch.tensor([z]),
    }


def test_terms_are_weighted_and_summed():
    safe = Terms("safe", {"table_force": -1.0, "thrown": -2.0})
    terms = {name: torch.tensor([[0.0, 1.0]]) for name in ("table_force", "thrown", "reach")}
    reward = safe.reward({"reward_terms": terms})
    torch.testing.assert_close(reward, torch.tensor([[0.0, -3.0]]))


def test_a_misspelt_term_is_named():
    with pytest.raises(SpecError, match="reach: no reward term 'raech'; did you mean 'reach'?"):
        Terms("reach", {"raech": 1.0}).reward({"reward_terms": {"reach": torch.zeros(1)}})


def test_with_the_identity_the_reward_is_displacement_along_the_skill(interface):
    metric = Metric(interface, MetricConfig(weights=(1.0, 1.0, 1.0)))
    reward = metric.reward(move(by=(9.0, 0.1, -0.2, 0.3), z=(0.6, 0.0, 0.8)))  # the hand is no pose
    torch.testing.assert_close(reward, torch.tensor([0.1 * 0.6 + 0.3 * 0.8]))


def test_weights_stretch_the_metric(interface):
    metric = Metric(interface, MetricConfig(weights=(1.0, 1.0, 2.0)))
    up, aside = (metric.reward(move(by, z=(0.6, 0.0, 0.8))) for by in ((0, 0, 0, 1), (0, 1, 0, 0)))
    torch.testing.assert_close(torch.cat([up, aside]), torch.tensor([1.6, 0.6]))


def test_there_is_a_weight_for_every_number(interface):
    with pytest.raises(SpecError, match="^weights: 2 for 4 numbers in hand_x, cube_pos$"):
        Metric(interface, MetricConfig(entries=("hand_x", "cube_pos"), weights=(1.0, 1.0)))


def test_a_metric_is_where_it_is_asked_to_be(interface):
    metric = Metric(interface, MetricConfig(), device="meta")
    assert metric.index.device.type == metric.weights.device.type == "meta"
    assert Metric.name == "metric"
    assert Metric(interface, MetricConfig()).phi(torch.ones(3)).tolist() == [1.0, 1.0, 2.0]


def test_streams_without_learning_are_streams(interface):
    for stream in (Terms("reach", {"reach": 1.0}), Metric(interface, MetricConfig())):
        assert isinstance(stream, RewardStream)
        assert stream.update({}) == {} and stream.state_dict() == {}
        stream.load_state_dict({})


class Counting(Terms):
    """Rewards 1 for each batch that it has seen."""

    def __init__(self, name):
        super().__init__(name, {})
        self.seen = torch.zeros(1)

    def reward(self, batch):
        return self.seen.expand(2)

    def update(self, batch):
        self.seen += 1
        return {"seen": self.seen.item()}

    def state_dict(self):
        return {"seen": self.seen.clone()}

    def load_state_dict(self, state):
        self.seen = state["seen"].clone()


def test_streams_reward_in_sum_and_learn_each():
    streams = Streams(one=Counting("one"), two=Counting("two"))
    streams["two"].update({})
    assert streams.learn({}) == {"one/seen": 1.0, "two/seen": 2.0}
    assert streams.reward({}).tolist() == [3.0, 3.0]


def test_without_streams_the_rewards_are_the_environments():
    rewards = torch.tensor([1.0, 2.0])
    assert Streams().reward({"rewards": rewards}) is rewards


def test_what_streams_remember_is_told_from_the_rest():
    streams = Streams(one=Counting("one"), two=Counting("two"))
    streams.learn({})
    state = streams.state_dict()
    assert state == {"streams/one/seen": torch.ones(1), "streams/two/seen": torch.ones(1)}
    others = Streams(one=Counting("one"), two=Counting("two"))
    weight = torch.zeros(3)
    assert others.load_state_dict(state | {"weight": weight}) == {"weight": weight}
    assert [stream.seen.item() for stream in others.values()] == [1.0, 1.0]
