"""What is logged of a step."""

import numpy as np

from robolearn.viz.entries import coloured, seen


def test_objects_have_colours_of_their_own_on_black():
    objects = np.array([[[-1, -1], [0, 5], [1, 5]], [[0, 6], [0, 5], [-1, -1]]], np.int32)
    (entry,) = seen({"front_segmentation": objects}, {})
    image = entry.value
    assert entry.kind == "image" and image.shape == (2, 3, 3) and image.dtype == np.uint8
    np.testing.assert_array_equal(image, coloured(objects))
    assert not image[0, 0].any() and not image[1, 2].any()
    np.testing.assert_array_equal(image[0, 1], image[1, 1])
    assert len({tuple(pixel) for pixel in image.reshape(-1, 3)}) == 4


def test_images_are_shown_as_they_are():
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    (entry,) = seen({"front": image}, {})
    np.testing.assert_array_equal(entry.value, image)


def test_depth_is_grey_and_numbers_of_objects_are_coloured():
    depth = np.float32([[[0.5], [1.0]], [[1.5], [2.5]]])
    (entry,) = seen({"depth": depth}, {})
    assert entry.value.dtype == np.uint8
    assert entry.value[..., 0].tolist() == [[0, 63], [127, 255]]
    assert (entry.value == entry.value[..., :1]).all() and entry.value.shape == (2, 2, 3)
    (flat,) = seen({"depth": np.ones((2, 2, 1))}, {})
    assert not flat.value.any()
    (grey,) = seen({"eye": np.full((2, 2, 1), 7, np.uint8)}, {})
    assert grey.value.shape == (2, 2, 3) and (grey.value == 7).all()
    numbers = np.int32([[[0], [1]], [[2], [2]]])
    (objects,) = seen({"objects": numbers}, {})
    colours = {tuple(colour) for colour in objects.value.reshape(-1, 3).tolist()}
    assert objects.value.dtype == np.uint8 and len(colours) == 3
