"""robosuite's raw files: observations computed from states equal robosuite's own there."""

import json
import re
import shutil

import h5py
import numpy as np
import pytest

import sim
from demos.data.dataset import Dataset
from demos.formats.contract import Reading
from demos.formats.convert import ConvertConfig, convert
from demos.formats.guess import open_source
from robolearn.errors import DataError
from robolearn.types import Episode

from .conftest import OTHERS

RAW = OTHERS / "raw_lift.hdf5"
OPTIONS = {"robot": "Panda"}


@pytest.fixture(scope="module")
def source():
    """Give the raw file, opened once: a simulator belongs to it."""
    opened = open_source(RAW)
    yield opened
    opened.close()


def own_observations(states, xml):
    """Let robosuite itself observe states in a model, as robomimic's script does."""
    import robosuite

    env = robosuite.make(
        "Lift", robots="Panda", has_renderer=False, has_offscreen_renderer=False,
        use_camera_obs=False,
    )  # fmt: skip
    env.reset()
    env.reset_from_xml_string(env.edit_model_xml(xml))
    for state in states:
        env.sim.set_state_from_flattened(state)
        env.sim.forward()
        yield env._get_observations(force_update=True)
    env.close()


def test_they_are_those_of_robosuite_in_each_episodes_own_model(source):
    with h5py.File(RAW) as file:
        demo = file["data/demo_2"]
        xml, states = demo.attrs["model_file"], demo["states"][()]
        actions = demo["actions"][()]
    episode = source.load("demo_2")
    names = source.interface.observations["state"].names
    state = episode.observations["state"]
    for t, theirs in enumerate(own_observations(states, xml)):
        mine = dict(zip(names, state[t], strict=True))
        for key in ("robot0_eef_pos", "robot0_gripper_qpos", "cube_pos"):
            suffixes = "xyz" if key.endswith("_pos") else range(2)
            found = [mine[f"{key}_{suffix}"] for suffix in suffixes]
            np.testing.assert_allclose(found, theirs[key], rtol=0, atol=1e-6)
        for key in ("robot0_eef_quat", "cube_quat"):
            found = np.array([mine[f"{key}_{axis}"] for axis in "xyzw"])
            np.testing.assert_allclose(found * np.sign(found @ theirs[key]), theirs[key], atol=1e-6)
    np.testing.assert_array_equal(episode.records["mujoco_state"], states)
    np.testing.assert_array_equal(episode.records["action_as_given"], actions)
    assert episode.metadata["model_file"] == xml


@pytest.fixture(scope="module")
def lifted(tmp_path_factory):
    """Give two episodes of Lift of ours."""
    env = sim.make("robosuite/Lift", **OPTIONS)
    dataset = Dataset.create(tmp_path_factory.mktemp("ours") / "lift", env.interface, OPTIONS)
    for seed in range(2):
        seen, states = [env.reset(seed=seed)[0]["state"]], [env.get_state()]
        actions = np.random.default_rng(seed).uniform(-1, 1, (4, 7)).astype(np.float32)
        for action in actions:
            seen.append(env.step(action)[0]["state"])
            states.append(env.get_state())
        about = {"mujoco_state_size": env.mujoco_state_size}
        episode = Episode(
            {"state": np.stack(seen)}, actions, np.zeros(4, np.float32), False, True, False,
            states=np.stack(states), metadata=about,
        )  # fmt: skip
        dataset.append(episode)
    dataset.flush()
    env.close()
    return dataset.path


def test_our_states_go_to_robomimic_with_the_models_that_they_are_of(lifted, tmp_path):
    there = tmp_path / "there.hdf5"
    assert convert(lifted, there, ConvertConfig(check=True)).check.is_exact
    with h5py.File(there, "r+") as file:
        del file.attrs["robolearn"]
        for demo in file["data"].values():
            for name in ("robolearn", "obs", "next_obs"):
                del demo[name]
    ours, raw = open_source(lifted), open_source(there)
    for name in ours.names:
        state = ours.load(name).observations["state"][:-1]
        again = raw.load(name).observations["state"][:-1]
        np.testing.assert_allclose(again, state, rtol=0, atol=1e-6)
    raw.close()


def test_where_no_model_can_be_made_that_is_said(lifted, tmp_path):
    spoilt = shutil.copytree(lifted, tmp_path / "spoilt")
    about = json.loads((spoilt / "dataset.json").read_text())
    about["env_options"]["robot"] = "Pand"
    (spoilt / "dataset.json").write_text(json.dumps(about))
    done = convert(spoilt, tmp_path / "there.hdf5", ConvertConfig())
    assert done.episodes == 2
    assert "nowhere: " in done.held["robosuite's models of the states"]


def test_the_interface_is_the_tasks_own(source):
    env = sim.make("robosuite/Lift", **source.env_options)
    source.interface.require(env.interface, "the data", "the task")
    assert source.interface == env.interface
    env.close()


def changed(tmp_path, change):
    path = tmp_path / "changed.hdf5"
    path.write_bytes(RAW.read_bytes())
    with h5py.File(path, "r+") as file:
        change(file["data"])
    return path


def drop_model(data):
    del data["demo_1"].attrs["model_file"]


def foreign_file(data):
    xml = data["demo_1"].attrs["model_file"]
    data["demo_1"].attrs["model_file"] = re.sub('file="[^"]*"', 'file="/etc/passwd"', xml, count=1)


def include(data):
    xml = data["demo_1"].attrs["model_file"]
    data["demo_1"].attrs["model_file"] = xml.replace(
        "<worldbody>", '<include file="/etc/passwd"/><worldbody>'
    )


def foreign_texture(data):
    xml = data["demo_1"].attrs["model_file"]
    data["demo_1"].attrs["model_file"] = xml.replace(
        "<asset>", '<asset><texture name="x" type="skybox" fileup="/etc/passwd"/>', 1
    )


def foreign_folder(data):
    xml = data["demo_1"].attrs["model_file"]
    data["demo_1"].attrs["model_file"] = xml.replace("<compiler", '<compiler assetdir="/etc"', 1)


def cut_model(data):
    xml = data["demo_1"].attrs["model_file"]
    data["demo_1"].attrs["model_file"] = xml[: len(xml) // 2]


def short_state(data):
    states = data["demo_1/states"][:, :-1]
    del data["demo_1/states"]
    data["demo_1/states"] = states


def unknown_task(data):
    data.attrs["env"] = "Lfit"


def no_task(data):
    for name in ("env", "env_info"):
        del data.attrs[name]


def no_states(data):
    del data["demo_1/states"]


def unknown_robot(data):
    info = json.loads(data.attrs["env_info"])
    data.attrs["env_info"] = json.dumps(info | {"robots": "Pand", "controller_configs": None})


@pytest.mark.parametrize(
    "change, message",
    [
        (drop_model, "no model_file beside the states"),
        (foreign_file, "names a file that is not robosuite's"),
        (foreign_texture, "names a file that is not robosuite's"),
        (foreign_folder, "names a file that is not robosuite's"),
        (cut_model, "its model_file is no whole XML"),
        (include, "includes another file"),
        (short_state, "states have 31 entries; this model's have 32"),
        (unknown_task, "unknown task 'Lfit'; did you mean 'Lift'"),
        (no_task, "does not say which robosuite task"),
        (no_states, "has neither observations nor states"),
        (unknown_robot, "unknown robot 'Pand'; did you mean 'Panda'"),
    ],
)
def test_what_cannot_be_computed_is_said(tmp_path, change, message):
    with pytest.raises(DataError, match=message) as caught:
        open_source(changed(tmp_path, change)).load("demo_1")
    assert "\n" not in str(caught.value)


def test_ones_own_observations_stay_beside_those_that_are_computed(source, tmp_path):
    def observe(data):
        for demo in data.values():
            demo["obs/force"] = np.arange(12.0)[:, None]
            demo["obs/state"] = np.ones((12, 2))

    opened = open_source(changed(tmp_path, observe), Reading(recompute=True))
    mine, plain = opened.load("demo_1"), source.load("demo_1")
    opened.close()
    np.testing.assert_array_equal(mine.observations["state"], plain.observations["state"])
    assert mine.observations["force"][:, 0].tolist() == [*range(12), 11]
    assert mine.observations["state_as_given"].shape == (13, 2)


def test_cameras_are_drawn_if_asked_for(tmp_path):
    reading = Reading(cameras=("agentview",), image_size=(32, 40))
    opened = open_source(RAW, reading)
    episode = opened.load("demo_1")
    opened.close()
    frames = episode.observations["agentview"]
    assert frames.shape == (13, 32, 40, 3) and frames.std() > 10
    assert (frames[0] != frames[-1]).any()
