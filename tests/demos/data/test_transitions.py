import dataclasses
import shutil
import tracemalloc

import numpy as np
import pytest

from demos.data import transitions
from demos.data.dataset import Dataset
from robolearn.errors import DataError
from robolearn.types import ArraySpec

from ..conftest import CAMERA, INTERFACE, episode_file, walk, with_camera, with_nan


def test_transitions_are_the_episodes_end_to_end(mixed):
    batch = mixed.transitions(success=True, next_observations=True)
    episodes = mixed.episodes(success=True)
    states = [e.observations["state"] for e in episodes]
    np.testing.assert_array_equal(
        batch["observations"]["state"], np.concatenate([s[:-1] for s in states])
    )
    np.testing.assert_array_equal(
        batch["next_observations"]["state"], np.concatenate([s[1:] for s in states])
    )
    np.testing.assert_array_equal(batch["actions"], np.concatenate([e.actions for e in episodes]))
    np.testing.assert_array_equal(batch["rewards"], np.concatenate([e.rewards for e in episodes]))
    assert batch["episode"].tolist() == [0] * 3 + [3] * 6
    assert batch["step"].tolist() == [0, 1, 2, 0, 1, 2, 3, 4, 5]
    assert np.flatnonzero(batch["terminated"]).tolist() == [2, 8]


def test_transitions_are_mapped_and_read_only(tmp_path):
    dataset = Dataset.create(tmp_path / "d", CAMERA)
    dataset.append(with_camera())
    frames = dataset.transitions()["observations"]["wrist/left"]
    assert isinstance(frames, np.memmap) and not frames.flags.writeable
    np.testing.assert_array_equal(frames, with_camera().observations["wrist/left"][:-1])


def test_building_the_cache_needs_the_memory_of_one_episode(tmp_path):
    interface = dataclasses.replace(
        INTERFACE, observations={"cam": ArraySpec((64, 64, 3), "uint8")}
    )
    dataset = Dataset.create(tmp_path / "d", interface)
    frames = np.random.default_rng(0).integers(0, 256, (41, 64, 64, 3), np.uint8)  # 0.5 MB
    for seed in range(12):
        dataset.append(dataclasses.replace(walk(seed, steps=40), observations={"cam": frames}))
    tracemalloc.start()
    dataset.transitions()
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 4 * frames.nbytes


def test_the_cache_is_used_again_but_never_stale(mixed, monkeypatch):
    first = mixed.transitions()
    with monkeypatch.context() as patch:
        patch.setattr(transitions, "_build", None)  # calling it would fail
        np.testing.assert_array_equal(mixed.transitions()["actions"], first["actions"])
    shutil.copy(episode_file(mixed, 3), episode_file(mixed, 0))
    changed = Dataset.open(mixed.path).transitions()
    assert len(changed["actions"]) == len(first["actions"]) + 3
    shutil.rmtree(mixed.path / "cache")
    assert len(Dataset.open(mixed.path).transitions()["actions"]) == len(changed["actions"])


def test_a_cache_that_somebody_else_built_first_is_used(mixed, monkeypatch):
    real = transitions._publish

    def beaten(temporary, folder):
        shutil.copytree(temporary, folder)
        real(temporary, folder)

    monkeypatch.setattr(transitions, "_publish", beaten)
    assert len(mixed.transitions()["actions"]) == 3 + 4 + 5 + 6
    assert len(list((mixed.path / "cache").iterdir())) == 1


def test_nan_is_kept_but_never_trained_on(dataset):
    dataset.append(walk())
    dataset.append(with_nan())
    assert len(dataset.episodes()) == 2
    with pytest.raises(DataError, match="episode_000001.hdf5: actions is not finite at step 2"):
        dataset.transitions()
    assert list((dataset.path / "cache").iterdir()) == []


def test_an_empty_dataset_or_selection_cannot_be_trained_on(dataset):
    with pytest.raises(DataError, match="line has no episodes$"):
        dataset.transitions()
    dataset.append(walk())
    with pytest.raises(DataError, match="no episodes with success=False, operator=ann"):
        dataset.transitions(success=False, operator="ann")


CACHE_ON_A_FULL_DISK = """
import resource, sys
from demos.data.dataset import Dataset
from robolearn.errors import DataError
dataset = Dataset.open(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, resource.RLIM_INFINITY))
try:
    dataset.transitions()
except DataError as error:
    print(error)
"""


def test_a_disk_that_fills_up_while_the_cache_is_built(dataset, start_python):
    for seed in range(3):
        dataset.append(walk(seed, steps=100))
    output, errors = start_python(CACHE_ON_A_FULL_DISK, dataset.path).communicate()
    assert not errors
    assert f"{dataset.path}/cache: cannot write" in output and output.count("\n") == 1
    assert list((dataset.path / "cache").iterdir()) == []
    assert len(dataset.transitions()["actions"]) == 300
