"""Images of batches for people: one of each environment, as it would draw itself."""

from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.wrappers.vector import RecordVideo

import sim
from robolearn.errors import UserError
from sim.rendering.gl import backend_name
from sim.vector.processes import ProcessVectorEnv

needs_gl = pytest.mark.skipif(backend_name() is None, reason="no GL library works here")
ARM = f"mujoco/{Path(__file__).parents[1] / 'models' / 'arm.xml'}"
SMALL = {"render_mode": "rgb_array", "render_size": (40, 50)}


CASES = [
    ("robosuite/Lift", {"cameras": ("agentview",), "image_size": (20, 24)}),
    ("dmc/pendulum-swingup", {"threads": 2}),
    (ARM, {}),
    ("tabletop/cube", {}),
]


@needs_gl
@pytest.mark.parametrize(("name", "options"), CASES, ids=[Path(name).name for name, _ in CASES])
def test_a_batch_draws_what_single_environments_do(name, options):
    """Two rows, in one process: each takes seconds to start."""
    batch = sim.make_vec(name, 2, **SMALL | {"threads": 1} | options)
    single = sim.make(name, **SMALL, **{k: v for k, v in options.items() if k != "threads"})
    assert isinstance(batch, ProcessVectorEnv)
    assert batch.render_mode == "rgb_array" in batch.metadata["render_modes"]
    assert batch.metadata["render_fps"] == round(1 / batch.interface.period_s)
    batch.reset(seed=0)
    single.reset(seed=1)
    actions = np.full(batch.action_space.shape, 0.5, np.float32)
    begun = batch.render()
    seen, expected = batch.step(actions)[0], single.step(actions[1])[0]
    for entry, value in expected.items():
        np.testing.assert_array_equal(seen[entry][1], value, err_msg=entry)
    images = batch.render()
    assert isinstance(images, tuple) and len(images) == 2
    assert all(image.shape == (40, 50, 3) and image.dtype == np.uint8 for image in images)
    np.testing.assert_array_equal(images[1], single.render())
    assert (images[1] != begun[1]).any()
    batch.close()
    single.close()


@needs_gl
def test_gymnasium_makes_batches_that_draw():
    envs = gymnasium.make_vec("robolearn/dmc-pendulum-swingup-v0", num_envs=2, threads=1, **SMALL)
    with pytest.raises(
        UserError, match="dmc/pendulum-swingup: reset the batch before it is rendered"
    ):
        envs.render()
    envs.reset(seed=0)
    assert [image.shape for image in envs.render()] == [(40, 50, 3)] * 2
    envs.close()


@needs_gl
def test_gymnasium_films_the_first_row_of_a_batch(tmp_path):
    envs = sim.make_vec(
        "dmc/pendulum-swingup", 2, threads=1, autoreset_mode="next_step", horizon=3, **SMALL
    )
    film = RecordVideo(envs, str(tmp_path / "films"), episode_trigger=lambda episode: True)
    film.reset(seed=0)
    for _ in range(8):
        film.step(np.zeros(envs.action_space.shape, np.float32))
    film.close()
    films = sorted(path.stem for path in (tmp_path / "films").glob("*.mp4"))
    assert films == [f"rl-video-episode-{i}" for i in range(3)]  # the last has just begun


def test_a_batch_without_a_render_mode_draws_nothing_and_says_so():
    batch = sim.make_vec("tabletop/cube", 2)
    batch.reset(seed=0)
    with pytest.warns(UserWarning, match=r"nothing is rendered without make_vec\(..., render_mode"):
        assert batch.render() is None
    batch.close()


def test_another_render_mode_is_refused():
    name = "dmc/pendulum-swingup"
    with pytest.raises(UserError, match=f"{name}: unknown render_mode 'human'.*rgb_array"):
        sim.make_vec(name, 2, threads=1, render_mode="human")
