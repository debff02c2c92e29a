"""The repair of a LeRobot v3 dataset: what is kept is written anew into a folder of its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet as parquet

from demos.formats import lerobot_layout as layout
from demos.formats import statistics
from demos.formats.faults import one_line
from demos.formats.lerobot import Tables, starts_of
from demos.formats.lerobot_layout import INFO, STATS, TASKS, Info, Row
from demos.formats.lerobot_rest import Beside
from demos.formats.lerobot_whole import (
    Found,
    damaged_stats,
    require_rows,
    starts,
    wrong_tasks,
)
from demos.formats.lerobot_write import DATA, DataFiles, parent_of, write_tasks
from robolearn.errors import DataError
from robolearn.files import write_atomically

EPISODES = "meta/episodes/chunk-000/file-{:03d}.parquet"
ROWS_IN_A_FILE = 1000


def write(found: Found, rows: Sequence[Row], folder: Path) -> None:
    """Write ``data/`` and ``meta/`` of ``rows``; the videos stay where they are.

    Raises DataError if that is not what was found.
    """
    info = found.info
    places, tasks = _write_data(info, rows, starts(info, found.rows), folder)
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
        (folder / STATS).write_text(json.dumps(stats, indent=2))
    about = info.raw | {
        "total_episodes": len(rows),
        "total_frames": index,
        "splits": {"train": f"0:{len(rows)}"},
        "data_path": DATA,
    }
    write_atomically(folder / INFO, json.dumps(about, indent=2).encode())
    take_beside(info, rows, folder)
    _require_as_found(rows, folder)


def _write_data(
    info: Info, rows: Sequence[Row], starts: Mapping[str, int], folder: Path
) -> tuple[list[tuple[int, int]], dict[int, str]]:
    """Write the rows with new numbers; give each episode's file, and the tasks by number."""
    tables, files, places, tasks, index = Tables(info), DataFiles(folder), [], {}, 0
    for number, row in enumerate(rows):
        table = tables.rows(row, starts.get(row.file, 0))
        if "task_index" in table.column_names and len(row.tasks) == 1:
            tasks[int(table["task_index"][0].as_py())] = row.tasks[0]
        places.append(files.write(numbered(table, number, index)))
        index += row.length
    files.close()
    tables.close()
    return places, tasks


def numbered(table: pyarrow.Table, number: int, index: int) -> pyarrow.Table:
    """Give an episode's rows as those of another one, that begins at row ``index`` of all."""
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
    """Read what the index says of these rows, statistics and all: each from its own place.

    Where it was lost, what was told anew stands for it.
    """
    files: dict[Path, list[dict[str, Any]]] = {}
    for path in {row.entry[0] for row in rows if row.entry}:
        with layout.table_file(path) as opened:
            files[path] = opened.read().to_pylist()
    return [dict(row.record or files[row.entry[0]][row.entry[1]]) for row in rows]


def take_beside(info: Info, rows: Sequence[Row], folder: Path) -> None:
    """Take along what stands beside the episodes, if all of it belongs to them."""
    beside, tables, begins = Beside(info), Tables(info), starts(info, rows)
    for row in rows:
        beside.examine(row, tables.rows(row, begins.get(row.file, 0)))
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
            require_rows(info, new, tables.rows(new, starts.get(new.file, 0)))
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
    left_out = {
        Path(name).name for name in (INFO, TASKS, *([STATS] if damaged_stats(info) else []))
    }
    for path in (info.path / "meta").iterdir():
        if path.is_file() and path.name not in left_out:
            shutil.copy2(path, folder / "meta" / path.name)
    if not wrong_tasks(info):
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
