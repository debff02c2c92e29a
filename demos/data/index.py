"""The index of a dataset: which episode files there are, and one HDF5 file that joins them.

``index.hdf5`` is one dataset to robomimic: ``/data/demo_N`` are external links to the episode
files, ``/mask/NAME`` the filter keys. It holds nothing that the episode files do not say (but for
masks that somebody else wrote into it), so it can be lost, stale or damaged without harm.
"""

import functools
import io
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from demos.data.episode_file import DEMO, EpisodeFileError, read_header, to_json
from robolearn.files import write_atomically
from robolearn.types import Spec

INDEX = "index.hdf5"
EPISODES = "episodes"
EPISODE_FILE = re.compile(r"episode_(\d{6}|[1-9]\d{6,})\.hdf5")
ROBOSUITE, GYM = 1, 2  # robomimic's EnvType
# What a session decides about a demonstration; "failed" ones are in the mask "failure", too.
DECISIONS = ("kept", "rejected", "failed", "discarded", "practice", "undone")
Masks = dict[str, list[str]]


@dataclass(frozen=True)
class Entry:
    """What the index knows of one episode file; ``fault`` says why it cannot be read, or ""."""

    file: str  # "episode_000012.hdf5"
    size: int  # bytes
    changed_ns: int  # st_ctime_ns: with the size it tells whether the file is still the same
    length: int = 0  # actions
    success: bool = False
    operator: str = ""
    fault: str = ""
    decision: str = ""  # one of DECISIONS, if a person's session has recorded it

    @property
    def number(self) -> int:
        """Give N of demo_N."""
        return int(EPISODE_FILE.fullmatch(self.file)[1])

    @property
    def name(self) -> str:
        """Give the episode's name, as robomimic counts: "demo_12"."""
        return f"demo_{self.number}"


def file_name(number: int) -> str:
    """Give the file that holds demo_N."""
    return f"episode_{number:06d}.hdf5"


def scan(dataset: Path, known: Iterable[Entry] = ()) -> list[Entry]:
    """List the episode files in order of their numbers; only those not ``known`` are opened."""
    by_stamp = {(e.file, e.size, e.changed_ns): e for e in known}
    files = [p for p in (dataset / EPISODES).iterdir() if EPISODE_FILE.fullmatch(p.name)]
    entries = [by_stamp.get(_stamp(path)) or read_entry(path) for path in files]
    return sorted(entries, key=lambda entry: entry.number)


def read_entry(path: Path) -> Entry:
    """Look into an episode file; what is wrong with it becomes the entry's fault."""
    stamp = _stamp(path)
    try:
        length, success, about = read_header(path)
    except EpisodeFileError as error:
        return Entry(*stamp, fault=f"{error.status}: {error.detail}")
    decision = about.get("decision", "")
    return Entry(
        *stamp, length, success, str(about.get("operator", "")),
        decision=decision if decision in DECISIONS else "",
    )  # fmt: skip


def _stamp(path: Path) -> tuple[str, int, int]:
    status = path.stat()
    return path.name, status.st_size, status.st_ctime_ns


def own_masks(entries: Iterable[Entry]) -> Masks:
    """Sort the readable episodes by outcome ("success", "failure"), "operator_NAME", decision."""
    masks: Masks = {}
    for entry in entries:
        if not entry.fault:
            masks.setdefault("success" if entry.success else "failure", []).append(entry.name)
            if entry.operator:
                masks.setdefault(operator_mask(entry.operator), []).append(entry.name)
            if entry.decision:
                masks.setdefault(entry.decision, []).append(entry.name)
    return masks


def operator_mask(operator: str) -> str:
    """Name the mask of an operator's episodes; a slash would nest it in HDF5."""
    return f"operator_{operator.replace('/', '_')}"


def read_index(dataset: Path) -> tuple[list[Entry], Masks] | None:
    """Read the entries and the masks of others, or None when there is no readable index."""
    try:
        with h5py.File(dataset / INDEX, "r") as file:
            entries = [Entry(**values) for values in json.loads(file["entries"][()])]
            group = file.get("mask", {})
            masks = {name: [key.decode() for key in group[name][()]] for name in group}
    except (OSError, KeyError, ValueError, TypeError, AttributeError):
        return None  # whatever it is, the episode files say the same: it will be written anew
    ours = own_masks(entries)
    return entries, {name: keys for name, keys in masks.items() if name not in ours}


def update_index(
    dataset: Path, env_args: Mapping[str, Any], more: Mapping[str, list[str]] | None = None
) -> tuple[list[Entry], Masks]:
    """Make the index say what is in the folder; give the entries and the masks of others.

    ``more`` are masks of others to add. The dataset's lock must be held. Raises DataError if the
    folder cannot be written.
    """
    known, others = read_index(dataset) or ([], {})
    others = others | dict(more or {})
    entries = scan(dataset, known)
    there = {entry.name for entry in entries if not entry.fault}
    kept = {mask: [name for name in names if name in there] for mask, names in others.items()}
    others = {mask: names for mask, names in kept.items() if names}
    write_atomically(dataset / INDEX, _encode(entries, others, env_args), durable=False)
    return entries, others


def _encode(entries: list[Entry], others: Masks, env_args: Mapping[str, Any]) -> bytes:
    readable = [entry for entry in entries if not entry.fault]
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["entries"] = json.dumps([vars(entry) for entry in entries])
        data = file.create_group("data")
        data.attrs.update(total=sum(e.length for e in readable), env_args=to_json(env_args))
        for entry in readable:
            data[entry.name] = h5py.ExternalLink(f"{EPISODES}/{entry.file}", DEMO)
        for name, keys in (others | own_masks(entries)).items():
            file[f"mask/{name}"] = np.array(keys, dtype="S")
    return buffer.getvalue()


def env_args(interface: Spec, env_options: Mapping[str, Any]) -> dict[str, Any]:
    """Describe the environment as robomimic does; our own options stand beside, whole."""
    family, _, task = interface.environment.partition("/")
    ours = {"environment": interface.environment, "options": dict(env_options)}
    if family != "robosuite":
        version = installed_version("gymnasium")
        about = {"env_name": interface.environment, "type": GYM, "env_version": version}
        return about | {"env_kwargs": dict(env_options), "robolearn": ours}
    about = {"env_name": task, "type": ROBOSUITE, "env_version": installed_version("robosuite")}
    return about | {"env_kwargs": _robosuite_arguments(interface), "robolearn": ours}


def _robosuite_arguments(interface: Spec) -> dict[str, Any]:
    """Give what ``robosuite.make`` understands, and nothing that it does not."""
    arguments: dict[str, Any] = {}
    if interface.period_s:
        arguments["control_freq"] = round(1 / interface.period_s)
    if interface.robot:
        arguments["robots"] = interface.robot.split("+")
    if interface.controller:
        arguments["controller_configs"] = interface.controller
    return arguments


@functools.cache
def installed_version(package: str) -> str:
    """Give the version of an installed package, "" if there is none."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
