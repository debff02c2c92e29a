"""Exploration before anybody is asked: distances by hand, and when it ends."""

import numpy as np
import pytest
import torch

from robolearn.errors import DataError
from robolearn.rewards.labels import Answer, Question
from robolearn.rewards.novelty import SEEN, Exploring
from robolearn.rewards.preference import PreferenceConfig, PreferenceReward
from robolearn.types import ArraySpec, Spec

SPEC = Spec("toy", {"state": ArraySpec((2,))}, ArraySpec((1,)), 0.1)
SMALL = PreferenceConfig(widths=(8,), length=3, capacity=4)


def exploring():
    return Exploring(PreferenceReward(SPEC, SMALL))


def seen(seed=0):
    return np.random.default_rng(seed).normal(size=(SEEN, 2)) * [1.0, 100.0]


def test_it_is_the_distance_to_the_fifth_nearest_in_units_of_the_spread():
    reward, states = exploring(), seen()
    reward.look(states)
    new = np.random.default_rng(1).normal(size=(3, 2, 2)) * [2.0, 200.0]
    spread = states.std(axis=0, ddof=1)
    expected = [
        np.log1p(np.sort(np.linalg.norm((states - one) / spread, axis=1))[4])
        for one in new.reshape(-1, 2)
    ]
    tensor = torch.as_tensor(new, dtype=torch.float32)
    batch = {"next_observations": {"state": tensor}}
    np.testing.assert_allclose(reward.reward(batch), np.reshape(expected, (3, 2)), rtol=1e-3)
    rows = tensor.reshape(-1, 2).numpy()
    relabelled = reward.relabels({"state": rows}, np.zeros((6, 1)), {"state": rows})
    np.testing.assert_allclose(relabelled, expected, rtol=1e-3)


def test_entries_that_never_vary_hide_nothing():
    """As of a robot: constants with the noise of rounding, and a pose in metres far from zero."""
    rng = np.random.default_rng(0)
    spec = Spec("toy", {"state": ArraySpec((8,))}, ArraySpec((1,)), 0.1)
    reward = Exploring(PreferenceReward(spec, SMALL))
    states = np.zeros((SEEN, 8), np.float32) + [0, 0, 1, 0.73, 0.15, 40, 0, -0.9]
    states[:, :2] += rng.normal(size=(SEEN, 2)) * 0.1
    states += rng.normal(size=states.shape) * 1e-6
    reward.look(states)
    one = states[:4].copy()
    one[1, :2], one[2, 3] = [0.5, 0.5], 0.6  # a hand far away; a drawer that moves
    one[3] = [0, 0, 1, 0.73, 0.15, 40, 0, -0.9]
    spread = states.std(axis=0, ddof=1).clip(1e-4)
    scaled = [((x - states.mean(axis=0)) / spread).clip(-10, 10) for x in (one, states)]
    distances = np.linalg.norm(scaled[0][:, None] - scaled[1][None], axis=-1)
    expected = np.log1p(np.sort(distances, axis=1)[:, 4])
    found = reward.novelty(torch.as_tensor(one, dtype=torch.float32)).numpy()
    np.testing.assert_allclose(found, expected, atol=0.02)
    assert found[3] < 0.3 < 1.5 < found[1] and found[2] > 2


def test_far_states_are_worth_more_until_there_is_a_label():
    reward = exploring()
    reward.look(seen())
    state = torch.tensor([[0.0, 0.0], [5.0, 0.0], [0.0, 500.0]])
    batch = {
        "observations": {"state": state},
        "next_observations": {"state": state},
        "actions": torch.zeros(3, 1),
    }
    near, *far = reward.reward(batch).tolist()
    assert min(far) > near + 1
    segment = {
        "observations": {"state": np.zeros((3, 2), np.float32)},
        "actions": np.zeros((3, 1), np.float32),
    }
    reward.preference.remember(Question(segment, segment), Answer.FIRST)
    assert torch.equal(reward.reward(batch), reward.preference.reward(batch))


def test_what_was_seen_is_remembered():
    reward, other = exploring(), exploring()
    reward.look(seen())
    other.load_state_dict({name: t.clone() for name, t in reward.state_dict().items()})
    for name, tensor in reward.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name
    with pytest.raises(DataError, match="did not explore"):
        other.load_state_dict(reward.preference.state_dict())
