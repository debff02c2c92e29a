"""Files of a conversion that is under way."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def free_name(path: Path) -> Path:
    """Give a path that is not there yet: ``lost``, else ``lost-2`` and so on."""
    found, number = path, 1
    while found.exists():
        number += 1
        found = path.with_name(f"{path.name}-{number}")
    return found


def link(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where the file system knows only one.

    Raises FileExistsError if ``target`` is there: to write over it would be to lose an episode.
    """
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:
        shutil.copy2(source, target)
