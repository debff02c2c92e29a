import copy
import dataclasses
from pathlib import Path

import h5py
import numpy as np
import pytest

from demos.data.dataset import Dataset
from demos.data.episode_file import EpisodeFileError
from robolearn.errors import DataError

from ..conftest import CAMERA, assert_same, episode_file, walk, with_camera, with_nan

# What goes in comes out


@pytest.mark.parametrize(
    "episode",
    [
        walk(),
        walk(steps=1, success=False),
        walk(number=np.int64(7), model_file="<mujoco>" + "x" * 100_000, note={"nested": [1, None]}),
        dataclasses.replace(walk(), states=None, reward_terms={}),
        with_nan(),
    ],
    ids=["plain", "one step", "metadata", "no states", "NaN"],
)
def test_an_episode_comes_back_bit_for_bit(dataset, episode):
    name = dataset.append(episode)
    assert_same(Dataset.open(dataset.path).load(name), episode)


def test_images_and_names_with_slashes_come_back(tmp_path):
    dataset = Dataset.create(tmp_path / "d", CAMERA)
    assert_same(dataset.load(dataset.append(with_camera())), with_camera())


def test_metadata_that_are_not_json_are_refused(dataset):
    with pytest.raises(DataError, match="object"):
        dataset.append(walk(thing=object()))
    assert len(Dataset.open(dataset.path)) == 0


# robomimic's layout


def test_an_episode_file_has_robomimics_layout(dataset):
    episode = walk(model_file="<mujoco/>")
    dataset.append(episode)
    with h5py.File(episode_file(dataset, 0)) as file:
        demo = file["data/demo_0"]
        assert file["data"].attrs["total"] == demo.attrs["num_samples"] == 5
        assert demo.attrs["model_file"] == "<mujoco/>"
        np.testing.assert_array_equal(demo["actions"], episode.actions)
        np.testing.assert_array_equal(demo["rewards"], episode.rewards)
        np.testing.assert_array_equal(demo["states"], episode.states[:5, :3])
        np.testing.assert_array_equal(demo["obs/state"], episode.observations["state"][:5])
        np.testing.assert_array_equal(demo["next_obs/state"], episode.observations["state"][1:])
        assert demo["dones"][()].tolist() == [0, 0, 0, 0, 1]


def test_states_are_whole_where_their_mujoco_part_is_unknown(dataset):
    episode = dataclasses.replace(walk(), metadata={})
    dataset.append(episode)
    with h5py.File(episode_file(dataset, 0)) as file:
        np.testing.assert_array_equal(file["data/demo_0/states"], episode.states[:5])


def test_dones_mean_terminated_not_out_of_time(dataset):
    dataset.append(walk(success=False))
    with h5py.File(episode_file(dataset, 0)) as file:
        assert not file["data/demo_0/dones"][()].any()


def test_an_error_survives_the_way_out_of_a_worker_process():
    error = EpisodeFileError(Path("episode_000003.hdf5"), "damaged", "no rewards")
    arrived = copy.copy(error)  # rebuilt from class and arguments, as between processes
    assert str(arrived) == str(error)
    assert str(error).startswith("episode_000003.hdf5 is damaged: no rewards; move it away")
    assert (arrived.status, arrived.detail) == ("damaged", "no rewards")


def with_records(seed=0):
    rng = np.random.default_rng(seed)
    records = {"action_asked": rng.normal(size=(5, 1)).astype(np.float32)}
    records |= {"sent_s": rng.normal(size=5), "engaged": rng.random(5) < 0.5}
    return dataclasses.replace(walk(seed), records=records)


def test_records_of_each_step_come_back(dataset):
    episode = with_records()
    loaded = dataset.load(dataset.append(episode))
    assert_same(loaded, episode)
    assert loaded.records.keys() == episode.records.keys()
    for name, array in episode.records.items():
        assert loaded.records[name].dtype == array.dtype
        np.testing.assert_array_equal(loaded.records[name], array)
    assert dataset.load(dataset.append(walk())).records == {}


def test_records_leave_the_checksum_of_the_rest_as_it_is(dataset):
    names = [dataset.append(episode) for episode in (walk(0), with_records(0))]
    sums = []
    for name in names:
        with h5py.File(episode_file(dataset, int(name[5:]))) as file:
            sums.append(file["data/demo_0"].attrs["checksum"])
    assert sums[0] == sums[1]  # so that versions which know no records read them


def test_a_changed_record_is_noticed(dataset):
    path = episode_file(dataset, int(dataset.append(with_records())[5:]))
    with h5py.File(path, "r+") as file:
        file["data/demo_0/episode/records/sent_s"][2] += 1
    with pytest.raises(DataError, match="changed after it was written"):
        dataset.load("demo_0")


def test_records_need_a_row_for_each_action():
    with pytest.raises(DataError, match="records/sent_s has 4 rows instead of 5"):
        dataclasses.replace(walk(), records={"sent_s": np.zeros(4)})
