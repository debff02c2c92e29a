"""Episodes as a LeRobot v3.0 dataset: parquet and mp4, written without LeRobot.

A part is a folder: the table of an episode, a video for each camera, its statistics, and what the
format has no place for. Joined, tables share files of 100 MB at most, a row group for each episode;
a video stays a file of its own for each episode and camera, as it was encoded, from 0 s.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow
import pyarrow.parquet as parquet

from demos.data import mp4
from demos.data.index import Masks
from demos.formats import rest, statistics, video
from demos.formats.lerobot import ACTION, DONE, REST, REWARD, SUCCESS, TRUNCATED, feature_of
from demos.formats.parts import link
from demos.formats.rate import overruled, rate_hz
from demos.formats.terms import as_given
from robolearn.errors import DataError
from robolearn.files import write_atomically
from robolearn.types import ArraySpec, Episode, Spec

VERSION = "v3.0"
CHUNK = 1000  # files in a folder
DATA_MB, VIDEO_MB = 100, 200
DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES = "meta/episodes/chunk-{chunk:03d}/file-{file:03d}.parquet"
EPISODES_IN_A_FILE = 10_000
COUNTS = ("frame_index", "episode_index", "index", "task_index")


class LerobotWriter:
    """Writes a LeRobot dataset; see ``contract.Writer``."""

    suffix = ""

    def __init__(
        self, interface: Spec, env_options: Mapping[str, Any], images: str, fps: float | None
    ) -> None:
        """Store cameras as ``images`` says: "video", "lossless" video or "png" in the table.

        Raises DataError if nobody knows the rate, or it is no whole number.
        """
        self._interface, self._options, self._images = interface, dict(env_options), images
        self._fps = _whole_rate(interface, fps)
        self._kind = np.dtype(np.float32)  # of the actions; as they came, they may be doubles
        self._places = {
            feature_of(name, spec.shape): (name, spec)
            for name, spec in interface.observations.items()
            if _has_place(spec)
        }
        self._beside = tuple(n for n, s in interface.observations.items() if not _has_place(s))
        if len(self._places) + len(self._beside) != len(interface.observations):
            raise DataError("two observations have the same name once '/' is '.'")
        mp4.require_even(dict(self._places.values()), images, "png")
        self.held = {
            "the observation after the last action": REST,
            "simulator states, reward terms, records, metadata": REST,
            "names and masks of demonstrations": "nowhere: episodes are numbered from 0",
        }
        self.held |= overruled(interface, fps, REST)
        if self._beside:
            self.held[f"{', '.join(self._beside)} (neither vectors nor colour images)"] = REST

    # a part

    def part(self, path: Path, episode: Episode) -> None:
        """Write an episode's table, videos and statistics into a folder."""
        path.mkdir()
        columns = self._columns(episode)
        parquet.write_table(pyarrow.table(columns), path / "data.parquet", compression="snappy")
        stats = self._statistics(episode)
        for i, (key, frames) in enumerate(self._videos(episode)):
            content = mp4.encode(frames, Fraction(self._fps), self._images)
            (path / f"video_{i}.mp4").write_bytes(content)
            stats[key] = statistics.of_images(frames)
        with h5py.File(path / "rest.hdf5", "w") as file:
            group = file.create_group("demo")
            rest.write(group, episode, "lerobot", last=True, whole=self._beside)
        about = {"length": len(episode), "task": self._task(episode), "stats": stats}
        about["action"] = str(as_given(episode, "lerobot").dtype)
        (path / "about.json").write_text(json.dumps(about))

    def _columns(self, episode: Episode) -> dict[str, pyarrow.Array]:
        steps = len(episode)
        last = np.arange(steps) == steps - 1
        columns = {}
        for key, (name, spec) in self._places.items():
            rows = episode.observations[name][:-1]
            if len(spec.shape) < 3:
                columns[key] = _vector(rows)
            elif self._images == "png":
                columns[key] = _pictures(rows)
        columns[ACTION] = _vector(as_given(episode, "lerobot"))
        columns[REWARD] = pyarrow.array(episode.rewards)
        columns[DONE] = pyarrow.array(last)
        columns[SUCCESS] = pyarrow.array(last & episode.success)
        columns[TRUNCATED] = pyarrow.array(last & (not episode.terminated))
        frames = np.arange(steps)
        columns["timestamp"] = pyarrow.array((frames / self._fps).astype(np.float32))
        columns["frame_index"] = pyarrow.array(frames)
        return columns

    def _videos(self, episode: Episode) -> Iterator[tuple[str, np.ndarray]]:
        for key, (name, spec) in self._places.items():
            if len(spec.shape) == 3 and self._images != "png":
                yield key, episode.observations[name][:-1]

    def _statistics(self, episode: Episode) -> dict[str, Any]:
        steps = len(episode)
        found = {
            key: statistics.of_rows(episode.observations[name][:-1])
            for key, (name, spec) in self._places.items()
            if len(spec.shape) < 3
        }
        if self._images == "png":
            for key, (name, spec) in self._places.items():
                if len(spec.shape) == 3:
                    found[key] = statistics.of_images(episode.observations[name][:-1])
        last = np.arange(steps) == steps - 1
        rows = {
            ACTION: as_given(episode, "lerobot"),
            REWARD: episode.rewards,
            DONE: last,
            SUCCESS: last & episode.success,
            TRUNCATED: last & (not episode.terminated),
            "timestamp": (np.arange(steps) / self._fps).astype(np.float32),
            "frame_index": np.arange(steps),
        }
        return found | {key: statistics.of_rows(array) for key, array in rows.items()}

    def _task(self, episode: Episode) -> str:
        said = episode.metadata.get("task")
        if isinstance(said, str) and said:
            return said
        return self._interface.environment.rpartition("/")[2] or "unknown"

    # the whole

    def join(self, parts: list[Path], folder: Path, names: list[str], masks: Masks) -> list[str]:
        """Make tables, videos and ``meta/`` of the parts; ``meta`` makes it a dataset."""
        abouts = [json.loads((part / "about.json").read_text()) for part in parts]
        tasks = list(dict.fromkeys(about["task"] for about in abouts))
        self._kind = np.result_type(*(about["action"] for about in abouts))
        rows = list(self._join_data(parts, abouts, tasks, folder))
        cameras = self._join_videos(parts, abouts, folder, rows)
        with h5py.File(parent_of(folder / REST), "w") as file:
            file.attrs[rest.GROUP] = rest.describe(self._interface, self._options)
            for number, part in enumerate(parts):
                with h5py.File(part / "rest.hdf5", "r") as one:
                    one.copy("demo", file, name=f"demo_{number}")
        stats = statistics.together([row["stats"] for row in rows])
        write_tasks(tasks, parent_of(folder / "meta/tasks.parquet"))
        for i in range(0, len(rows), EPISODES_IN_A_FILE):
            _write_episodes(rows[i : i + EPISODES_IN_A_FILE], i // EPISODES_IN_A_FILE, folder)
        (folder / "meta/stats.json").write_text(json.dumps(stats, indent=2))
        info = self._info(rows, tasks, cameras)
        write_atomically(folder / "meta/info.json", json.dumps(info, indent=2).encode())
        return ["data", *(["videos"] if cameras else []), "robolearn", "meta"]

    def _join_data(
        self, parts: Sequence[Path], abouts: Sequence[Any], tasks: Sequence[str], folder: Path
    ) -> Iterator[dict[str, Any]]:
        """Write the tables; give a row of the index for each episode, videos not in it yet."""
        files, index = DataFiles(folder), 0
        for number, (part, about) in enumerate(zip(parts, abouts, strict=True)):
            table = _with_actions_of(parquet.read_table(part / "data.parquet"), self._kind)
            length, task = about["length"], tasks.index(about["task"])
            counts = {
                "episode_index": np.full(length, number),
                "index": np.arange(index, index + length),
                "task_index": np.full(length, task),
            }
            for name, values in counts.items():
                table = table.append_column(name, pyarrow.array(values))
            yield {
                "episode_index": number,
                "tasks": [about["task"]],
                "length": length,
                "data": files.write(table),
                "from": index,
                "stats": about["stats"]
                | {key: statistics.of_rows(values) for key, values in counts.items()},
            }
            index += length
        files.close()

    def _join_videos(
        self, parts: Sequence[Path], abouts: Sequence[Any], folder: Path, rows: Sequence[dict]
    ) -> list[str]:
        """Give the videos their places, one file for each episode; list the cameras."""
        cameras = [
            key
            for key, (_, spec) in self._places.items()
            if len(spec.shape) == 3 and self._images != "png"
        ]
        for number, (part, row) in enumerate(zip(parts, rows, strict=True)):
            place = {"chunk_index": number // CHUNK, "file_index": number % CHUNK}
            row["videos"] = {}
            for i, key in enumerate(cameras):
                path = parent_of(folder / VIDEO.format(video_key=key, **place))
                link(part / f"video_{i}.mp4", path)
                row["videos"][key] = (*place.values(), 0.0, row["length"] / self._fps)
        return cameras

    def _info(self, rows: Sequence[Any], tasks: Sequence[str], cameras: list[str]) -> dict:
        return {
            "codebase_version": VERSION,
            "fps": self._fps,
            "features": self._features(),
            "total_episodes": len(rows),
            "total_frames": sum(row["length"] for row in rows),
            "total_tasks": len(tasks),
            "chunks_size": CHUNK,
            "data_files_size_in_mb": DATA_MB,
            "video_files_size_in_mb": VIDEO_MB,
            "data_path": DATA,
            "video_path": VIDEO if cameras else None,
            "robot_type": self._interface.robot or None,
            "splits": {"train": f"0:{len(rows)}"},
        }

    def _features(self) -> dict[str, Any]:
        found = {}
        for key, (_, spec) in self._places.items():
            if len(spec.shape) == 3:
                found[key] = self._camera(spec)
            else:
                found[key] = _feature(spec.dtype, spec.shape, spec.names)
        action = self._interface.action
        found[ACTION] = _feature(str(self._kind), action.shape, action.names)
        found[REWARD] = _feature("float32", (1,))
        found |= {name: _feature("bool", (1,)) for name in (DONE, SUCCESS, TRUNCATED)}
        found["timestamp"] = _feature("float32", (1,))
        return found | {name: _feature("int64", (1,)) for name in COUNTS}

    def _camera(self, spec: ArraySpec) -> dict[str, Any]:
        names = ["height", "width", "channels"]
        feature = {"dtype": "image", "shape": list(spec.shape), "names": names}
        if self._images == "png":
            return feature
        about = video.about(spec.shape, self._fps, self._images)
        return feature | {"dtype": "video", "info": about}


class DataFiles:
    """The tables of a dataset, 100 MB in a file at most, a row group for each episode."""

    def __init__(self, folder: Path) -> None:
        """Write below ``folder``."""
        self._folder, self._number, self._size = folder, -1, 0
        self._writer: parquet.ParquetWriter | None = None

    def write(self, table: pyarrow.Table) -> tuple[int, int]:
        """Write an episode's rows; give the numbers of the chunk and of the file in it."""
        if self._writer is None or self._size > DATA_MB << 20:
            self.close()
            self._number, self._size = self._number + 1, 0
            path = parent_of(self._folder / DATA.format(**self._place()))
            self._writer = parquet.ParquetWriter(path, table.schema, compression="snappy")
        self._writer.write_table(table, row_group_size=len(table))
        self._size += table.nbytes
        place = self._place()
        return place["chunk_index"], place["file_index"]

    def close(self) -> None:
        """Finish the file that is being written."""
        if self._writer is not None:
            self._writer.close()
        self._writer = None

    def _place(self) -> dict[str, int]:
        return {"chunk_index": self._number // CHUNK, "file_index": self._number % CHUNK}


def _whole_rate(interface: Spec, fps: float | None) -> int:
    rate = rate_hz(interface, fps)
    if round(rate) < 1 or abs(rate - round(rate)) > 1e-6 * rate:
        raise DataError(f"LeRobot knows whole frames a second, not {rate:g}: fps=... states one")
    return round(rate)


def _has_place(spec: ArraySpec) -> bool:
    """Say whether LeRobot has a kind of feature for an observation."""
    if len(spec.shape) == 3:
        return spec.dtype == "uint8" and spec.shape[2] == 3
    return len(spec.shape) == 1


def _feature(dtype: str, shape: Sequence[int], names: Sequence[str] = ()) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "names": list(names) or None}


def _vector(rows: np.ndarray) -> pyarrow.Array:
    """Give rows [T, n] as a list of fixed size each, of [T, 1] and [T] as numbers."""
    rows = np.ascontiguousarray(rows)
    flat = pyarrow.array(rows.reshape(-1))
    if rows.ndim == 1 or rows.shape[1] == 1:
        return flat
    return pyarrow.FixedSizeListArray.from_arrays(flat, rows.shape[1])


def _with_actions_of(table: pyarrow.Table, kind: np.dtype) -> pyarrow.Table:
    """Give all tables one type of actions: as they came, some may be wider."""
    at = table.schema.get_field_index(ACTION)
    there, number = table.schema.field(at).type, pyarrow.from_numpy_dtype(kind)
    if pyarrow.types.is_fixed_size_list(there):
        number = pyarrow.list_(number, there.list_size)
    return table.set_column(at, ACTION, table.column(at).cast(number))


def _pictures(rows: np.ndarray) -> pyarrow.Array:
    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    return pyarrow.array([{"bytes": video.png(row), "path": None} for row in rows], kind)


def write_tasks(tasks: Sequence[str], path: Path) -> None:
    """Write the table of tasks with pandas' description: its index is the task's text."""
    table = pyarrow.table({"task_index": pyarrow.array(np.arange(len(tasks))), "task": list(tasks)})
    columns = [
        _pandas_column("task_index", "int64", "int64"),
        _pandas_column("task", "unicode", "object"),
    ]
    about = {
        "index_columns": ["task"],
        "column_indexes": [_pandas_column(None, "unicode", "object") | {"metadata": None}],
        "columns": columns,
        "creator": {"library": "pyarrow", "version": pyarrow.__version__},
        "pandas_version": "2.2.3",
    }
    table = table.replace_schema_metadata({"pandas": json.dumps(about)})
    parquet.write_table(table, path)


def _pandas_column(name: str | None, kind: str, dtype: str) -> dict[str, Any]:
    return {
        "name": name,
        "field_name": name,
        "pandas_type": kind,
        "numpy_type": dtype,
        "metadata": None,
    }


def _write_episodes(rows: Sequence[Mapping[str, Any]], file: int, folder: Path) -> None:
    place = {"chunk": file // CHUNK, "file": file % CHUNK}
    columns: dict[str, Any] = {
        "episode_index": [row["episode_index"] for row in rows],
        "tasks": [row["tasks"] for row in rows],
        "length": [row["length"] for row in rows],
        "data/chunk_index": [row["data"][0] for row in rows],
        "data/file_index": [row["data"][1] for row in rows],
        "dataset_from_index": [row["from"] for row in rows],
        "dataset_to_index": [row["from"] + row["length"] for row in rows],
    }
    parts = ("chunk_index", "file_index", "from_timestamp", "to_timestamp")
    for key in rows[0]["videos"]:
        for i, part in enumerate(parts):
            columns[f"videos/{key}/{part}"] = [row["videos"][key][i] for row in rows]
    for feature, stats in rows[0]["stats"].items():
        for name in stats:
            columns[f"stats/{feature}/{name}"] = [row["stats"][feature][name] for row in rows]
    columns["meta/episodes/chunk_index"] = [place["chunk"]] * len(rows)
    columns["meta/episodes/file_index"] = [place["file"]] * len(rows)
    path = parent_of(folder / EPISODES.format(**place))
    parquet.write_table(pyarrow.table(columns), path, compression="snappy")


def parent_of(path: Path) -> Path:
    """Make the folder that a file is to be in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
