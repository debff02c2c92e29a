import dataclasses
import re
import shutil

import h5py
import numpy as np
import pytest

from demos.data.dataset import Dataset
from demos.data.doctor import doctor, report_lines
from robolearn.errors import DataError
from robolearn.types import ArraySpec

from ..conftest import INTERFACE, walk


@pytest.fixture
def healthy(dataset):
    for seed in range(3):
        dataset.append(walk(seed))
    return dataset


def damage(file):
    """Flip one bit in the middle."""
    content = bytearray(file.read_bytes())
    content[content.index(walk(1).actions.tobytes())] ^= 1
    file.write_bytes(content)


def not_finite(file):
    """Put an episode with a NaN in the file's place."""
    episode = walk(1)
    episode.rewards[1] = np.nan
    _replace_by(file, INTERFACE, episode)


def misfit(file):
    """Put an episode of another robot in the file's place."""
    other = dataclasses.replace(INTERFACE, action=ArraySpec((2,)))
    actions = np.zeros((5, 2), np.float32)
    _replace_by(file, other, dataclasses.replace(walk(1), actions=actions))


def _replace_by(file, interface, episode):
    folder = file.parent.parent.with_name("other")
    Dataset.create(folder, interface).append(episode)
    (folder / "episodes" / "episode_000000.hdf5").rename(file)


def foreign(file):
    """Put somebody else's HDF5 file in its place."""
    with h5py.File(file, "w") as other:
        other["data/demo_0/actions"] = np.zeros((3, 1))


FAULTS = {
    "truncated": lambda file: file.write_bytes(file.read_bytes()[:3000]),
    "damaged": damage,
    "foreign": foreign,
    "not finite": not_finite,
    "does not fit the interface": misfit,
}


def test_a_healthy_dataset(healthy):
    healthy.transitions()
    report = doctor(healthy.path)
    assert report.healthy
    assert {finding.status for finding in report.findings} == {"ok"}
    assert report_lines(report) == [f"{healthy.path}: 3 of 3 episodes in order"]


@pytest.mark.parametrize("repair", [False, True])
@pytest.mark.parametrize("status", FAULTS)
def test_a_faulty_file_is_named_and_left_alone(healthy, status, repair):
    file = healthy.path / "episodes" / "episode_000001.hdf5"
    FAULTS[status](file)
    before = file.read_bytes()
    report = doctor(healthy.path, repair)
    assert not report.healthy
    assert {f.file: f.status for f in report.findings if f.file.startswith("episodes")} == {
        "episodes/episode_000000.hdf5": "ok",
        "episodes/episode_000001.hdf5": status,
        "episodes/episode_000002.hdf5": "ok",
    }
    assert file.read_bytes() == before
    first, *_, last = report_lines(report)
    assert re.fullmatch(
        rf"episodes/episode_000001.hdf5: {status} \(.+\); left alone: move it away", first
    )
    assert last.endswith("2 of 3 episodes in order")


@pytest.mark.parametrize("name", ["notes.txt", "episode_1.hdf5", "episode_0000001.hdf5"])
def test_files_with_other_names_are_foreign(healthy, name):
    (healthy.path / "episodes" / name).write_text("mine")
    assert not doctor(healthy.path, repair=True).healthy
    assert (healthy.path / "episodes" / name).read_text() == "mine"
    assert len(Dataset.open(healthy.path)) == 3


def test_stray_temporaries_are_reported_then_removed(healthy):
    strays = ["episodes/.episode_000003.hdf5.99.tmp", ".index.hdf5.99.tmp"]
    for stray in strays:
        (healthy.path / stray).write_bytes(b"half")
    report = doctor(healthy.path)
    assert sorted(f.file for f in report.findings if f.status == "stray temporary") == strays[::-1]
    assert (healthy.path / strays[0]).exists()  # without --repair nothing is touched
    assert not report.healthy
    assert [line.endswith("; --repair mends it") for line in report_lines(report)] == [1, 1, 0]
    assert doctor(healthy.path, repair=True).healthy
    assert not list(healthy.path.rglob("*.tmp"))
    assert doctor(healthy.path).healthy


@pytest.mark.parametrize("spoil", ["missing", "unreadable", "stale"])
def test_the_index_is_rebuilt(healthy, spoil):
    index = healthy.path / "index.hdf5"
    old = index.read_bytes()
    if spoil == "stale":
        healthy.append(walk(3))
    index.unlink()
    if spoil != "missing":
        index.write_bytes(old if spoil == "stale" else b"nonsense")
    assert doctor(healthy.path).findings[-1].status == "stale"
    report = doctor(healthy.path, repair=True)
    assert report.repaired == ["index.hdf5"] and report.healthy
    assert "index.hdf5: stale" in report_lines(report)[0]
    assert report_lines(report)[0].endswith("; repaired")
    assert doctor(healthy.path).findings[-1].status == "ok"


@pytest.fixture
def copied(healthy):
    """Give a copy of the healthy dataset, as ``cp -a`` makes it: all but the ctimes are kept."""
    copy = healthy.path.with_name("copied")
    shutil.copytree(healthy.path, copy)
    return copy


def test_a_copy_is_healthy_and_its_index_made_anew_when_it_is_opened(copied):
    report = doctor(copied)
    assert report.healthy
    assert report_lines(report) == [
        "index.hdf5: made elsewhere (of the same episodes, copied or touched since);"
        " made anew when the dataset is opened",
        f"{copied}: 3 of 3 episodes in order",
    ]
    Dataset.open(copied)
    assert doctor(copied).findings[-1].status == "ok"


def test_the_index_of_a_copy_can_be_repaired(copied):
    assert report_lines(doctor(copied, repair=True))[0].endswith("; repaired")
    assert doctor(copied).findings[-1].status == "ok"


@pytest.mark.parametrize(
    "other",
    [
        walk(1, success=False),
        walk(1, operator="bob"),
        walk(1, steps=4),
    ],
    ids=["outcome", "operator", "length"],
)
def test_the_index_of_a_copy_is_stale_if_an_episode_is_another(copied, other):
    _replace_by(copied / "episodes" / "episode_000001.hdf5", INTERFACE, other)
    report = doctor(copied)
    assert not report.healthy
    assert report.findings[-1].status == "stale"
    assert report.findings[-1].detail == "it does not say what is in the folder"


@pytest.mark.parametrize(
    ("gone", "gaps"),
    [
        ([1], "demo_1"),
        ([0, 2, 3], "demo_0, demo_2 to demo_3"),
        ([6], "demo_6"),  # the last one: only the index knows
        ([0, 1, 2, 3, 4, 5, 6], "demo_0 to demo_6"),
    ],
)
def test_episodes_that_are_gone_are_named(healthy, gone, gaps):
    for seed in range(3, 7):
        healthy.append(walk(seed))
    healthy.flush()
    for number in gone:
        (healthy.path / "episodes" / f"episode_{number:06d}.hdf5").unlink()
    report = doctor(healthy.path)
    left = 7 - len(gone)
    assert not report.healthy  # for the index names them
    assert report_lines(report)[1:] == [
        f"episodes: without {gaps}: deleted, or moved away",
        f"{healthy.path}: {left} of {left} episodes in order",
    ]


def test_a_gap_that_the_index_knows_of_is_no_fault(healthy):
    (healthy.path / "episodes" / "episode_000001.hdf5").unlink()
    assert doctor(healthy.path, repair=True).gaps == ["demo_1"]
    report = doctor(healthy.path)
    assert report.healthy and report.gaps == ["demo_1"]


def test_a_dataset_without_episodes_has_no_gaps(dataset):
    assert doctor(dataset.path).gaps == []


def test_repair_clears_the_cache(healthy):
    healthy.transitions()
    doctor(healthy.path, repair=True)
    assert not (healthy.path / "cache").exists()


def test_not_a_dataset(tmp_path):
    with pytest.raises(DataError, match="not a dataset"):
        doctor(tmp_path)
