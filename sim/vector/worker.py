"""The process behind some rows of a ``ProcessVectorEnv``.

It makes its environments and does what its batch asks: a numbered request (command, arguments)
comes through a pipe and is answered with (result) under the same number. Actions, observations,
rewards and flags go through memory that the batch sees too, so that most steps are a request and
an answer of a number alone.
"""

from __future__ import annotations

import mmap
import os
import select
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import Any, NamedTuple, NoReturn

import numpy as np

from robolearn.errors import UserError
from robolearn.types import Environment, Observation, Spec
from sim.vector.kind import Kind

LOOK_MS = 1000  # how often a waiting worker looks whether the process that started it lives
ALIGNMENT = 64  # bytes: where arrays begin
NUMBER_SIZE = 8  # bytes
ANY_NUMBER = 0  # of an answer to a request that could not be read

Make = Callable[..., Environment]


class Shared:
    """Arrays with a row per environment, in an open file that several processes map."""

    def __init__(self, memory: int, interface: Spec, n: int) -> None:
        specs = interface.observations
        shapes = {name: ((n, *spec.shape), spec.dtype) for name, spec in specs.items()}
        self._memory, self._size = memory, 0
        places = {name: self._place(*shape) for name, shape in shapes.items()}
        actions = self._place((n, *interface.action.shape), "float64")
        reward = self._place((n,), "float64")
        flags = [self._place((n,), "bool") for _ in range(4)]
        os.ftruncate(memory, self._size)
        self._map = mmap.mmap(memory, self._size)
        self.observations = {
            name: np.ndarray(*shapes[name], self._map, place) for name, place in places.items()
        }
        self.actions = np.ndarray((n, *interface.action.shape), "float64", self._map, actions)
        self.reward = np.ndarray((n,), "float64", self._map, reward)
        self.active, self.terminated, self.truncated, self.success = (
            np.ndarray((n,), "bool", self._map, flag) for flag in flags
        )

    def _place(self, shape: tuple[int, ...], dtype: str) -> int:
        """Give the position of an array behind all others."""
        start = self._size
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        self._size += -(-size // ALIGNMENT) * ALIGNMENT
        return start


def pack(number: int, content: Any) -> bytes:
    """Give a numbered message; None takes no more than its number."""
    head = number.to_bytes(NUMBER_SIZE, "little")
    return head if content is None else head + bytes(ForkingPickler.dumps(content))


def unpack(message: bytes) -> tuple[int, Any]:
    """Give what was packed."""
    number = int.from_bytes(message[:NUMBER_SIZE], "little")
    return number, ForkingPickler.loads(message[NUMBER_SIZE:]) if message[NUMBER_SIZE:] else None


class Failure(NamedTuple):
    """What an environment raised, if it was no UserError."""

    row: int | None
    error: str
    traceback: str


Terms = dict[int, dict[str, float]]  # row -> name -> reward term


class Share:
    """The environments of one worker, by their rows in the batch; its methods are the commands."""

    def __init__(self, memory: int, make: Make) -> None:
        self.row: int | None = None  # whose turn it is
        self._memory, self._make = memory, make
        self._envs: dict[int, Any] = {}
        self._rows = slice(0, 0)
        self._quick = False  # whether the environments have ``move`` and write into shared memory
        self._shared: Shared

    def make(self, name: str, options: dict[str, Any], rows: range, n: int) -> Kind:
        """Make the environments; say what they have in common."""
        self.row = rows[0]
        first = self._make(name, **options)
        again = getattr(first, "twin", lambda: self._make(name, **options))
        self._envs = {self.row: first}
        for self.row in rows[1:]:
            self._envs[self.row] = again()
        self._rows = slice(rows[0], rows[-1] + 1)
        self._shared = Shared(self._memory, first.interface, n)
        if hasattr(first, "move") and first.interface.observations.keys() == {"state"}:
            for row, env in self._envs.items():
                env.show_in(self._shared.observations["state"][row])
            self._quick = True
        self.row = rows[0]
        return Kind.of(first)

    def reset(self, seeds: dict[int, int | None]) -> None:
        """Begin episodes in some rows."""
        for self.row, seed in seeds.items():
            self._show(self._envs[self.row].reset(seed=seed)[0])

    def step(self) -> tuple[Terms, dict[int, str]] | None:
        """Move the active rows by the shared actions.

        Gives their reward terms and why some of them cannot go on; None where nothing is to be
        said: each row's only term, "task", is its reward, and all can go on.
        """
        rows = (np.flatnonzero(self._shared.active[self._rows]) + self._rows.start).tolist()
        return self._step_quickly(rows) if self._quick else self._step(rows)

    def _step(self, rows: list[int]) -> tuple[Terms, dict[int, str]] | None:
        shared = self._shared
        terms: Terms = {}
        errors: dict[int, str] = {}
        for row in rows:
            self.row = row
            observation, reward, terminated, truncated, info = self._envs[row].step(
                shared.actions[row]
            )
            self._show(observation)
            shared.reward[row], shared.success[row] = reward, info["success"]
            shared.terminated[row], shared.truncated[row] = terminated, truncated
            terms[row] = info["reward_terms"]
            if info.get("error"):
                errors[row] = info["error"]
        plain = all(own == {"task": shared.reward[row]} for row, own in terms.items())
        return None if plain and not errors else (terms, errors)

    def _step_quickly(self, rows: list[int]) -> tuple[Terms, dict[int, str]] | None:
        """Do the same with environments that have ``move``."""
        shared = self._shared
        errors: dict[int, str] = {}
        for row in rows:
            self.row = row
            (
                shared.reward[row], shared.terminated[row], shared.truncated[row],
                shared.success[row], error,
            ) = self._envs[row].move(shared.actions[row])  # fmt: skip
            if error is not None:
                errors[row] = error
        return ({row: {"task": shared.reward[row]} for row in rows}, errors) if errors else None

    def rest(self) -> None:
        """Do nothing: who has the answer knows that all earlier requests are done."""

    def get_state(self) -> list[np.ndarray]:
        """Give the states [S] of all rows."""
        states = []
        for row, env in self._envs.items():
            self.row = row
            states.append(env.get_state())
        return states

    def render(self) -> list[np.ndarray]:
        """Draw all rows for people, uint8 [H, W, 3]."""
        images = []
        for row, env in self._envs.items():
            self.row = row
            images.append(env.render())
        return images

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
            pipe.send_bytes(pack(*_answer(pipe, share)))
        except (EOFError, ConnectionError):
            return


def _answer(pipe: Connection, share: Share) -> tuple[int, Any]:
    message = pipe.recv_bytes()
    try:
        number, request = unpack(message)
    except (AttributeError, ImportError) as error:
        return ANY_NUMBER, UserError(
            f"options must be importable where environments are made: {error}"
        )
    share.row = None
    try:
        if request is None:
            return number, share.step()
        command, arguments = request
        return number, getattr(share, command)(*arguments)
    except UserError as error:
        return number, error
    except Exception as error:
        return number, Failure(share.row, repr(error), traceback.format_exc())


def main(make: Make) -> NoReturn:
    """Serve the batch that started this process, whose environments ``make`` makes by name.

    The process ends with it, at once: who closes a batch waits for that, and Python takes up to
    half a second to take modules apart.
    """
    pipe, memory, parent = (int(argument) for argument in sys.argv[1:])
    share = Share(memory, make)
    serve(Connection(pipe), share, parent)
    share.close()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
