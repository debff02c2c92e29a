import pytest
import torch

from robolearn.errors import SpecError
from robolearn.rewards.fixed import Metric, MetricConfig, Terms
from robolearn.types import RewardStream


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
