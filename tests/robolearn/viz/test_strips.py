import cv2
import numpy as np

from robolearn.viz.strips import GAP, MARGIN, draw_strips


def test_strips_stand_under_each_other_in_their_order(tmp_path):
    rng = np.random.default_rng(0)
    strips = {
        name: rng.integers(0, 256, (3, 8, 6, 3)).astype(np.uint8) for name in ("seen", "kept")
    }
    draw_strips(strips, tmp_path / "strips.png")
    picture = cv2.imread(str(tmp_path / "strips.png"))[:, :, ::-1]
    assert picture.shape == (2 * 8 + GAP, MARGIN + 3 * 6, 3)
    for row, images in enumerate(strips.values()):
        top = row * (8 + GAP)
        for t, image in enumerate(images):
            left = MARGIN + 6 * t
            np.testing.assert_array_equal(picture[top : top + 8, left : left + 6], image)
    assert (picture[:8, :MARGIN] < 200).any()  # a name
