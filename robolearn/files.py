"""Files that are there whole or not at all, whatever is killed and whenever the disk is full."""

import contextlib
import os
import stat
from pathlib import Path

from robolearn.errors import DataError

TEMPORARY = ".tmp"  # suffix of files that are not finished; their names begin with a dot


def temporary_name(path: Path) -> Path:
    """Give the name, in the same folder, under which this process writes ``path``."""
    return path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")


def write_atomically(path: Path, content: bytes, durable: bool = True) -> None:
    """Make ``path`` hold ``content``, or leave what was there: never anything in between.

    A file that was there keeps its permissions. ``durable`` also waits until the content and its
    name are on the disk, so that a power failure loses nothing either. Raises DataError, which
    names the folder, when the disk is full.
    """
    temporary = temporary_name(path)
    try:
        with open(temporary, "wb") as file:
            if path.exists():
                os.fchmod(file.fileno(), stat.S_IMODE(path.stat().st_mode))
            file.write(content)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(temporary, path)
        if durable:
            sync(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with contextlib.suppress(OSError):  # the error that matters is on its way already
            temporary.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, unless it is there; DataError if that is not possible."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError) -> DataError:
    """Say in one line which folder cannot be written, and that the rest of it is safe."""
    return DataError(
        f"{path.parent}: cannot write {path.name} ({error.strerror}); what is there is kept: "
        "make room or choose another folder, then run again"
    )


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
