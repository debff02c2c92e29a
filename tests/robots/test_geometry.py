import mujoco
import numpy as np
import pytest

from robolearn.errors import UserError
from robots.arm_model import Stand, desk_arm, desk_arms
from robots.geometry import Geometry, _frames, _segments

BOX = ((0.05, 0.4), (-0.3, 0.3), (0.03, 0.4))


@pytest.fixture(scope="module")
def arm():
    return desk_arm()


@pytest.fixture(scope="module")
def geometry(arm):
    return Geometry(arm, BOX)


@pytest.fixture(scope="module")
def pair():
    """Two arms on one table, so near that each reaches where the other stands."""
    return desk_arms({"left": Stand((0.0, 0.15, 0.0), -0.3), "right": Stand((0.0, -0.15, 0.0))})


@pytest.fixture(scope="module", params=["one", "two"])
def either(request, arm, pair):
    """Give one arm or two, and their geometry."""
    found = arm if request.param == "one" else pair
    return found, Geometry(found, BOX)


def poses(arm, count, seed=0):
    rng = np.random.default_rng(seed)
    low, high = ([getattr(j, end) for j in arm.joints] for end in ("lower", "upper"))
    return rng.uniform(low, high, (count, len(arm.joints)))


def test_kinematics_are_mujocos(either):
    arm, geometry = either
    for pose in poses(arm, 30):
        origin, rotation, hands = _frames(pose, geometry._chain)
        data, bodies = arm.kinematics(pose), geometry._chain[0]
        np.testing.assert_allclose(origin[bodies], data.xpos[bodies], atol=1e-12)
        np.testing.assert_allclose(rotation[bodies].reshape(-1, 9), data.xmat[bodies], atol=1e-12)
        np.testing.assert_allclose(hands, data.site_xpos[arm.hands], atol=1e-12)


def test_what_mujoco_sees_touch_is_never_apart(arm, geometry):
    """Capsules are never further apart than what is in them."""
    model, data = arm.model, mujoco.MjData(arm.model)
    moving = {model.geom(f"{name}").bodyid[0] for name in ("forearm", "palm", "wrist_drive")}
    touching = 0
    for pose in poses(arm, 400):
        arm.put(data, pose)
        mujoco.mj_kinematics(model, data)
        mujoco.mj_collision(model, data)
        bodies = [{model.geom_bodyid[g] for g in c.geom} for c in data.contact[: data.ncon]]
        if any(0 not in pair and pair & moving for pair in bodies):
            touching += 1
            assert geometry.clearance(pose)[0] <= 0
    assert touching > 20


def test_two_arms_that_mujoco_sees_touch_each_other_are_never_apart(pair):
    model, data, touching = pair.model, mujoco.MjData(pair.model), 0
    off = Geometry(pair, floor=False)
    root = model.body_rootid
    for pose in poses(pair, 400):
        pair.put(data, pose)
        mujoco.mj_kinematics(model, data)
        mujoco.mj_collision(model, data)
        bodies = [model.geom_bodyid[c.geom] for c in data.contact[: data.ncon]]
        if any(0 not in two and root[two[0]] != root[two[1]] for two in bodies):
            touching += 1
            assert off.clearance(pose)[0] <= 0
    assert touching > 10


def test_a_box_holds_the_hands_of_both(pair):
    hands = pair.kinematics(pair.home).site_xpos[pair.hands]
    low, high = np.array(BOX).T
    assert len(hands) == 2
    expected = np.minimum(hands - low, high - hands).min()
    assert Geometry(pair, BOX).clearance(pair.home)[1] == pytest.approx(expected)


def test_arms_that_stand_in_each_other_are_refused():
    near = desk_arms({"left": Stand((0.0, 0.03, 0.0)), "right": Stand((0.0, -0.03, 0.0))})
    with pytest.raises(UserError, match="right_.* and left_.* touch in the home pose"):
        Geometry(near)
    assert Geometry(near, pairs=False).clearance(near.home)[0] > 0


def test_the_floor_is_seen_and_the_hand_may_touch_it(arm, geometry):
    low = np.array([0, 1.5, -0.3, 0.0, 0, 0.5])  # the wrist goes through the table
    assert geometry.clearance(low)[0] < 0
    assert Geometry(arm, floor=False).clearance(low)[0] > 0


def test_the_box_is_where_the_hand_is(arm, geometry):
    (x, y, z), _ = arm.hand_pose(arm.home)
    expected = min(x - 0.05, 0.4 - x, y + 0.3, 0.3 - y, z - 0.03, 0.4 - z)
    assert geometry.clearance(arm.home)[1] == pytest.approx(expected)


def test_no_clearance_changes_faster_than_reach_says(either):
    arm, geometry = either
    rng = np.random.default_rng(1)
    for pose in poses(arm, 200, seed=2):
        other = pose + rng.normal(0, 0.05, len(pose))
        bound = np.abs(other - pose) @ geometry.reach + 1e-12
        for here, there in zip(geometry.clearance(pose), geometry.clearance(other), strict=True):
            assert abs(there - here) <= bound


def test_along_a_path_is_as_every_pose_of_it(either):
    arm, geometry = either
    outcomes = set()
    for start, end in zip(poses(arm, 60, 3), poses(arm, 60, 4), strict=True):
        start, end = (arm.home + 0.6 * (pose - arm.home) for pose in (start, end))
        path = start + np.linspace(0, 0.3, 40)[:, None] * (end - start)
        found = [geometry.clearance(pose) for pose in path]
        lowest = tuple(min(part) for part in zip(*found, strict=True))
        levels = (0.002, -0.05)
        clear = lowest[0] >= levels[0] and lowest[1] >= levels[1]
        promised = geometry.along(path, levels)
        outcomes.add(clear)
        assert (promised is not None) == clear
        if promised is not None:
            assert promised[0] <= lowest[0] + 1e-12 and promised[1] <= lowest[1] + 1e-12
            assert promised[0] >= levels[0] and promised[1] >= levels[1]
    assert outcomes == {True, False}


def test_the_distance_of_segments_by_brute_force():
    rng = np.random.default_rng(5)
    shares = np.linspace(0, 1, 101)
    for _ in range(50):
        a, b, c, d = rng.normal(0, 1, (4, 3))
        first = a + shares[:, None] * (b - a)
        second = c + shares[:, None] * (d - c)
        brute = np.linalg.norm(first[:, None] - second[None], axis=2).min()
        assert _segments(a, b, c, d) <= brute + 1e-12
        assert _segments(a, b, c, d) == pytest.approx(brute, abs=0.03)
    point = np.zeros(3)
    assert _segments(point, point, np.ones(3), np.ones(3)) == pytest.approx(3**0.5)


def test_the_jacobian_is_the_slope_of_the_hands_pose(arm):
    pose, step = arm.home + 0.1, 1e-6
    jacobian = arm.jacobian(pose)
    for j in range(len(arm.joints) - 1):
        ahead = pose.copy()
        ahead[j] += step
        slope = (arm.hand_pose(ahead)[0] - arm.hand_pose(pose)[0]) / step
        np.testing.assert_allclose(jacobian[:3, j], slope, atol=1e-5)
    assert (jacobian[:, -1] == 0).all()  # the gripper
