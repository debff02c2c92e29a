"""Jobs on several processes, which end when the program does, however it ends."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from multiprocessing import connection
from typing import Any

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
GRACE_S = 15.0  # that a job has to close what it holds
LOOKS_S = 1.0  # after which who waits for a job looks whether there was Ctrl-C
Initializer = Callable[[], None] | None


class Died(RuntimeError):
    """The process of a job is gone: it was killed (mostly for want of memory), or crashed."""


class Processes(Executor):
    """Does jobs, each a function of a module with arguments, in ``workers`` spawned processes.

    A process that dies fails its own job, with ``Died``, and no other: a new one takes its place
    (``ProcessPoolExecutor`` gives up all of them). Ctrl-C reaches the parent alone, which calls
    ``end``; if the parent is killed, the processes end as well. Libraries compute with ``threads``
    threads. A context manager, which ends the jobs if it is left by an error.
    """

    def __init__(
        self,
        workers: int,
        *,
        fresh: bool = False,
        threads: int = 1,
        initializer: Initializer = None,
    ) -> None:
        """``fresh`` gives every job a process of its own; each begins with ``initializer()``."""
        self._fresh, self._threads, self._initializer = fresh, threads, initializer
        self._context = multiprocessing.get_context("spawn")
        self._pool = ThreadPoolExecutor(workers)  # a thread waits for each job
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self._all: set[_Worker] = set()
        self._ended = False

    def __exit__(self, kind: type[BaseException] | None, *error: Any) -> None:
        if kind is not None:
            self.end()
        self.shutdown()

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future:
        """Have a job done; what it raises comes out of the Future."""
        return self._pool.submit(self._do, function, arguments, named)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no further jobs; ``wait`` until those that were taken are done."""
        self._pool.shutdown(wait, cancel_futures=cancel_futures)
        with self._lock:
            idle, self._idle = self._idle, []
        for worker in idle:
            self._dismiss(worker)

    def end(self, grace_s: float = GRACE_S) -> None:
        """Stop all jobs in the middle: SIGTERM, and SIGKILL for who is there after ``grace_s``."""
        with self._lock:
            self._ended, workers = True, list(self._all)
        self._pool.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.process.terminate()
        deadline = time.monotonic() + grace_s
        while any(worker.is_alive() for worker in workers) and time.monotonic() < deadline:
            time.sleep(0.05)
        for worker in workers:
            worker.process.kill()

    def _do(self, function: Callable[..., Any], arguments: tuple, named: dict[str, Any]) -> Any:
        worker = self._take()
        try:
            result, error = worker.ask((function, arguments, named))
        except (EOFError, OSError):
            self._dismiss(worker)
            raise Died(_how_it_ended(worker.process.exitcode)) from None
        except BaseException:  # what cannot be sent, or not be read: there is no asking further
            self._dismiss(worker)
            raise
        if self._fresh:
            self._dismiss(worker)
        else:
            with self._lock:
                self._idle.append(worker)
        if error is not None:
            raise error
        return result

    def _take(self) -> _Worker:
        """Give an idle process, or start one: one at a time, which multiprocessing relies on."""
        with self._lock:
            if self._ended:
                raise Died("stopped before it began")
            if self._idle:
                return self._idle.pop()
            worker = _Worker(self._context, self._threads, self._initializer)
            self._all.add(worker)
            return worker

    def _dismiss(self, worker: _Worker) -> None:
        worker.pipe.close()  # whereupon it ends
        worker.process.join(GRACE_S)
        worker.process.kill()
        worker.process.join()
        with self._lock:
            self._all.discard(worker)


def first_done(jobs: Collection[Future]) -> set[Future]:
    """Wait until one of some jobs is done, at least; give those that are.

    It looks up every second: of a signal that comes just before a thread blocks, Python hears only
    when it goes on. Ctrl-C would be lost in a wait without an end.
    """
    while not (done := wait(jobs, LOOKS_S, FIRST_COMPLETED).done):
        pass
    return done


def as_done(jobs: Iterable[Future]) -> Iterator[Future]:
    """Give jobs as they are done."""
    left = set(jobs)
    while left:
        done = first_done(left)
        left -= done
        yield from done


class _Worker:
    """A process and the pipe to it."""

    def __init__(self, context: Any, threads: int, initializer: Initializer) -> None:
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, threads, initializer))
        self.process.start()
        theirs.close()

    def ask(self, job: tuple) -> tuple[Any, BaseException | None]:
        """Have a job done; EOFError or OSError if the process dies."""
        self.pipe.send(job)
        connection.wait([self.pipe, self.process.sentinel])
        if not self.pipe.poll():
            raise EOFError
        return self.pipe.recv()

    def is_alive(self) -> bool:
        """Say whether the process runs; who reaps it is another thread."""
        return not connection.wait([self.process.sentinel], 0)


def _serve(pipe: connection.Connection, threads: int, initializer: Initializer) -> None:
    """Do jobs until the other end of the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.update(dict.fromkeys(THREADS, str(threads)))  # before the libraries are imported
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if initializer is not None:
        initializer()
    with contextlib.suppress(EOFError):
        while True:
            pipe.send(_done(*pipe.recv()))


def _done(function: Callable, arguments: tuple, named: dict) -> tuple[Any, Exception | None]:
    try:
        return function(*arguments, **named), None
    except Exception as error:
        error.add_note("".join(traceback.format_exception(error)))  # the parent cannot see it
        return None, error


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _how_it_ended(code: int | None) -> str:
    if code is not None and code < 0:
        return f"its process was ended by {signal.Signals(-code).name}"
    return f"its process ended with exit code {code}"
