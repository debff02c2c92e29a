"""Doctor of LeRobot's v2.1 layout: a table and a video of each episode, the index in JSON lines."""

import json
import re
import shutil

import numpy as np
import pyarrow
import pyarrow.parquet as parquet
import pytest

from demos.data.dataset import Dataset
from demos.formats import lerobot_doctor
from demos.formats.convert import ConvertConfig, convert
from demos.formats.doctor import diagnose
from demos.formats.guess import open_source
from demos.formats.lerobot_repair_v2 import DATA, VIDEO

from ..conftest import CAMERA, with_camera

KEY = "observation.images.wrist.left"


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
    """Lay six episodes of 4 to 9 steps out as v2.1 does."""
    folder = tmp_path_factory.mktemp("v2")
    dataset = Dataset.create(folder / "ours", CAMERA)
    for i in range(6):
        dataset.append(with_camera(i, steps=4 + i))
    dataset.flush()
    convert(dataset.path, folder / "v3", ConvertConfig(format="lerobot", images="lossless"))
    return laid_out(folder / "v3", folder / "v2")


def laid_out(v3, folder):
    """Write a v3 dataset of ours, whose videos are a file each, in the older layout."""
    info = json.loads((v3 / "meta/info.json").read_text())
    table = parquet.read_table(v3 / "data/chunk-000/file-000.parquet")
    episodes, stats = [], []
    for number in range(info["total_episodes"]):
        rows = table.filter(np.asarray(table["episode_index"]) == number)
        place = {"episode_chunk": 0, "episode_index": number, "video_key": KEY}
        data, video = (folder / name.format(**place) for name in (DATA, VIDEO))
        for path in (data, video):
            path.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(rows, data)
        shutil.copy(v3 / f"videos/{KEY}/chunk-000/file-{number:03d}.mp4", video)
        episodes.append({"episode_index": number, "tasks": ["Line"], "length": len(rows)})
        least = [int(rows["index"][0].as_py())]
        about = {"index": {"min": least}, "action": {"min": [-1.0], "max": [1.0]}}
        stats.append({"episode_index": number, "stats": about})
    (folder / "meta").mkdir()
    info |= {"codebase_version": "v2.1", "data_path": DATA, "video_path": VIDEO}
    (folder / "meta/info.json").write_text(json.dumps(info))
    lines(folder, "episodes", episodes)
    lines(folder, "episodes_stats", stats)
    lines(folder, "tasks", [{"task_index": 0, "task": "Line"}])
    return folder


def lines(folder, name, records):
    text = "".join(json.dumps(record) + "\n" for record in records)
    (folder / f"meta/{name}.jsonl").write_text(text)


@pytest.fixture
def six(healthy, tmp_path):
    """Give a copy to spoil."""
    return shutil.copytree(healthy, tmp_path / "six")


def at(path, template, number):
    return path / template.format(episode_chunk=0, episode_index=number, video_key=KEY)


def cut(file):
    file.write_bytes(file.read_bytes()[: len(file.read_bytes()) * 2 // 3])


def counts_too_many(path):
    info = json.loads((path / "meta/info.json").read_text()) | {"total_episodes": 8}
    (path / "meta/info.json").write_text(json.dumps(info))


def truncate_table(path):
    cut(at(path, DATA, 5))


def more_rows(path):
    file = at(path, DATA, 3)
    table = parquet.read_table(file)
    parquet.write_table(pyarrow.concat_tables([table, table]), file)


def truncate_video(path):
    cut(at(path, VIDEO, 1))


def lose_video(path):
    at(path, VIDEO, 4).unlink()


def truncate_index(path):
    file = path / "meta/episodes.jsonl"
    file.write_bytes(file.read_bytes()[:-10])


def lose_tasks(path):
    (path / "meta/tasks.jsonl").unlink()


CRASHES = {  # what happened -> what is said, and which episodes are kept
    counts_too_many: ("total_episodes is 8, the index has 6", range(0, 6)),
    truncate_table: ("episode 5: .*its writer was stopped", range(0, 5)),
    more_rows: ("episode 3: .*has 14 rows, the index says 7", range(0, 3)),
    truncate_video: ("episode 1: .*episode_000001.mp4", range(2, 6)),
    lose_video: ("episode 4: .*episode_000004.mp4: no such file", range(0, 4)),
    truncate_index: ("episodes.jsonl:6: no JSON", range(0, 5)),
    lose_tasks: ("tasks.jsonl: no such file", range(0, 6)),
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
    assert mended.healthy and f"kept {len(kept)} episodes" in mended.lines[-1], mended.lines
    assert diagnose(six).healthy
    whole, again = open_source(healthy), open_source(six)
    assert len(again.names) == len(kept)
    for number, old in enumerate(kept):
        mine, theirs = again.load(f"demo_{number}"), whole.load(f"demo_{old}")
        np.testing.assert_array_equal(mine.actions, theirs.actions)
        for key in theirs.observations:
            np.testing.assert_array_equal(mine.observations[key], theirs.observations[key])
    assert_counted(six, kept)
    lost = {str(p.relative_to(six / "lost")): p.read_bytes() for p in files_of(six / "lost")}
    assert lost == {str(file.relative_to(six)): content for file, content in before.items()}


def test_cut_statistics_are_told_and_left_out(six):
    cut(six / "meta/episodes_stats.jsonl")
    told = diagnose(six).lines
    assert any("episodes_stats.jsonl:5: no JSON" in line for line in told)
    assert diagnose(six, repair=True).healthy and diagnose(six).healthy
    assert len(open_source(six).names) == 6 and not (six / "meta/episodes_stats.jsonl").exists()


def test_cut_statistics_of_all_are_told_and_left_out(six):
    (six / "meta/stats.json").write_text('{"action": {"min"')
    assert any("stats.json is no JSON" in line for line in diagnose(six).lines)
    assert diagnose(six, repair=True).healthy and diagnose(six).healthy
    assert not (six / "meta/stats.json").exists()


def files_of(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def assert_counted(path, kept):
    """Check the numbers in meta/ and in the tables."""
    steps = [4 + i for i in kept]
    info = json.loads((path / "meta/info.json").read_text())
    assert (info["total_episodes"], info["total_frames"]) == (len(kept), sum(steps))
    assert info["total_videos"] == len(kept) and info["total_tasks"] == 1
    firsts = np.cumsum([0, *steps[:-1]]).tolist()
    stats = [json.loads(line) for line in (path / "meta/episodes_stats.jsonl").open()]
    assert [one["stats"]["index"]["min"] for one in stats] == [[first] for first in firsts]
    for number, first in enumerate(firsts):
        table = parquet.read_table(at(path, DATA, number))
        assert table["index"][0].as_py() == first
        assert set(table["episode_index"].to_pylist()) == {number}


def test_what_is_whole_is_left_alone(six):
    before = {file: file.read_bytes() for file in files_of(six)}
    found = diagnose(six, repair=True)
    assert found.healthy and found.lines == [f"{six}: 6 of 6 episodes whole (lerobot)"]
    assert before == {file: file.read_bytes() for file in files_of(six)}


@pytest.mark.parametrize("moves", range(1, 6))
def test_a_repair_that_is_stopped_is_finished_by_the_next(six, monkeypatch, moves):
    truncate_video(six)
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
    assert len(open_source(six).names) == 4
