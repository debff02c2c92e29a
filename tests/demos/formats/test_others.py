"""What others' own tools wrote (benchmarks/others.py) is read, and comes back as it was."""

import dataclasses
import json
import shutil

import h5py
import numpy as np
import pyarrow
import pyarrow.parquet as parquet
import pytest

from demos.data.dataset import Dataset
from demos.formats.contract import Reading
from demos.formats.convert import ConvertConfig, convert
from demos.formats.foreign import Foreign, open_dataset
from demos.formats.guess import format_of, open_source
from demos.formats.parts import link
from demos.formats.robomimic_write import RobomimicWriter
from robolearn.errors import DataError
from robolearn.types import ArraySpec

from ..conftest import assert_same
from .conftest import OTHERS

SIZE, FPS = 64, 10  # of what benchmarks/others.py writes


def picture(i, t):
    """Draw what benchmarks/others.py draws."""
    image = np.full((SIZE, SIZE, 3), 40, np.uint8)
    image[16:32, 4 * t : 4 * t + 16, i] = 220
    return image


def test_formats_are_guessed():
    found = {path.name: format_of(path) for path in OTHERS.iterdir()}
    assert found == {"lerobot": "lerobot", "minari": "minari", "raw_lift.hdf5": "robomimic"}


def test_lerobots_dataset():
    source = open_source(OTHERS / "lerobot")
    assert source.interface.robot == "so101" and source.interface.period_s == 1 / FPS
    assert source.interface.observations["state"].names == ("x", "y", "z", "qw", "qx", "qy", "qz")
    assert source.interface.action.names == ("shoulder.pos", "gripper.pos")
    assert source.notes == (
        "actions: its stats (least and greatest of the data) says [-40, 0] to [40, 13]; "
        "that is [-1, 1] here",
    )
    for i, name in enumerate(source.names):
        episode = source.load(name)
        steps = np.arange(8 + i)
        assert len(episode) == 8 + i and episode.metadata["task"] == f"reach {i}"
        given = np.stack([10 * steps - 40, 5 * i + steps], axis=1)
        np.testing.assert_array_equal(episode.records["action_as_given"], given)
        np.testing.assert_allclose(episode.actions[:, 0], (10 * steps - 40) / 40, atol=1e-6)
        np.testing.assert_allclose(episode.observations["state"][:-1, 3], np.cos(steps / 10))
        frames = episode.observations["front"]  # AV1, lossy: and yet each is its own
        for t in steps:
            gaps = [np.abs(frames[t].astype(int) - picture(i, at)).mean() for at in steps]
            assert int(np.argmin(gaps)) == t and min(gaps) < 6


def test_lerobots_dataset_goes_back_as_it_came(tmp_path):
    done = convert(
        OTHERS / "lerobot",
        tmp_path / "x",
        ConvertConfig(format="lerobot", images="png", check=True),
    )
    assert done.check.is_exact
    theirs, ours = (
        parquet.read_table(folder / "data/chunk-000/file-000.parquet")
        for folder in (OTHERS / "lerobot", tmp_path / "x")
    )
    for name in ("action", "index", "frame_index", "episode_index", "timestamp", "task_index"):
        assert theirs[name].to_pylist() == ours[name].to_pylist(), name
        assert theirs.schema.field(name).type == ours.schema.field(name).type, name
    as_given = ours["observation.state_as_given"].to_pylist()
    assert theirs["observation.state"].to_pylist() == as_given
    infos = [
        json.loads((folder / "meta/info.json").read_text())
        for folder in (OTHERS / "lerobot", tmp_path / "x")
    ]
    for key in ("codebase_version", "fps", "total_episodes", "total_frames", "robot_type"):
        assert infos[0][key] == infos[1][key]
    columns = [
        set(parquet.read_schema(folder / "meta/episodes/chunk-000/file-000.parquet").names)
        for folder in (OTHERS / "lerobot", tmp_path / "x")
    ]
    of_theirs = {name for name in columns[0] if "observation" not in name}
    assert of_theirs <= columns[1], sorted(of_theirs - columns[1])


def v2(folder):
    """Lay LeRobot's dataset out as v2.1 did: a table and a video for each episode, JSON lines."""
    source = OTHERS / "lerobot"
    info = json.loads((source / "meta/info.json").read_text())
    chunk = "chunk-{episode_chunk:03d}"
    info |= {
        "codebase_version": "v2.1",
        "data_path": f"data/{chunk}/episode_{{episode_index:06d}}.parquet",
        "video_path": f"videos/{chunk}/{{video_key}}/episode_{{episode_index:06d}}.mp4",
    }
    info["features"]["observation.images.front"]["dtype"] = "image"  # frames are in the table
    (folder / "meta").mkdir(parents=True)
    (folder / "data/chunk-000").mkdir(parents=True)
    table = parquet.read_table(source / "data/chunk-000/file-000.parquet")
    del info["features"]["observation.images.front"]
    lines, stats = [], []
    for number, (first, length) in enumerate(((0, 8), (8, 9))):
        path = folder / f"data/chunk-000/episode_{number:06d}.parquet"
        parquet.write_table(table.slice(first, length), path)
        tasks = [f"reach {number}"]
        lines.append({"episode_index": number, "tasks": tasks, "length": length})
        action = {"min": [-40.0, 0.0], "max": [40.0, 13.0]}
        stats.append({"episode_index": number, "stats": {"action": action}})
    for name, rows in (("episodes", lines), ("episodes_stats", stats)):
        text = "\n".join(json.dumps(row) for row in rows)
        (folder / f"meta/{name}.jsonl").write_text(text + "\n")
    (folder / "meta/info.json").write_text(json.dumps(info))
    return folder


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda stats: {}, "beyond .-1, 1.: convert, judge and report take limits="),
        (lambda stats: stats | {"action": {"min": [-40.0]}}, "does not say the least and greatest"),
        (lambda stats: stats | {"action": stats["action"] | {"min": [-40]}}, "of 2 action entries"),
        (
            lambda stats: stats | {"action": stats["action"] | {"min": [None] * 2}},
            "beyond",
        ),
    ],
)
def test_statistics_that_say_no_range_are_told_and_limits_go_before(tmp_path, change, said):
    path = shutil.copytree(OTHERS / "lerobot", tmp_path / "x")
    stats = path / "meta/stats.json"
    stats.write_text(json.dumps(change(json.loads(stats.read_text()))))
    with pytest.raises(DataError, match=said):
        open_source(path).load("demo_0")
    source = open_source(path, Reading(limits=(-40.0, 40.0)))
    np.testing.assert_array_equal(source.load("demo_0").actions[0], np.float32([-1, 0]))


@pytest.mark.parametrize("name", ["lerobot", "minari"])
def test_settings_of_what_is_computed_are_named_where_nothing_is(name):
    source = open_source(OTHERS / name, Reading(cameras=("front",)))
    said = "not used: cameras=; only observations of robosuite's files are computed"
    assert said in source.notes


def test_what_somebody_recorded_on_into_ours_is_named(vectors, tmp_path):
    convert(vectors.path, tmp_path / "x", ConvertConfig(format="lerobot"))
    with h5py.File(tmp_path / "x/robolearn/rest.hdf5", "r+") as file:
        del file["demo_2"]
    with pytest.raises(DataError, match="rest.hdf5 has no group 'demo_2'$"):
        open_source(tmp_path / "x").load("demo_2")


def test_rows_that_one_group_holds_of_many_episodes_are_read_once(tmp_path, monkeypatch):
    path = shutil.copytree(OTHERS / "lerobot", tmp_path / "x")
    data = path / "data/chunk-000/file-000.parquet"
    parquet.write_table(parquet.read_table(data), data)
    whole, source = open_source(OTHERS / "lerobot"), open_source(path)
    before = [whole.load(name) for name in whole.names]
    monkeypatch.setattr(parquet.ParquetFile, "read_row_groups", None)
    for name, right in zip(source.names, before, strict=True):
        assert_same(source.load(name), right)


def test_the_layout_before_v3_gives_the_same(tmp_path):
    old, new = open_source(v2(tmp_path / "old")), open_source(OTHERS / "lerobot")
    assert old.names == new.names
    for name in old.names:
        theirs = new.load(name, images=False)
        for key, array in old.load(name).observations.items():
            np.testing.assert_array_equal(array, theirs.observations[key])
        np.testing.assert_array_equal(old.load(name).actions, theirs.actions)


@pytest.mark.parametrize(
    "names, told",
    [
        (["dx", "grip"], ("dx", "grip")),
        ({"motors": ["dx", "grip"]}, ("dx", "grip")),
        ({"arm": ["dx"], "hand": ["grip"]}, ("dx", "grip")),
        ({"grip": 1, "dx": 0}, ("dx", "grip")),
        ({"grip": 1, "dx": 1}, ()),
        ({"motors": ["dx"]}, ()),
        (None, ()),
    ],
)
def test_names_of_entries_stand_in_several_ways(tmp_path, names, told):
    path = shutil.copytree(OTHERS / "lerobot", tmp_path / "x")
    info = json.loads((path / "meta/info.json").read_text())
    info["features"]["action"]["names"] = names
    (path / "meta/info.json").write_text(json.dumps(info))
    assert open_source(path).interface.action.names == told


def test_older_datasets_say_channels_first(tmp_path):
    path = shutil.copytree(OTHERS / "lerobot", tmp_path / "x")
    info = json.loads((path / "meta/info.json").read_text())
    info["features"]["observation.images.front"]["shape"] = [3, SIZE, SIZE]
    info["features"]["observation.images.front"]["names"] = ["channel", "height", "width"]
    (path / "meta/info.json").write_text(json.dumps(info))
    assert open_source(path).load("demo_0").observations["front"].shape == (9, SIZE, SIZE, 3)


def test_a_snapshot_in_a_hubs_cache_is_links_to_its_blobs(tmp_path):
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots/abc"
    blobs.mkdir()
    for i, file in enumerate(p for p in (OTHERS / "lerobot").rglob("*") if p.is_file()):
        link = snapshot / file.relative_to(OTHERS / "lerobot")
        link.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, blobs / str(i))
        link.symlink_to(blobs / str(i))
    assert len(open_source(snapshot).load("demo_1")) == 9


def test_minaris_dataset():
    source = open_source(OTHERS / "minari")
    assert source.interface.environment == "gym/Pendulum-v1"
    assert source.interface.observations["state"].shape == (3,)
    with h5py.File(OTHERS / "minari/data/main_data.hdf5") as file:
        for i, name in enumerate(source.names):
            episode = source.load(name)
            there = file[f"episode_{i}"]
            np.testing.assert_array_equal(
                episode.observations["observation"], there["observations"]
            )
            np.testing.assert_array_equal(episode.actions, np.float32(there["actions"][()] / 2.0))
            np.testing.assert_array_equal(episode.rewards, np.float32(there["rewards"]))
            assert episode.truncated and not episode.terminated
            assert episode.metadata["not_told"] == ["success"]


def test_minaris_dataset_goes_back_as_it_came(tmp_path):
    convert(OTHERS / "minari", tmp_path / "x", ConvertConfig(format="minari"))
    with (
        h5py.File(OTHERS / "minari/data/main_data.hdf5") as theirs,
        h5py.File(tmp_path / "x/data/main_data.hdf5") as ours,
    ):
        for name in theirs:
            for key in ("actions", "terminations", "truncations"):
                assert theirs[name][key].dtype == ours[name][key].dtype
                np.testing.assert_array_equal(theirs[name][key], ours[name][key])
            shown = ours[name]["observations/observation"]
            np.testing.assert_array_equal(theirs[name]["observations"], shown)
    about = json.loads((tmp_path / "x/data/metadata.json").read_text())
    assert json.loads(about["action_space"])["high"] == [2.0]


def test_others_are_trained_on_as_they_lie():
    dataset = open_dataset(OTHERS / "minari")
    data = dataset.transitions()
    assert data["observations"]["state"].shape == (16, 3) and data["actions"].shape == (16, 1)
    assert data["episode"].tolist() == [0] * 8 + [1] * 8
    assert data["step"].tolist() == [*range(8)] * 2 and not data["terminated"].any()
    assert dataset.names(success=True) == ["demo_0", "demo_1"]
    with pytest.raises(DataError, match="has no operator 'ann'"):
        dataset.names(operator="ann")
    with pytest.raises(DataError, match="has no mask 'kept'"):
        dataset.transitions(mask="kept")


def test_what_is_too_large_is_to_be_converted_first(monkeypatch):
    monkeypatch.setattr("demos.formats.foreign.MOST_BYTES", 300)
    with pytest.raises(DataError, match=r"too large to be used as it lies: robolearn convert"):
        Foreign(OTHERS / "minari")


def test_robomimics_files_are_trained_on_by_operator(vectors, tmp_path):
    convert(vectors.path, tmp_path / "x.hdf5", ConvertConfig())
    with h5py.File(tmp_path / "x.hdf5", "r+") as file:  # as robomimic's own: nothing of ours
        del file.attrs["robolearn"]
        for demo in file["data"].values():
            del demo["robolearn"], demo["obs/state"], demo["next_obs/state"]
        del file["mask"]
        file["mask/better"] = np.array(["demo_0"], "S")
        file["mask/worse"] = np.array(["demo_1", "demo_2"], "S")
    dataset = open_dataset(tmp_path / "x.hdf5")
    assert dataset.names(operator="worse") == ["demo_1", "demo_2"]
    assert dataset.names(mask="better") == ["demo_0"]
    state = dataset.interface.observations["state"]
    assert state.names[-4:] == tuple(f"robot0_eef_quat_{axis}" for axis in "wxyz")
    mine, theirs = vectors.load("demo_1"), dataset.load("demo_1")
    np.testing.assert_array_equal(
        theirs.observations["robot0_eef_quat"][:, [3, 0, 1, 2]], mine.observations["state"][:, 3:]
    )


def others_own(dataset, path, **env_args):
    """Write a dataset of ours as robomimic's own file would be: nothing of ours in it."""
    convert(dataset.path, path, ConvertConfig())
    with h5py.File(path, "r+") as file:
        del file.attrs["robolearn"]
        for demo in file["data"].values():
            del demo["robolearn"]
        if env_args:
            file["data"].attrs["env_args"] = json.dumps(env_args)
    return path


@pytest.mark.parametrize("target", ["there", "there.hdf5"])
def test_a_rate_that_a_robosuite_file_does_not_say_stays_unknown(vectors, tmp_path, target):
    arguments = {"env_name": "Lift", "type": 1, "env_kwargs": {"robots": ["Panda"]}}
    source = others_own(vectors, tmp_path / "x.hdf5", **arguments)
    convert(source, tmp_path / target, ConvertConfig())
    again = open_source(tmp_path / target)
    assert again.interface.environment == "robosuite/Lift" and again.interface.period_s == 0
    index = tmp_path / "there/index.hdf5" if target == "there" else tmp_path / target
    with h5py.File(index) as file:
        assert "control_freq" not in json.loads(file["data"].attrs["env_args"])["env_kwargs"]


# what was asked of the actions


def wide(vectors, tmp_path):
    """Give a robomimic file whose first actions are 2 and -3."""
    source = others_own(vectors, tmp_path / "wide.hdf5")
    with h5py.File(source, "r+") as file:
        file["data/demo_0/actions"][0] = [2.0, -3.0]
    return source


@pytest.mark.parametrize(
    "asked, written", [({"clip": True}, [1.0, -1.0]), ({"limits": ((-4,), (4,))}, [0.5, -0.75])]
)
def test_what_was_asked_of_the_actions_is_what_is_written(vectors, tmp_path, asked, written):
    there = tmp_path / "there.hdf5"
    done = convert(wide(vectors, tmp_path), there, ConvertConfig(check=True, **asked))
    assert done.check.is_exact
    with h5py.File(there) as file:
        assert file["data/demo_0/actions"][0].tolist() == written
        assert np.abs(file["data/demo_1/actions"]).max() <= 1.0
        kept = file["data/demo_0/robolearn/records/action_as_given"]
        assert kept[0].tolist() == [2.0, -3.0]
    assert done.skipped == {} and open_source(there).load("demo_0").actions[0].tolist() == written


def test_a_minari_dataset_says_the_range_of_the_actions_that_it_holds(tmp_path):
    config = ConvertConfig(format="minari")
    convert(OTHERS / "lerobot", tmp_path / "x", config)
    about = json.loads((tmp_path / "x/data/metadata.json").read_text())
    space = json.loads(about["action_space"])
    assert (space["low"], space["high"]) == ([-1.0, -1.0], [1.0, 1.0])
    convert(OTHERS / "minari", tmp_path / "y", ConvertConfig(format="minari", clip=True))
    about = json.loads((tmp_path / "y/data/metadata.json").read_text())
    assert json.loads(about["action_space"])["high"] == [1.0]


def test_a_dataset_of_which_a_part_came_from_minari_has_one_range(tmp_path):
    convert(OTHERS / "minari", tmp_path / "mixed", ConvertConfig())
    mixed = Dataset.open(tmp_path / "mixed")
    mine = dataclasses.replace(mixed.load("demo_0"), metadata={}, records={})
    mixed.append(mine)
    mixed.flush()
    config = ConvertConfig(format="minari", check=True)
    done = convert(mixed.path, tmp_path / "there", config)
    assert done.check.is_exact and any("not of all episodes" in line for line in done.lines())
    about = json.loads((tmp_path / "there/data/metadata.json").read_text())
    assert json.loads(about["action_space"])["high"] == [1.0]
    with h5py.File(tmp_path / "there/data/main_data.hdf5") as file:
        for number in range(3):
            assert np.abs(file[f"episode_{number}/actions"]).max() <= 1.0
        given = file["episode_0/robolearn/records/action_as_given"][()]
    np.testing.assert_array_equal(given, mixed.load("demo_0").records["action_as_given"])


def test_actions_that_came_as_doubles_stay_doubles_and_are_said_to_be(tmp_path):
    path = shutil.copytree(OTHERS / "lerobot", tmp_path / "x")
    file = path / "data/chunk-000/file-000.parquet"
    table = parquet.read_table(file)
    rows = [[0.0, 1.0]] * 8 + [[0.1, 0.3]] * 9  # those of the first are floats' as well
    column = pyarrow.array(rows, pyarrow.list_(pyarrow.float64(), 2))
    parquet.write_table(
        table.set_column(table.column_names.index("action"), "action", column), file
    )
    (path / "meta/stats.json").unlink()
    config = ConvertConfig(format="lerobot", images="png", check=True)
    assert convert(path, tmp_path / "y", config).check.is_exact
    info = json.loads((tmp_path / "y/meta/info.json").read_text())
    assert info["features"]["action"]["dtype"] == "float64"
    again = parquet.read_table(tmp_path / "y/data/chunk-000/file-000.parquet")["action"]
    assert again.to_pylist() == rows


# outcomes and ends


@pytest.mark.parametrize(
    "masks, outcomes",
    [
        ({"failure": ["demo_2"]}, [False, True, False]),  # demo_1 by its rewards
        ({"success": ["demo_0"]}, [True, False, False]),
        ({"success": []}, [False, False, False]),
        ({"success": ["demo_0"], "failure": ["demo_2"]}, [True, True, False]),
    ],
)
def test_masks_say_of_whom_they_name(vectors, tmp_path, masks, outcomes):
    source = others_own(vectors, tmp_path / "x.hdf5")
    with h5py.File(source, "r+") as file:
        del file["mask"]
        for name, keys in masks.items():
            file[f"mask/{name}"] = np.array(keys, "S")
        for name in file["data"]:
            file[f"data/{name}/rewards"][:] = 0
        file["data/demo_1/rewards"][-1] = 1
    opened = open_source(source)
    assert [opened.load(name).success for name in opened.names] == outcomes
    assert "terminated" in opened.load("demo_0").metadata["not_told"]


def test_lerobots_table_says_whether_the_time_or_the_task_was_over(vectors, tmp_path):
    convert(vectors.path, tmp_path / "x", ConvertConfig(format="lerobot"))
    shutil.rmtree(tmp_path / "x/robolearn")
    for mine, again in zip(vectors.episodes(), map(open_source(tmp_path / "x").load,
                           ("demo_0", "demo_1", "demo_2")), strict=True):  # fmt: skip
        assert (mine.terminated, mine.truncated) == (again.terminated, again.truncated)
        assert "terminated" not in again.metadata["not_told"]


# names that would be one


def test_demonstrations_of_the_same_number_are_refused(vectors, tmp_path):
    source = others_own(vectors, tmp_path / "x.hdf5")
    with h5py.File(source, "r+") as file:
        file.move("data/demo_2", "data/demo_01")
    with pytest.raises(DataError, match="demo_01 and demo_1 are the same number|demo_1 and demo_0"):
        open_source(source)


def test_a_part_is_never_written_over(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
    with pytest.raises(FileExistsError):
        link(tmp_path / "one", tmp_path / "two")
    assert (tmp_path / "two").read_text() == "two"


def test_observations_that_robomimic_would_call_the_same_are_refused(vectors):
    vector = ArraySpec((2,))
    spec = dataclasses.replace(vectors.interface, observations={"a/b": vector, "a_b": vector})
    with pytest.raises(DataError, match="two observations have the same name once '/' is '_'"):
        RobomimicWriter(spec, {})


def test_a_camera_and_a_vector_of_one_name_stay_two(tmp_path):
    path = shutil.copytree(OTHERS / "lerobot", tmp_path / "x")
    info = json.loads((path / "meta/info.json").read_text())
    info["features"]["observation.front"] = {"dtype": "float32", "shape": [2], "names": None}
    (path / "meta/info.json").write_text(json.dumps(info))
    file = path / "data/chunk-000/file-000.parquet"
    table = parquet.read_table(file)
    table = table.append_column("observation.front", table["action"])
    parquet.write_table(table, file)
    episode = open_source(path).load("demo_0")
    assert episode.observations["front"].shape == (9, 2)
    assert episode.observations["images.front"].shape == (9, SIZE, SIZE, 3)


def test_an_episode_of_several_tasks_keeps_them_all(tmp_path):
    path = shutil.copytree(OTHERS / "lerobot", tmp_path / "x")
    file = path / "meta/episodes/chunk-000/file-000.parquet"
    table = parquet.read_table(file)
    at = table.column_names.index("tasks")
    column = pyarrow.array([["reach 0", "lift"], ["reach 1"]])
    parquet.write_table(table.set_column(at, "tasks", column), file)
    source = open_source(path)
    assert any("demo_0 has several tasks" in note for note in source.notes)
    assert source.load("demo_0", images=False).metadata["tasks"] == ["reach 0", "lift"]
    assert "tasks" not in source.load("demo_1", images=False).metadata


def test_a_folder_without_a_dataset_names_what_would_be_one(tmp_path):
    shutil.copytree(OTHERS / "minari", tmp_path / "x")
    (tmp_path / "x/data/metadata.json").unlink()
    (tmp_path / "x/data/main_data.hdf5").unlink()
    with pytest.raises(DataError, match="is no dataset: it has none of dataset.json"):
        open_source(tmp_path / "x")


def test_episodes_of_ours_are_opened_as_they_are(vectors):
    assert isinstance(open_dataset(vectors.path), Dataset)


def test_the_reading_settles_what_makes_the_state():
    source = open_source(OTHERS / "lerobot", Reading(limits=((-100, -20), (100, 20))))
    assert source.load("demo_0", images=False).actions[0].tolist() == [np.float32(-0.4), 0.0]
