"""The compiled control law's parts against what robosuite computes them with, to the last bit.

Whole control steps are compared elsewhere; here the numbers are drawn, as those of robots that
stand at right angles make many a product exact.
"""

import numpy as np
import pytest
import robosuite.utils.transform_utils as T
from scipy.spatial.transform import Rotation

from sim.engine.lapack import apply, lapack_workspace, load_lapack, multiply
from sim.engine.osc import absolute_rotation, delta_rotation, in_base_frame

DRAWS = 300


@pytest.fixture(scope="module")
def lapack():
    load_lapack()
    return lapack_workspace()


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def rotations(rng) -> np.ndarray:
    return Rotation.random(DRAWS, rng).as_matrix()


def test_a_pose_in_the_base_frame(lapack, rng):
    for base, rotation in zip(rotations(rng), rotations(rng), strict=True):
        base_pos, position = rng.normal(size=(2, 3))
        inverse = T.pose_inv(T.make_pose(base_pos, base))
        point = T.pose_in_A_to_pose_in_B(T.make_pose(position, np.eye(3)), inverse)
        pose = T.pose_in_A_to_pose_in_B(T.make_pose(position, rotation), inverse)
        ours = in_base_frame(position, rotation, base_pos, base, lapack)
        np.testing.assert_array_equal(ours[0], point[:3, 3])
        np.testing.assert_array_equal(ours[1], pose[:3, :3])


def test_turns(lapack, rng):
    for scale in np.logspace(-4, 0.5, DRAWS):
        vector = scale * rng.normal(size=3)
        relative = T.quat2mat(T.axisangle2quat(vector))
        np.testing.assert_array_equal(delta_rotation(vector), relative)
        absolute = Rotation.from_rotvec(vector).as_matrix()
        np.testing.assert_array_equal(absolute_rotation(vector), absolute)


@pytest.mark.parametrize("joints", [6, 7])
def test_products_are_those_of_numpy(lapack, rng, joints):
    """numpy's BLAS is not the one that compiled code calls, and may be of another version."""
    for _ in range(DRAWS):
        jacobian, velocity = rng.normal(size=(3, joints + 9)), rng.normal(size=joints + 9)
        assert_applies(jacobian, False, velocity, lapack)
        assert_applies(rng.normal(size=(6, joints)), True, rng.normal(size=6), lapack)
        half = rng.normal(size=(joints, joints))
        assert_applies(half @ half.T, True, rng.normal(size=joints), lapack)
        for size in (3, 6):
            assert_applies(rng.normal(size=(size, size)), True, rng.normal(size=size), lapack)
    for one, other in zip(rotations(rng), rotations(rng), strict=True):
        product = np.empty((3, 3))
        multiply(one, False, other, False, product, lapack)
        np.testing.assert_array_equal(product, np.dot(one, other))
        assert_applies(one, False, rng.normal(size=3), lapack)


def assert_applies(matrix, flipped, vector, lapack) -> None:
    """Compare with numpy; ``flipped`` means the transpose, as numpy has it in memory."""
    found = np.empty(matrix.shape[1] if flipped else len(matrix))
    apply(matrix, flipped, vector, found, lapack)
    np.testing.assert_array_equal(found, np.dot(matrix.T if flipped else matrix, vector))
