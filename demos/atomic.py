"""Writing so that neither a kill, a full disk nor a second writer leaves half a file behind."""

import contextlib
import fcntl
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

from robolearn.errors import DataError

TEMPORARY = ".tmp"  # suffix of files that are not finished; their names begin with a dot


def temporary_name(path: Path) -> Path:
    """Give the name, in the same folder, under which this process writes ``path``."""
    return path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")


def write_atomically(path: Path, content: bytes, durable: bool = True) -> None:
    """Make ``path`` hold ``content``, or leave what was there: never anything in between.

    ``durable`` also waits until the content and its name are on the disk, so that a power failure
    loses nothing either. Raises DataError, which names the folder, when the disk is full.
    """
    temporary = temporary_name(path)
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(temporary, path)
        if durable:
            sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with contextlib.suppress(OSError):  # the error that matters is on its way already
            temporary.unlink(missing_ok=True)


def cannot_write(path: Path, error: OSError) -> DataError:
    """Say in one line which folder cannot be written, and that the rest of it is safe."""
    return DataError(
        f"{path.parent}: cannot write {path.name} ({error.strerror}); what is there is kept: "
        "make room or choose another folder, then run again"
    )


def sync_folder(folder: Path) -> None:
    """Wait until the names in ``folder`` are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other writers out, threads and processes, by a lock on the file ``path``.

    The system frees the lock when its holder dies, however it dies.
    """
    with open(path, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C back until the block is done, so that a finished episode reaches the disk."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGINT) is None:
        yield  # Python raises KeyboardInterrupt in the main thread only
        return
    held_back = []
    previous = signal.signal(signal.SIGINT, lambda number, frame: held_back.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
    if held_back:
        signal.raise_signal(signal.SIGINT)
