"""Our environments by gymnasium's own ``make`` and ``make_vec``."""

import subprocess
import sys
import warnings
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import RecordEpisodeStatistics

import sim
from robolearn.errors import UserError
from sim.gymnasium_ids import MODEL_ID, NAMES, gymnasium_id, register_ids
from sim.rendering.gl import backend_name
from sim.vector.env import VectorEnv

needs_gl = pytest.mark.skipif(backend_name() is None, reason="no GL library works here")
ARM = str(Path(__file__).parent / "models" / "arm.xml")
TASK = {"observation": ["joint_pos:hinge"], "horizon": 3, "control_hz": 20}
# id -> options, and the name and options for ``sim.make``
CASES = {
    "robolearn/robosuite-Lift-v0": ({"horizon": 3}, "robosuite/Lift", {"horizon": 3}),
    "robolearn/dmc-walker-walk-v0": ({"horizon": 3}, "dmc/walker-walk", {"horizon": 3}),
    "robolearn/tabletop-cube-mug-v0": (
        {"horizon": 3, "goal": "pose"}, "tabletop/cube+mug", {"horizon": 3, "goal": "pose"},
    ),
    MODEL_ID: ({"path": ARM, "task": TASK}, f"mujoco/{ARM}", {"task": TASK}),
}  # fmt: skip
by_id = pytest.mark.parametrize("name", CASES)


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        yield


@pytest.mark.parametrize("adapter", NAMES)
def test_every_name_has_an_id(adapter):
    if adapter == "metaworld":
        pytest.importorskip("metaworld", reason="Meta-World is not installed")
    known = sim.available(adapter)
    assert sorted(f"{adapter}/{name}" for name in NAMES[adapter].split()) == sorted(known)
    for name in known:
        assert gymnasium.spec(gymnasium_id(name)).kwargs == {"environment": name}


def test_ids_are_registered_once():
    before = dict(gymnasium.registry)
    register_ids()
    assert gymnasium.registry == before
    ours = [name for name in before if name.startswith("robolearn/")]
    assert len(ours) == 1 + sum(len(names.split()) for names in NAMES.values())


@by_id
def test_gymnasium_makes_what_sim_makes(name):
    options, ours, our_options = CASES[name]
    env, wanted = gymnasium.make(name, **options), sim.make(ours, **our_options)
    assert isinstance(env, gymnasium.wrappers.OrderEnforcing)
    assert env.unwrapped.interface == wanted.interface
    action = np.full(env.action_space.shape, 0.3, np.float32)
    seen, _ = env.reset(seed=7)
    np.testing.assert_array_equal(seen["state"], wanted.reset(seed=7)[0]["state"])
    for _ in range(3):
        seen, reward, *flags, info = env.step(action)
        expected = wanted.step(action)
        np.testing.assert_array_equal(seen["state"], expected[0]["state"])
        assert (reward, *flags, info) == expected[1:]
    assert flags == [False, True]
    again = gymnasium.make(env.spec)
    assert again.unwrapped.interface == wanted.interface
    for one in (env, again, wanted):
        one.close()


@by_id
def test_make_vec_gives_our_batch(name):
    options, ours, our_options = CASES[name]
    kept = {"threads": 2, "autoreset_mode": "next_step"}
    envs = gymnasium.make_vec(name, num_envs=3, **kept, **options)
    wanted = sim.make_vec(ours, 3, **kept, **our_options)
    assert type(envs) is type(wanted) and isinstance(envs, VectorEnv)
    assert envs.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
    assert envs._threads == 2
    actions = np.zeros(envs.action_space.shape, np.float32)
    for batch in (envs, wanted):
        batch.reset(seed=4)
        batch.step(actions)
    np.testing.assert_array_equal(envs.get_state(), wanted.get_state())
    envs.close()
    wanted.close()


@by_id
def test_gymnasiums_own_batch_works(name):
    options = CASES[name][0]
    own = gymnasium.make_vec(
        name, num_envs=2, vectorization_mode="sync", wrappers=[RecordEpisodeStatistics], **options
    )
    batch = gymnasium.make_vec(
        name, num_envs=2, vectorization_mode="vector_entry_point", threads=1, **options
    )
    assert isinstance(own, SyncVectorEnv)
    actions = np.full(own.action_space.shape, 0.2, np.float32)
    begun = [envs.reset(seed=2)[0]["state"] for envs in (own, batch)]
    np.testing.assert_allclose(*begun, atol=1e-6)
    for _ in range(3):
        seen, reward, *_, info = own.step(actions)
        np.testing.assert_allclose(batch.step(actions)[1], reward, atol=1e-12)
    assert list(info["episode"]["l"]) == [3, 3]
    own.close()
    batch.close()


def test_processes_of_gymnasiums_own_batch_find_the_id():
    envs = gymnasium.make_vec(
        "robolearn/dmc-pendulum-swingup-v0",
        num_envs=2,
        vectorization_mode="async",
        vector_kwargs={"context": "spawn"},
    )
    observation, _ = envs.reset(seed=0)
    assert observation["state"].shape == (2, 3)
    envs.close()


def test_naming_the_module_is_enough():
    code = """
import gymnasium, sys
env = gymnasium.make("sim:robolearn/dmc-pendulum-swingup-v0", horizon=2, max_episode_steps=1)
env.reset(seed=0)
print(env.step(env.action_space.sample())[3], "robosuite" in sys.modules)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.stdout, result.stderr) == ("True False\n", "")


@needs_gl
def test_gymnasium_collects_images():
    env = gymnasium.make(
        "robolearn/tabletop-cube-v0", render_mode="rgb_array_list", render_size=(40, 50)
    )
    env.reset(seed=0)
    for _ in range(2):
        env.step(env.action_space.sample())
    images = env.render()
    assert [image.shape for image in images] == [(40, 50, 3)] * 3
    assert (images[0] != images[2]).any()
    env.close()


def test_a_batch_is_told_its_horizon_and_not_gymnasiums_time_limit():
    for name, options, said in (
        ("robolearn/tabletop-cube-v0", {}, "tabletop/cube: .* by horizon=, not max_episode_steps="),
        (MODEL_ID, {"path": ARM}, "mujoco/.*: .* by the task's horizon, not max_episode_steps="),
    ):
        with pytest.raises(UserError, match=f"^{said}$"):
            gymnasium.make_vec(name, num_envs=2, max_episode_steps=3, **options)


def test_an_id_of_ours_is_no_name_of_the_adapter_to_gymnasium():
    for name, own in (
        ("robolearn/dmc-walker-walk-v0", "dmc/walker-walk"),
        ("sim:robolearn/tabletop-cube-mug-v0", r"tabletop/cube\+mug"),
        (MODEL_ID, "mujoco/PATH.xml"),
        ("robolearn/dmc-walker-wlak-v0", "ADAPTER/TASK"),
    ):
        with pytest.raises(UserError, match=f"^gym/{name}: make this one by its own name, {own}$"):
            sim.make(f"gym/{name}")


def test_misspelt_ids_and_options_are_told_the_nearest():
    with pytest.raises(gymnasium.error.NameNotFound, match="Did you mean: `robosuite-Lift`"):
        gymnasium.make("robolearn/robosuite-Lfit-v0")
    right = "unknown option 'horizn'; did you mean 'horizon'?"
    for make in (gymnasium.make, gymnasium.make_vec):
        with pytest.raises(UserError, match=f"^tabletop/cube: {right}"):
            make("robolearn/tabletop-cube-v0", horizn=3)
        with pytest.raises(
            UserError, match="robolearn/mujoco-v0: say which model, path='model.xml"
        ):
            make(MODEL_ID)
