from dataclasses import replace

import numpy as np
import pytest
import torch

from robolearn.algos.bc import BCConfig, BehaviorCloning
from robolearn.algos.image_bc import EncoderConfig, ImageCloning, ImageCloningConfig
from robolearn.errors import SpecError, UserError
from robolearn.loops import checkpoint
from robolearn.loops.offline import OfflineConfig, offline
from robolearn.types import ArraySpec, Policy, Spec

pytestmark = pytest.mark.usefixtures("one_thread")

SIZE = 24
CAMERA = ArraySpec((SIZE, SIZE, 3), "uint8")
SMALL = ImageCloningConfig.of(
    BCConfig(members=2, widths=(32,), dropout=0.0, learning_rate=3e-3),
    EncoderConfig(channels=(8, 8), points=4),
)


def interface(**observations):
    observations = observations or {"state": ArraySpec((1,)), "front": CAMERA}
    return Spec("test/Spot", observations, ArraySpec((2,)), period_s=0.05)


def data(episodes=8, steps=24, seed=0):
    """Images of a spot, whose column is the first action; the second is the state's sign."""
    rng = np.random.default_rng(seed)
    size = episodes * steps
    images = rng.integers(0, 40, (size, SIZE, SIZE, 3), np.uint8)
    rows, columns = rng.integers(4, SIZE - 7, (2, size))
    for image, row, column in zip(images, rows, columns, strict=True):
        image[row : row + 3, column : column + 3] = 255
    state = rng.normal(size=(size, 1)).astype(np.float32)
    actions = np.stack([(columns - 10.5) / 8, 0.5 * np.sign(state[:, 0])], axis=1)
    return {
        "observations": {"state": state, "front": images},
        "actions": actions.astype(np.float32),
        "episode": np.repeat(np.arange(episodes), steps),
    }


def batch(rows=6):
    some = data(1, rows)
    observations = {k: torch.from_numpy(a) for k, a in some["observations"].items()}
    return {"observations": observations, "actions": torch.from_numpy(some["actions"])}


def test_it_learns_from_image_and_state_and_acts_by_both():
    learner = ImageCloning(interface(), replace(SMALL, members=1))
    assert isinstance(learner, Policy) and learner.memoryless
    fit = offline(learner, data(6), OfflineConfig(epochs=20, batch_size=8), seed=0)
    new = data(3, seed=1)
    error = np.square(learner.act(new["observations"]) - new["actions"]).mean(axis=0)
    assert (error < np.square(new["actions"]).mean(axis=0) / 5).all(), error
    assert fit.validation_loss[0] > 3 * fit.best_validation_loss


def test_images_alone_will_do(tmp_path):
    learner, seen = ImageCloning(interface(front=CAMERA), SMALL), data(1, 3)["observations"]
    offline(learner, data(2), OfflineConfig(epochs=1), seed=0)
    action = learner.act({"front": seen["front"]})
    assert action.shape == (3, 2) and action.dtype == np.float32
    checkpoint.save(tmp_path / "c", learner)
    again = checkpoint.load_policy(tmp_path / "c", learner.interface)
    np.testing.assert_array_equal(again.act({"front": seen["front"]}), action)


def test_images_stay_bytes(monkeypatch):
    rows, seen = data(2), []
    learner = ImageCloning(interface(), SMALL)
    step = learner.update
    monkeypatch.setattr(learner, "update", lambda b: seen.append(b) or step(b))
    offline(learner, rows, OfflineConfig(epochs=1, batch_size=16), seed=0)
    assert seen[0]["observations"]["front"].dtype == torch.uint8
    assert seen[0]["observations"]["front"].shape == (2, 16, SIZE, SIZE, 3)
    assert seen[0]["observations"]["state"].dtype == torch.float32


def test_crops_are_drawn_in_training_and_the_middle_is_seen_otherwise():
    learner = ImageCloning(interface(), SMALL)
    observations = batch()["observations"]
    learner.network.train()
    one, other = (learner.actions(observations) for _ in range(2))
    assert one.shape == (2, 6, 2) and not torch.equal(one, other)
    learner.network.eval()
    assert torch.equal(learner.actions(observations), learner.actions(observations))
    border = observations["front"].clone()
    border[:, 0], border[:, :, -1] = 255, 255  # 24 pixels, of which 22 are seen
    assert torch.equal(
        learner.actions(observations), learner.actions(observations | {"front": border})
    )


def test_every_camera_has_an_encoder_in_the_order_of_their_names():
    whole = interface(right=CAMERA, state=ArraySpec((1,)), left=CAMERA)
    learner = ImageCloning(whole, SMALL)
    assert list(learner.cameras) == ["left", "right"]
    seen = batch()["observations"]
    dark = torch.zeros_like(seen["front"])
    one = learner.actions({"state": seen["state"], "left": seen["front"], "right": dark})
    other = learner.actions({"state": seen["state"], "left": dark, "right": seen["front"]})
    assert not torch.allclose(one, other)


def test_members_do_not_know_of_each_other():
    learner = ImageCloning(interface(), SMALL)
    learner.network.eval()
    loss = learner.squared_error(batch())[0].mean()
    loss.backward()
    for name, p in learner.network["mlp"].named_parameters():
        assert p.shape[0] == 2 and p.grad[1].abs().max() == 0, name
        assert p.grad[0].abs().max() > 0, name


def test_validation_is_the_same_however_it_is_cut(monkeypatch):
    learner = ImageCloning(interface(), SMALL)
    whole = learner.validate(batch(10))
    monkeypatch.setattr("robolearn.algos.image_bc.IMAGES_AT_A_TIME", 4)
    torch.testing.assert_close(learner.validate(batch(10)), whole)


def test_a_checkpoint_gives_the_same_policy_and_goes_on_as_if_never_interrupted(tmp_path):
    rows, config = data(3), OfflineConfig(epochs=2, batch_size=16)
    straight = ImageCloning(interface(), SMALL)
    offline(straight, rows, config, seed=0)
    halved = ImageCloning(interface(), SMALL)

    def save(epoch, info):
        checkpoint.save(tmp_path / "c", halved, {"epoch": epoch})

    offline(halved, rows, replace(config, epochs=1), seed=0, on_epoch=save)
    resumed = checkpoint.load_learner(tmp_path / "c", interface()).learner
    assert type(resumed) is ImageCloning and resumed.config == SMALL
    offline(resumed, rows, config, seed=0, first_epoch=1)
    seen = data(1)["observations"]
    np.testing.assert_array_equal(resumed.act(seen), straight.act(seen))


@pytest.mark.parametrize(
    ("observations", "said"),
    [
        ({"state": ArraySpec((1,))}, "there is no camera"),
        ({"depth": ArraySpec((24, 24), "float32")}, "depth is no colour image"),
        ({"front_segmentation": ArraySpec((24, 24, 2), "int32")}, "leave it out by obs="),
        ({"front": ArraySpec((9, 40, 3), "uint8")}, "of front, 8 x 36 pixels would be seen: 9 x 9"),
    ],
)
def test_what_cannot_be_seen_is_one_line(observations, said):
    with pytest.raises(SpecError) as caught:
        ImageCloning(interface(**observations), SMALL)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_settings_out_of_range_are_named():
    for setting in ({"crop": 0.0}, {"crop": 1.5}, {"points": 0}, {"channels": ()}):
        with pytest.raises(UserError, match=next(iter(setting))):
            EncoderConfig(**setting)


def test_without_cameras_the_other_clone_is_meant():
    with pytest.raises(SpecError, match="sees the 'state' only, not front"):
        BehaviorCloning(interface(), BCConfig())
