"""LeRobot's folder layouts, v3.0 and v2.x: what ``meta/`` says, and where an episode's data are.

Everything is checked before it is used: a path that leads out of the folder, a count that is not
one, a table without its footer.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet as parquet

from demos.formats.faults import filled, inside, lines_until, one_line, read_json, read_lines
from robolearn.errors import DataError

INFO, EPISODES, EPISODES_V2 = "meta/info.json", "meta/episodes", "meta/episodes.jsonl"
TASKS, TASKS_V2 = "meta/tasks.parquet", "meta/tasks.jsonl"
STATS, STATS_V2 = "meta/stats.json", "meta/episodes_stats.jsonl"
CHUNK = 1000  # episodes in a folder of the v2 layout, unless it says otherwise
V3 = "v3."
AUTOMATIC = ("timestamp", "frame_index", "episode_index", "index", "task_index")
NUMERIC = ("f", "i", "u", "b")
MOST_ROWS = 1 << 28
MOST_TABLE = 4 << 30  # bytes of a row group, uncompressed


@dataclass(frozen=True)
class Feature:
    """One column, or one camera."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    names: tuple[str, ...] = ()

    @property
    def is_camera(self) -> bool:
        """Whether it is a colour camera."""
        return self.dtype in ("video", "image")

    @property
    def is_numeric(self) -> bool:
        """Whether it is an array of numbers."""
        try:
            return np.dtype(self.dtype).kind in NUMERIC
        except TypeError:
            return False


@dataclass(frozen=True)
class Clip:
    """Where a camera's frames of an episode are."""

    file: str  # relative to the dataset
    start_s: float


@dataclass(frozen=True)
class Row:
    """What the index says of one episode."""

    number: int
    length: int
    file: str  # relative to the dataset
    first: int | None  # row of the whole dataset at which it begins; None: the file is its own
    clips: Mapping[str, Clip] = field(default_factory=dict)
    tasks: tuple[str, ...] = ()
    entry: tuple[Path, int] | None = None  # file of the index, and the row or record in it
    record: Mapping[str, Any] | None = None  # what the index would say, where it was lost


@dataclass(frozen=True)
class Info:
    """What ``meta/info.json`` says."""

    path: Path
    version: str
    fps: float
    features: dict[str, Feature]
    raw: dict[str, Any]

    @property
    def is_v3(self) -> bool:
        """Whether it is of the layout with many episodes in a file."""
        return self.version.startswith(V3)


def read_info(path: Path) -> Info:
    """Read ``meta/info.json``; DataError for what cannot be used."""
    raw = read_json(path / INFO)
    where = path / INFO
    version = str(raw.get("codebase_version", ""))
    if not version.startswith(("v3.", "v2.")):
        raise DataError(f"{where}: codebase_version {version!r} is neither v3.0 nor v2.x")
    fps = raw.get("fps")
    if not isinstance(fps, int | float) or not 0 < fps < 1e6:
        raise DataError(f"{where}: fps {fps!r} is no rate")
    given = raw.get("features")
    if not isinstance(given, dict) or not given:
        raise DataError(f"{where}: no features")
    features = {name: _feature(name, about, where) for name, about in given.items()}
    return Info(path, version, fps, features, raw)


def _feature(name: str, about: Any, where: Path) -> Feature:
    with one_line(f"{where}: feature {name[:60]!r}"):
        shape = tuple(int(n) for n in about.get("shape", ()))
        if any(n < 0 for n in shape) or math.prod(shape) > MOST_ROWS:
            raise DataError(f"{where}: feature {name[:60]!r} has shape {shape}")
        dtype = str(about["dtype"])
        if dtype in ("video", "image") and len(shape) == 3 and shape[0] == 3 != shape[2]:
            shape = (*shape[1:], 3)  # older datasets say channels first, of the same images
        return Feature(name, dtype, shape, _entry_names(about.get("names"), shape))


def _entry_names(names: Any, shape: tuple[int, ...]) -> tuple[str, ...]:
    """Give the names of a vector's entries: a list, lists under keys, or a number for each name."""
    parts = list(names.values()) if isinstance(names, Mapping) else []
    if parts and all(isinstance(part, list) for part in parts):
        names = [name for part in parts for name in part]
    elif parts and all(isinstance(part, int) for part in parts):
        names = sorted(names, key=names.get) if sorted(parts) == [*range(len(parts))] else None
    if isinstance(names, list) and len(shape) == 1 and len(names) == shape[0]:
        return tuple(str(name)[:128] for name in names)
    return ()


def read_rows(info: Info) -> list[Row]:
    """Read the index of episodes; DataError if it is damaged or does not count 0, 1, 2, ..."""
    rows = _rows_v3(info) if info.is_v3 else rows_v2(info)
    for i, row in enumerate(rows):
        if row.number != i:
            raise DataError(
                f"{info.path}: the index of episodes has {row.number} where {i} should be; "
                "robolearn doctor says what is left"
            )
    return rows


def index_files(path: Path) -> list[Path]:
    """List the files of the index of episodes of a v3 dataset, in order."""
    return sorted((path / EPISODES).glob("chunk-*/file-*.parquet"))


def _rows_v3(info: Info) -> list[Row]:
    files = index_files(info.path)
    if not files:
        raise DataError(f"{info.path}: no {EPISODES}/chunk-000/file-000.parquet")
    return [row for file in files for row in rows_of_file(info, file)]


def rows_of_file(info: Info, file: Path) -> list[Row]:
    """Read the rows of one file of a v3 index."""
    cameras = [f.name for f in info.features.values() if f.dtype == "video"]
    with one_line(file):
        with table_file(file) as opened:
            there = opened.schema_arrow.names
            wanted = [c for c in there if not c.startswith(("stats/", "meta/"))]
            records = opened.read(columns=wanted).to_pylist()
        rows = [row_v3(info, record, cameras, file) for record in records]
        return [dataclasses.replace(row, entry=(file, i)) for i, row in enumerate(rows)]


def row_v3(info: Info, record: Mapping[str, Any], cameras: list[str], file: Path) -> Row:
    """Make a row of what a v3 index says of an episode; DataError if that cannot be."""
    number, length = whole(record, "episode_index", file), whole(record, "length", file)
    first, end = (whole(record, f"dataset_{w}_index", file) for w in ("from", "to"))
    if end - first != length or not length:
        raise DataError(f"{file}: episode {number} has {length} rows, but stands at {first}:{end}")
    place = {w: whole(record, f"data/{w}", file) for w in ("chunk_index", "file_index")}
    clips = {}
    for camera in cameras:
        at = {w: whole(record, f"videos/{camera}/{w}", file) for w in ("chunk_index", "file_index")}
        start = record.get(f"videos/{camera}/from_timestamp")
        if not isinstance(start, int | float) or not 0 <= start < 1e9:
            raise DataError(f"{file}: episode {number}: {camera} begins at {start!r} s")
        path = filled(info.raw.get("video_path"), {"video_key": camera, **at}, info.path / INFO)
        clips[camera] = Clip(path, float(start))
    tasks = record.get("tasks")
    tasks = tuple(map(str, tasks)) if isinstance(tasks, list) else ()
    data = filled(info.raw.get("data_path"), place, info.path / INFO)
    return Row(number, length, data, first, clips, tasks)


def whole(record: Mapping[str, Any], key: str, where: object) -> int:
    """Give a count of the index; DataError if it is none."""
    value = record.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 40:
        raise DataError(f"{where}: {key} is {value!r}")
    return value


def rows_v2(info: Info) -> list[Row]:
    """Read the index of episodes of a v2 dataset."""
    file = info.path / EPISODES_V2
    return [_row_v2(info, record, (file, i)) for i, record in enumerate(read_lines(file))]


def rows_v2_until(info: Info) -> tuple[list[Row], list[str]]:
    """Read the same up to what is damaged, and say what is."""
    file, rows = info.path / EPISODES_V2, []
    records, fault = lines_until(file)
    try:
        for i, record in enumerate(records):
            rows.append(_row_v2(info, record, (file, i)))
    except DataError as error:
        return rows, [str(error)]
    return rows, [fault] if fault else []


def _row_v2(info: Info, record: Mapping[str, Any], entry: tuple[Path, int]) -> Row:
    file, size = entry[0], info.raw.get("chunks_size", CHUNK)
    if not isinstance(size, int) or size < 1:
        raise DataError(f"{info.path / INFO}: chunks_size {size!r}")
    number, length = whole(record, "episode_index", file), whole(record, "length", file)
    if not 0 < length < MOST_ROWS:
        raise DataError(f"{file}: episode {number} has {length} rows")
    place = {"episode_chunk": number // size, "episode_index": number}
    data = filled(info.raw.get("data_path"), place, info.path / INFO)
    template = info.raw.get("video_path")
    clips = {
        f.name: Clip(filled(template, place | {"video_key": f.name}, info.path / INFO), 0.0)
        for f in info.features.values()
        if f.dtype == "video"
    }
    tasks = record.get("tasks")
    tasks = tuple(map(str, tasks)) if isinstance(tasks, list) else ()
    return Row(number, length, data, None, clips, tasks, entry)


def table_file(path: Path) -> parquet.ParquetFile:
    """Open a parquet file; DataError if it is not there, has no footer, or is too large."""
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    with one_line(path):
        with path.open("rb") as file:
            head = file.read(4)
            file.seek(0, 2)
            size = file.tell()
            file.seek(max(0, size - 4))
            tail = file.read(4)
        if head != b"PAR1" or tail != b"PAR1" or size < 12:
            raise DataError(
                f"{path} is no whole parquet file ({size} bytes, no footer): its writer was stopped"
            )
        opened = parquet.ParquetFile(path)
        about = opened.metadata
        if about.num_rows > MOST_ROWS:
            raise DataError(f"{path}: {about.num_rows} rows are too many")
        for i in range(about.num_row_groups):
            if about.row_group(i).total_byte_size > MOST_TABLE:
                raise DataError(f"{path}: row group {i} would take too much memory")
        return opened


def numbers(column: pyarrow.ChunkedArray, feature: Feature, where: str) -> np.ndarray:
    """Give a column as an array [T, *shape], a scalar feature of shape (1,) as [T]."""
    rows = len(column)
    flat = column.combine_chunks()
    if isinstance(flat, pyarrow.ChunkedArray):
        flat = pyarrow.concat_arrays(flat.chunks) if flat.num_chunks else pyarrow.array([])
    while pyarrow.types.is_list(flat.type) or pyarrow.types.is_fixed_size_list(flat.type):
        if flat.null_count:
            raise DataError(f"{where}: {feature.name} is missing in {flat.null_count} rows")
        flat = flat.flatten()
    if flat.null_count:
        raise DataError(f"{where}: {feature.name} is missing in {flat.null_count} rows")
    values = flat.to_numpy(zero_copy_only=False)
    if values.dtype.kind not in NUMERIC:
        raise DataError(f"{where}: {feature.name} holds {values.dtype}, not numbers")
    size = math.prod(feature.shape) if feature.shape else 1
    if values.size != rows * size:
        raise DataError(f"{where}: {feature.name} has {values.size} numbers for {rows} rows")
    shape = () if feature.shape in ((), (1,)) else feature.shape
    return values.reshape(rows, *shape)


def inside_of(info: Info, name: str) -> Path:
    """Give the path of a file of the dataset; DataError if it leads out of it."""
    return inside(info.path, name, info.path / INFO)
