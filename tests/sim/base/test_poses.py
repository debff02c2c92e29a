"""Poses in somebody's frame, against scipy's rotations."""

import numpy as np
from scipy.spatial.transform import Rotation

from sim.base.poses import orientation_from, position_from


def _random(n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(n)
    return rng.normal(size=(n, 3)), Rotation.random(n, rng).as_quat(scalar_first=True)


def test_positions_and_orientations_are_those_of_scipy():
    (origin, own), (position, other) = _random(20), _random(20)
    other = np.roll(other, 1, axis=0)
    frame = Rotation.from_quat(own, scalar_first=True).inv()
    np.testing.assert_allclose(
        position_from(origin, own, position + 1), frame.apply(position + 1 - origin), atol=1e-12
    )
    turned = frame * Rotation.from_quat(other, scalar_first=True)
    expected = turned.as_quat(canonical=True, scalar_first=True)
    np.testing.assert_allclose(orientation_from(own, other), expected, atol=1e-12)


def test_many_are_to_the_last_bit_what_each_is_alone():
    (origin, own), (position, other) = _random(5), _random(5)
    position, other = position[::-1], other[::-1]
    for i in range(5):
        row = slice(i, i + 1)
        alone = position_from(origin[row], own[row], position[row])
        np.testing.assert_array_equal(alone[0], position_from(origin, own, position)[i])
        alone = orientation_from(own[row], other[row])
        np.testing.assert_array_equal(alone[0], orientation_from(own, other)[i])
