"""Jobs on several processes, which end when the study does, however it ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import torch

from robolearn.errors import UserError
from robolearn.running.run import Run, how_to_go_on


class Pool:
    """Runs the jobs of a stage and shows how far they are; a context manager.

    Ctrl-C and errors end the workers in the middle of their jobs, which must therefore leave
    nothing behind that looks finished.
    """

    def __init__(self, workers: int, run: Run) -> None:
        self._run = run
        self._executor = ProcessPoolExecutor(
            workers, mp_context=multiprocessing.get_context("spawn"), initializer=_prepare_worker
        )

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: Any) -> None:
        if kind is not None:
            for worker in multiprocessing.active_children():
                worker.terminate()
        self._executor.shutdown(cancel_futures=True)

    def stage(self, label: str, jobs: list[tuple[Any, ...]]) -> None:
        """Run all jobs, (function, *arguments) each; the first error comes out.

        Raises UserError if a process dies, which is mostly for want of memory.
        """
        futures = [self._executor.submit(*job) for job in jobs]
        try:
            with self._run.counter(len(jobs), label) as counter:
                for future in as_completed(futures):
                    future.result()
                    counter.update()
        except BrokenProcessPool:
            hint = how_to_go_on(self._run.directory)
            raise UserError(
                f"{label}: a worker process died (out of memory, killed or crashed); {hint}"
            ) from None


def _prepare_worker() -> None:
    """Leave Ctrl-C to the parent, end with it even if it is killed, and keep to one core."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
