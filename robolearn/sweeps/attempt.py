"""One attempt of a run: begin it, or go on with it, by the ordinary command line.

A sweep's folder, which has this layout wherever an attempt is made::

    launch/<run>.yaml     its resolved launch file
    <run>/                the run
    logs/<run>.txt        what it printed, of all attempts
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

from robolearn import names, signals
from robolearn.errors import UserError
from robolearn.running import launch
from robolearn.sweeps import machine

ENDED = "summary.json"  # a run that has it has ended well
LAST_WORDS = 300  # characters
USERS = 2  # exit code: what the user can put right, and nothing else


def attempt(folder: str, name: str, cpus: int) -> int:
    """Carry out a run's command line on so many cores of its own; give the exit code.

    SIGTERM does what Ctrl-C does: the run closes what it holds, and ends. Raises nothing but what
    the file system does.
    """
    log = log_of(Path(folder), name)
    with printing_to(log), machine.pinned(cpus), signals.as_interrupts():
        try:
            return names.load("robolearn.__main__:main")(_line(Path(folder), name))
        except UserError as error:
            print(f"robolearn: {error}", file=sys.stderr)
            return USERS
        except Exception:  # a bug, which is shown whole, and no other run's concern
            traceback.print_exc()
            return 1


def launch_file(folder: Path, name: str) -> Path:
    """Give the path of a run's launch file."""
    return folder / "launch" / f"{name}.yaml"


def log_of(folder: Path, name: str) -> Path:
    """Give the path of what a run printed."""
    return folder / "logs" / f"{name}.txt"


def has_ended(folder: Path, name: str) -> bool:
    """Say whether a run has ended well."""
    return (folder / name / ENDED).exists()


def last_words(folder: Path, name: str) -> str:
    """Give the last line of what a run printed, and where the others are."""
    log = log_of(folder, name)
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    last = next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")
    return f"{last[:LAST_WORDS]} ({log})"


def _line(folder: Path, name: str) -> list[str]:
    """Give the arguments: of a run that was stopped, those that go on with it, if its verb can."""
    file, directory = launch_file(folder, name), folder / name
    if (directory / "config.yaml").exists():
        if launch.read(file).verb.resumable:
            return [str(file), f"resume={json.dumps(str(directory))}"]
        shutil.rmtree(directory)
    return [str(file), f"out={json.dumps(str(directory))}"]


@contextlib.contextmanager
def printing_to(log: Path) -> Iterator[None]:
    """Have all that this process prints, and its children, go to the end of a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    streams = (sys.stdout, sys.stderr)
    with open(log, "ab") as file, contextlib.ExitStack() as before:
        for number, stream in enumerate(streams, start=1):
            stream.flush()
            kept = os.dup(number)
            before.callback(os.close, kept)
            before.callback(os.dup2, kept, number)
            before.callback(stream.flush)
            os.dup2(file.fileno(), number)
        yield
