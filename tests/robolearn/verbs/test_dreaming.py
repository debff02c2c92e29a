"""What is believed and foreseen of an episode, step by step."""

import numpy as np
import pytest
import torch

import robolearn.networks.world as module
from robolearn.algos.infopower import InfoPower, InfoPowerConfig
from robolearn.types import ArraySpec, Episode, Spec
from robolearn.verbs import dreaming

SPEC = Spec("test/Eye", {"eye": ArraySpec((64, 64, 3), "uint8")}, ArraySpec((2,)), period_s=0.05)
T = 20


@pytest.fixture
def learner(monkeypatch, one_thread):
    monkeypatch.setitem(module.SIZES, "small", module.Sizes(1, 6, 4, 8, 3, 4))
    return InfoPower(SPEC, InfoPowerConfig(draws=True))


@pytest.fixture
def episode():
    rng = np.random.default_rng(0)
    return Episode(
        {"eye": rng.integers(0, 256, (T + 1, 64, 64, 3)).astype(np.uint8)},
        rng.uniform(-1, 1, (T, 2)).astype(np.float32),
        np.zeros(T, np.float32),
        terminated=False,
        truncated=True,
        success=False,
    )


def test_what_is_foreseen_begins_anew_from_what_is_believed(learner, episode):
    believed = learner.believe(dreaming.sequence(learner, episode))
    features = dreaming.foreseen(learner, believed, episode.actions)
    assert features.shape == (T + 1, 10)
    for start in (0, dreaming.LOOKS):
        torch.testing.assert_close(features[start], believed.features[0, start])
        begin = type(believed)(*(part[:, start] for part in believed))
        actions = torch.from_numpy(episode.actions[start : start + 3])[:, None]
        ahead = learner.foresee(begin, actions).features[:, 0]
        torch.testing.assert_close(features[start + 1 : start + 4], ahead)
    assert (features[5] != believed.features[0, 5]).any()


def test_an_episode_is_shown_as_it_was_seen(learner, episode):
    strips = dreaming.imagined(learner, episode)
    np.testing.assert_array_equal(strips["seen"], episode.observations["eye"])
    assert {images.shape for images in strips.values()} == {(T + 1, 64, 64, 3)}


def test_what_each_step_tells_of_its_action(learner, episode):
    scores = dreaming._scores(learner, episode)
    assert len(scores) == T
    z = learner.believe(dreaming.sequence(learner, episode)).z[0]
    third = learner.log_q(z[3], z[4], torch.from_numpy(episode.actions[3])).item()
    assert scores[3].values["told of the action"] == pytest.approx(third, rel=1e-4)
