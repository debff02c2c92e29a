"""LeRobot's datasets after a crash: which episodes are whole, and a repair that keeps those.

An episode is whole if the index says where it is, its rows are there, numbered and finite, their
time stamps go on at the rate, and every frame of every camera is found where it should be, in a
stretch of video that no other episode uses. ``repair`` keeps the longest run of whole episodes: it
writes ``data/``, ``meta/`` and what this project keeps beside them anew, with the videos as they
are, and looks at it before it takes their place. What was there before lies under ``lost/``
afterwards; nothing is deleted.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet as parquet

from demos.formats import lerobot_layout as layout
from demos.formats import statistics, video
from demos.formats.faults import first_line, one_line
from demos.formats.guess import READY, REPAIR
from demos.formats.lerobot import Tables, is_image, require_in_order, starts_of
from demos.formats.lerobot_layout import INFO, Info, Row
from demos.formats.lerobot_rest import Beside
from demos.formats.lerobot_write import DATA, DataFiles, parent_of, write_tasks
from demos.formats.parts import free_name
from robolearn.errors import DataError
from robolearn.files import sync, write_atomically
from robolearn.running.run import counter

LOST = "lost"
REWRITTEN = ("robolearn", "data", "meta")  # what a repair writes anew
TASKS = "meta/tasks.parquet"
EPISODES = "meta/episodes/chunk-000/file-{:03d}.parquet"
ROWS_IN_A_FILE = 1000


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


def examine(path: Path, repair: bool) -> tuple[bool, list[str]]:
    """Examine a dataset, and repair it if asked to; give whether it is in order, and lines."""
    lines: list[str] = []
    if (path / REPAIR / READY).exists():
        if not repair:
            return False, [f"{path}: a repair was stopped; --repair finishes it"]
        _swap(path)
        lines.append(f"{path}: a repair that was stopped is finished")
    try:
        found = _examine(path)
    except DataError as error:
        return False, [*lines, f"{error}; nothing can be kept without it"]
    lines += found.lines
    lines += [f"episode {found.rows[i].number}: {fault}" for i, fault in found.faults.items()]
    whole = len(found.rows) - len(found.faults)
    total = found.info.raw.get("total_episodes")
    told = f"{path}: {whole} of {max(len(found.rows), _count(total))} episodes whole (lerobot)"
    if not found.faults and not found.lines:
        return True, [*lines, told]
    return _mended(found, repair, [*lines, told])


def _mended(found: Found, repair: bool, lines: list[str]) -> tuple[bool, list[str]]:
    path, run = found.info.path, found.run
    if not run:
        return False, [*lines, "no episode is whole: left alone"]
    if not found.info.is_v3:
        hint = f"robolearn convert {path} DST skip=true keeps those that are whole"
        return False, [*lines, f"of the v2 layout nothing is repaired in place: {hint}"]
    first, last = found.rows[run[0]].number, found.rows[run[-1]].number
    span = f"{len(run)} episodes ({first} to {last})"
    if not repair:
        return False, [*lines, f"--repair keeps the longest whole run, {span}"]
    try:
        _prepare(found)
    except DataError as error:
        shutil.rmtree(path / REPAIR)
        return False, [*lines, f"left alone: what a repair would write is not whole: {error}"]
    _swap(path)
    gone = max(len(found.rows), _count(found.info.raw.get("total_episodes"))) - len(run)
    lines.append(f"repaired: kept {span}, lost {gone}; what was there is under {path / LOST}")
    return True, lines


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value >= 0 else 0


# -- what is whole -------------------------------------------------------------------------------


def _examine(path: Path) -> Found:
    info = layout.read_info(path)
    rows, lines = _rows(info)
    faults: dict[int, str] = {}
    tables, starts = Tables(info), _starts(info, rows)
    shared, beside, last = _shared_clips(info, rows), Beside(info), -1
    with counter(len(rows), "examining", "episodes") as bar:
        for i, row in enumerate(rows):
            try:
                if row.number <= last:
                    raise DataError(f"stands behind episode {last} in the index")
                last = row.number
                if i in shared:
                    raise DataError(shared[i])
                with one_line(row.file):
                    table = tables.rows(row, starts.get(row.file, 0))
                    _require_rows(info, row, table)
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
    return Found(info, rows, faults, lines + _wrong_tasks(info))


def _rows(info: Info) -> tuple[list[Row], list[str]]:
    """Read what can be read of the index; say which files of it cannot."""
    if not info.is_v3:
        return layout.rows_v2(info), []
    rows, lines = [], []
    for file in layout.index_files(info.path):
        try:
            rows += layout.rows_of_file(info, file)
        except DataError as error:
            lines.append(str(error))
    if not rows and not lines:
        lines.append(f"{info.path}: the index of episodes (meta/episodes) is missing")
    return rows, lines


def _starts(info: Info, rows: Sequence[Row]) -> dict[str, int]:
    """Give the row of the whole dataset at which each data file begins, as it says itself.

    By the index alone, a file whose first episode the index has lost would begin too late.
    """
    starts = starts_of(rows)
    for name in starts:
        try:
            with layout.table_file(layout.inside_of(info, name)) as file:
                if "index" in file.schema_arrow.names and file.metadata.num_rows:
                    first = file.read_row_group(0, columns=["index"])["index"][0].as_py()
                    starts[name] = first if isinstance(first, int) else starts[name]
        except (DataError, OSError, pyarrow.ArrowException):
            continue  # each episode in it says so
    return starts


def _require_rows(info: Info, row: Row, table: pyarrow.Table) -> None:
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


def _wrong_tasks(info: Info) -> list[str]:
    if not info.is_v3:
        return []
    try:
        with layout.table_file(info.path / TASKS) as file:
            about = json.loads((file.schema_arrow.metadata or {}).get(b"pandas", b"{}"))
            if not about.get("index_columns"):
                return [f"{TASKS} has no pandas index: LeRobot cannot look tasks up"]
    except (DataError, ValueError) as error:
        return [f"{TASKS}: {first_line(error)}"]
    return []


# -- the repair ----------------------------------------------------------------------------------


def _prepare(found: Found) -> None:
    """Write ``data/`` and ``meta/`` of the longest run into a folder of its own."""
    info, rows = found.info, [found.rows[i] for i in found.run]
    folder = info.path / REPAIR
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir()
    places, tasks = _write_data(info, rows, _starts(info, found.rows), folder)
    kept, index = [], 0
    records = _records(rows)
    for number, (row, place, record) in enumerate(zip(rows, places, records, strict=True)):
        record |= {
            "episode_index": number,
            "dataset_from_index": index,
            "dataset_to_index": index + row.length,
            "data/chunk_index": place[0],
            "data/file_index": place[1],
        }
        kept.append(record)
        index += row.length
    _write_index(kept, folder)
    _copy_meta(info, folder, tasks)
    stats = _stats(kept)
    if stats:
        (folder / "meta/stats.json").write_text(json.dumps(stats, indent=2))
    about = info.raw | {
        "total_episodes": len(rows),
        "total_frames": index,
        "splits": {"train": f"0:{len(rows)}"},
        "data_path": DATA,
    }
    write_atomically(folder / INFO, json.dumps(about, indent=2).encode())
    _take_beside(info, rows, folder)
    _require_as_found(rows, folder)
    for file in folder.rglob("*"):
        sync(file)
    write_atomically(folder / READY, b"")


def _write_data(
    info: Info, rows: Sequence[Row], starts: Mapping[str, int], folder: Path
) -> tuple[list[tuple[int, int]], dict[int, str]]:
    """Write the rows with new numbers; give each episode's file, and the tasks by number."""
    tables, files, places, tasks, index = Tables(info), DataFiles(folder), [], {}, 0
    for number, row in enumerate(rows):
        table = tables.rows(row, starts.get(row.file, 0))
        if "task_index" in table.column_names and len(row.tasks) == 1:
            tasks[int(table["task_index"][0].as_py())] = row.tasks[0]
        places.append(files.write(_numbered(table, number, index)))
        index += row.length
    files.close()
    tables.close()
    return places, tasks


def _numbered(table: pyarrow.Table, number: int, index: int) -> pyarrow.Table:
    values = {
        "episode_index": np.full(len(table), number),
        "index": np.arange(index, index + len(table)),
    }
    for name, column in values.items():
        if name in table.column_names:
            at = table.schema.get_field_index(name)
            kind = table.schema.field(name).type
            table = table.set_column(at, table.schema.field(name), pyarrow.array(column, kind))
    return table


def _records(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Read what the index says of these rows, statistics and all: each from its own place."""
    files: dict[Path, list[dict[str, Any]]] = {}
    for path in {row.entry[0] for row in rows}:
        with layout.table_file(path) as opened:
            files[path] = opened.read().to_pylist()
    return [dict(files[row.entry[0]][row.entry[1]]) for row in rows]


def _take_beside(info: Info, rows: Sequence[Row], folder: Path) -> None:
    """Take along what stands beside the episodes, if all of it belongs to them."""
    beside, tables, starts = Beside(info), Tables(info), _starts(info, rows)
    for row in rows:
        beside.examine(row, tables.rows(row, starts.get(row.file, 0)))
    beside.copy(rows, folder)
    tables.close()
    beside.close()


def _require_as_found(rows: Sequence[Row], folder: Path) -> None:
    """Raise DataError unless what was prepared is, episode by episode, what was found whole.

    The videos are not decoded again: they stay where they are, and so must each clip.
    """
    info = layout.read_info(folder)
    again = layout.read_rows(info)
    tables, starts = Tables(info), starts_of(again)
    for old, new in zip(rows, again, strict=True):
        if (old.length, dict(old.clips), old.tasks) != (new.length, dict(new.clips), new.tasks):
            raise DataError(f"episode {old.number} would become another")
        with one_line(new.file):
            _require_rows(info, new, tables.rows(new, starts.get(new.file, 0)))
    tables.close()


def _write_index(records: Sequence[Mapping[str, Any]], folder: Path) -> None:
    for i in range(0, len(records), ROWS_IN_A_FILE):
        some = [dict(record) for record in records[i : i + ROWS_IN_A_FILE]]
        for record in some:
            record["meta/episodes/chunk_index"] = 0
            record["meta/episodes/file_index"] = i // ROWS_IN_A_FILE
        path = parent_of(folder / EPISODES.format(i // ROWS_IN_A_FILE))
        parquet.write_table(pyarrow.Table.from_pylist(some), path, compression="snappy")


def _copy_meta(info: Info, folder: Path, tasks: Mapping[int, str]) -> None:
    """Keep what else is in ``meta/``, with tasks that LeRobot can look up."""
    for path in (info.path / "meta").iterdir():
        if path.is_file() and path.name not in ("info.json", "tasks.parquet"):
            shutil.copy2(path, folder / "meta" / path.name)
    if not _wrong_tasks(info):
        shutil.copy2(info.path / TASKS, folder / TASKS)
        return
    numbered = [tasks.get(i, f"unknown {i}") for i in range(max(tasks, default=0) + 1)]
    write_tasks(_readable_tasks(info) or numbered, folder / TASKS)


def _readable_tasks(info: Info) -> list[str]:
    """Give the tasks in order if the table can be read, but for its pandas index."""
    try:
        with layout.table_file(info.path / TASKS) as file:
            table = file.read()
        names = [c for c in table.column_names if c != "task_index"]
        pairs = zip(table["task_index"].to_pylist(), table[names[0]].to_pylist(), strict=True)
        found = dict(pairs)
        return [str(found[i]) for i in range(len(found))]
    except (DataError, KeyError, IndexError, ValueError, TypeError):
        return []


def _stats(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Put the statistics of the episodes together, as far as the index has them."""
    parts = []
    for record in records:
        one: dict[str, Any] = {}
        for key, value in record.items():
            if key.startswith("stats/"):
                feature, _, name = key[len("stats/") :].rpartition("/")
                one.setdefault(feature, {})[name] = value
        parts.append(one)
    wanted = {"min", "max", "mean", "std", "count", *statistics.QUANTILES}
    complete = [f for f in parts[0] if all(wanted <= set(part.get(f, ())) for part in parts)]
    return statistics.together([{f: part[f] for f in complete} for part in parts])


def _swap(path: Path) -> None:
    """Put what was prepared in place of what is there; goes on where it was stopped."""
    folder = path / REPAIR
    lost = path / LOST
    if not lost.exists() or not (folder / "lost").exists():
        lost = free_name(lost)
        lost.mkdir()
        (folder / "lost").write_text(lost.name)
    lost = path / (folder / "lost").read_text()
    for name in REWRITTEN:
        if (folder / name).exists():
            if (path / name).exists():
                os.replace(path / name, lost / name)
            os.replace(folder / name, path / name)
    shutil.rmtree(folder)
