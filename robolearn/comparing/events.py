"""What runs have logged, as TensorBoard reads it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from numbers import Real
from pathlib import Path

from robolearn.comparing.conditions import CONFIG
from robolearn.comparing.curves import METRICS
from robolearn.errors import DataError, UserError
from robolearn.files import cannot_write

FILES = "events.out.tfevents.*"
UNCOUNTED = {"step", "time_s"}


def write_events(folders: Sequence[Path], target: Path) -> None:
    """Write the ``metrics.jsonl`` of runs as event files, a folder each, into ``target``, anew.

    What is no number is left out. Raises UserError where TensorBoard is not installed, DataError
    for a damaged file and where nothing can be written.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError:
        raise UserError(
            "tensorboard: it is not installed; pip install 'robolearn[tensorboard]'"
        ) from None
    try:
        for folder in filter(lambda run: (run / METRICS).is_file(), folders):
            place = target / folder.parent.name / folder.name
            for earlier in place.glob(FILES):  # it would be shown as well
                earlier.unlink()
            with SummaryWriter(place) as writer:
                for event in _events(folder):
                    writer.add_scalar(*event)
    except OSError as error:
        raise cannot_write(target, error) from error


def _events(folder: Path) -> Iterator[tuple[str, float, int, float]]:
    """Give name, value, step and time, in seconds since 1970, of all that a run has logged."""
    began_s = (folder / CONFIG).stat().st_mtime
    file = folder / METRICS
    for line in file.read_text().splitlines():
        try:
            row = json.loads(line)
            step, at_s = row["step"], began_s + row.get("time_s", 0.0)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataError(f"{file}: damaged: {error}") from error
        for name in row.keys() - UNCOUNTED:
            if isinstance(row[name], Real):
                yield name, row[name], step, at_s
