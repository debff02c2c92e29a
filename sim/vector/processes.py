"""Batches over processes: for environments whose time goes into Python, and for cameras.

Every worker makes its share of the environments itself, with GL contexts of its own, and puts what
it observes into memory that it shares with the batch. Workers are fresh Python processes with the
same ``sys.path``. They inherit nothing else, so batches can be made in any process, thread or
script, and what their environments need must be importable. They end when the batch is closed
or its process is gone, however it went; the memory has no name that could be left behind.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np

from robolearn.errors import UserError
from robolearn.types import Observation
from sim.vector.env import Moves, VectorEnv, WorkerError
from sim.vector.kind import Kind
from sim.vector.worker import ANY_NUMBER, Failure, Shared, pack, unpack

WORK = "from sim.registry import make; from sim.vector.worker import main; main(make)"
PATIENCE_S = 10.0  # how long a worker may take to end by itself
ENDING_S = 0.2  # how long one that has closed its pipe may
# The workers fill the processors by themselves: linear algebra and Mesa need no further threads.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "LP_NUM_THREADS": "0"}


class ProcessVectorEnv(VectorEnv):
    """N environments of any kind over worker processes; observations returned are copies."""

    def __init__(self, workers: Workers) -> None:
        super().__init__(workers.kind, workers.n, len(workers.rows))
        self._workers = workers
        self._seeds: list[int | None] = [None] * workers.n

    def close_extras(self, **kwargs: Any) -> None:
        """End the workers."""
        super().close_extras(**kwargs)
        self._workers.close()

    def _seed(self, i: int, seed: int | None) -> None:
        if seed is not None:
            self._seeds[i] = seed

    def _reset_rows(self, rows: list[int]) -> None:
        self._ask("reset", [({i: self._seeds[i] for i in own},) for own in self._split(rows)])
        for i in rows:
            self._seeds[i] = None

    def _move(self, actions: np.ndarray, rows: list[int]) -> Moves:
        self._workers.settle()
        shared = self._workers.shared
        shared.actions[:] = actions
        shared.active[:] = False
        shared.active[rows] = True
        with self._closing():
            answers = self._workers.step()
        terms, errors = {"task": shared.reward.copy()}, {}
        if any(answers):
            terms, errors = self._remarks(answers)
        return Moves(
            self._observe(), shared.reward.copy(), shared.terminated.copy(),
            shared.truncated.copy(), shared.success.copy(), terms, errors,
        )  # fmt: skip

    def _remarks(self, answers: list[Any]) -> tuple[dict[str, np.ndarray], dict[int, str]]:
        """Gather reward terms, name -> [N], and errors of workers that have something to say."""
        terms: dict[str, np.ndarray] = {}
        errors: dict[int, str] = {}
        active, reward = self._workers.shared.active, self._workers.shared.reward
        for own, answer in zip(self._workers.rows, answers, strict=True):
            plain = {row: {"task": reward[row]} for row in own if active[row]}
            own_terms, own_errors = answer or (plain, {})
            errors |= own_errors
            for row, values in own_terms.items():
                for name, value in values.items():
                    terms.setdefault(name, np.zeros(self.num_envs))[row] = value
        return terms, errors

    def _observe(self) -> Observation:
        return {name: value.copy() for name, value in self._workers.shared.observations.items()}

    def _render(self) -> list[np.ndarray]:
        return self._of_all("render")

    def _get_rows(self) -> list[np.ndarray]:
        return self._of_all("get_state")

    def _set_rows(self, states: np.ndarray, rows: Iterable[int]) -> None:
        self._ask("set_state", [({i: states[i] for i in own},) for own in self._split(rows)])

    def _of_all(self, command: str) -> list[Any]:
        """Ask for something of every row."""
        return [own for answer in self._ask(command, [()] * self._threads) for own in answer]

    def _split(self, rows: Iterable[int]) -> list[list[int]]:
        """Give every worker's part of sorted rows."""
        rows = list(rows)
        return [[i for i in rows if i in own] for own in self._workers.rows]

    def _ask(self, command: str, arguments: Sequence[tuple]) -> list[Any]:
        with self._closing():
            return self._workers.ask(command, arguments)

    @contextlib.contextmanager
    def _closing(self) -> Iterator[None]:
        """Close the batch if a worker turns out to be no more."""
        try:
            yield
        except WorkerDied:
            self.close()
            raise


class WorkerDied(WorkerError):
    """A worker process ended by itself, which closes its batch."""


class Workers:
    """W processes that have made N environments; ``rows[w]`` are those of worker w."""

    def __init__(self, name: str, n: int, count: int, options: dict[str, Any]) -> None:
        self.n, self._name = n, name
        self._number, self._asking = 0, False
        self._memory = os.memfd_create("environments")
        bounds = [n * w // count for w in range(count + 1)]
        self.rows = [range(*pair) for pair in itertools.pairwise(bounds)]
        self._processes: list[subprocess.Popen] = []
        self._pipes: list[Connection] = []
        try:
            for _ in self.rows:
                self._start()
            self.kind = self._make(options)
            self.shared = Shared(self._memory, self.kind.interface, n)
        except BaseException:
            self.close()
            raise

    def ask(self, command: str, arguments: Sequence[tuple]) -> list[Any]:
        """Have every worker do something, and give what each answers, once all have.

        Raises the UserError or, as WorkerError, any other exception of the first that has failed;
        WorkerDied if one is no more.
        """
        return self._exchange([(command, own) for own in arguments])

    def step(self) -> list[Any]:
        """Have every worker move its active rows; give what each answers, as ``ask`` does."""
        return self._exchange([None] * len(self.rows))

    def settle(self) -> None:
        """Wait for the end of a request that Ctrl-C has broken off: its workers go on with it."""
        if self._asking:
            self.ask("rest", [()] * len(self.rows))

    def close(self) -> None:
        """End the processes, at once if they do not by themselves; free the memory."""
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        os.close(self._memory)

    def _start(self) -> None:
        ours, theirs = Pipe()
        self._pipes.append(ours)
        handed = theirs.fileno(), self._memory
        paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-c", WORK, *map(str, (*handed, os.getpid()))],
                stdin=subprocess.DEVNULL,
                pass_fds=handed,
                env=ONE_THREAD | os.environ | {"PYTHONPATH": paths},
                process_group=0,  # Ctrl-C is for the process of the batch
            )
        self._processes.append(process)

    def _make(self, options: dict[str, Any]) -> Kind:
        try:
            ForkingPickler.dumps(options)
        except Exception as error:
            raise UserError(
                f"{self._name}: options cannot be given to other processes: {error}"
            ) from None
        return self.ask("make", [(self._name, options, rows, self.n) for rows in self.rows])[0]

    def _exchange(self, requests: Sequence[Any]) -> list[Any]:
        self._number, self._asking = self._number + 1, True
        try:
            for pipe, request in zip(self._pipes, requests, strict=True):
                pipe.send_bytes(pack(self._number, request))
            answers = [self._answer(pipe) for pipe in self._pipes]
        except (EOFError, ConnectionError):
            raise WorkerDied(f"{self._name}: {self._fates()}; the batch is closed") from None
        self._asking = False
        for answer in answers:
            if isinstance(answer, UserError):
                raise answer
            if isinstance(answer, Failure):
                raise WorkerError(f"environment {answer.row}: {answer.error}\n{answer.traceback}")
        return answers

    def _answer(self, pipe: Connection) -> Any:
        """Wait for the answer to the latest request; Ctrl-C may have left earlier ones unread."""
        while True:
            number, answer = unpack(pipe.recv_bytes())
            if number in (self._number, ANY_NUMBER):
                return answer

    def _fates(self) -> str:
        """Say which workers are no more, and why."""
        return "; ".join(
            f"the process of environments {rows[0]} to {rows[-1]} {_fate(process)}"
            for rows, process in zip(self.rows, self._processes, strict=True)
            if _fate(process)
        )


def _fate(process: subprocess.Popen) -> str:
    """Say how a process ended; nothing while it runs."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        code = process.wait(ENDING_S)
        return (
            f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        )
    return ""
