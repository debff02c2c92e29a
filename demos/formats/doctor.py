"""What is wrong with a dataset of any format, in words, and the repair where there is one.

Ours: ``demos/data/doctor.py``. LeRobot's, which a crash leaves in the worst state:
``lerobot_doctor.py``. Of robomimic's, robosuite's and Minari's every episode is read, and what the
file counts is counted again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from demos.data import doctor as ours
from demos.formats import guess, lerobot_doctor
from demos.formats.contract import Reading, Source
from demos.formats.faults import read_json
from demos.formats.hdf5 import attribute, opened
from demos.formats.minari import EPISODE, MAIN, METADATA, data_folder
from demos.formats.robomimic import DEMO
from robolearn.errors import DataError
from robolearn.files import write_atomically
from robolearn.running.run import counter

MENDED = "repaired"
MENDS_IT = "--repair mends it"
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
    mended = list(_mend_counts(path, repair)) if kind == guess.MINARI else []
    faults = [line for line in mended if not line.endswith(MENDED)]
    try:
        source = guess.open_source(path, Reading(clip=True))
    except DataError as error:
        return Diagnosis(False, [*mended, str(error)])
    try:
        faults_of_file = list(_faults_of_file(source))
        found, lines = _read_all(source)
    finally:
        source.close()
    told = [*mended, *source.notes, *faults_of_file, *lines]
    told.append(f"{path}: {found} of {len(source.names)} episodes in order ({source.format})")
    return Diagnosis(not faults and not faults_of_file and not lines, told)


def _read_all(source: Source) -> tuple[int, list[str]]:
    """Read every episode; count those that can be, and say what is wrong with the others."""
    good, lines = 0, []
    with counter(len(source.names), "reading", "episodes") as bar:
        for name in source.names:
            try:
                source.load(name)
                good += 1
            except DataError as error:
                lines.append(f"{error}; {SKIP}")
            bar.update()
    return good, lines


def _faults_of_file(source: Source) -> Iterator[str]:
    """Say where a robomimic file counts what is not there, and what its masks name."""
    if source.format != guess.ROBOMIMIC:
        return
    with opened(source.path, "a robomimic file") as file:
        data, steps = file["data"], 0
        for name in filter(DEMO.fullmatch, data):
            actions = data[name].get("actions")
            length = len(actions) if getattr(actions, "shape", None) else 0
            steps += length
            said = attribute(data[name], "num_samples")
            if said is not None and said != length:
                yield f"{name}: num_samples is {said}, of {length} actions"
        total = attribute(data, "total")
        if total is not None and total != steps:
            yield f"data: total is {total}, there are {steps} steps"
        for mask in file.get("mask", ()):
            keys = [key.decode(errors="replace") for key in file["mask"][mask][()]]
            if gone := [key for key in keys if key not in data]:
                yield f"mask/{mask} names {', '.join(gone[:3])}, not in the file"


def _mend_counts(path: Path, repair: bool) -> Iterator[str]:
    """Say where Minari's metadata count what is not there; ``repair`` counts anew."""
    folder = data_folder(path)
    about = read_json(folder / METADATA)
    if about.get("data_format", "hdf5") != "hdf5" or not (folder / MAIN).is_file():
        return
    with opened(folder / MAIN, "Minari's main_data.hdf5") as file:
        groups = [file[name] for name in file if EPISODE.fullmatch(name)]
        steps = sum(len(g["rewards"]) for g in groups if "rewards" in g)
        right = {"total_episodes": len(groups), "total_steps": steps}
    wrong = {name: about.get(name) for name, value in right.items() if about.get(name) != value}
    for name, value in wrong.items():
        verdict = MENDED if repair else MENDS_IT
        yield f"{METADATA}: {name} is {value} instead of {right[name]}; {verdict}"
    if wrong and repair:
        write_atomically(folder / METADATA, json.dumps(about | right, indent=2).encode())
