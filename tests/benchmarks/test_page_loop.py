"""Times from key presses to what follows them."""

from page_loop import delays


def test_a_press_is_followed_by_the_next_beginning_before_another_press():
    assert delays([1.0, 2.0, 3.0], [0.5, 1.25, 1.5, 3.5]) == [0.25, 0.5]
    assert delays([], [1.0]) == []
