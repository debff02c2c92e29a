import dataclasses
import json
import os
import re
import shutil
import signal
import threading

import h5py
import numpy as np
import pytest

from demos.data import dataset as dataset_module
from demos.data import index as dataset_index
from demos.data.dataset import Dataset
from demos.data.doctor import doctor
from demos.data.episode_file import EpisodeFileError
from robolearn.errors import DataError, SpecError, UserError
from robolearn.types import ArraySpec

from ..conftest import CAMERA, INTERFACE, assert_same, episode_file, walk, with_camera


def snapshot(folder):
    return {p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_interface_and_options_come_back(dataset):
    reopened = Dataset.open(dataset.path)
    assert reopened.env_options == {"length_m": 2.0}
    reopened.require(INTERFACE)  # its controller has a tuple, which JSON does not know
    assert reopened.interface.to_json() == INTERFACE.to_json()


# The index, masks and filters


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


def test_a_large_index_is_rewritten_now_and_then_and_on_flush(dataset, monkeypatch):
    monkeypatch.setattr(dataset_module, "INDEX_LAG", 1.5)
    written = []
    for seed in range(8):
        dataset.append(walk(seed))
        written.append(len(dataset_index.read_index(dataset.path)[0]))
    assert written == [1, 2, 2, 4, 4, 4, 7, 7]
    assert len(dataset) == 8 and len(dataset.masks()["success"]) == 8
    dataset.flush()
    assert len(dataset_index.read_index(dataset.path)[0]) == 8


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
    with pytest.raises(EpisodeFileError, match="episode_000000.hdf5 is damaged: .* changed.* away"):
        Dataset.open(mixed.path).load("demo_0")


def test_once_what_is_damaged_was_moved_away_the_others_are_used(mixed, tmp_path, recwarn):
    file = episode_file(mixed, 0)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.warns(
        UserWarning, match=r"left out episode_000000.hdf5 \(truncated.*move them away"
    ):
        Dataset.open(mixed.path)
    file.rename(tmp_path / file.name)
    recwarn.clear()
    rest = Dataset.open(mixed.path)
    assert not recwarn and "demo_0" not in rest.names()
    assert 0 not in rest.transitions()["episode"]


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


def test_what_a_killed_create_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path):
    (tmp_path / "d").mkdir()
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    for process in (child, os.getppid(), "x"):
        (tmp_path / "d" / f".dataset.json.{process}.tmp").write_text("{")
    Dataset.create(tmp_path / "d", INTERFACE)
    left = {path.name for path in (tmp_path / "d").glob(".*.tmp")}
    assert left == {f".dataset.json.{os.getppid()}.tmp", ".dataset.json.x.tmp"}


def test_ensure_creates_then_opens(tmp_path):
    Dataset.ensure(tmp_path / "d", INTERFACE, {"sizes": (1, 2)}).append(walk())
    assert len(Dataset.ensure(tmp_path / "d", INTERFACE, {"sizes": (1, 2)})) == 1


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"robot": "Sawyer"}, {"length_m": 2.0}, "robot Point instead of Sawyer"),
        ({"environment": "test/Plane"}, {"length_m": 2.0}, "holds test/Line, not test/Plane"),
        ({}, {"length_m": 3.0, "width_m": 1.0}, r"other options \(length_m, width_m\)"),
    ],
)
def test_ensure_refuses_what_comes_from_elsewhere(dataset, change, options, message):
    with pytest.raises(UserError, match=message):
        Dataset.ensure(dataset.path, dataclasses.replace(INTERFACE, **change), options)


def test_the_module_describes_its_own_folder(dataset):
    dataset.append(walk())
    dataset.transitions()
    for path in dataset.path.iterdir():
        assert path.name in dataset_module.__doc__


def test_metadata_are_amended_and_the_rest_stays(dataset):
    names = [dataset.append(walk(i, decision="kept")) for i in range(3)]
    before = dataset.load(names[1])
    dataset.amend(names[1], decision="undone", why="a slip")
    expected = dataclasses.replace(
        before, metadata=before.metadata | {"decision": "undone", "why": "a slip"}
    )
    for opened in (dataset, Dataset.open(dataset.path)):
        assert_same(opened.load(names[1]), expected)
        assert opened.masks()["kept"] == [names[0], names[2]]
        assert opened.masks()["undone"] == [names[1]]
    assert doctor(dataset.path).healthy
    with pytest.raises(DataError, match="no episode 'demo_9'"):
        dataset.amend("demo_9", decision="kept")


def test_only_what_a_session_decides_is_a_mask(dataset):
    dataset.append(walk(decision="perhaps"))
    assert set(dataset.masks()) == {"success", "operator_ann"}


def test_what_a_killed_writer_left_is_removed_when_more_is_to_be_written(dataset):
    for folder in (dataset.path, dataset.path / "episodes"):
        (folder / ".index.hdf5.123.tmp").write_bytes(b"half")
    assert not doctor(dataset.path).healthy
    Dataset.open(dataset.path)  # a reader touches nothing
    assert len(list(dataset.path.rglob("*.tmp"))) == 2
    Dataset.ensure(dataset.path, dataset.interface, dataset.env_options)
    assert not list(dataset.path.rglob("*.tmp")) and doctor(dataset.path).healthy
