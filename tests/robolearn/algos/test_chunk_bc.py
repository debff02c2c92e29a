from dataclasses import replace

import numpy as np
import pytest
import torch

from robolearn.algos.bc import BCConfig
from robolearn.algos.chunk_bc import (
    ChunkCloning,
    ChunkCloningConfig,
    ChunkImageCloning,
    ChunkImageCloningConfig,
)
from robolearn.algos.image_bc import EncoderConfig, ImageCloningConfig
from robolearn.errors import UserError
from robolearn.loops import checkpoint, parts
from robolearn.loops.offline import OfflineConfig, offline
from robolearn.types import ArraySpec, Chunking, Spec

pytestmark = pytest.mark.usefixtures("one_thread")

CHUNK, STEPS = 4, 20
PLAIN = BCConfig(members=2, widths=(64,), dropout=0.0, learning_rate=3e-3)
SMALL = ChunkCloningConfig.of(PLAIN, CHUNK)
INTERFACE = Spec("test/Wave", {"state": ArraySpec((2,))}, ArraySpec((1,)), period_s=0.05)


def wave(start, steps=STEPS):
    """Give the phases, as points on a circle, and actions that are their sines."""
    phase = start + 0.4 * np.arange(steps)
    state = np.stack([np.sin(phase), np.cos(phase)], axis=1)
    return state.astype(np.float32), np.sin(phase)[:, None].astype(np.float32)


def data(episodes=12):
    waves = [wave(start) for start in np.linspace(0, 6.1, episodes)]
    return {
        "observations": {"state": np.concatenate([state for state, _ in waves])},
        "actions": np.concatenate([actions for _, actions in waves]),
        "episode": np.repeat(np.arange(episodes), STEPS),
    }


class Seen(ChunkCloning):
    """Keeps what it is given."""

    def update(self, batch):
        self.batch = batch
        return super().update(batch)


def test_it_learns_what_the_next_steps_are():
    learner = ChunkCloning(INTERFACE, SMALL)
    assert isinstance(learner, Chunking) and learner.memoryless
    offline(learner, data(), OfflineConfig(epochs=60, batch_size=16), seed=0)
    state, actions = wave(0.2)
    chunks = learner.act_chunk({"state": state})
    assert chunks.shape == (STEPS, CHUNK, 1) and chunks.dtype == np.float32
    for ahead in range(CHUNK):
        told, true = chunks[: STEPS - ahead, ahead], actions[ahead:]
        assert np.abs(told - true).max() < 0.25, ahead
    np.testing.assert_array_equal(learner.act({"state": state}), chunks[:, 0])


def test_a_chunk_ends_with_its_episode_and_before_what_is_left_out():
    learner = Seen(INTERFACE, replace(SMALL, members=1))
    rows = data(2)
    weight = np.ones(2 * STEPS)
    weight[5] = 0
    config = OfflineConfig(epochs=1, batch_size=2 * STEPS, validation_share=0)
    offline(learner, rows | {"weight": weight}, config, seed=0)
    found = {}
    for state, actions, within in zip(
        learner.batch["observations"]["state"][0],
        learner.batch["actions"][0],
        learner.batch["within"][0],
        strict=True,
    ):
        row = int(np.abs(rows["observations"]["state"] - state.numpy()).sum(axis=1).argmin())
        found[row] = int(within.sum())
        np.testing.assert_array_equal(actions[: found[row]], rows["actions"][row:][: found[row]])
    assert [found[row] for row in (0, 2, 3, 4, 6)] == [4, 3, 2, 1, 4]
    assert [found[row] for row in (STEPS - 4, STEPS - 3, STEPS - 1, 2 * STEPS - 1)] == [4, 3, 1, 1]


def test_what_is_beyond_the_end_does_not_count():
    learner = ChunkCloning(INTERFACE, SMALL)
    batch = {
        "observations": {"state": torch.zeros(3, 2)},
        "actions": torch.zeros(3, CHUNK, 1),
        "within": torch.tensor([[1.0, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]]),
        "weight": torch.ones(3),
    }
    before = learner.validate(batch)
    batch["actions"][1, 2:] = batch["actions"][2, 1:] = 9.0
    torch.testing.assert_close(learner.validate(batch), before)
    batch["actions"][1, 1] = 9.0
    assert (learner.validate(batch) > before).all()


def test_a_checkpoint_goes_on_as_if_never_interrupted(tmp_path):
    rows, config = data(4), OfflineConfig(epochs=2, batch_size=16)
    straight, halved = ChunkCloning(INTERFACE, SMALL), ChunkCloning(INTERFACE, SMALL)
    offline(straight, rows, config, seed=0)
    offline(halved, rows, replace(config, epochs=1), seed=0)
    checkpoint.save(tmp_path / "c", halved, {"epoch": 0})
    resumed = checkpoint.load_learner(tmp_path / "c", INTERFACE).learner
    assert type(resumed) is ChunkCloning and resumed.config == SMALL
    offline(resumed, rows, replace(config, epochs=1), seed=0)
    offline(halved, rows, replace(config, epochs=1), seed=0)
    seen = {"state": wave(0)[0]}
    np.testing.assert_array_equal(resumed.act_chunk(seen), halved.act_chunk(seen))


def test_from_images_too_and_seen_in_part(tmp_path):
    camera = ArraySpec((24, 24, 3), "uint8")
    part = Spec("test/Spot", {"front": camera}, ArraySpec((2,)), period_s=0.05)
    whole = replace(part, observations={"front": camera, "state": ArraySpec((1,))})
    seeing = ImageCloningConfig.of(PLAIN, EncoderConfig(channels=(4, 4), points=4))
    learner = ChunkImageCloning(part, ChunkImageCloningConfig.of(seeing, 3))
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (12, *camera.shape), np.uint8)
    rows = {
        "observations": {"front": images},
        "actions": rng.normal(size=(12, 2)).astype(np.float32),
        "episode": np.repeat([0, 1], 6),
    }
    offline(learner, rows, OfflineConfig(epochs=1, batch_size=4), seed=0)
    checkpoint.save(tmp_path / "c", learner)
    loaded = checkpoint.load_policy(tmp_path / "c", part)
    assert type(loaded) is ChunkImageCloning and loaded.config == learner.config
    policy = parts.sighted(loaded, whole, part)
    assert isinstance(policy, Chunking)
    seen = {"front": images[:2], "state": np.zeros((2, 1), np.float32)}
    chunks = policy.act_chunk(seen)
    assert chunks.shape == (2, 3, 2)
    np.testing.assert_array_equal(policy.act(seen), chunks[:, 0])


def test_a_chunk_of_one_is_none():
    with pytest.raises(UserError, match="chunk"):
        replace(SMALL, chunk=1)
