"""The index of episodes of a LeRobot v3 dataset, told anew where a crash has lost it.

Tables say which episode each row is of; episodes follow each other in them as in the videos, of
which each is full before the next begins. Statistics of episodes are not told anew.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np

from demos.formats import lerobot_layout as layout
from demos.formats.faults import filled, inside, one_line
from demos.formats.lerobot_layout import INFO, TASKS, Info, Row
from demos.formats.video import TOLERANCE_S
from robolearn.errors import DataError

COLUMNS = ("episode_index", "task_index", "index")
Record = dict[str, Any]


def told_anew(info: Info, known: Sequence[Row]) -> list[Row]:
    """Give all rows, among them those that are ``known``; these alone where others disagree.

    Rows end where a table or a video cannot be read, or does not go on as it should.
    """
    in_order = [r for i, r in enumerate(_of_tables(info)) if r["episode_index"] == i]
    cameras = [f.name for f in info.features.values() if f.dtype == "video"]
    count = min([len(in_order), *(_place(info, camera, in_order) for camera in cameras)])
    rows = [_row(info, record, cameras) for record in in_order[:count]]
    there = {row.number: row for row in rows}
    if not all(row.number in there and _same(row, there[row.number]) for row in known):
        return list(known)
    there |= {row.number: row for row in known}  # they have statistics
    return list(there.values())


def _row(info: Info, record: Record, cameras: list[str]) -> Row:
    return dataclasses.replace(layout.row_v3(info, record, cameras, info.path), record=record)


def _same(known: Row, again: Row) -> bool:
    def about(row: Row) -> tuple[Any, ...]:
        return row.number, row.length, row.file, row.first, [c.file for c in row.clips.values()]

    starts = [[clip.start_s for clip in row.clips.values()] for row in (known, again)]
    return about(known) == about(again) and np.allclose(*starts, rtol=0, atol=TOLERANCE_S)


def _of_tables(info: Info) -> list[Record]:
    """Give what tables say of their episodes, up to one that cannot be read."""
    found: list[Record] = []
    try:
        tasks = _tasks(info)
        for file in sorted((info.path / "data").glob("chunk-*/file-*.parquet")):
            found += _of_table(info, file, tasks)
    except DataError:
        return found  # what was in the others is lost
    return found


def _of_table(info: Info, file: Path, tasks: Mapping[int, str]) -> list[Record]:
    """Give a record for each episode of a table, as the index has it but for videos."""
    name = str(file.relative_to(info.path))
    with one_line(file), layout.table_file(inside(info.path, name, info.path)) as opened:
        table = opened.read(columns=list(COLUMNS))
        episodes, task, index = (table[name].to_numpy() for name in COLUMNS)
        begins = [0, *(np.flatnonzero(np.diff(episodes)) + 1).tolist()] if len(table) else []
        found = []
        for first, end in zip(begins, [*begins[1:], len(table)], strict=True):
            place = {f"data/{key}": number for key, number in _numbers(file).items()}
            of_it = dict.fromkeys(tasks[i] for i in task[first:end].tolist() if i in tasks)
            found.append(
                {
                    "episode_index": int(episodes[first]),
                    "tasks": list(of_it),
                    "length": end - first,
                    "dataset_from_index": int(index[first]),
                    "dataset_to_index": int(index[first]) + end - first,
                    **place,
                }
            )
    if found and filled(info.raw.get("data_path"), _numbers(file), INFO) != name:
        raise DataError(f"{file} is not where data_path says")
    return found


def _place(info: Info, camera: str, records: Sequence[Record]) -> int:
    """Add where a camera's frames of each episode are; give of how many that is known."""
    files = sorted((info.path / "videos" / camera).glob("chunk-*/file-*.mp4"))
    sizes = [_frames(info, file) for file in files]
    number, at = 0, 0
    for i, record in enumerate(records):
        if number < len(files) and at == sizes[number]:
            number, at = number + 1, 0
        end = at + record["length"]
        if number == len(files) or end > sizes[number]:
            return i
        times = {"from_timestamp": at / info.fps, "to_timestamp": end / info.fps}
        place = _numbers(files[number]) | times
        record |= {f"videos/{camera}/{key}": value for key, value in place.items()}
        at = end
    return len(records)


def _frames(info: Info, file: Path) -> int:
    """Count a video's frames, as its header does; 0 where it cannot be read."""
    try:
        with one_line(file):
            path = inside(info.path, str(file.relative_to(info.path)), info.path)
            with av.open(str(path), format="mp4") as container:
                return container.streams.video[0].frames
    except DataError:
        return 0


def _numbers(file: Path) -> dict[str, int]:
    with one_line(file):
        chunk, number = file.parent.name, file.stem
        return {
            "chunk_index": int(chunk.removeprefix("chunk-")),
            "file_index": int(number.removeprefix("file-")),
        }


def _tasks(info: Info) -> dict[int, str]:
    """Read the tasks by number; DataError where they cannot be."""
    with one_line(info.path / TASKS), layout.table_file(info.path / TASKS) as opened:
        table = opened.read()
        (text,) = (name for name in table.column_names if name != "task_index")
        pairs = zip(table["task_index"].to_pylist(), table[text].to_pylist(), strict=True)
        return {number: str(task) for number, task in pairs}
