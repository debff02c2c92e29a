"""Files of a conversion that is under way."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


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
