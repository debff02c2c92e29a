"""A MuJoCo state as a vector."""

import logging
from pathlib import Path

import mujoco
import numpy as np
import pytest

from sim.base.physics import Physics, refresh

ARM = Path(__file__).parents[1] / "models" / "arm.xml"


@pytest.fixture
def physics():
    model = mujoco.MjModel.from_xml_path(str(ARM))
    return Physics(model, mujoco.MjData(model))


def test_refresh_updates_poses_and_leaves_the_state_alone(physics):
    model, data = physics.model, physics.data
    data.joint("hinge").qvel = 1.0
    mujoco.mj_step(model, data, 20)
    before = physics.get_state()
    stale = data.site_xpos.copy()
    refresh(model, data)
    np.testing.assert_array_equal(physics.get_state(), before)
    assert (data.site_xpos != stale).any()
    expected = mujoco.MjData(model)
    expected.qpos[:] = data.qpos
    mujoco.mj_kinematics(model, expected)
    np.testing.assert_allclose(data.site_xpos, expected.site_xpos, atol=1e-12)


def test_looking_does_not_change_what_comes_next(physics):
    model, data = physics.model, physics.data
    other = mujoco.MjData(model)
    for one, look in ((data, True), (other, False)):
        for _ in range(50):  # the cube falls and touches the ground: the warm start matters
            mujoco.mj_step(model, one)
            if look:
                refresh(model, one)
    np.testing.assert_array_equal(data.qpos, other.qpos)
    np.testing.assert_array_equal(data.qvel, other.qvel)


def test_watched_resets_put_what_they_change_in_the_model_into_the_state(physics):
    model = physics.model
    size = physics.size
    places = iter([0.1, 0.2, 0.3])

    def reset():
        model.body("target").pos[0] = next(places)

    physics.watch([reset] * 3)
    assert physics.size == size + 1
    state = physics.get_state()
    assert state[-1] == 0.3
    model.body("target").pos[0] = 9.0
    physics.set_state(state)
    assert model.body("target").pos[0] == 0.3
    assert physics.data.body("target").xpos[0] == 0.3


def test_what_any_of_the_resets_changes_is_watched(physics):
    place = physics.model.body("target").pos
    size, places = physics.size, iter([[0.1, 0.1, 0.1], [0.2, 0.1, 0.1], [0.1, 0.2, 0.1]])

    def reset():
        place[:] = next(places)

    physics.watch([reset] * 3)
    assert physics.size == size + 2
    np.testing.assert_array_equal(physics.get_state()[size:], [0.1, 0.2])


def test_what_went_wrong_is_said_until_a_state_is_restored(physics):
    sound = physics.get_state()
    assert physics.divergence() is None
    physics.data.qvel[0] = np.inf
    assert physics.divergence() == "the simulation diverged (mjWARN_BADQVEL)"
    assert np.isfinite(physics.data.qvel).all()  # MuJoCo has reset it
    assert "BADQVEL" in physics.divergence()
    physics.set_state(sound)
    assert physics.divergence() is None


def test_warnings_are_logged_and_leave_no_file(physics, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(None)
    try:
        again = Physics(physics.model, physics.data)
        again.data.qpos[0] = np.nan
        with caplog.at_level(logging.WARNING):
            again.divergence()
        assert "huge value in QPOS at DOF 0" in caplog.text
        heard = []
        mujoco.set_mju_user_warning(heard.append)
        Physics(physics.model, physics.data)
        mujoco.mj_resetData(again.model, again.data)
        again.data.qpos[0] = np.nan
        again.divergence()
        assert len(heard) == 1  # who has taken care of warnings goes on doing so
    finally:
        mujoco.set_mju_user_warning(before)
    assert not list(tmp_path.iterdir())
