"""What runs have logged, as TensorBoard reads it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from numbers import Real
from pathlib import Path

from robolearn.comparing.curves import METRICS
from robolearn.errors import UserError

UNCOUNTED = {"step", "time_s"}


def write_events(folders: Sequence[Path], target: Path) -> None:
    """Write the ``metrics.jsonl`` of runs as event files, a folder each, into ``target``.

    What is no number is left out. Raises UserError where TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError:
        raise UserError(
            "tensorboard: it is not installed; pip install 'robolearn[tensorboard]'"
        ) from None
    for folder in folders:
        began_s = (folder / "config.yaml").stat().st_mtime
        with SummaryWriter(target / folder.parent.name / folder.name) as writer:
            for line in (folder / METRICS).read_text().splitlines():
                row = json.loads(line)
                for name in row.keys() - UNCOUNTED:
                    if isinstance(row[name], Real):
                        at_s = began_s + row.get("time_s", 0.0)
                        writer.add_scalar(name, row[name], row["step"], walltime=at_s)
