"""Which episodes of a LeRobot dataset are whole.

An episode is whole if the index says where it is, its rows are there, numbered and finite, their
time stamps go on at the rate, and every frame of every camera is found where it should be, in a
stretch of video that no other episode uses.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow

from demos.formats import lerobot_layout as layout
from demos.formats import video
from demos.formats.faults import first_line, lines_until, one_line, read_json, read_lines
from demos.formats.lerobot import Tables, is_image, require_in_order, starts_of
from demos.formats.lerobot_index import told_anew
from demos.formats.lerobot_layout import INFO, STATS, STATS_V2, TASKS, TASKS_V2, Info, Row
from demos.formats.lerobot_rest import Beside
from robolearn.errors import DataError
from robolearn.running.counter import Counter


@dataclass(frozen=True)
class Found:
    """What an examination found."""

    info: Info
    rows: list[Row]
    faults: dict[int, str]  # position in ``rows`` -> what is wrong
    lines: list[str]  # what is wrong with files and counts

    @property
    def run(self) -> range:
        """Give the longest run of whole episodes, the first of several."""
        best, start = range(0), 0
        for i in range(len(self.rows) + 1):
            if i == len(self.rows) or i in self.faults:
                if i - start > len(best):
                    best = range(start, i)
                start = i + 1
        return best


def look_at(path: Path) -> Found:
    """Examine every episode of a dataset; DataError where nothing can be said without info.json."""
    info = layout.read_info(path)
    rows, lines = _rows(info)
    faults: dict[int, str] = {}
    tables, begins = Tables(info), starts(info, rows)
    shared, beside, last = _shared_clips(info, rows), Beside(info), -1
    with Counter(len(rows), "examining", "episodes") as bar:
        for i, row in enumerate(rows):
            try:
                if row.number <= last:
                    raise DataError(f"stands behind episode {last} in the index")
                last = row.number
                if i in shared:
                    raise DataError(shared[i])
                with one_line(row.file):
                    table = tables.rows(row, begins.get(row.file, 0))
                    require_rows(info, row, table)
                    _require_frames(info, row)
                    beside.examine(row, table)
            except DataError as error:
                faults[i] = str(error)
            bar.update()
    tables.close()
    beside.close()
    lines += [f"{beside.fault}; a repair leaves it out"] if beside.fault else []
    lines += _wrong_numbers(rows)
    lines += _wrong_counts(info, rows, faults)
    return Found(info, rows, faults, [*lines, *wrong_tasks(info), *wrong_stats(info)])


def _rows(info: Info) -> tuple[list[Row], list[str]]:
    """Read what can be read of the index; say which files of it cannot."""
    if not info.is_v3:
        return layout.rows_v2_until(info)
    rows, lines = [], []
    for file in layout.index_files(info.path):
        try:
            rows += layout.rows_of_file(info, file)
        except DataError as error:
            lines.append(str(error))
    if not rows and not lines:
        lines.append(f"{info.path}: the index of episodes (meta/episodes) is missing")
    if lines and (lost := len(anew := told_anew(info, rows)) - len(rows)):
        lines.append(f"tables and videos tell of {lost} episodes that the index has lost")
        return anew, lines
    return rows, lines


def starts(info: Info, rows: Sequence[Row]) -> dict[str, int]:
    """Give the row of the whole dataset at which each data file begins, as it says itself.

    By the index alone, a file whose first episode the index has lost would begin too late.
    """
    found = starts_of(rows)
    for name in found:
        try:
            with layout.table_file(layout.inside_of(info, name)) as file:
                if "index" in file.schema_arrow.names and file.metadata.num_rows:
                    first = file.read_row_group(0, columns=["index"])["index"][0].as_py()
                    found[name] = first if isinstance(first, int) else found[name]
        except (DataError, OSError, pyarrow.ArrowException):
            continue  # each episode in it says so
    return found


def require_rows(info: Info, row: Row, table: pyarrow.Table) -> None:
    """Raise DataError unless an episode's rows are all there, and the images among them."""
    require_in_order(table, row, row.file)
    times = np.arange(row.length) / info.fps
    for name, feature in info.features.items():
        if feature.is_numeric and name in table.column_names:
            values = layout.numbers(table[name], feature, row.file)
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                raise DataError(f"{name} is not finite")
            if name == "timestamp" and np.abs(values - times).max() > video.TOLERANCE_S:
                raise DataError(f"its time stamps do not go on at {info.fps:g} a second")
            if name == "index" and row.first is not None and values[0] != row.first:
                raise DataError(f"index begins at {values[0]} instead of {row.first}")
        elif feature.is_numeric:
            raise DataError(f"{row.file} has no column '{name}'")
        elif feature.dtype == "image" and is_image(feature):
            for value in table[name]:
                video.image(value.as_py(), feature.shape[:2], f"{row.file}: {name}")


def _require_frames(info: Info, row: Row) -> None:
    """Raise DataError unless every frame of every camera is where it should be."""
    times = np.arange(row.length) / info.fps
    for camera, clip in row.clips.items():
        file = layout.inside_of(info, clip.file)
        size = info.features[camera].shape[:2]
        video.verify(file, clip.start_s + times, size, camera)


def _shared_clips(info: Info, rows: Sequence[Row]) -> dict[int, str]:
    """Find episodes whose stretch of a video begins before the one before it has ended."""
    found: dict[int, str] = {}
    ends: dict[str, tuple[float, int]] = {}
    for i, row in enumerate(rows):
        for clip in row.clips.values():
            end, whose = ends.get(clip.file, (0.0, -1))
            if clip.start_s < end - video.TOLERANCE_S:
                found[i] = f"its frames in {clip.file} are those of episode {whose}"
            else:
                ends[clip.file] = (clip.start_s + row.length / info.fps, row.number)
    return found


def _wrong_numbers(rows: Sequence[Row]) -> list[str]:
    there = {row.number for row in rows}
    gone = [str(i) for i in range(min(max(there, default=-1), 2 * len(rows))) if i not in there]
    return [f"the index misses episodes: {', '.join(gone[:8])}"] if gone else []


def _wrong_counts(info: Info, rows: Sequence[Row], faults: Mapping[int, str]) -> list[str]:
    frames = sum(row.length for row in rows)
    right = {"total_episodes": len(rows), "total_frames": frames}
    return [
        f"{INFO}: {name} is {info.raw.get(name)}, the index has {value}"
        for name, value in right.items()
        if info.raw.get(name) != value
    ]


def wrong_tasks(info: Info) -> list[str]:
    """Say why LeRobot cannot look tasks up, if that is so."""
    if not info.is_v3:
        return _wrong_lines(info.path / TASKS_V2)
    try:
        with layout.table_file(info.path / TASKS) as file:
            about = json.loads((file.schema_arrow.metadata or {}).get(b"pandas", b"{}"))
            if not about.get("index_columns"):
                return [f"{TASKS} has no pandas index: LeRobot cannot look tasks up"]
    except (DataError, ValueError) as error:
        return [f"{TASKS}: {first_line(error)}"]
    return []


def wrong_stats(info: Info) -> list[str]:
    """Say where statistics cannot be read."""
    found, path = [], info.path / STATS_V2
    if not info.is_v3 and path.is_file() and (fault := lines_until(path)[1]):
        found.append(f"{fault}; a repair leaves statistics out where one it keeps has none")
    return found + (
        [f"{fault}; a repair does not keep it"] if (fault := damaged_stats(info)) else []
    )


def damaged_stats(info: Info) -> str:
    """Say why the statistics of all episodes cannot be read, if they are there; else ""."""
    try:
        if (info.path / STATS).is_file():
            read_json(info.path / STATS)
    except DataError as error:
        return str(error)
    return ""


def _wrong_lines(path: Path) -> list[str]:
    try:
        known = [(record.get("task_index"), record.get("task")) for record in read_lines(path)]
    except DataError as error:
        return [str(error)]
    fit = known and all(isinstance(i, int) and isinstance(task, str) for i, task in known)
    return [] if fit else [f"{TASKS_V2} names no tasks"]
