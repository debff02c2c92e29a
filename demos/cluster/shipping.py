"""What is known of a run, as bytes that travel between machines, and back as a folder.

No file system is shared: a run is made in a folder of the machine that it is on, and what it has
left comes to the sweep's folder at every checkpoint. Both are laid out as
``robolearn.sweeps.attempt`` says.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from robolearn.files import write_atomically
from robolearn.sweeps.attempt import launch_file, log_of

GROWING = (".jsonl", ".rrd")  # files that are appended to, and say nothing of a checkpoint
ARRIVING = ".arriving"  # what is not whole yet, in a sweep's folder
Files = dict[str, bytes]  # path, relative to the sweep's folder -> content
Signature = frozenset[tuple[str, int, int]]


def signature(folder: Path, name: str) -> Signature:
    """Give names, sizes and times of a run's files, but for those that grow."""
    found = []
    for path in (folder / name).rglob("*"):
        try:
            status = path.stat()
        except FileNotFoundError:  # a checkpoint takes the place of another
            continue
        if path.is_file() and path.suffix not in GROWING:
            found.append((str(path), status.st_size, status.st_mtime_ns))
    return frozenset(found)


def packed(folder: Path, name: str, whole: bool = False) -> Files | None:
    """Give a run's files as they were at one instant; None if they changed meanwhile.

    The files that grow come last: they may say more than the checkpoint, which is cut off when the
    run goes on from it. Recordings come with the ``whole`` run alone, once it is over.
    """
    before = signature(folder, name)
    paths = [path for path in (folder / name).rglob("*") if path.is_file()]
    paths = [path for path in paths if whole or path.suffix != ".rrd"]
    paths.sort(key=lambda path: path.suffix in GROWING)
    paths += [path for path in (launch_file(folder, name), log_of(folder, name)) if path.exists()]
    try:
        files = {str(path.relative_to(folder)): path.read_bytes() for path in paths}
    except FileNotFoundError:
        return None
    return files if signature(folder, name) == before else None


def unpack(files: Files, folder: Path, name: str) -> None:
    """Have a run be what the files say; whatever ends this, ``recover`` finds it old or new."""
    fresh, old = _arriving(folder, name, "new"), _arriving(folder, name, "old")
    for path in (fresh, old):
        shutil.rmtree(path, ignore_errors=True)
    for relative, content in files.items():
        path = Path(relative)
        inside = path.parts[0] == name
        target = fresh.joinpath(*path.parts[1:]) if inside else folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, content, durable=False)
    if fresh.exists():
        old.parent.mkdir(parents=True, exist_ok=True)
        if (folder / name).exists():
            os.rename(folder / name, old)
        os.rename(fresh, folder / name)
        shutil.rmtree(old, ignore_errors=True)


def recover(folder: Path, name: str) -> None:
    """Put a run back that was about to be replaced when everything stopped."""
    old = _arriving(folder, name, "old")
    if old.exists() and not (folder / name).exists():
        os.rename(old, folder / name)
    shutil.rmtree(_arriving(folder, name, "new"), ignore_errors=True)


def _arriving(folder: Path, name: str, what: str) -> Path:
    return folder / ARRIVING / what / name
