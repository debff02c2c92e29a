"""Cameras without a screen."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mujoco
import numpy as np
import pytest

import sim
import sim.rendering.cameras as rendering
from robolearn.errors import UserError
from sim.rendering import gl
from sim.rendering.cameras import Cameras
from sim.rendering.gl import backend_name, gl_context, gl_environment

ARM = Path(__file__).parents[1] / "models" / "arm.xml"
needs_gl = pytest.mark.skipif(backend_name() is None, reason="no GL library works here")


@pytest.fixture
def arm():
    model = mujoco.MjModel.from_xml_path(str(ARM))
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return model, data


def is_red(image):
    red, green, blue = (image[..., i].astype(int) for i in range(3))
    return (red > 60) & (red > 2 * green) & (red > 2 * blue)


@needs_gl
def test_images_have_their_size_and_the_right_way_up(arm):
    model, data = arm
    cameras = Cameras(model, data, ("front", "free"), (40, 60), "here")
    image = cameras.render()["front"]
    assert image.shape == (40, 60, 3) and image.dtype == np.uint8
    up = np.argwhere(is_red(image))[:, 0].mean()
    data.joint("hinge").qpos = np.pi  # the red arm now hangs down
    mujoco.mj_forward(model, data)
    down = np.argwhere(is_red(cameras.render()["front"]))[:, 0].mean()
    assert up < down
    assert cameras.specs["free"].shape == (40, 60, 3)
    cameras.close()


@needs_gl
def test_fast_images_leave_out_shadows_and_the_model_is_as_before(arm):
    model, data = arm
    before = model.vis.quality.offsamples, model.vis.global_.offwidth
    images = []
    for fast in (True, False):
        cameras = Cameras(model, data, ("front",), (60, 60), "here", fast=fast)
        images.append(cameras.render()["front"].astype(int))
        cameras.close()
    assert (images[0] != images[1]).any()
    assert np.abs(images[0] - images[1]).mean() < 40  # the same scene all the same
    assert (model.vis.quality.offsamples, model.vis.global_.offwidth) == before


@needs_gl
def test_hidden_groups_are_not_drawn(arm):
    model, data = arm
    cameras = Cameras(model, data, ("front",), (40, 40), "here", hidden_groups=(0,))
    assert not is_red(cameras.render()["front"]).any()
    cameras.close()


@needs_gl
def test_ground_that_is_shaped_anew_is_seen():
    model = mujoco.MjModel.from_xml_string(
        """<mujoco><asset><hfield name="ground" nrow="4" ncol="4" size="1 1 .5 .1"/></asset>
        <worldbody><light pos="0 -1 3"/><geom type="hfield" hfield="ground"/>
        <camera name="above" pos="0 -1 2" xyaxes="1 0 0 0 .9 .5"/></worldbody></mujoco>"""
    )
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    cameras = Cameras(model, data, "above", (30, 30), "here")
    flat = cameras.render()["above"]
    np.testing.assert_array_equal(cameras.render()["above"], flat)
    model.hfield_data[5] = 1.0
    assert (cameras.render()["above"] != flat).any()
    cameras.close()


@needs_gl
@pytest.mark.parametrize("fast", [True, False])
def test_segmentation_says_what_each_pixel_shows(fast):
    env = sim.make("dmc/cartpole-swingup")  # dm_control's own rendering is the reference
    env.reset(seed=0)
    names = ("fixed_segmentation", "fixed")
    cameras = Cameras(env.model, env.data, names, (30, 40), "here", fast=fast)
    images = cameras.render()
    objects = images["fixed_segmentation"]
    expected = env.dm_physics.render(30, 40, camera_id="fixed", segmentation=True)
    assert cameras.specs["fixed_segmentation"].shape == objects.shape
    assert cameras.specs["fixed_segmentation"].dtype == objects.dtype == np.int32
    np.testing.assert_array_equal(objects, expected)
    cart = (env.model.geom("cart").id, mujoco.mjtObj.mjOBJ_GEOM)
    assert (objects == cart).all(axis=-1).any() and (objects == -1).any()
    assert images["fixed"].dtype == np.uint8 and images["fixed"].std() > 0
    cameras.close()
    env.close()


@needs_gl
def test_equal_models_share_a_context_and_keep_their_own_looks():
    ground = """<mujoco><asset><hfield name="ground" nrow="4" ncol="4" size="1 1 .5 .1"/></asset>
        <worldbody><light pos="0 -1 3"/><geom type="hfield" hfield="ground"/>
        <camera name="above" pos="0 -1 2" xyaxes="1 0 0 0 .9 .5"/></worldbody></mujoco>"""
    models = [mujoco.MjModel.from_xml_string(ground) for _ in range(2)]
    pairs = [(model, mujoco.MjData(model)) for model in models]
    for pair in pairs:
        mujoco.mj_forward(*pair)
    one, two = (Cameras(*pair, "above", (30, 30), "here") for pair in pairs)
    flat = one.render()["above"]
    models[1].hfield_data[5] = 1.0
    hilly = two.render()["above"]
    assert two._held.canvas is one._held.canvas and (hilly != flat).any()
    np.testing.assert_array_equal(one.render()["above"], flat)
    one.close()
    np.testing.assert_array_equal(two.render()["above"], hilly)
    other = Cameras(*pairs[0], "above", (30, 30), "here", fast=False)
    other.render()
    assert other._held.canvas is not two._held.canvas
    two.close()
    other.close()
    assert not rendering._CANVASES


def test_unknown_cameras_and_sizes_are_refused(arm):
    for name in ("fornt", "fornt_segmentation"):
        with pytest.raises(UserError, match="unknown camera 'fornt'; did you mean 'front'"):
            Cameras(*arm, (name,), (8, 8), "here")
    for size in ((8,), (0, 8), (8.0, 8)):
        with pytest.raises(UserError, match="here: image_size=.* must be"):
            Cameras(*arm, ("front",), size, "here")


def in_another_thread(function):
    """Call a function in a thread that has ended then; give what it gave."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


@needs_gl
def test_every_thread_draws_with_a_context_of_its_own(arm):
    cameras = Cameras(*arm, ("front",), (40, 60), "here")
    image = cameras.render()["front"]
    for _ in range(2):
        np.testing.assert_array_equal(in_another_thread(cameras.render)["front"], image)
        np.testing.assert_array_equal(cameras.render()["front"], image)
    assert len(rendering._CANVASES) == 1  # theirs ended with them
    in_another_thread(cameras.close)
    assert not rendering._CANVASES


CLOSED_ELSEWHERE = """
import sys, threading
import mujoco
from sim.rendering.cameras import Cameras

model = mujoco.MjModel.from_xml_path(sys.argv[1])
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
one, two = (Cameras(model, data, ("front",), (height, 60), "here") for height in (40, 50))
images = [cameras.render()["front"] for cameras in (one, two)]
drawn, end = threading.Event(), threading.Event()

def draw():
    one.render(), two.render()
    drawn.set()
    end.wait()

thread = threading.Thread(target=draw, daemon=True)
thread.start()
drawn.wait()
two.close()  # the thread has its context of it in use, and goes on to the end with that of one
print((one.render()["front"] == images[0]).all(), (two.render()["front"] == images[1]).all())
"""


@needs_gl
def test_a_context_that_another_thread_holds_is_left_quietly():
    ended = subprocess.run(
        [sys.executable, "-c", CLOSED_ELSEWHERE, str(ARM)], capture_output=True, text=True
    )
    assert (ended.stdout, ended.stderr) == ("True True\n", "")


@needs_gl
def test_images_that_are_too_large_are_refused_and_others_are_drawn(arm):
    with pytest.raises(UserError, match="^cameras: 40000 x 40000 pixels cannot be drawn here: Off"):
        Cameras(*arm, ("front",), (40000, 40000), "here").render()
    small = Cameras(*arm, ("front",), (40, 40), "here")
    assert is_red(small.render()["front"]).any()
    small.close()


def test_no_cameras_need_no_gl(arm, monkeypatch):
    monkeypatch.setattr(gl, "backend_name", lambda: None)
    assert Cameras(*arm, (), (8, 8), "here").render() == {}


def test_without_gl_the_error_says_what_to_install(arm, monkeypatch):
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(gl, "_egl_works", lambda: False)
    monkeypatch.setattr(gl, "_osmesa_works", lambda: False)
    with pytest.raises(UserError, match="apt-get install libegl1 libgl1-mesa-dri libosmesa6"):
        Cameras(*arm, ("front",), (8, 8), "here").render()


def test_osmesa_is_taken_where_egl_does_not_work_and_the_user_is_obeyed(monkeypatch):
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(gl, "_egl_works", lambda: False)
    monkeypatch.setattr(gl, "_osmesa_works", lambda: True)
    assert backend_name() == "osmesa"
    monkeypatch.setenv("MUJOCO_GL", "egl")
    assert backend_name() == "egl"


def test_gl_environment_is_put_back(monkeypatch):
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    with gl_environment():
        assert os.environ["MUJOCO_GL"] in ("egl", "osmesa", "disable")
        os.environ["MUJOCO_GL"] = "written by a package"
    assert "MUJOCO_GL" not in os.environ
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    with gl_environment():
        assert os.environ["MUJOCO_GL"] == "osmesa"
    assert os.environ["MUJOCO_GL"] == "osmesa"


@needs_gl
def test_a_context_is_made_by_the_chosen_backend():
    context = gl_context(8, 8)
    assert type(context).__module__ == f"mujoco.{backend_name()}"
    context.free()
