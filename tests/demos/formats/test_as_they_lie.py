"""Others' datasets where ours are taken: judged, trained on, viewed, without converting first."""

import json
import shutil

import h5py
import numpy as np
import pyarrow
import pyarrow.parquet as parquet
import pytest

from demos.data import arrays
from demos.data.dataset import Dataset
from demos.data.keep import require_free
from demos.formats import show
from demos.formats.convert import ConvertConfig, convert
from demos.formats.demonstrations import read
from demos.formats.foreign import open_dataset
from robolearn.__main__ import main
from robolearn.errors import DataError

from ..conftest import CAMERA, INTERFACE, walk, with_camera
from .conftest import OTHERS, recorded

POSITION = "robot0_eef_pos"


def test_images_are_read_when_they_are_asked_for_and_too_many_are_refused(tmp_path, monkeypatch):
    dataset = Dataset.create(tmp_path / "ours", CAMERA)
    for i in range(3):
        dataset.append(with_camera(i, steps=5 + i))
    config = ConvertConfig(format="lerobot", images="lossless")
    convert(dataset.path, tmp_path / "lerobot", config)
    foreign = open_dataset(tmp_path / "lerobot")
    assert "wrist/left" in foreign.interface.observations  # but not in what is held of it
    assert list(foreign.load("demo_0").observations) == ["state"]
    ours, theirs = dataset.transitions(), foreign.transitions(operator="ann")
    assert theirs["observations"]["wrist/left"].dtype == np.uint8
    for name in ("state", "wrist/left"):
        np.testing.assert_array_equal(ours["observations"][name], theirs["observations"][name])
    some = foreign.transitions(observations=["state"])["observations"]
    assert list(some) == list(dataset.transitions(observations=["state"])["observations"])
    monkeypatch.setattr("demos.formats.foreign.MOST_BYTES", 18 * 16 * 8 * 3 - 1)
    with pytest.raises(DataError, match=r"too large .*obs=\[state\] leaves images out"):
        foreign.transitions()


@pytest.fixture
def both(tmp_path):
    """Give twelve episodes of 25 steps as ours, and as LeRobot's own."""
    dataset = Dataset.create(tmp_path / "ours", INTERFACE)
    for i in range(12):
        dataset.append(walk(i, steps=25))
    dataset.flush()
    convert(dataset.path, tmp_path / "lerobot", ConvertConfig(format="lerobot"))
    shutil.rmtree(tmp_path / "lerobot/robolearn")
    return dataset.path, tmp_path / "lerobot"


def test_plain_arrays_are_the_same_in_either(both):
    ours, theirs = (read(path, success=True) for path in both)
    assert theirs.names == ours.names and len(theirs) == 12
    for what in ("states", "actions"):
        for mine, others in zip(getattr(ours, what), getattr(theirs, what), strict=True):
            np.testing.assert_array_equal(mine, others)
    base, new = arrays.fitted(ours, theirs)
    assert base.interface.observations["state"].names == ("position", "goal")


def in_units(path, target, unit):
    """Copy a LeRobot dataset whose actions are so many times as large, as its statistics say."""
    shutil.copytree(path, target)
    file = target / "data/chunk-000/file-000.parquet"
    table = parquet.read_table(file)
    at = table.schema.get_field_index("action")
    larger = pyarrow.array(unit * table["action"].to_numpy())
    parquet.write_table(table.set_column(at, table.schema.field(at), larger), file)
    stats = json.loads((target / "meta/stats.json").read_text())
    stats["action"] |= {"min": [float(larger.to_numpy().min())], "max": [unit]}
    (target / "meta/stats.json").write_text(json.dumps(stats))
    return target


def test_actions_of_two_units_are_judged_in_stated_ones_only(both, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    degrees, ticks = (in_units(both[1], tmp_path / f"in_{n}", float(n)) for n in (40, 80))
    raw, ours = read(degrees, as_given=True), read(both[0])
    np.testing.assert_array_equal(raw.actions[3], 40 * ours.actions[3])
    assert "action_limits" not in raw.interface.controller
    given = [f"base={degrees}", f"new={ticks}", "out=run"]
    assert main(["judge", *given]) == 2
    assert "actions in [-1, 1] stood for" in capsys.readouterr().err
    assert main(["judge", *given, "limits=[-80,80]"]) == 0
    told = json.loads((tmp_path / "run/summary.json").read_text())
    assert told["clipped"] == {"base": 0, "new": 0}


def test_robomimics_that_we_wrote_keep_the_names_of_their_entries(both, tmp_path):
    convert(both[0], tmp_path / "out.hdf5", ConvertConfig())
    ours, theirs = read(both[0]), read(tmp_path / "out.hdf5")
    assert theirs.interface.observations["state"].names == ("position", "goal")
    for mine, others in zip(ours.states, theirs.states, strict=True):
        np.testing.assert_array_equal(mine, others)


def test_entries_of_robomimics_are_called_as_those_that_they_are_held_against(tmp_path):
    ours = recorded(tmp_path / "ours")
    convert(ours.path, tmp_path / "x.hdf5", ConvertConfig())
    with h5py.File(tmp_path / "x.hdf5", "r+") as file:
        del file.attrs["robolearn"]  # as robomimic's own, without a "state"
        for demo in file["data"].values():
            for name in ("robolearn", "obs/state", "next_obs/state"):
                del demo[name]
    alone = read(tmp_path / "x.hdf5", beside=[tmp_path / "x.hdf5"])
    assert alone.interface.observations["state"].names[:2] == tuple(f"{POSITION}_{i}" for i in "01")
    there = read(tmp_path / "x.hdf5", beside=[ours.path, tmp_path / "x.hdf5"])
    base, new = arrays.fitted(read(ours.path), there)
    names = base.interface.observations["state"].names
    assert names[:4] == (f"{POSITION}_x", f"{POSITION}_y", f"{POSITION}_z", "robot0_eef_quat_w")
    for mine, others in zip(base.states, new.states, strict=True):
        np.testing.assert_array_equal(mine[:, :3], others[:, :3])
        np.testing.assert_array_equal(np.abs(mine[:, 3:]), np.abs(others[:, 3:]))


def test_raw_files_are_read_by_their_task_and_robomimics_as_before():
    raw = read(OTHERS / "raw_lift.hdf5")
    assert raw.names == ("demo_1", "demo_2")
    assert "cube_pos_x" in raw.interface.observations["state"].names


def test_they_are_judged_from_the_command_line(both, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    keep = "keep=kept.json"
    assert main(["judge", f"base={both[0]}", f"new={both[1]}", "out=run", keep]) == 0
    assert "lerobot" in capsys.readouterr().out
    assert (tmp_path / "run/report.png").exists()


def test_of_others_only_a_list_can_be_kept(both):
    require_free(both[1].parent / "kept.json", both[1])
    for name in ("kept.hdf5", "kept"):
        with pytest.raises(DataError, match="choose a name that ends in .json"):
            require_free(both[1].parent / name, both[1])


CLONE = "bc={widths: [8], members: 1}", "training={epochs: 1}", "operator=null"


def test_they_are_cloned_from_the_command_line(both, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = [f"dataset={both[1]}", *CLONE, "evaluation=null", "out=run"]
    assert main(["bc_lift", *given]) == 0
    assert (tmp_path / "run/checkpoint").is_dir()


def test_who_cannot_be_evaluated_is_told_before_the_training(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["bc_lift", f"dataset={OTHERS / 'lerobot'}", "obs=[state]", *CLONE]) == 2
    assert "does not say which environment it is from" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["lerobot", "minari"])
def test_they_are_recorded_for_the_viewer(tmp_path, name):
    path = OTHERS / name
    assert show.is_dataset(path)
    assert show.record(path, tmp_path / "x.rrd") == 2
    assert (tmp_path / "x.rrd").stat().st_size > 1000
    assert not show.is_dataset(tmp_path / "x.rrd") and not show.is_dataset(tmp_path / "none")
