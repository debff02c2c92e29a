import re

import numpy as np

from demos.teleop.blocks import UPPER, has_true_colour, lines


def test_two_pixels_are_one_character():
    image = np.array([[[255, 0, 0], [255, 0, 0]], [[0, 0, 255], [0, 0, 255]]], np.uint8)
    (line,) = lines(image, 2, 1, true_colour=True)
    assert line == f"\x1b[38;2;255;0;0;48;2;0;0;255m{UPPER}{UPPER}\x1b[0m"
    (line,) = lines(image, 2, 1, true_colour=False)
    assert line == f"\x1b[38;5;196;48;5;21m{UPPER}{UPPER}\x1b[0m"


def test_a_picture_keeps_its_proportions_and_fits():
    image = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    for columns, rows in ((80, 20), (200, 10), (30, 50), (1, 1)):
        drawn = lines(image, columns, rows, True)
        wide = {line.count(UPPER) for line in drawn}
        assert len(drawn) <= rows and len(wide) == 1 and max(wide) <= columns
        if columns > 20:
            assert abs(wide.pop() / (2 * len(drawn)) - 160 / 120) < 0.1


def test_a_grey_is_the_nearest_of_256():
    image = np.full((2, 1, 3), 140, np.uint8)
    codes = re.findall(r"[34]8;5;(\d+)", lines(image, 1, 1, False)[0])
    assert codes == [str(16 + 2 * 43)] * 2  # 135 of each: level 2 of 6


def test_terminals_say_whether_they_know_all_colours():
    assert has_true_colour({"COLORTERM": "truecolor"}) and not has_true_colour({})
