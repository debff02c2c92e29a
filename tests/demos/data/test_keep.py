import json
import shutil

import h5py
import numpy as np
import pytest

from demos.data.arrays import read
from demos.data.dataset import Dataset
from demos.data.keep import keep, require_free
from robolearn.errors import DataError


def content_of(folder):
    return {p: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def robomimic(tmp_path):
    path = tmp_path / "people" / "low_dim.hdf5"
    path.parent.mkdir()
    with h5py.File(path, "w") as file:
        file.create_group("data").attrs.update(total=12, env_args="{}")
        for i in range(4):
            demo = file.create_group(f"data/demo_{i}")
            demo.attrs["num_samples"] = 3 + i
            demo["actions"] = np.full((3 + i, 2), i / 10)
            demo["obs/object"] = np.full((3 + i, 3), i)
        file["mask/better"] = np.array(["demo_0", "demo_1", "demo_3"], "S")
        file["mask/worse"] = np.array(["demo_2"], "S")
    return path


def test_a_robomimic_file_of_links(robomimic, tmp_path):
    before = content_of(robomimic.parent)
    kept = keep(read(robomimic), ["demo_1", "demo_3"], tmp_path / "good" / "kept.hdf5")
    again = read(kept)
    assert again.names == ("demo_1", "demo_3") and again.operators == ("better", "better")
    np.testing.assert_array_equal(again.actions[1], read(robomimic).actions[3])
    with h5py.File(kept) as file:
        assert file["data"].attrs["total"] == 4 + 6
        assert file["data/demo_3"].attrs["num_samples"] == 6
        assert set(file["mask"]) == {"better", "kept"}
        assert file["mask/kept"][()].tolist() == [b"demo_1", b"demo_3"]
    assert content_of(robomimic.parent) == before
    shutil.move(robomimic.parent, tmp_path / "moved" / "people")
    shutil.move(kept.parent, tmp_path / "moved" / "good")
    assert len(read(tmp_path / "moved" / "good" / "kept.hdf5")) == 2  # the links are relative


def test_a_list_of_names(robomimic, tmp_path):
    path = keep(read(robomimic), ["demo_2"], tmp_path / "kept.json")
    said = {"demonstrations": str(robomimic), "kept": ["demo_2"]}
    assert json.loads(path.read_text()) == said


def test_links_to_a_dataset_of_ours(mixed, tmp_path):
    kept = read(keep(read(mixed.path), ["demo_1", "demo_3"], tmp_path / "kept.hdf5"))
    assert kept.names == ("demo_1", "demo_3")
    assert kept.operators == ("operator_bob", "operator_bob_2")
    np.testing.assert_array_equal(kept.actions[0], mixed.load("demo_1").actions)


def test_a_dataset_of_copies(mixed, tmp_path):
    before = content_of(mixed.path)
    path = keep(read(mixed.path), ["demo_0", "demo_3"], tmp_path / "kept")
    copy = Dataset.open(path)
    assert copy.interface == mixed.interface and copy.env_options == mixed.env_options
    assert copy.names() == ["demo_0", "demo_1"]
    assert [copy.metadata(n)["operator"] for n in copy.names()] == ["ann", "bob/2"]
    np.testing.assert_array_equal(copy.load("demo_1").actions, mixed.load("demo_3").actions)
    assert content_of(mixed.path) == before


def test_some_steps_of_an_episode(mixed, tmp_path):
    source, rows = mixed.load("demo_1"), np.array([0, 2])
    actions = np.full((2, *source.actions.shape[1:]), 0.25)
    parts = {"demo_1": (rows, actions)}
    path = keep(read(mixed.path), ["demo_0", "demo_1"], tmp_path / "kept", parts)
    whole, part = (Dataset.open(path).load(name) for name in ("demo_0", "demo_1"))
    np.testing.assert_array_equal(whole.actions, mixed.load("demo_0").actions)
    np.testing.assert_array_equal(part.actions, actions)
    for name, array in source.observations.items():
        np.testing.assert_array_equal(part.observations[name], array[[0, 2, 3]])
    np.testing.assert_array_equal(part.rewards, source.rewards[rows])
    told = {"steps": [0, 2], "of": str(mixed.path), "name": "demo_1"}
    assert part.metadata["repaired"] == told and "repaired" not in whole.metadata


def test_what_is_there_is_not_overwritten(mixed, robomimic, tmp_path):
    (tmp_path / "there.json").write_text("{}")
    with pytest.raises(DataError, match="there.json is there already"):
        keep(read(mixed.path), ["demo_0"], tmp_path / "there.json")
    with pytest.raises(DataError, match=r"kept.txt: choose a name that ends in .hdf5 .* a folder"):
        require_free(tmp_path / "kept.txt", mixed.path)
    with pytest.raises(DataError, match=r"kept: choose a name .*list of names\)$"):
        require_free(tmp_path / "kept", robomimic)


def test_where_nothing_can_be_written_is_told_before_there_is_something(mixed, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="kept.json: nothing can be written in .*file: choose"):
        require_free(tmp_path / "file" / "deep" / "kept.json", mixed.path)
    with pytest.raises(DataError, match="kept lies in .*, which stays as it is"):
        require_free(mixed.path / "kept", mixed.path)
    require_free(tmp_path / "new" / "folder" / "kept", mixed.path)
