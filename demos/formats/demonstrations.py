"""Demonstrations as plain arrays, whoever recorded them, in whichever format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py

from demos.data import arrays
from demos.data.arrays import Demonstrations
from demos.formats import guess, rest
from demos.formats.contract import Reading
from demos.formats.foreign import demonstrations


def read(
    path: str | Path,
    obs: Sequence[str] | None = None,
    success: bool | None = None,
    as_given: bool = False,
    clip: bool = False,
    beside: Sequence[str | Path] = (),
) -> Demonstrations:
    """Read a dataset of ours, or others' in any format, as ``demos.data.arrays.read`` does.

    Actions of formats that state limits come in [-1, 1], if ``clip`` what lies beyond, too; in
    their own units if ``as_given``, for a reader who has limits. Entries of robomimic's files are
    called as ours are if data of another format are read ``beside``. Raises DataError for what is
    not there, damaged, of no known format or empty.
    """
    path = Path(path)
    kind = guess.format_of(path)
    alone = all(guess.format_of(Path(other)) == kind for other in beside)
    if kind == guess.OURS or (kind == guess.ROBOMIMIC and alone and not _says_more(path)):
        return arrays.read(path, obs, success)
    reading = Reading(obs=tuple(obs) if obs else None, clip=clip or as_given)
    return demonstrations(path, reading, success, as_given)


def _says_more(path: Path) -> bool:
    """Say whether an HDF5 file is robosuite's raw one, without observations, or written by us."""
    try:
        with h5py.File(path, "r") as file:
            if rest.GROUP in file.attrs:
                return True
            demos = [name for name in file.get("data", ()) if arrays.DEMO.fullmatch(name)]
            first = file["data"][demos[0]] if demos else {}
            return "obs" not in first and "states" in first
    except (OSError, KeyError, ValueError, RuntimeError, TypeError, AttributeError):
        return False  # what is wrong with it is said by who reads it
