import numpy as np
import pytest
import torch

from robolearn.networks.keypoints import (
    EnsembleConv,
    KeypointEncoder,
    centre_crop,
    cropped_size,
    least_size,
    random_crop,
    spatial_softmax,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def generators(members):
    return [torch.Generator().manual_seed(k) for k in range(members)]


def test_spatial_softmax_gives_the_expected_position():
    maps = torch.full((2, 3, 5), -1e9)
    maps[0, 0, 4] = 0.0  # top right
    maps[1, 2, 0] = maps[1, 2, 2] = 0.0  # bottom: left edge and middle, alike
    assert spatial_softmax(maps).tolist() == [1.0, -0.5, -1.0, 1.0]  # x, x, y, y


def test_a_convolution_of_an_ensemble_is_that_of_each_member():
    both = EnsembleConv(3, 4, 3, 2, generators(2))
    x = torch.randn(2, 5, 3, 9, 9)
    for k in range(2):
        alone = torch.nn.Conv2d(3, 4, 3, 2)
        alone.load_state_dict({"weight": both.weight[k], "bias": both.bias[k]})
        torch.testing.assert_close(both(x)[k], alone(x[k]))
    (one,) = EnsembleConv(3, 4, 3, 2, generators(2)[1:]).weight
    assert torch.equal(one, both.weight[1])  # as it is drawn whoever else there is
    assert both.weight.abs().max() <= 1 / np.sqrt(27)


def test_the_encoder_follows_what_moves_in_the_image():
    encoder = KeypointEncoder((4,), 2, generators(1))
    with torch.no_grad():
        encoder.layers[0].weight.fill_(1.0)
        encoder.layers[0].bias.fill_(1.0 + 75)  # black is nothing
        encoder.layers[2].weight.fill_(1.0)
    images = torch.zeros(1, 2, 21, 21, 3, dtype=torch.uint8)
    images[0, 0, 2, 3] = images[0, 1, 18, 11] = 255
    x, _, y, _ = encoder(images)[0].T
    assert encoder(images).shape == (1, 2, 4)
    assert x[0] < x[1] and y[0] < y[1]


def test_the_least_size_leaves_a_pixel_of_each_map():
    for layers in (1, 2, 3, 5):
        size = least_size(layers)
        encoder = KeypointEncoder((2,) * layers, 1, generators(1))
        assert encoder(torch.zeros(1, 1, size, size, 3, dtype=torch.uint8)).shape == (1, 1, 2)
        with pytest.raises(RuntimeError):
            encoder(torch.zeros(1, 1, size - 1, size, 3, dtype=torch.uint8))


def test_crops_are_pieces_of_their_images():
    rows, columns = torch.meshgrid(torch.arange(10), torch.arange(12), indexing="ij")
    image = torch.stack([rows, columns, torch.zeros_like(rows)], dim=-1).to(torch.uint8)
    images = image.expand(2, 200, 10, 12, 3).clone()
    images[..., 2] = torch.arange(200, dtype=torch.uint8)[None, :, None, None]
    crops = random_crop(images, (8, 9), torch.Generator().manual_seed(0))
    assert crops.shape == (2, 200, 8, 9, 3) and crops.dtype == torch.uint8
    assert (crops[..., 2] == images[:, :, :8, :9, 2]).all()  # each of its own image
    tops, lefts = crops[..., 0, 0, 0], crops[..., 0, 0, 1]
    assert (crops[..., 0] - tops[..., None, None] == rows[:8, :9]).all()
    assert (crops[..., 1] - lefts[..., None, None] == columns[:8, :9]).all()
    assert set(tops.flatten().tolist()) == {0, 1, 2} and set(lefts.flatten().tolist()) == {
        0,
        1,
        2,
        3,
    }
    assert not torch.equal(tops[0], tops[1])
    again = random_crop(images, (8, 9), torch.Generator().manual_seed(0))
    assert torch.equal(crops, again)


def test_the_centre_crop_is_the_middle():
    image = torch.arange(7 * 8 * 3).reshape(1, 7, 8, 3)
    torch.testing.assert_close(centre_crop(image, (3, 4)), image[:, 2:5, 2:6])
    assert torch.equal(centre_crop(image, (7, 8)), image)
    assert cropped_size((84, 64), 0.9) == (76, 58) and cropped_size((3, 3), 0.01) == (1, 1)
