"""What this machine has left: cores, memory."""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
MEMINFO = Path("/proc/meminfo")


def cores(cgroup: Path = CGROUP) -> int:
    """Count the cores that this process may use, of a container no more than it is granted."""
    own = len(os.sched_getaffinity(0))
    quota, period = (_text(cgroup / "cpu.max") or "max 1").split()
    return own if quota == "max" else max(1, min(own, math.ceil(int(quota) / int(period))))


def free_memory_gb(cgroup: Path = CGROUP, meminfo: Path = MEMINFO) -> float:
    """Give the memory that may be taken without swapping, of a container what it has left."""
    lines = dict(line.split(":") for line in meminfo.read_text().splitlines())
    free = 1024 * int(lines["MemAvailable"].split()[0])
    most, used = _text(cgroup / "memory.max"), _text(cgroup / "memory.current")
    if most not in ("", "max") and used:
        free = min(free, int(most) - int(used) + _reclaimable(cgroup))
    return free / 1e9


def _reclaimable(cgroup: Path) -> int:
    """Give the bytes of a container that only cache files."""
    counts = dict(line.split() for line in _text(cgroup / "memory.stat").splitlines())
    return int(counts.get("inactive_file", 0))


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


@contextlib.contextmanager
def pinned(count: int) -> Iterator[None]:
    """Keep this thread, and what it starts, to ``count`` cores that nobody else here has taken.

    Who takes cores locks a file for each in the temporary folder; the locks go with the process.
    Where not so many are free, nothing is done.
    """
    before, taken = os.sched_getaffinity(0), []
    with contextlib.ExitStack() as locks:
        for core in sorted(before):
            if len(taken) < count and locks.enter_context(_lock_of(core)):
                taken.append(core)
        if len(taken) < count:
            locks.close()
            yield
            return
        os.sched_setaffinity(0, taken)
        try:
            yield
        finally:
            os.sched_setaffinity(0, before)


@contextlib.contextmanager
def _lock_of(core: int) -> Iterator[bool]:
    """Say whether the lock of a core has been taken; it is held until the end."""
    folder = Path(tempfile.gettempdir()) / f"robolearn-cores-{os.getuid()}"
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            file = stack.enter_context(open(folder / str(core), "ab"))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # somebody else has it
            yield False
            return
        yield True
