"""Doctor of others' datasets: what is broken, in words; LeRobot's after a crash are repaired."""

import dataclasses
import json
import re
import shutil

import h5py
import numpy as np
import pyarrow
import pyarrow.parquet as parquet
import pytest

from demos.data.dataset import Dataset
from demos.formats import lerobot_doctor, lerobot_repair
from demos.formats.convert import ConvertConfig, convert
from demos.formats.doctor import diagnose
from demos.formats.guess import open_source
from robolearn.__main__ import main
from robolearn.errors import DataError

from ..conftest import CAMERA, assert_same, with_camera
from .conftest import OTHERS

INDEX = "meta/episodes/chunk-000/file-000.parquet"
DATA = "data/chunk-000/file-000.parquet"
CAMERA_KEY = "observation.images.wrist.left"


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
    """Give six episodes of 4 to 9 steps as LeRobot's, each frame of its own."""
    folder = tmp_path_factory.mktemp("six")
    dataset = Dataset.create(folder / "ours", CAMERA)
    for i in range(6):
        dataset.append(with_camera(i, steps=4 + i))
    dataset.flush()
    config = ConvertConfig(format="lerobot", images="lossless")
    convert(dataset.path, folder / "lerobot", config)
    shutil.rmtree(folder / "lerobot/robolearn")  # as LeRobot's own
    return folder / "lerobot"


@pytest.fixture
def six(healthy, tmp_path):
    """Give a copy to spoil."""
    return shutil.copytree(healthy, tmp_path / "six")


def info_of(path, **changes):
    info = json.loads((path / "meta/info.json").read_text())
    (path / "meta/info.json").write_text(json.dumps(info | changes))


def rewrite(path, change):
    """Change the rows of a table, as Python's objects."""
    table = parquet.read_table(path)
    rows = table.to_pylist()
    rows = change(rows) or rows
    parquet.write_table(pyarrow.Table.from_pylist(rows, table.schema), path)


def video(path, number):
    return path / f"videos/{CAMERA_KEY}/chunk-000/file-{number:03d}.mp4"


def test_what_is_whole_is_left_alone(six):
    before = {file: file.read_bytes() for file in six.rglob("*") if file.is_file()}
    found = diagnose(six, repair=True)
    assert found.healthy and found.lines == [f"{six}: 6 of 6 episodes whole (lerobot)"]
    assert before == {file: file.read_bytes() for file in six.rglob("*") if file.is_file()}


def counts_too_many(path):
    info_of(path, total_episodes=8, total_frames=60)


def truncate_video(path):
    file = video(path, 2)
    file.write_bytes(file.read_bytes()[: len(file.read_bytes()) * 2 // 3])


def lose_video(path):
    video(path, 4).unlink()


def another_ones_video(path):
    def change(rows):
        rows[3][f"videos/{CAMERA_KEY}/file_index"] = 2

    rewrite(path / INDEX, change)


def not_finite(path):
    def change(rows):
        rows[5]["action"] = float("nan")

    rewrite(path / DATA, change)


def index_ahead(path):
    def change(rows):
        last = rows[-1]
        end = last["dataset_to_index"]
        row = {
            "episode_index": 6,
            "dataset_from_index": end,
            "dataset_to_index": end + last["length"],
        }
        return [*rows, last | row]

    rewrite(path / INDEX, change)
    info_of(path, total_episodes=7, total_frames=39 + 9)


def times_jump(path):
    def change(rows):
        rows[-1]["timestamp"] += 0.01

    rewrite(path / DATA, change)


CRASHES = {  # what happened -> what is said, and which episodes are kept
    counts_too_many: ("total_episodes is 8, the index has 6", range(0, 6)),
    truncate_video: (r"episode 2: .*file-002.mp4 is damaged: [^\[/]*$", range(3, 6)),
    lose_video: ("episode 4: .*file-004.mp4: no such file", range(0, 4)),
    another_ones_video: (
        "episode 3: its frames in .*file-002.mp4 are those of episode 2",
        range(3),
    ),
    not_finite: ("episode 1: action is not finite", range(2, 6)),
    index_ahead: ("episode 6: its frames in .*file-005.mp4 are those of episode 5", range(0, 6)),
    times_jump: ("episode 5: its time stamps do not go on at 20 a second", range(0, 5)),
}


@pytest.mark.parametrize("crash", CRASHES, ids=lambda crash: crash.__name__)
def test_a_crash_is_told_and_the_longest_whole_run_is_kept(six, healthy, crash):
    said, kept = CRASHES[crash]
    crash(six)
    before = {file: file.read_bytes() for file in six.rglob("*") if file.is_file()}
    found = diagnose(six)
    assert not found.healthy
    assert any(re.search(said, line) for line in found.lines), found.lines
    assert f"{len(kept)} episodes ({kept[0]} to {kept[-1]})" in found.lines[-1]
    assert before == {file: file.read_bytes() for file in six.rglob("*") if file.is_file()}
    mended = diagnose(six, repair=True)
    assert mended.healthy and f"kept {len(kept)} episodes" in mended.lines[-1]
    assert diagnose(six).healthy
    whole, again = open_source(healthy), open_source(six)
    assert len(again.names) == len(kept)
    for number, old in enumerate(kept):
        mine, theirs = again.load(f"demo_{number}"), whole.load(f"demo_{old}")
        np.testing.assert_array_equal(mine.actions, theirs.actions)
        for key in theirs.observations:
            np.testing.assert_array_equal(mine.observations[key], theirs.observations[key])
    info = json.loads((six / "meta/info.json").read_text())
    assert info["total_frames"] == sum(4 + i for i in kept)
    stats = json.loads((six / "meta/stats.json").read_text())
    assert stats["action"]["count"] == [info["total_frames"]]
    table = parquet.read_table(six / DATA)
    np.testing.assert_array_equal(table["index"].to_numpy(), np.arange(info["total_frames"]))
    assert (six / "lost/meta/info.json").exists()  # nothing is deleted


@pytest.fixture(scope="module")
def equally_long(tmp_path_factory):
    """Give four episodes of 5 steps as this project writes LeRobot's, robolearn/ beside them."""
    folder = tmp_path_factory.mktemp("four")
    dataset = Dataset.create(folder / "ours", CAMERA)
    for i in range(4):
        episode = with_camera(i, steps=5)
        episode.metadata["operator"] = f"person {i}"
        dataset.append(episode)
    dataset.flush()
    config = ConvertConfig(format="lerobot", images="lossless")
    convert(dataset.path, folder / "lerobot", config)
    return folder


@pytest.fixture
def four(equally_long, tmp_path):
    """Give a copy to spoil."""
    return shutil.copytree(equally_long / "lerobot", tmp_path / "four")


def test_a_repair_takes_along_what_stands_beside_each_episode(four, equally_long):
    assert diagnose(four).healthy
    video(four, 0).unlink()
    assert diagnose(four, repair=True).healthy and diagnose(four).healthy
    ours, again = Dataset.open(equally_long / "ours"), open_source(four)
    assert len(again.names) == 3
    for number in range(3):
        episode = again.load(f"demo_{number}")
        assert_same(ours.load(f"demo_{number + 1}"), episode)
        assert episode.metadata["operator"] == f"person {number + 1}"


def test_what_stands_beside_another_episode_is_refused_and_not_taken_along(four):
    with h5py.File(four / "robolearn/rest.hdf5", "r+") as file:
        file.move("demo_2", "x")
        file.move("demo_1", "demo_2")
        file.move("x", "demo_1")
    with pytest.raises(DataError, match="demo_1: the actions changed since"):
        open_source(four).load("demo_1")
    assert any("a repair leaves it out" in line for line in diagnose(four).lines)
    assert diagnose(four, repair=True).healthy
    assert "operator" not in open_source(four).load("demo_1").metadata
    assert (four / "lost/robolearn/rest.hdf5").exists()


def test_an_outcome_that_was_changed_in_the_table_is_not_passed_over(four):
    def change(rows):
        outcome = any(row["next.success"] for row in rows[:5])
        for row in rows:
            row["next.success"] = not outcome

    rewrite(four / DATA, change)
    with pytest.raises(DataError, match="demo_0: success changed since"):
        open_source(four).load("demo_0")


def test_an_episode_that_the_index_has_twice(four, equally_long):
    def change(rows):
        return [*rows, rows[3] | {"episode_index": 1}]

    rewrite(four / INDEX, change)
    found = diagnose(four)
    assert any("episode 1: stands behind episode 3 in the index" in line for line in found.lines)
    assert diagnose(four, repair=True).healthy and diagnose(four).healthy
    ours, again = Dataset.open(equally_long / "ours"), open_source(four)
    for name in ours.names():
        assert_same(ours.load(name), again.load(name))


@pytest.mark.parametrize("gone", [0, 2])
def test_an_episode_that_the_index_has_lost_costs_no_other(four, equally_long, gone):
    rewrite(four / INDEX, lambda rows: [row for row in rows if row["episode_index"] != gone])
    found = diagnose(four)
    assert f"the index misses episodes: {gone}" in found.lines and not found.healthy
    assert diagnose(four, repair=True).healthy
    ours, again = Dataset.open(equally_long / "ours"), open_source(four)
    left = [number for number in range(4) if number != gone]
    for number, old in enumerate(left):
        assert_same(ours.load(f"demo_{old}"), again.load(f"demo_{number}"))


def test_a_repair_whose_outcome_is_not_what_was_found_touches_nothing(four, monkeypatch):
    counts_too_many(four)
    original = lerobot_repair._records

    def others(rows):
        records = original(rows)
        return [records[1], records[0], *records[2:]]

    monkeypatch.setattr(lerobot_repair, "_records", others)
    before = {file: file.read_bytes() for file in four.rglob("*") if file.is_file()}
    found = diagnose(four, repair=True)
    assert not found.healthy and "episode 0 would become another" in found.lines[-1]
    assert before == {file: file.read_bytes() for file in four.rglob("*") if file.is_file()}


def test_a_cut_image_in_a_table_is_found(equally_long, tmp_path):
    config = ConvertConfig(format="lerobot", images="png")
    convert(equally_long / "ours", tmp_path / "png", config)
    assert diagnose(tmp_path / "png").healthy

    def change(rows):
        image = rows[7]["observation.images.wrist.left"]
        image["bytes"] = image["bytes"][: len(image["bytes"]) // 2]

    rewrite(tmp_path / "png" / DATA, change)
    found = diagnose(tmp_path / "png")
    assert not found.healthy and any(line.startswith("episode 1: ") for line in found.lines)


def test_a_table_without_its_footer_loses_the_episodes_in_it(six):
    """LeRobot's writer was killed: its last file has no footer, and the index counts on."""
    table = parquet.read_table(six / DATA)
    second = six / "data/chunk-000/file-001.parquet"
    parquet.write_table(table.slice(22), second)
    parquet.write_table(table.slice(0, 22), six / DATA)

    def change(rows):
        for row in rows[4:]:
            row["data/file_index"] = 1

    rewrite(six / INDEX, change)
    second.write_bytes(second.read_bytes()[:-40])
    found = diagnose(six, repair=True)
    assert any("no whole parquet file" in line and "its writer was stopped" in line
               for line in found.lines)  # fmt: skip
    assert "kept 4 episodes (0 to 3), lost 2" in found.lines[-1] and diagnose(six).healthy


def test_tasks_without_pandas_index_get_it_back(six):
    tasks = six / "meta/tasks.parquet"
    parquet.write_table(parquet.read_table(tasks).replace_schema_metadata(None), tasks)
    found = diagnose(six)
    assert "meta/tasks.parquet has no pandas index: LeRobot cannot look tasks up" in found.lines
    assert diagnose(six, repair=True).healthy
    schema = parquet.read_schema(tasks)
    assert json.loads(schema.metadata[b"pandas"])["index_columns"] == ["task"]
    assert parquet.read_table(tasks)["task"].to_pylist() == ["Line"]


def test_cut_statistics_are_told_and_made_anew(six, healthy):
    stats = six / "meta/stats.json"
    stats.write_bytes(stats.read_bytes()[:200])
    found = diagnose(six)
    assert not found.healthy and any("stats.json is no JSON" in line for line in found.lines)
    assert diagnose(six, repair=True).healthy and diagnose(six).healthy
    right = json.loads((healthy / "meta/stats.json").read_text())["action"]
    again = json.loads(stats.read_text())["action"]
    np.testing.assert_allclose([again["min"], again["max"]], [right["min"], right["max"]])


def test_a_lost_tasks_table_is_made_of_what_the_index_says(six):
    (six / "meta/tasks.parquet").unlink()
    assert diagnose(six, repair=True).healthy
    assert parquet.read_table(six / "meta/tasks.parquet")["task"].to_pylist() == ["Line"]


@pytest.mark.parametrize("moves", range(1, 4))
def test_a_repair_that_is_stopped_is_finished_by_the_next(six, monkeypatch, moves):
    counts_too_many(six)
    original, made = lerobot_doctor.os.replace, []

    def replace(source, target):
        made.append(source)
        if len(made) > moves:
            raise KeyboardInterrupt
        original(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(lerobot_doctor, "os", type("os", (), {"replace": staticmethod(replace)}))
        with pytest.raises(KeyboardInterrupt):
            diagnose(six, repair=True)
    assert "--repair finishes it" in diagnose(six).lines[0]
    assert diagnose(six, repair=True).healthy and diagnose(six).healthy
    assert len(open_source(six).names) == 6


def lose_index(path):
    (path / INDEX).unlink()


def cut_index(path):
    (path / INDEX).write_bytes((path / INDEX).read_bytes()[:-50])


def cut_half_of_the_index(path):
    """Have two files of the index, the first of which its writer did not finish."""
    table = parquet.read_table(path / INDEX)
    parquet.write_table(table.slice(3), path / INDEX.replace("file-000", "file-001"))
    cut_index(path)


@pytest.mark.parametrize("damage", [lose_index, cut_index, cut_half_of_the_index])
def test_an_index_that_was_lost_is_told_by_tables_and_videos(six, healthy, damage):
    before = open_source(healthy)
    right = [before.load(name) for name in before.names]
    damage(six)
    found = diagnose(six)
    lost = 3 if damage is cut_half_of_the_index else 6
    assert f"tables and videos tell of {lost} episodes that the index has lost" in found.lines
    assert diagnose(six, repair=True).healthy and diagnose(six).healthy
    after = open_source(six)
    for name, episode in zip(after.names, right, strict=True):
        assert_same(after.load(name), episode)


def test_an_index_of_others_is_told_anew(tmp_path):
    path = shutil.copytree(OTHERS / "lerobot", tmp_path / "x")
    columns = ["tasks", "length", "videos/observation.images.front/from_timestamp"]
    right = parquet.read_table(path / INDEX, columns=columns).to_pylist()
    lose_index(path)
    assert diagnose(path, repair=True).healthy
    assert parquet.read_table(path / INDEX, columns=columns).to_pylist() == right


def test_videos_that_do_not_go_on_end_what_is_told_anew(six):
    lose_index(six)
    shutil.copy(video(six, 5), video(six, 3))  # more frames than the episode has rows
    assert "tables and videos tell of 4 episodes that the index has lost" in diagnose(six).lines
    shutil.copy(video(six, 2), video(six, 3))  # fewer
    assert "tables and videos tell of 3 episodes that the index has lost" in diagnose(six).lines


def test_where_nothing_is_whole_nothing_is_touched(six):
    (six / DATA).write_bytes(b"PAR1")
    before = {file: file.read_bytes() for file in six.rglob("*") if file.is_file()}
    found = diagnose(six, repair=True)
    assert not found.healthy and found.lines[-1] == "no episode is whole: left alone"
    assert before == {file: file.read_bytes() for file in six.rglob("*") if file.is_file()}


def test_without_info_nothing_can_be_kept(six):
    (six / "meta/info.json").unlink()
    found = diagnose(six, repair=True)
    assert not found.healthy and "nothing can be kept without it" in found.lines[-1]


# robomimic's and Minari's


def no_actions(demo):
    del demo["actions"]


def no_observations(demo):
    del demo["obs"]


def no_number(demo):
    demo["obs/state"][2] = np.nan


@pytest.mark.parametrize("damage", [no_actions, no_observations, no_number])
def test_a_first_demonstration_that_is_damaged_costs_no_other(vectors, tmp_path, damage):
    there = tmp_path / "x.hdf5"
    convert(vectors.path, there, ConvertConfig())
    with h5py.File(there, "r+") as file:
        del file.attrs["robolearn"]  # as robomimic's own
        for demo in file["data"].values():
            del demo["robolearn"]
        damage(file["data/demo_0"])
    found = diagnose(there)
    assert not found.healthy and f"{there}: 2 of 3 episodes in order (robomimic)" in found.lines
    done = convert(there, tmp_path / "whole", ConvertConfig(skip=True, check=True))
    assert list(done.skipped) == ["demo_0"] and done.check.is_exact


@pytest.mark.parametrize("name", ["lerobot", "minari"])
def test_others_are_read_without_their_first_episode(tmp_path, name):
    path = shutil.copytree(OTHERS / name, tmp_path / "x")
    if name == "minari":
        with h5py.File(path / "data/main_data.hdf5", "r+") as file:
            no_actions(file["episode_0"])
    else:
        rewrite(path / DATA, lambda rows: rows[3].update(action=[float("nan")] * 2))
    with pytest.raises(DataError, match="demo_0"):
        open_source(path).load("demo_0")
    whole = open_source(OTHERS / name).load("demo_1")
    assert_same(open_source(path).load("demo_1"), whole)


def test_a_robomimic_file_is_told_of(vectors, tmp_path):
    there = tmp_path / "x.hdf5"
    convert(vectors.path, there, ConvertConfig())
    assert diagnose(there).healthy
    with h5py.File(there, "r+") as file:
        file["data/demo_1/obs/state"][2, 3] = np.nan
        file["data/demo_0"].attrs["num_samples"] = 5
        file["data"].attrs["total"] = 99
        file["mask/gone"] = np.array(["demo_77"], "S")
        for demo in file["data"].values():
            del demo["robolearn"]
        del file.attrs["robolearn"]
    told = "\n".join(diagnose(there).lines)
    assert "demo_1: state is not finite at step 2" in told
    assert "demo_0: num_samples is 5, of 6 actions" in told
    assert "data: total is 99, there are 21 steps" in told
    assert "mask/gone names demo_77, not in the file" in told
    assert "2 of 3 episodes in order (robomimic)" in told


def test_minaris_counts_are_mended(tmp_path):
    path = shutil.copytree(OTHERS / "minari", tmp_path / "x")
    about = json.loads((path / "data/metadata.json").read_text())
    wrong = about | {"total_episodes": 5, "total_steps": 1}
    (path / "data/metadata.json").write_text(json.dumps(wrong))
    found = diagnose(path)
    assert not found.healthy
    assert "metadata.json: total_episodes is 5 instead of 2; --repair mends it" in found.lines
    assert diagnose(path, repair=True).healthy
    assert json.loads((path / "data/metadata.json").read_text()) == about
    assert json.loads((path / "data/lost/metadata.json").read_text()) == wrong  # nothing is deleted


def test_minaris_files_are_told_of_by_their_place(tmp_path):
    path = shutil.copytree(OTHERS / "minari", tmp_path / "x")
    (path / "data/metadata.json").unlink()
    assert diagnose(path).lines == [f"{path}/data/metadata.json: no such file"]


def test_a_gap_in_minaris_numbers_is_told_and_closed_by_a_conversion(tmp_path):
    path = shutil.copytree(OTHERS / "minari", tmp_path / "x")
    with h5py.File(path / "data/main_data.hdf5", "r+") as file:
        del file["episode_0"]
    found = diagnose(path, repair=True)
    assert not found.healthy and any("there is no episode_0; " in line for line in found.lines)
    convert(path, tmp_path / "there", ConvertConfig(format="minari"))
    assert diagnose(tmp_path / "there").healthy


def test_an_observation_that_minari_would_have_is_missed(tmp_path):
    path = shutil.copytree(OTHERS / "minari", tmp_path / "x")
    with h5py.File(path / "data/main_data.hdf5", "r+") as file:
        rows = file["episode_1/observations"][:-1]
        del file["episode_1/observations"]
        file["episode_1/observations"] = rows
    found = diagnose(path)
    assert not found.healthy
    assert any("demo_1: 8 rows of observation for 8 actions" in line for line in found.lines)


def test_actions_beyond_their_limits_are_told_and_no_fault(tmp_path):
    path = shutil.copytree(OTHERS / "minari", tmp_path / "x")
    assert not any("have actions beyond" in line for line in diagnose(path).lines)
    with h5py.File(path / "data/main_data.hdf5", "r+") as file:
        file["episode_1/actions"][2] = 2.5
    found = diagnose(path)
    assert found.healthy
    assert any("1 have actions beyond their limits, demo_1: " in line for line in found.lines)
    convert(path, tmp_path / "there", ConvertConfig(format="minari", clip=True))
    assert not any("have actions beyond" in line for line in diagnose(tmp_path / "there").lines)


def numbers_for_a_mask(file):
    file["mask/x"] = np.arange(3)


def group_for_a_mask(file):
    file.create_group("mask/x")


def dangling_demonstration(file):
    file["data/demo_5"] = h5py.SoftLink("/nowhere")


@pytest.mark.parametrize(
    "change, said",
    [
        (numbers_for_a_mask, "mask/x is no list of names"),
        (group_for_a_mask, "mask/x is no list of names"),
        (dangling_demonstration, "has no group 'demo_5'"),
    ],
)
def test_what_is_no_part_of_a_robomimic_file_is_told(vectors, tmp_path, change, said):
    there = tmp_path / "x.hdf5"
    convert(vectors.path, there, ConvertConfig())
    with h5py.File(there, "r+") as file:
        change(file)
    found = diagnose(there)
    assert not found.healthy and any(said in line for line in found.lines), found.lines


def test_a_dangling_episode_of_minaris_is_told(tmp_path):
    path = shutil.copytree(OTHERS / "minari", tmp_path / "x")
    with h5py.File(path / "data/main_data.hdf5", "r+") as file:
        file["episode_7"] = h5py.SoftLink("/nowhere")
    found = diagnose(path)
    assert not found.healthy and "total_episodes is 2 instead of 3" in found.lines[0]
    found = diagnose(path, repair=True)
    assert any("has no group 'episode_7'" in line for line in found.lines)


def test_the_command_line_looks_at_any_format(capsys):
    assert main(["doctor", str(OTHERS / "lerobot")]) == 0
    assert "2 of 2 episodes whole (lerobot)" in capsys.readouterr().out
    assert main(["doctor", str(OTHERS / "nothing")]) == 2


def test_what_nobody_asked_for_is_not_told_of(vectors, tmp_path):
    convert(vectors.path, tmp_path / "x.hdf5", ConvertConfig())
    told = f"{tmp_path}/x.hdf5: 3 of 3 episodes in order (robomimic)"
    assert diagnose(tmp_path / "x.hdf5").lines == [told]


def test_ours_are_looked_at_as_before(vectors):
    assert diagnose(vectors.path).lines == [f"{vectors.path}: 3 of 3 episodes in order"]
    assert dataclasses.is_dataclass(diagnose(vectors.path))
