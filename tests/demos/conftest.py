"""A tiny world for the tests of datasets and collection: a point on a line walks to its goal."""

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from demos.data.dataset import Dataset
from robolearn.types import ArraySpec, Episode, Spec

HERE = Path(__file__).parent
INTERFACE = Spec(
    environment="test/Line",
    observations={"state": ArraySpec((2,), names=("position", "goal"))},
    action=ArraySpec((1,)),
    period_s=0.05,
    robot="Point",
    controller={"type": "VELOCITY", "limits": (-1.0, 1.0)},
)

CAMERA = dataclasses.replace(
    INTERFACE, observations=INTERFACE.observations | {"wrist/left": ArraySpec((16, 8, 3), "uint8")}
)


class Line:
    """State [time, position, velocity, goal]; success within 0.05 of the goal."""

    interface = INTERFACE
    mujoco_state_size = 3

    def __init__(self) -> None:
        self.closed = False
        self._state = np.zeros(4)

    def reset(self, *, seed=None, options=None):
        position, goal = np.random.default_rng(seed).uniform([-1, 0.2], [-0.2, 1])
        self._state = np.array([0, position, 0, goal])
        return self._observe(), {}

    def step(self, action):
        self._state[:3] += [0.05, 0.3 * action[0], action[0] - self._state[2]]
        distance = abs(self._state[1] - self._state[3])
        info = {"success": bool(distance < 0.05), "reward_terms": {"reach/near": -distance}}
        return self._observe(), -distance, False, False, info

    def get_state(self):
        return self._state.copy()

    def set_state(self, state):
        self._state = state.copy()
        return self._observe()

    def close(self):
        self.closed = True

    def _observe(self):
        return {"state": self._state[[1, 3]].astype(np.float32)}


class Walker:
    """Walks to the goal with noise; one in three walks away from it instead."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._sign = -1 if rng.random() < 1 / 3 else 1

    def reset(self, n: int) -> None:
        pass

    def act(self, observation, explore=False):
        position, goal = observation["state"].T
        action = self._sign * 2 * (goal - position) + self._rng.normal(0, 0.05, len(goal))
        return np.clip(action, -1, 1)[:, None].astype(np.float32)


def collection(dataset: Dataset, episodes: int = 4, **changes) -> dict:
    """Give the arguments of ``collect`` for this world."""
    arguments = dict(make_env=Line, make_operator=Walker, dataset=dataset, operator="ann")
    return arguments | dict(episodes=episodes, seed=3, horizon=12) | changes


def walk(seed: int = 0, steps: int = 5, success: bool = True, **metadata) -> Episode:
    """Make up an episode of random numbers that fits INTERFACE."""
    rng = np.random.default_rng(seed)
    return Episode(
        observations={"state": rng.normal(size=(steps + 1, 2)).astype(np.float32)},
        actions=rng.uniform(-1, 1, (steps, 1)).astype(np.float32),
        rewards=rng.normal(size=steps).astype(np.float32),
        terminated=success,
        truncated=not success,
        success=success,
        states=rng.normal(size=(steps + 1, 4)),
        reward_terms={"reach/near": rng.normal(size=steps).astype(np.float32)},
        metadata={"operator": "ann", "mujoco_state_size": 3, **metadata},
    )


def with_camera(seed: int = 0, steps: int = 5) -> Episode:
    """Make up an episode that fits CAMERA."""
    frames = np.random.default_rng(seed).integers(0, 256, (steps + 1, 16, 8, 3), np.uint8)
    episode = walk(seed, steps)
    observations = episode.observations | {"wrist/left": frames}
    return dataclasses.replace(episode, observations=observations)


def with_nan(seed: int = 0) -> Episode:
    """Make up an episode whose third action is not a number."""
    episode = walk(seed)
    actions = episode.actions.copy()
    actions[2] = np.nan
    return dataclasses.replace(episode, actions=actions)


def episode_file(dataset: Dataset, number: int) -> Path:
    """Give the file of demo_NUMBER."""
    return dataset.path / "episodes" / f"episode_{number:06d}.hdf5"


def assert_same(one: Episode, other: Episode) -> None:
    """Compare every field, bit for bit, NaN equal to NaN."""
    arrays = [
        {"a": e.actions, "r": e.rewards, "s": e.states, **e.observations, **e.reward_terms}
        for e in (one, other)
    ]
    assert arrays[0].keys() == arrays[1].keys()
    for name in arrays[0]:
        left, right = arrays[0][name], arrays[1][name]
        assert (left is None) == (right is None)
        if left is not None:
            assert left.dtype == right.dtype
            np.testing.assert_array_equal(left, right)
    for field in ("terminated", "truncated", "success", "metadata"):
        assert getattr(one, field) == getattr(other, field)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Give an empty dataset of this world."""
    return Dataset.create(tmp_path / "line", INTERFACE, {"length_m": 2.0})


@pytest.fixture
def mixed(dataset):
    """Give four episodes, of 3, 4, 5 and 6 steps, of three operators."""
    for i, (operator, success) in enumerate([("ann", 1), ("bob", 0), ("ann", 0), ("bob/2", 1)]):
        dataset.append(walk(i, steps=3 + i, success=bool(success), operator=operator))
    return dataset


@pytest.fixture
def start_python() -> Callable[..., subprocess.Popen]:
    """Give a function that starts Python on some source, which may import this file."""
    children = []

    def start(source: str, *arguments: object) -> subprocess.Popen:
        command = [sys.executable, "-c", source, *map(str, arguments)]
        environment = os.environ | {"PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1"}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        children.append(subprocess.Popen(command, env=environment, **pipes))
        return children[-1]

    yield start
    for child in children:
        child.kill()
        child.communicate()
