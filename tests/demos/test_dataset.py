import dataclasses
import json
import os
import re
import shutil
import signal
import threading
import tracemalloc

import h5py
import numpy as np
import pytest

from demos import dataset as dataset_module
from demos import dataset_index, transitions
from demos.dataset import Dataset
from demos.episode_file import EpisodeFileError
from robolearn.errors import DataError, SpecError
from robolearn.types import ArraySpec, Episode

from .conftest import INTERFACE, assert_same, walk

CAMERA = dataclasses.replace(
    INTERFACE, observations=INTERFACE.observations | {"wrist/left": ArraySpec((16, 8, 3), "uint8")}
)


def with_camera(seed: int = 0, steps: int = 5) -> Episode:
    frames = np.random.default_rng(seed).integers(0, 256, (steps + 1, 16, 8, 3), np.uint8)
    episode = walk(seed, steps)
    observations = episode.observations | {"wrist/left": frames}
    return dataclasses.replace(episode, observations=observations)


def with_nan(seed: int = 0) -> Episode:
    episode = walk(seed)
    actions = episode.actions.copy()
    actions[2] = np.nan
    return dataclasses.replace(episode, actions=actions)


def episode_file(dataset: Dataset, number: int):
    return dataset.path / "episodes" / f"episode_{number:06d}.hdf5"


def snapshot(folder):
    return {p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


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


def test_interface_and_options_come_back(dataset):
    reopened = Dataset.open(dataset.path)
    assert reopened.env_options == {"length_m": 2.0}
    reopened.require(INTERFACE)  # its controller has a tuple, which JSON does not know
    assert reopened.interface.to_json() == INTERFACE.to_json()


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


def test_the_index_joins_all_episodes_wherever_the_folder_is_moved(dataset, tmp_path, monkeypatch):
    for seed in range(3):
        dataset.append(walk(seed, steps=4 + seed))
    shutil.move(dataset.path, tmp_path / "moved")
    monkeypatch.chdir("/")
    with h5py.File(tmp_path / "moved" / "index.hdf5") as file:
        assert sorted(file["data"]) == ["demo_0", "demo_1", "demo_2"]
        assert file["data"].attrs["total"] == 4 + 5 + 6
        expected = walk(2, steps=6).observations["state"]
        np.testing.assert_array_equal(file["data/demo_2/next_obs/state"], expected[1:])


@pytest.mark.parametrize(
    ("environment", "name", "kind", "arguments"),
    [
        ("test/Line", "test/Line", 2, {"length_m": 2.0}),
        ("robosuite/TwoArmLift", "TwoArmLift", 1, {"robots": ["A", "B"], "control_freq": 20}),
    ],
)
def test_env_args(tmp_path, environment, name, kind, arguments):
    interface = dataclasses.replace(
        INTERFACE, environment=environment, robot="A+B", controller={"type": "OSC"}
    )
    Dataset.create(tmp_path / "d", interface, {"length_m": 2.0})
    with h5py.File(tmp_path / "d" / "index.hdf5") as file:
        about = json.loads(file["data"].attrs["env_args"])
    assert (about["env_name"], about["type"]) == (name, kind)
    assert arguments.items() <= about["env_kwargs"].items()
    assert about["robolearn"]["options"] == {"length_m": 2.0}


# Masks and filters


@pytest.fixture
def mixed(dataset):
    for i, (operator, success) in enumerate([("ann", 1), ("bob", 0), ("ann", 0), ("bob/2", 1)]):
        dataset.append(walk(i, steps=3 + i, success=bool(success), operator=operator))
    return dataset


def test_masks_tell_operators_and_outcomes(mixed):
    expected = {
        "success": ["demo_0", "demo_3"],
        "failure": ["demo_1", "demo_2"],
        "operator_ann": ["demo_0", "demo_2"],
        "operator_bob": ["demo_1"],
        "operator_bob_2": ["demo_3"],
    }
    assert mixed.masks() == expected
    with h5py.File(mixed.path / "index.hdf5") as file:
        assert {k: [n.decode() for n in v] for k, v in file["mask"].items()} == expected


@pytest.mark.parametrize(
    ("filters", "numbers"),
    [
        ({}, [0, 1, 2, 3]),
        ({"success": False}, [1, 2]),
        ({"operator": "bob/2"}, [3]),
        ({"operator": "ann", "success": True}, [0]),
        ({"mask": "failure", "operator": "bob"}, [1]),
    ],
)
def test_filters(mixed, filters, numbers):
    assert mixed.names(**filters) == [f"demo_{n}" for n in numbers]
    assert [len(e) for e in mixed.episodes(**filters)] == [3 + n for n in numbers]


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"mask": "sucess"}, "no mask 'sucess'; did you mean 'success'?"),
        ({"operator": "anne"}, "no operator 'anne'; did you mean 'ann'?"),
    ],
)
def test_unknown_filters_name_the_nearest(mixed, filters, message):
    with pytest.raises(DataError, match=re.escape(message)):
        mixed.names(**filters)


def test_an_unknown_episode_is_an_error(mixed):
    with pytest.raises(DataError, match="no episode 'demo_9'"):
        mixed.load("demo_9")


def test_masks_of_others_survive_an_append_but_not_their_episodes(mixed):
    with h5py.File(mixed.path / "index.hdf5", "r+") as file:
        file["mask/train"] = np.array(["demo_0", "demo_3"], dtype="S")
    episode_file(mixed, 3).unlink()
    mixed.append(walk())
    assert Dataset.open(mixed.path).names(mask="train") == ["demo_0"]


# Nothing is lost


def test_a_stop_between_episode_and_index_loses_nothing(dataset, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(dataset_index, "update_index", stop)
        dataset.append(walk())
    reopened = Dataset.open(dataset.path)
    assert_same(reopened.load("demo_0"), walk())
    with h5py.File(dataset.path / "index.hdf5") as file:
        assert list(file["data"]) == ["demo_0"]  # repaired on disk too
    assert dataset.append(walk(1)) == "demo_1"


@pytest.mark.parametrize("damage", [b"", b"not HDF5", None])
def test_an_unreadable_index_is_rebuilt(mixed, damage):
    index = mixed.path / "index.hdf5"
    index.unlink() if damage is None else index.write_bytes(damage)
    assert Dataset.open(mixed.path).masks() == mixed.masks()
    with h5py.File(index) as file:
        assert len(file["data"]) == 4


def test_a_folder_that_cannot_be_written_can_still_be_read(mixed, monkeypatch):
    def refuse(path, *_, **__):
        raise DataError(f"cannot write {path}")

    (mixed.path / "index.hdf5").unlink()
    monkeypatch.setattr(dataset_index, "write_atomically", refuse)
    assert Dataset.open(mixed.path).names() == mixed.names()


def test_a_number_is_never_used_twice(mixed):
    episode_file(mixed, 1).write_bytes(b"damaged")
    episode_file(mixed, 0).unlink()
    assert mixed.append(walk()) == "demo_4"
    assert episode_file(mixed, 1).read_bytes() == b"damaged"


def test_writers_at_the_same_time_lose_nothing(dataset):
    def write(first):
        mine = Dataset.open(dataset.path)
        for seed in range(first, first + 10):
            mine.append(walk(seed, number=seed))

    writers = [threading.Thread(target=write, args=(first,)) for first in (0, 10, 20)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    found = Dataset.open(dataset.path).episodes()
    assert sorted(episode.metadata["number"] for episode in found) == list(range(30))


def test_ctrl_c_waits_until_the_episode_is_on_disk(dataset, monkeypatch):
    real = os.replace

    def interrupted(*paths):
        signal.raise_signal(signal.SIGINT)
        real(*paths)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", interrupted)
        dataset.append(walk())
    assert snapshot(dataset.path).keys() == {"dataset.json", "index.hdf5", "episode_000000.hdf5"}
    assert_same(Dataset.open(dataset.path).load("demo_0"), walk())


# Bad input


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"actions": np.zeros((5, 2), np.float32)}, r"action has shape \(2,\) instead of \(1,\)"),
        (
            {"observations": {"joints": np.zeros((6, 2))}},
            "missing observations state; extra .*ints",
        ),
        ({"observations": {"state": np.zeros((6, 2))}}, "state is float64 instead of float32"),
    ],
)
def test_an_episode_that_does_not_fit_is_refused(dataset, change, message):
    before = snapshot(dataset.path)
    with pytest.raises(SpecError, match=message):
        dataset.append(dataclasses.replace(walk(), **change))
    assert snapshot(dataset.path) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"robot": "Sawyer"}, "robot Point instead of Sawyer"),
        ({"controller": {"type": "TORQUE"}}, "another controller .differs in limits, type"),
        ({"action": ArraySpec((7,))}, r"action has shape \(1,\) instead of \(7,\)"),
    ],
)
def test_another_robot_or_controller_is_refused(dataset, change, message):
    with pytest.raises(SpecError, match=message) as error:
        dataset.require(dataclasses.replace(INTERFACE, **change), "the policy")
    assert str(dataset.path) in str(error.value) and "the policy" in str(error.value)


def test_an_episode_file_of_another_robot_is_refused_on_loading(dataset, tmp_path):
    other = Dataset.create(tmp_path / "o", CAMERA)
    other.append(with_camera())
    shutil.copy(episode_file(other, 0), episode_file(dataset, 0))
    with pytest.raises(SpecError, match="episode_000000.hdf5 .*extra observations wrist/left"):
        Dataset.open(dataset.path).transitions()


@pytest.mark.parametrize("cut", [0, 5, 100, -1])
def test_a_truncated_file_is_named_and_left_alone(mixed, cut):
    path = episode_file(mixed, 1)
    path.write_bytes(path.read_bytes()[:cut])
    before = snapshot(mixed.path / "episodes")
    with pytest.warns(UserWarning, match="episode_000001.hdf5"):
        reopened = Dataset.open(mixed.path)
    assert reopened.names() == ["demo_0", "demo_2", "demo_3"]
    assert snapshot(mixed.path / "episodes") == before


def test_a_foreign_file_is_named_and_left_alone(mixed):
    with h5py.File(episode_file(mixed, 7), "w") as file:
        file["data/demo_0/actions"] = np.zeros((3, 1))
    with pytest.warns(UserWarning, match=r"episode_000007.hdf5 \(foreign: .* did not write it\)"):
        assert len(Dataset.open(mixed.path)) == 4


def test_content_that_changed_is_noticed(mixed):
    with h5py.File(episode_file(mixed, 0), "r+") as file:
        file["data/demo_0/actions"][1] += 1
    with pytest.raises(EpisodeFileError, match="episode_000000.hdf5 is damaged: .* changed"):
        Dataset.open(mixed.path).load("demo_0")


def test_a_file_that_vanished_is_named(mixed):
    episode_file(mixed, 0).unlink()
    with pytest.raises(EpisodeFileError, match="episode_000000.hdf5 is missing"):
        mixed.load("demo_0")


def test_no_dataset(dataset):
    with pytest.raises(DataError, match="line2 is not a dataset.*did you mean 'line'"):
        Dataset.open(dataset.path.parent / "line2")


@pytest.mark.parametrize("text", ["", "{}", '{"format": "robolearn-dataset-99"}', "[1]"])
def test_a_damaged_description_is_named(dataset, text):
    (dataset.path / "dataset.json").write_text(text)
    with pytest.raises(DataError, match="dataset.json"):
        Dataset.open(dataset.path)


def test_create_never_overwrites(mixed, tmp_path):
    with pytest.raises(DataError, match="line is not empty"):
        Dataset.create(mixed.path, INTERFACE)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DataError, match="cannot write"):
        Dataset.create(tmp_path / "file", INTERFACE)
    assert (tmp_path / "file").read_text() == "mine"


def test_create_goes_on_where_a_killed_one_stopped(tmp_path):
    (tmp_path / "d" / "episodes").mkdir(parents=True)
    (tmp_path / "d" / ".dataset.json.17.tmp").write_text("{")
    assert len(Dataset.create(tmp_path / "d", INTERFACE)) == 0


def test_ensure_creates_then_opens_what_fits(tmp_path):
    Dataset.ensure(tmp_path / "d", INTERFACE).append(walk())
    assert len(Dataset.ensure(tmp_path / "d", INTERFACE)) == 1
    with pytest.raises(SpecError, match="robot"):
        Dataset.ensure(tmp_path / "d", dataclasses.replace(INTERFACE, robot="Sawyer"))


# Arrays for training


def test_transitions_are_the_episodes_end_to_end(mixed):
    batch = mixed.transitions(success=True, next_observations=True)
    episodes = mixed.episodes(success=True)
    states = [e.observations["state"] for e in episodes]
    np.testing.assert_array_equal(
        batch["observations"]["state"], np.concatenate([s[:-1] for s in states])
    )
    np.testing.assert_array_equal(
        batch["next_observations"]["state"], np.concatenate([s[1:] for s in states])
    )
    np.testing.assert_array_equal(batch["actions"], np.concatenate([e.actions for e in episodes]))
    np.testing.assert_array_equal(batch["rewards"], np.concatenate([e.rewards for e in episodes]))
    assert batch["episode"].tolist() == [0] * 3 + [3] * 6
    assert batch["step"].tolist() == [0, 1, 2, 0, 1, 2, 3, 4, 5]
    assert np.flatnonzero(batch["terminated"]).tolist() == [2, 8]


def test_transitions_are_mapped_and_read_only(tmp_path):
    dataset = Dataset.create(tmp_path / "d", CAMERA)
    dataset.append(with_camera())
    frames = dataset.transitions()["observations"]["wrist/left"]
    assert isinstance(frames, np.memmap) and not frames.flags.writeable
    np.testing.assert_array_equal(frames, with_camera().observations["wrist/left"][:-1])


def test_building_the_cache_needs_the_memory_of_one_episode(tmp_path):
    interface = dataclasses.replace(
        INTERFACE, observations={"cam": ArraySpec((64, 64, 3), "uint8")}
    )
    dataset = Dataset.create(tmp_path / "d", interface)
    frames = np.random.default_rng(0).integers(0, 256, (41, 64, 64, 3), np.uint8)  # 0.5 MB
    for seed in range(12):
        dataset.append(dataclasses.replace(walk(seed, steps=40), observations={"cam": frames}))
    tracemalloc.start()
    dataset.transitions()
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 4 * frames.nbytes


def test_the_cache_is_used_again_but_never_stale(mixed, monkeypatch):
    first = mixed.transitions()
    with monkeypatch.context() as patch:
        patch.setattr(transitions, "_build", None)  # calling it would fail
        np.testing.assert_array_equal(mixed.transitions()["actions"], first["actions"])
    shutil.copy(episode_file(mixed, 3), episode_file(mixed, 0))
    changed = Dataset.open(mixed.path).transitions()
    assert len(changed["actions"]) == len(first["actions"]) + 3
    shutil.rmtree(mixed.path / "cache")
    assert len(Dataset.open(mixed.path).transitions()["actions"]) == len(changed["actions"])


def test_a_cache_that_somebody_else_built_first_is_used(mixed, monkeypatch):
    real = transitions._publish

    def beaten(temporary, folder):
        shutil.copytree(temporary, folder)
        real(temporary, folder)

    monkeypatch.setattr(transitions, "_publish", beaten)
    assert len(mixed.transitions()["actions"]) == 3 + 4 + 5 + 6
    assert len(list((mixed.path / "cache").iterdir())) == 1


def test_nan_is_kept_but_never_trained_on(dataset):
    dataset.append(walk())
    dataset.append(with_nan())
    assert len(dataset.episodes()) == 2
    with pytest.raises(DataError, match="episode_000001.hdf5: actions is not finite at step 2"):
        dataset.transitions()
    assert list((dataset.path / "cache").iterdir()) == []


def test_an_empty_dataset_or_selection_cannot_be_trained_on(dataset):
    with pytest.raises(DataError, match="line has no episodes$"):
        dataset.transitions()
    dataset.append(walk())
    with pytest.raises(DataError, match="no episodes with success=False, operator=ann"):
        dataset.transitions(success=False, operator="ann")


CACHE_ON_A_FULL_DISK = """
import resource, sys
from demos.dataset import Dataset
from robolearn.errors import DataError
dataset = Dataset.open(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, resource.RLIM_INFINITY))
try:
    dataset.transitions()
except DataError as error:
    print(error)
"""


def test_a_disk_that_fills_up_while_the_cache_is_built(dataset, start_python):
    for seed in range(3):
        dataset.append(walk(seed, steps=100))
    output, errors = start_python(CACHE_ON_A_FULL_DISK, dataset.path).communicate()
    assert not errors
    assert f"{dataset.path}/cache: cannot write" in output and output.count("\n") == 1
    assert list((dataset.path / "cache").iterdir()) == []
    assert len(dataset.transitions()["actions"]) == 300


def test_the_module_describes_its_own_folder(dataset):
    dataset.append(walk())
    dataset.transitions()
    for path in dataset.path.iterdir():
        assert path.name in dataset_module.__doc__
