"""What is wrong with a dataset of any format, in words, and the repair where there is one.

Ours: ``demos/data/doctor.py``. LeRobot's, which a crash leaves in the worst state:
``lerobot_doctor.py``. Of robomimic's, robosuite's and Minari's every episode is read, and what the
file counts is counted again.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from demos.data import doctor as ours
from demos.formats import guess, lerobot_doctor
from demos.formats.contract import Reading, Source
from demos.formats.faults import one_line, read_json
from demos.formats.hdf5 import attribute, opened
from demos.formats.minari import EPISODE, MAIN, METADATA, data_folder
from demos.formats.parts import free_name
from demos.formats.robomimic import DEMO
from demos.formats.terms import AS_GIVEN, ROUNDING
from robolearn.errors import DataError
from robolearn.files import write_atomically
from robolearn.running.counter import Counter
from robolearn.types import Episode, Spec

CLIPPED = Reading(clip=True)  # an action beyond its limits is no damage
LOST = "lost"  # where what a repair replaces is kept
MENDED = "repaired"
MENDS_IT = "--repair mends it"
ANEW = "robolearn convert SRC DST format=minari numbers episodes anew"
BEYOND = "robolearn convert takes limits=[low, high], or clip=true"
SKIP = "robolearn convert SRC DST skip=true leaves it out"


@dataclass(frozen=True)
class Diagnosis:
    """What was found in a dataset, in lines, and whether it is in order now."""

    healthy: bool
    lines: list[str] = field(default_factory=list)


def diagnose(path: str | Path, repair: bool = False) -> Diagnosis:
    """Examine a dataset of any format; ``repair`` mends what can be. DataError if it is none."""
    path = Path(path)
    kind = guess.format_of(path)
    if kind == guess.OURS:
        report = ours.doctor(path, repair)
        return Diagnosis(report.healthy, ours.report_lines(report))
    if kind == guess.LEROBOT:
        return Diagnosis(*lerobot_doctor.examine(path, repair))
    mended = _told(_mend_counts(path, repair), path) if kind == guess.MINARI else []
    faults = [line for line in mended if not line.endswith(MENDED)]
    try:
        source = guess.open_source(path, CLIPPED)
    except DataError as error:
        return Diagnosis(False, list(dict.fromkeys([*mended, str(error)])))
    try:
        faults_of_file = _told(_faults_of_file(source), source.path)
        found, lines, beyond = _read_all(source)
    finally:
        source.close()
    notes = [note for note in source.notes if note not in CLIPPED.unused()]
    told = [*mended, *notes, *faults_of_file, *lines, *beyond]
    told.append(f"{path}: {found} of {len(source.names)} episodes in order ({source.format})")
    return Diagnosis(not faults and not faults_of_file and not lines, told)


def _told(faults: Iterator[str], path: Path) -> list[str]:
    """List faults, and, where the search for them came upon something worse, that too."""
    found: list[str] = []
    try:
        with one_line(path):
            for fault in faults:
                found.append(fault)
    except DataError as error:
        found.append(str(error))
    return found


def _read_all(source: Source) -> tuple[int, list[str], list[str]]:
    """Read every episode; count those that can be, and say what is wrong with the others.

    Said last is where actions leave [-1, 1], or the limits that the source states.
    """
    good, lines, beyond = 0, [], []
    with Counter(len(source.names), "reading", "episodes") as bar:
        for name in source.names:
            try:
                episode = source.load(name)
                good += 1
                if _is_clipped(episode, source.interface):
                    beyond.append(name)
            except DataError as error:
                lines.append(f"{error}; {SKIP}")
            bar.update()
    said = f"{len(beyond)} have actions beyond their limits, {', '.join(beyond[:3])}: {BEYOND}"
    return good, lines, [said] if beyond else []


def _is_clipped(episode: Episode, interface: Spec) -> bool:
    """Say whether an episode of others needed clip=true to be read."""
    given = episode.records.get(AS_GIVEN)
    if given is None or "source" in episode.metadata:  # ours already
        return False
    low, high = map(np.asarray, interface.controller.get("action_limits", (-1.0, 1.0)))
    beyond = np.abs(given - (low + high) / 2) > (high - low) / 2 * (1.0 + ROUNDING)
    return bool(beyond.any())


def _faults_of_file(source: Source) -> Iterator[str]:
    """Say where a robomimic file counts what is not there, and what its masks name."""
    if source.format != guess.ROBOMIMIC:
        return
    with opened(source.path, "a robomimic file") as file:
        data, steps = file["data"], 0
        for name in filter(DEMO.fullmatch, data):
            demo = data.get(name)
            if not isinstance(demo, h5py.Group):
                continue  # reading it says so
            actions = demo.get("actions")
            length = len(actions) if getattr(actions, "shape", None) else 0
            steps += length
            said = attribute(demo, "num_samples")
            if said is not None and said != length:
                yield f"{name}: num_samples is {said}, of {length} actions"
        total = attribute(data, "total")
        if total is not None and total != steps:
            yield f"data: total is {total}, there are {steps} steps"
        masks = file.get("mask")
        for mask in masks if isinstance(masks, h5py.Group) else ():
            listed = masks.get(mask)
            if not isinstance(listed, h5py.Dataset) or listed.ndim != 1 or not _is_text(listed):
                yield f"mask/{mask} is no list of names"
                continue
            keys = [key.decode(errors="replace") for key in listed[()]]
            if gone := [key for key in keys if key not in data]:
                yield f"mask/{mask} names {', '.join(gone[:3])}, not in the file"


def _is_text(listed: h5py.Dataset) -> bool:
    return h5py.check_string_dtype(listed.dtype) is not None


def _mend_counts(path: Path, repair: bool) -> Iterator[str]:
    """Say where Minari's metadata count what is not there; ``repair`` counts anew."""
    folder = data_folder(path)
    about = read_json(folder / METADATA)
    if about.get("data_format", "hdf5") != "hdf5" or not (folder / MAIN).is_file():
        return
    with opened(folder / MAIN, "Minari's main_data.hdf5") as file:
        names = [name for name in file if EPISODE.fullmatch(name)]
        groups = [g for g in map(file.get, names) if isinstance(g, h5py.Group)]
        steps = sum(len(g["rewards"]) for g in groups if "rewards" in g)
        right = {"total_episodes": len(names), "total_steps": steps}
        gone = set(range(len(names))) - {int(EPISODE.fullmatch(name)[1]) for name in names}
    wrong = {name: about.get(name) for name, value in right.items() if about.get(name) != value}
    for name, value in wrong.items():
        verdict = MENDED if repair else MENDS_IT
        yield f"{METADATA}: {name} is {value} instead of {right[name]}; {verdict}"
    if gone:
        yield f"{MAIN}: there is no episode_{min(gone)}; {ANEW}"
    if wrong and repair:
        kept = free_name(folder / LOST)
        kept.mkdir()
        shutil.copy2(folder / METADATA, kept / METADATA)
        write_atomically(folder / METADATA, json.dumps(about | right, indent=2).encode())
