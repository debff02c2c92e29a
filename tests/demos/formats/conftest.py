"""Datasets to convert: the tiny world's, with a camera, and those that others' tools wrote."""

from pathlib import Path

import numpy as np
import pytest

from demos.data.dataset import Dataset
from robolearn.types import Episode

from ..conftest import CAMERA, with_camera

OTHERS = Path(__file__).parent / "others"  # by benchmarks/others.py, where it says how


@pytest.fixture
def ours(tmp_path):
    """Four episodes of 5 to 8 steps with a camera, of two operators."""
    dataset = Dataset.create(tmp_path / "ours", CAMERA, {"length_m": 2.0})
    for i in range(4):
        episode = with_camera(i, steps=5 + i)
        episode.metadata["operator"] = "ann" if i % 2 else "bob"
        dataset.append(episode)
    dataset.flush()
    return dataset


@pytest.fixture
def vectors(tmp_path):
    """Give three episodes of many entries and records, without a camera."""
    return recorded(tmp_path / "vectors")


def recorded(path: Path, episodes: int = 3) -> Dataset:
    """Write episodes with a record and names of robosuite's kind."""
    from robolearn.types import ArraySpec, Spec

    names = ("robot0_eef_pos_x", "robot0_eef_pos_y", "robot0_eef_pos_z")
    names += tuple(f"robot0_eef_quat_{axis}" for axis in "wxyz")
    interface = Spec(
        "test/Reach",
        {"state": ArraySpec((7,), names=names)},
        ArraySpec((2,), names=("dx", "gripper")),
        0.05,
    )
    dataset = Dataset.create(path, interface)
    rng = np.random.default_rng(0)
    for i in range(episodes):
        steps = 6 + i
        dataset.append(
            Episode(
                observations={"state": rng.normal(size=(steps + 1, 7)).astype(np.float32)},
                actions=rng.uniform(-1, 1, (steps, 2)).astype(np.float32),
                rewards=rng.normal(size=steps).astype(np.float32),
                terminated=i > 0,
                truncated=i == 0,
                success=i > 0,
                metadata={"operator": "ann", "outcome": "success" if i else "failure"},
                records={"sent_s": np.linspace(0, 1, steps)},
            )
        )
    dataset.flush()
    return dataset
