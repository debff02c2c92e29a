"""The compiled control law's parts against what robosuite computes them with, to the last bit.

Whole control steps are compared elsewhere; here the numbers are drawn, as those of robots that
stand at right angles make many a product exact. Its formulas are tested as plain Python, too, on
numpy's products: there every transposition shows, as matrices need not be symmetric.
"""

from types import SimpleNamespace

import numpy as np
import pytest
import robosuite.utils.transform_utils as T
from scipy.spatial.transform import Rotation

from sim.engine import osc
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


# the formulas in plain Python


@pytest.fixture
def plain(monkeypatch):
    """Give the functions without their compiler, and numpy in place of BLAS, LAPACK and MuJoCo.

    "Flipped" is the transpose of what is in memory. ``works`` says for which sizes LAPACK does.
    """

    def flip(matrix, flipped):
        return matrix.T if flipped else matrix

    def apply(matrix, flipped, vector, out, lapack):
        assert lapack.works
        out[:] = flip(matrix, flipped) @ vector

    def multiply(x, x_flipped, y, y_flipped, out, lapack):
        assert lapack.works
        out[:] = flip(x, x_flipped) @ flip(y, y_flipped)

    def invert(matrix, inverse, lapack):
        inverse[:] = np.linalg.inv(matrix).T
        return len(matrix) in lapack.works

    def mass_matrix(sim, full):
        full[:] = sim.mass

    def site_jacobian(sim, site, jac_pos, jac_rot):
        jac_pos[:], jac_rot[:] = sim.jacobians[site]

    for name, function in list(vars(osc).items()):
        if hasattr(function, "py_func"):
            monkeypatch.setattr(osc, name, function.py_func)
    for function in (apply, multiply, invert, mass_matrix, site_jacobian):
        monkeypatch.setattr(osc, function.__name__, function)
    monkeypatch.setattr(osc, "pseudo_invert", invert)
    return osc


WORKS = SimpleNamespace(works=(3, 6, 7))


def test_plain_turns(plain, rng):
    errors = []
    for scale in np.logspace(-4, 0.5, DRAWS):
        vector = scale * rng.normal(size=3)
        exact = Rotation.from_rotvec(vector).as_matrix()
        np.testing.assert_allclose(plain.absolute_rotation(vector), exact, rtol=0, atol=1e-14)
        errors.append(np.abs(plain.delta_rotation(vector) - exact).max())
    assert 1e-8 < max(errors) < 1e-6  # in single precision, in between


def test_plain_turns_by_nothing(plain):
    for turn in (plain.delta_rotation, plain.absolute_rotation):
        np.testing.assert_array_equal(turn(np.zeros(3)), np.eye(3))


def test_a_plain_pose_in_the_base_frame(plain, rng):
    base, rotation = rotations(rng)[:2]
    base_pos, position = rng.normal(size=(2, 3))
    inside, turned = plain.in_base_frame(position, rotation, base_pos, base, WORKS)
    np.testing.assert_allclose(inside, base.T @ (position - base_pos), rtol=1e-12)
    np.testing.assert_allclose(turned, base.T @ rotation, rtol=1e-12)


def test_the_plain_error_of_an_orientation(plain, rng):
    desired, current = rotations(rng)[:2]
    expected = 0.5 * sum(np.cross(current[:, k], desired[:, k]) for k in range(3))
    np.testing.assert_allclose(plain.orientation_error(desired, current), expected, rtol=1e-12)


DOFS = np.array([1, 2, 4])


def test_the_plain_mass_of_the_arm_alone(plain, rng):
    sim = SimpleNamespace(qvel=np.zeros(6), mass=rng.normal(size=(6, 6)))
    np.testing.assert_array_equal(plain.arm_mass(sim, DOFS), sim.mass[np.ix_(DOFS, DOFS)])


@pytest.mark.parametrize("base_site", [-1, 0, 2])
def test_the_plain_motion_of_the_hand_against_the_base(plain, rng, base_site):
    sim = SimpleNamespace(qvel=rng.normal(size=6), jacobians=rng.normal(size=(3, 2, 3, 6)))
    jacobian, *velocities = plain.hand_motion(sim, 1, base_site, DOFS, WORKS)
    np.testing.assert_array_equal(jacobian, sim.jacobians[1].reshape(6, 6)[:, DOFS])
    base = 0.0 if base_site < 0 else sim.jacobians[base_site]
    expected = (sim.jacobians[1] - base) @ sim.qvel
    np.testing.assert_allclose(velocities, expected, rtol=1e-12)


@pytest.fixture
def arm(rng):
    """Give mass, Jacobian, wish, pull and bias; the mass is not symmetric, as it would be."""
    mass = 7.0 * np.eye(7) + rng.normal(size=(7, 7))
    return mass, rng.normal(size=(6, 7)), *(rng.normal(size=n) for n in (6, 7, 7))


@pytest.mark.parametrize("uncouple", [False, True])
def test_the_plain_torque_of_operational_space_control(plain, arm, uncouple):
    mass, J, wish, pull, bias = arm
    inverse = np.linalg.inv(mass)
    inertia = np.linalg.inv(J @ inverse @ J.T)
    nullspace = np.eye(7) - inverse @ J.T @ inertia @ J
    wrench = inertia @ wish
    if uncouple:
        parts = [(J[i : i + 3], wish[i : i + 3]) for i in (0, 3)]
        wrench = np.concatenate([np.linalg.inv(j @ inverse @ j.T) @ w for j, w in parts])
    expected = J.T @ wrench + nullspace.T @ mass.T @ pull + bias
    torque = plain.joint_torque(mass, J, wish, pull, bias, uncouple, WORKS)
    np.testing.assert_allclose(torque, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("works", "uncouple"), [((3, 6), True), ((3, 7), True), ((6, 7), True), ((3, 6), False)]
)
def test_a_plain_torque_is_not_a_number_where_lapack_gives_up(plain, arm, works, uncouple):
    torque = plain.joint_torque(*arm, uncouple, SimpleNamespace(works=works))
    assert np.isnan(torque).all() and len(torque) == 7


def test_plain_gains_towards_the_initial_position_are_robosuites(plain):
    assert plain.NULLSPACE_KP == 10.0
    assert plain.NULLSPACE_KD == pytest.approx(2 * np.sqrt(10.0))  # critically damped
