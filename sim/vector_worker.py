"""The process behind some rows of a ``ProcessVectorEnv``.

It makes its environments and does what its batch asks: a request (number, command, argument) comes
through a pipe and is answered with (number, result). Actions, observations, rewards and flags go
through memory that the batch sees too.
"""

from __future__ import annotations

import mmap
import os
import select
import sys
import traceback
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np

from robolearn.errors import UserError
from robolearn.types import Observation, Spec
from sim.registry import make

LOOK_MS = 1000  # how often a waiting worker looks whether the process that started it lives
ALIGNMENT = 64  # bytes: workers never write to the same cache line


class Shared:
    """Arrays with a row per environment, in an open file that several processes map."""

    def __init__(self, memory: int, interface: Spec, n: int) -> None:
        specs = interface.observations
        shapes = {name: ((n, *spec.shape), spec.dtype) for name, spec in specs.items()}
        self._memory, self._size = memory, 0
        places = {name: self._place(*shape) for name, shape in shapes.items()}
        actions = self._place((n, *interface.action.shape), "float64")
        reward = self._place((n,), "float64")
        flags = [self._place((n,), "bool") for _ in range(3)]
        os.ftruncate(memory, self._size)
        self._map = mmap.mmap(memory, self._size)
        self.observations = {
            name: np.ndarray(*shapes[name], self._map, place) for name, place in places.items()
        }
        self.actions = np.ndarray((n, *interface.action.shape), "float64", self._map, actions)
        self.reward = np.ndarray((n,), "float64", self._map, reward)
        self.terminated, self.truncated, self.success = (
            np.ndarray((n,), "bool", self._map, flag) for flag in flags
        )

    def _place(self, shape: tuple[int, ...], dtype: str) -> int:
        """Give the position of an array behind all others."""
        start = self._size
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        self._size += -(-size // ALIGNMENT) * ALIGNMENT
        return start


class Failure(NamedTuple):
    """What an environment raised, if it was no UserError."""

    row: int | None
    error: str
    traceback: str


class Share:
    """The environments of one worker, by their rows in the batch; its methods are the commands."""

    def __init__(self, memory: int) -> None:
        self.row: int | None = None  # whose turn it is
        self._memory = memory
        self._envs: dict[int, Any] = {}
        self._shared: Shared

    def make(self, name: str, options: dict[str, Any], rows: range, n: int) -> tuple[Spec, int]:
        """Make the environments; give their interface and the size of MuJoCo's part of a state."""
        for self.row in rows:
            self._envs[self.row] = make(name, **options)
        first = self._envs[rows[0]]
        self._shared = Shared(self._memory, first.interface, n)
        return first.interface, first.mujoco_state_size

    def reset(self, seeds: dict[int, int | None]) -> None:
        """Begin episodes in some rows."""
        for self.row, seed in seeds.items():
            self._show(self._envs[self.row].reset(seed=seed)[0])

    def step(self, rows: list[int]) -> tuple[dict[str, list[float]], dict[int, str]]:
        """Move some rows by the shared actions.

        Gives their reward terms, name -> [rows], and why some of them cannot go on.
        """
        shared = self._shared
        terms: dict[str, list[float]] = {}
        errors: dict[int, str] = {}
        for k, row in enumerate(rows):
            self.row = row
            observation, reward, terminated, truncated, info = self._envs[row].step(
                shared.actions[row]
            )
            self._show(observation)
            shared.reward[row], shared.success[row] = reward, info["success"]
            shared.terminated[row], shared.truncated[row] = terminated, truncated
            for name, value in info["reward_terms"].items():
                terms.setdefault(name, [0.0] * len(rows))[k] = value
            if info.get("error"):
                errors[row] = info["error"]
        return terms, errors

    def rest(self) -> None:
        """Do nothing: who has the answer knows that all earlier requests are done."""

    def get_state(self) -> list[np.ndarray]:
        """Give the states [S] of all rows."""
        states = []
        for row, env in self._envs.items():
            self.row = row
            states.append(env.get_state())
        return states

    def set_state(self, states: dict[int, np.ndarray]) -> None:
        """Restore some rows."""
        for self.row, state in states.items():
            self._show(self._envs[self.row].set_state(state))

    def close(self) -> None:
        """Close the environments."""
        for env in self._envs.values():
            env.close()

    def _show(self, observation: Observation) -> None:
        for name, value in observation.items():
            self._shared.observations[name][self.row] = value


def serve(pipe: Connection, share: Share, parent: int) -> None:
    """Answer requests until the other end of the pipe is closed or the parent process is gone."""
    coming = select.poll()
    coming.register(pipe, select.POLLIN)
    while os.getppid() == parent:
        if not coming.poll(LOOK_MS):
            continue
        try:
            pipe.send(_answer(pipe, share))
        except (EOFError, ConnectionError):
            return


def _answer(pipe: Connection, share: Share) -> tuple[int | None, Any]:
    try:
        number, command, arguments = pipe.recv()
    except (AttributeError, ImportError) as error:
        return None, UserError(f"options must be importable where environments are made: {error}")
    share.row = None
    try:
        return number, getattr(share, command)(*arguments)
    except UserError as error:
        return number, error
    except Exception as error:
        return number, Failure(share.row, repr(error), traceback.format_exc())


def main() -> None:
    """Serve the batch that started this process."""
    pipe, memory, parent = (int(argument) for argument in sys.argv[1:])
    share = Share(memory)
    serve(Connection(pipe), share, parent)
    share.close()
