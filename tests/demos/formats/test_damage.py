"""Damaged and hostile files, more than a hundred: one line each, nothing outside, nothing half.

Most damage is seeded: cuts, flipped bytes, missing keys, wrong shapes. A flipped byte may lie in a
number that no format guards: such a file converts, and then what was written must be whole.
"""

import io
import json
import re
import shutil
from contextlib import redirect_stderr, redirect_stdout

import h5py
import numpy as np
import pyarrow
import pyarrow.parquet as parquet
import pytest

from demos.data.dataset import Dataset
from demos.formats.convert import ConvertConfig, convert
from demos.formats.doctor import diagnose
from robolearn.__main__ import main
from robolearn.errors import DataError

from .conftest import OTHERS, recorded

SEEDS = 39  # with the files damaged by hand: 202


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
    """Give a small dataset of each format, as others write it: nothing of ours in it."""
    folder = tmp_path_factory.mktemp("healthy")
    recorded(folder / "ours", episodes=2)
    convert(folder / "ours", folder / "robomimic.hdf5", ConvertConfig())
    with h5py.File(folder / "robomimic.hdf5", "r+") as file:
        del file.attrs["robolearn"]
        for demo in file["data"].values():
            del demo["robolearn"]
    shutil.copytree(OTHERS / "lerobot", folder / "lerobot")
    shutil.copytree(OTHERS / "minari", folder / "minari")
    return folder


def outcome(folder, source, *options):
    """Convert on the command line; give the exit code, after looking at all that was promised."""
    outside = {p for p in folder.rglob("*") if "there" not in p.relative_to(folder).parts}
    told, said = io.StringIO(), io.StringIO()
    with redirect_stderr(told), redirect_stdout(said):
        code = main(["convert", str(source), str(folder / "there"), *options])
    lines = [line for line in told.getvalue().splitlines() if line.startswith("robolearn: ")]
    others = [line for line in told.getvalue().splitlines() if line not in lines]
    assert all(re.match(r"(converting|reading): \d+ of \d+", line) for line in others), others
    now = {p for p in folder.rglob("*") if "there" not in p.relative_to(folder).parts}
    assert now == outside  # nothing was written elsewhere
    if code == 0:
        dataset = Dataset.open(folder / "there")
        for name in dataset.names():
            dataset.load(name).require_finite()
    else:
        assert code == 2 and len(lines) == 1 and len(lines[0]) < 1000, lines
        assert not (folder / "there/dataset.json").exists()
    return code


def examined_and_written(folder, source, code, target):
    """Have doctor look at it, and another format written: no more may come of it than of ours."""
    try:
        found = diagnose(source)
    except DataError as error:
        assert "\n" not in str(error)
    else:
        assert found.lines and not any("\n" in line for line in found.lines)
    try:
        convert(source, folder / target, ConvertConfig())
    except DataError as error:
        assert code == 2 and "\n" not in str(error) and not (folder / target).exists()
    else:
        assert code == 0


def files_of(path):
    return [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())


def cut(file, rng):
    content = file.read_bytes()
    file.write_bytes(content[: int(rng.integers(0, len(content)))])


def flip(file, rng):
    content = bytearray(file.read_bytes())
    for at in rng.integers(0, len(content), rng.integers(1, 12)):
        content[at] ^= int(rng.integers(1, 256))
    file.write_bytes(content)


def blank(file, rng):
    content = bytearray(file.read_bytes())
    start = int(rng.integers(0, len(content)))
    stretch = content[start : start + 200]
    content[start : start + 200] = bytes(len(stretch))
    file.write_bytes(content)


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("kind", ["robomimic.hdf5", "lerobot", "minari"])
def test_cuts_and_flipped_bytes(healthy, tmp_path, kind, seed):
    source, rng = tmp_path / kind, np.random.default_rng([seed, len(kind)])
    copy = shutil.copytree if (healthy / kind).is_dir() else shutil.copy
    copy(healthy / kind, source)
    files = files_of(source)
    file = files[int(rng.integers(len(files)))]
    spoil = (cut, flip, blank)[seed % 3]
    spoil(file, rng)
    code = outcome(tmp_path, source, "check=true")
    if spoil is cut and file.suffix in (".hdf5", ".parquet") and file.stem != "tasks":
        assert code == 2


# robomimic's: missing keys, wrong shapes, hostile links and sizes


def deep_json(depth=100_000):
    return "[" * depth + "]" * depth


def set_attribute(name, value):
    return lambda file, folder: file["data"].attrs.__setitem__(name, value)


def put(name, value):
    def change(file, folder):
        if name in file:
            del file[name]
        file[name] = value

    return change


def drop(name):
    return lambda file, folder: file.__delitem__(name)


def external_storage(file, folder):
    """Have the actions be bytes of another file."""
    secret = folder / "secret.bin"
    del file["data/demo_0/actions"]
    file["data/demo_0"].create_dataset(
        "actions", (6, 2), "f8", external=[(str(secret), 0, h5py.h5f.UNLIMITED)]
    )


def linked_elsewhere(name):
    """Have an array or a group be one of another file, which is there."""

    def change(file, folder):
        with h5py.File(folder / "other.hdf5", "w") as other:
            file.copy(name, other, name="x")
        del file[name]
        file[name] = h5py.ExternalLink(str(folder / "other.hdf5"), "/x")

    return change


def virtual_elsewhere(file, folder):
    layout = h5py.VirtualLayout((6, 2), "f8")
    layout[:] = h5py.VirtualSource(str(folder / "other.hdf5"), "x", (6, 2))
    del file["data/demo_0/actions"]
    file["data/demo_0"].create_virtual_dataset("actions", layout)


def bomb(file, folder):
    """Claim 10 TB of zeros in a few bytes."""
    del file["data/demo_0/actions"]
    file["data/demo_0"].create_dataset(
        "actions", (1 << 32, 300), "f8", chunks=(1 << 12, 300), compression="gzip"
    )


def attribute_bomb(file, folder):
    file["data"].attrs["env_args"] = "x" * (65 << 20)


def circle(file, folder):
    file["data/demo_0/obs/around"] = h5py.SoftLink("/data/demo_0/obs")


def dangling(file, folder):
    del file["data/demo_1"]
    file["data/demo_1"] = h5py.ExternalLink("../../../etc/passwd", "/data/demo_1")


def no_demonstrations(file, folder):
    for name in list(file["data"]):
        del file["data"][name]


def soft_link_to_itself(file, folder):
    del file["data/demo_0/obs"]
    file["data/demo_0/obs"] = h5py.SoftLink("/data/demo_0/obs")


def fake_interface(text):
    return lambda file, folder: file.attrs.__setitem__("robolearn", text)


HDF5_DAMAGE = {
    "no data": drop("data"),
    "data is an array": put("data", np.zeros(3)),
    "no demonstrations": no_demonstrations,
    "a demonstration is an array": put("data/demo_1", np.zeros(3)),
    "no actions": drop("data/demo_1/actions"),
    "no observations": drop("data/demo_1/obs"),
    "observations are an array": put("data/demo_1/obs", np.zeros((7, 3))),
    "an observation is missing": drop("data/demo_1/obs/robot0_eef_pos"),
    "actions of no length": put("data/demo_0/actions", np.zeros((0, 2))),
    "actions of three axes": put("data/demo_0/actions", np.zeros((6, 2, 1))),
    "actions are text": put("data/demo_0/actions", "left"),
    "actions are a scalar": put("data/demo_0/actions", 1.0),
    "actions beyond": put("data/demo_0/actions", np.full((6, 2), 3.0)),
    "actions not finite": put("data/demo_1/actions", np.full((7, 2), np.nan)),
    "other actions": put("data/demo_1/actions", np.zeros((7, 3))),
    "too few rows": put("data/demo_1/obs/robot0_eef_pos", np.zeros((3, 3))),
    "too many rows": put("data/demo_1/obs/robot0_eef_pos", np.zeros((30, 3))),
    "an observation is a scalar": put("data/demo_1/obs/robot0_eef_pos", 1.0),
    "an observation is text": put("data/demo_1/obs/robot0_eef_pos", "here"),
    "other widths": put("data/demo_1/obs/robot0_eef_quat", np.zeros((7, 5))),
    "complex numbers": put("data/demo_1/obs/robot0_eef_pos", np.zeros((7, 3), complex)),
    "rewards of another length": put("data/demo_1/rewards", np.zeros(3)),
    "rewards not finite": put("data/demo_1/rewards", np.full(7, np.inf)),
    "rewards of two axes": put("data/demo_1/rewards", np.zeros((7, 7))),
    "dones are a scalar": put("data/demo_1/dones", np.zeros((0,))),
    "next rows of another shape": put("data/demo_1/next_obs/robot0_eef_pos", np.zeros((2, 3))),
    "states of another length": put("data/demo_1/states", np.zeros((3, 9))),
    "external storage": external_storage,
    "virtual": virtual_elsewhere,
    "actions of another file": linked_elsewhere("data/demo_0/actions"),
    "observations of another file": linked_elsewhere("data/demo_1/obs"),
    "next observations of another file": linked_elsewhere("data/demo_1/next_obs"),
    "a second demonstration of its number": put("data/demo_01/actions", np.zeros((6, 2))),
    "bomb": bomb,
    "attribute bomb": attribute_bomb,
    "circle": circle,
    "dangling": dangling,
    "a link to itself": soft_link_to_itself,
    "our attribute is no JSON": fake_interface("{"),
    "our attribute is deep": fake_interface(deep_json(1000)),
    "our attribute is of a later version": fake_interface('{"version": 99}'),
    "our attribute is a number": fake_interface(3),
    "our attribute leads out": fake_interface(
        json.dumps({
            "version": 1, "env_options": {},
            "interface": {
                "environment": "", "period_s": 0.05, "action": {"shape": [2]},
                "observations": {"../../x": {"shape": [3]}},
            },
        })
    ),
}  # fmt: skip
MAY_CONVERT = {"circle", "no observations", "dones are a scalar"}


@pytest.mark.parametrize("what", HDF5_DAMAGE)
def test_hostile_hdf5(healthy, tmp_path, what):
    (tmp_path / "secret.bin").write_bytes(bytes(96))
    with h5py.File(tmp_path / "other.hdf5", "w") as other:
        other["x"] = np.zeros((6, 2))
    source = tmp_path / "robomimic.hdf5"
    shutil.copy(healthy / "robomimic.hdf5", source)
    with h5py.File(source, "r+") as file:
        HDF5_DAMAGE[what](file, tmp_path)
    code = outcome(tmp_path, source)
    assert code == 2 or what in MAY_CONVERT
    examined_and_written(tmp_path, source, code, "there.hdf5")


# LeRobot's index


def info_with(**changes):
    def change(path):
        info = json.loads((path / "meta/info.json").read_text())
        (path / "meta/info.json").write_text(json.dumps(info | changes))

    return change


def text_in(name, text):
    return lambda path: (path / name).write_text(text)


def feature_with(name, **changes):
    def change(path):
        info = json.loads((path / "meta/info.json").read_text())
        info["features"][name] = info["features"].get(name, {}) | changes
        (path / "meta/info.json").write_text(json.dumps(info))

    return change


def row_with(**changes):
    def change(path):
        file = path / "meta/episodes/chunk-000/file-000.parquet"
        table = parquet.read_table(file)
        for name, value in changes.items():
            name = name.replace("__", "/").replace("CAMERA", "observation.images.front")
            values = [*table[name].to_pylist()[:-1], value]
            at = table.schema.get_field_index(name)
            table = table.set_column(at, name, pyarrow.array(values))
        parquet.write_table(table, file)

    return change


def rows_of(name, values):
    def change(path):
        file = path / "data/chunk-000/file-000.parquet"
        table = parquet.read_table(file)
        column = pyarrow.array(values)
        parquet.write_table(table.set_column(table.column_names.index(name), name, column), file)

    return change


def link_out(path):
    """Have the data be a link to a file elsewhere."""
    file = path / "data/chunk-000/file-000.parquet"
    outside = path.parent / "elsewhere.parquet"
    shutil.move(file, outside)
    file.symlink_to(outside)


def other_video(path):
    video = next(path.rglob("*.mp4"))
    video.write_bytes(b"\0\0\0\x18ftypisom" + bytes(2000))


def rename_action(path):
    info = path / "meta/info.json"
    info.write_text(info.read_text().replace('"action"', '"actio"'))


INDEX_DAMAGE = {
    "no info": lambda path: (path / "meta/info.json").unlink(),
    "info is a list": text_in("meta/info.json", "[]"),
    "info is deep": text_in("meta/info.json", deep_json()),
    "info is no text": lambda path: (path / "meta/info.json").write_bytes(b"\xff\xfe\0"),
    "another version": info_with(codebase_version="v9"),
    "no rate": info_with(fps=None),
    "rate of zero": info_with(fps=0),
    "rate is text": info_with(fps="ten"),
    "no features": info_with(features={}),
    "features are a list": info_with(features=[]),
    "counts more": info_with(total_episodes=3),
    "data elsewhere": info_with(data_path="../../../etc/passwd"),
    "data absolute": info_with(data_path="/etc/passwd"),
    "data is code": info_with(data_path="{chunk_index.__class__}"),
    "data is an unknown field": info_with(data_path="{secret}"),
    "data is no text": info_with(data_path=7),
    "video elsewhere": info_with(video_path="../{video_key}.mp4"),
    "video of nobody": info_with(video_path=None),
    "no action": rename_action,
    "a feature without dtype": feature_with("more"),
    "a feature of huge shape": feature_with("action", shape=[1 << 40]),
    "a feature of another shape": feature_with("action", shape=[3]),
    "a feature that leads out": feature_with("observation.../../x", dtype="float32", shape=[2]),
    "images of another size": feature_with("observation.images.front", shape=[32, 32, 3]),
    "images of huge size": feature_with("observation.images.front", shape=[60000, 60000, 3]),
    "a row of no length": row_with(length=0),
    "a row of another length": row_with(length=4),
    "a row elsewhere": row_with(dataset_from_index=1000, dataset_to_index=1009),
    "a row of another number": row_with(episode_index=7),
    "a row in another file": row_with(data__file_index=9),
    "a row without a number": row_with(episode_index=None),
    "frames beyond the video": row_with(videos__CAMERA__from_timestamp=1.3),
    "frames at no time": row_with(videos__CAMERA__from_timestamp=float("nan")),
    "a video that is none": other_video,
    "a link that leads out": link_out,
    "numbers of other episodes": rows_of("episode_index", [0] * 17),
    "actions of text": rows_of("action", ["x"] * 17),
    "actions missing": rows_of("action", pyarrow.nulls(17, pyarrow.float32())),
    "actions of several lengths": rows_of("action", [[1.0]] * 16 + [[1.0] * 18]),
    "a feature below another": feature_with("action/x", dtype="float32", shape=[2]),
    "a feature without a name": feature_with("", dtype="float32", shape=[2]),
    "a feature called as the folder": feature_with(".", dtype="float32", shape=[2]),
}  # fmt: skip


@pytest.mark.parametrize("what", INDEX_DAMAGE)
def test_hostile_lerobot_datasets(healthy, tmp_path, what):
    source = shutil.copytree(healthy / "lerobot", tmp_path / "lerobot")
    INDEX_DAMAGE[what](source)
    assert outcome(tmp_path, source) == 2
    examined_and_written(tmp_path, source, 2, "there.hdf5")
