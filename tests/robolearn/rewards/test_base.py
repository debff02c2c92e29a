import math

import pytest
import torch

from robolearn.errors import SpecError
from robolearn.rewards.base import (
    Metric,
    MetricConfig,
    PoseScale,
    Terms,
    directions,
    entries_of,
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
    with pytest.raises(SpecError, match="weights: 2 for 3 numbers in cube_pos"):
        Metric(interface, MetricConfig(weights=(1.0, 1.0)))


def test_streams_without_learning_are_streams(interface):
    for stream in (Terms("reach", {"reach": 1.0}), Metric(interface, MetricConfig())):
        assert isinstance(stream, RewardStream)
        assert stream.update({}) == {} and stream.state_dict() == {}
        stream.load_state_dict({})
