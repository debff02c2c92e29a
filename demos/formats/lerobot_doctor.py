"""LeRobot's datasets after a crash: what is whole, and a repair that keeps that.

``repair`` keeps the longest run of whole episodes (``lerobot_whole.py``): it writes ``data/``,
``meta/`` and what this project keeps beside them anew (``lerobot_repair.py``), in the v2 layout
``videos/`` under new numbers, too (``lerobot_repair_v2.py``), and looks at it before it takes their
place. What was there before lies under ``lost/`` afterwards; nothing is deleted.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from demos.formats import lerobot_repair, lerobot_repair_v2
from demos.formats.guess import READY, REPAIR
from demos.formats.lerobot_whole import Found, look_at
from demos.formats.parts import free_name
from robolearn.errors import DataError
from robolearn.files import sync, write_atomically

LOST = "lost"
REWRITTEN = ("robolearn", "videos", "data", "meta")  # what a repair may write anew; meta comes last


def examine(path: Path, repair: bool) -> tuple[bool, list[str]]:
    """Examine a dataset, and repair it if asked to; give whether it is in order, and lines."""
    lines: list[str] = []
    if (path / REPAIR / READY).exists():
        if not repair:
            return False, [f"{path}: a repair was stopped; --repair finishes it"]
        _swap(path)
        lines.append(f"{path}: a repair that was stopped is finished")
    try:
        found = look_at(path)
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
    first, last = found.rows[run[0]].number, found.rows[run[-1]].number
    span = f"{len(run)} episodes ({first} to {last})" if len(run) > 1 else f"episode {first}"
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


def _prepare(found: Found) -> None:
    """Write the longest run into a folder of its own; DataError if it would not be whole."""
    folder = found.info.path / REPAIR
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir()
    rows = [found.rows[i] for i in found.run]
    kind = lerobot_repair if found.info.is_v3 else lerobot_repair_v2
    kind.write(found, rows, folder)
    for file in folder.rglob("*"):
        sync(file)
    write_atomically(folder / READY, b"")


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
