"""HDF5 from strangers: each way in which it can fail is one line, nothing too large is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from demos.formats.faults import one_line
from robolearn.errors import DataError

MOST_BYTES = 8 << 30  # of one array
MOST_TEXT = 64 << 20  # of one attribute, bytes
NUMBERS = "biuf"


def opened(path: Path, what: str) -> h5py.File:
    """Open a file for reading; DataError unless it is HDF5. ``what`` would be right."""
    with one_line(path):
        if not path.exists():
            raise DataError(f"{path}: no such file")
        if not h5py.is_hdf5(path):
            raise DataError(f"{path} is not HDF5, or was cut off: give {what}")
        return h5py.File(path, "r")


def group(parent: h5py.Group, name: str, where: str, linked: bool = False) -> h5py.Group:
    """Give a group that must be there, in another file only if it may be ``linked``."""
    found = parent.get(name)
    if not isinstance(found, h5py.Group):
        raise DataError(f"{where} has no group '{name}'")
    if not linked:
        require_same_file(found, parent, where)
    return found


def require_same_file(found: Any, parent: h5py.Group, where: str) -> None:
    """Raise DataError for what a link has found in another file."""
    if found.file.filename != parent.file.filename:
        raise DataError(f"{where}: {found.name} is kept in another file ({found.file.filename})")


def dataset(parent: h5py.Group, name: str, where: str) -> h5py.Dataset:
    """Give an array of numbers that must be there, small enough, and in this file."""
    found = parent.get(name)
    if not isinstance(found, h5py.Dataset):
        raise DataError(f"{where} has no array '{name}'")
    require_same_file(found, parent, where)
    if found.shape is None or found.dtype.kind not in NUMBERS:
        raise DataError(f"{where}: {name} holds {found.dtype}, not numbers")
    size = found.size * found.dtype.itemsize
    if size > MOST_BYTES:
        raise DataError(f"{where}: {name} would take {size / 2**30:.1f} GiB: no episode is so long")
    if found.external:
        raise DataError(f"{where}: {name} is kept in another file ({found.external[0][0]})")
    if found.is_virtual:
        for source in found.virtual_sources():
            if source.file_name != ".":
                raise DataError(f"{where}: {name} is kept in another file ({source.file_name})")
    return found


def array(parent: h5py.Group, name: str, where: str) -> np.ndarray:
    """Read an array of numbers whole, in the machine's byte order."""
    found = dataset(parent, name, where)[()]
    return np.asarray(found, found.dtype.newbyteorder("="))


def arrays(parent: h5py.Group, where: str, images: bool = True) -> dict[str, np.ndarray]:
    """Read all arrays below a group, by their paths; without ``images`` those of vectors."""
    found: dict[str, np.ndarray] = {}
    for name in tree(parent):
        if images or dataset(parent, name, where).ndim < 4:
            found[name] = array(parent, name, where)
    return found


def tree(parent: h5py.Group, depth: int = 8) -> list[str]:
    """List the paths of all arrays below a group, in order; links in circles end somewhere."""
    names: list[str] = []
    for name in parent:
        item = parent.get(name)
        if isinstance(item, h5py.Dataset):
            names.append(name)
        elif isinstance(item, h5py.Group) and depth:
            names += [f"{name}/{below}" for below in tree(item, depth - 1)]
    return names


def attribute(owner: h5py.Group, name: str) -> Any:
    """Read an attribute unless it is too large; None where there is none."""
    if name not in owner.attrs:
        return None
    about = owner.attrs.get_id(name)
    if about.get_storage_size() > MOST_TEXT or np.prod(about.shape or 1) > MOST_TEXT:
        raise DataError(f"{owner.file.filename}: {owner.name}: the attribute {name} is too large")
    value = owner.attrs[name]
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if isinstance(value, str) and len(value) > MOST_TEXT:
        raise DataError(f"{owner.file.filename}: {owner.name}: the attribute {name} is too large")
    return value.item() if isinstance(value, np.generic) else value


def described(owner: h5py.Group, name: str) -> dict[str, Any]:
    """Read an attribute that holds a JSON object; {} where there is none to be read."""
    text = attribute(owner, name)
    try:
        found = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def require_numbers_once(numbers: Mapping[str, int], where: str) -> None:
    """Raise DataError where two names have one number, as demo_1 and demo_01 do."""
    first: dict[int, str] = {}
    for name, number in numbers.items():
        if number in first:
            raise DataError(f"{where}: {first[number]} and {name} are the same number: rename one")
        first[number] = name


def masks(file: h5py.File, names: tuple[str, ...]) -> dict[str, list[str]]:
    """Read robomimic's masks, as far as they are lists of demonstrations that are there.

    One that names nobody is kept: where nobody is a success, that is said.
    """
    found, there = {}, set(names)
    above = file.get("mask")
    for name in above if isinstance(above, h5py.Group) else ():
        keys = above.get(name)
        if isinstance(keys, h5py.Dataset) and keys.ndim == 1 and keys.size < MOST_TEXT // 8:
            said = [key.decode(errors="replace") for key in keys[()] if isinstance(key, bytes)]
            if len(said) == keys.size:
                found[name] = [key for key in said if key in there]
    return found
