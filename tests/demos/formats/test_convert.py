"""Conversions: round trips, what stops them, and what is left behind."""

import dataclasses
import json
from pathlib import Path

import h5py
import numpy as np
import pyarrow.parquet as parquet
import pytest

from demos.data.arrays import read
from demos.data.dataset import Dataset
from demos.formats import convert as converting
from demos.formats.convert import ConvertConfig, convert
from demos.formats.guess import open_source
from demos.formats.lerobot_write import LerobotWriter
from robolearn.__main__ import main
from robolearn.errors import DataError, UserError
from robolearn.types import ArraySpec, Spec

from ..conftest import assert_same

TARGETS = {"robomimic": "there.hdf5", "lerobot": "there", "minari": "there", "robolearn": "there"}
EXACT = [*((kind, "lossless") for kind in TARGETS), ("lerobot", "png")]


@pytest.mark.parametrize("kind, images", EXACT)
def test_there_and_back_is_the_same_to_the_last_bit(ours, tmp_path, kind, images):
    there = tmp_path / TARGETS[kind]
    done = convert(ours.path, there, ConvertConfig(format=kind, images=images, check=True))
    assert done.check.is_exact, done.check.lines()
    assert done.episodes == 4 and done.steps == 5 + 6 + 7 + 8
    convert(there, tmp_path / "back", ConvertConfig())
    back = Dataset.open(tmp_path / "back")
    assert back.interface == ours.interface and back.env_options == ours.env_options
    for mine, again in zip(ours.episodes(), back.episodes(), strict=True):
        again.metadata.pop("source", None)
        assert_same(mine, again)


@pytest.mark.parametrize("kind", TARGETS)
def test_records_names_and_outcomes_survive(vectors, tmp_path, kind):
    convert(vectors.path, tmp_path / TARGETS[kind], ConvertConfig(format=kind))
    convert(tmp_path / TARGETS[kind], tmp_path / "back", ConvertConfig())
    back = Dataset.open(tmp_path / "back")
    for mine, again in zip(vectors.episodes(), back.episodes(), strict=True):
        again.metadata.pop("source", None)
        assert_same(mine, again)
        np.testing.assert_array_equal(mine.records["sent_s"], again.records["sent_s"])
    assert back.names(success=True) == ["demo_1", "demo_2"]


def test_video_is_lossy_and_says_so(ours, tmp_path):
    done = convert(ours.path, tmp_path / "there", ConvertConfig(format="lerobot", check=True))
    assert list(done.check.different) == ["wrist/left"]
    assert any("not exact (lossy video): wrist/left" in line for line in done.lines())
    assert done.check.is_kept and not done.check.is_exact


def test_the_last_frame_of_ours_is_lossy_too(ours, tmp_path):
    done = convert(ours.path, tmp_path / "there", ConvertConfig(images="video", check=True))
    assert list(done.check.different) == ["wrist/left", "wrist/left after the last action"]
    assert done.check.is_kept


def test_what_a_format_cannot_hold_is_said_and_kept_beside(ours, tmp_path):
    done = convert(ours.path, tmp_path / "there", ConvertConfig(format="lerobot", images="png"))
    told = "\n".join(done.lines())
    assert "the observation after the last action: robolearn/rest.hdf5" in told
    assert "simulator states, reward terms, records, metadata: robolearn/rest.hdf5" in told
    assert "names and masks of demonstrations: nowhere" in told


# LeRobot's layout, as formats that others read have it


@pytest.fixture
def lerobot(ours, tmp_path):
    """Give the dataset as LeRobot's."""
    convert(ours.path, tmp_path / "lerobot", ConvertConfig(format="lerobot", images="lossless"))
    return tmp_path / "lerobot"


def test_lerobots_counts_and_features(lerobot):
    info = json.loads((lerobot / "meta/info.json").read_text())
    assert (info["codebase_version"], info["fps"], info["total_episodes"]) == ("v3.0", 20, 4)
    assert info["total_frames"] == 26 and info["splits"] == {"train": "0:4"}
    kinds = {name: feature["dtype"] for name, feature in info["features"].items()}
    assert kinds["observation.state"] == kinds["action"] == kinds["timestamp"] == "float32"
    assert kinds["observation.images.wrist.left"] == "video"
    assert kinds["index"] == kinds["task_index"] == "int64" and kinds["next.done"] == "bool"
    assert info["features"]["observation.state"]["names"] == ["position", "goal"]
    assert not any("/" in name for name in kinds)


def test_lerobots_table_has_a_row_group_an_episode_and_goes_on_in_time(lerobot):
    file = parquet.ParquetFile(lerobot / "data/chunk-000/file-000.parquet")
    lengths = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    assert lengths == [5, 6, 7, 8]
    table = file.read()
    assert table.schema.field("observation.state").type.list_size == 2
    assert str(table.schema.field("action").type) == "float"  # shape (1,)
    np.testing.assert_array_equal(table["index"].to_numpy(), np.arange(26))
    frames = np.concatenate([np.arange(n) for n in lengths])
    np.testing.assert_array_equal(table["frame_index"].to_numpy(), frames)
    np.testing.assert_allclose(table["timestamp"].to_numpy(), frames / 20, atol=1e-6)
    done = np.flatnonzero(table["next.done"].to_numpy())
    np.testing.assert_array_equal(done, np.cumsum(lengths) - 1)


def test_lerobots_tasks_have_the_index_that_pandas_reads(lerobot):
    schema = parquet.read_schema(lerobot / "meta/tasks.parquet")
    assert json.loads(schema.metadata[b"pandas"])["index_columns"] == ["task"]


def test_lerobots_index_says_where_each_episode_is(lerobot):
    rows = parquet.read_table(lerobot / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert [row["dataset_from_index"] for row in rows] == [0, 5, 11, 18]
    assert [row["dataset_to_index"] for row in rows] == [5, 11, 18, 26]
    camera = "videos/observation.images.wrist.left"
    assert [row[f"{camera}/to_timestamp"] for row in rows] == [0.25, 0.3, 0.35, 0.4]
    assert np.shape(rows[0]["stats/observation.images.wrist.left/mean"]) == (3, 1, 1)
    assert {f"stats/action/q{q}" for q in ("01", "10", "50", "90", "99")} <= rows[0].keys()


def test_statistics_of_all_are_those_of_all_rows(lerobot, ours):
    stats = json.loads((lerobot / "meta/stats.json").read_text())["action"]
    actions = np.concatenate([e.actions for e in ours.episodes()]).astype(np.float64)
    assert stats["count"] == [26]
    np.testing.assert_allclose(stats["mean"], actions.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(stats["std"], actions.std(axis=0), rtol=1e-9)
    assert stats["min"] == actions.min(axis=0).tolist()


# robomimic's and Minari's


def test_robomimics_keys_masks_and_quaternions(vectors, tmp_path):
    convert(vectors.path, tmp_path / "there.hdf5", ConvertConfig())
    with h5py.File(tmp_path / "there.hdf5") as file:
        demo, episode = file["data/demo_1"], vectors.load("demo_1")
        assert file["data"].attrs["total"] == 6 + 7 + 8
        assert demo.attrs["num_samples"] == 7 and demo["dones"][()].tolist() == [0] * 6 + [1]
        state = episode.observations["state"]
        np.testing.assert_array_equal(demo["obs/robot0_eef_pos"], state[:-1, :3])
        np.testing.assert_array_equal(demo["next_obs/robot0_eef_quat"], state[1:, [4, 5, 6, 3]])
        assert file["mask/operator_ann"][()].tolist() == [b"demo_0", b"demo_1", b"demo_2"]
        assert file["mask/success"][()].tolist() == [b"demo_1", b"demo_2"]
    assert read(tmp_path / "there.hdf5").names == ("demo_0", "demo_1", "demo_2")


def test_minaris_spaces_and_counts(vectors, tmp_path):
    convert(vectors.path, tmp_path / "reach", ConvertConfig(format="minari"))
    about = json.loads((tmp_path / "reach/data/metadata.json").read_text())
    assert about["dataset_id"] == "reach-v0" and about["total_steps"] == 21
    assert json.loads(about["action_space"])["low"] == [-1.0, -1.0]
    with h5py.File(tmp_path / "reach/data/main_data.hdf5") as file:
        assert file["episode_2"].attrs["total_steps"] == 8
        assert file["episode_2/observations/state"].shape == (9, 7)
        assert file["episode_2/infos/success"][()].tolist() == [False] * 8 + [True]


# stops, and what is in the way


@pytest.mark.parametrize("kind", TARGETS)
def test_a_stopped_conversion_goes_on_where_it_was(ours, tmp_path, monkeypatch, kind):
    there, config = tmp_path / TARGETS[kind], ConvertConfig(format=kind, images="lossless")
    written = []
    original = converting._Work.write

    def write(self, writer, number, episode):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(number)
        original(self, writer, number, episode)

    monkeypatch.setattr(converting._Work, "write", write)
    with pytest.raises(KeyboardInterrupt):
        convert(ours.path, there, config)
    if kind == "robomimic":
        assert not there.exists()
    else:
        assert [path.name for path in there.iterdir()] == [".partial"]
        with pytest.raises(DataError, match="is no dataset"):
            open_source(there)
    written.clear()
    monkeypatch.setattr(converting._Work, "write", original)
    done = convert(ours.path, there, config)
    assert done.episodes == 4 and done.steps == 26
    assert len(open_source(there).names) == 4
    assert not list(tmp_path.rglob("*.partial"))


def test_going_on_writes_only_what_is_missing(ours, tmp_path, monkeypatch):
    convert(ours.path, tmp_path / "whole", ConvertConfig(format="minari"))
    original, calls = converting._Work.write, []

    def write(self, writer, number, episode):
        calls.append(number)
        if len(calls) == 3:
            raise DataError("disk full")
        original(self, writer, number, episode)

    monkeypatch.setattr(converting._Work, "write", write)
    with pytest.raises(DataError, match="disk full"):
        convert(ours.path, tmp_path / "there", ConvertConfig(format="minari"))
    convert(ours.path, tmp_path / "there", ConvertConfig(format="minari"))
    assert calls == [0, 1, 2, 2, 3]
    same = [(tmp_path / name / "data/metadata.json").read_text() for name in ("whole", "there")]
    assert same[0].replace("whole-v0", "there-v0") == same[1]


def test_an_unfinished_conversion_of_something_else_is_not_taken_up(ours, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(converting._Work, "publish", stop)
        with pytest.raises(KeyboardInterrupt):
            convert(ours.path, tmp_path / "there", ConvertConfig(format="minari"))
    with pytest.raises(DataError, match="an unfinished conversion of something else"):
        convert(ours.path, tmp_path / "there", ConvertConfig(format="lerobot"))


def test_a_file_that_appeared_meanwhile_is_not_written_over(ours, tmp_path, monkeypatch):
    there = tmp_path / "there.hdf5"

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(converting._Work, "publish", stop)
        with pytest.raises(KeyboardInterrupt):
            convert(ours.path, there, ConvertConfig())
    there.write_text("mine")
    with pytest.raises(DataError, match="is there already"):
        convert(ours.path, there, ConvertConfig())
    assert there.read_text() == "mine"


def test_a_power_cut_leaves_an_empty_count_and_costs_that_part_alone(ours, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    config = ConvertConfig(format="lerobot", images="png")
    with monkeypatch.context() as patched:
        patched.setattr(converting._Work, "publish", stop)
        with pytest.raises(KeyboardInterrupt):
            convert(ours.path, tmp_path / "there", config)
    (tmp_path / "there/.partial/parts/000002.steps").write_text("")
    assert convert(ours.path, tmp_path / "there", config).steps == 26


def test_what_is_there_is_left_alone(ours, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there/mine.txt").write_text("mine")
    for target in (tmp_path / "there", ours.path, ours.path / "inside", tmp_path):
        with pytest.raises(DataError, match="is there already|lie in each other"):
            convert(ours.path, target, ConvertConfig(format="minari"))
    assert [p.name for p in (tmp_path / "there").iterdir()] == ["mine.txt"]


def _interrupt(*_):
    raise KeyboardInterrupt


def test_an_episode_that_cannot_be_read_stops_it_or_is_left_out(vectors, tmp_path, monkeypatch):
    there = tmp_path / "there.hdf5"
    convert(vectors.path, there, ConvertConfig())
    with h5py.File(there, "r+") as file:
        file["data/demo_1/obs/state"][2, 3] = np.nan
    source = tmp_path / "broken.hdf5"
    with h5py.File(there) as file, h5py.File(source, "w") as broken:
        file.copy("data", broken)
        for demo in broken["data"].values():
            del demo["robolearn"]
    with pytest.raises(DataError, match=r"demo_1: state is not finite at step 2; skip=true"):
        convert(source, tmp_path / "back", ConvertConfig())
    assert {path.name for path in (tmp_path / "back").iterdir()} == {".partial"}
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(converting._Work, "publish", _interrupt)
        convert(source, tmp_path / "back", ConvertConfig(skip=True))
    with pytest.raises(DataError, match=r"demo_1: state is not finite"):
        convert(source, tmp_path / "back", ConvertConfig())  # what was left out then is not now
    done = convert(source, tmp_path / "back", ConvertConfig(skip=True))
    assert done.episodes == 2 and list(done.skipped) == ["demo_1"]
    assert Dataset.open(tmp_path / "back").names() == ["demo_0", "demo_2"]


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["ours", "there", "format=minary"], "'format=minary'"),
        (["ours", "there", "chek=true"], "unknown key 'chek'; did you mean 'check'"),
        (["ours"], "expected: robolearn convert SRC DST"),
        (["our", "there"], "our: no such file or folder; did you mean 'ours'?"),
        (["ours", "there.hdf5", "format=lerobot"], "format=lerobot is written to a folder"),
        (["ours", "there", "format=robomimic"], "a name that ends in .hdf5"),
    ],
)
def test_the_command_line_says_what_is_wrong(ours, tmp_path, monkeypatch, capsys, arguments, told):
    monkeypatch.chdir(tmp_path)
    assert main(["convert", *arguments]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1 and told in error[0]
    assert {path.name for path in tmp_path.iterdir()} == {"ours"}


def test_the_command_line_converts(ours, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["convert", "ours", "there", "format=minari", "check=true"]) == 0
    assert "read back: 4 episodes; exact: actions" in capsys.readouterr().out


def test_a_check_that_finds_a_difference_is_told_by_the_exit_code(
    ours, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    original = converting.guess.open_source

    def spoilt(path, reading=None):
        source = original(path, reading)
        if Path(path).name == "there":
            load = source.load
            source.load = lambda name: dataclasses.replace(
                load(name), rewards=load(name).rewards + 1
            )
        return source

    monkeypatch.setattr(converting.guess, "open_source", spoilt)
    assert main(["convert", "ours", "there", "format=lerobot", "check=true"]) == 1
    told = capsys.readouterr().out
    assert "not exact: rewards, by 1 at most" in told and "not exact (lossy video)" in told


def test_a_rate_that_goes_before_the_sources_is_said(ours, tmp_path):
    done = convert(ours.path, tmp_path / "there", ConvertConfig(format="lerobot", fps=10))
    assert "the rate of 20 Hz that the source states: robolearn/rest.hdf5; fps=10 goes before" in [
        line.strip() for line in done.lines()
    ]
    same = convert(ours.path, tmp_path / "same", ConvertConfig(format="lerobot", fps=20))
    assert not any("goes before" in line for line in same.lines())


def test_a_rate_that_lerobot_does_not_know(ours, tmp_path):
    with pytest.raises(DataError, match="LeRobot knows whole frames a second, not 12.5"):
        convert(ours.path, tmp_path / "there", ConvertConfig(format="lerobot", fps=12.5))
    assert not (tmp_path / "there").exists()


@pytest.mark.parametrize("kind", ["robomimic", "minari"])
def test_what_keeps_every_frame_cannot_keep_video(ours, tmp_path, kind):
    with pytest.raises(DataError, match=f"images=video: {kind} keeps every frame as it is"):
        convert(ours.path, tmp_path / TARGETS[kind], ConvertConfig(format=kind, images="video"))
    assert not list(tmp_path.glob("**/.*partial"))


def test_images_of_an_odd_size_are_no_lossy_video(tmp_path):
    spec = Spec("x/Y", {"front": ArraySpec((33, 35, 3), "uint8")}, ArraySpec((1,)), 0.05)
    with pytest.raises(DataError, match="front: images of 33 x 35 cannot be lossy h264"):
        LerobotWriter(spec, {}, "video", None)
    LerobotWriter(spec, {}, "lossless", None)


def test_settings_are_checked():
    with pytest.raises(UserError, match="fps"):
        ConvertConfig(fps=-1.0)
