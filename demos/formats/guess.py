"""Which format lies there, and what reads and writes it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from demos.data.dataset import ABOUT
from demos.formats.contract import Reading, Source, Writer
from demos.formats.minari import MAIN, METADATA
from robolearn.errors import DataError, nearest
from robolearn.names import load
from robolearn.types import Spec

OURS, ROBOMIMIC, LEROBOT, MINARI = FORMATS = ("robolearn", "robomimic", "lerobot", "minari")
MCAP = "mcap"  # is written only
SOURCES = {
    OURS: "demos.formats.ours:OurSource",
    ROBOMIMIC: "demos.formats.robomimic:RobomimicSource",
    LEROBOT: "demos.formats.lerobot:LerobotSource",
    MINARI: "demos.formats.minari:MinariSource",
}
WRITERS = {
    OURS: "demos.formats.ours:OurWriter",
    ROBOMIMIC: "demos.formats.robomimic_write:RobomimicWriter",
    LEROBOT: "demos.formats.lerobot_write:LerobotWriter",
    MINARI: "demos.formats.minari_write:MinariWriter",
    MCAP: "demos.formats.mcap_write:McapWriter",
}
REPAIR, READY = ".repair", "ready"  # of LeRobot's: what a repair that was stopped has left
HDF5 = (".hdf5", ".h5")
KNOWN = (
    f"{ABOUT} (ours), meta/info.json (LeRobot) or data/{METADATA} (Minari); robomimic's and "
    "robosuite's data are a file, .hdf5"
)


def format_of(path: Path) -> str:
    """Name the format of what lies at a path; DataError if it is none that is known."""
    if not path.exists():
        siblings = [p.name for p in path.parent.glob("*")] if path.parent.is_dir() else []
        close = nearest(path.name, siblings)
        raise DataError(f"{path}: no such file or folder{close if 'mean' in close else ''}")
    if not path.is_dir():
        return MINARI if path.name == MAIN else ROBOMIMIC
    if (path / ABOUT).exists():
        return OURS
    if (path / "meta").is_dir() or (path / REPAIR / READY).exists():
        return LEROBOT
    if any((path / at / name).exists() for at in (".", "data") for name in (METADATA, MAIN)):
        return MINARI
    raise DataError(f"{path} is no dataset: it has none of {KNOWN}")


def open_source(path: str | Path, reading: Reading | None = None) -> Source:
    """Open a dataset of any format; DataError, one line, for what cannot be read."""
    path = Path(path)
    kind = format_of(path)
    if kind == MINARI and path.is_file():
        path = path.parent
    return load(SOURCES[kind])(path, reading or Reading())


def format_for(path: Path, asked: str | None) -> str:
    """Name the format that is to be written to a path; DataError if it does not fit."""
    is_file = path.suffix in HDF5
    found = asked or (ROBOMIMIC if is_file else OURS)
    if is_file != (found == ROBOMIMIC):
        right = "a name that ends in .hdf5" if found == ROBOMIMIC else "a folder"
        raise DataError(f"{path}: format={found} is written to {right}")
    return found


def writer_for(
    kind: str, interface: Spec, env_options: Mapping[str, Any], **options: Any
) -> Writer:
    """Make what writes a format; ``options`` are those of its own."""
    return load(WRITERS[kind])(interface, env_options, **options)
