"""What goes wrong in strangers' files, in one line; paths that must stay inside a folder."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import pyarrow

from robolearn.errors import DataError

MOST_TEXT = 64 << 20  # bytes of a file of text
FAULTS = (
    OSError,
    KeyError,
    ValueError,
    TypeError,
    AttributeError,
    RuntimeError,
    OverflowError,
    MemoryError,
    IndexError,
    ZeroDivisionError,
    pyarrow.ArrowException,
    av.FFmpegError,
)
FIELD = re.compile(r"\{(\w+)(?::0(\d)d)?\}")


@contextmanager
def one_line(where: object) -> Iterator[None]:
    """Let whatever goes wrong in a stranger's file come out as a DataError that says where."""
    try:
        yield
    except DataError:
        raise
    except FAULTS as error:
        raise DataError(f"{where} is damaged: {first_line(error)}") from error


def first_line(error: BaseException) -> str:
    """Give an error's message in one line that is not too long."""
    said = error.strerror if isinstance(error, av.FFmpegError) else error  # no number, path once
    lines = str(said).splitlines() or [type(error).__name__]
    return lines[0][:300]


def read_text(path: Path) -> str:
    """Read a file of text; DataError if it is not there, too long, or no text."""
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    if path.stat().st_size > MOST_TEXT:
        raise DataError(f"{path} is too long to be what it should")
    with one_line(path):
        return path.read_text(encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; DataError otherwise."""
    text = read_text(path)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is no JSON: {first_line(error)}") from None
    if not isinstance(found, dict):
        raise DataError(f"{path} is not a JSON object")
    return found


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read a file of JSON objects, one a line."""
    found, fault = lines_until(path)
    if fault:
        raise DataError(fault)
    return found


def lines_until(path: Path) -> tuple[list[dict[str, Any]], str]:
    """Read a file of JSON objects up to the first line that is none; say what is wrong with it."""
    found: list[dict[str, Any]] = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            return found, f"{path}:{number}: no JSON: {first_line(error)}"
        if not isinstance(value, dict):
            return found, f"{path}:{number}: not a JSON object"
        found.append(value)
    return found, ""


def inside(folder: Path, name: Any, where: object) -> Path:
    """Give ``folder / name`` if it stays in the folder, links followed; DataError otherwise.

    A snapshot in the cache of a hub is links into the folder ``blobs`` beside it: they may stay.
    """
    if not isinstance(name, str) or "\0" in name:
        raise DataError(f"{where}: {name!r} is no path")
    path, folder = folder / name, folder.absolute()
    allowed = [folder.resolve()]
    if folder.parent.name == "snapshots":
        allowed.append((folder.parent.parent / "blobs").resolve())
    leads_out = ".." in Path(name).parts or Path(name).is_absolute()
    if leads_out or not any(path.resolve().is_relative_to(place) for place in allowed):
        raise DataError(f"{where}: the path {name[:80]!r} leads out of {folder}")
    return path


def filled(template: Any, values: Mapping[str, Any], where: object) -> str:
    """Fill ``"data/chunk-{chunk_index:03d}"`` in; nothing else of Python's formats is known."""
    if not isinstance(template, str):
        raise DataError(f"{where}: {template!r} is no path")

    def fill(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise DataError(f"{where}: unknown field {match[0]} in {template[:80]!r}")
        value = values[match[1]]
        return f"{int(value):0{match[2]}d}" if match[2] else str(value)

    return FIELD.sub(fill, template)
