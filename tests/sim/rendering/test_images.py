"""``render()``: what every environment draws for people, and gymnasium's videos of it."""

from pathlib import Path

import cv2
import gymnasium
import numpy as np
import pytest
from gymnasium.wrappers import RecordVideo

import sim
from robolearn.errors import UserError
from sim.rendering.gl import backend_name

ARM = f"mujoco/{Path(__file__).parents[1] / 'models' / 'arm.xml'}"
NAMES = ("robosuite/Lift", "dmc/cartpole-swingup", ARM, "gym/HalfCheetah-v5", "tabletop/cube")
DRAWN = {"render_mode": "rgb_array", "render_size": (48, 64)}
needs_gl = pytest.mark.skipif(backend_name() is None, reason="no GL library works here")


@pytest.fixture(scope="module", params=NAMES, ids=lambda name: name.split("/")[0])
def env(request):
    env = sim.make(request.param, **DRAWN)
    yield env
    env.close()


class Blank(gymnasium.Env):
    """An environment of gymnasium's that draws itself, one shade brighter in every step."""

    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": 7}
    observation_space = gymnasium.spaces.Box(0, 1, (1,))
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, render_mode=None):
        self.render_mode, self.shade = render_mode, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.shade = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.shade += 1
        return np.zeros(1, np.float32), 0.0, False, False, {}

    def render(self):
        if self.render_mode is None:
            raise gymnasium.error.DependencyNotInstalled("pygame is\nnot installed")
        return np.full((30, 40, 3), self.shade, np.uint8)


@pytest.fixture
def blank():
    gymnasium.register("Blank-v0", Blank)
    yield "gym/Blank-v0"
    del gymnasium.registry["Blank-v0"]


@needs_gl
def test_an_image_has_its_size_and_shows_what_happens(env):
    env.reset(seed=0)
    first = env.render()
    assert first.shape == (48, 64, 3) and first.dtype == np.uint8
    assert first.std() > 5
    np.testing.assert_array_equal(env.render(), first)
    action = np.ones(env.action_space.shape, np.float32)
    for _ in range(20):
        env.step(action)
    assert (env.render() != first).any()


@needs_gl
def test_rendering_changes_nothing(env):
    plain = sim.make(env.interface.environment)
    assert plain.interface == env.interface
    rng = np.random.default_rng(0)
    seen, _ = env.reset(seed=5)
    expected, _ = plain.reset(seed=5)
    for _ in range(4):
        env.render()
        assert seen.keys() == expected.keys()
        np.testing.assert_array_equal(seen["state"], expected["state"])
        np.testing.assert_array_equal(env.get_state(), plain.get_state())
        action = rng.uniform(-1, 1, env.action_space.shape).astype(np.float32)
        seen, expected = env.step(action)[0], plain.step(action)[0]
    plain.close()


def test_metadata_say_how_and_how_quickly(env):
    assert env.render_mode == "rgb_array"
    assert env.metadata["render_modes"] == ["rgb_array"]
    fps = env.metadata["render_fps"]
    assert type(fps) is int and fps == round(1 / env.interface.period_s)
    assert "render_fps" not in type(env).metadata


@needs_gl
def test_gymnasium_records_videos(env, tmp_path):
    video = RecordVideo(env, str(tmp_path / "new"), episode_trigger=lambda _: True, video_length=3)
    video.reset(seed=0)
    for _ in range(3):
        video.step(np.zeros(env.action_space.shape, np.float32))
    assert not video.recording  # it has been written
    (path,) = tmp_path.glob("new/*.mp4")
    film = cv2.VideoCapture(str(path))
    size = film.get(cv2.CAP_PROP_FRAME_WIDTH), film.get(cv2.CAP_PROP_FRAME_HEIGHT)
    assert size == (64, 48)
    assert film.get(cv2.CAP_PROP_FPS) == pytest.approx(env.metadata["render_fps"])
    assert film.get(cv2.CAP_PROP_FRAME_COUNT) == 3 + 1


@needs_gl
def test_the_camera_can_be_chosen_and_what_is_observed_stays():
    options = {"cameras": ("front",), "image_size": (24, 32), **DRAWN}
    envs = [sim.make(ARM, render_camera=camera, **options) for camera in (None, "front", "free")]
    observed = [env.reset(seed=0)[0]["front"] for env in envs]
    for image in observed:
        assert image.shape == (24, 32, 3)
        np.testing.assert_array_equal(image, observed[0])
    default, front, free = (env.render() for env in envs)
    np.testing.assert_array_equal(default, front)  # the model's first
    assert (free != front).any()
    np.testing.assert_array_equal(envs[0].set_state(envs[0].get_state())["front"], observed[0])


@needs_gl
def test_images_for_people_have_shadows_and_a_sky_when_those_observed_have_none():
    options = {"cameras": ("front",), "image_size": (48, 64), **DRAWN}
    env = sim.make("tabletop/cube", **options)
    seen = env.reset(seed=0)[0]["front"]
    assert (seen[0, 0] == 0).all() and (env.render()[0, 0] > 100).all()
    env.close()


@needs_gl
def test_copies_of_an_environment_render_themselves():
    env = sim.make("dmc/cartpole-swingup", **DRAWN)
    env.reset(seed=0)
    first, twin = env.render(), env.twin()
    with pytest.raises(UserError, match="reset the environment before it is rendered"):
        twin.render()
    twin.reset(seed=1)
    assert (twin.render() != first).any()
    twin.close()
    np.testing.assert_array_equal(env.render(), first)
    env.close()


@pytest.mark.parametrize("name", ["dmc/cartpole-swingup", "gym/HalfCheetah-v5", "tabletop/cube"])
def test_what_cannot_be_rendered_is_refused_when_it_is_asked_for(name):
    faults = [
        ({"render_mode": "human"}, "unknown render_mode 'human'; known: rgb_array"),
        ({"render_camera": "fre"}, "unknown render_camera 'fre'; did you mean 'free'"),
        ({"render_camera": "free_segmentation"}, "unknown render_camera 'free_segm"),
        ({"render_camera": ("free",)}, "unknown render_camera"),
        ({"render_size": (0, 8)}, r"render_size=\(0, 8\) must be \(height, width\)"),
    ]
    for options, message in faults:
        with pytest.raises(UserError, match=f"^{name}: {message}"):
            sim.make(name, **options)


def test_gymnasiums_environments_without_a_model_draw_themselves(blank):
    env = sim.make(blank, render_mode="rgb_array")
    assert env.metadata == {"render_modes": ["rgb_array"], "render_fps": 7}
    env.reset(seed=0)
    env.step(np.zeros(2, np.float32))
    np.testing.assert_array_equal(env.render(), np.full((30, 40, 3), 1, np.uint8))
    env._env.unwrapped.render_mode = None  # as if it could not
    with pytest.raises(UserError, match="^gym/Blank-v0: pygame is not installed$"):
        env.render()
    for option in ({"render_camera": "free"}, {"render_size": (8, 8)}):
        with pytest.raises(UserError, match=f"{next(iter(option))} needs an environment with a Mu"):
            sim.make(blank, **option)


def test_gymnasiums_environments_that_draw_no_images_say_so(blank, monkeypatch):
    monkeypatch.setattr(Blank, "metadata", {"render_modes": ["ansi"]})
    with pytest.raises(UserError, match="^gym/Blank-v0: this environment draws no images$"):
        sim.make(blank, render_mode="rgb_array")
    assert sim.make(blank).metadata["render_modes"] == []
