"""Entries of MuJoCo's arrays, and the columns they go to."""

from pathlib import Path

import mujoco
import numpy as np
import pytest

from sim.engine.segments import Layout, Segment, part, whole

MODEL = str(Path(__file__).parents[1] / "models" / "reacher.xml")


@pytest.fixture
def data():
    return mujoco.MjData(mujoco.MjModel.from_xml_path(MODEL))


def test_a_part_is_found_again_in_another_data(data):
    mujoco.mj_forward(data.model, data)
    segment = part(data, "site_xpos", data.site("tip").xpos)
    assert segment == Segment("site_xpos", 3 * data.model.site("tip").id, 3)
    other = mujoco.MjData(data.model)
    other.site("tip").xpos[:] = (1, 2, 3)
    np.testing.assert_array_equal(segment.view(other), (1, 2, 3))


def test_a_view_is_no_copy(data):
    Segment("qpos", 1, 1).view(data)[:] = 0.5
    assert data.qpos[1] == 0.5


def test_the_same_segment_gets_the_same_columns(data):
    layout = Layout()
    first = layout.add(whole(data, "qpos"))
    free = layout.reserve(2)
    assert first == slice(1, 1 + data.model.nq)
    assert (free.start, free.stop) == (first.stop, first.stop + 2)
    assert layout.add(Segment("qpos", 0, 2)) == slice(free.stop, free.stop + 2)
    assert layout.add(whole(data, "qpos")) == first
    assert layout.width == free.stop + 2
