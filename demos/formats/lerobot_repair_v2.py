"""The repair of a LeRobot v2 dataset: a table and a video of each episode, under new numbers.

Tables are written anew, videos get a second name: what was there stays as it is.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet

from demos.formats import lerobot_layout as layout
from demos.formats import statistics
from demos.formats.faults import filled, lines_until, one_line, read_lines
from demos.formats.lerobot import Tables
from demos.formats.lerobot_layout import EPISODES_V2, INFO, STATS, STATS_V2, TASKS_V2, Info, Row
from demos.formats.lerobot_repair import numbered, take_beside
from demos.formats.lerobot_whole import Found, damaged_stats, require_rows, wrong_tasks
from demos.formats.lerobot_write import parent_of
from demos.formats.parts import link
from robolearn.errors import DataError
from robolearn.files import write_atomically

DATA = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
VIDEO = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
WRITTEN = tuple(Path(name).name for name in (INFO, EPISODES_V2, STATS_V2, TASKS_V2))
COUNTED = ("episode_index", "index")  # columns that get other numbers


def write(found: Found, rows: Sequence[Row], folder: Path) -> None:
    """Write ``data/``, ``videos/`` and ``meta/`` of ``rows``, numbered from 0.

    Raises DataError if that is not what was found.
    """
    info = found.info
    tasks = _write_data(info, rows, folder)
    _link_videos(info, rows, folder)
    _copy_meta(info, folder)
    _write_lines(folder / EPISODES_V2, _episodes(rows))
    _write_lines(folder / STATS_V2, _stats(info, rows))
    names = _known_tasks(info) or tasks
    _write_lines(folder / TASKS_V2, [{"task_index": i, "task": t} for i, t in names.items()])
    about = info.raw | {
        "total_episodes": len(rows),
        "total_frames": sum(row.length for row in rows),
        "total_tasks": len(names),
        "total_videos": sum(len(row.clips) for row in rows),
        "total_chunks": -(-len(rows) // _size(info)),
        "splits": {"train": f"0:{len(rows)}"},
        "data_path": DATA,
        "video_path": VIDEO if rows[0].clips else None,
    }
    write_atomically(folder / INFO, json.dumps(about, indent=2).encode())
    take_beside(info, rows, folder)
    _require_as_found(info, rows, folder)


def _size(info: Info) -> int:
    return info.raw.get("chunks_size", layout.CHUNK)


def _place(info: Info, number: int) -> dict[str, int]:
    return {"episode_chunk": number // _size(info), "episode_index": number}


def _write_data(info: Info, rows: Sequence[Row], folder: Path) -> dict[int, str]:
    """Write each episode's table with new numbers; give the tasks, by number."""
    tables, tasks, index = Tables(info), {}, 0
    for number, row in enumerate(rows):
        table = tables.rows(row, 0)
        if "task_index" in table.column_names and len(row.tasks) == 1:
            tasks[int(table["task_index"][0].as_py())] = row.tasks[0]
        path = parent_of(folder / filled(DATA, _place(info, number), INFO))
        parquet.write_table(numbered(table, number, index), path)
        index += row.length
    tables.close()
    return dict(sorted(tasks.items()))


def _link_videos(info: Info, rows: Sequence[Row], folder: Path) -> None:
    for number, row in enumerate(rows):
        for camera, clip in row.clips.items():
            name = filled(VIDEO, _place(info, number) | {"video_key": camera}, INFO)
            link(layout.inside_of(info, clip.file), parent_of(folder / name))


def _copy_meta(info: Info, folder: Path) -> None:
    """Keep what else is in ``meta/``."""
    left_out = {*WRITTEN, *([Path(STATS).name] if damaged_stats(info) else [])}
    (folder / "meta").mkdir()
    for path in (info.path / "meta").iterdir():
        if path.is_file() and path.name not in left_out:
            shutil.copy2(path, folder / "meta" / path.name)


def _write_lines(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    if records:
        path.write_text("".join(json.dumps(record) + "\n" for record in records))


def _episodes(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Give what the index says of these rows, under their new numbers."""
    records, _ = lines_until(rows[0].entry[0])
    return [records[row.entry[1]] | {"episode_index": i} for i, row in enumerate(rows)]


def _stats(info: Info, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Give the episodes' statistics under new numbers; none unless all have some."""
    path = info.path / STATS_V2
    records = lines_until(path)[0] if path.is_file() else []
    known = {r.get("episode_index"): r.get("stats") for r in records}
    if not all(isinstance(known.get(row.number), dict) for row in rows):
        return []
    kept, index = [], 0
    for number, row in enumerate(rows):
        stats = dict(known[row.number])
        columns = np.full(row.length, number), np.arange(index, index + row.length)
        for name, values in zip(COUNTED, columns, strict=True):
            if isinstance(stats.get(name), dict):
                right = statistics.of_rows(values)
                stats[name] = {k: right.get(k, old) for k, old in stats[name].items()}
        kept.append({"episode_index": number, "stats": stats})
        index += row.length
    return kept


def _known_tasks(info: Info) -> dict[int, str]:
    if wrong_tasks(info):
        return {}
    return {record["task_index"]: record["task"] for record in read_lines(info.path / TASKS_V2)}


def _require_as_found(info: Info, rows: Sequence[Row], folder: Path) -> None:
    """Raise DataError unless what was prepared is, episode by episode, what was found whole."""
    there = layout.read_info(folder)
    again = layout.read_rows(there)
    tables = Tables(there)
    for old, new in zip(rows, again, strict=True):
        if (old.length, old.tasks) != (new.length, new.tasks) or not _same_clips(
            info, old, there, new
        ):
            raise DataError(f"episode {old.number} would become another")
        with one_line(new.file):
            require_rows(there, new, tables.rows(new, 0))
    tables.close()


def _same_clips(info: Info, old: Row, there: Info, new: Row) -> bool:
    """Say whether the videos of two rows are the same files, or copies of the same size."""
    pairs = [
        (layout.inside_of(info, clip.file), layout.inside_of(there, new.clips[camera].file))
        for camera, clip in old.clips.items()
    ]
    return all(os.path.samefile(a, b) or a.stat().st_size == b.stat().st_size for a, b in pairs)
