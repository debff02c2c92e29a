"""What is checked of arrays before a simulation gets them."""

import numpy as np
import pytest

from robolearn.errors import DataError, SpecError
from sim.base.spaces import checked_state, require_finite


def test_a_state_of_another_size_is_refused():
    with pytest.raises(SpecError, match=r"^here: state has shape \(3,\) instead of \(4,\)"):
        checked_state(np.zeros(3), 4, "here")
    assert checked_state(np.zeros(3), None, "here").shape == (3,)  # whose size nobody knows


def test_a_state_that_can_be_written_is_float64_and_in_one_piece():
    state = checked_state(np.arange(8, dtype=np.float32)[::2], 4, "here")
    assert state.dtype == np.float64 and state.flags.c_contiguous
    np.testing.assert_array_equal(state, [0, 2, 4, 6])


def test_the_first_entry_that_is_not_finite_is_named():
    values = np.zeros((2, 3))
    require_finite(values, "here", "states")
    values[1, 2], values[1, 0] = np.nan, -np.inf
    with pytest.raises(DataError, match=r"^here: states\[1, 0\] is -inf, not a finite number$"):
        require_finite(values, "here", "states")
    with pytest.raises(DataError, match=r"^here: state\[1\] is nan, not a finite number$"):
        checked_state([0.0, np.nan], 2, "here")
