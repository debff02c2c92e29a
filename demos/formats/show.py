"""Demonstrations of any dataset in the viewer, as they lie."""

from __future__ import annotations

import tempfile
from pathlib import Path

from demos.formats import guess
from robolearn.errors import DataError
from robolearn.names import load
from robolearn.running.counter import Counter

SHOWN = 5  # demonstrations
RECORDING = "recording.rrd"


def is_dataset(path: Path) -> bool:
    """Say whether there is a dataset at a path, and no run or recording."""
    if not path.is_dir():
        return path.suffix in guess.HDF5
    try:
        return bool(guess.format_of(path))
    except DataError:
        return False


def record(path: Path, recording: Path, episodes: int = SHOWN) -> int:
    """Write the first demonstrations, images and all, as a recording; give how many."""
    from robolearn.viz import Viewer, replay_arrays

    source = guess.open_source(path)
    names = source.names[:episodes]
    try:
        with Viewer(path=recording, live=False) as viewer:
            with Counter(len(names), "recording", "episodes") as bar:
                for name in names:
                    episode = source.load(name)
                    seen = {key: array[:-1] for key, array in episode.observations.items()}
                    task = episode.metadata.get("task", "")
                    text = f"{name} {task}".strip()
                    replay_arrays(viewer, source.interface, seen, episode.actions, text=text)
                    bar.update()
    finally:
        source.close()
    return len(names)


def show(path: Path) -> None:
    """Open the viewer on the first demonstrations of a dataset."""
    with tempfile.TemporaryDirectory() as folder:
        recording = Path(folder) / RECORDING
        record(path, recording)
        load("robolearn.viz:view")(recording)
