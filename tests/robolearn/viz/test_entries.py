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
